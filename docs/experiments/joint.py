"""The joint experiment: a judge that knows what was wanted, and what a comparison of two policies comes to.

    joint.py judge PAIRS --emoji FOLDER
        adds a judgement of every pair of a folder that `sample --mdp hybrid --pairs` made of emoji captions: better is
        the picture nearer to the preferred vendor's own drawing of the requested caption (mean absolute difference of
        32 x 32 pixels)
    joint.py rate PAIRS --emoji FOLDER
        of a folder whose sides two policies made: how often side a is nearer, with a 95% interval, the mean distances,
        and what the refined prompts are like
    joint.py sheet PAIRS --emoji FOLDER --out FILE
        twelve captions of such a folder, evenly spaced: side b (the base), side a, and the vendor's drawing

Made with Pillow and numpy; FOLDER holds train.jsonl, test.jsonl and images/ of the emoji experiment.
"""
import argparse
import json
import math
import pathlib
import textwrap

import numpy
from PIL import Image, ImageDraw

LABELLER = "drawings"


def lines(path):
    return [json.loads(line) for line in open(path)]


def pixels(path):
    return numpy.asarray(Image.open(path).convert("RGB"), dtype=numpy.float64) / 255


def drawings(emoji):
    """The preferred vendor's drawing of each caption."""
    wanted = {}
    for record in lines(emoji / "train.jsonl") + lines(emoji / "test.jsonl"):
        wanted.setdefault(record["prompt"], emoji / record["chosen"])
    return wanted


def distances(pairs, emoji):
    """One row a pair: the distance of side a and of side b."""
    wanted = drawings(emoji)
    records = lines(pairs / "pairs.jsonl")
    far = lambda record, side: abs(pixels(pairs / record[side]["image"]) - pixels(wanted[record["request"]])).mean()
    return records, numpy.array([[far(record, side) for side in "ab"] for record in records])


def judge(pairs, emoji):
    records, far = distances(pairs, emoji)
    header = json.loads((pairs / "pairs.json").read_text())
    with open(pairs / "labels.jsonl", "a") as file:
        for record, (a, b) in zip(records, far):
            choice = "tie" if a == b else "a" if a < b else "b"
            label = {"version": 1, "pairs": header["id"], "index": record["index"], "choice": choice,
                     "labeller": LABELLER, "by": "oracle"}
            file.write(json.dumps(label) + "\n")
    print(f"{len(records)} pairs judged; the better side is nearer by {abs(far[:, 0] - far[:, 1]).mean():.4f} on average")


def wilson(wins, n, z=1.959964):
    middle, half = (wins + z * z / 2) / (n + z * z), z / (n + z * z) * math.sqrt(wins * (n - wins) / n + z * z / 4)
    return middle - half, middle + half


def rate(pairs, emoji):
    records, far = distances(pairs, emoji)
    n, wins = len(far), (far[:, 0] < far[:, 1]).sum() + 0.5 * (far[:, 0] == far[:, 1]).sum()
    low, high = wilson(wins, n)
    difference = far[:, 0] - far[:, 1]
    half = 1.96 * difference.std(ddof=1) / math.sqrt(n)
    print(f"a nearer than b: {wins / n:.3f} ({low:.3f} to {high:.3f}, {n} requests)")
    print(f"mean distance: a {far[:, 0].mean():.4f}, b {far[:, 1].mean():.4f}, a - b {difference.mean():+.4f} +- {half:.4f}")
    for side in "ab":
        refined = [record[side]["refined"] for record in records]
        same = sum(r.rstrip(". ").lower() == record["request"].lower() for r, record in zip(refined, records))
        words = sum(len(r.split()) for r in refined) / n
        print(f"{side}: {same / n:.3f} of refined prompts are the request, {words:.1f} words on average")


def sheet(pairs, emoji, out, n=12, edge=72, gap=10, left=70, top=52):
    records, wanted = lines(pairs / "pairs.jsonl"), drawings(emoji)
    shown = records[:: max(1, len(records) // n)][:n]
    whole = Image.new("RGB", (left + len(shown) * (edge + gap), top + 3 * (edge + gap)), "white")
    draw = ImageDraw.Draw(whole)
    for row, name in enumerate(("base", "joint", "drawing")):
        draw.text((4, top + row * (edge + gap) + edge // 2 - 6), name, "black")
    for column, record in enumerate(shown):
        x = left + column * (edge + gap)
        draw.multiline_text((x, 2), "\n".join(textwrap.wrap(record["request"], edge // 6)), "black")
        files = (pairs / record["b"]["image"], pairs / record["a"]["image"], wanted[record["request"]])
        for row, file in enumerate(files):
            picture = Image.open(file).convert("RGB").resize((edge, edge), Image.Resampling.NEAREST)
            whole.paste(picture, (x, top + row * (edge + gap)))
    whole.save(out, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["judge", "rate", "sheet"])
    parser.add_argument("pairs", type=pathlib.Path)
    parser.add_argument("--emoji", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default="joint.png")
    options = parser.parse_args()
    more = {"out": options.out} if options.what == "sheet" else {}
    {"judge": judge, "rate": rate, "sheet": sheet}[options.what](options.pairs, options.emoji, **more)


if __name__ == "__main__":
    main()

"""The joint experiment: a judge that knows what was wanted, and what a comparison of two policies comes to.

    joint.py judge PAIRS --emoji FOLDER
        adds a judgement of every pair of a folder that `sample --mdp hybrid --pairs` made of emoji captions: better is
        the picture nearer to the preferred vendor's own drawing of the requested caption (mean absolute difference of
        32 x 32 pixels)
    joint.py rate PAIRS --emoji FOLDER
        of a folder whose sides two policies made: how often side a is nearer, with a 95% interval, the mean distances,
        and what the refined prompts are like

Made with Pillow and numpy; FOLDER holds train.jsonl, test.jsonl and images/ of the emoji experiment.
"""
import argparse
import json
import math
import pathlib

import numpy
from PIL import Image

LABELLER = "drawings"


def lines(path):
    return [json.loads(line) for line in open(path)]


def pixels(path):
    return numpy.asarray(Image.open(path).convert("RGB"), dtype=numpy.float64) / 255


def distances(pairs, emoji):
    """One row a pair: the distance of side a and of side b."""
    wanted = {}
    for record in lines(emoji / "train.jsonl") + lines(emoji / "test.jsonl"):
        wanted.setdefault(record["prompt"], emoji / record["chosen"])
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["judge", "rate"])
    parser.add_argument("pairs", type=pathlib.Path)
    parser.add_argument("--emoji", type=pathlib.Path, required=True)
    options = parser.parse_args()
    {"judge": judge, "rate": rate}[options.what](options.pairs, options.emoji)


if __name__ == "__main__":
    main()

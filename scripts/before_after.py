"""Makes docs/images/shapes.png: pictures of a run's first and last evaluation, one above the other.

    pip install pillow
    hybrid-dpo train --mdp diffusion --out run
    python scripts/before_after.py run docs/images/shapes.png
"""

import json
import pathlib
import sys
import textwrap

from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS, GAP, LEFT, CAPTION = 8, 2, 6, 60, 90


def pictures(run, step):
    sheet = Image.open(run / "samples" / f"step-{step}.png").convert("RGB")
    lines = (run / "samples" / f"step-{step}.pictures.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        left, top = line["left"], line["top"]
        yield line["caption"], sheet.crop((left, top, left + line["width"], top + line["height"]))


def main():
    run, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    steps = sorted(int(path.stem[len("step-"):]) for path in (run / "samples").glob("step-*.png"))
    before, after = [list(pictures(run, step))[:COLUMNS * ROWS] for step in (steps[0], steps[-1])]
    edge = before[0][1].width
    band = 2 * (edge + GAP) + CAPTION
    page = Image.new("RGB", (LEFT + COLUMNS * (edge + GAP), GAP + ROWS * band), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for i, ((caption, old), (_, new)) in enumerate(zip(before, after)):
        x, y = LEFT + i % COLUMNS * (edge + GAP), GAP + i // COLUMNS * band
        page.paste(old, (x, y))
        page.paste(new, (x, y + edge + GAP))
        draw.multiline_text((x, y + 2 * (edge + GAP)), textwrap.fill(caption, 11), "black", font, spacing=1)
    for row in range(ROWS):
        for name, part in (("before", 0), ("after", 1)):
            draw.text((6, GAP + row * band + part * (edge + GAP) + edge // 2 - 6), name, "black", font)
    page.save(target, optimize=True)


if __name__ == "__main__":
    main()

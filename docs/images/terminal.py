"""Draws text as a terminal: COMMAND | python docs/images/terminal.py 'COMMAND' > picture.svg"""

import html
import sys

LINE, GLYPH, MARGIN = 18, 8.1, 16


def main():
    lines = [f"$ {sys.argv[1]}"] + [line.rstrip() for line in sys.stdin.read().splitlines()]
    width = MARGIN * 2 + GLYPH * max(map(len, lines))
    height = MARGIN * 2 + LINE * len(lines)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}">')
    print(f'<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>')
    print('<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="13.5" xml:space="preserve">')
    for i, line in enumerate(lines):
        colour = "#7ee787" if i == 0 else "#e6edf3"
        y = MARGIN + LINE * i + 13
        print(f'<text x="{MARGIN}" y="{y}" fill="{colour}" textLength="{GLYPH * len(line):.0f}">{html.escape(line)}</text>')
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()

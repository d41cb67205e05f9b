"""Makes docs/images/train.svg: a command and what it printed, as a picture of a terminal.

    hybrid-dpo train --mdp token --quiet | python scripts/terminal_svg.py "hybrid-dpo train --mdp token" > docs/images/train.svg
"""

import html
import sys

WIDTH, LEFT, TOP, STEP, LETTER = 720, 16, 29, 18, 8.1


def line(i, text, colour):
    size = round(len(text) * LETTER)
    return f'<text x="{LEFT}" y="{TOP + i * STEP}" fill="{colour}" textLength="{size}">{html.escape(text)}</text>'


lines = [f"$ {sys.argv[1]}", *sys.stdin.read().rstrip().splitlines()]
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{TOP + len(lines) * STEP}">')
print('<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>')
print('<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="13.5" xml:space="preserve">')
print("\n".join(line(i, text, "#e6edf3" if i else "#7ee787") for i, text in enumerate(lines)))
print("</g>\n</svg>")

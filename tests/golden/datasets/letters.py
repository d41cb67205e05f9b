"""Writes letters.json: what Python says of each letter, as far as the Unicode that its version knows has one.

Run: python letters.py   (Python 3.12; the version used is in the file it writes)
"""

import json
import pathlib
import sys
import unicodedata

QUESTIONS = ["isalpha", "isalnum", "isdecimal", "isdigit", "isnumeric", "isspace"]


def letters():
    for number in range(sys.maxunicode + 1):
        if unicodedata.category(chr(number)) not in ("Cn", "Co", "Cs"):
            yield chr(number)


def ranges(those):
    """First and last number of each run."""
    out = []
    for number in map(ord, those):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return out


def main():
    # Where the case of a title, or the one for comparing, is another than the usual.
    odd = [c for c in letters() if c.title() != c.upper() or c.casefold() != c.lower() or c.swapcase() not in (c.lower(), c.upper())]
    out = {
        "made_by": f"letters.py, Python {sys.version.split()[0]}, Unicode {unicodedata.unidata_version}",
        "known": ranges(letters()),
        "answers": {name: ranges(c for c in letters() if getattr(c, name)()) for name in QUESTIONS},
        "digits": "".join(c for c in letters() if c.isdecimal() and int(c) == 7),
        "cases": [[c, c.title(), c.casefold(), c.swapcase()] for c in odd],
    }
    path = pathlib.Path(__file__).with_name("letters.json")
    path.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


main()

#!/usr/bin/env bash
# pillow 13.0.0: resize rounds to bytes between its two passes, and which side goes first depends on the sizes: of 41 x 20 to
# 32 x 16 the rows are made first, of 40 x 20 to 32 x 16 the columns. Code that rebuilds it with one order is off by up to
# 20 levels with Lanczos on noise. Seen: 41 x 20: height first; 40 x 20: width first; levels apart: 22 and 19.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.3.5
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
venv/bin/python -W ignore - <<'PYTHON'
import numpy
from PIL import Image
def passes(height, width):
    picture = Image.fromarray(numpy.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=numpy.uint8))
    whole = numpy.asarray(picture.resize((16, 32), Image.Resampling.LANCZOS)).astype(int)
    height_first = numpy.asarray(picture.resize((width, 32), Image.Resampling.LANCZOS).resize((16, 32), Image.Resampling.LANCZOS))
    width_first = numpy.asarray(picture.resize((16, height), Image.Resampling.LANCZOS).resize((16, 32), Image.Resampling.LANCZOS))
    apart = [int(abs(whole - other).max()) for other in (height_first, width_first)]
    print(f"{height} x {width}: levels apart from height first {apart[0]}, from width first {apart[1]}")
    return apart
tall, square = passes(41, 20), passes(40, 20)
assert tall[0] == 0 and tall[1] > 10, "41 x 20 is no longer scaled height first"
assert square[1] == 0 and square[0] > 10, "40 x 20 is no longer scaled width first"
PYTHON

"""Small pictures of every kind of file, and the pixels that the published Diffusion-DPO scripts and Pillow make of them.

Run from the repository's root: python tests/golden/pictures.py
Writes tests/golden/pictures/pictures.json: each file as hexadecimal digits, and squares of SIZE rows and columns, row by
row, as hexadecimal digits. `scripts` is what `convert("RGB")` and torchvision's Resize (bilinear) and CenterCrop make of
it; `plain` is the picture turned as its EXIF data say, scaled by Pillow's Lanczos filter with the longer side rounded to
the nearest pixel, and the middle square of it. All files lose nothing, so every level must be the same.
"""

import importlib.metadata
import io
import json
import pathlib
import struct
import zlib

import numpy
from PIL import Image, ImageOps
from torchvision import transforms

FOLDER = pathlib.Path(__file__).parent / "pictures"
SIZE = 16
SCRIPTS = transforms.Compose([
    transforms.Resize(SIZE, interpolation=transforms.InterpolationMode.BILINEAR),
    transforms.CenterCrop(SIZE),
])


def noisy(height, width, channels, seed):
    """Waves with noise on them, so that every filter shows."""
    rows, columns = numpy.mgrid[:height, :width]
    waves = [127 + 120 * numpy.sin(rows / (2.0 + k) + columns / (3.0 - k / 2)) for k in range(channels)]
    noise = numpy.random.default_rng(seed).normal(0, 40, (height, width, channels))
    return numpy.clip(numpy.stack(waves, -1) + noise, 0, 255).astype(numpy.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_key_colour(height, width):
    """RGB with a tRNS chunk, which names one colour that is transparent."""
    pixels = noisy(height, width, 3, 11)
    pixels[2:9, 3:12] = (10, 200, 30)
    plain = encoded(Image.fromarray(pixels))
    header = plain.index(b"IDAT") - 4
    return plain[:header] + chunk(b"tRNS", struct.pack(">HHH", 10, 200, 30)) + plain[header:]


def files():
    """Name, bytes, whether something is transparent."""
    sizes = [(23, 37), (40, 17), (19, 33), (31, 16), (9, 7), (5, 13), (16, 16), (33, 33), (1, 60), (60, 1), (1, 1), (250, 21)]
    for seed, (height, width) in enumerate(sizes):
        yield f"rgb {height} x {width}", encoded(Image.fromarray(noisy(height, width, 3, seed))), False
    grey = Image.fromarray(noisy(21, 30, 1, 20)[..., 0])
    yield "grey", encoded(grey), False
    yield "one bit", encoded(grey.convert("1")), False
    palette = Image.fromarray(noisy(27, 20, 3, 21)).quantize(32)
    yield "palette", encoded(palette), False
    yield "palette with transparent entries", encoded(palette, transparency=bytes(range(0, 256, 8))), True
    yield "key colour", with_key_colour(20, 29), True
    rgba = Image.fromarray(noisy(22, 35, 4, 22), "RGBA")
    yield "rgba", encoded(rgba), True
    yield "grey with alpha", encoded(Image.fromarray(noisy(22, 17, 2, 23), "LA")), True
    yield "webp", encoded(Image.fromarray(noisy(25, 18, 3, 24)), "WEBP", lossless=True), False
    yield "webp with alpha", encoded(rgba, "WEBP", lossless=True, exact=True), True
    frames = [Image.fromarray(noisy(18, 26, 3, seed)) for seed in (25, 26, 27)]
    options = {"save_all": True, "append_images": frames[1:], "duration": 50}
    yield "animated webp", encoded(frames[0], "WEBP", lossless=True, **options), False
    yield "animated png", encoded(frames[0], "PNG", **options), False
    for orientation in range(2, 9):
        image = Image.fromarray(noisy(19, 28, 3, 30 + orientation))
        yield f"orientation {orientation}", encoded(image, exif=turned(orientation)), False


def plain(image):
    image = ImageOps.exif_transpose(image).convert("RGB")
    shorter = min(image.size)
    scaled = image.resize([(side * SIZE + shorter // 2) // shorter for side in image.size], Image.Resampling.LANCZOS)
    left, top = ((side - SIZE) // 2 for side in scaled.size)
    return scaled.crop((left, top, left + SIZE, top + SIZE))


def case(name, bytes_, is_transparent):
    def square(image):
        return numpy.asarray(image).tobytes().hex()

    def opened():
        return Image.open(io.BytesIO(bytes_))

    return {
        "name": name, "file": bytes_.hex(), "is_transparent": is_transparent,
        "scripts": square(SCRIPTS(opened().convert("RGB"))),
        # Of tall pictures Pillow takes now one side first and now the other, by a rule that is not rebuilt here.
        "plain": None if is_transparent or name == "rgb 40 x 17" else square(plain(opened())),
    }


def main():
    FOLDER.mkdir(exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in ("pillow", "torch", "torchvision", "numpy")}
    cases = [case(*file) for file in files()]
    text = ",\n".join(json.dumps(case) for case in cases)
    written = f'{{"versions": {json.dumps(versions)}, "size": {SIZE}, "pictures": [\n{text}\n]}}\n'
    (FOLDER / "pictures.json").write_text(written)
    print(f"{len(cases)} pictures, {len(written)} bytes")


main()

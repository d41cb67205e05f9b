"""What becomes of the pictures and captions that people bring, against Pillow, torchvision and transformers.

    pip install torch torchvision transformers safetensors pillow
    cargo build --release
    python tests/peers/pictures.py --binary target/release/hybrid-dpo

(1) `train --preset salesforce-sd15` and `--preset diffusers-2500`, and `score` with the same settings, see the pixels of
the published scripts: a denoiser of pixels has the same errors on the files as on a file of latents that holds what
`convert("RGB")`, torchvision's Resize and CenterCrop make of them. (2) Pictures that claim or need much are refused by
file and row, or used, within 2 GB and 30 s, and `--on-bad-image skip` counts them. (3) Captions that the text encoder
cuts are counted as transformers' tokenizer counts them. (4) Drawing ends with 130 soon after an interrupt. The last
line is the count of checks.
"""

import argparse
import io
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import tempfile
import time
import zlib

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from transformers import CLIPTokenizer

from checks import Checks

# A job in the background of a script ignores interrupts, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

FOLDERS = pathlib.Path(__file__).parent.parent / "golden" / "companions"
SIZE = 16
SCRIPTS = transforms.Compose([
    transforms.Resize(SIZE, interpolation=transforms.InterpolationMode.BILINEAR),
    transforms.CenterCrop(SIZE),
    transforms.ToTensor(),
    transforms.Normalize([0.5], [0.5]),
])
AS_SCRIPTS = ["--transparency", "drop", "--exif=false", "--resize-filter", "bilinear", "--resize-rounding", "torchvision"]
MEMORY, SECONDS = 2 << 30, 30


def call(binary, *arguments):
    return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)


def done(binary, *arguments):
    finished = call(binary, *arguments)
    if finished.returncode != 0:
        raise RuntimeError(f"{arguments[:2]}: {finished.stderr[-400:]}")
    return finished


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def noisy(height, width, channels, seed):
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=numpy.uint8)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pictures(out):
    """Pairs of pictures of many kinds, as files; JPEGs are smooth, as decoders may differ by a level where they aren't."""
    kinds = [
        Image.fromarray(noisy(23, 37, 3, 0)), Image.fromarray(noisy(40, 17, 3, 1)), Image.fromarray(noisy(9, 13, 3, 2)),
        Image.fromarray(noisy(31, 22, 4, 3), "RGBA"), Image.fromarray(noisy(20, 33, 2, 4), "LA"),
        Image.fromarray(noisy(25, 25, 1, 5)[..., 0]), Image.fromarray(noisy(19, 28, 3, 6)).quantize(16),
        Image.fromarray(noisy(16, 16, 3, 7)), Image.fromarray(noisy(1, 50, 3, 8)), Image.fromarray(noisy(300, 41, 3, 9)),
    ]
    lines = []
    for index in range(len(kinds)):
        line = {"prompt": f"picture {index}"}
        for side, image in (("chosen", kinds[index]), ("rejected", kinds[-1 - index])):
            line[side] = f"{side}{index}.png"
            image.save(out / line[side], exif=turned(index % 8 + 1))
        lines.append(line)
    write_lines(out / "pictures.jsonl", lines)
    sides = {
        side: torch.stack([SCRIPTS(Image.open(out / line[side]).convert("RGB")) for line in lines])
        for side in ("chosen", "rejected")
    }
    save_file(sides, out / "pixels.safetensors")


def check_pixels(check, binary, out):
    out.mkdir()
    pictures(out)
    model = ["--mdp", "diffusion", "--model", FOLDERS / "ddpm"]
    both = {"data": ["--data", out / "pictures.jsonl", "--image-size", SIZE],
            "latents": ["--latents", out / "pixels.safetensors"]}

    def errors(name, *more):
        done(binary, "score", *model, *both[name], *more, "--out", out / f"{name}.jsonl")
        lines = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        return numpy.array([[line[side]["error"] for side in ("chosen", "rejected")] for line in lines])

    expected = errors("latents")
    apart = lambda found: float(abs(found / expected - 1).max())
    check("score: errors on the scripts' pixels, relative", apart(errors("data", *AS_SCRIPTS)), 1e-5)
    check("score: other pixels have other errors", 0 if apart(errors("data")) > 1e-3 else 1, 0)
    for preset in ("salesforce-sd15", "diffusers-2500"):
        logged = {}
        for name, data in both.items():
            run = out / f"{preset}-{name}"
            own = ["--flip=false"] if name == "data" else []
            done(binary, "train", *model, *data, *own, "--preset", preset, "--empty-share", 0, "--batch-size", 10,
                 "--max-steps", 2, "--eval-share", 0, "--n-samples", 0, "--out", run)
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            logged[name] = [{key: value for key, value in line.items() if "diffusion" in key} for line in lines]
        pairs = [(one[key], other[key]) for one, other in zip(*logged.values(), strict=True) for key in one]
        pairs = [(a, b) for a, b in pairs if abs(b) > 1e-3]
        check(f"--preset {preset}: it logs {len(pairs)} errors", 0 if len(pairs) >= 4 else 1, 0)
        check(f"--preset {preset}: they are those on the scripts' pixels", max(abs(a / b - 1) for a, b in pairs), 1e-4)
        said = (out / f"{preset}-data" / "config.toml").read_text()
        check(f"--preset {preset}: mirrors each side by itself", 0 if 'flip_sides = "apart"' in said else 1, 0)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, content=b"", depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(content, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def claiming_jpeg(width, height):
    """A small JPEG whose header claims another size."""
    bytes_ = bytearray(encoded(Image.new("RGB", (16, 16), (9, 80, 200)), "JPEG"))
    place = bytes_.index(b"\xff\xc0") + 5
    bytes_[place:place + 4] = struct.pack(">HH", height, width)
    return bytes(bytes_)


def hostile():
    """Name, bytes, whether it is to be used (or refused)."""
    most = (1 << 31) - 1
    yield "60000 x 1", png(60_000, 1, bytes(1 + 3 * 60_000)), True
    yield "1 x 60000", png(1, 60_000, bytes(4 * 60_000)), True
    yield "3 x 1000000", png(3, 1_000_000, bytes(10 * 1_000_000)), True
    yield "1 x 1", png(1, 1, bytes(4)), True
    yield "9400 x 9400", png(9400, 9400, bytes((1 + 3 * 9400) * 9400)), True
    yield "8000 x 8000, alpha, 16 bits", png(8000, 8000, bytes((1 + 8 * 8000) * 8000), depth=16, colour=6), True
    yield "30000 x 30000 of zeros", png(30_000, 30_000, bytes((1 + 3 * 30_000) * 300)), False
    yield "2^31 - 1 squared", png(most, most), False
    yield "no width", png(0, 4), False
    yield "no data", png(600, 400), False
    yield "claims 9000 x 9000", png(9000, 9000, bytes(100)), False
    yield "a JPEG that claims 65500 x 65500", claiming_jpeg(65_500, 65_500), False
    wide = Image.new("RGB", (16_383, 40), (3, 200, 90))
    yield "a wide WebP", encoded(wide, "WEBP", lossless=True), True
    frames = [Image.new("RGB", (2000, 2000), (shade, 0, 0)) for shade in range(0, 250, 10)]
    yield "an animated WebP", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True), True
    yield "an animated PNG", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), True
    yield "a progressive JPEG", encoded(Image.new("RGB", (9000, 9000)), "JPEG", progressive=True), True
    yield "half a PNG", encoded(Image.fromarray(noisy(99, 99, 3, 1)), "PNG")[:9000], False
    yield "half a JPEG", encoded(Image.fromarray(noisy(99, 99, 3, 1)), "JPEG")[:3000], False
    yield "half a WebP", encoded(Image.fromarray(noisy(99, 99, 3, 1)), "WEBP")[:3000], False


def bounded(binary, *arguments):
    """The program with 2 GB of memory to be had and 30 s to be used."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, preexec_fn=limit,
                              timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, -1, "", f"longer than {SECONDS} s")


def check_hostile(check, binary, out):
    out.mkdir()
    Image.new("RGB", (32, 32), (200, 10, 10)).save(out / "good.png")
    for name, bytes_, is_used in hostile():
        (out / "bad").write_bytes(bytes_)
        write_lines(out / "pairs.jsonl", [{"prompt": "a", "chosen": "good.png", "rejected": "good.png"},
                                          {"prompt": "b", "chosen": "good.png", "rejected": "bad"}])
        asked = ["inspect", out / "pairs.jsonl", "--image-size", 512]
        plain, skipping = bounded(binary, *asked), bounded(binary, *asked, "--on-bad-image", "skip")
        if is_used:
            good = plain.returncode == 0 and "2 pairs" in plain.stdout
        else:
            named = "pairs.jsonl, line 2" in plain.stderr and str(out / "bad") in plain.stderr
            counted = "1 pairs" in skipping.stdout and "1 broken records left out" in skipping.stdout
            good = plain.returncode == 1 and named and skipping.returncode == 0 and counted
        told = "" if good else f" ({plain.returncode}: {plain.stderr.strip()[-200:]})"
        check(f"{name}: {'used' if is_used else 'named, and counted where it is skipped'}{told}", 0 if good else 1, 0)


def check_captions(check, binary, out):
    out.mkdir()
    model = FOLDERS / "sd"
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    captions = ["a red circle " * n for n in range(1, 12)] + ["", "hello, it's a DOG! " * 3, "ok " * 14, "ok " * 15]
    most = tokenizer.model_max_length
    expected = sum(len(tokenizer(caption).input_ids) > most for caption in captions)
    Image.fromarray(noisy(16, 16, 3, 1)).save(out / "a.png")
    Image.fromarray(noisy(16, 16, 3, 2)).save(out / "b.png")
    write_lines(out / "pairs.jsonl", [{"prompt": caption, "chosen": "a.png", "rejected": "b.png"} for caption in captions])
    write_lines(out / "prompts.jsonl", [{"prompt": caption} for caption in captions])
    common = ["--mdp", "diffusion", "--model", model, "--image-size", 16]
    told = {
        "inspect": ["inspect", model, "--data", out / "pairs.jsonl", "--image-size", 16],
        "train": ["train", *common, "--data", out / "pairs.jsonl", "--max-steps", 1, "--batch-size", 2, "--eval-share", 0,
                  "--n-samples", 0, "--out", out / "run"],
        "score": ["score", *common, "--data", out / "pairs.jsonl", "--out", out / "s.jsonl"],
        "sample": ["sample", *common, "--prompts", out / "prompts.jsonl", "--sample-steps", 2, "--out", out / "p.jsonl"],
        "sample --pairs": ["sample", *common, "--prompts", out / "prompts.jsonl", "--sample-steps", 2, "--pairs", out / "pairs"],
    }
    for name, arguments in told.items():
        finished = done(binary, *arguments)
        lines = [line for line in (finished.stdout + finished.stderr).splitlines() if "longer than the text encoder" in line]
        found = [int(line.split()[0]) for line in lines]
        check(f"{name}: {expected} of {len(captions)} captions are cut, {found} told", 0 if found == [expected] else 1, 0)


def check_interrupts(check, binary, out):
    out.mkdir()
    endless = ["--sample-steps", 900, "--seed", 1]
    slow = {
        "sample": ["sample", "--mdp", "diffusion", "--prompts", "builtin:shapes", "--limit-prompts", 512, *endless,
                   "--out", out / "s.jsonl"],
        "sample --pairs": ["sample", "--mdp", "diffusion", "--prompts", "builtin:shapes", "--limit-prompts", 512, *endless,
                           "--pairs", out / "pairs"],
        "sample --mdp hybrid": ["sample", "--mdp", "hybrid", "--prompts", "builtin:chimera", "--limit-prompts", 512,
                                *endless, "--out", out / "h.jsonl"],
        "train, while it draws": ["train", "--mdp", "diffusion", *endless, "--n-samples", 64, "--max-steps", 4,
                                  "--eval-examples", 8, "--out", out / "run"],
        "train --rounds": ["train", "--mdp", "diffusion", "--rounds", 2, "--round-pairs", 256, *endless, "--judge", "oracle",
                           "--n-samples", 0, "--out", out / "rounds"],
    }
    for name, arguments in slow.items():
        for sent in (signal.SIGINT, signal.SIGTERM):
            named = [f"{a}-{sent.name}" if isinstance(a, pathlib.Path) and not a.suffix else a for a in arguments]
            running = subprocess.Popen([binary, *map(str, named)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       text=True)
            time.sleep(4)
            early = running.poll()
            running.send_signal(sent)
            begun = time.monotonic()
            try:
                _, told = running.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
                told = "it went on"
            took = time.monotonic() - begun
            good = early is None and running.returncode == 130 and "panicked" not in told
            told = "" if good else f" ({running.returncode}: {told.strip()[-300:]})"
            check(f"{name}, {sent.name}: ends with 130 after {took:.1f} s{told}", 0 if good else 1, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    binary = os.path.abspath(parser.parse_args().binary)
    check = Checks()
    parts = {"pixels": check_pixels, "hostile": check_hostile, "captions": check_captions, "interrupts": check_interrupts}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts.items():
            try:
                part(check, binary, pathlib.Path(folder) / name)
            except (OSError, KeyError, ValueError, RuntimeError) as error:
                check(f"{name}: {error!r:.400}", float("inf"), 0)
    check.end()


if __name__ == "__main__":
    main()

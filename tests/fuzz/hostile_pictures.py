"""Pictures and tensors of great claims."""

import json
import struct
import zlib

from seeds import SHORT, f32, i64, lines, picture
from writers import chunk, png, safetensors

SIZES = [2**15, 2**16, 2**20, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1]


def asked(rng, scene, data, name="x.png"):
    (scene / name).write_bytes(data)
    (scene / "data.jsonl").write_bytes(lines([{"prompt": "p", "chosen": name, "rejected": name}]))
    size = rng.choice((1, 16, 512))
    return f"inspect data.jsonl --image-size {size} --on-bad-image {rng.choice(('fail', 'skip'))}"


def thin(rng, scene, lay):
    """One pixel high or wide, and very long."""
    long, short = rng.choice((1000, 10_000, 60_000, 1_000_000)), rng.choice((1, 2, 3))
    width, height = rng.choice(((long, short), (short, long)))
    return asked(rng, scene, png(width, height, colour=rng.choice((0, 2, 6))))


def large(rng, scene, lay):
    """Many pixels in few bytes."""
    side = rng.choice((2000, 8000, 20_000, 30_000))
    rows = bytes(side * (1 + (side + 7) // 8))
    return asked(rng, scene, png(side, side, depth=1, colour=rng.choice((0, 3)), rows=rows))


def claimed(rng, scene, lay):
    """A size that the data do not have."""
    size = [rng.choice((1, 100, 2**16, 2**24, 2**31 - 1)) for _ in range(2)]
    depth, colour = rng.choice(((8, 2), (16, 6), (1, 0), (8, 3), (16, 2)))
    return asked(rng, scene, png(*size, rows=bytes(1000), depth=depth, colour=colour, interlaced=rng.randrange(2)))


def notes(rng, scene, lay):
    """Texts and profiles that unpack to a great deal."""
    packed = zlib.compress(bytes(rng.choice((1 << 20, 256 << 20))), 1)
    kind = rng.choice(((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")))
    return asked(rng, scene, png(8, 8, extra=chunk(kind[0], kind[1] + packed) * rng.choice((1, 50))))


def bomb(rng, scene, lay):
    """A small picture with far more data than it needs."""
    return asked(rng, scene, png(8, 8, rows=bytes(rng.choice((1 << 20, 128 << 20)))))


def frames(rng, scene, lay):
    """An animation that claims frames without end."""
    control = chunk(b"acTL", struct.pack(">II", rng.choice((0, 1, 2**31 - 1)), 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, rng.choice((8, 2**31 - 1)), 8, 0, 0, 1, 1, 0, 0))
    return asked(rng, scene, png(8, 8, extra=control + frame * rng.choice((1, 1000))))


def jpeg(rng, scene, lay):
    """A frame header of another size, and perhaps restart intervals and comments."""
    data = bytearray(picture("JPEG", 3))
    at = data.index(b"\xff\xc0")
    data[at + 5:at + 9] = struct.pack(">HH", rng.choice((1, 16, 65535)), rng.choice((1, 16, 65535)))
    comment = b"\xff\xfe" + struct.pack(">H", 65535) + bytes(65533)
    data[2:2] = comment * rng.choice((0, 1, 100))
    return asked(rng, scene, bytes(data), "x.jpg")


def webp(rng, scene, lay):
    """A size in the header, and a length of the file, that are not so."""
    data = bytearray(picture("WEBP", rng.randrange(2)))
    if rng.random() < 0.5:
        data[4:8] = struct.pack("<I", rng.choice((0, 2**31, 2**32 - 1)))
    if data[12:16] == b"VP8L":
        data[21:25] = struct.pack("<I", rng.choice((0x0FFFFFFF, rng.getrandbits(28))))
    else:
        data[26:30] = struct.pack("<HH", 16383, rng.choice((1, 16383)))
    return asked(rng, scene, bytes(data), "x.webp")


def exif(rng, scene, lay):
    """Orientation data that point at themselves, or nowhere."""
    tiff = b"II*\0" + struct.pack("<IHHHIIH", 8, 1, 0x112, 3, rng.choice((1, 2**32 - 1)), rng.choice((3, 99)), 8)
    tiff += struct.pack("<I", rng.choice((0, 8, 2**32 - 1)))
    return asked(rng, scene, png(9, 5, extra=chunk(b"eXIf", tiff)))


def picture_names(rng, scene, lay):
    """Paths that are no pictures."""
    names = ("../" * 500, "/dev/zero", "/dev/stdin", "a" * 100_000, "", ".", "data.jsonl", "\0", "/proc/self/mem")
    name = rng.choice(names)
    (scene / "data.jsonl").write_bytes(lines([{"prompt": "p", "chosen": name, "rejected": name}]))
    return f"inspect data.jsonl --image-size 8 --on-bad-image {rng.choice(('fail', 'skip'))}"


def tensor_shapes(rng, scene, lay):
    """Shapes whose product, or whose bytes, are more than there is."""
    shape = [rng.choice(SIZES + [0, 1, 2]) for _ in range(rng.choice((0, 1, 4, 4, 4, 8, 5000)))]
    name = rng.choice(("chosen", "latents", "noise"))
    end = rng.choice((0, 4, 2**40, 2**64 - 1))
    dtype = rng.choice(("F32", "F16", "I64", "F8_E4M3", "BOOL"))
    header = {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}
    (scene / "x.safetensors").write_bytes(safetensors({"z": f32(1)}, json.dumps(header).encode()))
    return "inspect x.safetensors"


def tensor_header(rng, scene, lay):
    """A header of any claimed length, or one of many names, or very deep."""
    what = rng.randrange(4)
    names = {f"t{n}": ("F32", (0,), b"") for n in range(rng.choice((10, 100_000)))}
    header = [None, None, b'{"a":' * 100_000, b'{"__metadata__":{"a":"' + b"a" * (8 << 20) + b'"}}'][what]
    length = rng.choice(SIZES + [0]) if what == 0 else None
    tensors = names if what == 1 else {"chosen": f32(1, 1, 1, 1)}
    (scene / "x.safetensors").write_bytes(safetensors(tensors, header, length))
    return "inspect x.safetensors"


def thin_latents(rng, scene, lay):
    """Latents of unusual shapes, whole and well formed."""
    shape = rng.choice(((1, 4, 1, 1000), (1, 4, 1000, 1), (50_000, 4, 1, 1), (1, 100_000, 1, 1), (0, 4, 4, 4)))
    context = f32(shape[0], rng.choice((1, 3)), 12)
    tensors = {"chosen": f32(*shape), "rejected": f32(*shape), "context": context}
    (scene / "x.safetensors").write_bytes(safetensors(tensors))
    lay("sd1")
    learn = f"train --mdp diffusion --model sd1 --latents x.safetensors --out out {SHORT}"
    return rng.choice(("inspect x.safetensors", learn))


def wild_draws(rng, scene, lay):
    lay("sd1")
    lay("latents.safetensors")
    times = i64([rng.choice((0, 999, 1000, -1, 2**62)) for _ in range(4)])
    (scene / "d.safetensors").write_bytes(safetensors({"timesteps": times, "noise": f32(4, 4, 4, rng.choice((4, 5)))}))
    return "score --mdp diffusion --model sd1 --latents latents.safetensors --draws d.safetensors --out s"


CASES = [thin, thin, large, claimed, notes, bomb, frames, jpeg, webp, exif, picture_names, tensor_shapes, tensor_header,
         thin_latents, wild_draws]

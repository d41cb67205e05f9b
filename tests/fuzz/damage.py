"""Damage to a valid file: bytes, lengths, JSON, and what it takes to get past the first checksum."""

import gzip
import json
import re
import struct
import zlib

import writers

NUMBERS = [0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63,
           2**64 - 1]
VALUES = [None, True, False, 0, -1, 1, 2.5, -0.0, 1e308, 1e-320, 2**31, 2**63, 2**64, -(2**63), 10**400, "", "a", "\0",
          "\ud800", "1", "null", [], {}, [[]], [None], {"": None}, [1, "a"], float("nan"), float("inf"), -float("inf"),
          "é" * 50, {"a": {"b": []}}]
TEXTS = (".json", ".jsonl", ".toml", ".txt", ".jinja")
PIECES = [b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\r\n", b"\n", b'"', b"{", b"[", b"}", b"]", b",", b"\\u0000",
          b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"\xef\xbb\xbf", b"{{", b"{% for x in y %}", b"'", b"9" * 400]


def flip(rng, data):
    for _ in range(rng.choice((1, 1, 2, 4, 8, 32))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(rng, data):
    del data[rng.randrange(len(data)):]


def blank(rng, data):
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice((1, 4, 16, 300)))
    data[at:end] = bytes([rng.choice((0, 255, 32))]) * (end - at)


def splice(rng, data):
    at, to, size = rng.randrange(len(data)), rng.randrange(len(data)), rng.choice((1, 8, 64, 1000))
    data[to:to + rng.choice((0, size))] = data[at:at + size]


def insert(rng, data):
    at = rng.randrange(len(data))
    data[at:at] = rng.choice((rng.choice(PIECES), rng.randbytes(rng.choice((1, 7, 500)))))


def remove(rng, data):
    at = rng.randrange(len(data))
    del data[at:at + rng.choice((1, 1, 2, 8, 100))]


def length(rng, data):
    """An integer field becomes a number that somebody may believe; most are near the start, or near the end."""
    near = rng.choice((len(data), 64, 512, -512))
    at = rng.randrange(max(0, len(data) + near), len(data)) if near < 0 else rng.randrange(min(near, len(data)))
    code = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    number = struct.pack(code, rng.choice(NUMBERS) & (1 << 8 * struct.calcsize(code)) - 1)
    data[at:at + len(number)] = number


def digits(rng, data):
    """A number in a text becomes another."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data)))
    if found:
        place = rng.choice(found)
        number = rng.choice([value for value in VALUES if isinstance(value, (int, float))])
        data[place.start():place.end()] = json.dumps(number).encode()


BYTES = [flip, cut, blank, splice, insert, remove, length, length]


def nodes(value, found, path=()):
    """Every place in a JSON value."""
    found.append(path)
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        nodes(child, found, (*path, key))


def deep(rng):
    depth = rng.choice((10, 127, 128, 129, 1000, 20000))
    return "[" * depth + "]" * depth if rng.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth


def change_json(rng, text):
    """One place of a JSON text holds another value, is twice there, gone, renamed, or very deep."""
    value = json.loads(text)
    found = []
    nodes(value, found)
    path = rng.choice(found)
    if not path:
        return rng.choice((deep(rng), json.dumps(rng.choice(VALUES))))
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    key, what = path[-1], rng.randrange(6)
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent[rng.choice(("", "a", str(key).upper(), str(key) + "s"))] = parent.pop(key)
    elif what == 2:
        mark = "<the deep place>"
        parent[key] = mark
        return json.dumps(value).replace(json.dumps(mark), deep(rng))
    elif what == 3 and isinstance(parent[key], (list, str)):
        parent[key] = parent[key] * rng.choice((2, 100))
    else:
        parent[key] = rng.choice(VALUES)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def damage_json(rng, name, data):
    if name.endswith(".jsonl"):
        rows = data.splitlines()
        at = rng.randrange(len(rows))
        rows[at] = change_json(rng, rows[at]).encode()
        return b"\n".join(rows) + b"\n"
    return change_json(rng, data).encode()


def damage_header(rng, data):
    """The JSON header of a safetensors file, with the right length before it."""
    size = struct.unpack("<Q", data[:8])[0]
    header = change_json(rng, data[8:8 + size]).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + size:]


def damage_png(rng, data):
    """A chunk, with the right checksum behind it."""
    at, chunks = 8, []
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at:at + 4])[0]
        chunks.append([data[at + 4:at + 8], data[at + 8:at + 8 + size]])
        at += 12 + size
    place = rng.choice(chunks)
    if place[0] == b"IDAT" and rng.random() < 0.5:
        place[1] = zlib.compress(damage_bytes(rng, zlib.decompress(place[1])))
    elif place[1]:
        place[1] = damage_bytes(rng, place[1])
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    return data[:8] + b"".join(writers.chunk(kind, body) for kind, body in chunks)


def damage_bytes(rng, data, ways=tuple(BYTES)):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if data:
            rng.choice(ways)(rng, data)
    return bytes(data)


def damage(rng, name, data):
    """The file's bytes, spoiled; a function of the generator alone."""
    is_clever = rng.random() < 0.6
    if name.endswith(".gz"):
        if is_clever:
            return gzip.compress(damage(rng, name[:-3], gzip.decompress(data)), mtime=0)
    elif name.endswith((".json", ".jsonl")) and is_clever:
        return damage_json(rng, name, data)
    elif name.endswith(".safetensors") and is_clever:
        return damage_header(rng, data)
    elif name.endswith(".png") and is_clever:
        return damage_png(rng, data)
    return damage_bytes(rng, data, (*BYTES, digits, digits, insert) if name.endswith(TEXTS) else tuple(BYTES))

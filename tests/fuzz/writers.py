"""The container formats, written by hand: what is claimed in them and what is there need not agree."""

import json
import struct
import zlib

I64, BYTES = 2, 6  # Parquet's physical types


def safetensors(tensors, header=None, length=None, notes=None):
    """A file of `{name: (dtype, shape, bytes)}`; `header` and `length` claim something else than what is there."""
    entries, body = ({"__metadata__": notes} if notes else {}), b""
    for name, (dtype, shape, data) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = header if header is not None else json.dumps(entries).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head) if length is None else length) + head + body


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows=None, depth=8, colour=2, interlaced=0, extra=b""):
    """A picture of any claimed size; `rows` is what is compressed, by default a black picture of that size."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if rows is None:
        row = 1 + (width * channels * depth + 7) // 8
        packer = zlib.compressobj(1)
        rows = b"".join(packer.compress(bytes(row)) for _ in range(height)) + packer.flush()
    else:
        rows = zlib.compress(rows)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(6)) if colour == 3 else b""
    body = chunk(b"IHDR", head) + extra + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def gguf_text(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(values, tensors, n_values=None, n_tensors=None, version=3):
    """A file of `[(name, type, bytes)]` and `[(name, dims, type, offset)]` as they are given."""
    n_values = len(values) if n_values is None else n_values
    n_tensors = len(tensors) if n_tensors is None else n_tensors
    parts = [b"GGUF", struct.pack("<IQQ", version, n_tensors, n_values)]
    parts += [gguf_text(name) + struct.pack("<I", kind) + data for name, kind, data in values]
    for name, dims, kind, offset in tensors:
        parts.append(gguf_text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset))
    return b"".join(parts)


def llama2c(width=16, inner=24, layers=1, heads=2, groups=2, vocabulary=300, context=32, weights=None):
    if weights is None:
        head = width // heads
        one = 2 * width + 2 * width * width + 2 * width * groups * head + 3 * width * inner
        count = vocabulary * width + layers * one + width + context * head
        weights = struct.pack("<f", 0.01) * count
    return struct.pack("<7i", width, inner, layers, heads, groups, vocabulary, context) + weights


class Thrift:
    """A struct in Thrift's compact protocol, as Parquet's footers and page headers are."""

    def __init__(self):
        self.data, self.last = bytearray(), 0

    def field(self, number, kind):
        step = number - self.last
        self.data += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + varint(zigzag(number))
        self.last = number

    def number(self, field, value, kind=6):
        self.field(field, kind)
        self.data += varint(zigzag(value))
        return self

    def i32(self, field, value):
        return self.number(field, value, 5)

    def text(self, field, value):
        self.field(field, 8)
        self.data += varint(len(value)) + value
        return self

    def struct(self, field, value):
        self.field(field, 12)
        self.data += value.end()
        return self

    def list(self, field, kind, items, claimed=None):
        self.field(field, 9)
        n = len(items) if claimed is None else claimed
        self.data += bytes([n << 4 | kind]) if 0 <= n < 15 else bytes([0xF0 | kind]) + varint(n)
        self.data += b"".join(items)
        return self

    def end(self):
        return bytes(self.data) + b"\0"


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def zigzag(value):
    return (value << 1) ^ (value >> 63)


def parquet(columns, claims=None, codec=0, pack=None):
    """A file of one row group: `{name: [bytes or int, ..]}`, required columns, plain encoding.

    `claims` replaces numbers: `rows`, `group_rows`, `values`, `page_values`, `plain`, `packed`, `size`, `offset`,
    `children`, `groups`, `footer`. `pack` compresses a page's bytes for `codec`.
    """
    claims = claims or {}
    rows = len(next(iter(columns.values())))
    body, chunks = bytearray(b"PAR1"), []
    for name, values in columns.items():
        kind = BYTES if isinstance(values[0], bytes) else I64
        page = b"".join(struct.pack("<I", len(v)) + v if kind == BYTES else struct.pack("<q", v) for v in values)
        packed = pack(page) if pack else page
        header = Thrift().i32(1, 0).i32(2, claims.get("plain", len(page))).i32(3, claims.get("packed", len(packed)))
        header.struct(5, Thrift().i32(1, claims.get("page_values", rows)).i32(2, 0).i32(3, 3).i32(4, 3))
        start, data = len(body), header.end() + packed
        body += data
        meta = Thrift().i32(1, kind).list(2, 5, [varint(zigzag(0))]).list(3, 8, [varint(len(name)) + name.encode()])
        meta.i32(4, codec).number(5, claims.get("values", rows)).number(6, claims.get("size", len(data)))
        meta.number(7, claims.get("size", len(data))).number(9, claims.get("offset", start))
        chunks.append(Thrift().number(2, start).struct(3, meta).end())
    schema = [Thrift().text(4, b"schema").i32(5, claims.get("children", len(columns))).end()]
    for name, values in columns.items():
        leaf = Thrift().i32(1, BYTES if isinstance(values[0], bytes) else I64).i32(3, 0).text(4, name.encode())
        schema.append((leaf.i32(6, 0) if isinstance(values[0], bytes) and not values[0][:1] > b"\x7f" else leaf).end())
    group = Thrift().list(1, 12, chunks).number(2, len(body)).number(3, claims.get("group_rows", rows)).end()
    footer = Thrift().i32(1, 1).list(2, 12, schema).number(3, claims.get("rows", rows))
    footer = footer.list(4, 12, [group], claims.get("groups")).end()
    return bytes(body) + footer + struct.pack("<I", claims.get("footer", len(footer))) + b"PAR1"

"""Files that keep to their format and claim, hold or ask for far too much.

A case is a function of a generator, the folder to write into, and a function that lays a seed beside it. It writes its
files and gives the command.
"""

import gzip
import json
import struct
import zlib

import hostile_models
import hostile_pictures
from seeds import PROMPTS, RECORDS, TRAIN, lines
from writers import parquet

COUNTS = [2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**53, 2**62, 2**63 - 1]
READS = ("inspect {}", "inspect {} --on-bad skip", "score --model builtin:tldr --out s --data {}", TRAIN + " --data {}")


def records(rng, scene, content, name="data.jsonl"):
    (scene / name).write_bytes(content)
    return rng.choice(READS).replace("{}", name)


def deep_json(rng, scene, lay):
    """A record with a field, an answer, or itself at a great depth."""
    depth = rng.choice((50, 126, 127, 128, 200, 5000, 200_000, 2_000_000))
    deep = "[" * depth + "]" * depth if rng.random() < 0.5 else '{"a":' * depth + "0" + "}" * depth
    field = rng.choice(("extra", "prompt", "chosen", "rejected", "messages"))
    record = RECORDS["trl"](0) | {field: "HERE"}
    text = rng.choice((json.dumps(record).replace('"HERE"', deep), deep))
    return records(rng, scene, text.encode() + b"\n")


def deep_tree(rng, scene, lay):
    depth = rng.choice((20, 60, 120, 1000, 30_000))
    reply = '{"text": "t", "role": "assistant", "rank": 0, "replies": ['
    text = reply.replace("assistant", "prompter") + reply * depth + "]}" * depth + "]}"
    lay("chatty")
    (scene / "data.jsonl").write_text('{"prompt": ' + text + "}\n")
    return "inspect chatty --data data.jsonl"


def long_line(rng, scene, lay):
    """One text of many megabytes, of one letter, of words, or of what a tokenizer must take apart."""
    size = rng.choice((1 << 20, 4 << 20, 16 << 20))
    field = rng.choice(("prompt", "chosen", "rejected", "extra"))
    unit = rng.choice(("a", "a ", "\n", " ", "é", "0", "SUBREDDIT: r/", "\\u0000", "<|endoftext|>"))
    text = json.dumps(RECORDS["trl"](0) | {field: "HERE"}).replace("HERE", unit * (size // len(unit)))
    return records(rng, scene, text.encode() + b"\n")


def many_columns(rng, scene, lay):
    n = rng.choice((1000, 20_000, 200_000))
    return records(rng, scene, lines(RECORDS["trl"](row) | {f"c{at}": at for at in range(n)} for row in range(2)))


def many_rows(rng, scene, lay):
    """A great many small lines: records, empty ones, or lines that are no records."""
    record = lines([RECORDS["trl"](0)])
    line = rng.choice((record, b"\n", b"{}\n", b"[]\n", b'{"a":1}\n'))
    # To score good records takes the time it takes.
    size = 1 << 14 if line is record else rng.choice((1 << 17, 1 << 20))
    return records(rng, scene, line * (size // len(line)))


def twice_named(rng, scene, lay):
    """The same key over and over; JSON allows it."""
    field = rng.choice(("prompt", "chosen", "x"))
    body = ", ".join(f'"{field}": "{n}"' for n in range(rng.choice((2, 1000, 100_000))))
    return records(rng, scene, f'{{"prompt": "p", "chosen": "a", "rejected": "b", {body}}}\n'.encode())


def huge_numbers(rng, scene, lay):
    number = rng.choice(("1" * 400, "1e999999", "-1e-999999", "1" * 100_000, "0." + "0" * 50_000 + "1", "NaN"))
    field = rng.choice(("extra", "label", "score_chosen", "prompt"))
    text = json.dumps(RECORDS[rng.choice(("trl", "kto", "ultrafeedback"))](0) | {field: "HERE"})
    return records(rng, scene, text.replace('"HERE"', number).encode() + b"\n")


def many_answers(rng, scene, lay):
    n = rng.choice((1000, 20_000, 100_000))
    ranks = {"ranks": rng.choice((list(range(n)), [0] * n, [2**63 - 1] * n))} if rng.random() < 0.5 else {}
    return records(rng, scene, lines([{"prompt": "p", "responses": [f" {at}" for at in range(n)]} | ranks]))


def long_chat(rng, scene, lay):
    n = rng.choice((1000, 50_000))
    turns = [{"role": ("user", "assistant")[at % 2], "content": rng.choice("abc")} for at in range(n)]
    lay("chatty")
    (scene / "data.jsonl").write_bytes(lines([{"messages": turns}]))
    return "inspect chatty --data data.jsonl"


def big_array(rng, scene, lay):
    """A JSON array of many values, or an object where an array is wanted."""
    value = rng.choice(("[]", "{}", "0", json.dumps(RECORDS["trl"](0))))
    # Good records cost what they hold, so there are fewer of them.
    many = (1000, 50_000) if len(value) < 3 else (50, 500)
    text = "[" + ",".join([value] * rng.choice(many)) + "]"
    wrapped = rng.choice((text, f'{{"data": {text}}}'))
    return records(rng, scene, wrapped.encode(), "data.json")


def gzip_bomb(rng, scene, lay):
    """A line, or many, that unpack to gigabytes: members of a gzip file follow one another."""
    unit = rng.choice((b"a", b"\n", b" ", b"[", b'{"a":', b'{"a":1}\n')) * (1 << 20)
    start = rng.choice((b"", b'{"prompt": "'))
    times = max(1, rng.choice((16, 256, 4096)) // (len(unit) >> 20))
    packed = (gzip.compress(start, mtime=0) if start else b"") + gzip.compress(unit, 9, mtime=0) * times
    return records(rng, scene, packed, rng.choice(("data.jsonl.gz", "data.json.gz")))


def binary_text(rng, scene, lay):
    content = rng.choice((bytes(1 << 20), rng.randbytes(1 << 20), "\ufeff".encode() * 9, b"\xff\xfe" + b"a\0" * 9999))
    return records(rng, scene, content, rng.choice(("data.jsonl", "data.json", "data.parquet", "data.jsonl.gz")))


def pair_columns(n=3):
    rows = [RECORDS["trl"](at) for at in range(n)]
    return {name: [row[name].encode() for row in rows] for name in rows[0]}


def parquet_claims(rng, scene, lay):
    """Counts and sizes that are not those of the file."""
    names = ("rows", "group_rows", "values", "page_values", "plain", "packed", "size", "offset", "children", "groups",
             "footer")
    claims = {name: rng.choice(COUNTS + [0, 1, -1, 2**31 - 9]) for name in rng.sample(names, rng.choice((1, 1, 2, 3)))}
    for name in {"page_values", "plain", "packed", "children"} & claims.keys():
        claims[name] &= 0x7FFFFFFF
    if "footer" in claims:
        claims["footer"] &= 0xFFFFFFFF
    return records(rng, scene, parquet(pair_columns(), claims), "data.parquet")


def parquet_bomb(rng, scene, lay):
    """A page of a few kilobytes that unpacks to a text of many megabytes."""
    size = rng.choice((1 << 20, 64 << 20, 512 << 20))
    columns = {"prompt": [b"POST: x"], "chosen": [b"a" * size], "rejected": [b" b"]}
    table = parquet(columns, codec=2, pack=lambda page: gzip.compress(page, 1, mtime=0))
    return records(rng, scene, table, "data.parquet")


def parquet_codec(rng, scene, lay):
    """Pages that say they are packed and are not, or by no codec there is."""
    codec = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, -1, 99))
    return records(rng, scene, parquet(pair_columns(), codec=codec), "data.parquet")


def parquet_columns(rng, scene, lay):
    n = rng.choice((100, 2000, 10_000))
    return records(rng, scene, parquet(pair_columns() | {f"c{at}": [at] * 3 for at in range(n)}), "data.parquet")


def folder_of_shards(rng, scene, lay):
    """Many files, empty ones among them, and names that say nothing."""
    for at in range(rng.choice((3, 300))):
        content = rng.choice((b"", b"\n", lines([RECORDS["trl"](0)]), b"{", b"PAR1PAR1"))
        (scene / "data").mkdir(exist_ok=True)
        (scene / f"data/train-{at:05}{rng.choice(('.jsonl', '.parquet', '.json', '.jsonl.gz'))}").write_bytes(content)
    return rng.choice(READS).replace("{}", "data")


def long_prompts(rng, scene, lay):
    content = rng.choice((b"a" * (16 << 20), b"\n" * (8 << 20), b"\xff" * 99, b"a\n" * 3, PROMPTS[0].encode() * 99_999))
    name = rng.choice(("prompts.txt", "prompts.jsonl"))
    (scene / name).write_bytes(content)
    return f"sample --model builtin:tldr --max-length 40 --limit-prompts 2 --out s --prompts {name}"


def pair_folder(rng, scene, lay):
    """A folder of pairs whose numbers are out of this world."""
    lay("texts")
    number = rng.choice(COUNTS + [-1, 0, 1.5, "1", None])
    meta = json.loads((scene / "texts/pairs.json").read_text())
    rows = [json.loads(line) for line in (scene / "texts/pairs.jsonl").read_text().splitlines()]
    label = json.loads((scene / "texts/labels.jsonl").read_text().splitlines()[0])
    what = rng.randrange(5)
    if what == 0:
        meta[rng.choice(("pairs", "version", "id"))] = number
    elif what == 1:
        rows[0][rng.choice(("index", "request"))] = number
    elif what == 2:
        rows[0]["a"]["log_probs"] = [number] * rng.choice((1, 500_000))
    elif what == 3:
        rows[0]["a"]["response"] = "a" * (32 << 20)
    labels = [label | {"index": number}] if what == 4 else [label | {"labeller": f"p{n}"} for n in range(20_000)]
    (scene / "texts/pairs.json").write_text(json.dumps(meta | {"id": rng.choice(("mine", meta["id"]))}))
    (scene / "texts/pairs.jsonl").write_bytes(lines(rows))
    (scene / "texts/labels.jsonl").write_bytes(lines(labels))
    return rng.choice(("inspect texts", "judge --pairs texts --judge oracle", TRAIN + " --data texts"))


def run_folder(rng, scene, lay):
    """A run's own files, as somebody might have edited them."""
    lay("run")
    lay("trl.jsonl")
    name = rng.choice(("metrics.jsonl", "config.toml", "checkpoints/step-1/position.json"))
    deep = "[" * 100_000 + "]" * 100_000
    metrics = rng.choice((b'{"split":"train"}\n' * 200_000, b'{"split":' + deep.encode() + b"}\n", b"\n" * (4 << 20)))
    dotted = "[a]\n" + "a." * 50_000 + "b = 1"
    settings = rng.choice((f"a = {deep}", "[data]\n" * 9, dotted, f"[run]\nseed = {2**63 - 1}"))
    path = scene / "run" / name
    if name.endswith("l") and "metrics" in name:
        path.write_bytes(metrics)
    elif name.endswith("toml"):
        path.write_text(settings)
    else:
        place = json.loads(path.read_text())
        path.write_text(json.dumps({key: rng.choice(COUNTS + [-1, deep, None]) for key in place}))
    return rng.choice(("inspect run", "train --resume run --quiet"))


def settings_file(rng, scene, lay):
    lay("trl.jsonl")
    number = rng.choice(COUNTS)
    text = rng.choice((
        f"[data]\nmax_length = {number}\n", f"[data]\nlimit = {number}\n", f"[train]\nbatch_size = {number}\n",
        f"[run]\nseed = {number}\n", "x" * (4 << 20), "[" * 200_000, '"a" = "' + "b" * (8 << 20) + '"',
    ))
    (scene / "settings.toml").write_text(text)
    return "inspect builtin:tldr --data trl.jsonl --config settings.toml"


def zlib_tensors(rng, scene, lay):
    """A compressed file under another format's name."""
    (scene / "x.safetensors").write_bytes(struct.pack("<Q", 40) + zlib.compress(bytes(1 << 20)))
    return "inspect x.safetensors"


CASES = [
    deep_json, deep_tree, long_line, many_columns, many_rows, twice_named, huge_numbers, many_answers, long_chat,
    big_array, gzip_bomb, binary_text, parquet_claims, parquet_claims, parquet_bomb, parquet_codec, parquet_columns,
    folder_of_shards, long_prompts, pair_folder, run_folder, settings_file, zlib_tensors,
    *hostile_pictures.CASES, *hostile_models.CASES,
]

"""Seeds of the fuzz targets' corpora, from the program's own files, the peers' files and those written by hand here.

    pip install pillow
    python tests/fuzz/corpora.py --binary target/release/hybrid-dpo

They go to `tests/fuzz/corpora/TARGET/seed-N`; inputs under other names, which fuzzing has found, stay. With `--to FOLDER`
they go there. Seeds are small, or mutations of them would rarely hit what matters.
"""

import argparse
import gzip
import io
import json
import pathlib
import struct
import subprocess
import tempfile
import zipfile

import seeds
import writers
from seeds import GOLDEN, RECORDS, f32, i64, lines

MARK = b"\xff\xfe"
# As in tests/readers/records.rs.
ENDINGS = ["jsonl", "json", "csv", "tsv", "jsonl.gz", "jsonl.zst", "csv.gz", "txt", "arrow", "json.gz"]


def parts(**files):
    """An input of several files; `__` stands for a dot and `--` for a slash in their names, as in `unet--config__json`."""
    return whole({name.replace("__", ".").replace("--", "/"): data for name, data in files.items()})


def whole(files):
    return b"".join(MARK + name.encode() + b"\n" + data for name, data in files.items())


def npz(arrays, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, (kind, shape, data) in arrays.items():
            head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
            head += " " * (63 - (10 + len(head)) % 64) + "\n"
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + data)
    return file.getvalue()


def floats(*shape, kind="<f4"):
    count = 1
    for size in shape:
        count *= size
    return (kind, shape, struct.pack(f"<{count}{'f' if kind == '<f4' else 'd'}", *((n % 7 - 3) / 3 for n in range(count))))


def golden(name):
    return (GOLDEN / name).read_bytes()


def small(name, **changes):
    """A config of the golden files, on one line."""
    return json.dumps(json.loads(golden(name)) | changes, separators=(",", ":")).encode()


def tensors():
    dtypes = {"a": f32(2, 3), "b": ("BF16", (2,), b"\0\x3f\x80\x3f"), "c": ("F16", (0, 4), b""), "d": ("U8", (), b"\7"),
              "e": ("I64", (1,), bytes(8)), "f": ("F64", (1, 1), struct.pack("<d", 0.1)), "g": ("BOOL", (2,), b"\0\1")}
    plain = writers.safetensors(dtypes, notes={"format": "pt"})
    yield from (("safetensors", data) for data in (plain, writers.safetensors({}), writers.safetensors({"a": f32(1)}), plain[:-1]))
    scored = {"obs": floats(2, 3, 2), "action": floats(2, 3, 1), "reward": floats(2, 3), "rl_sum": floats(2, kind="<f8")}
    pairs = {f"{name}_{n}": floats(2, 3, 1) for name in ("obs", "action") for n in (1, 2)} | {"label": ("<f8", (2,), struct.pack("<2d", 0, 1))}
    kinds = {"a": ("|b1", (2,), b"\0\1"), "b": ("<i8", (1,), bytes(8)), "c": (">f4", (1,), b"\x3f\x80\0\0"), "d": ("<f2", (0,), b""), "e": ("|u1", (1, 2), b"ab")}
    for arrays in (scored, pairs, kinds):
        yield from (("npz", npz(arrays, how)) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    captions = {"captions": json.dumps(["a dog", "a cat"])}
    yield "latents", writers.safetensors({"chosen": f32(2, 1, 2, 1), "rejected": f32(2, 1, 2, 1)}, notes=captions)
    yield "latents", writers.safetensors({"chosen": f32(2, 1, 2, 1), "context": f32(2, 1, 2), "context_index": i64([1, 0])}, notes={"empty_context": "0"})
    yield "latents", writers.safetensors({"chosen": f32(2, 1, 2, 1), "rejected": f32(2, 1, 2, 1), "classes": i64([3, 0])})
    yield "latents", writers.safetensors({"timesteps": i64([1, 900]), "noise": f32(2, 1, 2, 1)})
    yield "latents", writers.safetensors({"timesteps": ("I64", (2, 2), bytes(32)), "noise": f32(2, 2, 1, 2, 1)})
    trajectories = {"latents": f32(2, 3, 1, 2, 1), "timesteps": i64([900, 100]), "log_probs": f32(2, 2), "better": i64([0]), "worse": i64([1])}
    yield "latents", writers.safetensors(trajectories, notes={"format": "hybrid-dpo trajectories 1", "policy": "p"} | captions)


def language():
    yield "gguf", golden("formats/qwen2.gguf")
    text = lambda name, value: (name, 8, writers.gguf_text(value))
    number = lambda name, value: (name, 4, struct.pack("<I", value))
    values = [text("general.architecture", "llama"), number("llama.block_count", 1), number("llama.embedding_length", 2),
              number("general.alignment", 32), ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + writers.gguf_text("a") + writers.gguf_text("b"))]
    yield "gguf", writers.gguf(values, [("token_embd.weight", (2, 2), 0, 0)]) + bytes(64)
    for width, inner, vocabulary in ((2, 2, 4), (4, 2, -4)):
        # Without its own output matrix a model is as long as its sizes say; a negative vocabulary has one.
        data = writers.llama2c(width, inner, 1, 1, 1, abs(vocabulary), 2)
        data = data[:20] + struct.pack("<i", vocabulary) + data[24:] + (struct.pack("<f", 0.5) * (4 * width) if vocabulary < 0 else b"")
        scores = b"".join(struct.pack("<fi", -float(n), 1) + bytes([97 + n]) for n in range(4))
        yield "llama2c", parts(model__bin=data)
        yield "llama2c", parts(model__bin=data, tokenizer__bin=struct.pack("<i", 1) + scores)
    yield "model", b""
    for family in ("gemma2", "gemma3", "granite", "olmo3", "phi3", "qwen3", "smollm3", "llama_yarn"):
        yield "model", parts(config__json=small(f"families/{family}/config.json"))
    yield "model", parts(config__json=small("formats/gpt2-base/config.json"), model__safetensors=golden("formats/gpt2-f16/model.safetensors"))
    shard = writers.safetensors({"model.norm.weight": f32(8)})
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors", "lm_head.weight": "model-00002-of-00002.safetensors"}}
    yield "model", whole({"model.safetensors.index.json": json.dumps(index).encode(), "model-00001-of-00002.safetensors": shard, "model-00002-of-00002.safetensors": shard})
    yield "adapter", b""
    config = "formats/llama-adapter/adapter_config.json"
    for changes in ({"use_dora": True}, {"modules_to_save": None, "use_rslora": True}, {"rank_pattern": {"q_proj": 1}, "target_modules": "all-linear"}):
        yield "adapter", parts(adapter_config__json=small(config, **changes))
    yield "adapter", parts(adapter_config__json=small("formats/tied-llama-adapter/adapter_config.json"), adapter_model__safetensors=golden("formats/tied-llama-adapter/adapter_model.safetensors"))
    yield "denoiser_adapter", parts(pytorch_lora_weights__safetensors=golden("unet_adapters/memory/pytorch_lora_weights.safetensors"))
    yield "denoiser_adapter", parts(adapter_config__json=golden("unet_adapters/peft/adapter_config.json"), adapter_model__safetensors=golden("unet_adapters/peft/adapter_model.safetensors"))


def tokenizers(folder):
    yield "tokenizer", b""
    special = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "add_bos_token": True, "tokenizer_class": "LlamaTokenizer", "chat_template": "{{ messages }}"}
    yield "tokenizer", parts(tokenizer_config__json=json.dumps(special).encode(), chat_template__jinja=seeds.TEMPLATE.encode())
    yield "tokenizer", parts(special_tokens_map__json=b'{"eos_token":"</s>"}', added_tokens__json=b'{"<x>":3}', generation_config__json=b'{"eos_token_id":[1,2]}')
    words = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}, "pre_tokenizer": {"type": "Whitespace"}}
    bytewise = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]], "byte_fallback": True},
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}]},
                "added_tokens": [{"id": 4, "content": "<s>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": False, "special": True}]}
    unigram = {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁a", -1.5], ["d", -2.0]], "byte_fallback": False},
               "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}, "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}}
    pieces = {"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##d": 2}}, "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
              "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[UNK]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"[UNK]": {"id": "[UNK]", "ids": [0], "tokens": ["[UNK]"]}}}}
    for file in (words, bytewise, unigram, pieces):
        yield "tokenizer", parts(tokenizer__json=json.dumps(file, ensure_ascii=False).encode())


def templates():
    for name, source in json.loads(golden("datasets/chat.json"))["templates"].items():
        yield "template", source.encode()
    cases = [case[0] for case in json.loads(golden("datasets/jinja.json"))["cases"]]
    # Several small ones make a seed, so that mutations combine them.
    for at in range(0, len(cases), 24):
        yield "template", "\n".join(cases[at:at + 24]).encode()


def records(folder):
    def named(ending, data):
        return "records", bytes([ENDINGS.index(ending)]) + data

    for record in RECORDS.values():
        yield named("jsonl", lines(record(n) for n in range(2)))
    two = [RECORDS["trl"](n) for n in range(2)]
    yield named("json", json.dumps(two).encode())
    yield named("jsonl.gz", gzip.compress(lines(two), mtime=0))
    table = "prompt,chosen,rejected\n\"a, b\",c,\"d \"\"e\"\"\"\nf,g,h\n"
    yield named("csv", table.encode())
    yield named("csv.gz", gzip.compress(table.encode(), mtime=0))
    yield named("tsv", b"prompt\tcompletion\tlabel\na\tb\ttrue\n")
    yield named("txt", b"a dog\na cat\n")
    yield named("jsonl", lines([{"version": 1, "request": "a pet", "chosen": {"refined": "a dog", "image": "a.png"}, "rejected": {"image": "b.png"}}]))
    try:
        import pyarrow

        table, stream = pyarrow.Table.from_pylist(two), pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        yield named("arrow", stream.getvalue().to_pybytes())
        yield named("jsonl.zst", pyarrow.compress(lines(two), "zstd", asbytes=True))
    except ImportError:
        print("without pyarrow there is no stream of Arrow and no zstd among the seeds")
    columns = {name: [record[name].encode() for record in two] for name in two[0]}
    yield "parquet", writers.parquet(columns | {"extra": [1, 2]})
    packer = lambda page: gzip.compress(page, mtime=0)
    yield "parquet", writers.parquet(columns, codec=2, pack=packer)
    yield "parquet", writers.parquet({"caption": [b"a dog"], "jpg_0": [seeds.picture("PNG", 1)], "jpg_1": [seeds.picture("PNG", 2)], "label_0": [1]})
    for kind in ("PNG", "JPEG", "WEBP"):
        yield from (("pictures", seeds.picture(kind, n)) for n in (1, 2))
    yield from (("pictures", writers.png(5, 3, depth=depth, colour=colour, interlaced=interlaced))
                for depth, colour, interlaced in ((1, 0, 0), (16, 6, 1), (8, 3, 0), (8, 4, 0)))


def folders(folder):
    yield "pairs", b""
    label = lambda **given: json.dumps({"version": 1, "pairs": "given", "index": 0, "labeller": "anna", "by": "person"} | given).encode() + b"\n"
    labels = label(choice="a") + label(choice="tie", labeller="ben", by="model") + label(undo=True) + label(index=1, choice="skip")
    yield "pairs", parts(labels__jsonl=labels)
    yield "pairs", parts(labels__jsonl=labels[:-20])
    texts = {name: (folder / "texts" / name).read_bytes() for name in ("pairs.json", "pairs.jsonl", "labels.jsonl")}
    yield "pairs", whole(texts)
    head = json.loads(texts["pairs.json"]) | {"id": "given", "pairs": 1, "modality": "hybrid"}
    pair = {"version": 1, "index": 0, "request": "a pet"}
    for side in "ab":
        pair[side] = {"refined": f"a small {side}", "refined_tokens": [1, 2], "image": f"images/00000-{side}.png", "seed": 1, "log_probs": [-0.5]}
    latents = writers.safetensors({"a": f32(1, 1, 2, 1), "b": f32(1, 1, 2, 1)})
    yield "pairs", whole({"pairs.json": json.dumps(head).encode(), "pairs.jsonl": lines([pair]), "latents.safetensors": latents,
                          "images/00000-a.png": writers.png(2, 1), "images/00000-b.png": writers.png(2, 1)})
    yield "run", b""
    yield "run", whole({name: (folder / "run" / name).read_bytes() for name in ("config.toml", "metrics.jsonl")})
    summary = folder / "run/report/summary.json"
    yield "run", whole({"report/summary.json": summary.read_bytes(), "checkpoints/step-1/position.json": (folder / "run/checkpoints/step-1/position.json").read_bytes()})
    key = b'{"model":"m","data":"d"}'
    cache = b"hdporef1" + struct.pack("<I", len(key)) + key + struct.pack("<QQIII2d", 1, 3, 2, 1, 1, -0.5, -2.0)
    yield "run", whole({"checkpoints/reference.cache": cache})
    samples = sorted((folder / "adapted/samples").glob("*.jsonl")) or [folder / "trl.jsonl"]
    yield "run", whole({"samples/step-1.jsonl": samples[0].read_bytes()[:2000]})


def pipelines():
    yield "pipeline", b""
    sd = "companions/sd/"
    for name in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json"):
        yield "pipeline", whole({name: small(sd + name)})
    yield "pipeline", whole({"tokenizer/vocab.json": golden(sd + "tokenizer/vocab.json")[:2000], "tokenizer/merges.txt": golden(sd + "tokenizer/merges.txt")})
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    karras = {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "timestep_spacing": "trailing", "use_karras_sigmas": True, "solver_order": 2}
    yield from (("pipeline", whole({"scheduler/scheduler_config.json": json.dumps(scheduler).encode()})) for scheduler in (flow, karras))
    for config in ("sd3/sd3", "flux/dev", "dit/dit", "dit/pixart"):
        yield "pipeline", whole({"transformer/config.json": small(f"{config}/config.json")})
    for config in ("unet/sd2", "unet/sdxl", "unet/ddpm"):
        yield "pipeline", whole({"unet/config.json": small(f"{config}/config.json")})


def refused():
    """An input that is refused, of the targets whose other seeds are all taken."""
    yield "latents", writers.safetensors({"chosen": f32(2, 1, 2, 1)})[:-3]
    yield "pairs", parts(pairs__json=b"{")
    yield "parquet", b"PAR1"
    yield "tokenizer", parts(tokenizer__json=b"{")
    yield "denoiser_adapter", b""


def every(folder):
    yield from tensors()
    yield from language()
    yield from tokenizers(folder)
    yield from templates()
    yield from records(folder)
    yield from folders(folder)
    yield from pipelines()
    yield from refused()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent / "corpora")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        seeds.make(str(pathlib.Path(given.binary).resolve()), folder)
        counts = {}
        for old in given.to.glob("*/seed-*"):
            old.unlink()
        for target, data in every(folder):
            counts[target] = counts.get(target, 0) + 1
            (given.to / target).mkdir(parents=True, exist_ok=True)
            (given.to / target / f"seed-{counts[target]:02}").write_bytes(data)
    size = sum(path.stat().st_size for path in given.to.glob("*/*"))
    print(f"{sum(counts.values())} seeds of {len(counts)} targets, {size} bytes in all")


if __name__ == "__main__":
    main()

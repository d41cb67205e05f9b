"""Valid files of every format, and what the program is asked to do with each.

They come from the program itself (runs, pairs, trajectories), from the peers' folders under `tests/golden`, from Pillow
(JPEG, WebP), and for the rest from `writers`.
"""

import gzip
import io
import json
import pathlib
import shutil
import struct
import subprocess

from PIL import Image

import writers

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
SHORT = "--eval-share 0 --n-samples 0 --eval-examples 0 --batch-size 2 --max-steps 1 --quiet"

WORDS = ["owe 50", "late", "a dog of 3", "she left in may", "700 for rent", "job in ohio"]
PROMPTS = [f"POST: {word}\n\nTL;DR:" for word in WORDS]


TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | trim }}: {{ m.content }}"
    "{% if loop.last %}<|endoftext|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def chat(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


def tree(depth):
    replies = [tree(depth - 1), tree(depth - 1)] if depth else []
    for rank, reply in enumerate(replies):
        reply["rank"] = rank
    return {"text": f"level {depth}", "role": ("assistant", "prompter")[depth % 2], "replies": replies}


RECORDS = {
    "trl": lambda n: {"prompt": PROMPTS[n], "chosen": f" {WORDS[n]}", "rejected": " or not"},
    "chat": lambda n: {"chosen": chat(PROMPTS[n], WORDS[n]), "rejected": chat(PROMPTS[n], "no")},
    "hh": lambda n: {name: f"\n\nHuman: {WORDS[n]}?\n\nAssistant: {name}" for name in ("chosen", "rejected")},
    "ultrafeedback": lambda n: {
        "prompt": WORDS[n], "prompt_id": str(n), "chosen": chat(WORDS[n], "yes"), "rejected": chat(WORDS[n], "no"),
        "score_chosen": 8.5, "score_rejected": 2.0,
    },
    "kto": lambda n: {"prompt": PROMPTS[n], "completion": f" {WORDS[n]}", "label": n % 2 == 0},
    "ranked": lambda n: {"prompt": PROMPTS[n], "responses": [" a", " b", " c"], "ranks": [2, 0, 1]},
    "tree": lambda n: {"prompt": tree(3) | {"role": "prompter"}},
    "demonstration": lambda n: {"messages": chat(WORDS[n], "yes", "why?", "so")},
    "tldr": lambda n: {
        "info": {"post": WORDS[n], "title": "t", "subreddit": "pets"}, "choice": n % 2,
        "summaries": [{"text": " one"}, {"text": " two"}],
    },
}


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def picture(kind, n):
    image = Image.frombytes("RGB", (24, 20), bytes((x * n + 7 * y) % 256 for y in range(20) for x in range(72)))
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": n % 2 == 0} if kind == "WEBP" else {}))
    return file.getvalue()


def f32(*shape):
    count = 1
    for size in shape:
        count *= size
    return ("F32", shape, struct.pack(f"<{count}f", *(((7 * n) % 23 - 11) / 11 for n in range(count))))


def i64(values):
    return ("I64", (len(values),), struct.pack(f"<{len(values)}q", *values))


def make(binary, folder):
    """Writes all seeds into an empty folder."""

    def program(*words):
        answer = subprocess.run([binary, *words], cwd=folder, capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(f"a seed can't be made: {words}\n{answer.stderr}")

    for name, record in RECORDS.items():
        (folder / f"{name}.jsonl").write_bytes(lines(record(n) for n in range(6)))
    records = [RECORDS["trl"](n) for n in range(6)]
    (folder / "array.json").write_text(json.dumps(records, indent=1))
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(lines(records), mtime=0))
    columns = {name: [record[name].encode() for record in records] for name in records[0]}
    (folder / "table.parquet").write_bytes(writers.parquet(columns | {"extra": list(range(6))}))
    (folder / "prompts.txt").write_text("\n".join(WORDS[:2]) + "\n")
    (folder / "prompts.jsonl").write_bytes(lines({"prompt": prompt} for prompt in PROMPTS[:2]))
    (folder / "settings.toml").write_text('[data]\nlimit = 4\nmax_length = 64\n[run]\nseed = 3\nmdp = "token"\n')
    make_pictures(folder)
    make_models(folder)
    program(*f"train --model builtin:tldr --data trl.jsonl --out run {SHORT}".split())
    program(*f"train --model builtin:tldr --data trl.jsonl --out adapted --lora-rank 1 {SHORT}".split())
    program(*"sample --mdp token --prompts builtin:tldr --limit-prompts 2 --pairs texts".split())
    program(*"judge --pairs texts --judge oracle".split())
    program(*"sample --mdp token --prompts prompts.txt --max-length 40 --pairs asked".split())
    shutil.copytree(folder / "run/model", folder / "chatty")
    (folder / "chatty/chat_template.jinja").write_text(TEMPLATE)
    program(*"sample --mdp hybrid --prompts builtin:chimera --limit-prompts 2 --pairs drawn".split())
    program(*("sample --mdp diffusion --model builtin:shapes --prompts builtin:shapes --limit-prompts 2 --n 2 "
              "--sample-steps 2 --eta 1 --out p.jsonl --save-trajectories trajectories.safetensors").split())


def make_pictures(folder):
    (folder / "pictures").mkdir()
    files = {"a.png": "PNG", "b.jpg": "JPEG", "c.webp": "WEBP", "d.webp": "WEBP"}
    for n, (name, kind) in enumerate(files.items()):
        (folder / "pictures" / name).write_bytes(picture(kind, n))
    for name in files:
        record = {"prompt": "a dog", "chosen": f"pictures/{name}", "rejected": "pictures/a.png"}
        (folder / f"{name[0]}-pictures.jsonl").write_bytes(lines([record]))
    sides = {"caption": [b"a dog"] * 2, "jpg_0": [picture("JPEG", 1)] * 2, "jpg_1": [picture("JPEG", 2)] * 2}
    (folder / "pickapic.parquet").write_bytes(writers.parquet(sides | {"label_0": [1, 0]}))
    latents = {"chosen": f32(4, 4, 4, 4), "rejected": f32(4, 4, 4, 4), "context": f32(4, 3, 12)}
    (folder / "latents.safetensors").write_bytes(writers.safetensors(latents))
    draws = {"timesteps": i64([1, 20, 500, 900]), "noise": f32(4, 4, 4, 4)}
    (folder / "draws.safetensors").write_bytes(writers.safetensors(draws))


def make_models(folder):
    for name in ("gpt2", "gptneox", "qwen2"):
        shutil.copy(GOLDEN / f"formats/{name}.gguf", folder)
    for name in ("formats/llama-base", "formats/llama-adapter", "formats/llama-bf16-sharded", "companions/sd",
                 "companions/sdxl", "rewards/llama", "rewards/clip", "unet/ddpm", "unet/sd1"):
        shutil.copytree(GOLDEN / name, folder / pathlib.Path(name).name)
    (folder / "llama").rename(folder / "reward")
    (folder / "sd1/pytorch_lora_weights.safetensors").rename(folder / "unet-lora.safetensors")
    (folder / "loras").mkdir()
    (folder / "unet-lora.safetensors").rename(folder / "loras/pytorch_lora_weights.safetensors")
    (folder / "model.bin").write_bytes(writers.llama2c())
    scores = b"".join(struct.pack("<fi", -float(n), 4) + b"w%03d" % n for n in range(300))
    (folder / "tokenizer.bin").write_bytes(struct.pack("<i", 4) + scores)


TRAIN = f"train --out out {SHORT} --model builtin:tldr"
PAIRS = ("inspect {}", TRAIN + " --data {}", "score --model builtin:tldr --out s --data {}")
READ = ("inspect {}",)
LOOK = ("inspect {} --image-size 16", "inspect {} --image-size 16 --on-bad-image skip")


def folder_targets(folder, files, commands, *more):
    return [(f"{folder}/{file}", (folder, *more), commands) for file in files.split()]


def picture_targets():
    for name in ("a.png", "b.jpg", "c.webp", "d.webp"):
        data = f"{name[0]}-pictures.jsonl"
        yield f"pictures/{name}", ("pictures", data), tuple(c.replace("{}", data) for c in LOOK)
    yield "a-pictures.jsonl", ("pictures",), LOOK
    yield "pickapic.parquet", (), LOOK


def targets():
    """(the file to spoil, what must lie beside it, what to do) of every format."""
    for name in RECORDS:
        if name in ("chat", "ultrafeedback", "tree", "demonstration"):
            yield f"{name}.jsonl", ("chatty",), ("inspect chatty --data {}", "inspect chatty --on-bad skip --data {}")
        else:
            is_pairs = name in ("trl", "tldr", "hh")
            yield f"{name}.jsonl", (), PAIRS if is_pairs else READ + ("inspect {} --on-bad skip",)
    for name in ("array.json", "packed.jsonl.gz", "table.parquet"):
        yield name, (), PAIRS
    for name in ("prompts.txt", "prompts.jsonl"):
        yield name, (), ("sample --model builtin:tldr --out s --max-length 40 --prompts {}",)
    yield "settings.toml", (), ("inspect builtin:tldr --config {}",)
    yield from picture_targets()
    unet = "--mdp diffusion --model sd1 --latents {}"
    yield "latents.safetensors", ("sd1",), READ + (f"score {unet} --out s", f"train {unet} --out out {SHORT}")
    yield "draws.safetensors", ("sd1", "latents.safetensors"), (
        "score --mdp diffusion --model sd1 --latents latents.safetensors --draws {} --out s",) + READ
    yield "trajectories.safetensors", (), READ
    yield from model_targets()
    yield from denoiser_targets()
    yield from run_targets()


def model_targets():
    for name in ("gpt2.gguf", "gptneox.gguf", "qwen2.gguf"):
        yield name, (), READ
    yield "model.bin", ("tokenizer.bin",), READ
    yield "tokenizer.bin", ("model.bin",), ("inspect model.bin",)
    base = "config.json generation_config.json model.safetensors"
    yield from folder_targets("llama-base", base, ("inspect llama-base",))
    shards = "model.safetensors.index.json model-00002-of-00003.safetensors"
    yield from folder_targets("llama-bf16-sharded", shards, ("inspect llama-bf16-sharded",))
    adapter = "adapter_config.json adapter_model.safetensors"
    yield from folder_targets("llama-adapter", adapter, ("inspect llama-base+llama-adapter",), "llama-base")
    whole = "config.json tokenizer.json tokenizer_config.json generation_config.json"
    sample = "sample --model run/model --prompts prompts.txt --max-length 40 --out s"
    use = ("inspect run/model --data trl.jsonl", sample)
    yield from folder_targets("run/model", whole, use, "trl.jsonl", "prompts.txt")
    chatting = ("inspect chatty --data chat.jsonl",)
    yield from folder_targets("chatty", "chat_template.jinja tokenizer_config.json", chatting, "chat.jsonl")
    judged = ("judge --pairs asked --judge reward",)
    rewards = "config.json tokenizer.json tokenizer_config.json chat_template.jinja model.safetensors"
    yield from folder_targets("reward", rewards, judged, "asked")
    clip = "config.json tokenizer.json tokenizer_config.json preprocessor_config.json model.safetensors"
    yield from folder_targets("clip", clip, ("judge --pairs drawn --judge clip",), "drawn")


def denoiser_targets():
    parts = "model_index.json scheduler/scheduler_config.json text_encoder/config.json " \
        "text_encoder/model.safetensors tokenizer/vocab.json tokenizer/merges.txt tokenizer/tokenizer_config.json " \
        "tokenizer/special_tokens_map.json unet/config.json unet/diffusion_pytorch_model.safetensors vae/config.json " \
        "vae/diffusion_pytorch_model.safetensors"
    draw = "sample --mdp diffusion --model sd --prompts prompts.txt --sample-steps 1 --image-size 16 --out s.jsonl"
    yield from folder_targets("sd", parts, ("inspect sd", draw), "prompts.txt")
    tokenizers = "tokenizer_2/tokenizer.json text_encoder_2/config.json scheduler/scheduler_config.json"
    yield from folder_targets("sdxl", tokenizers, ("inspect sdxl",))
    shards = "diffusion_pytorch_model.safetensors.index.json diffusion_pytorch_model-00001-of-00002.safetensors"
    yield from folder_targets("ddpm", shards, ("inspect ddpm",))
    yield from folder_targets("loras", "pytorch_lora_weights.safetensors", ("inspect sd1+loras",), "sd1")


def run_targets():
    run = "config.toml metrics.jsonl checkpoints/step-1/position.json checkpoints/step-1/weights.safetensors " \
        "checkpoints/step-1/optimizer.safetensors checkpoints/reference.cache"
    go_on = ("inspect run", "train --resume run --quiet", "score --model run --data trl.jsonl --out s")
    yield from folder_targets("run", run, go_on, "trl.jsonl")
    adapter = "adapter_config.json adapter_model.safetensors tokenizer.json tokenizer_config.json"
    yield from folder_targets("adapted/model", adapter, ("inspect adapted/model --data trl.jsonl",), "trl.jsonl")
    texts = ("inspect texts", "judge --pairs texts --judge oracle", TRAIN + " --data texts")
    yield from folder_targets("texts", "pairs.json pairs.jsonl labels.jsonl", texts)
    drawn = "pairs.json pairs.jsonl latents.safetensors images/00000-a.png"
    yield from folder_targets("drawn", drawn, ("inspect drawn", "judge --pairs drawn --judge oracle"))

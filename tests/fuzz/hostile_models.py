"""Models, tokenizers, templates, adapters and schedulers of great claims and wrong types."""

import json
import struct

from writers import gguf, gguf_text, llama2c

SIZES = [0, 1, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1]
WRONG = [None, True, "true", "1", "", [], [1], {}, {"a": 1}, 2.9, -1, 0, 1e308, float("nan"), "a" * 100_000]
DEEP = "[" * 100_000 + "]" * 100_000


def change(rng, path, values, names=None):
    """Some settings of a JSON file take other values; one may be very deep."""
    content = json.loads(path.read_text())
    names = names or list(content)
    for name in rng.sample(names, min(len(names), rng.choice((1, 1, 2, 4)))):
        content[name] = rng.choice(values)
    text = json.dumps(content)
    if rng.random() < 0.05:
        text = text[:-1] + f', "deep": {DEEP}}}'
    path.write_text(text)


def model_sizes(rng, scene, lay):
    """A config whose sizes no machine has."""
    lay("llama-base")
    names = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "head_dim", "max_position_embeddings"]
    change(rng, scene / "llama-base/config.json", SIZES, names)
    return "inspect llama-base"


def model_types(rng, scene, lay):
    lay("llama-base")
    change(rng, scene / "llama-base/config.json", WRONG + SIZES)
    return "inspect llama-base"


def adapter(rng, scene, lay):
    """Ranks, patterns and lists of wrong types, and names that take a matcher long."""
    lay("llama-base")
    lay("llama-adapter")
    slow = ["(a+)+$", "(.*)*x", ".*" * 200 + "q", "(" * 500 + ")" * 500, "[", "a{1000}{1000}{1000}", "^(?:a|a)*$"]
    values = WRONG + SIZES + slow + [{pattern: 2**40 for pattern in slow}, slow * 1000]
    change(rng, scene / "llama-adapter/adapter_config.json", values)
    return "inspect llama-base+llama-adapter"


def tokenizer_ids(rng, scene, lay):
    """Ids that would make a table of gigabytes, and names without end."""
    lay("run/model")
    lay("trl.jsonl")
    path = scene / "run/model/tokenizer.json"
    content = json.loads(path.read_text())
    ids = rng.choice(SIZES + [2**32 - 1, -1])
    what = rng.randrange(4)
    if what == 0:
        content["model"]["vocab"]["zz"] = ids
    elif what == 1:
        content["added_tokens"].append(content["added_tokens"][0] | {"id": ids, "content": "zz"})
    elif what == 2:
        content["model"]["vocab"] |= {f"t{n}": n + 512 for n in range(300_000)}
    else:
        content["model"]["merges"] = [["a", "b"]] * 100_000
    path.write_text(json.dumps(content))
    return "inspect run/model --data trl.jsonl"


def tokenizer_patterns(rng, scene, lay):
    """Regular expressions that take long, on a text that makes them, and parts of tokenizers nested deep."""
    lay("run/model")
    path = scene / "run/model/tokenizer.json"
    content = json.loads(path.read_text())
    pattern = rng.choice(("(a+)+$", "(a|a)*b", "(?=(a+))\\1*b", "(a*)*b", "(?<=a{1,100})b", "", "(", "a{99999}"))
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    kind = rng.choice(("pre_tokenizer", "normalizer"))
    replace = {"type": "Replace", "pattern": {"Regex": pattern}, "content": "aa"}
    part = split if kind == "pre_tokenizer" else replace
    name = "pretokenizers" if kind == "pre_tokenizer" else "normalizers"
    for _ in range(rng.choice((0, 1, 60, 5000)) if rng.random() < 0.3 else 0):
        part = f'{{"type":"Sequence","{name}":[{part if isinstance(part, str) else json.dumps(part)}]}}'
    content[kind] = "HERE"
    path.write_text(json.dumps(content).replace('"HERE"', part if isinstance(part, str) else json.dumps(part)))
    text = "a" * rng.choice((30, 3000, 100_000)) + "c"
    (scene / "data.jsonl").write_text(json.dumps({"prompt": text, "chosen": text, "rejected": "b"}) + "\n")
    return "inspect run/model --data data.jsonl"


def template(rng, scene, lay):
    """Templates that loop, recurse, or write without end."""
    lay("chatty")
    lay("chat.jsonl")
    body = rng.choice((
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(x) %}{{ f(x + x) }}{% endmacro %}{{ f('aaaaaaaaaaaaaaaa') }}",
        "{{ 'a' * 100000000000 }}",
        "{{ [1] * 100000000000 }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ '%999999999999d' % 1 }}", "{{ '%999999999d' % 1 }}", "{{ 'a'.center(10**11) }}", "{{ 10 ** 10 ** 10 }}",
        "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaa'.replace('', 'b' * 1000000) }}", "{{ range(99999999999) | list }}",
        "{{ 'a,' * 99999 | join(',' * 99999) }}", "{{ messages | tojson(indent=100000000000) }}",
        "{% include 'self' %}", "{% extends 'x' %}", "{% if " + "(" * 50_000 + "1" + ")" * 50_000 + " %}{% endif %}",
        "{% if x %}" * 20_000 + "{% endif %}" * 20_000, "{{ " + "-" * 100_000 + "1 }}", "{{ " + "[" * 100_000 + " }}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=0) %}{% for i in range(99999) %}{% set ns.x = joiner(ns.x) %}{% endfor %}",
        "{{ range(99999) | list | unique | list }}", "{{ (['a'] * 99999) | map('center', 99999) | list }}",
        "{% set x = 'a' * 3999999 %}" + "{{ x[-1] }}" * 20_000, "{{ '%s%s%s' % (('a' * 3999999,) * 3) }}",
        "{{ x" + ".y" * 100_000 + " }}", "{{ 1" + " + 1" * 100_000 + " }}", "{{ x" + " | trim" * 100_000 + " }}",
    ))
    path = scene / "chatty/chat_template.jinja"
    path.write_text(rng.choice((body, path.read_text() + body)))
    return "inspect chatty --data chat.jsonl"


def tokenizer_settings(rng, scene, lay):
    lay("chatty")
    lay("chat.jsonl")
    names = ["bos_token", "eos_token", "pad_token", "model_max_length", "chat_template", "add_bos_token",
             "added_tokens_decoder", "extra_special_tokens", "tokenizer_class", "clean_up_tokenization_spaces"]
    values = WRONG + SIZES + [{"content": None}, {"999999999999": {}}]
    change(rng, scene / "chatty/tokenizer_config.json", values, names)
    return "inspect chatty --data chat.jsonl"


def index_of_shards(rng, scene, lay):
    """An index that names files elsewhere, or nothing, or one thing a million times."""
    lay("llama-bf16-sharded")
    path = scene / "llama-bf16-sharded/model.safetensors.index.json"
    content = json.loads(path.read_text())
    shard = rng.choice(("../" * 99 + "etc/passwd", "/dev/zero", "", ".", "a" * 100_000, 1, None, "config.json"))
    content["weight_map"] = rng.choice((
        {name: shard for name in content["weight_map"]},
        {f"t{n}": "model-00001-of-00003.safetensors" for n in range(200_000)},
        shard,
    ))
    path.write_text(json.dumps(content))
    return "inspect llama-bf16-sharded"


def scheduler(rng, scene, lay):
    lay("sd")
    (scene / "prompts.txt").write_text("a dog\n")
    values = WRONG + SIZES + [[0.1] * 1_000_000, [float("nan")] * 1000]
    change(rng, scene / "sd/scheduler/scheduler_config.json", values)
    draw = "sample --mdp diffusion --model sd --prompts prompts.txt --sample-steps 1 --image-size 16 --out s.jsonl"
    return rng.choice(("inspect sd", draw))


def denoiser_parts(rng, scene, lay):
    """The config of any part of a pipeline, with sizes no machine has or of wrong types."""
    lay("sd")
    (scene / "prompts.txt").write_text("a dog\n")
    part = rng.choice(("unet/config.json", "vae/config.json", "text_encoder/config.json", "model_index.json",
                       "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"))
    change(rng, scene / "sd" / part, WRONG + SIZES)
    draw = "sample --mdp diffusion --model sd --prompts prompts.txt --sample-steps 1 --image-size 16 --out s.jsonl"
    return rng.choice(("inspect sd", draw))


def reward_model(rng, scene, lay):
    lay("reward")
    lay("asked")
    change(rng, scene / "reward/config.json", WRONG + SIZES)
    return "judge --pairs asked --judge reward"


def gguf_counts(rng, scene, lay):
    """A GGUF header whose counts and lengths are not those of the file."""
    text = lambda name, value: (name, 8, gguf_text(value))
    claim = rng.choice(SIZES)
    values = [text("general.architecture", "llama"), ("llama.block_count", 10, struct.pack("<Q", claim))]
    kind = rng.choice((4, 8, 9, 12, 77))
    values.append(("tokenizer.ggml.tokens", 9, struct.pack("<IQ", kind, claim)))
    dims = [rng.choice(SIZES) for _ in range(rng.choice((0, 1, 2, 4, 5, 9)))]
    tensors = [("token_embd.weight", dims, rng.choice((0, 1, 2, 8, 14, 99)), rng.choice(SIZES))]
    counts = [rng.choice((None, claim)), rng.choice((None, claim))]
    (scene / "x.gguf").write_bytes(gguf(values[:rng.choice((1, 2, 3))], tensors, *counts, rng.choice((1, 2, 3, 3, 4))))
    return "inspect x.gguf"


def gguf_nested(rng, scene, lay):
    """Arrays within arrays, an alignment that is none, and a key many times."""
    depth = rng.choice((1, 100, 100_000))
    nested = struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 4, 0)
    alignment = ("general.alignment", 4, struct.pack("<I", rng.choice((0, 3, 2**31, 2**32 - 1))))
    many = [("general.name", 8, gguf_text("a"))] * rng.choice((1, 200_000))
    (scene / "x.gguf").write_bytes(gguf(rng.choice(([("a", 9, nested)], [alignment], many)), []))
    return "inspect x.gguf"


def llama2c_sizes(rng, scene, lay):
    names = ("width", "inner", "layers", "heads", "groups", "vocabulary", "context")
    numbers = (0, 1, -1, 2**16, 2**30, 2**31 - 1, -(2**31))
    sizes = {name: rng.choice(numbers) for name in rng.sample(names, rng.choice((1, 3, 7)))}
    (scene / "x.bin").write_bytes(llama2c(**sizes, weights=struct.pack("<f", 0.1) * 1000))
    return "inspect x.bin"


def llama2c_tokens(rng, scene, lay):
    lay("model.bin")
    body = struct.pack("<fi", 0.0, rng.choice((-1, 0, 5, 2**31 - 1))) + b"abc"
    head = struct.pack("<i", rng.choice((-1, 0, 4, 2**31 - 1)))
    (scene / "tokenizer.bin").write_bytes(head + body * rng.choice((1, 300)))
    return "inspect model.bin"


CASES = [model_sizes, model_types, adapter, tokenizer_ids, tokenizer_patterns, template, template, tokenizer_settings,
         index_of_shards, scheduler, denoiser_parts, reward_model, gguf_counts, gguf_nested, llama2c_sizes,
         llama2c_tokens]

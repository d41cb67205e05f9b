"""Folders and adapters of language models as people bring them: transformers and peft against hybrid-dpo.

    pip install torch transformers peft safetensors gguf
    cargo build --release
    python tests/peers/files_lm.py --binary target/release/hybrid-dpo

Each case changes a sound folder or makes an adapter, and lets the peer load it: `score` must give the peer's
log-probability of every token, or refuse with the word that the case names. The last line is the count of checks.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import tempfile
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, Qwen2Config

from checks import Checks
from run import LLAMA, NEOX, SIZES, TOLERANCE, largest_difference, make_data, make_model

GPT2 = dict(SIZES, n_embd=48, n_layer=2, n_head=6, n_positions=128)
BASES = {
    "llama": LlamaConfig(**LLAMA, num_key_value_heads=2, tie_word_embeddings=False),
    "llama, tied": LlamaConfig(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**LLAMA, num_key_value_heads=2, tie_word_embeddings=False),
    "qwen2, tied": Qwen2Config(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "gpt-neox": GPTNeoXConfig(**NEOX),
    "gpt-neox, tied": GPTNeoXConfig(**dict(NEOX, tie_word_embeddings=True)),
    "gpt2": GPT2Config(**GPT2, tie_word_embeddings=False),
    "gpt2, tied": GPT2Config(**GPT2),
}
# Embedding, output matrix and a linear layer, as peft's settings call them.
MODULES = {"llama": ("embed_tokens", "q_proj"), "gpt-neox": ("embed_in", "query_key_value"), "gpt2": ("wte", "c_attn")}
MODULES["qwen2"] = MODULES["llama"]
LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
SAME = None  # the peer's numbers, and no refusal
WINDOWS = {"use_sliding_window": True, "sliding_window": 4}

# (base, what is changed in its config.json, the word of the refusal)
CONFIGS = [
    ("llama", {"rope_scaling": LINEAR}, SAME),
    ("llama", {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, SAME),
    ("llama", {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}, "rope_scaling": LINEAR}, SAME),
    ("llama", {"rope_parameters": {"rope_theta": 500.0, **LINEAR}, "rope_scaling": {}}, SAME),
    ("llama", {"rope_parameters": None, "rope_theta": 700.0, "rope_scaling": {"type": "linear", "factor": 2.0}}, SAME),
    ("llama", {"rope_parameters": {**LLAMA3, "rope_theta": 500.0, "original_max_position_embeddings": 16}}, SAME),
    ("llama", {"rope_parameters": {**LLAMA3, "rope_theta": 500.0}}, SAME),
    ("llama", {"rope_parameters": {**LLAMA3, "rope_theta": 500.0, "original_max_position_embeddings": 16},
               "original_max_position_embeddings": 32}, SAME),
    ("llama", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}, SAME),
    ("llama", {"partial_rotary_factor": 0.5}, SAME),
    ("llama", {"rotary_pct": 0.5, "rotary_emb_base": 50}, SAME),
    ("llama", {"rope_parameters": {**LINEAR, "rope_theta": 500.0}, "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ("llama", {"rope_parameters": {"full_attention": {**LINEAR, "rope_theta": 500.0}}}, "full_attention"),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 500.0}}, SAME),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 500.0}}, SAME),
    ("llama", {"rope_parameters": {"rope_type": "axial", "rope_theta": 500.0}}, "axial"),
    ("llama", {"sliding_window": 4, "attn_logit_softcapping": 1.0, "query_pre_attn_scalar": 3}, SAME),
    ("llama", {"layer_types": ["sliding_attention"] * 3, "sliding_window": 4, "use_sliding_window": True}, SAME),
    ("llama", {"logit_scale": 2.0, "embedding_multiplier": 3.0, "use_qk_norm": True, "clip_qkv": 0.1}, SAME),
    ("llama", {"scale_attn_weights": False, "use_parallel_residual": True, "pretraining_tp": 2}, SAME),
    ("llama", {"temperature": 0.1, "attention_dropout": 0.5}, SAME),
    ("llama", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
    ("qwen2", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}, SAME),
    ("qwen2", {"rope_scaling": LINEAR}, SAME),
    ("qwen2", {"rope_parameters": {"full_attention": DEFAULT}}, "full_attention"),
    ("qwen2", {**WINDOWS, "max_window_layers": 3, "layer_types": None}, SAME),
    ("qwen2", {**WINDOWS, "max_window_layers": 28, "layer_types": None}, SAME),
    ("qwen2", {**WINDOWS, "layer_types": None, "max_window_layers": "absent"}, SAME),
    ("qwen2", {**WINDOWS, "max_window_layers": 1, "layer_types": ["full_attention"] * 3}, SAME),
    ("qwen2", {**WINDOWS, "sliding_window": None, "max_window_layers": 0, "layer_types": None}, SAME),
    ("qwen2", {**WINDOWS, "sliding_window": 128, "max_window_layers": 0, "layer_types": None}, SAME),
    ("qwen2", {"use_sliding_window": False, "sliding_window": 4, "max_window_layers": 0, "layer_types": None}, SAME),
    ("qwen2", {**WINDOWS, "max_window_layers": 1, "layer_types": None}, SAME),
    ("qwen2", {**WINDOWS, "layer_types": ["full_attention"] * 2 + ["sliding_attention"]}, SAME),
    ("gpt-neox", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.4}}, SAME),  # 3 of 8 coordinates
    ("gpt-neox", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.9}}, SAME),  # 7 of 8
    ("gpt-neox", {"rope_parameters": None, "rotary_pct": 0.7, "rotary_emb_base": 300}, SAME),
    ("gpt-neox", {"rope_parameters": {"rope_theta": 300.0, "rope_type": "default"}, "rotary_pct": 0.5}, SAME),
    ("gpt-neox", {"rope_parameters": None, "rope_theta": 300.0, "partial_rotary_factor": 0.5}, SAME),
    ("gpt-neox", {"rope_parameters": {**LINEAR, "partial_rotary_factor": 0.5}}, SAME),
    ("gpt-neox", {"rope_scaling": LINEAR}, SAME),
    ("gpt-neox", {"head_dim": 16}, SAME),
    ("gpt-neox", {"hidden_dropout": 0.5, "is_decoder": True}, SAME),
    ("gpt2", {"num_attention_heads": 3}, SAME),
    ("gpt2", {"max_position_embeddings": 128, "n_positions": 64, "head_dim": 5}, SAME),
    ("gpt2", {"reorder_and_upcast_attn": True, "summary_type": "mean"}, SAME),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
]

# What peft's LoraConfig is given, with E, H and L for the embedding, the output matrix and a linear layer.
ADAPTERS = [
    dict(target_modules="EL"),
    dict(target_modules="HL"),
    dict(target_modules="EHL"),
    dict(target_modules="L", modules_to_save="E"),
    dict(target_modules="L", modules_to_save="H"),
    dict(target_modules="L", modules_to_save="EH"),
    dict(target_modules="HL", modules_to_save="E"),
    dict(target_modules="EL", modules_to_save="H", use_rslora=True),
    dict(target_modules="EHL", rank_pattern={"E": 2}, alpha_pattern={"H": 3, "^L": 100}),
]
# (what LoraConfig is given, what is changed in the file, the word of the refusal)
SETTINGS = [
    (dict(alpha_pattern={"^layers.0.self_attn.q_proj": 64}), {}, SAME),
    (dict(alpha_pattern={r"^model\.layers\.0\..*q_proj": 64}), {}, SAME),
    (dict(alpha_pattern={"layers.0.*q_proj": 64, "q_proj": 1}), {}, SAME),
    (dict(alpha_pattern={"q_proj": 1, "layers.0.*q_proj": 64}), {}, SAME),
    (dict(alpha_pattern={"proj": 64, "^q_proj": 32}), {}, SAME),
    (dict(rank_pattern={"v_proj|q_proj": 2}, use_rslora=True), {}, SAME),
    (dict(exclude_modules=["layers.1.self_attn.q_proj"]), {}, SAME),
    (dict(target_modules=r".*\.(q|v)_proj"), {}, SAME),
    (dict(target_modules="all-linear"), {}, SAME),
    (dict(target_modules="all-linear", exclude_modules=["down_proj"], rank_pattern={"o_proj": 2}), {}, SAME),
    (dict(exclude_modules=r".*layers\.0\..*"), {}, SAME),
    (dict(layers_to_transform=[1]), {}, SAME),
    (dict(layers_to_transform=2, layers_pattern="layers"), {}, SAME),
    (dict(layers_to_transform=[0, 2], layers_pattern=["layers"], alpha_pattern={r"layers\.2\..*": 3}), {}, SAME),
    (dict(modules_to_save=["input_layernorm", "down_proj"]), {}, SAME),
    (dict(modules_to_save=["mlp"], target_modules="all-linear"), {}, SAME),
    (dict(bias="lora_only", target_modules=["o_proj"]), {}, SAME),
    (dict(init_lora_weights="gaussian"), {}, SAME),
    (dict(init_lora_weights="orthogonal"), {}, SAME),
    (dict(), {"init_lora_weights": "eva"}, SAME),
    (dict(), {"some_note": "text", "revision": "main", "merge_weights": False}, SAME),
    (dict(init_lora_weights="pissa"), {}, "pissa"),
    (dict(init_lora_weights="OLoRA"), {}, "OLoRA"),
    (dict(), {"init_lora_weights": "loftq"}, "loftq"),
    (dict(), {"init_lora_weights": "corda"}, "corda"),
    (dict(use_dora=True), {}, SAME),
    (dict(use_dora=True, use_rslora=True, rank_pattern={"v_proj": 2}), {}, SAME),
    (dict(use_dora=True, target_modules=["q_proj", "embed_tokens"]), {}, SAME),
    (dict(lora_bias=True), {}, SAME),
    (dict(use_dora=True), {"use_dora": False}, "use_dora"),
    (dict(lora_bias=True), {"lora_bias": False}, "lora_bias"),
    (dict(), {"use_dora": True}, "use_dora"),
    (dict(use_dora=True), {"lora_bias": True}, "together"),
    (dict(trainable_token_indices=[1, 2]), {}, "trainable_token_indices"),
    (dict(target_parameters=["mlp.gate_proj.weight"]), {}, "target_parameters"),
    (dict(), {"use_rslora": "true"}, "use_rslora"),
    (dict(), {"r": 2.9}, "`r`"),
    (dict(), {"lora_alpha": "8"}, "lora_alpha"),
    (dict(), {"rank_pattern": ["q_proj"]}, "rank_pattern"),
    (dict(), {"modules_to_save": "lm_head"}, "modules_to_save"),
    (dict(), {"modules_to_save": ["q_proj"]}, "modules_to_save"),
    (dict(), {"exclude_modules": ["v_proj"]}, "exclude_modules"),
    (dict(), {"exclude_modules": {"v_proj": 1}}, "exclude_modules"),
    (dict(), {"layers_to_transform": [1]}, "layers_to_transform"),
    (dict(), {"layers_to_transform": ["one"]}, "layers_to_transform"),
    (dict(), {"layers_pattern": "layers"}, "layers_pattern"),
    (dict(target_modules="all-linear"), {"target_modules": "all-linear", "layers_to_transform": [1]}, "layers_to_transform"),
    (dict(), {"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern"),
    (dict(), {"rank_pattern": {"q_proj": 2}}, "rank 2"),
    (dict(), {"alora_invocation_tokens": [3]}, "alora_invocation_tokens"),
    (dict(), {"layer_replication": [[0, 2]]}, "layer_replication"),
    (dict(), {"kasa_config": {}}, "kasa_config"),
    (dict(), {"use_a_new_thing": True}, "use_a_new_thing"),
    (dict(), {"target_modules": ["v_proj"]}, "target_modules"),
]


class Bench:
    """A folder with the sound bases, the data, and what is compared."""

    def __init__(self, folder, binary):
        self.folder, self.binary, self.checks, self.n = folder, binary, Checks(), 0
        make_data(self.path("pairs.jsonl"))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def base(self, name):
        folder = self.path("base", name.replace(", ", "-"))
        if not os.path.isdir(folder):
            make_model(BASES[name], folder)
        return folder

    def fresh(self):
        self.n += 1
        return self.path(f"case-{self.n}")

    def copy(self, name):
        """A base that may be changed."""
        folder = self.fresh()
        make_model(BASES[name], folder)
        return folder

    def call(self, *arguments):
        return subprocess.run([self.binary, *arguments, "--quiet"], capture_output=True, text=True)

    def data(self):
        return ["--data", self.path("pairs.jsonl"), "--max-length", "128", "--max-prompt-length", "64"]

    def compare(self, name, model, peer, refusal=SAME):
        """Checks `score` of `model` against the peer that `peer()` loads, or against a refusal."""
        out = self.path("scores.jsonl")
        done = self.call("score", "--model", model, *self.data(), "--out", out)
        if refusal is not SAME:
            good = done.returncode == 1 and refusal in done.stderr
            self.checks(f"{name}: refused, {refusal}", 0.0 if good else 9.0, TOLERANCE)
        elif done.returncode:
            self.checks(f"{name}: {done.stderr.strip()[-200:]}", 9.0, TOLERANCE)
        else:
            self.checks(name, largest_difference(peer(), out), TOLERANCE)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def edit(path, changes):
    with open(path) as file:
        settings = json.load(file)
    settings.update(changes)
    settings = {key: value for key, value in settings.items() if value != "absent"}
    with open(path, "w") as file:
        json.dump(settings, file)


def configs(bench):
    for name, changes, refusal in CONFIGS:
        folder = bench.copy(name)
        edit(f"{folder}/config.json", changes)
        bench.compare(f"{name} with {changes}", folder, lambda: load(folder), refusal)


def ties(bench):
    """Tied models whose files have both matrices, or the other one."""
    for name in [name for name in BASES if name.endswith("tied")]:
        embedding, head = bench_names(name)

        def case(what, change):
            folder = bench.copy(name)
            tensors = load_file(f"{folder}/model.safetensors")
            change(tensors)
            save_file(tensors, f"{folder}/model.safetensors", {"format": "pt"})
            bench.compare(f"{name}, {what}", folder, lambda: load(folder))
            return folder

        def another(tensors):
            tensors[head] = tensors[embedding] + torch.randn(tensors[embedding].shape) * 0.1

        def a_little(tensors):
            tensors[head] = tensors[embedding].clone()
            tensors[head][7, 3] += 0.5

        own = case("a head of its own", another)
        case("a head that differs in a number", a_little)
        case("a head that is the embedding", lambda tensors: tensors.update({head: tensors[embedding].clone()}))
        case("only the head", lambda tensors: tensors.update({head: tensors.pop(embedding)}))
        if head == "embed_out.weight":
            case("a head by its name in memory",
                 lambda tensors: tensors.update({"lm_head.weight": tensors[embedding] * 0.5}))
        learned(bench, f"{name}, a head of its own", own)


def bench_names(name):
    """The names of embedding and output matrix on disk."""
    family = name.split(",")[0]
    prefix = {"gpt-neox": "gpt_neox.", "gpt2": "transformer."}.get(family, "model.")
    return f"{prefix}{MODULES[family][0]}.weight", "embed_out.weight" if family == "gpt-neox" else "lm_head.weight"


def learned(bench, name, model):
    """Trains all weights of a model that is tied no longer: the folder that is written says what it holds."""
    out = bench.fresh()
    more = ["--eval-share", "0", "--batch-size", "4", "--lr", "1e-3", "--warmup-steps", "0", "--n-samples", "0"]
    done = bench.call("train", "--model", model, *bench.data(), *more, "--out", out)
    if done.returncode:
        return bench.checks(f"{name}, trained: {done.stderr.strip()[-200:]}", 9.0, TOLERANCE)
    with open(f"{out}/model/config.json") as file:
        tied = json.load(file)["tie_word_embeddings"]
    bench.checks(f"{name}, trained: the file says that it is not tied", float(tied), 0.0)
    bench.compare(f"{name}, trained", out, lambda: load(f"{out}/model"))


def adapter(bench, base, settings, changes=()):
    """An adapter whose every number counts, as peft writes it."""
    folder = bench.fresh()
    made = get_peft_model(load(base), LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings}))
    torch.manual_seed(bench.n)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    made.save_pretrained(folder)
    if changes:
        edit(f"{folder}/adapter_config.json", changes)
    return folder


def adapters(bench):
    for name in BASES:
        base, (embedding, layer) = bench.base(name), MODULES[name.split(",")[0]]
        called = {"E": embedding, "H": "lm_head", "L": layer, "^L": f"^{layer}"}
        for letters in ADAPTERS:
            settings = {
                key: [called[letter] for letter in value] if isinstance(value, str)
                else {called[letter]: number for letter, number in value.items()} if isinstance(value, dict) else value
                for key, value in letters.items()
            }
            folder = adapter(bench, base, settings)
            peer = lambda: PeftModel.from_pretrained(load(base), folder).eval()
            bench.compare(f"{name} with an adapter: {settings}", f"{base}+{folder}", peer)
    for name in ("llama, tied", "gpt2, tied"):
        base, (embedding, layer) = bench.base(name), MODULES[name.split(",")[0]]
        folder = adapter(bench, base, dict(target_modules=[embedding, layer]))
        learned(bench, f"{name} with an adapter of its embedding", f"{base}+{folder}")
        folder = adapter(bench, base, dict(target_modules=[layer], modules_to_save=[embedding], ensure_weight_tying=True))
        bench.compare(f"{name}, ensure_weight_tying", f"{base}+{folder}", None, "ensure_weight_tying")


def adapter_settings(bench):
    base = bench.base("llama")
    for settings, changes, refusal in SETTINGS:
        folder = adapter(bench, base, {"target_modules": ["q_proj", "v_proj"], **settings}, changes)
        peer = lambda: PeftModel.from_pretrained(load(base), folder).eval()
        bench.compare(f"adapter: {settings} {changes}", f"{base}+{folder}", peer, refusal)
    # A layer's name of transformers 4, as adapters of its time have it: peft leaves its factors out.
    base = bench.base("gpt-neox")
    folder = adapter(bench, base, dict(target_modules=["query_key_value", "lm_head"]))
    tensors = load_file(f"{folder}/adapter_model.safetensors")
    tensors = {key.replace(".lm_head.", ".embed_out."): value for key, value in tensors.items()}
    save_file(tensors, f"{folder}/adapter_model.safetensors", {"format": "pt"})
    bench.compare("gpt-neox, factors of embed_out", f"{base}+{folder}", None, "embed_out")


GGUF_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def gguf_llama(bench, n_parts=1, more=(), leave=None):
    """The Llama as GGUF, in parts where asked for; returns the paths."""
    model = load(bench.base("llama"))
    config, state = model.config, {name: tensor.numpy() for name, tensor in model.state_dict().items()}

    def interleaved(rows, heads):
        size = rows.shape[0] // heads
        return np.ascontiguousarray(rows.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(rows.shape))

    tensors = [("token_embd", state["model.embed_tokens.weight"]), ("output_norm", state["model.norm.weight"]),
               ("output", state["lm_head.weight"])]
    for layer in range(config.num_hidden_layers):
        for name, of in GGUF_NAMES.items():
            rows = state[f"model.layers.{layer}.{of}.weight"]
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name)
            tensors.append((f"blk.{layer}.{name}", interleaved(rows, heads) if heads else rows))
    stem = bench.fresh()
    paths = [f"{stem}.gguf"]
    if n_parts > 1:
        paths = [f"{stem}-{part + 1:05}-of-{n_parts:05}.gguf" for part in range(n_parts)]
    for part, path in enumerate(paths):
        if part == leave:
            continue
        writer = gguf.GGUFWriter(path, "llama")
        if n_parts > 1:
            writer.add_uint16("split.no", part)
            writer.add_uint16("split.count", n_parts)
            writer.add_int32("split.tensors.count", len(tensors))
        if part == 0:
            gguf_settings(writer, config)
            for key, add, value in more:
                getattr(writer, add)(key, value)
        for name, rows in tensors[part::n_parts]:
            writer.add_tensor(name + ".weight", rows)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def gguf_settings(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    # Words as byte-level pieces; the data is written in them.
    words = ["<|end|>", "w2w3"] + [f"w{i}" for i in range(2, config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3] + [4] * (len(words) - 1))
    writer.add_token_merges(["w2 w3"])
    writer.add_eos_token_id(0)


def gguf_files(bench):
    model = lambda **rope: lambda: load_with(bench.base("llama"), rope)
    for part in range(3):
        bench.compare(f"gguf in three parts, part {part + 1} named", gguf_llama(bench, 3)[part], model())
    bench.compare("gguf without its last part", gguf_llama(bench, 3, leave=2)[0], None, "part 1 of 3")
    text, number, flag = "add_string", "add_float32", "add_bool"
    scaling = "llama.rope.scaling."
    linear = [(scaling + "type", text, "linear"), (scaling + "factor", number, 4.0)]
    cases = [
        ([("llama.rope.freq_base", number, 500.0)], {"rope_type": "default", "rope_theta": 500.0}),
        (linear, {**LINEAR, "rope_theta": 10000.0}),
        ([("llama.rope.scale_linear", number, 4.0)], {**LINEAR, "rope_theta": 10000.0}),
        ([(scaling + "type", text, "none"), (scaling + "factor", number, 4.0)], DEFAULT),
        ([("llama.logit_scale", number, 1.0), (scaling + "attn_factor", number, 1.0)], DEFAULT),
        ([("llama.attention.causal", flag, True), (scaling + "finetuned", flag, True)], DEFAULT),
    ]
    for more, rope in cases:
        bench.compare(f"gguf with {more}", gguf_llama(bench, more=more)[0], model(**rope))
    refused = [
        ("attention.scale", number, 0.5), ("logit_scale", number, 0.5), ("attention.sliding_window", "add_uint32", 4),
        ("residual_scale", number, 0.5), ("embedding_scale", number, 2.0), ("rope.scaling.attn_factor", number, 0.5),
        ("final_logit_softcapping", number, 30.0), ("attention.causal", flag, False),
        ("attention.value_length", "add_uint32", 4), ("rope.dimension_count", "add_uint32", 4),
        ("expert_count", "add_uint32", 4), ("attention.something_new", number, 0.5),
    ]
    for key, add, value in refused:
        bench.compare(f"gguf with {key} {value}", gguf_llama(bench, more=[(f"llama.{key}", add, value)])[0], None, key)


def load_with(folder, rope):
    settings = LlamaConfig.from_pretrained(folder)
    if rope:
        settings.rope_parameters = rope
    return AutoModelForCausalLM.from_pretrained(folder, config=settings, dtype=torch.float32).eval()


def quantised(bench):
    """Weights as quantisers leave them, with and without a word about it in the config."""
    parts = {
        "bitsandbytes": ["weight", "weight.absmax", "weight.quant_map"],
        "gptq": ["qweight", "qzeros", "scales", "g_idx"],
        "compressed": ["weight_packed", "weight_scale"],
    }
    for method, names in parts.items():
        for changes in ({"quantization_config": {"quant_method": method}}, {}):
            folder = bench.copy("llama")
            tensors = load_file(f"{folder}/model.safetensors")
            layer = "model.layers.0.self_attn.q_proj."
            del tensors[layer + "weight"]
            tensors.update({layer + name: torch.zeros(4, dtype=torch.uint8) for name in names})
            save_file(tensors, f"{folder}/model.safetensors", {"format": "pt"})
            edit(f"{folder}/config.json", changes)
            bench.compare(f"{method} {changes}", folder, None, "quantised")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--only", default="", help="a group: configs, ties, adapters, adapter_settings, gguf_files, quantised")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder, options.binary)
        for group in (configs, ties, adapters, adapter_settings, gguf_files, quantised):
            if options.only in ("", group.__name__):
                with contextlib.redirect_stderr(io.StringIO()):
                    group(bench)
    bench.checks.end()


if __name__ == "__main__":
    main()

"""torch, peft and gguf against adapters on a base in blocks, and against DoRA and `lora_bias` on every base.

    pip install torch transformers peft gguf safetensors
    cargo build --release
    python tests/peers/quantised.py --binary target/release/hybrid-dpo

(1) A random Llama as GGUF in each block format that the `gguf` package dequantises: `score` with `--base-precision
quantised` and with `f32` gives transformers' log-probabilities on the dequantised weights. (2) On the file, in mixed
formats, and on plain bases: an adapter of peft's (plain, DoRA, with biases) goes on learning for ten steps of DPO, whose
losses are those of torch with peft's layers; peft loads what is written and has the same log-probabilities, before and
after. (3) `merge` of a DoRA is peft's merged model. The last line is the count of checks.
"""

import argparse
import json
import os
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, Qwen2Config

from checks import Checks
from run import LLAMA, NEOX, SIZES, TOLERANCE, WORDS, largest_difference, make_data, make_model

STEPS, RATE, BETA = 10, 4e-2, 0.1
Type = gguf.GGMLQuantizationType
# Formats by what their scales are; each of these is dequantised by both.
FORMATS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0",
           "TQ2_0", "MXFP4"]
# Places of half-precision scales and offsets in a block.
SCALES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
          "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64], "MXFP4": []}
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
CONFIG = LlamaConfig(**SIZES | dict(hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                    intermediate_size=512, max_position_embeddings=128, tie_word_embeddings=False))
BASES = {
    "llama": LlamaConfig(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "gpt2": GPT2Config(**SIZES, n_embd=48, n_layer=2, n_head=6, n_positions=128),
    "gpt-neox": GPTNeoXConfig(**NEOX),
}
ADAPTERS = {"plain": {}, "DoRA": {"use_dora": True}, "DoRA, rslora": {"use_dora": True, "use_rslora": True},
            "lora_bias": {"lora_bias": True}}


def blocks(rng, name, shape):
    """Random blocks of a matrix, [rows, bytes], and the numbers they stand for."""
    kind = Type[name]
    size, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (shape[0] * shape[1] // size, n_bytes), dtype=np.uint8)
    for place in SCALES.get(name, [0]):
        spread = {"Q4_K": 4e-4, "Q5_K": 2e-4, "Q6_K": 4e-5, "Q2_K": 4e-3, "Q3_K": 1e-3, "IQ4_XS": 5e-5, "Q8_0": 1e-3,
                  "IQ4_NL": 1e-3}.get(name, 1e-2)
        scale = (rng.uniform(0.5, 1.0, len(data)) * spread).astype(np.float16)
        data[:, place : place + 2] = scale.view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        data[:, 0] = rng.integers(119, 122, len(data), dtype=np.uint8)
    data = data.reshape(shape[0], -1)
    return data, gguf.quants.dequantize(data, kind).reshape(shape)


def halves(rows, heads):
    """The row order of Hugging Face of rows whose rotary pairs lie side by side."""
    size = rows.shape[0] // heads
    return np.ascontiguousarray(rows.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape))


def write_gguf(path, kinds, rng):
    """A model with random blocks of these formats in turn; returns it in transformers, dequantised."""
    model = AutoModelForCausalLM.from_config(CONFIG).float().eval()
    state, writer = model.state_dict(), gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONFIG.max_position_embeddings)
    writer.add_embedding_length(CONFIG.hidden_size)
    writer.add_block_count(CONFIG.num_hidden_layers)
    writer.add_feed_forward_length(CONFIG.intermediate_size)
    writer.add_head_count(CONFIG.num_attention_heads)
    writer.add_head_count_kv(CONFIG.num_key_value_heads)
    writer.add_layer_norm_rms_eps(CONFIG.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    # A token a letter: the data has digits, a letter and spaces. What is merged is not in it.
    letters = ["<|end|>", "\u0120", "w", *"0123456789", "X", "Y", "XY"]
    words = letters + [f"a{i}" for i in range(WORDS - len(letters))]
    writer.add_token_list(words)
    writer.add_token_types([3] + [1] * (WORDS - 1))
    writer.add_token_merges(["X Y"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    places = [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")]
    places += [(f"blk.{i}.{name}", f"model.layers.{i}.{of}") for i in range(2) for name, of in NAMES.items()]
    n = 0
    for name, of in places:
        of += ".weight"
        if state[of].dim() < 2:
            writer.add_tensor(name + ".weight", state[of].numpy())
            continue
        data, numbers = blocks(rng, kinds[n % len(kinds)], tuple(state[of].shape))
        writer.add_tensor(name + ".weight", data, raw_dtype=Type[kinds[n % len(kinds)]])
        heads = {"attn_q": CONFIG.num_attention_heads, "attn_k": CONFIG.num_key_value_heads}.get(name.split(".")[-1])
        state[of].copy_(torch.from_numpy(halves(numbers, heads) if heads else np.ascontiguousarray(numbers)))
        n += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


class Place:
    """A folder with data, and the program."""

    def __init__(self, folder, binary):
        self.folder, self.binary, self.checks, self.n = folder, binary, Checks(), 0
        make_data(self.path("pairs.jsonl"))
        self.data = ["--data", self.path("pairs.jsonl"), "--max-length", "128", "--max-prompt-length", "64"]

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def fresh(self):
        self.n += 1
        return self.path(f"made-{self.n}")

    def call(self, *arguments):
        done = subprocess.run([self.binary, *arguments, "--quiet"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")

    def scores(self, model, *more):
        out = self.path("scores.jsonl")
        self.call("score", "--model", model, *self.data, *more, "--out", out)
        return out

    def score(self, name, model, peer, *more):
        self.checks(name, largest_difference(peer, self.scores(model, *more)), TOLERANCE)


def log_probs(model, lines):
    """The log-probability of each answer, chosen ones and rejected ones."""
    sums = []
    for side in ("chosen", "rejected"):
        for line in lines:
            prompt, answer = line["prompt_tokens"], line[side]["tokens"]
            logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            sums.append(logits[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None]).sum())
    return torch.stack(sums).reshape(2, -1)


def learn(model, lines):
    """The losses of some steps of plain gradient descent on all pairs."""
    with torch.no_grad():
        reference = log_probs(model, lines)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses = []
    for _ in range(STEPS):
        margins = log_probs(model, lines) - reference
        loss = -F.logsigmoid(BETA * (margins[0] - margins[1])).mean()
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.data -= RATE * gradient
        losses.append(loss.item())
    return losses


def goes_on(place, name, base, load, settings, more=()):
    """An adapter of peft's goes on learning here and in torch."""
    made, run = place.fresh(), place.fresh()
    torch.manual_seed(place.n)
    config = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    peer = get_peft_model(load(), config)
    with torch.no_grad():
        for parameter in peer.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.03)
    peer.save_pretrained(made)
    model = f"{base}+{made}"
    place.score(f"{name}: peft's adapter", model, peer, *more)
    with open(place.scores(model, *more)) as file:
        lines = [json.loads(line) for line in file]
    expected = learn(peer.eval(), lines)
    place.call("train", "--model", model, *place.data, "--lora-rank", "4", "--eval-share", "0", "--batch-size", str(len(lines)),
               "--micro-batch-size", "3", "--epochs", str(STEPS), "--lr", str(RATE), "--schedule", "constant",
               "--optimizer", "sgd", "--momentum", "0", "--max-grad-norm", "1e9", "--warmup-steps", "0", "--beta", str(BETA),
               "--n-samples", "0", "--out", run, *more)
    with open(os.path.join(run, "metrics.jsonl")) as file:
        found = [line["loss"] for line in map(json.loads, file) if line["split"] == "train"]
    moved = abs(expected[0] - expected[-1])
    place.checks(f"{name}: {len(found)} losses, which move by {moved:.3f}",
                 max(abs(a - b) for a, b in zip(expected, found, strict=True)) if moved > 5e-3 else 9.0, 1e-3)
    again = PeftModel.from_pretrained(load(), os.path.join(run, "model")).eval()
    place.score(f"{name}: what learned, in peft", f"{base}+{run}/model", again, *more)
    ours, theirs = again.state_dict(), peer.state_dict()
    place.checks(f"{name}: its tensors", max((ours[key] - theirs[key]).abs().max().item() for key in theirs), 1e-3)
    return f"{base}+{run}/model", again


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    options = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        place = Place(folder, options.binary)
        for kind in FORMATS:
            path = place.path(f"{kind}.gguf")
            with torch.no_grad():
                peer = write_gguf(path, [kind], rng)
            for precision in ("quantised", "f32"):
                place.score(f"{kind}, {precision}", path, peer, "--base-precision", precision)
        path = place.path("mixed.gguf")
        with torch.no_grad():
            model = write_gguf(path, ["Q4_K", "Q6_K", "Q5_K", "Q8_0"], rng)
        model.save_pretrained(place.path("dequantised"))
        load = lambda: AutoModelForCausalLM.from_pretrained(place.path("dequantised"), dtype=torch.float32).eval()
        for adapter, settings in ADAPTERS.items():
            goes_on(place, f"in blocks, {adapter}", path, load, settings, ("--base-precision", "quantised"))
        for name, config in BASES.items():
            base = place.path(name)
            make_model(config, base)
            load = lambda: AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
            for adapter, settings in ADAPTERS.items():
                model, peer = goes_on(place, f"{name}, {adapter}", base, load, settings)
                if adapter == "lora_bias" and name in ("llama", "qwen2"):
                    continue  # layers without a bias, which nothing merges into
                merged = place.fresh()
                place.call("merge", "--model", model, "--out", merged)
                place.score(f"{name}, {adapter}: merged", merged, peer.merge_and_unload())
        place.checks.end()


if __name__ == "__main__":
    main()

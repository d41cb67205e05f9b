"""Every family of language models: transformers, peft and gguf against hybrid-dpo, on models with switches drawn at random.

    pip install torch transformers peft safetensors gguf
    cargo build --release
    python tests/peers/families.py --binary target/release/hybrid-dpo [--draws 2] [--seed 1]

For each family and draw: (1) `score` gives transformers' log-probability of every token, (2) greedy `search` gives the
tokens that transformers finds likeliest, one after the other, (3) `train` writes a folder that transformers loads, with
the numbers of `score`, (4) `train --lora-rank` writes an adapter that peft loads, likewise, (5) of the first draw, ten DPO
steps have torch's losses, (6) the model as a GGUF file has the same numbers. Then block formats of GGUF, against gguf's own dequantisation, and what is refused by name. The last line
is the count of checks.
"""

import argparse
import itertools
import json
import os
import random
import tempfile
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import gguf
import numpy as np
import torch
import transformers
from peft import PeftModel
from transformers import LlamaConfig

from files_lm import Bench, edit, gguf_settings, load
from run import SIZES, TOLERANCE, largest_difference, make_model

LAYERS, CONTEXT = 3, 128
PAIRS = 4  # coordinate pairs of a head of 8


def rope(rng, kinds=("default", "linear", "dynamic", "llama3", "yarn", "longrope")):
    """Rotary settings of a kind drawn at random."""
    kind = rng.choice(kinds)
    settings = {"rope_type": kind, "rope_theta": rng.choice([50.0, 500.0, 10000.0])}
    if kind in ("linear", "dynamic", "yarn", "llama3"):
        settings["factor"] = rng.choice([2.0, 4.0])
    if kind in ("llama3", "yarn"):
        settings["original_max_position_embeddings"] = rng.choice([16, 32])
    if kind == "llama3":
        settings |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind == "yarn":
        settings |= rng.choice([{}, {"beta_fast": 4.0, "beta_slow": 0.5}, {"truncate": False}, {"attention_factor": 1.3},
                                {"mscale": 1.0, "mscale_all_dim": 0.7}])
    if kind == "longrope":
        settings |= {key: [rng.uniform(1, 4) for _ in range(PAIRS)] for key in ("short_factor", "long_factor")}
        settings |= rng.choice([{"factor": 4.0}, {"attention_factor": 1.2}])
    return settings


def window(rng):
    return rng.choice([1, 3, 7, 20])


def kinds(rng):
    return [rng.choice(["full_attention", "sliding_attention"]) for _ in range(LAYERS)]


def switched(rng):
    return {"use_sliding_window": True, "sliding_window": window(rng), "max_window_layers": rng.randrange(LAYERS)}


def flag(rng):
    return rng.random() < 0.5


def layered(rng):
    """Rotary settings of full and of sliding layers."""
    full = rope(rng, ("default", "linear", "yarn", "llama3"))
    return {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": rng.choice([9.0, 100.0])}}


# The settings of a draw, beside the sizes.
FAMILIES = {
    "Llama": lambda rng: {"rope_parameters": rope(rng), "attention_bias": flag(rng)},
    "Qwen2": lambda rng: {"rope_parameters": rope(rng)} | switched(rng),
    "Qwen3": lambda rng: {"head_dim": 16, "attention_bias": flag(rng),
                          "rope_parameters": rope(rng, ("default", "yarn"))} | rng.choice([{}, switched(rng)]),
    "Mistral": lambda rng: {"sliding_window": rng.choice([None, window(rng)]), "head_dim": rng.choice([None, 16])},
    "Ministral": lambda rng: {"sliding_window": window(rng), "head_dim": 16, "layer_types": kinds(rng)},
    "SmolLM3": lambda rng: {"use_sliding_window": flag(rng), "sliding_window": window(rng), "attention_bias": flag(rng),
                            "no_rope_layers": [rng.randrange(2) for _ in range(LAYERS)], "pad_token_id": 0},
    "Gemma": lambda rng: {"head_dim": 16, "attention_bias": flag(rng),
                          "rope_parameters": rope(rng, ("default", "linear"))},
    "Gemma2": lambda rng: {"head_dim": 16, "sliding_window": window(rng), "query_pre_attn_scalar": rng.choice([5, 30]),
                           "attn_logit_softcapping": rng.choice([None, 1.5, 50.0]),
                           "final_logit_softcapping": rng.choice([None, 2.0, 30.0]), "attention_bias": flag(rng)},
    "Gemma3Text": lambda rng: {"head_dim": 16, "sliding_window": window(rng), "query_pre_attn_scalar": rng.choice([5, 30]),
                               "final_logit_softcapping": rng.choice([None, 2.0]), "layer_types": kinds(rng),
                               "rope_parameters": layered(rng)},
    "Granite": lambda rng: {"embedding_multiplier": 3.0, "logits_scaling": rng.choice([0.5, 4.0]),
                            "residual_multiplier": 0.4, "attention_multiplier": 0.3, "mlp_bias": flag(rng),
                            "attention_bias": flag(rng)},
    "Olmo2": lambda rng: {"attention_bias": flag(rng), "rope_parameters": rope(rng, ("default", "linear", "yarn"))},
    "Olmo3": lambda rng: {"sliding_window": window(rng), "layer_types": kinds(rng), "rope_parameters": layered(rng)},
    "Phi3": lambda rng: {"sliding_window": rng.choice([None, window(rng)]), "pad_token_id": 0,
                         "rope_parameters": rng.choice([rope(rng, ("default",)) | {"partial_rotary_factor": 0.5},
                                                        rope(rng, ("longrope",)), rope(rng, ("default",))]),
                         "original_max_position_embeddings": CONTEXT},
}
STEPS, CURVES = 10, 1e-3
TIED = ("Gemma", "Gemma2", "Gemma3Text", "SmolLM3")


def drawn(family, rng):
    sizes = dict(SIZES, hidden_size=48, num_hidden_layers=LAYERS, num_attention_heads=6, num_key_value_heads=2,
                 intermediate_size=64, max_position_embeddings=CONTEXT)
    settings = FAMILIES[family](rng)
    if family not in TIED:
        settings["tie_word_embeddings"] = flag(rng)
    return getattr(transformers, f"{family}Config")(**(sizes | settings)), settings


def scores(bench, model):
    out = bench.path("scores.jsonl")
    done = bench.call("score", "--model", model, *bench.data(), "--out", out)
    return out if done.returncode == 0 else done.stderr.strip()[-300:]


def score(bench, name, model, peer):
    out = scores(bench, model)
    if not os.path.isfile(out):
        return bench.checks(f"{name}: {out}", 9.0, TOLERANCE)
    bench.checks(name, largest_difference(peer, out), TOLERANCE)


def greedy(bench, name, folder, peer):
    """The tokens of `search --method greedy` are the likeliest ones, each behind those before."""
    with open(scores(bench, folder)) as file:
        lines = [json.loads(line) for line in file]
    with open(bench.path("pairs.jsonl")) as file:
        prompts = [json.loads(line)["prompt"] for line in file]
    # The shortest ones: some tokenizers have a token a letter.
    chosen = sorted(range(len(prompts)), key=lambda i: len(lines[i]["prompt_tokens"]))[:4]
    lines = [lines[i] for i in chosen]
    with open(bench.path("prompts.txt"), "w") as file:
        file.writelines(f"{prompts[i]}\n" for i in chosen)
    done = bench.call("search", "--model", folder, "--prompts", bench.path("prompts.txt"), "--method", "greedy",
                      "--max-length", "100")
    if done.returncode:
        return bench.checks(f"{name}: {done.stderr.strip()[-300:]}", 9.0, 0.0)
    n_tokens = n_wrong = 0
    for line, scored in zip(map(json.loads, done.stdout.splitlines()), lines):
        prompt, answer = scored["prompt_tokens"], line["tokens"]
        with torch.no_grad():
            logits = peer(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        # Of two equally likely tokens, to the rounding of their logits, either is right.
        n_wrong += int((logits.max(-1).values - logits.gather(1, torch.tensor(answer)[:, None])[:, 0] > 1e-4).sum())
        n_tokens += len(answer)
    bench.checks(f"{name}: {n_tokens} greedy tokens", float(n_wrong + (n_tokens < 40)), 0.0)


def learned(bench, name, folder, base):
    training = ["--eval-share", "0", "--batch-size", "4", "--lr", "1e-3", "--warmup-steps", "0", "--n-samples", "0"]
    for what, more in (("trained", []), ("adapter", ["--lora-rank", "4"])):
        out = bench.fresh()
        done = bench.call("train", "--model", folder, *bench.data(), *training, *more, "--out", out)
        if done.returncode:
            bench.checks(f"{name}, {what}: {done.stderr.strip()[-300:]}", 9.0, TOLERANCE)
        elif more:
            peer = PeftModel.from_pretrained(load(folder), f"{out}/model").eval()
            score(bench, f"{name}, {what}, in peft", f"{folder}+{out}/model", peer)
        else:
            score(bench, f"{name}, {what}, in transformers", out, load(f"{out}/model"))


def ten_steps(bench, name, folder):
    """Losses of ten DPO steps, each of all pairs, by AdamW in double precision."""
    with open(scores(bench, folder)) as file:
        lines = [json.loads(line) for line in file]
    out = bench.fresh()
    done = bench.call(
        "train", "--model", folder, *bench.data(), "--out", out, "--eval-share", "0", "--n-samples", "0", "--beta", "0.1",
        "--batch-size", str(len(lines)), "--micro-batch-size", "4", "--epochs", str(STEPS), "--optimizer", "adamw", "--lr",
        "1e-4", "--weight-decay", "0.01", "--warmup-steps", "0", "--schedule", "constant", "--max-grad-norm", "1",
    )
    if done.returncode:
        return bench.checks(f"{name}, {STEPS} steps: {done.stderr.strip()[-300:]}", 9.0, CURVES)
    model, reference = (load(folder).double() for _ in range(2))

    def margins(model):
        def log_prob(line, side):
            prompt, tokens = line["prompt_tokens"], line[side]["tokens"]
            logits = model(torch.tensor([prompt + tokens])).logits[0]
            return logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(tokens)[:, None]).sum()

        return torch.stack([log_prob(line, "chosen") - log_prob(line, "rejected") for line in lines])

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    with torch.no_grad():
        start = margins(reference)
    expected = []
    for _ in range(STEPS):
        loss = -torch.nn.functional.logsigmoid(0.1 * (margins(model) - start)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        expected.append(loss.item())
    with open(f"{out}/metrics.jsonl") as file:
        found = [line["loss"] for line in map(json.loads, file) if line["split"] == "train"]
    largest = max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
    bench.checks(f"{name}: losses of {STEPS} steps, from {expected[0]:.3f} to {expected[-1]:.3f}", largest, CURVES)


ARCHITECTURES = {
    "Llama": "llama", "Qwen3": "qwen3", "SmolLM3": "smollm3", "Gemma": "gemma", "Gemma2": "gemma2", "Gemma3Text": "gemma3",
    "Granite": "granite", "Olmo2": "olmo2", "Phi3": "phi3",
}
# Converters store the queries and keys of these with rotary pairs side by side.
INTERLEAVED = ("llama", "smollm3", "granite")


def interleaved(rows, heads):
    size = rows.shape[0] // heads
    return np.ascontiguousarray(rows.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(rows.shape))


def gguf_config(family, rng):
    """A model whose settings a GGUF file of its architecture can hold."""
    settings = {"tie_word_embeddings": family in TIED} | {
        "Llama": {"rope_parameters": rope(rng, ("default", "linear", "yarn"))},
        "Qwen3": {"head_dim": 16},
        "SmolLM3": {"num_hidden_layers": 4, "pad_token_id": 0},
        "Gemma": {"head_dim": 16},
        "Gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5},
        "Gemma3Text": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5, "num_hidden_layers": 6},
        "Granite": {"embedding_multiplier": 3.0, "logits_scaling": 0.5, "residual_multiplier": 0.4,
                    "attention_multiplier": 0.3},
        "Olmo2": {},
        "Phi3": {"sliding_window": 7, "pad_token_id": 0, "original_max_position_embeddings": CONTEXT,
                 "rope_parameters": rope(rng, ("longrope",))},
    }[family]
    if "yarn" == settings.get("rope_parameters", {}).get("rope_type"):
        kept = ("rope_type", "rope_theta", "factor", "original_max_position_embeddings")
        settings["rope_parameters"] = {key: settings["rope_parameters"][key] for key in kept}
    sizes = dict(SIZES, hidden_size=48, num_hidden_layers=LAYERS, num_attention_heads=6, num_key_value_heads=2,
                 intermediate_size=64, max_position_embeddings=CONTEXT)
    return getattr(transformers, f"{family}Config")(**(sizes | settings))


def gguf_keys(writer, family, config):
    """What the converters of llama.cpp write beside the sizes."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(size)
    writer.add_value_length(size)
    rotary = config.rope_parameters
    if family == "Gemma3Text":
        writer.add_rope_freq_base(rotary["full_attention"]["rope_theta"])
    else:
        writer.add_rope_freq_base(rotary["rope_theta"])
    if rotary.get("rope_type") in ("linear", "yarn"):
        kind = gguf.RopeScalingType.LINEAR if rotary["rope_type"] == "linear" else gguf.RopeScalingType.YARN
        writer.add_rope_scaling_type(kind)
        writer.add_rope_scaling_factor(rotary["factor"])
        if rotary["rope_type"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(rotary["original_max_position_embeddings"])
    if family in ("Gemma2", "Gemma3Text", "Phi3"):
        writer.add_sliding_window(config.sliding_window)
    if family == "Gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "Granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if family == "Phi3":
        writer.add_rope_dimension_count(size)
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        if "attention_factor" in rotary:
            writer.add_rope_scaling_attn_factors(rotary["attention_factor"])
        else:
            writer.add_rope_scaling_attn_factors((1 + np.log(rotary["factor"]) / np.log(CONTEXT)) ** 0.5)
        for which in ("long", "short"):
            writer.add_tensor(f"rope_factors_{which}.weight", np.array(rotary[f"{which}_factor"], dtype=np.float32))


def as_gguf(family, model, path, quantise=lambda name, rows: (rows, None)):
    """Writes a model of transformers as llama.cpp's converters do."""
    architecture, config = ARCHITECTURES[family], model.config
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, architecture)
    gguf_settings(writer, config)
    gguf_keys(writer, family, config)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        rows = tensor.numpy()
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            rows = rows + 1
        if architecture in INTERLEAVED and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            rows = interleaved(rows, heads)
        raw, kind = quantise(name, rows)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_files(bench, draws, rng):
    for family, draw in itertools.product(ARCHITECTURES, range(draws)):
        folder, path = bench.fresh(), bench.fresh() + ".gguf"
        make_model(gguf_config(family, rng), folder)
        model = load(folder)
        as_gguf(family, model, path)
        score(bench, f"{ARCHITECTURES[family]}.gguf, draw {draw + 1}", path, model)


def block_formats(bench, rng):
    """Weights of random blocks: what they hold is what gguf says."""
    for kind in ("IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0", "BF16", "Q8_0", "Q4_K"):
        kind = gguf.GGMLQuantizationType[kind]
        sizes = dict(SIZES, hidden_size=256, num_hidden_layers=1, num_attention_heads=4, intermediate_size=256,
                     max_position_embeddings=CONTEXT)
        folder, path = bench.fresh(), bench.fresh() + ".gguf"
        make_model(LlamaConfig(**sizes, tie_word_embeddings=True), folder)
        model = load(folder)
        state, block = model.state_dict(), gguf.GGML_QUANT_SIZES[kind]

        def quantise(name, rows):
            if "up_proj" not in name and "down_proj" not in name:
                return rows, None
            if kind.name == "BF16":
                raw = gguf.quants.quantize(rows, kind)
            else:
                shape = (rows.shape[0], rows.shape[1] // block[0] * block[1])
                raw = np.frombuffer(rng.randbytes(shape[0] * shape[1]), dtype=np.uint8).reshape(shape).copy()
                small_scales(raw, kind, block[1])
            state[name].copy_(torch.from_numpy(gguf.quants.dequantize(raw, kind).astype(np.float32)))
            return raw, kind

        as_gguf("Llama", model, path, quantise)
        score(bench, f"blocks of {kind.name}", path, model)


def small_scales(raw, kind, size):
    """Scales of blocks that are small numbers; random bytes might be no number at all."""
    blocks = raw.reshape(-1, size)
    scale = np.random.default_rng(len(blocks)).uniform(1e-4, 2e-4, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    places = {"TQ1_0": [52], "TQ2_0": [64], "Q4_K": [0, 2]}.get(kind.name, [0])
    for place in places:
        if kind.name == "MXFP4":
            blocks[:, 0] = 127 - 6
        else:
            blocks[:, place : place + 2] = scale


def nested(bench):
    """The language model inside a Gemma 3 of texts and pictures."""
    text, _ = drawn("Gemma3Text", random.Random(3))
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
              "patch_size": 14}
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=5)
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder, plain = bench.fresh(), bench.fresh()
    make_model(text, plain)  # for its tokenizer
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        os.link(f"{plain}/{name}", f"{folder}/{name}")
    score(bench, "the language model of a Gemma 3", folder, model)


def called_mistral(bench):
    """A Ministral whose settings say Mistral, as the automatic class reads it."""
    folder = bench.fresh()
    config, _ = drawn("Mistral", random.Random(5))
    config.sliding_window = 4
    make_model(config, folder)
    edit(f"{folder}/config.json", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]})
    peer = load(folder)
    assert type(peer).__name__ == "MinistralForCausalLM", type(peer)
    score(bench, "Mistral with kinds of layers", folder, peer)


def refusals(bench):
    """What would change the numbers is refused by name; a family that is not built with the nearest ones that are."""
    base = bench.fresh()
    make_model(drawn("Gemma2", random.Random(0))[0], base)
    cases = [
        ({"model_type": "gemma4_text"}, "gemma3_text"), ({"model_type": "qwen3_moe"}, "qwen3"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"), ({"sliding_window": None}, "layer_types"),
        ({"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, "chunked_attention"),
        ({"rope_parameters": {"rope_type": "axial", "rope_theta": 10.0}}, "axial"),
        ({"attn_logit_softcapping": -1.0}, "attn_logit_softcapping"), ({"hidden_activation": "relu2"}, "relu2"),
    ]
    with open(f"{base}/config.json") as file:
        sound = json.load(file)
    for changes, word in cases:
        edit(f"{base}/config.json", {**sound, **changes})
        bench.compare(f"gemma2 with {changes}", base, None, word)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # the models are tiny
    with tempfile.TemporaryDirectory() as folder:
        bench, rng = Bench(folder, options.binary), random.Random(options.seed)
        for family, draw in itertools.product(FAMILIES, range(options.draws)):
            config, settings = drawn(family, rng)
            base = bench.fresh()
            make_model(config, base)
            name = f"{family}, draw {draw + 1}"
            print(f"-- {name}: {settings}", flush=True)
            score(bench, name, base, load(base))
            greedy(bench, name, base, load(base))
            learned(bench, name, base, config)
            if draw == 0:
                ten_steps(bench, name, base)
        gguf_files(bench, options.draws, rng)
        block_formats(bench, rng)
        nested(bench)
        called_mistral(bench)
        refusals(bench)
    bench.checks.end()


if __name__ == "__main__":
    main()

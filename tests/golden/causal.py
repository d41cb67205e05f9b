"""Tiny random models of every architecture, what transformers says of them, and ten DPO steps of torch.

Run from the repository's root: python tests/golden/causal.py
Writes tests/golden/causal/<case>/{config.json,model.safetensors,expected.json}. The versions used are in expected.json.
"""

import copy
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

FOLDER = pathlib.Path(__file__).parent / "causal"
VOCABULARY = 96
TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
NEOX = TOKENS | {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 64, "rotary_pct": 0.5,
}
LLAMA = TOKENS | {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 64,
}
GPT2 = TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES = {
    "neox_parallel": (GPTNeoXForCausalLM, GPTNeoXConfig(**NEOX)),
    "neox_serial": (
        GPTNeoXForCausalLM,
        GPTNeoXConfig(**NEOX, use_parallel_residual=False, tie_word_embeddings=True, hidden_act="gelu_new"),
    ),
    "gpt2": (GPT2LMHeadModel, GPT2Config(**GPT2)),
    "gpt2_untied": (GPT2LMHeadModel, GPT2Config(**GPT2, tie_word_embeddings=False, n_inner=24)),
    "llama_tied": (LlamaForCausalLM, LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "llama_untied": (
        LlamaForCausalLM,
        LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True, head_dim=6, rms_norm_eps=1e-5),
    ),
    "llama3_rope": (LlamaForCausalLM, LlamaConfig(**LLAMA, rope_parameters=LLAMA3)),
    "linear_rope": (
        LlamaForCausalLM,
        LlamaConfig(**LLAMA, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}),
    ),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**LLAMA, tie_word_embeddings=True)),
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SMALL = LLAMA | {"num_hidden_layers": 1}
# What people bring: folders whose files say something that is easily read past. For each, what is changed in the
# config.json that was saved, and in the tensors; the numbers are those of the folder as transformers loads it then.
BROUGHT = {
    "odd_rotary_width": (
        GPTNeoXForCausalLM, GPTNeoXConfig(**NEOX), {"rope_parameters": ROPE | {"partial_rotary_factor": 0.4}}, None,
    ),
    "two_rotary_keys": (
        LlamaForCausalLM, LlamaConfig(**SMALL, rope_parameters=ROPE | {"rope_theta": 500.0}),
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, None,
    ),
    "own_head": (
        LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=True),
        {"partial_rotary_factor": 0.5, "sliding_window": 2}, "own",
    ),
    "head_only": (GPTNeoXForCausalLM, GPTNeoXConfig(**NEOX, tie_word_embeddings=True), {}, "only"),
    "two_names": (GPT2LMHeadModel, GPT2Config(**GPT2), {"num_attention_heads": 4}, None),
    "windows_without_layers": (
        Qwen2ForCausalLM, Qwen2Config(**SMALL),
        {"use_sliding_window": True, "sliding_window": 2, "max_window_layers": 1, "layer_types": None}, None,
    ),
}
# Cases that take DPO steps.
LEARNING = ("neox_parallel", "llama_tied")


def randomise(model, generator):
    """Numbers large enough that every part of the model matters."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.data = noise * 0.25
        elif name.endswith("bias"):
            parameter.data = noise * 0.1
        elif name != "logit_scale":
            parameter.data = 1 + noise * 0.1


def random_tokens(n, generator):
    return torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()


def log_probs(model, prompt, response):
    """log pi(token | what came before) for each token of the response."""
    tokens = torch.tensor([prompt + response])
    logits = model(tokens[:, :-1]).logits[0, len(prompt) - 1 :]
    return logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def greedy(model, prompt, n):
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def dpo_steps(model, pairs, beta=0.1, rate=1e-3, n_steps=10, max_norm=10.0):
    """RMSprop on the mean of -log sigmoid(beta margin), with the model's first state as the reference."""
    reference = copy.deepcopy(model)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=rate)
    losses, margins, norms = [], [], []
    for _ in range(n_steps):
        inside = []
        for pair in pairs:
            ratio = []
            for side in ("chosen", "rejected"):
                policy = log_probs(model, pair["prompt"], pair[side]).sum()
                with torch.no_grad():
                    first = log_probs(reference, pair["prompt"], pair[side]).sum()
                ratio.append(policy - first)
            inside.append(beta * (ratio[0] - ratio[1]))
        inside = torch.stack(inside)
        loss = -torch.nn.functional.logsigmoid(inside).mean()
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)))
        optimizer.step()
        losses.append(loss.item())
        margins.append(inside.mean().item())
    settings = {"beta": beta, "rate": rate, "max_norm": max_norm}
    return settings | {"pairs": pairs, "losses": losses, "margins": margins, "gradient_norms": norms}


def change(folder, settings, head, generator):
    """Changes a saved folder and loads what has become of it."""
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = load_file(folder / "model.safetensors")
    embedding = next(key for key in tensors if "embed" in key or "wte" in key)
    if head == "own":
        tensors["lm_head.weight"] = torch.randn(tensors[embedding].shape, generator=generator) * 0.25
    if head == "only":
        tensors["embed_out.weight"] = tensors.pop(embedding)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def main():
    torch.set_num_threads(1)
    cases = {name: (*case, None, None) for name, case in CASES.items()} | BROUGHT
    for seed, (name, (model_class, config, settings, head)) in enumerate(cases.items()):
        generator = torch.Generator().manual_seed(seed)
        config._attn_implementation = "eager"
        model = model_class(config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name in BROUGHT:
            model = change(folder, settings, head, generator)
        prompts = [random_tokens(n, generator) for n in (1, 5, 12)]
        episodes = [
            {"prompt": prompt, "response": random_tokens(n, generator) + [2]}
            for prompt in prompts for n in (0, 3, 9)
        ]
        expected = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
        with torch.no_grad():
            for episode in episodes:
                episode["log_probs"] = log_probs(model, episode["prompt"], episode["response"]).tolist()
            expected["episodes"] = episodes
            expected["greedy"] = [{"prompt": p, "response": greedy(model, p, 20)} for p in prompts]
        if name in LEARNING:
            pairs = [
                {
                    "prompt": random_tokens(6, generator),
                    "chosen": random_tokens(n, generator) + [2],
                    "rejected": random_tokens(8 - n, generator) + [2],
                }
                for n in (2, 3, 5, 7)
            ]
            expected["dpo"] = dpo_steps(model, pairs)
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()

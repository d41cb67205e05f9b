"""Tiny random models of every family beyond the first four, all of their switches on, and what transformers says of them.

Run from the repository's root: python tests/golden/families.py
Writes tests/golden/families/<case>/{config.json,model.safetensors,expected.json}. The versions used are in expected.json.
"""

import json
import pathlib
import shutil
import zlib

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from causal import TOKENS, dpo_steps, greedy, log_probs, random_tokens

FOLDER = pathlib.Path(__file__).parent / "families"
SIZES = TOKENS | {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 64,
}
HEAD = {"head_dim": 8}
SECOND = ["full_attention", "sliding_attention"]
YARN = {
    "rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0,
}
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.7], "long_factor": [2.0, 3.0]}
NESTED = {"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
CASES = {
    "qwen2_window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "qwen3": ("Qwen3", HEAD | {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen3_window": (
        "Qwen3", HEAD | {"use_sliding_window": True, "sliding_window": 4, "layer_types": SECOND, "rope_parameters": YARN},
    ),
    "mistral": ("Mistral", {"sliding_window": 5}),
    "ministral": ("Ministral", HEAD | {"sliding_window": 5, "layer_types": SECOND}),
    "smollm3": (
        "SmolLM3", {"pad_token_id": 0, "no_rope_layers": [1, 0], "use_sliding_window": True, "sliding_window": 6,
                    "attention_bias": True},
    ),
    "gemma": ("Gemma", HEAD | {"hidden_act": "gelu"}),
    "gemma2": (
        "Gemma2", HEAD | {"sliding_window": 5, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 2.0,
                          "final_logit_softcapping": 3.0},
    ),
    "gemma3": (
        "Gemma3Text", HEAD | {"sliding_window": 5, "query_pre_attn_scalar": 5, "final_logit_softcapping": 3.0,
                              "layer_types": SECOND, "rope_parameters": NESTED, "tie_word_embeddings": False},
    ),
    "granite": (
        "Granite", {"embedding_multiplier": 3.0, "logits_scaling": 0.5, "residual_multiplier": 0.4,
                    "attention_multiplier": 0.3, "mlp_bias": True},
    ),
    "olmo2": ("Olmo2", {"attention_bias": True}),
    "olmo3": ("Olmo3", {"sliding_window": 5, "layer_types": SECOND, "rope_parameters": NESTED}),
    "phi3": ("Phi3", {"sliding_window": 6, "pad_token_id": 0}),
    "phi3_long": (
        "Phi3", HEAD | {"hidden_size": 32, "rope_parameters": LONG | {"partial_rotary_factor": 0.5},
                        "original_max_position_embeddings": 40, "tie_word_embeddings": True, "pad_token_id": 0},
    ),
    "llama_yarn": ("Llama", {"rope_parameters": YARN | {"truncate": False}}),
    "llama_dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 4.0}}),
}
# Cases that take DPO steps.
LEARNING = ("gemma2", "olmo3", "phi3", "granite")
REWARDS = {"gemma2_reward": CASES["gemma2"], "qwen3_reward": CASES["qwen3"], "phi3_reward": CASES["phi3"]}


def randomise(model, generator):
    """Numbers large enough that every part of the model matters; norms near what they start as."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.data = noise * 0.25
        elif name.endswith("bias"):
            parameter.data = noise * 0.1
        else:
            parameter.data = parameter.data + noise * 0.1


def seeded(name):
    """A generator of a case's own, so that a new case changes no other."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def made(name, kind, head, generator):
    """A saved random model, as transformers loads it."""
    family, settings = kind
    config = getattr(transformers, f"{family}Config")(**(SIZES | settings))
    if head is AutoModelForSequenceClassification:
        config.num_labels = 1
    model = head.from_config(config, attn_implementation="eager")
    randomise(model, generator)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder, head.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def main():
    torch.set_num_threads(1)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    for name, kind in CASES.items():
        generator = seeded(name)
        folder, model = made(name, kind, AutoModelForCausalLM, generator)
        prompts = [random_tokens(n, generator) for n in (1, 5, 12)]
        episodes = [
            {"prompt": prompt, "response": random_tokens(n, generator) + [2]} for prompt in prompts for n in (0, 3, 9)
        ]
        with torch.no_grad():
            for episode in episodes:
                episode["log_probs"] = log_probs(model, episode["prompt"], episode["response"]).tolist()
            texts = [{"prompt": p, "response": greedy(model, p, 20)} for p in prompts]
        expected = {"versions": versions, "episodes": episodes, "greedy": texts}
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
    for name, kind in REWARDS.items():
        generator = seeded(name)
        folder, model = made(name, kind, AutoModelForSequenceClassification, generator)
        texts = [random_tokens(n, generator) for n in (1, 4, 17)]
        with torch.no_grad():
            rewards = [model(torch.tensor([text])).logits[0, 0].item() for text in texts]
        expected = {"versions": versions, "texts": texts, "rewards": rewards}
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()

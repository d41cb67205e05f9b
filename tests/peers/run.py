"""transformers and peft against hybrid-dpo, on random models of every architecture.

    pip install torch transformers peft safetensors
    cargo build --release
    python tests/peers/run.py --binary target/release/hybrid-dpo

For each model: (1) `score` gives transformers' log-probability of every token, (2) `train` writes a folder that
transformers loads, and both give the trained model the same numbers, (3) `train --lora-rank` writes an adapter that
peft loads, likewise, (4) an adapter that peft made goes on learning from where it was, and peft takes it back. The last
line is the count of checks.
"""

import argparse
import json
import math
import os
import random
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config,
)

from checks import Checks

TOLERANCE, WORDS = 2e-4, 120
SIZES = dict(vocab_size=WORDS, bos_token_id=0, eos_token_id=0)
LLAMA = dict(SIZES, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=96,
             max_position_embeddings=128)
NEOX = dict(LLAMA, rotary_pct=0.25, tie_word_embeddings=False)
CASES = {
    "gpt-neox, parallel residual": GPTNeoXConfig(**NEOX, use_parallel_residual=True),
    "gpt-neox, serial residual": GPTNeoXConfig(**NEOX, use_parallel_residual=False),
    "gpt2": GPT2Config(**SIZES, n_embd=48, n_layer=3, n_head=6, n_positions=128),
    "llama, grouped heads, tied": LlamaConfig(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "llama, grouped heads, untied": LlamaConfig(**LLAMA, num_key_value_heads=3, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
}


def make_model(config, folder):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # initial weights are so small that every token is about as likely as another
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(config.model_type), eos_token="<|end|>", bos_token="<|end|>", unk_token="<unk>"
    ).save_pretrained(folder)


def make_tokenizer(family):
    """A token a word; of Qwen2 a token a letter, as transformers 5 takes any tokenizer of that family for one of bytes."""
    if family != "qwen2":
        vocabulary = {"<|end|>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, WORDS)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return tokenizer
    used = ["\u0120", "w", *"0123456789"]
    others = [letter for letter in sorted(pre_tokenizers.ByteLevel.alphabet()) if letter not in used]
    letters = ["<|end|>", "<unk>", *used, *others][:WORDS]
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def make_data(path):
    rng = random.Random(0)

    def words(low, high):
        return " ".join(f"w{rng.randrange(2, WORDS)}" for _ in range(rng.randint(low, high)))

    with open(path, "w") as file:
        for _ in range(12):
            pair = {"prompt": words(5, 40), "chosen": words(1, 20), "rejected": words(1, 20)}
            file.write(json.dumps(pair) + "\n")


def call(binary, *arguments):
    subprocess.run([binary, *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def largest_difference(model, scores):
    """Between `score`'s numbers and the model's own, over all tokens of all answers."""
    largest = 0.0
    with open(scores) as file:
        for line in map(json.loads, file):
            prompt = line["prompt_tokens"]
            for side in ("chosen", "rejected"):
                tokens = line[side]["tokens"]
                with torch.no_grad():
                    logits = model(torch.tensor([prompt + tokens])).logits[0].double()
                expected = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(tokens)[:, None])[:, 0]
                found = torch.tensor(line[side]["log_probs"], dtype=torch.float64)
                largest = max(largest, (expected - found).abs().max().item())
    return largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    options = parser.parse_args()
    checks = Checks()
    check = lambda name, difference: checks(name, difference, TOLERANCE)

    for name, config in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = lambda *parts: os.path.join(folder, *parts)
            make_model(config, path("base"))
            make_data(path("pairs.jsonl"))
            load = lambda where: AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
            data = ["--data", path("pairs.jsonl")]
            # Sizes that leave answers whole: the largest position is 128.
            data += ["--max-length", "128", "--max-prompt-length", "64"]
            training = ["--eval-share", "0", "--batch-size", "4", "--lr", "1e-3", "--warmup-steps", "0", "--n-samples", "0"]

            call(options.binary, "score", "--model", path("base"), *data, "--out", path("base.jsonl"))
            check(f"{name}: score", largest_difference(load(path("base")), path("base.jsonl")))

            call(options.binary, "train", "--model", path("base"), *data, *training, "--out", path("full"))
            call(options.binary, "score", "--model", path("full"), *data, "--out", path("full.jsonl"))
            check(f"{name}: trained, in transformers", largest_difference(load(path("full/model")), path("full.jsonl")))

            call(options.binary, "train", "--model", path("base"), *data, *training, "--lora-rank", "4", "--out", path("lora"))
            adapted = f"{path('base')}+{path('lora', 'model')}"
            call(options.binary, "score", "--model", adapted, *data, "--out", path("lora.jsonl"))
            peft = PeftModel.from_pretrained(load(path("base")), path("lora/model")).eval()
            check(f"{name}: adapter, in peft", largest_difference(peft, path("lora.jsonl")))

            # An adapter of peft's goes on learning here, and peft takes it back.
            settings = LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear", init_lora_weights=False)
            made = get_peft_model(load(path("base")), settings)
            made.save_pretrained(path("made"))
            model = f"{path('base')}+{path('made')}"
            more = [*training, "--lora-rank", "4"]
            call(options.binary, "train", "--model", model, *data, *more, "--out", path("on"))
            with open(path("on", "metrics.jsonl")) as file:
                check(f"{name}: the first loss of peft's adapter, ln 2", abs(json.loads(next(file))["loss"] - math.log(2)))
            adapted = f"{path('base')}+{path('on', 'model')}"
            call(options.binary, "score", "--model", adapted, *data, "--out", path("on.jsonl"))
            peft = PeftModel.from_pretrained(load(path("base")), path("on/model")).eval()
            check(f"{name}: peft's adapter after learning, in peft", largest_difference(peft, path("on.jsonl")))
    checks.end()


if __name__ == "__main__":
    main()

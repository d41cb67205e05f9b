"""GGUF and llama2.c models that others made, against the numbers that are published for them.

    pip install torch transformers
    cargo build --release
    python tests/peers/formats.py --binary target/release/hybrid-dpo --stories FOLDER --smollm FILE.gguf

FOLDER has stories260K.bin, tok512.bin and golden.txt (the greedy continuation of nothing, from
https://huggingface.co/karpathy/tinyllamas); FILE.gguf is SmolLM2-135M-Instruct in Q4_1. Each model is also saved as a
Hugging Face folder by a training step of rate zero, and transformers must read the same text into the same tokens and
give the same log-probabilities.
"""

import argparse
import json
import os
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CAPITALS = {" Paris": -0.258, " the": -2.741, " London": -4.384}


def call(binary, *arguments):
    done = subprocess.run([binary, *arguments, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def score(binary, model, pairs, folder):
    data, out = os.path.join(folder, "pairs.jsonl"), os.path.join(folder, "scores.jsonl")
    with open(data, "w") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in pairs)
    call(binary, "score", "--mdp", "token", "--model", model, "--data", data, "--out", out)
    return data, [json.loads(line) for line in open(out)]


def check_saved(binary, model, data, scores, folder):
    """The model, saved by us, in transformers: the largest difference of any log-probability."""
    run = os.path.join(folder, "run")
    call(binary, "train", "--mdp", "token", "--model", model, "--data", data, "--out", run, "--max-steps", "1",
         "--batch-size", "2", "--lr", "1e-30", "--eval-every", "0")
    saved = os.path.join(run, "model")
    tokenizer = AutoTokenizer.from_pretrained(saved)
    theirs = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32).eval()
    worst = 0.0
    for pair, line in zip(open(data), scores, strict=True):
        pair = json.loads(pair)
        assert tokenizer(pair["prompt"])["input_ids"] == line["prompt_tokens"], pair
        for side in ("chosen", "rejected"):
            prompt, answer = line["prompt_tokens"], line[side]["tokens"]
            with torch.no_grad():
                logits = theirs(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            expected = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
            worst = max(worst, (expected - torch.tensor(line[side]["log_probs"])).abs().max().item())
    return worst


def check_smollm(binary, model):
    words = list(CAPITALS)
    pairs = [{"prompt": "The capital of France is", "chosen": a, "rejected": b} for a, b in zip(words, words[1:])]
    with tempfile.TemporaryDirectory() as folder:
        data, scores = score(binary, model, pairs, folder)
        assert scores[0]["prompt_tokens"] == [504, 3575, 282, 4649, 314], scores[0]
        found = {p["chosen"]: s["chosen"]["log_probs"][0] for p, s in zip(pairs, scores, strict=True)}
        found[words[-1]] = scores[-1]["rejected"]["log_probs"][0]
        for word, expected in CAPITALS.items():
            assert abs(found[word] - expected) < 0.01, (word, found[word], expected)
        worst = check_saved(binary, model, data, scores, folder)
    assert worst < 1e-3, worst
    print(f"SmolLM2, GGUF: {found}; saved folder in transformers differs by {worst:.1e}")


def check_stories(binary, folder):
    """The greedy continuation of nothing is the published one, byte for byte."""
    model = os.path.join(folder, "stories260K.bin")
    golden = open(os.path.join(folder, "golden.txt"), encoding="utf-8", newline="").read()
    with tempfile.TemporaryDirectory() as scratch:
        pairs = [{"prompt": golden[:200], "chosen": golden[200:], "rejected": golden[200:240]}]
        data, scores = score(binary, model, pairs, scratch)
        worst = check_saved(binary, model, data, scores, scratch)
        prompts, out = os.path.join(scratch, "prompts.jsonl"), os.path.join(scratch, "samples.jsonl")
        with open(prompts, "w") as file:
            file.write(json.dumps({"prompt": ""}) + "\n")
        call(binary, "sample", "--mdp", "token", "--model", model, "--prompts", prompts, "--temperature", "0",
             "--max-length", "201", "--out", out)
        text = json.loads(open(out).readline())["response"]
    assert worst < 1e-3, worst
    assert text == golden, text
    print(f"stories260K, llama2.c: {len(golden.encode())} bytes; saved folder in transformers differs by {worst:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--stories")
    parser.add_argument("--smollm")
    arguments = parser.parse_args()
    if arguments.smollm:
        check_smollm(arguments.binary, arguments.smollm)
    if arguments.stories:
        check_stories(arguments.binary, arguments.stories)

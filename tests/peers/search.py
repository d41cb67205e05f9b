"""Searches of transformers against hybrid-dpo, on random models of every family.

    pip install torch transformers safetensors
    cargo build --release
    python tests/peers/search.py --binary target/release/hybrid-dpo

Greedy and beam search (2, 4 and 8 beams; length penalties 0, 1 and 2; every way to stop early; one and three tokens that
end an answer) give the tokens of `generate`, all answers of a prompt in its order, and its scores. The last line is the
count of checks.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from checks import Checks
from run import CASES, WORDS, make_model

LONGEST, PROMPTS, TOLERANCE = 32, 3, 1e-3
BEAMS, PENALTIES, STOPPING = (2, 4, 8), (0.0, 1.0, 2.0), (True, False, "never")


def make_prompts(path):
    rng = random.Random(1)
    prompts = [" ".join(f"w{rng.randrange(2, WORDS)}" for _ in range(rng.randint(3, 10))) for _ in range(PROMPTS)]
    with open(path, "w") as file:
        file.writelines(f"{prompt}\n" for prompt in prompts)
    return prompts


def search(binary, model, prompts, *arguments):
    """The lines of each prompt, in the order of the file."""
    command = [binary, "search", "--model", model, "--prompts", prompts, "--max-length", str(LONGEST), "--quiet"]
    ran = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return [list(group) for _, group in itertools.groupby(lines, key=lambda line: line["prompt"])]


def until_end(tokens, ends):
    """The answer without its padding."""
    last = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: last + 1]


def generate(model, tokenizer, prompt, ends, beams, **settings):
    tokens = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        made = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, num_beams=beams, num_return_sequences=beams,
            max_length=LONGEST, eos_token_id=ends, pad_token_id=0, return_dict_in_generate=True, output_scores=True,
            **settings,
        )
    answers = [until_end(row[tokens.shape[1] :].tolist(), ends) for row in made.sequences]
    return answers, made.sequences_scores.tolist() if beams > 1 else None


def set_ends(folder, ends):
    path = os.path.join(folder, "generation_config.json")
    with open(path) as file:
        settings = json.load(file)
    with open(path, "w") as file:
        json.dump({**settings, "eos_token_id": ends}, file)


def compare(found, expected, scores):
    """1 where the tokens of an answer differ, else by how much the scores do."""
    if [line["tokens"] for line in found] != expected:
        return 1.0
    return max((abs(line["score"] - score) for line, score in zip(found, scores or [])), default=0.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the models are tiny
    checks, n_answers, n_ended = Checks(), 0, 0
    for name, config in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            base, file = os.path.join(folder, "base"), os.path.join(folder, "prompts.txt")
            make_model(config, base)
            prompts = make_prompts(file)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
            tokenizer = AutoTokenizer.from_pretrained(base)
            # Tokens that a random model says: answers end somewhere.
            said = [token for prompt in prompts for answer in generate(model, tokenizer, prompt, [0], 4)[0] for token in answer]
            common = sorted(set(said) - {0}, key=said.count)
            for ends in ([0, common[len(common) // 2]], [0, common[0], common[-1]]):
                set_ends(base, ends)
                greedy = search(options.binary, base, file, "--method", "greedy")
                difference = 0.0
                for prompt, found in zip(prompts, greedy, strict=True):
                    difference = max(difference, compare(found, *generate(model, tokenizer, prompt, ends, 1)))
                checks(f"{name}, {len(ends)} ends: greedy", difference, TOLERANCE)
                for beams, penalty, stopping in itertools.product(BEAMS, PENALTIES, STOPPING):
                    settings = ["--width", str(beams), "--n", str(beams), "--length-penalty", str(penalty)]
                    settings += ["--early-stopping", str(stopping).lower()]
                    found = search(options.binary, base, file, "--method", "beam", *settings)
                    difference = 0.0
                    for prompt, lines in zip(prompts, found, strict=True):
                        expected, scores = generate(
                            model, tokenizer, prompt, ends, beams, length_penalty=penalty, early_stopping=stopping
                        )
                        difference = max(difference, compare(lines, expected, scores))
                        n_answers, n_ended = n_answers + len(lines), n_ended + sum(line["finished"] for line in lines)
                    checks(f"{name}, {len(ends)} ends: {beams} beams, penalty {penalty}, {stopping}", difference, TOLERANCE)
    print(f"{n_answers} answers of beams, {n_ended} of them ended by a token")
    checks.end()


if __name__ == "__main__":
    main()

"""Held-out pairs of a run, and an interval for their accuracy that knows which pairs share a prompt.

    pip install blake3
    python docs/experiments/held_out.py split DATA.jsonl OUT.jsonl     # the pairs that --eval-share 0.2 --seed 0 holds out
    hybrid-dpo score --model RUN --reference MODEL --data OUT.jsonl --out SCORES.jsonl
    python docs/experiments/held_out.py interval SCORES.jsonl

The split is the one of `Dataset::hold_out`: prompts in the order of a hash of seed and text, until the share is reached.
The first interval is Wilson's and takes pairs as independent. The second draws whole prompts with replacement. The last
lines say how often the better answer is the longer one in tokens: what a model gets right that only counts.
"""

import json
import random
import sys
from collections import defaultdict

SHARE, SEED, DRAWS = 0.2, 0, 10_000


def word(*parts):
    from blake3 import blake3

    return int.from_bytes(blake3(b"".join(parts)).digest()[:8], "big")


def key(prompt):
    text = prompt.encode()
    of_text = word(len(text).to_bytes(8, "little"), text)
    return word(SEED.to_bytes(8, "little"), of_text.to_bytes(8, "little"))


def split(data, out):
    lines = open(data).read().splitlines()
    groups = defaultdict(list)
    for index, line in enumerate(lines):
        groups[key(json.loads(line)["prompt"])].append(index)
    held_out = []
    for _, group in sorted(groups.items()):
        if len(held_out) + len(group) / 2 > SHARE * len(lines):
            break
        held_out += group
    with open(out, "w") as file:
        file.writelines(lines[index] + "\n" for index in sorted(held_out))


def wilson(right, n, z=1.959964):
    middle, spread = right / n + z * z / (2 * n), z * (right / n * (1 - right / n) / n + z * z / (4 * n * n)) ** 0.5
    return [(middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1)]


def interval(scores):
    pairs = [json.loads(line) for line in open(scores)]
    prompts, by_length = defaultdict(list), defaultdict(list)
    for pair in pairs:
        prompts[tuple(pair["prompt_tokens"])].append(pair["margin"] > 0)
        chosen, rejected = len(pair["chosen"]["tokens"]), len(pair["rejected"]["tokens"])
        by_length["longer" if chosen > rejected else "shorter" if chosen < rejected else "equal"].append(pair["margin"] > 0)
    groups = list(prompts.values())
    right, n = sum(map(sum, groups)), sum(map(len, groups))
    rng, means = random.Random(0), []
    for _ in range(DRAWS):
        drawn = rng.choices(groups, k=len(groups))
        means.append(sum(map(sum, drawn)) / sum(map(len, drawn)))
    means.sort()
    low, high = wilson(right, n)
    print(f"{n} pairs of {len(groups)} prompts, accuracy {right / n:.3f}")
    print(f"95%, pairs independent      {low:.3f} to {high:.3f}")
    print(f"95%, whole prompts drawn    {means[DRAWS // 40]:.3f} to {means[-DRAWS // 40]:.3f}")
    for name, right in sorted(by_length.items()):
        print(f"the better answer is {name}: {len(right)} pairs, accuracy {sum(right) / len(right):.3f}")


if __name__ == "__main__":
    {"split": split, "interval": interval}[sys.argv[1]](*sys.argv[2:])

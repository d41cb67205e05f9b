"""Tokens per second and peak memory of transformers' generate and of hybrid-dpo, on the same files, in turns.

    pip install torch transformers
    cargo bench -p benches --bench sampling --no-run     # prints the path of the program
    python benches/peers/sampling.py --program target/release/deps/sampling-...

A random 70M GPT-NeoX (6 layers, width 512, 50,304 words), 8 prompts of 200 tokens, f32: 64 answers of 128 tokens drawn
from the whole distribution (8 to a prompt), then beams of width 5. Each run is a process of its own; times leave
loading out on both sides, memory does not. Prints a JSON line a run, and the ratios of medians.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time

from turns import medians, peak_mb, print_ratios

os.environ.setdefault("HF_HUB_OFFLINE", "1")
WORDS, PROMPTS, PROMPT_TOKENS, ANSWERS, WIDTH, TOKENS = 50_304, 8, 200, 8, 5, 128
KINDS = ["sample", "beams"]


def make_files(folder):
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=WORDS, hidden_size=512, num_hidden_layers=6, num_attention_heads=8, intermediate_size=2048,
        max_position_embeddings=2048, rotary_pct=0.25, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)


def run_transformers(folder, kind, tokens):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(os.cpu_count())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = torch.randint(1, WORDS, (PROMPTS, PROMPT_TOKENS), generator=torch.Generator().manual_seed(1))
    how = {"do_sample": True, "top_k": 0, "num_return_sequences": ANSWERS} if kind == "sample" else {"num_beams": WIDTH}
    start = time.perf_counter()
    with torch.no_grad():
        made = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=tokens, min_new_tokens=tokens,
            pad_token_id=0, **how,
        )
    seconds = time.perf_counter() - start
    n = made.shape[0] * (made.shape[1] - PROMPT_TOKENS)
    peak = peak_mb(resource.RUSAGE_SELF)
    print(json.dumps({"system": "transformers", "kind": kind, "tokens_per_second": n / seconds, "peak_mb": peak}))


def measure(program, kind, rounds, tokens=TOKENS):
    """Medians by system; `program` is the built benches/sampling.rs."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder)
        peer = [sys.executable, __file__, "--peer", folder, kind, "--tokens", str(tokens)]
        return medians({"transformers": peer, "hybrid-dpo": [program, kind, folder, str(tokens)]}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:  # in a process of its own, so that its peak memory is its own
        return run_transformers(*options.peer, options.tokens)
    if not options.program:
        parser.error("--program is the path that cargo bench prints")
    for kind in options.kinds:
        print_ratios(kind, measure(options.program, kind, options.rounds, options.tokens), "tokens_per_second")


if __name__ == "__main__":
    main()

"""Writes a GGUF file of a random Llama in Q4_K and Q6_K, and pairs of texts for it: what a step of training costs.

    pip install gguf numpy
    cargo build --release
    python scripts/random_gguf.py OUT.gguf PAIRS.jsonl --step target/release/hybrid-dpo --most 3

With `--step` the program takes one step of DPO with adapters on all linear layers, and its peak memory (the largest resident
set, as the kernel counts it) and time are printed; with `--most` more than so many gigabytes (10^9 bytes) are a failure.
The sizes are those of SmolLM2-1.7B unless options say otherwise, about 1 GB; the embedding, which is the output matrix too,
is in Q6_K, as converters write it. A token is a letter of the texts, so `--prompt` and `--answer` are numbers of tokens.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np

Q4, Q6 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def blocks(rng, shape, kind):
    """Random blocks, whose numbers have a standard deviation near 0.02."""
    size, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (shape[0] * shape[1] // size, n_bytes), dtype=np.uint8)
    for place, number in ((0, 1.3e-4), (2, 1e-3)) if kind == Q4 else ((208, 1.5e-5),):
        data[:, place : place + 2] = np.frombuffer(np.float16(number).tobytes(), np.uint8)
    return data.reshape(shape[0], -1)


def write_model(options):
    width, inner, rng = options.width, options.inner, np.random.default_rng(0)
    writer = gguf.GGUFWriter(options.out, "llama", use_temp_file=False)
    writer.add_context_length(8192)
    writer.add_embedding_length(width)
    writer.add_block_count(options.layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(options.heads)
    writer.add_head_count_kv(options.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(130000.0)
    words = ["<|end|>", *LETTERS, "X", "Y", "XY"]
    # What is merged is in no text.
    words += [f"word{i}" for i in range(options.vocabulary - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3] + [1] * (len(words) - 1))
    writer.add_token_merges(["X Y"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_tensor("token_embd.weight", blocks(rng, (options.vocabulary, width), Q6), raw_dtype=Q6)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    shapes = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_output": (width, width),
              "ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
    for layer in range(options.layers):
        for name, shape in shapes.items():
            # Some of the most important ones are in Q6_K, as in files that are called Q4_K_M.
            kind = Q6 if name in ("attn_v", "ffn_down") and layer % 2 else Q4
            writer.add_tensor(f"blk.{layer}.{name}.weight", blocks(rng, shape, kind), raw_dtype=kind)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_pairs(options):
    draw = random.Random(0)
    text = lambda n: "".join(draw.choice(LETTERS) for _ in range(n))
    with open(options.pairs, "w") as file:
        for _ in range(options.n_pairs):
            # The end of an answer is a token too.
            pair = {"prompt": text(options.prompt), "chosen": text(options.answer - 1), "rejected": text(options.answer - 1)}
            file.write(json.dumps(pair) + "\n")


def step(binary, model, pairs, more):
    """The gigabytes and seconds of one step."""
    with tempfile.TemporaryDirectory() as folder:
        call = [binary, "train", "--model", model, "--data", pairs, "--lora-rank", "16", "--batch-size", "4", "--max-steps", "1",
                "--eval-share", "0", "--n-samples", "0", "--out", os.path.join(folder, "run"), "--quiet", *more]
        start = time.monotonic()
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("pairs")
    for name, default in (("width", 2048), ("inner", 8192), ("layers", 24), ("heads", 32), ("vocabulary", 49152),
                          ("prompt", 100), ("answer", 30), ("n-pairs", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--step", metavar="BINARY", help="takes one step of training with this program")
    parser.add_argument("--most", type=float, metavar="GB", help="the most memory that the step may take")
    options, more = parser.parse_known_args()
    if more and not options.step:
        parser.error(f"{more[0]} is for the program of --step")
    write_model(options)
    write_pairs(options)
    if options.step:
        size = os.path.getsize(options.out) / 1e9
        memory, seconds = step(options.step, options.out, options.pairs, more or ["--micro-batch-size", "1"])
        print(f"a file of {size:.2f} GB: {memory:.2f} GB at most, {seconds:.0f} s with reading and writing")
        if options.most and memory > options.most:
            raise SystemExit(f"more than {options.most} GB")


if __name__ == "__main__":
    main()

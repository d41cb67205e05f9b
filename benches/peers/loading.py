"""Rows per second and peak memory of reading and tokenising pairs: datasets with tokenizers, and hybrid-dpo, in turns.

    pip install datasets tokenizers transformers
    cargo build --release
    python benches/peers/loading.py --binary target/release/hybrid-dpo --format jsonl --rounds 5
    python benches/peers/loading.py --binary target/release/hybrid-dpo --format parquet --rounds 5

100,000 pairs of made-up words (prompts of 40 to 80, answers of 15 to 35; words are drawn by rank, as in Zipf's law),
and a byte-level BPE tokenizer of 8,000 tokens that learned from such words. hybrid-dpo's `inspect` reads and tokenises
every row and counts its tokens; the time is the whole command's. The peer's is that from `load_dataset` to the end of
a batched `map` that tokenises the three columns, with importing and the tokenizer's loading left out: `datasets` with
a process a core, `datasets-threads` in one process with the tokenizer's own threads. Nothing is cached from run to run
but the file's pages. Memory is the peak of the proportional set sizes of the process and its children, looked at
twenty times a second.
"""

import argparse
import glob
import json
import os
import random
import subprocess
import tempfile
import threading
import time

from turns import itself, medians, print_ratios

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
ROWS, WORDS, TOKENS, COLUMNS, FORMATS = 100_000, 20_000, 8_000, ["prompt", "chosen", "rejected"], ["jsonl", "parquet"]
SYSTEMS = ["datasets", "datasets-threads", "hybrid-dpo"]


class Memory:
    """The peak of the proportional set sizes of a process and its children, in MB."""

    def __init__(self, process):
        self.process, self.peak_mb, self.ended = process, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def watch(self):
        while True:
            self.peak_mb = max(self.peak_mb, self.of_tree(self.process) / 1024)
            if self.ended.wait(0.05):
                return

    def of_tree(self, process):
        """In kB; a process that has just ended has none."""
        try:
            with open(f"/proc/{process}/smaps_rollup") as file:
                size = sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            children = []
            for path in glob.glob(f"/proc/{process}/task/*/children"):
                with open(path) as file:
                    children += file.read().split()
        except OSError:
            return 0
        return size + sum(map(self.of_tree, children))


def made_up_words(rng):
    parts = [first + vowel + last for first in "bdfgklmnprst" for vowel in "aeiou" for last in ("", "n", "r", "s")]
    return ["".join(rng.choices(parts, k=rng.choice((1, 2, 2, 3)))) for _ in range(WORDS)]


def texts(rng, words, weights, low, high):
    while True:
        yield " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(low, high)))


def make_files(folder, format, rows):
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    rng = random.Random(0)
    words, weights, total = made_up_words(rng), [], 0.0
    for rank in range(WORDS):
        total += 1 / (rank + 10)
        weights.append(total)
    prompts, answers = (texts(rng, words, weights, *lengths) for lengths in ((40, 80), (15, 35)))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator((next(prompts) for _ in range(3000)), trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))
    model = os.path.join(folder, "model")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    ).save_pretrained(model)
    torch.manual_seed(0)
    GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, bos_token_id=0, eos_token_id=0,
    )).save_pretrained(model)
    path = os.path.join(folder, f"pairs.{format}")
    sides = lambda: {side: " " + next(answers) for side in COLUMNS[1:]}
    records = ({"prompt": next(prompts)} | sides() for _ in range(rows))
    if format == "jsonl":
        with open(path, "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
    else:
        Dataset.from_list(list(records)).to_parquet(path)


def run_datasets(folder, format, out, how):
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(os.path.join(folder, "model"))
    processes = os.cpu_count() if how == "datasets" else None
    with Memory(os.getpid()) as memory:
        start = time.perf_counter()
        rows = load_dataset(
            "json" if format == "jsonl" else format, data_files=os.path.join(folder, f"pairs.{format}"), split="train",
            cache_dir=out,
        )
        tokens = lambda batch: {f"{name}_ids": tokenizer(batch[name])["input_ids"] for name in COLUMNS}
        n = len(rows.map(tokens, batched=True, num_proc=processes, remove_columns=COLUMNS))
        seconds = time.perf_counter() - start
    return {"rows_per_second": n / seconds, "peak_mb": memory.peak_mb}


def run_ours(binary, folder, format):
    path = os.path.join(folder, f"pairs.{format}")
    command = [binary, "inspect", path, "--model", os.path.join(folder, "model")]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with Memory(process.pid) as memory:
        output = process.communicate()[0]
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    n = next(int(line.split()[0].replace(",", "")) for line in output.splitlines() if " examples" in line)
    return {"rows_per_second": n / seconds, "peak_mb": memory.peak_mb}


def measure(binary, format, rounds, rows=ROWS, systems=SYSTEMS):
    """Medians by system."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, format, rows)
        arguments = ["--folder", folder, "--binary", binary, "--format", format]
        return medians({system: itself(__file__, system, arguments) for system in systems}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--format", choices=FORMATS, default="jsonl")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "hybrid-dpo":
        result = run_ours(options.binary, options.folder, options.format)
    elif options.only:
        with tempfile.TemporaryDirectory() as out:
            result = run_datasets(options.folder, options.format, out, options.only)
    else:
        results = measure(options.binary, options.format, options.rounds, options.rows, options.systems)
        return print_ratios(options.format, results, "rows_per_second")
    print(json.dumps({"system": options.only} | result))


if __name__ == "__main__":
    main()

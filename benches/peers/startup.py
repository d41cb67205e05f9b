"""Time until a program helps and until it has learned one step, of TRL and of hybrid-dpo, in turns.

    pip install torch transformers trl datasets
    cargo build --release
    python benches/peers/startup.py --binary target/release/hybrid-dpo --work help --rounds 5
    python benches/peers/startup.py --binary target/release/hybrid-dpo --work step --rounds 5

Works:
help   `hybrid-dpo --help`, against `trl --help` (the names of its verbs) and `trl dpo --help` (its settings); a run is
       the median of 20 processes of hybrid-dpo, and one process of TRL
step   the first DPO step, of one pair with a prompt of 100 tokens and answers of 30, of a Llama of SmolLM2-135M's shape
       with random weights, all of which learn, f32. From the start of the process until metrics.jsonl has the step
       (hybrid-dpo), or until TRL's trainer says that the step has ended (Python, with its imports). What follows is
       not waited for
Every run is a new process; its files are in the page cache, since they were just written or read. Memory is the
process's peak until it is stopped; that of help is not measured, since a child has at least what its parent in Python has.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import trl_dpo
from turns import itself, medians, peak_mb, print_ratios

SYSTEMS = {"help": ["hybrid-dpo", "trl", "trl-dpo"], "step": ["hybrid-dpo", "trl"]}
TIMES = {"help": "milliseconds", "step": "seconds"}
DONE = "the step has ended"


def run_help(binary, system):
    trl = os.path.join(os.path.dirname(sys.executable), "trl")
    command, runs = {
        "hybrid-dpo": ([binary, "--help"], 20), "trl": ([trl, "--help"], 1), "trl-dpo": ([trl, "dpo", "--help"], 1),
    }[system]
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(1000 * (time.perf_counter() - start))
    return {"milliseconds": statistics.median(times)}


def until(command, has_stepped, **how):
    """Seconds from a command's start until its step is done; it is ended then."""
    start = time.perf_counter()
    process = subprocess.Popen(command, **how)
    try:
        while not has_stepped(process):
            if process.poll() is not None and not has_stepped(process):
                raise SystemExit(f"{command} ended with {process.returncode} before its first step")
        seconds = time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
    return {"seconds": seconds, "peak_mb": peak_mb(resource.RUSAGE_CHILDREN)}


def first_step_of_ours(binary, folder, out):
    def has_stepped(_):
        time.sleep(0.005)
        try:
            with open(os.path.join(out, "metrics.jsonl")) as file:
                return any('"split":"train"' in line.replace(" ", "") for line in file if line.endswith("\n"))
        except FileNotFoundError:
            return False

    command = [
        binary, "train", "--mdp", "token", "--model", os.path.join(folder, "model"), "--data",
        os.path.join(folder, "data.jsonl"), "--out", out, "--eval-share", "0", "--batch-size", "1", "--max-steps", "1",
        "--max-length", "1024", "--lr", "1e-6", "--warmup-steps", "0", "--n-samples", "0", "--quiet",
    ]
    return until(command, has_stepped, stdout=subprocess.DEVNULL)


def first_step_of_trl(folder):
    def has_stepped(process):
        return DONE in process.stdout.readline()

    command = [sys.executable, __file__, "--step", folder]
    return until(command, has_stepped, stdout=subprocess.PIPE, text=True)


def step_of_trl(folder):
    """One step, of all weights: TRL's trainer as trl_dpo.py sets it up."""
    with tempfile.TemporaryDirectory() as out:
        trl_dpo.new_trainer(folder, "full", out, "trl", 1, lambda: print(DONE, flush=True)).train()


def make_files(folder):
    """The model and the tokenizer of trl_dpo.py's work with adapters, and one pair."""
    trl_dpo.make_files(folder, "lora", 1)
    for name in ("data.jsonl", "pairs.jsonl"):
        with open(os.path.join(folder, name)) as file:
            line = file.readline()
        with open(os.path.join(folder, name), "w") as file:
            file.write(line)


def measure(binary, work, rounds, systems=None):
    """Medians by system."""
    with tempfile.TemporaryDirectory() as folder:
        if work == "step":
            make_files(folder)
        arguments = ["--folder", folder, "--binary", binary, "--work", work]
        return medians({system: itself(__file__, system, arguments) for system in systems or SYSTEMS[work]}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--work", choices=list(SYSTEMS), default="help")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS["help"], help="instead of all")
    parser.add_argument("--only", choices=SYSTEMS["help"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--step", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        return step_of_trl(options.step)
    if not options.only:
        results = measure(options.binary, options.work, options.rounds, options.systems)
        return print_ratios(options.work, results, TIMES[options.work], is_time=True)
    if options.work == "help":
        result = run_help(options.binary, options.only)
    elif options.only == "hybrid-dpo":
        with tempfile.TemporaryDirectory() as out:
            result = first_step_of_ours(options.binary, options.folder, os.path.join(out, "run"))
    else:
        result = first_step_of_trl(options.folder)
    print(json.dumps({"system": options.only} | result))


if __name__ == "__main__":
    main()

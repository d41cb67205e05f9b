"""An afternoon of somebody who knows TRL: from a chat model and chat preferences to a model that transformers serves.

    pip install torch transformers safetensors
    cargo build --release
    python tests/peers/afternoon.py --binary target/release/hybrid-dpo

Each step is a command of the README, and what it promises is checked: inspect, a dry run, LoRA training, an interrupt, resuming,
making the run longer, eval, merge, answers under a system prompt, and the merged folder in transformers. By default on a
random tiny Llama; `--model FOLDER --data FILE` takes a real model and real preferences, and `--more ..` further flags of
`train`. The last line is the count of checks.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from checks import Checks

# A job in the background of a script ignores interrupts, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>"]
SYSTEM = "You are terse."


def make_model(folder):
    """A random Llama that reads bytes and ChatML."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[1], bos_token=SPECIAL[0])
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, max_position_embeddings=1024, bos_token_id=fast.bos_token_id, eos_token_id=fast.eos_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def make_data(path):
    """Chat preferences with a rule: the better answer counts, the worse one complains."""
    rng = random.Random(0)
    with open(path, "w") as file:
        for _ in range(160):
            number = rng.randrange(2, 9)
            record = {
                "prompt": [{"role": "user", "content": f"Count to {number}."}],
                "chosen": [{"role": "assistant", "content": " ".join(str(i + 1) for i in range(number))}],
                "rejected": [{"role": "assistant", "content": rng.choice(["No.", "Why should I?", "Count yourself."])}],
            }
            file.write(json.dumps(record) + "\n")


class Assertions(Checks):
    """Checks of what holds or not."""

    def true(self, name, holds):
        self(name, 0.0 if holds else 1.0, 0.0)


class Shell:
    """Runs the program as a user would, in one folder."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def start(self, *words):
        command = [self.binary, *map(str, words)]
        print(f"$ hybrid-dpo {' '.join(map(str, words))}", flush=True)
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words, code=0):
        process = self.start(*words)
        out, err = process.communicate()
        if process.returncode != code:
            sys.exit(f"exit {process.returncode}\n{out}\n{err}")
        return out, err


def steps_of(run):
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line["step"] for line in lines if line["split"] == "train"]


def look_and_plan(checks, shell, train):
    out, err = shell.run("inspect", "data.jsonl", "--model", "model", "--show", 1)
    with open(shell.folder / "data.jsonl") as file:
        first_word = json.loads(file.readline())["prompt"][-1]["content"].split()[0]
    checks.true("inspect shows how a record is read", first_word in out.replace("|", ""))
    out, err = shell.run(*train, "--dry-run")
    checks.true("a dry run says the steps and writes nothing", "step" in out + err)
    checks.true("a dry run leaves no folder", not (shell.folder / "run").exists())


def stop_and_resume(checks, shell, train):
    """An interrupt, then the rest: no step is lost or done twice."""
    run = shell.folder / "run"
    process = shell.start(*train, "--quiet")
    end = time.monotonic() + 600
    while len(steps_of(run)) < 3 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate()
    checks.true("an interrupt exits with 130", process.returncode == 130)
    done = len(steps_of(run))
    shell.run("train", "--resume", "run", "--quiet")
    checks.true("resuming goes on where it stopped", steps_of(run) == list(range(1, len(steps_of(run)) + 1)))
    checks.true("resuming does the rest", len(steps_of(run)) > done)
    out, err = shell.run("train", "--resume", "run")
    checks.true("a finished run is said to be finished", "has finished" in out + err)
    once = len(steps_of(run))
    shell.run("train", "--resume", "run", "--epochs", 2, "--quiet")
    checks.true("a run is made longer", steps_of(run) == list(range(1, 2 * once + 1)))


def measure(checks, shell):
    out, _ = shell.run("eval", "--model", "run", "--data", "data.jsonl", "--json", "--quiet")
    shown = json.loads(out)
    print(json.dumps(shown)[:400])
    checks.true("eval has an accuracy", "rewards/accuracies" in out)


def serve(checks, shell, prompt):
    shell.run("merge", "--model", "run", "--out", "merged", "--quiet")
    words = ["--chat", "--system", SYSTEM, "--prompt", prompt, "--max-new-tokens", 12, "--temperature", 0, "--quiet"]
    out, _ = shell.run("sample", "--model", "merged", *words)
    line = json.loads(out)
    roles = [message["role"] for message in line["messages"]]
    checks.true("answers are messages under the system prompt", roles == ["system", "user", "assistant"])
    folder = shell.folder / "merged"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        found = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs["input_ids"].shape[1]:]
    theirs = tokenizer.decode(found, skip_special_tokens=True)
    checks.true(f"transformers answers the same: {theirs!r}", line["messages"][-1]["content"].strip() == theirs.strip())
    checks.true("a model card lies beside the weights", "base model" in (folder / "README.md").read_text())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", required=True, type=pathlib.Path)
    arguments.add_argument("--model", type=pathlib.Path)
    arguments.add_argument("--data", type=pathlib.Path)
    arguments.add_argument("--more", default="--lr 1e-3")
    given = arguments.parse_args()
    checks = Assertions()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if given.model:
            (folder / "model").symlink_to(given.model.resolve())
            (folder / "data.jsonl").symlink_to(given.data.resolve())
        else:
            make_model(folder / "model")
            make_data(folder / "data.jsonl")
        shell = Shell(given.binary.resolve(), folder)
        train = ["train", "--model", "model", "--data", "data.jsonl", "--lora-rank", 8, "--batch-size", 8,
                 "--eval-examples", 16, "--n-samples", 0, "--out", "run", *given.more.split()]
        look_and_plan(checks, shell, train)
        stop_and_resume(checks, shell, train)
        measure(checks, shell)
        serve(checks, shell, "Count to 4.")
    checks.end()


if __name__ == "__main__":
    main()

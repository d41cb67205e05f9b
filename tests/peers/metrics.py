"""TRL's DPOTrainer against hybrid-dpo: what both log of the same few steps, on a random model.

    pip install torch transformers trl datasets accelerate tensorboard
    cargo build --release
    python tests/peers/metrics.py --binary target/release/hybrid-dpo

A batch is the whole data, so that the order in which examples are visited says nothing; ours is computed in slices. Every
name that TRL logs and that means the same here is compared, in training and at evaluations. Then a run is stopped and goes
on, and TensorBoard's own reader finds every step of `metrics.jsonl`. The last line is the count of checks.
"""

import argparse
import json
import os
import random
import subprocess
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from checks import Checks

PAIRS, HELD_OUT, STEPS, WORDS, BETA, RATE = 12, 7, 4, 120, 0.1, 1e-3
NAMES = [
    "loss", "logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy", "num_tokens", "rewards/chosen",
    "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
]


def make_model(folder):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=WORDS, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=96,
                         max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # initial weights are so small that every token is about as likely as another
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    vocabulary = {"<|end|>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<unk>", unk_token="<unk>").save_pretrained(folder)


def make_pairs(path, count, rng):
    def words(low, high):
        return "".join(f" w{rng.randrange(2, WORDS)}" for _ in range(rng.randint(low, high)))

    pairs = [{"prompt": words(5, 40).strip(), "chosen": words(1, 20), "rejected": words(1, 20)} for _ in range(count)]
    with open(path, "w") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in pairs)
    return Dataset.from_list(pairs)


def theirs(model, train, held_out, folder):
    """What TRL logs, by split and step."""
    settings = DPOConfig(
        output_dir=folder, beta=BETA, learning_rate=RATE, num_train_epochs=STEPS, per_device_train_batch_size=PAIRS,
        per_device_eval_batch_size=HELD_OUT, logging_steps=1, eval_strategy="steps", eval_steps=1, save_strategy="no",
        report_to=[], use_cpu=True, bf16=False, max_length=128, gradient_checkpointing=False, disable_tqdm=True,
    )
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), args=settings, train_dataset=train,
        eval_dataset=held_out, processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    logged = {"train": {}, "eval": {}}
    for line in trainer.state.log_history:
        if "loss" in line:
            logged["train"][line["step"]] = line
        elif "eval_loss" in line:
            logged["eval"][line["step"]] = {name.removeprefix("eval_"): value for name, value in line.items()}
    return logged


def ours(run):
    lines = [json.loads(line) for line in open(os.path.join(run, "metrics.jsonl"))]
    return {split: {line["step"]: line for line in lines if line["split"] == split} for split in ("train", "eval")}


def stopped_and_resumed(binary, path):
    """A run that is killed after a checkpoint and goes on: the steps that TensorBoard's reader lacks, by split."""
    settings = ["--eval-every", "10", "--save-every", "5", "--batch-size", "1", "--epochs", "30", "--n-samples", "0"]
    command = [binary, "train", "--model", path("model"), "--data", path("pairs.jsonl"), "--eval-data", path("held.jsonl"),
               "--max-length", "128", "--max-prompt-length", "64", *settings, "--out", path("killed"), "--quiet"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not os.path.exists(path("killed", "checkpoints", "step-20")) and running.poll() is None:
        time.sleep(0.005)
    running.kill()
    running.wait()
    subprocess.run([binary, "train", "--resume", path("killed"), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    events = EventAccumulator(path("killed", "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        split: (set(steps), [event.step for event in events.Scalars(f"{split}/loss")])
        for split, steps in ours(path("killed")).items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    options = parser.parse_args()
    checks, rng = Checks(), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *parts: os.path.join(folder, *parts)
        make_model(path("model"))
        train, held_out = make_pairs(path("pairs.jsonl"), PAIRS, rng), make_pairs(path("held.jsonl"), HELD_OUT, rng)
        subprocess.run(
            [options.binary, "train", "--model", path("model"), "--data", path("pairs.jsonl"), "--eval-data", path("held.jsonl"),
             "--preset", "trl", "--batch-size", str(PAIRS), "--micro-batch-size", "5", "--epochs", str(STEPS), "--lr", str(RATE),
             "--beta", str(BETA), "--max-length", "128", "--max-prompt-length", "64", "--eval-every", "1", "--n-samples", "0",
             "--out", path("run"), "--quiet"],
            check=True, stdout=subprocess.DEVNULL)
        expected, found = theirs(path("model"), train, held_out, path("trl")), ours(path("run"))
        for split in ("train", "eval"):
            for name in NAMES:
                pairs = [(expected[split][step][name], found[split][step][name]) for step in range(1, STEPS + 1)]
                largest = max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs)
                checks(f"{split}: {name}, TRL's {pairs[-1][0]:.6g} and ours {pairs[-1][1]:.6g} at the end", largest, 2e-5)
        for split, (steps, read) in stopped_and_resumed(options.binary, path).items():
            missing, twice = steps - set(read), len(read) - len(set(read))
            checks(f"TensorBoard, a run that went on: {split} steps missing or twice", len(missing) + twice, 0)
    checks.end()


if __name__ == "__main__":
    main()

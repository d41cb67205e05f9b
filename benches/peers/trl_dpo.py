"""Pairs per second and peak memory of TRL's DPOTrainer and of hybrid-dpo, on the same files, one after the other.

    pip install torch transformers trl datasets
    cargo build --release
    python benches/peers/trl_dpo.py --binary target/release/hybrid-dpo

The files have the shape of TL;DR: a random 70M GPT-NeoX (6 layers, width 512, 50,304 words), prompts of 250 to 450
tokens, answers of 25 to 55, four pairs a step, f32, RMSprop. Both systems see the same words, since every word of the
made-up text is one token. Prints one JSON line a system and the ratios. Times leave start-up out: they are the mean
over the steps after the first three.
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

os.environ.setdefault("HF_HUB_OFFLINE", "1")
WORDS, STEPS, BATCH, SKIP = 50_304, 20, 4, 3


def make_files(folder, steps):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=WORDS, hidden_size=512, num_hidden_layers=6, num_attention_heads=8, intermediate_size=2048,
        max_position_embeddings=2048, rotary_pct=0.25, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )
    model_folder = os.path.join(folder, "model")
    GPTNeoXForCausalLM(config).save_pretrained(model_folder)
    vocabulary = {"<|endoftext|>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", pad_token="<|endoftext|>",
        unk_token="<unk>",
    ).save_pretrained(model_folder)
    rng = random.Random(0)

    def words(low, high):
        return " ".join(f"w{rng.randrange(2, WORDS)}" for _ in range(rng.randint(low, high)))

    data = os.path.join(folder, "pairs.jsonl")
    with open(data, "w") as file:
        for _ in range(steps * BATCH):
            pair = {"prompt": words(250, 450), "chosen": " " + words(24, 54), "rejected": " " + words(24, 54)}
            file.write(json.dumps(pair) + "\n")
    return model_folder, data


def peak_mb(who):
    return resource.getrusage(who).ru_maxrss / 1024


def run_trl(model_folder, data, out, checkpointing):
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(os.cpu_count())
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            times.append(time.perf_counter())

    arguments = DPOConfig(
        output_dir=out, per_device_train_batch_size=BATCH, gradient_accumulation_steps=1, num_train_epochs=1,
        learning_rate=1e-6, beta=0.1, max_length=1024, optim="rmsprop", lr_scheduler_type="constant", bf16=False,
        use_cpu=True, gradient_checkpointing=checkpointing, report_to=[], save_strategy="no", logging_steps=1,
        disable_tqdm=True, max_grad_norm=10.0, dataloader_pin_memory=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        args=arguments, processing_class=tokenizer,
        train_dataset=load_dataset("json", data_files=data, split="train", cache_dir=out), callbacks=[Clock()],
    )
    trainer.train()
    seconds = (times[-1] - times[SKIP - 1]) / (len(times) - SKIP)
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return {"pairs_per_second": BATCH / seconds, "peak_mb": peak_mb(resource.RUSAGE_SELF), "first_loss": losses[0]}


def run_ours(binary, model_folder, data, out):
    command = [
        binary, "train", "--mdp", "token", "--model", model_folder, "--data", data, "--out", out, "--eval-share", "0",
        "--batch-size", str(BATCH), "--micro-batch-size", str(BATCH), "--max-length", "1024", "--max-prompt-length",
        "512", "--lr", "1e-6", "--warmup-steps", "0", "--n-samples", "0", "--quiet",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "metrics.jsonl")) as file:
        lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    seconds = sum(BATCH / line["pairs_per_second"] for line in lines[SKIP:]) / len(lines[SKIP:])
    return {
        "pairs_per_second": BATCH / seconds, "peak_mb": peak_mb(resource.RUSAGE_CHILDREN),
        "first_loss": lines[0]["loss"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", choices=["trl", "trl-checkpointing", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:  # each system in a process of its own, so that its peak memory is its own
        model_folder, data = os.path.join(options.folder, "model"), os.path.join(options.folder, "pairs.jsonl")
        out = os.path.join(options.folder, options.only)
        if options.only == "ours":
            result = run_ours(options.binary, model_folder, data, out)
        else:
            result = run_trl(model_folder, data, out, options.only == "trl-checkpointing")
        print(json.dumps({"system": options.only} | result))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, options.steps)
        results = {}
        for system in ["trl", "ours", "trl-checkpointing"]:
            command = [sys.executable, __file__, "--only", system, "--folder", folder, "--binary", options.binary]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[system] = json.loads(output.strip().splitlines()[-1])
            print(json.dumps(results[system]), flush=True)
        for system in ["trl", "trl-checkpointing"]:
            speed = results["ours"]["pairs_per_second"] / results[system]["pairs_per_second"]
            memory = results["ours"]["peak_mb"] / results[system]["peak_mb"]
            print(f"against {system}: {speed:.2f}x the pairs per second at {memory:.2f}x the memory")


if __name__ == "__main__":
    main()

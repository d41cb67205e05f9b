"""Pairs per second and peak memory of TRL's DPOTrainer and of hybrid-dpo, on the same files, in turns.

    pip install torch transformers trl datasets peft
    cargo build --release
    python benches/peers/trl_dpo.py --binary target/release/hybrid-dpo --work full --rounds 5
    python benches/peers/trl_dpo.py --binary target/release/hybrid-dpo --work lora --rounds 5
    python benches/peers/trl_dpo.py --binary target/release/hybrid-dpo --work ranked --rounds 5

Works, each of four prompts a step in f32 with random weights, RMSprop:
full     TL;DR's shape: a 70M GPT-NeoX (6 layers, width 512, 50,304 words), prompts of 250 to 450 tokens, answers of 25 to 55
lora     adapters of rank 8 on all linear layers of a Llama of SmolLM2-135M's shape, prompts of 100 tokens, answers of 30
ranked   the GPT-NeoX, eight ranked answers to a prompt: hybrid-dpo learns from the list, TRL from the best against each of the
         seven others, 28 pairs a step
Both systems see the same words, since every word of the made-up text is one token. Prints one JSON line a run, and the ratios of
medians. Times leave start-up out: they are the mean over the steps after the first three, of ranked answers after the first.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import tempfile
import time

from turns import itself, medians, peak_mb, print_ratios

os.environ.setdefault("HF_HUB_OFFLINE", "1")
STEPS, BATCH, ANSWERS = 9, 4, 8
WORDS = {"full": 50_304, "lora": 49_152, "ranked": 50_304}
# Steps left out at the start; a ranked step of TRL, 28 pairs, takes minutes.
SKIP = {"full": 3, "lora": 3, "ranked": 1}
OURS = {"hybrid-dpo": "f32", "hybrid-dpo-bf16": "bf16"}  # and their --precision
SYSTEMS = ["trl", *OURS, "trl-checkpointing", "trl-bf16"]


def new_model(work):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    if work == "lora":
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=WORDS[work], hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
            intermediate_size=1536, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
        ))
    return GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=WORDS[work], hidden_size=512, num_hidden_layers=6, num_attention_heads=8, intermediate_size=2048,
        max_position_embeddings=2048, rotary_pct=0.25, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    ))


def make_files(folder, work, steps):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    n_words = WORDS[work]
    model_folder = os.path.join(folder, "model")
    new_model(work).save_pretrained(model_folder)
    vocabulary = {"<|endoftext|>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, n_words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", pad_token="<|endoftext|>",
        unk_token="<unk>",
    ).save_pretrained(model_folder)
    rng = random.Random(0)

    def words(low, high):
        return " ".join(f"w{rng.randrange(2, n_words)}" for _ in range(rng.randint(low, high)))

    prompts, answers = ((100, 100), (29, 29)) if work == "lora" else ((250, 450), (24, 54))
    with open(os.path.join(folder, "data.jsonl"), "w") as file, open(os.path.join(folder, "pairs.jsonl"), "w") as pairs:
        for _ in range(steps * BATCH):
            prompt, said = words(*prompts), [" " + words(*answers) for _ in range(ANSWERS if work == "ranked" else 2)]
            each = [{"prompt": prompt, "chosen": said[0], "rejected": worse} for worse in said[1:]]
            record = {"prompt": prompt, "responses": said} if work == "ranked" else each[0]
            file.write(json.dumps(record) + "\n")
            pairs.writelines(json.dumps(pair) + "\n" for pair in each)


def new_trainer(folder, work, out, how, pairs, on_step_end):
    """TRL's trainer on the files of a work; `pairs` a step, after each of which `on_step_end` is called."""
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Watcher(TrainerCallback):
        def on_step_end(self, *_, **__):
            on_step_end()

    torch.set_num_threads(os.cpu_count())
    model_folder, data = os.path.join(folder, "model"), os.path.join(folder, "pairs.jsonl")
    arguments = DPOConfig(
        output_dir=out, per_device_train_batch_size=pairs, gradient_accumulation_steps=1, num_train_epochs=1,
        learning_rate=1e-6, beta=0.1, max_length=1024, optim="rmsprop", lr_scheduler_type="constant", bf16=how == "trl-bf16",
        use_cpu=True, gradient_checkpointing=how == "trl-checkpointing", report_to=[], save_strategy="no", logging_steps=1,
        disable_tqdm=True, max_grad_norm=10.0, seed=0, dataloader_pin_memory=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    load = lambda: AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    if work == "lora":
        from peft import LoraConfig

        adapters = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        policies = {"model": load(), "ref_model": None, "peft_config": adapters}
    else:
        policies = {"model": load(), "ref_model": load()}
    return DPOTrainer(
        **policies,
        args=arguments, processing_class=tokenizer,
        train_dataset=load_dataset("json", data_files=data, split="train", cache_dir=out), callbacks=[Watcher()],
    )


def run_trl(folder, work, out, how):
    times = []
    pairs = BATCH * (ANSWERS - 1 if work == "ranked" else 1)
    trainer = new_trainer(folder, work, out, how, pairs, lambda: times.append(time.perf_counter()))
    trainer.train()
    skip = SKIP[work]
    seconds = (times[-1] - times[skip - 1]) / (len(times) - skip)
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return {"prompts_per_second": BATCH / seconds, "peak_mb": peak_mb(resource.RUSAGE_SELF), "first_loss": losses[0]}


def run_ours(binary, folder, work, out, precision):
    command = [
        binary, "train", "--mdp", "token", "--model", os.path.join(folder, "model"), "--data",
        os.path.join(folder, "data.jsonl"), "--out", out, "--eval-share", "0", "--batch-size", str(BATCH),
        "--micro-batch-size", str(BATCH), "--max-length", "1024", "--max-prompt-length", "512", "--lr", "1e-6",
        "--warmup-steps", "0", "--n-samples", "0", "--precision", precision, "--quiet",
    ]
    command += ["--lora-rank", "8", "--lora-alpha", "16"] if work == "lora" else []
    command += ["--objective", "plackett-luce"] if work == "ranked" else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "metrics.jsonl")) as file:
        lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    first_loss, lines = lines[0]["loss"], lines[SKIP[work] :]
    seconds = sum(BATCH / line["pairs_per_second"] for line in lines) / len(lines)
    return {"prompts_per_second": BATCH / seconds, "peak_mb": peak_mb(resource.RUSAGE_CHILDREN), "first_loss": first_loss}


def measure(binary, work, rounds, steps=STEPS, systems=SYSTEMS):
    """Medians by system."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, work, steps)
        arguments = ["--folder", folder, "--work", work, "--binary", binary]
        return medians({system: itself(__file__, system, arguments) for system in systems}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--work", choices=list(WORDS), default="full")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as out:
            if options.only in OURS:
                result = run_ours(options.binary, options.folder, options.work, os.path.join(out, "run"), OURS[options.only])
            else:
                result = run_trl(options.folder, options.work, out, options.only)
        print(json.dumps({"system": options.only} | result))
        return
    results = measure(options.binary, options.work, options.rounds, options.steps, options.systems)
    print_ratios(options.work, results, "prompts_per_second")


if __name__ == "__main__":
    main()

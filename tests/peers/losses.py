"""TRL's DPOTrainer against hybrid-dpo: every loss that both have, a few steps of each, on a random model.

    pip install torch transformers trl datasets accelerate
    cargo build --release
    python tests/peers/losses.py --binary target/release/hybrid-dpo

A batch is the whole data, so that the order in which examples are visited says nothing; ours is computed in slices, also where a
loss couples the pairs of a batch. The loss, the gradient's norm and the rewards of every step are compared: from the second step
on the policy is no longer its reference, so a wrong formula shows. The last line is the count of checks.
"""

import argparse
import json
import os
import random
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from checks import Checks
from metrics import make_model, make_pairs

PAIRS, STEPS, RATE = 10, 4, 1e-3
NAMES = ["loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins"]

# What it is, TRL's settings, our flags.
CASES = [
    ("sigmoid", dict(loss_type=["sigmoid"]), ""),
    ("sigmoid_norm", dict(loss_type=["sigmoid_norm"], beta=2.0), "--objective dpo-norm --beta 2"),
    ("hinge", dict(loss_type=["hinge"]), "--objective hinge"),
    ("ipo", dict(loss_type=["ipo"]), "--objective ipo"),
    ("exo", dict(loss_type=["exo_pair"], label_smoothing=1e-3), "--objective exo --label-smoothing 0.001"),
    ("nca", dict(loss_type=["nca_pair"]), "--objective nca"),
    ("robust", dict(loss_type=["robust"], label_smoothing=0.1), "--objective robust --label-smoothing 0.1"),
    ("bco", dict(loss_type=["bco_pair"]), "--objective bco"),
    ("sppo", dict(loss_type=["sppo_hard"]), "--objective sppo"),
    ("aot", dict(loss_type=["aot"]), "--objective aot"),
    ("aot_unpaired", dict(loss_type=["aot_unpaired"], label_smoothing=0.1), "--objective aot-unpaired --label-smoothing 0.1"),
    ("apo_zero", dict(loss_type=["apo_zero"]), "--objective apo-zero"),
    ("apo_down", dict(loss_type=["apo_down"]), "--objective apo-down"),
    ("discopop", dict(loss_type=["discopop"], beta=0.05), "--objective discopop --beta 0.05"),
    ("forward KL", dict(f_divergence_type="forward_kl"), "--divergence forward-kl"),
    ("Jensen-Shannon", dict(f_divergence_type="js_divergence"), "--divergence js"),
    ("alpha-divergence", dict(f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.3),
     "--divergence alpha --divergence-alpha 0.3"),
    ("Jensen-Shannon, hinge", dict(loss_type=["hinge"], f_divergence_type="js_divergence"), "--objective hinge --divergence js"),
    ("LD-DPO", dict(ld_alpha=0.3), "--tail-weight 0.3"),
    ("WPO", dict(use_weighting=True), "--wpo"),
    ("a sum", dict(loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0]), "--losses dpo:0.8,bco:0.2,sft:1"),
    ("a sum of a sorted batch", dict(loss_type=["aot", "hinge"], loss_weights=[0.5, 1.0]), "--losses aot:0.5,hinge"),
]


def theirs(model, train, folder, settings):
    """What TRL logs, step by step."""
    settings = DPOConfig(
        output_dir=folder, learning_rate=RATE, num_train_epochs=STEPS, per_device_train_batch_size=PAIRS, logging_steps=1,
        save_strategy="no", report_to=[], use_cpu=True, bf16=False, max_length=128, gradient_checkpointing=False,
        disable_tqdm=True, **(dict(beta=0.1) | settings),
    )
    model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    trainer = DPOTrainer(model, args=settings, train_dataset=train, processing_class=AutoTokenizer.from_pretrained(model.name_or_path))
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def ours(binary, path, name, flags):
    out = path(name.replace(" ", "-").replace(",", ""))
    beta = [] if "--beta" in flags else ["--beta", "0.1"]
    subprocess.run(
        [binary, "train", "--model", path("model"), "--data", path("pairs.jsonl"), "--eval-share", "0", "--preset", "trl",
         "--batch-size", str(PAIRS), "--micro-batch-size", "4", "--epochs", str(STEPS), "--lr", str(RATE), "--max-length", "128",
         "--n-samples", "0", "--out", out, "--quiet", *beta, *flags.split()],
        check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in open(os.path.join(out, "metrics.jsonl"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    options = parser.parse_args()
    checks, rng = Checks(), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *parts: os.path.join(folder, *parts)
        make_model(path("model"))
        train = make_pairs(path("pairs.jsonl"), PAIRS, rng)
        for name, settings, flags in CASES:
            expected, found = theirs(path("model"), train, path("trl"), settings), ours(options.binary, path, name, flags)
            assert len(expected) == len(found) == STEPS, (len(expected), len(found))
            for metric in NAMES:
                pairs = [(a[metric], b[metric]) for a, b in zip(expected, found)]
                largest = max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs)
                checks(f"{name}: {metric}, TRL's {pairs[-1][0]:.6g} and ours {pairs[-1][1]:.6g} at the end", largest, 1e-4)
    checks.end()


if __name__ == "__main__":
    main()

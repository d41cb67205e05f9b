"""Draws a run's rewards and accuracy: python docs/experiments/plot.py RUN OUT.svg (needs matplotlib)."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    run, out = sys.argv[1:3]
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    figure, (rewards, accuracy) = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    for split, style in (("train", dict(alpha=0.35, linewidth=1)), ("eval", dict(marker="o", markersize=3))):
        part = [line for line in lines if line["split"] == split]
        steps = [line["step"] for line in part]
        for name, colour in (("chosen", "tab:green"), ("rejected", "tab:red")):
            rewards.plot(steps, [line[f"rewards/{name}"] for line in part], color=colour, label=f"{name}, {split}", **style)
        accuracy.plot(steps, [line["rewards/accuracies"] for line in part], color="tab:blue", label=split, **style)
    rewards.axhline(0, color="grey", linewidth=0.5)
    rewards.set(xlabel="step", title="implicit rewards (beta x log-ratio)")
    accuracy.set(xlabel="step", title="reward accuracy", ylim=(0, 1))
    rewards.legend(fontsize=7)
    accuracy.legend(fontsize=7)
    plt.rcParams["svg.hashsalt"] = "0"
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()

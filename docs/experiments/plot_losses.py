"""Draws the losses of several diffusion runs, and what each learned: python docs/experiments/plot_losses.py OUT.svg
NAME=RUN .. (needs matplotlib)."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    out, runs = sys.argv[1], [argument.split("=", 1) for argument in sys.argv[2:]]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), constrained_layout=True)
    for name, run in runs:
        lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
        train = [line for line in lines if line["split"] == "train"]
        held_out = [line for line in lines if line["split"] == "eval"]
        (line,) = axes[0].plot([x["step"] for x in train], [x["loss"] for x in train], linewidth=0.8, label=name)
        style = dict(color=line.get_color(), marker="o", markersize=3)
        axes[1].plot([x["step"] for x in held_out], [x["implicit_accuracy"] for x in held_out], **style)
        steps = [x["step"] for x in held_out if "diffusion/w_diff" in x]
        gaps = [x["diffusion/l_diff"] - x["diffusion/w_diff"] for x in held_out if "diffusion/w_diff" in x]
        axes[2].plot(steps, gaps, **style)
    for level in (0.6931, 0.6832):
        axes[0].axhline(level, color="grey", linewidth=0.5, linestyle="dotted")
    axes[0].set(xlabel="step", title="training loss")
    axes[1].set(xlabel="step", title="implicit accuracy, held out", ylim=(0, 1))
    axes[2].set(xlabel="step", title="l_diff - w_diff, held out")
    axes[0].legend(fontsize=7)
    plt.rcParams["svg.hashsalt"] = "0"
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()

"""How the cost of a step grows: time and peak memory of hybrid-dpo against one size at a time, with exponents and plots.

    pip install torch transformers diffusers tokenizers safetensors matplotlib
    cargo build --release
    python benches/growth.py --binary target/release/hybrid-dpo --out growth.json --plot growth.png

Base sizes of token-level DPO: a GPT-NeoX of 4 layers and width 256 with 16,384 words, prompts of 256 tokens, answers of 32,
four pairs a step. Base sizes of Diffusion-DPO: a UNet2DConditionModel of widths 64 and 128 with 8 heads, 4x16x16 latents under
contexts of 32x64, four pairs a step. Beams: answers of 32 tokens from two prompts. Each point is a process of its own with random
weights; its time is the median over the steps behind the first three, its memory the peak of the process. The exponent is the
slope between the last two points (log time against log size). `--only NAME ..` measures some, `--rounds N` takes the
fastest of N runs of a point, since what disturbs a run only makes it slower. Prints a Markdown table.
"""

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
STEPS, SKIP = 10, 3
TEXT = {"prompt": 256, "answers": 2, "words": 16_384, "width": 256, "pairs": 4}
IMAGES = {"size": 16, "draws": 1, "images": 4}
# Name: (kind, what varies, its values, the exponent that is expected at the end, and why).
CURVES = {
    "prompt": ("text", "prompt", [64, 128, 256, 512, 1024], "1 to 2", "rows of all layers, and attention's pairs of rows"),
    "answers": ("text", "answers", [2, 4, 8, 16], "below 1", "the prompt is computed once"),
    "vocabulary": ("text", "words", [4096, 8192, 16_384, 32_768, 65_536], "to 1", "a product over all words, beside the layers"),
    "width": ("text", "width", [128, 256, 512, 1024], "1 to 2", "weights grow with the square, words with the width"),
    "pairs": ("text", "pairs", [1, 2, 4, 8], "1", "rows"),
    "image": ("images", "size", [8, 16, 32, 64], "2 to 4", "pixels, and attention's pairs of pixels"),
    "images": ("images", "images", [1, 2, 4, 8], "1", "pixels"),
    "draws": ("images", "draws", [1, 2, 4, 8], "1", "a pass for each draw"),
    "beams": ("search", "width", [1, 2, 4, 8, 16], "below 1", "products of few rows read all weights"),
}


def make_text(folder, sizes):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words, width = sizes["words"], sizes["width"]
    GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=words, hidden_size=width, num_hidden_layers=4, num_attention_heads=width // 32, intermediate_size=4 * width,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )).save_pretrained(os.path.join(folder, "model"))
    tokenizer = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", unk_token="<unk>").save_pretrained(
        os.path.join(folder, "model"))
    rng = random.Random(0)
    some = lambda n: " ".join(f"w{rng.randrange(2, words)}" for _ in range(n))
    with open(os.path.join(folder, "data.jsonl"), "w") as file:
        for _ in range(STEPS * sizes["pairs"]):
            prompt, said = some(sizes["prompt"]), [" " + some(31) for _ in range(sizes["answers"])]
            record = {"prompt": prompt, "responses": said} if len(said) > 2 else {
                "prompt": prompt, "chosen": said[0], "rejected": said[1]}
            file.write(json.dumps(record) + "\n")


def make_images(folder, sizes):
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from safetensors.torch import save_file

    torch.manual_seed(0)
    size, n = sizes["size"], STEPS * sizes["images"]
    UNet2DConditionModel(
        sample_size=size, block_out_channels=(64, 128), layers_per_block=1, cross_attention_dim=64, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(os.path.join(folder, "model"))
    DDPMScheduler(clip_sample=False).save_pretrained(os.path.join(folder, "model"))
    data = {side: torch.randn(n, 4, size, size) for side in ("chosen", "rejected")} | {"context": torch.randn(n, 32, 64)}
    save_file(data, os.path.join(folder, "latents.safetensors"))


def command_of(kind, binary, folder, out, sizes):
    model = os.path.join(folder, "model")
    train = [binary, "train", "--model", model, "--out", out, "--eval-share", "0", "--warmup-steps", "0", "--n-samples", "0",
             "--quiet"]
    if kind == "text":
        more = ["--objective", "plackett-luce"] if sizes["answers"] > 2 else []
        pairs = str(sizes["pairs"])
        return [*train, "--mdp", "token", "--data", os.path.join(folder, "data.jsonl"), "--batch-size", pairs,
                "--micro-batch-size", pairs, "--max-length", "1200", "--max-prompt-length", "1100", *more]
    if kind == "images":
        pairs = str(sizes["images"])
        return [*train, "--mdp", "diffusion", "--latents", os.path.join(folder, "latents.safetensors"), "--batch-size", pairs,
                "--micro-batch-size", pairs, "--draws-per-pair", str(sizes["draws"])]
    prompts = os.path.join(folder, "prompts.jsonl")
    return [binary, "sample", "--model", model, "--prompts", prompts, "--search", "beam", "--width", str(sizes["beams"]),
            "--max-new-tokens", "32", "--out", out + ".jsonl", "--quiet"]


def run_once(command):
    """Seconds and peak memory of the process, by one that does nothing else."""
    code = ("import json, resource, subprocess, sys, time; start = time.perf_counter();"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
            "print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))")
    output = subprocess.run([sys.executable, "-c", code, *command], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output)


def point(binary, kind, sizes, rounds):
    """Seconds of a step (of a whole search) and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        (make_images if kind == "images" else make_text)(folder, sizes)
        if kind == "search":
            with open(os.path.join(folder, "data.jsonl")) as file:
                prompts = [json.loads(line)["prompt"] for line in file][:2]
            with open(os.path.join(folder, "prompts.jsonl"), "w") as file:
                file.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
        runs = []
        for index in range(rounds):
            out = os.path.join(folder, f"run{index}")
            seconds, memory = run_once(command_of(kind, binary, folder, out, sizes))
            if kind != "search":
                with open(os.path.join(out, "metrics.jsonl")) as file:
                    lines = [line for line in map(json.loads, file) if line["split"] == "train"]
                batch = sizes["pairs"] if kind == "text" else sizes["images"]
                seconds = statistics.median(batch / line["pairs_per_second"] for line in lines[SKIP:])
            runs.append((seconds, memory))
    return min(runs)


def measure(binary, name, rounds):
    kind, what, values, _, _ = CURVES[name]
    points = []
    for value in values:
        sizes = IMAGES | {what: value} if kind == "images" else TEXT | {("beams" if kind == "search" else what): value}
        seconds, memory = point(binary, kind, sizes, rounds)
        points.append({"size": value, "seconds": seconds, "peak_mb": memory})
        print(json.dumps({"curve": name} | points[-1]), flush=True)
    return points


def exponent(points):
    first, last = points[-2:]
    return math.log(last["seconds"] / first["seconds"]) / math.log(last["size"] / first["size"])


def plot(curves, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 3, figsize=(11, 9), layout="constrained")
    for axis, (name, points) in zip(axes.flat, curves.items()):
        sizes = [point["size"] for point in points]
        axis.loglog(sizes, [point["seconds"] for point in points], "o-", color="tab:blue")
        axis.set(title=f"{name}: exponent {exponent(points):.2f}", xlabel=name, ylabel="seconds")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        memory = axis.twinx()
        memory.plot(sizes, [point["peak_mb"] for point in points], "s--", color="tab:orange", alpha=0.7)
        memory.set_ylabel("MB")
        memory.set_ylim(bottom=0)
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--out", help="a JSON file for all points")
    parser.add_argument("--plot", help="a picture of all curves")
    options = parser.parse_args()
    curves = {name: measure(options.binary, name, options.rounds) for name in options.only}
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"date": time.strftime("%Y-%m-%d"), "curves": curves}, file, indent=1)
    print("\n| size | values | seconds | peak memory, MB | exponent expected at the end | found |\n|---|---|---|---|---|---|")
    for name, points in curves.items():
        _, _, values, expected, why = CURVES[name]
        row = lambda key, digits: ", ".join(f"{point[key]:.{digits}g}" for point in points)
        print(f"| {name} | {', '.join(map(str, values))} | {row('seconds', 2)} | {row('peak_mb', 3)} | {expected}: {why} | "
              f"{exponent(points):.2f} |")
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()

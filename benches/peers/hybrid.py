"""Pairs per second and peak memory of hybrid-dpo's hybrid step, and of TRL's and diffusers' steps added up, in turns.

    pip install torch transformers trl datasets peft diffusers pillow
    cargo build --release
    python benches/peers/hybrid.py --binary target/release/hybrid-dpo --rounds 5

Four pairs a step, f32, random weights. The refiner is a Llama of SmolLM2-135M's shape, requests of 100 tokens and
refined prompts of 30; the generator is the UNet of diffusion_dpo.py (18M parameters) in the folder of ddim.py, latents
of 4x32x32, two draws of timestep and noise inside the sigmoid. Adapters of rank 8 learn in both halves, as
`--lora-rank` has it. No program trains both on one preference, so the peer is two: TRL with peft on the refined
prompts (trl_dpo.py), and the released Diffusion-DPO step with peft and the same draws (diffusion_dpo.py), which is
given the contexts that hybrid-dpo encodes. Their times a step are added, and their memory, since both models would be
held. Times leave start-up out: of diffusers the median, of the others the mean over the steps after the first three.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile

import ddim
import diffusion_dpo
import trl_dpo
from turns import itself, medians, peak_mb, print_ratios

BATCH, RANK, DRAWS, STEPS, SKIP = trl_dpo.BATCH, 8, 2, 12, 3
PARTS = ["trl", "diffusers"]
OURS = diffusion_dpo.OURS
SYSTEMS = [*OURS, *PARTS]


def pair_side(text):
    """A side of a pair: every word is one token, `w7` the seventh, and the end is token 0."""
    words = text.split()
    tokens = [int(word[1:]) for word in words] + [0]
    picture = {"image": "images/none.png", "seed": 0}
    return {"refined": " ".join(words), "refined_tokens": tokens, "null_refiner": False} | picture


def make_pairs(folder, records, pairs):
    """A folder of judged pairs (docs/pairs.md): TRL's answers are the refined prompts, the latents diffusers'."""
    from PIL import Image
    from safetensors.torch import load_file, save_file

    latents = load_file(os.path.join(folder, "diffusers", "latents.safetensors"))
    os.makedirs(os.path.join(pairs, "images"))
    save_file({"a": latents["chosen"], "b": latents["rejected"]}, os.path.join(pairs, "latents.safetensors"))
    side = ddim.FACTOR * diffusion_dpo.SIZE
    Image.new("RGB", (side, side)).save(os.path.join(pairs, "images", "none.png"))
    about = {"format": "hybrid-dpo pairs", "version": 1, "id": "made", "modality": "hybrid", "pairs": len(records)}
    about["settings"] = {}
    with open(os.path.join(pairs, "pairs.json"), "w") as file:
        json.dump(about, file)
    label = {"version": 1, "pairs": "made", "choice": "a", "labeller": "one", "by": "person"}
    names = (os.path.join(pairs, name) for name in ("pairs.jsonl", "labels.jsonl"))
    with open(next(names), "w") as file, open(next(names), "w") as labels:
        for index, record in enumerate(records):
            sides = {"a": pair_side(record["chosen"]), "b": pair_side(record["rejected"])}
            file.write(json.dumps({"index": index, "request": record["prompt"]} | sides) + "\n")
            labels.write(json.dumps(label | {"index": index}) + "\n")


def make_files(folder, steps):
    for part in PARTS:
        os.mkdir(os.path.join(folder, part))
    trl_dpo.make_files(os.path.join(folder, "trl"), "lora", steps)
    diffusion_dpo.make_files(os.path.join(folder, "diffusers"), "unet", steps)
    ddim.make_pipeline(os.path.join(folder, "generator"))
    with open(os.path.join(folder, "trl", "pairs.jsonl")) as file:
        records = list(map(json.loads, file))
    make_pairs(folder, records, os.path.join(folder, "pairs"))


def run_peer(folder, part, out):
    if part == "trl":
        result = trl_dpo.run_trl(os.path.join(folder, part), "lora", out, "trl")
        speed = result["prompts_per_second"]
    else:
        result = diffusion_dpo.run_diffusers(os.path.join(folder, part), "unet", part, os.cpu_count(), RANK, DRAWS)
        speed = result["pairs_per_second"]
    return {"pairs_per_second": speed, "peak_mb": result["peak_mb"], "first_loss": result["first_loss"]}


def run_ours(binary, folder, out, precision):
    command = [
        binary, "train", "--mdp", "hybrid", "--refiner", os.path.join(folder, "trl", "model"), "--generator",
        os.path.join(folder, "generator"), "--data", os.path.join(folder, "pairs"), "--image-size",
        str(ddim.FACTOR * diffusion_dpo.SIZE), "--request-template", "{request}", "--max-length", "512", "--lora-rank",
        str(RANK), "--draws-per-pair", str(DRAWS), "--out", out, "--eval-share", "0", "--n-samples", "0", "--lr",
        "1e-6", "--warmup-steps", "0", "--epochs", "1", "--batch-size", str(BATCH), "--micro-batch-size", str(BATCH),
        "--precision", precision, "--quiet",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "metrics.jsonl")) as file:
        lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    seconds = sum(BATCH / line["pairs_per_second"] for line in lines[SKIP:]) / len(lines[SKIP:])
    return {
        "pairs_per_second": BATCH / seconds, "peak_mb": peak_mb(resource.RUSAGE_CHILDREN),
        "first_loss": lines[0]["loss"],
    }


def added_up(results):
    """The two peers as one: their times a pair added up, and their memory."""
    parts = [results[part] for part in PARTS]
    speed = 1 / sum(1 / part["pairs_per_second"] for part in parts)
    return {"pairs_per_second": speed, "peak_mb": sum(part["peak_mb"] for part in parts), "runs": []}


def measure(binary, rounds, steps=STEPS):
    """Medians by system, the two peers' sum among them."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, steps)
        arguments = ["--folder", folder, "--binary", binary]
        results = medians({system: itself(__file__, system, arguments) for system in SYSTEMS}, rounds)
    return results | {" + ".join(PARTS): added_up(results)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.only:
        return print_ratios("hybrid", measure(options.binary, options.rounds, options.steps), "pairs_per_second")
    with tempfile.TemporaryDirectory() as out:
        if options.only in OURS:
            result = run_ours(options.binary, options.folder, os.path.join(out, "run"), OURS[options.only])
        else:
            result = run_peer(options.folder, options.only, out)
    print(json.dumps({"system": options.only} | result))


if __name__ == "__main__":
    main()

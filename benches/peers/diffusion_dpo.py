"""Pairs per second and peak memory of Diffusion-DPO with diffusers in PyTorch and of hybrid-dpo, one after the other.

    pip install torch diffusers transformers safetensors
    cargo build --release
    python benches/peers/diffusion_dpo.py --binary target/release/hybrid-dpo

The files hold a random UNet2DConditionModel of 18.2M parameters (widths 64, 128, 256) and pairs of 4x32x32 latents under
77x256 contexts; four pairs a step, f32, AdamW. PyTorch's step is the released one: both sides in one batch of eight, the
reference under no_grad in the same step; once as it comes, once with channels last, once with gradient checkpointing.
hybrid-dpo goes over the pairs twice: its second epoch reads the reference's errors from memory. Prints one JSON line a
system and a table. Times leave start-up out: they are the median over the steps after the first three of an epoch.
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

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
STEPS, BATCH, SKIP, SIZE, TOKENS, WIDTH, BETA, RATE = 12, 4, 3, 32, 77, 256, 2000.0, 1e-6
PEERS = ["diffusers", "diffusers-channels-last", "diffusers-checkpointing"]


def make_files(folder, steps):
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = UNet2DConditionModel(
        sample_size=SIZE, block_out_channels=(64, 128, 256), layers_per_block=2, cross_attention_dim=WIDTH,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    model.save_pretrained(os.path.join(folder, "model"))
    DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False
    ).save_pretrained(folder)
    n = steps * BATCH
    data = {side: torch.randn(n, 4, SIZE, SIZE) for side in ("chosen", "rejected")}
    save_file(data | {"context": torch.randn(n, TOKENS, WIDTH)}, os.path.join(folder, "latents.safetensors"))
    return sum(parameter.numel() for parameter in model.parameters())


def peak_mb(who):
    return resource.getrusage(who).ru_maxrss / 1024


def run_diffusers(folder, how, threads):
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    model = UNet2DConditionModel.from_pretrained(os.path.join(folder, "model")).train()
    reference = UNet2DConditionModel.from_pretrained(os.path.join(folder, "model")).eval().requires_grad_(False)
    if how == "diffusers-channels-last":
        model, reference = (unet.to(memory_format=torch.channels_last) for unet in (model, reference))
    if how == "diffusers-checkpointing":
        model.enable_gradient_checkpointing()
    scheduler = DDPMScheduler.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    data = load_file(os.path.join(folder, "latents.safetensors"))
    times, losses = [time.perf_counter()], []
    for pairs in torch.randperm(len(data["chosen"])).split(BATCH):
        latents = torch.cat([data["chosen"][pairs], data["rejected"][pairs]])
        context = data["context"][pairs].repeat(2, 1, 1)
        t = torch.randint(0, len(scheduler), (BATCH,)).repeat(2)
        noise = torch.randn(BATCH, *latents.shape[1:]).repeat(2, 1, 1, 1)
        noisy = scheduler.add_noise(latents, noise, t)

        def difference(unet):
            errors = ((unet(noisy, t, encoder_hidden_states=context).sample - noise) ** 2).mean(dim=[1, 2, 3])
            better, worse = errors.chunk(2)
            return better - worse

        own = difference(model)
        with torch.no_grad():
            of_reference = difference(reference)
        loss = -torch.nn.functional.logsigmoid(-0.5 * BETA * (own - of_reference)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        times.append(time.perf_counter())
    seconds = [after - before for before, after in zip(times, times[1:])]
    return {
        "pairs_per_second": BATCH / statistics.median(seconds[SKIP:]), "peak_mb": peak_mb(resource.RUSAGE_SELF),
        "first_loss": losses[0],
    }


def run_ours(binary, folder, out, threads):
    command = [
        binary, "train", "--mdp", "diffusion", "--model", os.path.join(folder, "model"), "--latents",
        os.path.join(folder, "latents.safetensors"), "--scheduler", os.path.join(folder, "scheduler_config.json"),
        "--out", out, "--eval-share", "0", "--n-samples", "0", "--objective", "dpo", "--beta", str(BETA), "--optimizer",
        "adamw", "--weight-decay", "0.01", "--lr", str(RATE), "--warmup-steps", "0", "--max-grad-norm", "1",
        "--batch-size", str(BATCH), "--micro-batch-size", str(BATCH), "--epochs", "2", "--quiet",
    ]
    threads = {"RAYON_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | threads)
    with open(os.path.join(out, "metrics.jsonl")) as file:
        lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    speeds = [line["pairs_per_second"] for line in lines]
    half = len(speeds) // 2
    return {
        "pairs_per_second": statistics.median(speeds[SKIP:half]), "peak_mb": peak_mb(resource.RUSAGE_CHILDREN),
        "second_epoch_pairs_per_second": statistics.median(speeds[half + SKIP :]), "first_loss": lines[0]["loss"],
    }


def print_table(results):
    ours = results["hybrid-dpo"]
    rows = [(name, result["pairs_per_second"], result["peak_mb"]) for name, result in results.items()]
    rows.append(("hybrid-dpo, second epoch", ours["second_epoch_pairs_per_second"], ours["peak_mb"]))
    print("| system | pairs per second | peak memory, MB | hybrid-dpo's speed against it | hybrid-dpo's memory |")
    print("|---|---|---|---|---|")
    for name, speed, memory in rows:
        against = "| | |"
        if name in PEERS:
            against = f"| {ours['pairs_per_second'] / speed:.2f}x | {ours['peak_mb'] / memory:.2f}x |"
        print(f"| {name} | {speed:.3f} | {memory:.0f} {against}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=[*PEERS, "hybrid-dpo"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:  # each system in a process of its own, so that its peak memory is its own
        if options.only == "hybrid-dpo":
            out = os.path.join(options.folder, "run")
            result = run_ours(options.binary, options.folder, out, options.threads)
        else:
            result = run_diffusers(options.folder, options.only, options.threads)
        print(json.dumps({"system": options.only} | result))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{make_files(folder, options.steps):,} parameters, {options.threads} threads", flush=True)
        results = {}
        for system in ["diffusers", "hybrid-dpo", *PEERS[1:]]:
            command = [sys.executable, __file__, "--only", system, "--folder", folder, "--binary", options.binary]
            command += ["--threads", str(options.threads)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[system] = json.loads(output.strip().splitlines()[-1])
            print(json.dumps(results[system]), flush=True)
        print_table(results)


if __name__ == "__main__":
    main()

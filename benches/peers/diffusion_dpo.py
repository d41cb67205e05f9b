"""Pairs per second and peak memory of Diffusion-DPO with diffusers in PyTorch and of hybrid-dpo, one after the other.

    pip install torch diffusers transformers safetensors
    cargo build --release
    python benches/peers/diffusion_dpo.py --binary target/release/hybrid-dpo --network unet --rounds 5
    python benches/peers/diffusion_dpo.py --binary target/release/hybrid-dpo --network mmdit --rounds 5

The files hold a random denoiser of 18M parameters and pairs of 4x32x32 latents under 77x256 contexts: a
UNet2DConditionModel (widths 64, 128, 256), which predicts noise, or an SD3Transformer2DModel (8 layers, width 256), which
predicts the velocity of a straight path. Four pairs a step, f32, AdamW. PyTorch's step is the released one: both sides in
one batch of eight, the reference under no_grad in the same step; as it comes, under autocast to bf16, with gradient
checkpointing, and for the UNet with channels last. hybrid-dpo goes over the pairs twice: its second epoch reads the
reference's errors from memory. Systems take turns, in as many rounds as asked. Prints one JSON line a system and round, and
a table of medians. Times leave start-up out: they are the median over the steps after the first three of an epoch.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time

from turns import itself, medians, peak_mb

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
STEPS, BATCH, SKIP, SIZE, TOKENS, WIDTH, BETA, RATE = 12, 4, 3, 32, 77, 256, 2000.0, 1e-6
PEERS = {
    "unet": ["diffusers", "diffusers-channels-last", "diffusers-checkpointing", "diffusers-bf16"],
    "mmdit": ["diffusers", "diffusers-checkpointing", "diffusers-bf16"],
}
OURS = {"hybrid-dpo": "f32", "hybrid-dpo-bf16": "bf16"}  # and their --precision
SYSTEMS = sorted({name for names in PEERS.values() for name in names} | set(OURS))


def new_unet():
    from diffusers import DDPMScheduler, UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=SIZE, block_out_channels=(64, 128, 256), layers_per_block=2, cross_attention_dim=WIDTH,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    return model, DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)


def new_mmdit():
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=SIZE, patch_size=2, in_channels=4, out_channels=4, num_layers=8, attention_head_dim=32,
        num_attention_heads=8, joint_attention_dim=WIDTH, caption_projection_dim=256, pooled_projection_dim=WIDTH,
        pos_embed_max_size=16, qk_norm="rms_norm",
    )
    torch.nn.init.normal_(model.proj_out.weight, std=0.02)
    return model, FlowMatchEulerDiscreteScheduler()


def make_files(folder, network, steps):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model, scheduler = new_unet() if network == "unet" else new_mmdit()
    model.save_pretrained(os.path.join(folder, "model"))
    scheduler.save_pretrained(folder)
    n = steps * BATCH
    data = {side: torch.randn(n, 4, SIZE, SIZE) for side in ("chosen", "rejected")}
    data |= {"context": torch.randn(n, TOKENS, WIDTH)} | ({"pooled": torch.randn(n, WIDTH)} if network == "mmdit" else {})
    save_file(data, os.path.join(folder, "latents.safetensors"))
    return sum(parameter.numel() for parameter in model.parameters())


def noisy_unet(folder, latents, noise, _data, context):
    """Noisy latents, their target, and what the network is called with beside them."""
    import torch
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(folder)
    t = torch.randint(0, len(scheduler), (len(latents) // 2,)).repeat(2)
    return scheduler.add_noise(latents, noise, t), noise, {"timestep": t, "encoder_hidden_states": context}


def noisy_mmdit(_folder, latents, noise, data, context):
    import torch

    sigma = torch.rand(len(latents) // 2).repeat(2)
    share = sigma[:, None, None, None]
    given = {"timestep": 1000 * sigma, "encoder_hidden_states": context, "pooled_projections": data["pooled"].repeat(2, 1)}
    return (1 - share) * latents + share * noise, noise - latents, given


@contextlib.contextmanager
def without_adapters(model):
    model.disable_adapters()
    yield model
    model.enable_adapters()


def with_adapters(model, rank):
    """The network with adapters on what hybrid-dpo adapts; it is its own reference without them."""
    from peft import LoraConfig

    model.requires_grad_(False)
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    model.add_adapter(LoraConfig(r=rank, lora_alpha=16, target_modules=targets, init_lora_weights="gaussian"))
    return model, lambda: without_adapters(model)


def run_diffusers(folder, network, how, threads, rank=None, draws=1):
    """Steps of PyTorch; with a rank, of adapters alone; with several draws of timestep and noise in the sigmoid."""
    import torch
    from diffusers import SD3Transformer2DModel, UNet2DConditionModel
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    model_class, noisy = (UNet2DConditionModel, noisy_unet) if network == "unet" else (SD3Transformer2DModel, noisy_mmdit)
    model = model_class.from_pretrained(os.path.join(folder, "model")).train()
    if rank:
        model, as_reference = with_adapters(model, rank)
    else:
        reference = model_class.from_pretrained(os.path.join(folder, "model")).eval().requires_grad_(False)
        as_reference = lambda: contextlib.nullcontext(reference)
    if how == "diffusers-channels-last":
        model, reference = (network.to(memory_format=torch.channels_last) for network in (model, reference))
    if how == "diffusers-checkpointing":
        model.enable_gradient_checkpointing()
    precision = contextlib.nullcontext
    if how == "diffusers-bf16":
        precision = lambda: torch.autocast("cpu", torch.bfloat16)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.01)
    data = load_file(os.path.join(folder, "latents.safetensors"))
    times, losses = [time.perf_counter()], []
    for pairs in torch.randperm(len(data["chosen"])).split(BATCH):
        pairs = pairs.repeat_interleave(draws)
        latents = torch.cat([data["chosen"][pairs], data["rejected"][pairs]])
        context = data["context"][pairs].repeat(2, 1, 1)
        noise = torch.randn(len(pairs), *latents.shape[1:]).repeat(2, 1, 1, 1)
        beside = {name: values[pairs] for name, values in data.items()}
        inputs, target, given = noisy(folder, latents, noise, beside, context)

        def difference(denoiser):
            with precision():
                prediction = denoiser(inputs, **given).sample
            errors = ((prediction.float() - target) ** 2).mean(dim=[1, 2, 3])
            better, worse = errors.reshape(2, -1, draws).mean(-1)
            return better - worse

        own = difference(model)
        with torch.no_grad(), as_reference() as frozen:
            of_reference = difference(frozen)
        loss = -torch.nn.functional.logsigmoid(-0.5 * BETA * (own - of_reference)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        times.append(time.perf_counter())
    seconds = [after - before for before, after in zip(times, times[1:])]
    return {
        "pairs_per_second": BATCH / statistics.median(seconds[SKIP:]), "peak_mb": peak_mb(resource.RUSAGE_SELF),
        "first_loss": losses[0],
    }


def run_ours(binary, folder, out, threads, micro_batch, precision):
    command = [
        binary, "train", "--mdp", "diffusion", "--model", os.path.join(folder, "model"), "--latents",
        os.path.join(folder, "latents.safetensors"), "--scheduler", os.path.join(folder, "scheduler_config.json"),
        "--out", out, "--eval-share", "0", "--n-samples", "0", "--objective", "dpo", "--beta", str(BETA), "--optimizer",
        "adamw", "--weight-decay", "0.01", "--lr", str(RATE), "--warmup-steps", "0", "--max-grad-norm", "1",
        "--batch-size", str(BATCH), "--micro-batch-size", str(micro_batch), "--epochs", "2", "--precision", precision, "--quiet",
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
    keys = ["pairs_per_second", "second_epoch_pairs_per_second", "peak_mb"]
    print("| system | pairs per second | second epoch's | peak memory, MB | against | speed | second epoch's | memory |")
    print("|---|---|---|---|---|---|---|---|")
    for ours, result in ((name, result) for name, result in results.items() if name in OURS):
        speed, second, memory = (result[key] for key in keys)
        for peer, theirs in ((name, result) for name, result in results.items() if name not in OURS):
            ratios = [speed / theirs[keys[0]], second / theirs[keys[0]], memory / theirs[keys[2]]]
            compared = " | ".join(f"{ratio:.2f}x" for ratio in ratios)
            print(f"| {ours} | {speed:.3f} | {second:.3f} | {memory:.0f} | {peer} | {compared} |")
    for peer, theirs in ((name, result) for name, result in results.items() if name not in OURS):
        print(f"| {peer} | {theirs[keys[0]]:.3f} | | {theirs[keys[2]]:.0f} | | | | |")


def measure(binary, network, rounds, steps=STEPS, micro_batch=BATCH, threads=os.cpu_count(), systems=None):
    """Medians by system."""
    peers = PEERS[network]
    with tempfile.TemporaryDirectory() as folder:
        print(f"{make_files(folder, network, steps):,} parameters, {threads} threads", flush=True)
        arguments = ["--folder", folder, "--binary", binary, "--network", network, "--threads", threads]
        arguments += ["--micro-batch-size", micro_batch]
        systems = systems or [peers[0], *OURS, *peers[1:]]
        return medians({system: itself(__file__, system, arguments) for system in systems}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--network", choices=list(PEERS), default="unet")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--micro-batch-size", type=int, default=BATCH, help="of hybrid-dpo; the batch is of four pairs")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="instead of all")
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only in OURS:
        with tempfile.TemporaryDirectory() as out:
            out = os.path.join(out, "run")
            result = run_ours(
                options.binary, options.folder, out, options.threads, options.micro_batch_size, OURS[options.only]
            )
    elif options.only:
        result = run_diffusers(options.folder, options.network, options.only, options.threads)
    else:
        return print_table(measure(
            options.binary, options.network, options.rounds, options.steps, options.micro_batch_size, options.threads,
            options.systems,
        ))
    print(json.dumps({"system": options.only} | result))


if __name__ == "__main__":
    main()

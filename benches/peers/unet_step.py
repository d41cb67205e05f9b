"""Seconds of forward and backward in diffusers, on the shape of benches/unet_step.rs.

    pip install torch diffusers
    python benches/peers/unet_step.py --threads 2

An 18M UNet2DConditionModel (widths 64, 128 and 256), eight latents of 4x32x32, 77 tokens of caption, f32, plain eager
PyTorch. Prints one JSON line: seconds of a forward pass without gradients, and of a step, the best and the median of
some runs.
"""

import argparse
import json
import os
import resource
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def timed(function, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return {"best": round(min(times), 3), "median": round(statistics.median(times), 3)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--channels-last", action="store_true", help="PyTorch's layout that is ours too")
    arguments = parser.parse_args()
    import diffusers
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        sample_size=32, block_out_channels=(64, 128, 256), layers_per_block=2, cross_attention_dim=256,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    x, target = torch.randn(8, 4, 32, 32), torch.randn(8, 4, 32, 32)
    context = torch.randn(4, 77, 256).repeat_interleave(2, 0)
    if arguments.channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    times = torch.arange(8) * 100

    def score():
        with torch.no_grad():
            model(x, times, context)

    def step():
        model.zero_grad()
        (model(x, times, context).sample - target).square().sum().backward()

    step()
    result = {
        "torch": torch.__version__, "diffusers": diffusers.__version__, "threads": arguments.threads,
        "channels_last": arguments.channels_last, "parameters": sum(p.numel() for p in model.parameters()),
        "score": timed(score, arguments.runs), "step": timed(step, arguments.runs),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

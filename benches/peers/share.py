"""The share of the machine's f32 matrix products that hybrid-dpo's steps reach, from the figures of all.py.

    pip install torch diffusers transformers
    python benches/peers/share.py all.json

The machine's peak is the best of PyTorch's products of 1,536 by 1,536 in f32, on all cores. A step's operations are
counted by PyTorch on the peers' models: forward and back of the policy, and forward of the reference, with 3x3
convolutions counted as if all nine products were made (Winograd's form makes fewer). Of a language model the tokens of a
pair are counted once each, as hybrid-dpo computes them, and only the answers' rows meet the vocabulary. Prints a line a
work.
"""

import argparse
import json
import os
import time

import diffusion_dpo
import trl_dpo

SIZE, TRIALS = 1536, 40
# Of trl_dpo.py's words: the mean prompt, and the mean answer with its end of text.
PROMPT, ANSWER = 350, 40


def peak():
    """Operations a second of the best product."""
    import torch

    torch.set_num_threads(os.cpu_count())
    a, b, out = (torch.randn(SIZE, SIZE) for _ in range(3))
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(seconds)


def step(forward):
    """Operations of a policy's pass forward and back, and of a reference's forward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        forward().sum().backward()
        with torch.no_grad():
            forward()
    return counter.get_total_flops()


def of_denoiser(network):
    import torch

    model, _ = diffusion_dpo.new_unet() if network == "unet" else diffusion_dpo.new_mmdit()
    n = 2 * diffusion_dpo.BATCH
    latents = torch.randn(n, 4, diffusion_dpo.SIZE, diffusion_dpo.SIZE)
    given = {"timestep": torch.zeros(n), "encoder_hidden_states": torch.randn(n, diffusion_dpo.TOKENS, diffusion_dpo.WIDTH)}
    if network == "mmdit":
        given["pooled_projections"] = torch.randn(n, diffusion_dpo.WIDTH)
    return step(lambda: model(latents, **given).sample)


def of_language_model():
    import torch

    model = trl_dpo.new_model("full")
    ids = torch.zeros(1, PROMPT + 2 * ANSWER, dtype=torch.long)
    return trl_dpo.BATCH * step(lambda: model(ids, logits_to_keep=2 * ANSWER).logits)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="what all.py wrote")
    options = parser.parse_args()
    with open(options.results) as file:
        works = json.load(file)["works"]
    limit = peak()
    print(f"PyTorch's products of {SIZE} by {SIZE}, f32: {limit / 1e9:.0f} GFLOP/s")
    of_works = {
        "Diffusion-DPO step, unet": (lambda: of_denoiser("unet"), "pairs_per_second"),
        "Diffusion-DPO step, mmdit": (lambda: of_denoiser("mmdit"), "pairs_per_second"),
        "token DPO step, 70M GPT-NeoX": (of_language_model, "prompts_per_second"),
    }
    for what, (count, key) in of_works.items():
        operations, speed = count(), works[what]["hybrid-dpo"][key]
        rate = operations * speed / trl_dpo.BATCH
        print(f"{what}: {operations / 1e9:.0f} GFLOP, {rate / 1e9:.0f} GFLOP/s, {rate / limit:.0%} of the machine's")


if __name__ == "__main__":
    main()

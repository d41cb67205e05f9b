"""Images per second and peak memory of diffusers' Stable Diffusion and of hybrid-dpo's `sample`, on the same folder.

    pip install torch diffusers transformers safetensors
    cargo build --release
    python benches/peers/ddim.py --binary target/release/hybrid-dpo --rounds 5

32 prompts, one image each: latents of 4x32x32, 20 steps of DDIM, guidance 5, f32. The folder is a
StableDiffusionPipeline of random weights: the UNet of diffusion_dpo.py (18M parameters), a CLIP text encoder of width
256 with two layers, an AutoencoderKL of widths 8 and 16. diffusers is measured with batches of 4, 8 and 32 prompts,
since none of them is best everywhere; hybrid-dpo draws 32 images at once, which is not a setting. Times go from the
prompts to decoded images: diffusers' are measured around the pipeline's call, so that importing and loading are left
out; hybrid-dpo's are the whole command's, with loading (a fraction of a second) and the writing of PNG files, which
counts against it. Memory is the peak of the process, loading included.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time

from diffusion_dpo import SIZE, TOKENS, WIDTH, new_unet
from turns import itself, medians, peak_mb, print_ratios

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
IMAGES, STEPS, GUIDANCE, FACTOR = 32, 20, 5.0, 2
WORDS = "a red blue green dog cat house tree sun big small on under the field painting of photograph in style".split()
SYSTEMS = ["hybrid-dpo", "diffusers-4", "diffusers-8", "diffusers-32"]


def make_tokenizer(folder, words):
    """The files of a CLIP tokenizer that has a token for each of the words."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merges = {}
    for word in words:
        spelled = [*word[:-1], word[-1] + "</w>"]
        merges |= {("".join(spelled[:n]), spelled[n]): None for n in range(1, len(spelled))}
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    os.makedirs(folder)
    special = {"bos_token": "<|startoftext|>"} | dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    files = {
        "vocab.json": json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n",
        "special_tokens_map.json": json.dumps(special),
        "tokenizer_config.json": json.dumps(special | {
            "add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": TOKENS,
            "tokenizer_class": "CLIPTokenizer",
        }),
    }
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    return len(tokens)


def make_pipeline(folder, words=WORDS):
    """A StableDiffusionPipeline's folder around the UNet of diffusion_dpo.py; images have twice the latents' sides."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = os.path.join(folder, "tokenizer")
    n_tokens = make_tokenizer(tokenizer, words)
    files = {}
    for name in os.listdir(tokenizer):
        with open(os.path.join(tokenizer, name)) as file:
            files[name] = file.read()
    encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=n_tokens, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=TOKENS, hidden_act="quick_gelu", bos_token_id=n_tokens - 2, eos_token_id=2,
        pad_token_id=n_tokens - 1,
    ))
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=autoencoder, text_encoder=encoder, tokenizer=CLIPTokenizer.from_pretrained(tokenizer), unet=new_unet()[0],
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)
    for name in os.listdir(tokenizer):  # as released folders have them, not as transformers rewrites them
        os.remove(os.path.join(tokenizer, name))
    for name, text in files.items():
        with open(os.path.join(tokenizer, name), "w") as file:
            file.write(text)


def make_files(folder, images):
    make_pipeline(os.path.join(folder, "model"))
    with open(os.path.join(folder, "prompts.txt"), "w") as file:
        for i in range(images):
            file.write(" ".join(WORDS[(i * 7 + k * (1 + i // len(WORDS))) % len(WORDS)] for k in range(6)) + "\n")


def run_diffusers(folder, steps, batch):
    import torch
    from diffusers import StableDiffusionPipeline

    torch.set_num_threads(os.cpu_count())
    pipe = StableDiffusionPipeline.from_pretrained(os.path.join(folder, "model"))
    pipe.set_progress_bar_config(disable=True)
    with open(os.path.join(folder, "prompts.txt")) as file:
        prompts = file.read().splitlines()
    how = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "height": FACTOR * SIZE, "width": FACTOR * SIZE}
    start, images = time.perf_counter(), []
    for first in range(0, len(prompts), batch):
        images += pipe(prompts[first : first + batch], **how).images
    seconds = time.perf_counter() - start
    return {"images_per_second": len(images) / seconds, "peak_mb": peak_mb(resource.RUSAGE_SELF), "batch": batch}


def run_ours(binary, folder, steps, out):
    with open(os.path.join(folder, "prompts.txt")) as file:
        images = len(file.readlines())
    command = [
        binary, "sample", "--mdp", "diffusion", "--model", os.path.join(folder, "model"), "--prompts",
        os.path.join(folder, "prompts.txt"), "--sampler", "ddim", "--sample-steps", str(steps), "--guidance",
        str(GUIDANCE), "--image-size", str(FACTOR * SIZE), "--out", os.path.join(out, "images.jsonl"), "--quiet",
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return {"images_per_second": images / seconds, "peak_mb": peak_mb(resource.RUSAGE_CHILDREN), "batch": 32}


def measure(binary, rounds, images=IMAGES, steps=STEPS, systems=SYSTEMS):
    """Medians by system."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder, images)
        arguments = ["--folder", folder, "--binary", binary, "--steps", steps]
        return medians({system: itself(__file__, system, arguments) for system in systems}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "hybrid-dpo":
        with tempfile.TemporaryDirectory() as out:
            result = run_ours(options.binary, options.folder, options.steps, out)
    elif options.only:
        result = run_diffusers(options.folder, options.steps, int(options.only.split("-")[1]))
    else:
        results = measure(options.binary, options.rounds, options.images, options.steps, options.systems)
        return print_ratios("ddim", results, "images_per_second")
    print(json.dumps({"system": options.only} | result))


if __name__ == "__main__":
    main()

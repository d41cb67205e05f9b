"""diffusers' pipelines against hybrid-dpo, from a prompt to a picture, on the tiny folders of tests/golden/companions.

    pip install torch diffusers transformers safetensors pillow
    cargo build --release
    python tests/peers/pipelines.py --binary target/release/hybrid-dpo

(1) `sample` draws, from its own noise, the pictures that the whole pipeline draws from it: tokenizer, text encoders,
the network, guidance, sampler, autoencoder. (2) `train` on pictures writes a folder that the pipeline loads whole,
with another network and everything else as it was; both then draw the same pictures again. (3) Latents are those of
the pipeline after every step. Pictures are compared as they are written, in 256 levels, and rounding may fall on either
side. The last line is the count of checks.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import diffusers
import numpy
import torch
import transformers
from diffusers import (
    DDIMPipeline, DDIMScheduler, DDPMPipeline, DiTPipeline, DiTTransformer2DModel, DPMSolverMultistepScheduler,
    EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline, PixArtAlphaPipeline, PixArtSigmaPipeline,
    PixArtTransformer2DModel, StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline,
    ZImagePipeline,
)
from diffusers.pipelines.ddim import pipeline_ddim
from diffusers.pipelines.dit import pipeline_dit
from PIL import Image
from safetensors.torch import load_file

from checks import Checks
from precision import double_precision

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
FOLDERS = pathlib.Path(__file__).parent.parent / "golden" / "companions"
PIPELINES = {
    "sd": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline, "sd3": StableDiffusion3Pipeline, "ddpm": DDPMPipeline,
    "flux": FluxPipeline, "schnell": FluxPipeline, "zimage": ZImagePipeline,
}
# Those whose folders are made here, of the parts of the others and a random transformer; twice as many channels out are a
# prediction and a variance. The pipeline of PixArt-alpha tells sizes to models of this sample size only.
TINY = dict(patch_size=2, in_channels=4, num_layers=2, attention_head_dim=6, num_attention_heads=2)
CAPTIONED = TINY | dict(cross_attention_dim=12, caption_channels=44, out_channels=8)
TRANSFORMERS = {
    "pixart-sigma": (PixArtSigmaPipeline, PixArtTransformer2DModel, CAPTIONED | dict(sample_size=8, interpolation_scale=2)),
    "pixart-alpha": (PixArtAlphaPipeline, PixArtTransformer2DModel, CAPTIONED | dict(sample_size=128)),
    # The pipeline takes 1000 for no class.
    "dit": (DiTPipeline, DiTTransformer2DModel, TINY | dict(sample_size=8, out_channels=8, num_embeds_ada_norm=1000)),
}
PIPELINES |= {name: pipeline for name, (pipeline, *_) in TRANSFORMERS.items()}
LABELS = {"1": "goldfish, Carassius auratus", "281": "tabby, tabby cat", "999": "toilet tissue"}
CLASSES = ["tabby cat", "Carassius auratus", "7"]
PROMPTS = ["a red circle", "hello, it's a DOG!", "the quick brown fox jumps over the lazy dog and then the very lazy dog"]
# Steps that do not divide the scheduler's 1000.
STEPS, GUIDANCE, SIZE = 7, 4.0, 16
# Of 0 to 255: one picture's standard deviation and the difference of two are far above what is allowed between ours and theirs.
ALLOWED, VARIED = 1, 8
# Of latents, as a share of the largest: diffusers takes sines of times in single precision, which large weights make larger.
WAY = 1e-4
SCHEDULER = {
    "_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    "num_train_timesteps": 1000, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
    "prediction_type": "epsilon",
}
SPACINGS = ["leading", "linspace", "trailing"]
# Of flow matching, which has no spacings: the shift.
SHIFTS = {"shift 3": {"shift": 3.0}, "shift by size": {"use_dynamic_shifting": True, "base_image_seq_len": 4}}
FLOWS = ("sd3", "flux", "schnell", "zimage")
# Whose pipelines take and give latents in rows of four.
PACKED = ("flux", "schnell")
# Whose latents are compared with those of double precision: the network counts time from 0 at the noise, where single precision
# leaves it so few digits that diffusers' own latents are 1e-4 to 3e-4 from the exact ones.
EXACT = ("zimage",)
SAMPLERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpm++2m": DPMSolverMultistepScheduler}


def with_t5(folder):
    """Stable Diffusion 3 with its third text encoder."""
    shutil.copytree(FOLDERS / "sd3", folder)
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.copytree(FOLDERS / "t5" / part, folder / part)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5Tokenizer"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def made(name, folder):
    """A folder of PixArt's or DiT's pipeline."""
    _, kind, config = TRANSFORMERS[name]
    torch.manual_seed(len(name))
    model = kind(**config)
    with torch.no_grad():  # large enough that every part matters
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.1))
    model.save_pretrained(folder / "transformer")
    shutil.copytree(FOLDERS / "sd" / "vae", folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    index = {
        "_class_name": TRANSFORMERS[name][0].__name__, "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": ["diffusers", "AutoencoderKL"], "transformer": ["diffusers", kind.__name__],
    }
    if name == "dit":
        index["id2label"] = LABELS
    else:
        index |= {"text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5Tokenizer"]}
        for part in ("text_encoder", "tokenizer"):
            shutil.copytree(FOLDERS / "t5" / f"{part}_3", folder / part)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def folder_of(name, place):
    """A pipeline's folder: one that is kept, or made at a place."""
    if name in PACKED:
        return flux(place, name == "flux")
    if name == "zimage":
        return with_transformer(place)
    return made(name, place) if name in TRANSFORMERS else FOLDERS / name


def prompts_of(name):
    return CLASSES if name == "dit" else PROMPTS


def scheduler_settings(name, spacing):
    if name in FLOWS:
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", **SHIFTS[spacing]}
    return SCHEDULER | {"timestep_spacing": spacing}


def flux(folder, is_guided):
    """FLUX.1 of parts of others; a guided transformer is that of tests/golden/flux."""
    parts = {"text_encoder": "sd/text_encoder", "tokenizer": "sd/tokenizer", "vae": "sd3/vae", "scheduler": "sd3/scheduler",
             "text_encoder_2": "t5/text_encoder_3", "tokenizer_2": "t5/tokenizer_3"}
    for part, source in parts.items():
        shutil.copytree(FOLDERS / source, folder / part)
    classes = {
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder_2": ["transformers", "T5EncoderModel"], "tokenizer_2": ["transformers", "T5Tokenizer"],
        "vae": ["diffusers", "AutoencoderKL"], "transformer": ["diffusers", "FluxTransformer2DModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "_class_name": "FluxPipeline",
    }
    (folder / "model_index.json").write_text(json.dumps(classes))
    golden = FOLDERS.parent / "flux" / "dev"
    config = json.loads((golden / "config.json").read_text()) | {"guidance_embeds": is_guided}
    model = diffusers.FluxTransformer2DModel.from_config(config)
    state = {name: tensor for name, tensor in load_file(golden / "diffusion_pytorch_model.safetensors").items()
             if is_guided or "guidance_embedder" not in name}
    model.load_state_dict(state)
    model.save_pretrained(folder / "transformer")
    return folder


def with_transformer(folder):
    """Z-Image, whose transformer is kept beside the rest of its pipeline."""
    golden = FOLDERS.parent / "zimage"
    shutil.copytree(golden / "pipeline", folder, ignore=shutil.ignore_patterns("expected.json"))
    shutil.copytree(golden / "zimage", folder / "transformer", ignore=shutil.ignore_patterns("expected.json", "pytorch_lora*"))
    # In single precision, in which both compute.
    model = diffusers.ZImageTransformer2DModel.from_pretrained(folder / "transformer")
    model.float().save_pretrained(folder / "transformer")
    return folder


def call(binary, *arguments):
    subprocess.run([binary, *map(str, arguments), "--quiet"], check=True, stdout=subprocess.DEVNULL)


def read(path):
    return numpy.asarray(Image.open(path).convert("RGB"), dtype=numpy.int64)


def ours(binary, model, sampler, out):
    """Pictures, and the noise they were made of.

    The noise is what a sampler with chance in it starts from: the seed decides it, whatever the sampler.
    """
    arguments = ["sample", "--mdp", "diffusion", "--model", model, "--prompts", out / "prompts.txt", "--sample-steps",
                 STEPS, "--scheduler", out / "scheduler_config.json", "--seed", 5]
    # Z-Image names no size of its own, and that of FLUX.1 is of 128 latents.
    arguments += ["--guidance", GUIDANCE, "--image-size", SIZE] if (pathlib.Path(model) / "vae").exists() else []
    call(binary, *arguments, "--sampler", sampler, "--out", out / f"{sampler}.jsonl")
    call(binary, *arguments, "--eta", 1, "--out", out / "way.jsonl", "--save-trajectories", out / "way.safetensors")
    lines = [json.loads(line) for line in (out / f"{sampler}.jsonl").read_text().splitlines()]
    return [read(out / line["image"]) for line in lines], load_file(out / "way.safetensors")["latents"][:, 0]


def theirs(model, name, sampler, spacing, noise, seen=None):
    """The pictures that the pipeline makes of the same noise; `seen` gets every step's latents."""
    # Parts that may be absent must be said to be so.
    absent = ["text_encoder_3", "tokenizer_3"] if name == "sd3" and not (model / "text_encoder_3").exists() else []
    pipe = PIPELINES[name].from_pretrained(model, **dict.fromkeys(absent))
    if seen is None or name not in EXACT:
        return drawn(pipe, name, sampler, spacing, noise, seen)
    with double_precision():
        return drawn(pipe.to(torch.float64), name, sampler, spacing, noise.double(), seen)


def drawn(pipe, name, sampler, spacing, noise, seen):
    if name in FLOWS:
        scheduler = FlowMatchEulerDiscreteScheduler(**SHIFTS[spacing])
    else:
        scheduler = SAMPLERS[sampler].from_config(SCHEDULER | {"timestep_spacing": spacing})
    if name == "ddpm":  # a pipeline of pictures that draws its noise itself
        pipe = DDIMPipeline(pipe.unet, scheduler)
        pipeline_ddim.randn_tensor = lambda *_, **__: noise.clone()
        pipe.set_progress_bar_config(disable=True)
        return pipe(batch_size=len(noise), num_inference_steps=STEPS, eta=0.0, output_type="pil").images
    pipe.scheduler = scheduler if seen is None else recorded(scheduler, seen)
    pipe.set_progress_bar_config(disable=True)
    if name == "dit":  # it draws its noise itself too
        pipeline_dit.randn_tensor = lambda *_, **__: noise.clone()
        ids = [int(label) if label.isdigit() else pipe.get_label_ids([label])[0] for label in CLASSES]
        return pipe(class_labels=ids, num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="pil").images
    how = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "height": SIZE, "width": SIZE, "output_type": "pil"}
    if name == "schnell":  # which is told of no guidance
        how |= {"true_cfg_scale": GUIDANCE, "negative_prompt": ""}
    if name.startswith("pixart"):  # as the text is, and at the size that is asked for
        how |= {"clean_caption": False, "use_resolution_binning": False}
    packed = lambda start: start[None].clone()
    if name in PACKED:
        packed = lambda start: FluxPipeline._pack_latents(start[None].clone(), 1, *start.shape)
    draw = lambda prompt, start: pipe(prompt, latents=packed(start), **how).images[0]
    return [draw(prompt, start) for prompt, start in zip(PROMPTS, noise, strict=True)]


def recorded(scheduler, seen):
    step = scheduler.step

    def recording(*arguments, **named):
        result = step(*arguments, **named)
        seen.append(result[0] if isinstance(result, tuple) else result.prev_sample)
        return result

    scheduler.step = recording
    return scheduler


def check_way(check, what, binary, model, name, out):
    """Every latent from noise to image, of steps with so little chance that they have densities and nothing else."""
    out.mkdir()
    (out / "prompts.txt").write_text("\n".join(prompts_of(name)) + "\n")
    for spacing in SHIFTS if name in FLOWS else ["leading"]:
        (out / "scheduler_config.json").write_text(json.dumps(scheduler_settings(name, spacing)))
        call(binary, "sample", "--mdp", "diffusion", "--model", model, "--prompts", out / "prompts.txt", "--sample-steps",
             STEPS, "--scheduler", out / "scheduler_config.json", "--seed", 5, "--guidance", GUIDANCE, "--image-size", SIZE,
             "--eta", 1e-7, "--out", out / "way.jsonl", "--save-trajectories", out / "way.safetensors",
             *(["--sampler", "flow-sde"] if name in FLOWS else []))
        way, seen = load_file(out / "way.safetensors")["latents"], []
        theirs(model, name, "ddim", spacing, way[:, 0], seen)
        if name in PACKED:
            seen = [FluxPipeline._unpack_latents(latents, *(8 * side for side in way.shape[-2:]), 8) for latents in seen]
        if name == "dit":  # all at once, the guided before the others
            expected = torch.stack(seen, dim=1)[: len(way)]
        else:
            expected = torch.cat(seen).reshape(way[:, 1:].shape)
        error = ((way[:, 1:] - expected).abs().max() / expected.abs().max()).item()
        check(f"{what}, {spacing}: latents of every step", error, WAY)


def check_pictures(check, what, binary, model, name, out, spacings=("leading",)):
    out.mkdir()
    (out / "prompts.txt").write_text("\n".join(prompts_of(name)) + "\n")
    # The pipeline of DiT does not scale its noise, as Euler's sampler asks of pipelines.
    samplers = ["euler"] if name in FLOWS else {"ddpm": ["ddim"], "dit": ["ddim", "dpm++2m"]}.get(name, SAMPLERS)
    ways = [(sampler, spacing) for sampler in samplers for spacing in (SHIFTS if name in FLOWS else spacings)]
    for sampler, spacing in ways:
        (out / "scheduler_config.json").write_text(json.dumps(scheduler_settings(name, spacing)))
        pictures, noise = ours(binary, model, sampler, out)
        expected = theirs(model, name, sampler, spacing, noise)
        expected = [numpy.asarray(picture.convert("RGB"), dtype=numpy.int64) for picture in expected]
        difference = max(abs(a - b).max() for a, b in zip(pictures, expected, strict=True))
        check(f"{what}, {sampler}, {spacing}: pictures, levels apart", difference, ALLOWED)
        spread = min(min(picture.std() for picture in pictures), abs(pictures[0] - pictures[1]).mean())
        check(f"{what}, {sampler}, {spacing}: pictures vary by {spread:.0f} levels", 0 if spread > VARIED else 1, 0)


def check_training(check, what, binary, name, model, out):
    """Two steps from pictures, and what became of each file."""
    generator = numpy.random.default_rng(3)
    out.mkdir()
    lines = []
    for index, prompt in enumerate(prompts_of(name) * 2):
        line = {"prompt": prompt}
        for side in ("chosen", "rejected"):
            line[side] = f"{side}{index}.png"
            Image.fromarray(generator.integers(0, 256, (SIZE, SIZE, 3), dtype=numpy.uint8)).save(out / line[side])
        lines.append(json.dumps(line))
    (out / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    call(binary, "train", "--mdp", "diffusion", "--model", model, "--data", out / "pairs.jsonl", "--image-size",
         SIZE, "--eval-share", 0, "--batch-size", 2, "--max-steps", 2, "--warmup-steps", 0, "--lr", 1e-3, "--n-samples", 0,
         "--out", out / "run")
    saved = out / "run" / "model"
    for path in sorted(model.glob("*/*")):
        part = path.relative_to(model)
        changed = not filecmp.cmp(path, saved / part, shallow=False)
        if part.parts[0] not in ("unet", "transformer"):
            check(f"{what}: {part} is kept", int(changed), 0)
        elif part.name.endswith(".safetensors"):
            check(f"{what}: {part} is another", int(not changed), 0)
    return saved


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--only", help="a part of the names of the pipelines to look at", default="")
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    check = Checks()

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in filter(lambda name: options.only in name, PIPELINES):
            try:
                model = folder_of(name, folder / f"{name}-model")
                check_pictures(check, name, binary, model, name, folder / name, SPACINGS)
                if name != "ddpm":
                    check_way(check, name, binary, model, name, folder / f"{name}-way")
                    saved = check_training(check, f"{name} trained", binary, name, model, folder / f"{name}-training")
                    check_pictures(check, f"{name} trained", binary, saved, name, folder / f"{name}-trained")
            except (subprocess.CalledProcessError, OSError, KeyError, ValueError, RuntimeError) as error:
                check(f"{name}: {error!r:.300}", float("inf"), 0)
        if options.only in "sd3":
            check_pictures(check, "sd3 with T5", binary, with_t5(folder / "t5"), "sd3", folder / "t5-pictures")
    check.end()


if __name__ == "__main__":
    main()

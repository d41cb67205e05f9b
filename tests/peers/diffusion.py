"""diffusers and PyTorch against hybrid-dpo, on random denoisers of every shape.

    pip install torch diffusers transformers peft safetensors
    cargo build --release
    python tests/peers/diffusion.py --binary target/release/hybrid-dpo

(1) `score` gives the squared errors of diffusers' own network under diffusers' own scheduler, and their margin. (2) Ten
AdamW steps of Diffusion-DPO give the losses, gradient norms and weights of the released formula in PyTorch, and diffusers
loads what they write. (3) `train --lora-rank`, with `--dora` and with `--lora-bias` too, writes a LoRA file that diffusers'
pipeline loads, and both give the adapted model the same errors. The last line is the count of checks.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import torch
from diffusers import (
    DDPMScheduler, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel,
    PixArtTransformer2DModel, SD3Transformer2DModel, StableDiffusion3Pipeline, StableDiffusionPipeline,
    UNet2DConditionModel, UNet2DModel, ZImagePipeline, ZImageTransformer2DModel,
)
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from checks import Checks
from precision import double_precision

PAIRS, SIZE, TOKENS, POOLED, WIDTH, STEPS = 4, 8, 7, 20, 24, 10
# A rate at which ten steps leave a loss to compare: at 1e-4 it is 1e-60 on some of these.
BETA, RATE = 2000.0, 3e-6
# Of the first loss: at that rate some are below 1e-8 after seven steps, where f32 has a thousandth of them.
LEAST = 1e-4
SCORES, CURVES, WEIGHTS = 1e-4, 1e-3, 2e-2
BASE = dict(sample_size=SIZE, norm_num_groups=8, block_out_channels=(16, 32))
TEXT = dict(BASE, in_channels=4, out_channels=4, cross_attention_dim=WIDTH)
SD1 = dict(
    TEXT, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=2, attention_head_dim=4,
)
SD2 = dict(SD1, use_linear_projection=True, attention_head_dim=(2, 4), layers_per_block=1)
SDXL = dict(
    TEXT, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1, attention_head_dim=(2, 4), transformer_layers_per_block=(1, 2), use_linear_projection=True,
    addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + POOLED,
)
DDPM = dict(
    BASE, in_channels=3, out_channels=3, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"), layers_per_block=1, attention_head_dim=None, norm_eps=1e-6,
    downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
)
SD3 = dict(
    sample_size=SIZE, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
    num_attention_heads=3, joint_attention_dim=WIDTH, caption_projection_dim=24, pooled_projection_dim=POOLED,
    pos_embed_max_size=7,
)
SD35 = dict(SD3, num_layers=3, dual_attention_layers=(0, 1), qk_norm="rms_norm")
FLUX = dict(
    in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=12, num_attention_heads=2,
    joint_attention_dim=WIDTH, pooled_projection_dim=POOLED, axes_dims_rope=(4, 4, 4),
)
FLUX_DEV = dict(FLUX, num_layers=1, num_single_layers=3, guidance_embeds=True, axes_dims_rope=(2, 6, 4))
# What a guided transformer is told in training and scores.
GUIDANCE = 2.25
ZIMAGE = dict(
    in_channels=4, dim=24, n_layers=2, n_refiner_layers=1, n_heads=3, n_kv_heads=3, cap_feat_dim=WIDTH, axes_dims=[2, 4, 2],
    axes_lens=[64, 8, 8],
)
# With a variance beside the prediction, which takes no part.
PIXART = dict(
    sample_size=SIZE, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
    num_attention_heads=3, cross_attention_dim=24, caption_channels=WIDTH, interpolation_scale=2,
)
ALPHA = dict(PIXART, use_additional_conditions=True, attention_bias=False, sample_size=2 * SIZE, out_channels=4)
CLASSES = 6
DIT = dict(
    sample_size=SIZE, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
    num_attention_heads=3, num_embeds_ada_norm=CLASSES,
)
LATENT = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
SCHEDULERS = {
    "epsilon": DDPMScheduler(**LATENT),
    "v": DDPMScheduler(**LATENT, prediction_type="v_prediction"),
    "v, zero terminal SNR": DDPMScheduler(**LATENT, prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "epsilon, linear": DDPMScheduler(),
    "epsilon, squared cosine": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    "flow": FlowMatchEulerDiscreteScheduler(),
    "flow, shifted": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow, shifted by size": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
}
CASES = {
    "SD 1": (UNet2DConditionModel, SD1, ["epsilon", "flow"]),
    "SD 2": (UNet2DConditionModel, SD2, ["v", "v, zero terminal SNR"]),
    "SDXL": (UNet2DConditionModel, SDXL, ["epsilon", "flow, shifted"]),
    "SD 3": (SD3Transformer2DModel, SD3, ["flow", "flow, shifted"]),
    "SD 3.5": (SD3Transformer2DModel, SD35, ["flow, shifted"]),
    "SD 3.5, masked": (SD3Transformer2DModel, SD35, ["flow, shifted"]),
    "FLUX.1 schnell": (FluxTransformer2DModel, FLUX, ["flow", "flow, shifted"]),
    "FLUX.1 dev": (FluxTransformer2DModel, FLUX_DEV, ["flow, shifted by size"]),
    "FLUX.1 dev, masked": (FluxTransformer2DModel, FLUX_DEV, ["flow"]),
    "Z-Image": (ZImageTransformer2DModel, ZIMAGE, ["flow", "flow, shifted"]),
    "Z-Image, masked": (ZImageTransformer2DModel, ZIMAGE | dict(qk_norm=False, t_scale=500.0), ["flow, shifted"]),
    "PixArt-Sigma, masked": (PixArtTransformer2DModel, PIXART, ["epsilon, linear", "v"]),
    "PixArt-Sigma": (PixArtTransformer2DModel, PIXART, ["epsilon, linear"]),
    "PixArt-alpha, masked": (PixArtTransformer2DModel, ALPHA, ["epsilon, linear"]),
    "DiT": (DiTTransformer2DModel, DIT, ["epsilon, linear", "flow"]),
    "DDPM": (UNet2DModel, DDPM, ["epsilon, linear", "epsilon, squared cosine"]),
}


def make_model(kind, config, folder, seed):
    torch.manual_seed(seed)
    model = kind(**config)
    with torch.no_grad():  # biases and the scales of norms are all alike at the start
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)


def make_data(name, channels):
    """Latents and what they are about, as the file has them, and draws."""
    generator = torch.Generator().manual_seed(1)
    randn = lambda *shape: torch.randn(*shape, generator=generator)
    latents = {side: randn(PAIRS, channels, SIZE, SIZE) for side in ("chosen", "rejected")}
    if name == "SD 2":  # a caption for each side
        latents |= {f"context_{side}": randn(PAIRS, TOKENS, WIDTH) for side in ("chosen", "rejected")}
    elif name == "DiT":  # a class for each side; the last number is that of none
        latents |= {f"class_labels_{side}": (2 * torch.arange(PAIRS) + i) % (CLASSES + 1) for i, side in enumerate(latents)}
    elif name != "DDPM":
        latents["context"] = randn(PAIRS, TOKENS, WIDTH)
    if name == "SDXL":
        latents["pooled"] = randn(PAIRS, POOLED)
    if name in ("SDXL", "PixArt-alpha, masked"):
        latents["time_ids"] = torch.tensor([[64.0, 96, 8, 0, 64, 80], [64, 64, 0, 0, 64, 64]]).repeat(PAIRS // 2, 1)
    if name.startswith(("SD 3", "FLUX")):
        latents["pooled"] = randn(PAIRS, POOLED)
    if name.endswith("masked"):
        latents["context_mask"] = torch.tensor([[1] * n + [0] * (TOKENS - n) for n in (7, 2, 5, 1)])
    draws = {"timesteps": torch.tensor([3, 250, 998, 611]), "noise": randn(PAIRS, channels, SIZE, SIZE)}
    return latents, draws


def noised(scheduler, clean, draws):
    """x_t, what the network is told of t, and what it should say."""
    noise, t = draws["noise"].to(clean), draws["timesteps"]
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):  # its timesteps go from noise to image
        times = scheduler.timesteps[len(scheduler.timesteps) - 1 - t]
        return scheduler.scale_noise(clean.float(), times, noise.float()).to(clean), times.to(clean), noise - clean
    target = noise
    if scheduler.config.prediction_type == "v_prediction":
        target = scheduler.get_velocity(clean, noise, t)
    return scheduler.add_noise(clean, noise, t), t, target


def flux(model, x, times, context, pooled):
    """As the pipeline does it: latents are packed, and each row is told where it is."""
    n, channels, height, width = x.shape
    places = FluxPipeline._prepare_latent_image_ids(n, height // 2, width // 2, "cpu", x.dtype)
    guidance = torch.full([n], GUIDANCE, dtype=x.dtype) if model.config.guidance_embeds else None
    out = model(
        FluxPipeline._pack_latents(x, n, channels, height, width), timestep=times / 1000, guidance=guidance,
        encoder_hidden_states=context, pooled_projections=pooled, img_ids=places,
        txt_ids=torch.zeros(context.shape[1], 3, dtype=x.dtype),
    ).sample
    return FluxPipeline._unpack_latents(out, 8 * height, 8 * width, 8)


def squared_errors(model, scheduler, latents, draws, side):
    """Of every number of every latent."""
    if not isinstance(model, ZImageTransformer2DModel):
        return errors_of(model, scheduler, latents, draws, side)
    # Its times are in single precision whatever its weights are, and ten steps see that.
    with double_precision():
        return errors_of(model, type(scheduler).from_config(scheduler.config), latents, draws, side)


def errors_of(model, scheduler, latents, draws, side):
    kind = next(model.parameters()).dtype
    of_side = lambda name: latents.get(f"{name}_{side}", latents.get(name))
    x, times, target = noised(scheduler, latents[side].to(kind), draws)
    if isinstance(model, DiTTransformer2DModel):
        out = model(x, timestep=times, class_labels=of_side("class_labels")).sample
        return (out[:, : x.shape[1]] - target) ** 2
    if of_side("context") is None:
        return (model(x, times).sample - target) ** 2
    context = of_side("context").to(kind)
    if isinstance(model, PixArtTransformer2DModel):
        sizes = of_side("time_ids")
        added = None if sizes is None else {"resolution": sizes[:, 4:], "aspect_ratio": sizes[:, 4:5] / sizes[:, 5:]}
        out = model(x, encoder_hidden_states=context, timestep=times, encoder_attention_mask=of_side("context_mask"),
                    added_cond_kwargs=added).sample
        return (out[:, : x.shape[1]] - target) ** 2
    if isinstance(model, ZImageTransformer2DModel):  # told and read as by its pipeline
        mask = of_side("context_mask")
        texts = [text if mask is None else text[mask[i].bool()] for i, text in enumerate(context)]
        out = model(list(x.unsqueeze(2)), (1000 - times) / 1000, texts, return_dict=False)[0]
        return (-torch.stack(out).squeeze(2) - target) ** 2
    if isinstance(model, (SD3Transformer2DModel, FluxTransformer2DModel)):
        pooled = of_side("pooled").to(kind)
        predict = flux if isinstance(model, FluxTransformer2DModel) else lambda model, x, times, context, pooled: model(
            x, timestep=times, encoder_hidden_states=context, pooled_projections=pooled
        ).sample
        if (mask := of_side("context_mask")) is None:
            out = predict(model, x, times, context, pooled)
        else:  # without a mask of its own: each text alone, as long as it is
            out = torch.cat([
                predict(model, x[i : i + 1], times[i : i + 1], context[i : i + 1, mask[i].bool()], pooled[i : i + 1])
                for i in range(len(x))
            ])
        return (out - target) ** 2
    added = None
    if of_side("pooled") is not None:
        added = {"text_embeds": of_side("pooled").to(kind), "time_ids": of_side("time_ids").to(kind)}
    return (model(x, times, encoder_hidden_states=context, added_cond_kwargs=added).sample - target) ** 2


def dpo_steps(model, reference, scheduler, latents, draws):
    """Losses and gradient norms of the released formula."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    difference = lambda model: (
        squared_errors(model, scheduler, latents, draws, "chosen").mean(dim=[1, 2, 3])
        - squared_errors(model, scheduler, latents, draws, "rejected").mean(dim=[1, 2, 3])
    )
    with torch.no_grad():
        of_reference = difference(reference)
    losses, norms = [], []
    for _ in range(STEPS):
        loss = -torch.nn.functional.logsigmoid(-0.5 * BETA * (difference(model) - of_reference)).mean()
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def call(binary, *arguments):
    subprocess.run([binary, *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def relative(found, expected, least=0.0):
    """The largest difference, as a share of what is expected, or of `least` times the first where that is more."""
    found, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (found, expected))
    return ((found - expected).abs() / expected.abs().clamp(min=least * expected.flatten()[0].abs())).max().item()


def load_by_peft(model, path):
    with safe_open(path, "pt") as file:
        settings = json.loads(file.metadata()["lora_adapter_metadata"])
        state = {name.removeprefix("transformer."): file.get_tensor(name) for name in file.keys()}
    settings = {name.removeprefix("transformer."): value for name, value in settings.items()}
    keys = ("r", "lora_alpha", "target_modules", "use_dora", "lora_bias")
    inject_adapter_in_model(LoraConfig(**{key: settings[key] for key in keys if key in settings}), model)
    found = set_peft_model_state_dict(model, state)
    assert not found.unexpected_keys, found.unexpected_keys


class Case:
    """A model, a scheduler and data in a folder, and what is checked of them."""

    def __init__(self, binary, check, folder, name, scheduler):
        self.binary, self.check, self.folder, self.name = binary, check, folder, f"{name}, {scheduler}"
        self.kind, config, _ = CASES[name]
        self.scheduler = SCHEDULERS[scheduler]
        make_model(self.kind, config, self.path("base"), 0)
        make_model(self.kind, config, self.path("other"), 1)
        channels = config["in_channels"] // (4 if self.kind is FluxTransformer2DModel else 1)
        self.latents, self.draws = make_data(name, channels)
        save_file(self.latents, self.path("latents.safetensors"))
        save_file(self.draws, self.path("draws.safetensors"))
        with open(self.path("scheduler_config.json"), "w") as file:
            json.dump(dict(self.scheduler.config) | {"_class_name": type(self.scheduler).__name__}, file)
        self.data = ["--mdp", "diffusion", "--latents", self.path("latents.safetensors")]
        self.data += ["--draws", self.path("draws.safetensors"), "--scheduler", self.path("scheduler_config.json")]
        self.data += ["--guidance", str(GUIDANCE)] if config.get("guidance_embeds") else []
        self.training = [
            "--objective", "dpo", "--beta", str(BETA), "--optimizer", "adamw", "--weight-decay", "0.01", "--warmup-steps",
            "0", "--max-grad-norm", "1", "--batch-size", str(PAIRS), "--micro-batch-size", "2", "--epochs", str(STEPS),
            "--max-steps", str(STEPS), "--eval-share", "0", "--n-samples", "0",
        ]

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def load(self, *parts):
        return self.kind.from_pretrained(self.path(*parts)).double().eval()

    def sums(self, model, side):
        with torch.no_grad():
            return squared_errors(model, self.scheduler, self.latents, self.draws, side).sum(dim=[1, 2, 3])

    def score(self, model, *more):
        out = self.path("scores.jsonl")
        call(self.binary, "score", "--model", model, *self.data, "--out", out, *more)
        return lines(out)

    def check_errors(self, what, scored, model, field="error"):
        differences = [relative([line[side][field] for line in scored], self.sums(model, side)) for side in SIDES]
        self.check(f"{self.name}: {what}", max(differences), SCORES)

    def check_score(self):
        scored = self.score(self.path("base"), "--reference", self.path("other"), "--beta", str(BETA))
        base, other = self.load("base"), self.load("other")
        self.check_errors("errors", scored, base)
        self.check_errors("errors of the reference", scored, other, "reference_error")
        ratios = [self.sums(other, side) - self.sums(base, side) for side in SIDES]
        unit = BETA * 0.5 / self.latents["chosen"][0].numel()
        scale = max(ratio.abs().max().item() for ratio in ratios) * unit
        found = torch.tensor([line["margin"] for line in scored], dtype=torch.float64)
        largest = (found - unit * (ratios[0] - ratios[1])).abs().max().item() / scale
        self.check(f"{self.name}: margin", largest, SCORES)

    def check_steps(self):
        call(self.binary, "train", "--model", self.path("base"), *self.data, *self.training, "--lr", str(RATE), "--out",
             self.path("run"))
        steps = [line for line in lines(self.path("run", "metrics.jsonl")) if line["split"] == "train"]
        start, model = self.load("base"), self.load("base")
        losses, norms = dpo_steps(model, start, self.scheduler, self.latents, self.draws)
        self.check(f"{self.name}: losses of {STEPS} steps", relative([line["loss"] for line in steps], losses, LEAST), CURVES)
        self.check(f"{self.name}: gradient norms", relative([line["grad_norm"] for line in steps], norms, LEAST), CURVES)
        trained = self.load("run", "model")
        weights = [torch.cat([p.flatten() for p in m.state_dict().values()]) for m in (trained, model, start)]
        # Adam moves a weight without a gradient (a key's bias) by its rate, whichever way the rounding goes: so as a
        # share of the whole way, not number by number.
        share = ((weights[0] - weights[1]).norm() / (weights[1] - weights[2]).norm()).item()
        self.check(f"{self.name}: weights, share of the way", share, WEIGHTS)
        self.check_errors("trained, in diffusers", self.score(self.path("run")), trained)

    def check_lora(self):
        biased = {UNet2DConditionModel: "to_out.0,conv1", ZImageTransformer2DModel: "adaLN_modulation.0",
                  PixArtTransformer2DModel: "to_out.0"}.get(self.kind)
        targets = ["--lora-targets", biased] if biased else []
        self.check_adapter("LoRA")
        self.check_adapter("DoRA", "--dora")
        self.check_adapter("LoRA with biases", "--lora-bias", *targets)
        if self.kind is UNet2DConditionModel:
            self.check_adapter("DoRA of convolutions", "--dora", "--lora-targets", "to_q,conv1,conv_shortcut,time_emb_proj")

    def check_adapter(self, what, *more):
        shutil.rmtree(self.path("lora"), ignore_errors=True)
        call(self.binary, "train", "--model", self.path("base"), *self.data, *self.training, "--lr", "1e-3",
             "--lora-rank", "4", "--out", self.path("lora"), *more)
        base, adapted = self.load("base"), self.load("base").float()
        if self.kind in (PixArtTransformer2DModel, DiTTransformer2DModel):
            # Their pipelines have no loader of adapters: peft puts them into the network.
            load_by_peft(adapted, self.path("lora", "model", "pytorch_lora_weights.safetensors"))
            return self.check_adapted(what, base, adapted)
        where = dict(weight_name="pytorch_lora_weights.safetensors", return_lora_metadata=True)
        if self.kind is FluxTransformer2DModel:
            state, _, metadata = FluxPipeline.lora_state_dict(self.path("lora", "model"), return_alphas=True, **where)
            FluxPipeline.load_lora_into_transformer(state, None, adapted, metadata=metadata)
        elif self.kind in (SD3Transformer2DModel, ZImageTransformer2DModel):
            pipeline = StableDiffusion3Pipeline if self.kind is SD3Transformer2DModel else ZImagePipeline
            state, metadata = pipeline.lora_state_dict(self.path("lora", "model"), **where)
            pipeline.load_lora_into_transformer(state, adapted, metadata=metadata)
        else:
            state, alphas, metadata = StableDiffusionPipeline.lora_state_dict(self.path("lora", "model"), **where)
            StableDiffusionPipeline.load_lora_into_unet(state, alphas, adapted, metadata=metadata)
        self.check_adapted(what, base, adapted)

    def check_adapted(self, what, base, adapted):
        adapted = adapted.double().eval()
        moved = relative(self.sums(adapted, "chosen"), self.sums(base, "chosen"))
        self.check(f"{self.name}: {what} in diffusers changes errors by {moved:.1e}", 0.0 if moved > 10 * SCORES else 1.0, 0.5)
        model = f"{self.path('base')}+{self.path('lora', 'model')}"
        self.check_errors(f"{what}, in diffusers", self.score(model), adapted)
        extra = {"DoRA": "lora_magnitude_vector", "LoRA with biases": "lora_B.bias"}.get(what, "")
        found = sum(extra in name for name in load_file(self.path("lora", "model", "pytorch_lora_weights.safetensors")))
        self.check(f"{self.name}: {what} in {found} tensors", 0.0 if found else 1.0, 0.5)


SIDES = ("chosen", "rejected")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--only", help="a part of the names of the models to look at", default="")
    options = parser.parse_args()
    check = Checks()

    for name, (kind, _, schedulers) in CASES.items():
        for scheduler in schedulers:
            if options.only not in f"{name}, {scheduler}":
                continue
            with tempfile.TemporaryDirectory() as folder:
                case = Case(options.binary, check, folder, name, scheduler)
                for part in [case.check_score, case.check_steps] + [case.check_lora] * (kind is not UNet2DModel):
                    try:
                        part()
                    except (subprocess.CalledProcessError, OSError, KeyError, ValueError, RuntimeError) as error:
                        check(f"{case.name}: {part.__name__}: {error!r:.300}", float("inf"), 1.0)
    check.end()


if __name__ == "__main__":
    main()

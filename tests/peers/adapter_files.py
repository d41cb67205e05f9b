"""Adapters of a UNet: settings of every kind, and the files of every writer. For files_diffusion.py."""

import re

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
ADAPTERS = {
    "alpha is the rank": dict(r=4, lora_alpha=4, target_modules=ATTENTION),
    "alpha is four ranks": dict(r=4, lora_alpha=16, target_modules=ATTENTION),
    "alpha below the rank": dict(r=4, lora_alpha=2, target_modules=["to_q", "to_v"]),
    "rslora": dict(r=4, lora_alpha=6, use_rslora=True, target_modules=ATTENTION),
    "rank pattern": dict(r=4, lora_alpha=8, target_modules=ATTENTION, rank_pattern={"to_q": 2, "attn2.to_k": 6}),
    "alpha pattern": dict(r=4, lora_alpha=8, target_modules=ATTENTION, alpha_pattern={"to_v": 3, "attn1.to_q": 20}),
    "both patterns, rslora": dict(
        r=2, lora_alpha=5, use_rslora=True, target_modules=ATTENTION, rank_pattern={r".*attn2\.to_out\.0": 3},
        alpha_pattern={r".*attn2\.to_.": 9, "to_q": 1},
    ),
    "a pattern of the whole name": dict(
        r=2, lora_alpha=2, target_modules=ATTENTION,
        alpha_pattern={"^mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 30, "^to_v": 50},
    ),
    "convolutions and the time": dict(
        r=3, lora_alpha=9, target_modules=["conv1", "conv2", "conv_shortcut", "time_emb_proj", "linear_1", "conv_in"],
    ),
    "resizing, projections, feed-forward": dict(
        r=3, lora_alpha=9, target_modules=["proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv"],
    ),
    "a pattern of layers": dict(r=4, lora_alpha=8, target_modules=r"down_blocks\..*attn2\.to_(q|k)"),
    "all linear layers": dict(r=2, lora_alpha=6, target_modules="all-linear"),
    "some blocks left out": dict(r=2, lora_alpha=6, target_modules=ATTENTION, exclude_modules=r"up_blocks\..*"),
    "DoRA": dict(r=3, lora_alpha=6, target_modules=ATTENTION, use_dora=True),
    "DoRA of convolutions": dict(
        r=3, lora_alpha=6, target_modules=["conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"], use_dora=True,
    ),
    "biases in LoRA": dict(r=3, lora_alpha=6, target_modules=["to_out.0", "time_emb_proj", "conv1"], lora_bias=True),
}
# Beside factors; only what keeps whole names can hold them.
REPLACING = {
    "trained biases": dict(r=4, lora_alpha=8, target_modules=["to_out.0", "time_emb_proj"], bias="lora_only"),
    "all biases": dict(r=4, lora_alpha=8, target_modules=["to_q"], bias="all"),
    "whole modules": dict(r=4, lora_alpha=8, target_modules=["to_q"], modules_to_save=["conv_in", "conv_out"]),
}


def alone(model, settings, folder):
    model.save_lora_adapter(folder)


def pipeline(model, settings, folder, convert=lambda state: state, metadata=True):
    described = {"unet_lora_adapter_metadata": model.peft_config["default"].to_dict()} if metadata else {}
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=convert(get_peft_model_state_dict(model)), **described
    )


def converted(model, settings, folder):
    pipeline(model, settings, folder, convert_state_dict_to_diffusers)


def without_settings(model, settings, folder):
    pipeline(model, settings, folder, metadata=False)


def in_memory(model, settings, folder):
    state = {name: value.contiguous() for name, value in model.state_dict().items() if ".lora_" in name}
    save_file(state, folder / "pytorch_lora_weights.safetensors")


def processors(model, settings, folder, prefix="unet."):
    """The names of attention processors, which had one rank and no alpha."""
    names = [(r"\.to_(q|k|v)\.lora_A", r".processor.to_\1_lora.down"), (r"\.to_(q|k|v)\.lora_B", r".processor.to_\1_lora.up")]
    names += [(r"\.to_out\.0\.lora_A", ".processor.to_out_lora.down"), (r"\.to_out\.0\.lora_B", ".processor.to_out_lora.up")]
    state = {}
    for name, value in get_peft_model_state_dict(model).items():
        for old, new in names:
            name = re.sub(old, new, name)
        state[prefix + name] = value.contiguous()
    save_file(state, folder / "pytorch_lora_weights.safetensors")


def alphas(model, settings, folder):
    """A tensor beside each pair that says its alpha."""
    state = {}
    for name, value in get_peft_model_state_dict(model).items():
        state[f"unet.{name}"] = value.contiguous()
        if ".lora_A." in name:
            state[f"unet.{name.split('.lora_A.')[0]}.alpha"] = torch.tensor(float(settings["lora_alpha"]))
    save_file(state, folder / "pytorch_lora_weights.safetensors")


# Those that keep the settings, and those that keep the factors alone.
WRITERS = {"a UNet alone": alone, "a pipeline": pipeline, "a pipeline, converted": converted}
WRITERS_OF_FACTORS = {
    "no settings": without_settings, "in memory": in_memory, "processors": processors,
    "processors, no prefix": lambda *of: processors(*of, prefix=""),
}

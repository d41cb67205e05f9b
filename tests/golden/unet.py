"""Tiny random UNets of every kind, and what diffusers says of them: outputs, gradients, adapters.

Run from the repository's root: python tests/golden/unet.py
Writes tests/golden/unet/<case>/{config.json,diffusion_pytorch_model.safetensors,expected.json}, and a LoRA file of peft
for one of them. The versions used are in expected.json.
"""

import pathlib
import shutil

import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from denoisers import as_written, flat, golden_call, randomise, randomise_adapter, write

FOLDER = pathlib.Path(__file__).parent / "unet"
SMALL = {
    "sample_size": 4, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16), "norm_num_groups": 4,
    "layers_per_block": 1,
}
CAPTION = SMALL | {"cross_attention_dim": 12}
CASES = {
    # Stable Diffusion 1: `attention_head_dim` is the number of heads, whatever its name.
    "sd1": (
        UNet2DConditionModel,
        CAPTION | {
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "attention_head_dim": 2, "block_out_channels": (8, 12),
        },
        [(4, 4), (5, 7)],
    ),
    "sd2": (
        UNet2DConditionModel,
        CAPTION | {
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "attention_head_dim": (2, 4), "use_linear_projection": True, "upcast_attention": True,
            "only_cross_attention": (True, False), "downsample_padding": 0, "conv_in_kernel": 5, "conv_out_kernel": 1,
            "norm_eps": 1e-6, "out_channels": 3, "mid_block_scale_factor": 1.5, "layers_per_block": (1, 2),
        },
        [(6, 4), (7, 5)],
    ),
    "sdxl": (
        UNet2DConditionModel,
        CAPTION | {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (1, 2), "use_linear_projection": True, "transformer_layers_per_block": (1, 2),
            "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 30,
        },
        [(4, 4)],
    ),
    "ddpm": (
        UNet2DModel,
        SMALL | {
            "in_channels": 3, "out_channels": 3,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 8, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
            "center_input_sample": True, "mid_block_scale_factor": 1.5, "attn_norm_num_groups": 2,
        },
        [(4, 6)],
    ),
    "ddpm_resnet": (
        UNet2DModel,
        SMALL | {
            "down_block_types": ("AttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
            "attention_head_dim": None, "add_attention": False, "downsample_type": "resnet",
            "upsample_type": "resnet", "time_embedding_dim": 20,
        },
        [(4, 4)],
    ),
    "ddpm_resnet_up": (
        UNet2DModel,
        SMALL | {
            "down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "mid_block_type": None, "upsample_type": "resnet",
        },
        [(4, 4)],
    ),
}
# Cases whose weights are written as halves, and in several files.
HALVES, SHARDS = ("sd2", "sdxl"), ("ddpm",)
# Parameters whose gradients are written out; of all others there is the norm.
WRITTEN = ("conv_in.weight", "time_embedding.linear_1.weight", "conv_out.weight", "conv_norm_out.bias")


def call(model, batch):
    x, times = batch["x"], batch["times"]
    if isinstance(model, UNet2DModel):
        return model(x, times).sample
    added = {"text_embeds": batch["pooled"], "time_ids": batch["time_ids"]} if "pooled" in batch else None
    return model(x, times, batch["contexts"], added_cond_kwargs=added).sample


def make_batch(model, size, generator):
    channels = model.config.in_channels
    batch = {
        "x": torch.randn(3, channels, *size, generator=generator),
        "times": torch.tensor([999, 0, 421]),
    }
    if isinstance(model, UNet2DConditionModel):
        contexts = torch.randn(2, 5, model.config.cross_attention_dim, generator=generator)
        # The first and the last image have one caption.
        batch["contexts"] = contexts[[0, 1, 0]]
        if model.config.addition_embed_type:
            batch["pooled"] = torch.randn(3, 6, generator=generator)
            batch["time_ids"] = torch.tensor([[64, 48, 0, 4, 32, 32], [512, 512, 0, 0, 8, 4], [1, 2, 3, 4, 5, 6]]).float()
    return batch


def golden_lora(model, folder, size, generator):
    """An adapter whose alpha is not its rank, on matrices and convolutions, as diffusers' training scripts write it."""
    targets = ["to_k", "to_q", "to_v", "to_out.0", "conv1", "proj_in", "conv_shortcut", "downsamplers.0.conv"]
    model.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=targets))
    randomise_adapter(model, generator)
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(model),
        unet_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    batch = make_batch(model, size, generator)
    with torch.no_grad():
        return as_written(batch, size, call(model, batch)) | {"targets": targets}


def main():
    torch.set_num_threads(1)
    for seed, (name, (model_class, config, sizes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(seed)
        model = model_class(**config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        if name in HALVES:
            model.half().save_pretrained(folder, variant="fp16")
            model.float()
        else:
            model.save_pretrained(folder, max_shard_size="100KB" if name in SHARDS else "10GB")
        calls = [golden_call(model, make_batch(model, size, generator), size, call, WRITTEN, generator) for size in sizes]
        more = {"lora": golden_lora(model, folder, sizes[0], generator)} if name == "sd1" else {}
        write(folder, calls=calls, **more)


if __name__ == "__main__":
    main()

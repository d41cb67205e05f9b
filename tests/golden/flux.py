"""Tiny random transformers of FLUX.1, and what diffusers says of them: outputs, gradients, adapters.

Run from the repository's root: python tests/golden/flux.py
Writes tests/golden/flux/<case>/{config.json,diffusion_pytorch_model.safetensors,expected.json}, and a LoRA file of diffusers
for one of them. The versions used are in expected.json. Latents are packed and their places are given as FluxPipeline does
it. diffusers has no mask for captions here: each image is computed alone, with a caption of its own length, and gradients
add up.
"""

import pathlib
import shutil

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from denoisers import as_written, golden_call, randomise, randomise_adapter, write

FOLDER = pathlib.Path(__file__).parent / "flux"
SMALL = {
    "in_channels": 16, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
    "joint_attention_dim": 10, "pooled_projection_dim": 7, "axes_dims_rope": (2, 4, 2),
}
CASES = {
    "schnell": (SMALL, [(8, 8), (4, 10)]),
    # Its widths are those of the autoencoder and the text encoders in `companions`.
    "dev": (
        SMALL | {
            "guidance_embeds": True, "num_layers": 1, "num_single_layers": 3, "axes_dims_rope": (4, 2, 2),
            "in_channels": 64, "joint_attention_dim": 44, "pooled_projection_dim": 16,
        },
        [(4, 6)],
    ),
}
# What a guided model is told, before it multiplies by 1000.
GUIDANCE = 2.25
# Parameters whose gradients are written out; of all others there is the norm.
WRITTEN = (
    "x_embedder.weight", "time_text_embed.text_embedder.linear_1.weight", "context_embedder.bias", "proj_out.weight",
    "transformer_blocks.0.norm1.linear.bias", "transformer_blocks.0.norm1_context.linear.bias",
    "transformer_blocks.0.attn.add_k_proj.weight", "single_transformer_blocks.0.norm.linear.bias",
    "single_transformer_blocks.1.proj_out.weight", "norm_out.linear.bias",
)
# The caption of each of three images, the first and the last of one text.
LENGTHS = {"a": 5, "b": 3}
CAPTIONS = ["a", "b", "a"]


def make_batch(model, size, generator):
    config = model.config
    return {
        "x": torch.randn(3, config.in_channels // 4, *size, generator=generator),
        "times": torch.tensor([1000.0, 1.5, 421.25]),
        "pooled": torch.randn(3, config.pooled_projection_dim, generator=generator),
        **{name: torch.randn(n, config.joint_attention_dim, generator=generator) for name, n in LENGTHS.items()},
    }


def call(model, batch):
    channels, height, width = batch["x"].shape[1:]
    places = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float32)

    def image(i):
        caption = batch[CAPTIONS[i]][None]
        out = model(
            hidden_states=FluxPipeline._pack_latents(batch["x"][i : i + 1], 1, channels, height, width),
            encoder_hidden_states=caption, pooled_projections=batch["pooled"][i : i + 1],
            timestep=batch["times"][i : i + 1] / 1000, img_ids=places, txt_ids=torch.zeros(caption.shape[1], 3),
            guidance=torch.tensor([GUIDANCE]) if model.config.guidance_embeds else None,
        ).sample
        # Heights and widths are those of pictures, which an autoencoder makes eight times as large.
        return FluxPipeline._unpack_latents(out, 8 * height, 8 * width, 8)

    return torch.cat([image(i) for i in range(3)])


def golden_lora(model, folder, size, generator):
    """An adapter whose alpha is not its rank, as diffusers' training scripts write it."""
    targets = ["attn.add_k_proj", "attn.to_add_out", "attn.to_q", "attn.to_out.0", "ff.net.2", "proj_out", "x_embedder"]
    model.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=targets))
    randomise_adapter(model, generator)
    FluxPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    batch = make_batch(model, size, generator)
    with torch.no_grad():
        return as_written(batch, size, call(model, batch))


def main():
    torch.set_num_threads(1)
    for seed, (name, (config, sizes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(seed)
        model = FluxTransformer2DModel(**config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        calls = [
            golden_call(model, make_batch(model, size, generator), size, call, WRITTEN, generator) for size in sizes
        ]
        more = {"lora": golden_lora(model, folder, sizes[0], generator)} if name == "dev" else {}
        write(folder, guidance=GUIDANCE, calls=calls, **more)


if __name__ == "__main__":
    main()

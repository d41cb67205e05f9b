"""Tiny random transformers of Stable Diffusion 3, and what diffusers says of them: outputs, gradients, adapters.

Run from the repository's root: python tests/golden/sd3.py
Writes tests/golden/sd3/<case>/{config.json,diffusion_pytorch_model.safetensors,expected.json}, and a LoRA file of diffusers
for one of them. The versions used are in expected.json. diffusers has no mask for captions here: each image is computed
alone, with a caption of its own length, and gradients add up.
"""

import pathlib
import shutil

import torch
from diffusers import SD3Transformer2DModel
from diffusers.loaders import SD3LoraLoaderMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from denoisers import as_written, golden_call, randomise, randomise_adapter, write

FOLDER = pathlib.Path(__file__).parent / "sd3"
SMALL = {
    "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 2, "attention_head_dim": 6,
    "num_attention_heads": 2, "joint_attention_dim": 10, "caption_projection_dim": 12, "pooled_projection_dim": 7,
    "pos_embed_max_size": 6,
}
CASES = {
    "sd3": (SMALL, [(8, 8), (4, 10)]),
    "sd35": (
        SMALL | {"num_layers": 3, "dual_attention_layers": (0, 2), "qk_norm": "rms_norm", "sample_size": 4},
        [(4, 6)],
    ),
    "pixels": (SMALL | {"patch_size": 1, "in_channels": 3, "out_channels": 3, "num_layers": 1}, [(3, 4)]),
}
# Parameters whose gradients are written out; of all others there is the norm.
WRITTEN = (
    "pos_embed.proj.weight", "time_text_embed.text_embedder.linear_1.weight", "context_embedder.bias", "proj_out.weight",
    "transformer_blocks.0.norm1.linear.bias", "transformer_blocks.0.norm1_context.linear.bias",
    "transformer_blocks.0.attn.add_k_proj.weight", "norm_out.linear.bias",
)
# The caption of each of three images, the first and the last of one text.
LENGTHS = {"a": 5, "b": 3}
CAPTIONS = ["a", "b", "a"]


def make_batch(model, size, generator):
    config = model.config
    return {
        "x": torch.randn(3, config.in_channels, *size, generator=generator),
        "times": torch.tensor([1000.0, 1.5, 421.25]),
        "pooled": torch.randn(3, config.pooled_projection_dim, generator=generator),
        **{name: torch.randn(n, config.joint_attention_dim, generator=generator) for name, n in LENGTHS.items()},
    }


def call(model, batch):
    image = lambda i: model(
        hidden_states=batch["x"][i : i + 1], encoder_hidden_states=batch[CAPTIONS[i]][None],
        pooled_projections=batch["pooled"][i : i + 1], timestep=batch["times"][i : i + 1],
    ).sample
    return torch.cat([image(i) for i in range(3)])


def is_idle(model):
    """The last block's caption ends in its attention: what it would ask there has no effect."""
    last = f"transformer_blocks.{model.config.num_layers - 1}.attn."
    return lambda name: name.startswith((last + "add_q_proj", last + "norm_added_q"))


def golden_lora(model, folder, size, generator):
    """An adapter whose alpha is not its rank, as diffusers' training scripts write it."""
    targets = ["attn.add_k_proj", "attn.to_add_out", "attn.to_q", "attn.to_out.0", "ff.net.2", "proj"]
    model.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=targets))
    randomise_adapter(model, generator)
    SD3LoraLoaderMixin.save_lora_weights(
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
        model = SD3Transformer2DModel(**config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        calls = [
            golden_call(model, make_batch(model, size, generator), size, call, WRITTEN, generator, is_idle(model))
            for size in sizes
        ]
        more = {"lora": golden_lora(model, folder, sizes[0], generator)} if name == "sd35" else {}
        write(folder, calls=calls, **more)


if __name__ == "__main__":
    main()

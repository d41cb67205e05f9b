"""Tiny random transformers of Stable Diffusion 3, and what diffusers says of them: outputs, gradients, adapters.

Run from the repository's root: python tests/golden/sd3.py
Writes tests/golden/sd3/<case>/{config.json,diffusion_pytorch_model.safetensors,expected.json}, and a LoRA file of diffusers
for one of them. The versions used are in expected.json. diffusers has no mask for captions here: each image is computed
alone, with a caption of its own length, and gradients add up.
"""

import json
import pathlib
import shutil

import diffusers
import peft
import torch
from diffusers import SD3Transformer2DModel
from diffusers.loaders import SD3LoraLoaderMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

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


def randomise(model, generator):
    """Numbers large enough that every part of the model matters."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.data = noise * (1.5 / parameter[0].numel()) ** 0.5
        elif name.endswith("bias"):
            parameter.data = noise * 0.1
        else:
            parameter.data = 1 + noise * 0.1


def flat(tensor):
    return [float(f"{x:.8g}") for x in tensor.detach().flatten().tolist()]


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


def golden_call(model, size, generator):
    batch = make_batch(model, size, generator)
    batch["x"].requires_grad_()
    model.zero_grad()
    out = call(model, batch)
    slopes = torch.randn(out.shape, generator=generator)
    (out * slopes).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    last = f"transformer_blocks.{model.config.num_layers - 1}.attn."
    # The last block's caption ends in its attention: what it would ask there has no effect.
    idle = {name for name in gradients if name.startswith((last + "add_q_proj", last + "norm_added_q"))}
    assert all(g is not None and (float(g.norm()) > 0) != (name in idle) for name, g in gradients.items())
    return {
        "size": list(size),
        "inputs": {name: flat(value) for name, value in batch.items()},
        "output": flat(out),
        "slopes": flat(slopes),
        "input_gradient": flat(batch["x"].grad),
        "gradients": {name: flat(gradients[name]) for name in WRITTEN},
        "gradient_norms": {name: float(f"{g.norm():.8g}") for name, g in gradients.items()},
    }


def golden_lora(model, folder, size, generator):
    """An adapter whose alpha is not its rank, as diffusers' training scripts write it."""
    targets = ["attn.add_k_proj", "attn.to_add_out", "attn.to_q", "attn.to_out.0", "ff.net.2", "proj"]
    model.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=targets))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    SD3LoraLoaderMixin.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    batch = make_batch(model, size, generator)
    with torch.no_grad():
        out = call(model, batch)
    return {"size": list(size), "inputs": {name: flat(value) for name, value in batch.items()}, "output": flat(out)}


def main():
    torch.set_num_threads(1)
    for seed, (name, (config, sizes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(seed)
        model = SD3Transformer2DModel(**config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}
        expected = {"versions": versions, "calls": [golden_call(model, size, generator) for size in sizes]}
        if name == "sd35":
            expected["lora"] = golden_lora(model, folder, sizes[0], generator)
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()

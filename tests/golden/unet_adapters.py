"""Adapters of a UNet in the files of each writer: diffusers' of a model alone, PEFT's folder, a state as it is in memory.

Run from the repository's root, after unet.py: python tests/golden/unet_adapters.py
Writes tests/golden/unet_adapters/<case>/ with what the writer wrote, and expected.json: one batch for the UNet of
tests/golden/unet/sd1 and its output with each adapter. The versions used are in it.
"""

import json
import pathlib
import shutil

import diffusers
import peft
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from unet import call, flat, make_batch

FOLDER = pathlib.Path(__file__).parent / "unet_adapters"
BASE = pathlib.Path(__file__).parent / "unet" / "sd1"
MIDDLE = "mid_block.attentions.0.transformer_blocks.0"
SETTINGS = {
    # The strength of each layer by all that decides it.
    "alone": dict(
        r=2, lora_alpha=8, use_rslora=True, target_modules=["to_q", "to_k", "to_out.0", "conv1", "ff.net.0.proj"],
        rank_pattern={"to_k": 3, "conv1": 1}, alpha_pattern={"conv1": 5, f"{MIDDLE}.attn1.to_q": 1},
    ),
    # Tensors that take the place of the base's, beside the factors.
    "peft": dict(
        r=2, lora_alpha=6, target_modules=["to_v", "time_emb_proj"], bias="lora_only", modules_to_save=["conv_in"],
    ),
    "memory": dict(r=2, lora_alpha=2, target_modules=["to_q", "conv_shortcut"]),
}


def randomise(model, generator):
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.2


def write(name, model):
    """The files of a case, from a model with its adapter."""
    folder = FOLDER / name
    if name == "alone":
        model.save_lora_adapter(folder)
    elif name == "peft":
        model.save_pretrained(folder)
        (folder / "README.md").unlink()
    else:
        folder.mkdir(parents=True)
        state = {key: value.contiguous() for key, value in model.state_dict().items() if ".lora_" in key}
        save_file(state, folder / "pytorch_lora_weights.safetensors")


def main():
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    generator = torch.Generator().manual_seed(11)
    batch = make_batch(UNet2DConditionModel.from_pretrained(BASE), (4, 4), generator)
    outputs = {}
    for name, settings in SETTINGS.items():
        model = UNet2DConditionModel.from_pretrained(BASE).eval()
        config = LoraConfig(init_lora_weights=False, **settings)
        if name == "peft":
            adapted = get_peft_model(model, config)
        else:
            model.add_adapter(config)
            adapted = model
        randomise(adapted, generator)
        write(name, adapted)
        with torch.no_grad():
            outputs[name] = flat(call(model.eval(), batch))
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}
    inputs = {name: flat(value.float()) for name, value in batch.items()}
    expected = {"versions": versions, "size": [4, 4], "inputs": inputs, "outputs": outputs}
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()

"""LoRA files of other trainers: diffusers' own reading of them against hybrid-dpo's, as merged weights.

    pip install torch diffusers transformers peft safetensors
    cargo build --release
    python tests/peers/lora_names.py --binary target/release/hybrid-dpo

Each file has random factors for every layer that it can name, in kohya's names (SD 1 in
those of diffusers, SDXL in those of the original checkpoint, FLUX.1 in both) or in the original's paths. `merge` writes the
pipeline with them in it; diffusers loads the same file with `load_lora_weights` and fuses it; every weight is compared. Where a UNet's alphas
differ diffusers loses those of attention, so they are alike there; of FLUX.1 it drops the layers outside of the blocks, which
are added here by their formula. diffusers reads no such names of Stable Diffusion 3: there its own conversion of whole original checkpoints says what is expected. Its
conversion of FLUX.1 has the released width written into it, which is replaced by the tiny model's. The last line is the count of
checks.
"""

import argparse
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import diffusers
import torch
from diffusers import FluxPipeline, SD3Transformer2DModel, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.loaders import lora_conversion_utils, lora_pipeline, single_file_utils
from safetensors.torch import load_file, save_file

from checks import Checks
from pipelines import FOLDERS, flux

diffusers.utils.logging.disable_progress_bar()
ALLOWED = 1e-5
RANDOM = torch.Generator().manual_seed(5)
PARTS = {"unet": "diffusion_pytorch_model", "transformer": "diffusion_pytorch_model", "text_encoder": "model",
         "text_encoder_2": "model"}


def factors(name, shape, is_varied=True):
    """Random factors of a layer; varied ones have other ranks and alphas, and a third has no alpha, which then is the rank."""
    rank = 2 + len(name) % 3 if is_varied else 4
    down = torch.randn(rank, *shape[1:], generator=RANDOM) * 0.1
    up = torch.randn(shape[0], rank, *([1] * (len(shape) - 2)), generator=RANDOM) * 0.1
    found = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    if not is_varied:
        found[f"{name}.alpha"] = torch.tensor(3.0)
    elif len(name) % 3:
        found[f"{name}.alpha"] = torch.tensor(1.0 + len(name) % 5)
    return found


def change(found, name, shape):
    """What the factors of a layer add to its weight."""
    down, up = (found[f"{name}.lora_{side}.weight"] for side in ("down", "up"))
    alpha = found.get(f"{name}.alpha", torch.tensor(float(len(down)))).item()
    return (up.reshape(shape[0], -1) @ down.reshape(len(down), -1)).reshape(shape) * alpha / len(down)


def layers(model):
    """The shapes of a module's linear layers and convolutions."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {name: list(module.weight.shape) for name, module in model.named_modules() if isinstance(module, kinds)}


def of_text(model, prefix, is_varied=False):
    """kohya adapts the layers of the blocks."""
    named = {name: shape for name, shape in layers(model).items() if ".layers." in name}
    spelled = lambda name: f"{prefix}{name if name.startswith('text_model') else 'text_model.' + name}".replace(".", "_")
    return {key: value for name, shape in named.items() for key, value in factors(spelled(name), shape, is_varied).items()}


def original_unet(name, unet):
    """The path of a UNet's layer in the original checkpoint."""
    n = unet.config.layers_per_block + 1
    parts = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    fixed = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
             "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
             "add_embedding.linear_2": "label_emb.0.2"}
    if name in fixed:
        return fixed[name]
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, index, rest = found.groups()
        place = 1 if kind == "attentions" else 2 * int(index)
        return f"middle_block.{place}.{parts.get(rest, rest)}"
    side, block, kind, index, rest = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name).groups()
    start = int(block) * n + (side == "down")
    if kind == "downsamplers":
        return f"input_blocks.{start + n - 1}.0.op"
    if kind == "upsamplers":
        has_attention = hasattr(unet.up_blocks[int(block)], "attentions")
        return f"output_blocks.{start + n - 1}.{2 if has_attention else 1}.{rest}"
    stem = "input_blocks" if side == "down" else "output_blocks"
    return f"{stem}.{start + int(index)}.{int(kind == 'attentions')}.{parts.get(rest, rest)}"


def stable_diffusion(pipe):
    found = {}
    for name, shape in layers(pipe.unet).items():
        found |= factors("lora_unet_" + name.replace(".", "_"), shape, False)
    return found | of_text(pipe.text_encoder, "lora_te_")


def stable_diffusion_dora(pipe):
    """peft's names, with the magnitude of each output. Those of text encoders diffusers leaves out."""
    found = {}
    for name, shape in layers(pipe.unet).items():
        ones = [1] * (len(shape) - 2)
        magnitude = torch.rand(shape[0], generator=RANDOM) + 0.5
        found |= {
            f"unet.{name}.lora_A.weight": torch.randn(4, *shape[1:], generator=RANDOM) * 0.1,
            f"unet.{name}.lora_B.weight": torch.randn(shape[0], 4, *ones, generator=RANDOM) * 0.1,
            f"unet.{name}.lora_magnitude_vector": magnitude.reshape(1, -1, *ones) if ones else magnitude,
        }
    return found


def stable_diffusion_xl(pipe):
    found = {}
    for name, shape in layers(pipe.unet).items():
        # An upsampler without attention before it is one that diffusers' conversion mistakes for attention.
        path = original_unet(name, pipe.unet)
        if not re.fullmatch(r"output_blocks\.\d+\.1\.conv", path):
            found |= factors("lora_unet_" + path.replace(".", "_"), shape, False)
    return found | of_text(pipe.text_encoder, "lora_te1_") | of_text(pipe.text_encoder_2, "lora_te2_")


def flux_shapes(config):
    """The layers of an original checkpoint of FLUX.1."""
    width = config.num_attention_heads * config.attention_head_dim
    shapes = {
        "img_in": [width, config.in_channels], "txt_in": [width, config.joint_attention_dim],
        "time_in.in_layer": [width, 256], "time_in.out_layer": [width, width], "guidance_in.in_layer": [width, 256],
        "guidance_in.out_layer": [width, width], "vector_in.in_layer": [width, config.pooled_projection_dim],
        "vector_in.out_layer": [width, width], "final_layer.linear": [config.in_channels, width],
        "final_layer.adaLN_modulation.1": [2 * width, width],
    }
    for i in range(config.num_layers):
        for stream in ("img", "txt"):
            shapes |= {
                f"double_blocks.{i}.{stream}_attn.qkv": [3 * width, width],
                f"double_blocks.{i}.{stream}_attn.proj": [width, width],
                f"double_blocks.{i}.{stream}_mlp.0": [4 * width, width],
                f"double_blocks.{i}.{stream}_mlp.2": [width, 4 * width],
                f"double_blocks.{i}.{stream}_mod.lin": [6 * width, width],
            }
    for i in range(config.num_single_layers):
        shapes |= {
            f"single_blocks.{i}.linear1": [7 * width, width], f"single_blocks.{i}.linear2": [width, 5 * width],
            f"single_blocks.{i}.modulation.lin": [3 * width, width],
        }
    return shapes


OUTSIDE = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1", "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out", "final_layer.adaLN_modulation.1": "norm_out.linear",
}


def add_outside(pipe, file):
    """Adds the layers of FLUX.1 outside of the blocks, of which diffusers loads none."""
    shapes, found = flux_shapes(pipe.transformer.config), load_file(file)
    for path, layer in OUTSIDE.items():
        name = "lora_unet_" + path.replace(".", "_")
        if f"{name}.lora_up.weight" in found:
            delta = change(found, name, shapes[path])
            if layer == "norm_out.linear":  # shift before scale there
                delta = torch.cat(delta.chunk(2)[::-1])
            pipe.transformer.get_submodule(layer).weight.data += delta


def flux_kohya(pipe):
    found = {}
    for name, shape in flux_shapes(pipe.transformer.config).items():
        found |= factors("lora_unet_" + name.replace(".", "_"), shape)
    return found | of_text(pipe.text_encoder, "lora_te1_", True)


def flux_paths(pipe):
    found = {}
    for name, shape in flux_shapes(pipe.transformer.config).items():
        if name not in OUTSIDE:
            found |= factors("diffusion_model." + name, shape)
    return found


def flux_diffusers_names(pipe):
    found = {}
    for name, shape in layers(pipe.transformer).items():
        # Of blocks diffusers reads the attention's layers in this spelling.
        if ".attn." in name or "blocks" not in name:
            more = factors("lora_transformer_" + name.replace(".", "_"), shape)
            found |= more | {f"lora_transformer_{name.replace('.', '_')}.alpha": torch.tensor(3.0)}
    return found


def sized_for(width):
    """diffusers' conversion with another width in it."""
    def sized(function, space):
        source = inspect.getsource(function).replace("3072", str(width)).replace("12288", str(4 * width))
        exec(source, space)  # noqa: S102
        return space[function.__name__]

    name = "_convert_kohya_flux_lora_to_diffusers"
    setattr(lora_pipeline, name, sized(getattr(lora_conversion_utils, name), vars(lora_conversion_utils)))


def merge(binary, model, file, out):
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([binary, "merge", "--model", f"{model}+{file}", "--out", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return {part: load_file(out / part / f"{stem}.safetensors") for part, stem in PARTS.items() if (out / part).is_dir()}


def compare(check, what, found, expected, base):
    """The largest difference, and that every layer of the file changed its weight."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    worst = max((found[name] - expected[name]).abs().max().item() for name in expected)
    check(f"{what}: merged weights", worst, ALLOWED)
    moved = sum((expected[name] - base[name]).abs().max().item() > 100 * ALLOWED for name in expected)
    check(f"{what}: {moved} weights changed", 0 if moved > 5 else 1, 0)


def check_pipeline(check, what, binary, kind, model, make, folder):
    pipe = kind.from_pretrained(model)
    file = folder / f"{what.replace(' ', '-')}.safetensors"
    tensors = make(pipe)
    save_file(tensors, file)
    base = {part: {n: t.clone() for n, t in getattr(pipe, part).state_dict().items()} for part in PARTS if hasattr(pipe, part)}
    found = merge(binary, model, file, folder / "merged")
    pipe.load_lora_weights(folder, weight_name=file.name)
    pipe.fuse_lora(components=[part for part in ("unet", "transformer", "text_encoder", "text_encoder_2") if part in pipe._lora_loadable_modules])
    pipe.unload_lora_weights()
    if kind is FluxPipeline:
        add_outside(pipe, file)
    for part, tensors in found.items():
        expected = getattr(pipe, part).state_dict()
        expected = {name: expected[name] for name in tensors}
        if any((expected[name] - base[part][name]).abs().max() > 0 for name in expected):
            compare(check, f"{what}: {part}", tensors, expected, base[part])
        else:
            worst = max((tensors[name] - expected[name]).abs().max().item() for name in expected)
            check(f"{what}: {part} is as it was", worst, 0)


def sd3_original(config):
    """A random original checkpoint of Stable Diffusion 3.5."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    shapes = {
        "x_embedder.proj": [width, config["in_channels"], 2, 2], "context_embedder": [width, config["joint_attention_dim"]],
        "t_embedder.mlp.0": [width, 256], "t_embedder.mlp.2": [width, width],
        "y_embedder.mlp.0": [width, config["pooled_projection_dim"]], "y_embedder.mlp.2": [width, width],
        "final_layer.linear": [4 * config["in_channels"], width], "final_layer.adaLN_modulation.1": [2 * width, width],
    }
    norms = {}
    for i in range(config["num_layers"]):
        is_last, is_dual = i + 1 == config["num_layers"], i in config["dual_attention_layers"]
        for block in ("x_block", "context_block"):
            name = lambda part: f"joint_blocks.{i}.{block}.{part}"
            ends = is_last and block == "context_block"
            shapes[name("attn.qkv")] = [3 * width, width]
            norms |= {name(f"attn.ln_{x}.weight"): [config["attention_head_dim"]] for x in "qk"}
            count = 2 if ends else 9 if is_dual and block == "x_block" else 6
            shapes[name("adaLN_modulation.1")] = [count * width, width]
            if not ends:
                shapes |= {name("attn.proj"): [width, width], name("mlp.fc1"): [4 * width, width], name("mlp.fc2"): [width, 4 * width]}
            if is_dual and block == "x_block":
                shapes |= {name("attn2.qkv"): [3 * width, width], name("attn2.proj"): [width, width]}
                norms |= {name(f"attn2.ln_{x}.weight"): [config["attention_head_dim"]] for x in "qk"}
    state = {f"{name}.weight": torch.randn(shape, generator=RANDOM) * 0.1 for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.randn(shape[0], generator=RANDOM) * 0.1 for name, shape in shapes.items()}
    return shapes, state | {name: torch.ones(shape) for name, shape in norms.items()}


def check_sd3(check, binary, folder):
    config = json.loads((FOLDERS.parent / "sd3" / "sd35" / "config.json").read_text())
    model = SD3Transformer2DModel.from_config(config)
    shapes, original = sd3_original(config)
    original["pos_embed"] = model.state_dict()["pos_embed.pos_embed"]
    converted = lambda state: single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(state))
    base = converted(original)
    model.load_state_dict(base)
    model.save_pretrained(folder / "sd35")
    tensors = {}
    for name, shape in shapes.items():
        spelled = "lora_unet_" + name.replace(".", "_")
        tensors |= factors(spelled, shape)
        original[f"{name}.weight"] = original[f"{name}.weight"] + change(tensors, spelled, shape)
    save_file(tensors, folder / "sd3.safetensors")
    merged = folder / "sd35-merged"
    subprocess.run([binary, "merge", "--model", f"{folder / 'sd35'}+{folder / 'sd3.safetensors'}", "--out", merged, "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
    found = load_file(next(merged.rglob("diffusion_pytorch_model.safetensors")))
    compare(check, "SD 3.5, original names", found, converted(original), base)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    binary = os.path.abspath(parser.parse_args().binary)
    check = Checks()

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tiny = flux(folder / "flux", True)
        sized_for(16)
        for what, kind, model, make in (
            ("SD 1, kohya", StableDiffusionPipeline, FOLDERS / "sd", stable_diffusion),
            ("SD 1, DoRA in peft's names", StableDiffusionPipeline, FOLDERS / "sd", stable_diffusion_dora),
            ("SDXL, kohya with original names", StableDiffusionXLPipeline, FOLDERS / "sdxl", stable_diffusion_xl),
            ("FLUX.1, kohya with original names", FluxPipeline, tiny, flux_kohya),
            ("FLUX.1, original paths", FluxPipeline, tiny, flux_paths),
            ("FLUX.1, kohya with diffusers' names", FluxPipeline, tiny, flux_diffusers_names),
        ):
            try:
                check_pipeline(check, what, binary, kind, model, make, folder)
            except (subprocess.CalledProcessError, OSError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
                check(f"{what}: {error!r:.300}", float("inf"), 0)
        check_sd3(check, binary, folder)
    check.end()


if __name__ == "__main__":
    main()

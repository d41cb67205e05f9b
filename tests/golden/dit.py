"""Tiny random transformers of PixArt and DiT, and what diffusers says of them: outputs, gradients, adapters.

Run from the repository's root: python tests/golden/dit.py
Writes tests/golden/dit/<case>/{config.json,diffusion_pytorch_model.safetensors,expected.json}, and an adapter of PEFT for one
of them; and prompts.json, what the pipeline reads of texts. The versions used are in expected.json. A variance that is predicted too has no slopes. Captions of different
lengths are padded with numbers and masked, as pipelines do.
"""

import json
import pathlib
import shutil

import torch
from diffusers import DiTTransformer2DModel, PixArtAlphaPipeline, PixArtTransformer2DModel
from peft import LoraConfig, get_peft_model
from transformers import T5EncoderModel, T5Tokenizer

from denoisers import as_written, flat, golden_call, randomise_adapter, write

FOLDER = pathlib.Path(__file__).parent / "dit"
SMALL = {"sample_size": 8, "patch_size": 2, "in_channels": 4, "num_layers": 2, "attention_head_dim": 6, "num_attention_heads": 2}
CASES = {
    # With the variance of released models, a step of positions of its own, and captions as wide as companions/t5.
    "pixart": (
        PixArtTransformer2DModel,
        SMALL | {"out_channels": 8, "cross_attention_dim": 12, "caption_channels": 44, "interpolation_scale": 2},
        [(8, 8), (4, 10)],
    ),
    # Told sizes; captions that are not projected, and no bias.
    "sizes": (
        PixArtTransformer2DModel,
        SMALL | {"out_channels": None, "cross_attention_dim": 10, "use_additional_conditions": True, "attention_bias": False,
                 "activation_fn": "gelu", "norm_eps": 1e-3},
        [(4, 6)],
    ),
    "dit": (DiTTransformer2DModel, SMALL | {"out_channels": 8, "num_embeds_ada_norm": 5}, [(8, 8), (4, 4)]),
    "pixels": (
        DiTTransformer2DModel,
        SMALL | {"patch_size": 1, "in_channels": 3, "num_layers": 1, "num_embeds_ada_norm": 3, "sample_size": 3},
        [(3, 3)],
    ),
}
# Parameters whose gradients are written out; of all others there is the norm.
WRITTEN = (
    "pos_embed.proj.weight", "scale_shift_table", "transformer_blocks.0.scale_shift_table", "proj_out.weight",
    "adaln_single.linear.bias", "adaln_single.emb.resolution_embedder.linear_1.weight", "caption_projection.linear_1.bias",
    "transformer_blocks.0.attn2.to_v.weight", "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight",
    "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2.bias", "proj_out_1.bias", "proj_out_2.weight",
)
# The caption of each of three images, the first and the last of one text.
LENGTHS = {"a": 5, "b": 3}
CAPTIONS = ["a", "b", "a"]
CLASSES = [2, 0, 3]


def randomise(model, generator):
    """Numbers large enough that every part of the model matters."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("scale_shift_table") or "embedding_table" in name:
            parameter.data = noise * 0.5
        elif parameter.dim() > 1:
            parameter.data = noise * (1.5 / parameter[0].numel()) ** 0.5
        else:
            parameter.data = noise * 0.1


def make_batch(model, size, generator):
    config = model.config
    batch = {
        "x": torch.randn(3, config.in_channels, *size, generator=generator), "times": torch.tensor([999.0, 1.0, 421.0]),
    }
    if isinstance(model, DiTTransformer2DModel):
        return batch | {"classes": torch.tensor(CLASSES)}
    width = config.caption_channels or config.cross_attention_dim
    batch |= {name: torch.randn(n, width, generator=generator) for name, n in LENGTHS.items()}
    return batch | {"sizes": torch.tensor([[64.0, 96], [100, 100], [32, 16]])}


def call(model, batch):
    """The prediction without a variance."""
    kept = model.config.in_channels
    if isinstance(model, DiTTransformer2DModel):
        return model(batch["x"], timestep=batch["times"], class_labels=batch["classes"]).sample[:, :kept]
    longest = max(LENGTHS.values())
    padded = [torch.nn.functional.pad(batch[name], (0, 0, 0, longest - len(batch[name])), value=3.0) for name in CAPTIONS]
    mask = torch.tensor([[1] * LENGTHS[name] + [0] * (longest - LENGTHS[name]) for name in CAPTIONS])
    sizes = batch["sizes"]
    return model(
        batch["x"], encoder_hidden_states=torch.stack(padded), timestep=batch["times"], encoder_attention_mask=mask,
        added_cond_kwargs={"resolution": sizes, "aspect_ratio": sizes[:, :1] / sizes[:, 1:]},
    ).sample[:, :kept]


def golden_lora(model, folder, size, generator):
    """An adapter whose alpha is not its rank, as PEFT writes it: pipelines of these models have no loader of their own."""
    targets = ["attn1.to_q", "attn2.to_v", "attn1.to_out.0", "ff.net.2", "proj", "adaln_single.linear"]
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=targets))
    randomise_adapter(adapted, generator)
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    # A set, whose order changes from run to run.
    path = folder / "adapter" / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["target_modules"].sort()
    path.write_text(json.dumps(settings, indent=1) + "\n")
    batch = make_batch(model, size, generator)
    with torch.no_grad():
        return as_written(batch, size, call(model, batch))


def golden_prompts():
    """The states of texts that are not masked, by the encoder of companions/t5."""
    t5 = FOLDER.parent / "companions" / "t5"
    pipe = PixArtAlphaPipeline(
        tokenizer=T5Tokenizer.from_pretrained(t5 / "tokenizer_3"),
        text_encoder=T5EncoderModel.from_pretrained(t5 / "text_encoder_3"), vae=None, transformer=None, scheduler=None,
    )
    texts = ["", " A Red CIRCLE\t", "hello! hello!", "Red " * 130]
    states, mask, _, _ = pipe.encode_prompt(texts, False, device="cpu", clean_caption=False)
    kept = [flat(of_text[of_mask.bool()]) for of_text, of_mask in zip(states, mask)]
    # All of the last text's states would be many numbers: those of its last token.
    kept[-1] = kept[-1][-states.shape[-1] :]
    lengths = mask.sum(dim=1).tolist()
    (FOLDER / "prompts.json").write_text(json.dumps({"texts": texts, "lengths": lengths, "states": kept}) + "\n")


def main():
    torch.set_num_threads(1)
    for seed, (name, (kind, config, sizes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(seed)
        model = kind(**config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        calls = [golden_call(model, make_batch(model, size, generator), size, call, WRITTEN, generator) for size in sizes]
        more = {"lora": golden_lora(model, folder, sizes[0], generator)} if name == "pixart" else {}
        write(folder, calls=calls, **more)
    golden_prompts()


if __name__ == "__main__":
    main()

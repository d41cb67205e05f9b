"""Tiny random transformers of Z-Image, and what diffusers says of them: outputs, gradients, adapters.

Run from the repository's root: python tests/golden/zimage.py
Writes tests/golden/zimage/<case>/{config.json,diffusion_pytorch_model.safetensors,expected.json}, a LoRA file of diffusers for
one of them, and tests/golden/zimage/pipeline, which is a whole pipeline with the first case as its transformer/. The versions used are in expected.json. Weights are stored in bfloat16, as the released model's are: the width of
the timestep's network is fixed, so most of them are its. Times and signs are those of the pipeline.
"""

import pathlib
import shutil

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from diffusers.loaders import ZImageLoraLoaderMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from denoisers import as_written, flat, golden_call, randomise, randomise_adapter, write

FOLDER = pathlib.Path(__file__).parent / "zimage"
SMALL = {
    "in_channels": 4, "dim": 16, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 10,
    "axes_dims": [2, 4, 2], "axes_lens": [256, 8, 8],
}
CASES = {
    "zimage": (SMALL, [(8, 8), (4, 10)]),
    # The second image needs no row to fill up its patches.
    "plain": (
        SMALL | {"dim": 12, "n_layers": 1, "n_refiner_layers": 0, "n_heads": 1, "axes_dims": [4, 2, 6], "qk_norm": False,
                 "rope_theta": 100.0, "t_scale": 500.0, "norm_eps": 1e-3, "in_channels": 3},
        [(2, 6), (8, 16)],
    ),
}
# Parameters whose gradients are written out; of all others there is the norm.
WRITTEN = (
    "x_pad_token", "cap_pad_token", "all_x_embedder.2-1.weight", "all_final_layer.2-1.adaLN_modulation.1.bias",
    "cap_embedder.0.weight", "t_embedder.mlp.2.bias", "layers.0.adaLN_modulation.0.bias", "layers.0.attention.to_k.weight",
)
# The caption of each of three images, the first and the last of one text, which is filled up to 64 rows.
LENGTHS = {"a": 37, "b": 3}
CAPTIONS = ["a", "b", "a"]


def make_batch(model, size, generator):
    config = model.config
    return {
        "x": torch.randn(3, config.in_channels, *size, generator=generator),
        "times": torch.tensor([1000.0, 1.5, 421.25]),
        **{name: torch.randn(n, config.cap_feat_dim, generator=generator) for name, n in LENGTHS.items()},
    }


def call(model, batch):
    images = list(batch["x"].unsqueeze(2).unbind(0))
    out = model(images, (1000 - batch["times"]) / 1000, [batch[name] for name in CAPTIONS], return_dict=False)[0]
    return -torch.stack(out).squeeze(2)


def is_idle(size):
    """Patches in multiples of 32 are filled up with no row."""
    return lambda name: name == "x_pad_token" and size[0] * size[1] % 128 == 0


def golden_lora(model, folder, size, generator):
    """An adapter whose alpha is not its rank, as diffusers' training scripts write it."""
    targets = ["to_k", "to_q", "to_v", "to_out.0", "feed_forward.w2", "0.adaLN_modulation.0", "cap_embedder.1", "2-1"]
    model.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=targets, exclude_modules=["all_final_layer.2-1"]))
    randomise_adapter(model, generator)
    ZImageLoraLoaderMixin.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    batch = make_batch(model, size, generator)
    with torch.no_grad():
        return as_written(batch, size, call(model, batch))


def tokenizer():
    """Byte pairs of Qwen's kind with a few merges, and a chat template that shows whether it was told to think."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    merges = [("t", "h"), ("th", "e"), ("\u0120", "a"), ("r", "e"), ("\u0120", "d"), ("o", "g"), ("\u0120d", "og")]
    tokens = [*alphabet, *("".join(pair) for pair in merges)]
    words = Qwen2Tokenizer(vocab={token: id for id, token in enumerate(tokens)}, merges=merges, model_max_length=1024)
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<think>"]})
    words.chat_template = (
        "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking %}{{ '<think>' }}{% endif %}{% endif %}"
    )
    return words


@torch.no_grad()
def golden_pipeline(transformer):
    """A pipeline around a transformer, which is not written again, and what it makes of prompts."""
    words, generator = tokenizer(), torch.Generator().manual_seed(7)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=transformer.config.cap_feat_dim, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=6, max_position_embeddings=1024,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=transformer.config.in_channels,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.3611,
        shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )
    parts = {"vae": vae, "text_encoder": Qwen3Model(config)}
    for part in parts.values():
        for name, parameter in sorted(part.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_norm else 0.25 * noise)
        part.eval()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe = ZImagePipeline(scheduler=scheduler, tokenizer=words, transformer=transformer, **parts)
    folder = FOLDER / "pipeline"
    shutil.rmtree(folder, ignore_errors=True)
    pipe.save_pretrained(folder)
    shutil.rmtree(folder / "transformer")
    prompts = ["a red circle", "the dog", ""]
    asked = [{"role": "user", "content": prompt} for prompt in prompts]
    frame = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": True}
    write(
        folder,
        versions={"diffusers": diffusers.__version__, "transformers": transformers.__version__},
        prompts=prompts,
        framed=[words.apply_chat_template([message], **frame) for message in asked],
        states=[flat(states) for states in pipe.encode_prompt(list(prompts), "cpu", False)[0]],
    )


def main():
    torch.set_num_threads(1)
    for seed, (name, (config, sizes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(seed)
        model = ZImageTransformer2DModel(**config).eval()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model.to(torch.bfloat16).save_pretrained(folder)
        model.float()
        calls = [
            golden_call(model, make_batch(model, size, generator), size, call, WRITTEN, generator, is_idle(size))
            for size in sizes
        ]
        more = {}
        if name == "zimage":
            golden_pipeline(model)
            more["lora"] = golden_lora(model, folder, sizes[0], generator)
        write(folder, calls=calls, **more)


if __name__ == "__main__":
    main()

"""Tiny random diffusers folders, and what transformers and diffusers say of their text encoders, tokenizers and VAEs.

Run from the repository's root: python tests/golden/companions.py
Writes tests/golden/companions/{sd,sdxl,sd3,t5,ddpm,vae}/, expected.safetensors and expected.json, which has the versions used.
"""

import collections
import importlib.metadata
import json
import pathlib
import re
import shutil
import sys

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer,
)

OUT = pathlib.Path(__file__).parent / "companions"
LENGTH = 16
TEXTS = [
    "",
    " ",
    "a red circle",
    "A Red CIRCLE, top left.",
    "a photograph of an astronaut riding a horse",
    "it's a dog's life, isn't it?",
    "we've they'll I'd you're I'm don't",
    "1234 cats & 56.78% dogs",
    "3d render, 8k, trending!!!",
    "hello!",
    "!",
    "! !",
    "wow!amazing",
    "caf\u00e9 na\u00efve \u00fcber",
    "cafe\u0301 decomposed",
    "\u01c5ungla \u0130stanbul \u1e9e",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
    "\u0645\u0631\u062d\u0628\u0627",
    "\U0001f600 grinning \U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "tab\tand\nnewline\r\nand  many   spaces",
    "\u00a0non-breaking\u2003spaces\u3000",
    "underscore_and-hyphen/slash\\back",
    "(((masterpiece:1.3))), [low] {quality}",
    "e-mail: someone@example.org #tag $9.99",
    "...ellipsis... \u2014dash\u2014 \u201cquotes\u201d \u2018single\u2019",
    "it\u2019s curly",
    "'s 't 're 've 'm 'll 'd",
    "'Supper''T'",
    "x\u00b2 + y\u2082 = \u00bd \u2167",
    "<|startoftext|>a red circle<|endoftext|>",
    "a <|endoftext|> b",
    "<|ENDOFTEXT|>",
    "<tag> & &amp; &lt;",
    "null\u0000byte",
    "zero\u200bwidth \ufeffbom",
    "combining a\u0308\u0304 stack",
    "\u1d54f\U0001d54f double-struck",
    "the quick brown fox jumps over the lazy dog and then the very lazy dog jumps over the quick brown fox",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "red red red red red red red red red red red red red red",
    "red red red red red red red red red red red red red red red",
    "supercalifragilisticexpialidocious",
    "\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u0939\u093f\u0928\u094d\u0926\u0940",
]


def byte_characters():
    """GPT-2's alphabet: a printable character for every byte, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}


def learn_merges(texts, n_merges):
    """Byte-pair merges of the most frequent neighbours; ties go to the pair that sorts first."""
    alphabet = byte_characters()
    words = collections.Counter(w for t in texts for w in re.findall(r"[^\W\d_]+", t.lower()))
    pieces = {w: [alphabet[b] for b in w.encode()] for w in words}
    for spelled in pieces.values():
        spelled[-1] += "</w>"
    merges = []
    for _ in range(n_merges):
        pairs = collections.Counter()
        for word, spelled in pieces.items():
            for pair in zip(spelled, spelled[1:]):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for spelled in pieces.values():
            at = 0
            while at < len(spelled) - 1:
                if (spelled[at], spelled[at + 1]) == best:
                    spelled[at : at + 2] = ["".join(best)]
                at += 1
    return merges


def write_tokenizer(folder, pad):
    """The files of a released CLIP tokenizer, with a small vocabulary."""
    merges = learn_merges(TEXTS, 90)
    characters = list(byte_characters().values())
    tokens = [*characters, *(c + "</w>" for c in characters), *("".join(m) for m in merges)]
    tokens = list(dict.fromkeys(tokens)) + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary = {token: id for id, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    special = lambda content: {
        "content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False,
    }
    names = {"bos_token": special("<|startoftext|>"), "eos_token": special("<|endoftext|>"), "pad_token": pad,
             "unk_token": special("<|endoftext|>")}
    (folder / "special_tokens_map.json").write_text(json.dumps(names, indent=2))
    settings = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": LENGTH,
                "tokenizer_class": "CLIPTokenizer"}
    typed = {k: v | {"__type": "AddedToken"} if isinstance(v, dict) else v for k, v in names.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | typed, indent=2))
    return len(tokens)


def randomise(model, seed):
    """Gives every parameter, norms and biases included, numbers of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_norm else 0.25 * noise)
    return model.eval()


def text_config(vocabulary, **settings):
    shared = {"vocab_size": vocabulary, "max_position_embeddings": LENGTH, "bos_token_id": vocabulary - 2}
    return CLIPTextConfig(**shared, **settings)


def vae(**settings):
    blocks = len(settings["block_out_channels"])
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks, **settings,
    )


def unet(cross_attention_dim, **settings):
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross_attention_dim, **settings,
    )


def stable_diffusion():
    size = write_tokenizer(OUT / "sd" / "tokenizer", "<|endoftext|>")
    # Released SD 1 and 2 say 2, which stands for the highest token.
    config = text_config(size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
                         hidden_act="quick_gelu", eos_token_id=2)
    pipe = StableDiffusionPipeline(
        vae=randomise(vae(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4), 1),
        text_encoder=randomise(CLIPTextModel(config), 2),
        tokenizer=CLIPTokenizer.from_pretrained(OUT / "sd" / "tokenizer"),
        unet=randomise(unet(16), 3), scheduler=DDIMScheduler(beta_schedule="scaled_linear"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    return save(pipe, "sd", ["tokenizer"])


def stable_diffusion_xl():
    size = write_tokenizer(OUT / "sdxl" / "tokenizer", "<|endoftext|>")
    write_tokenizer(OUT / "sdxl" / "tokenizer_2", "!")
    first = text_config(size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                        hidden_act="quick_gelu", eos_token_id=size - 1)
    second = text_config(size, hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                         hidden_act="gelu", eos_token_id=size - 1, projection_dim=12)
    pipe = StableDiffusionXLPipeline(
        vae=randomise(vae(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4,
                          scaling_factor=0.13025), 4),
        text_encoder=randomise(CLIPTextModel(first), 5),
        text_encoder_2=randomise(CLIPTextModelWithProjection(second), 6),
        tokenizer=CLIPTokenizer.from_pretrained(OUT / "sdxl" / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(OUT / "sdxl" / "tokenizer_2"),
        unet=randomise(unet(40, addition_embed_type="text_time", addition_time_embed_dim=4,
                            projection_class_embeddings_input_dim=36), 7),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"), add_watermarker=False,
    )
    # tokenizer_2 stays as transformers 5 writes it, with a tokenizer.json.
    return save(pipe, "sdxl", ["tokenizer"])


def stable_diffusion_3():
    """Without T5, in whose place the pipeline puts zeros; CLIP's states are narrower than what the transformer reads."""
    size = write_tokenizer(OUT / "sd3" / "tokenizer", "<|endoftext|>")
    write_tokenizer(OUT / "sd3" / "tokenizer_2", "!")
    first = text_config(size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                        hidden_act="quick_gelu", eos_token_id=size - 1, projection_dim=16)
    second = text_config(size, hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                         hidden_act="gelu", eos_token_id=size - 1, projection_dim=12)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=6,
        num_attention_heads=2, joint_attention_dim=44, caption_projection_dim=12, pooled_projection_dim=28,
        pos_embed_max_size=6, qk_norm="rms_norm", dual_attention_layers=(0,),
    )
    pipe = StableDiffusion3Pipeline(
        vae=randomise(vae(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=16,
                          scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
                      12),
        text_encoder=randomise(CLIPTextModelWithProjection(first), 13),
        text_encoder_2=randomise(CLIPTextModelWithProjection(second), 14), text_encoder_3=None,
        tokenizer=CLIPTokenizer.from_pretrained(OUT / "sd3" / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(OUT / "sd3" / "tokenizer_2"), tokenizer_3=None,
        transformer=randomise(transformer, 15), scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    return save(pipe, "sd3", ["tokenizer", "tokenizer_2"])


def t5(tensors):
    """The third text encoder of Stable Diffusion 3, gated and with few positions of their own, and one of the first version."""
    words = collections.Counter(w for t in TEXTS for w in t.split())
    pieces = {"\u2581": -2.0} | {c: -8.0 for c in sorted({c for w in words for c in w})}
    pieces |= {f"\u2581{w}": -3.0 - 0.1 * i for i, (w, _) in enumerate(words.most_common(40))}
    pieces |= {w[i : i + 3]: -6.0 for w in sorted(words)[::3] for i in range(len(w) - 2)}
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = T5Tokenizer(vocab=special + list(pieces.items()), extra_ids=3, model_max_length=24)
    tokenizer.save_pretrained(OUT / "t5" / "tokenizer_3")
    ids = tokenizer(TEXTS, padding="max_length", max_length=20, truncation=True, return_tensors="pt").input_ids
    settings = {"vocab_size": len(tokenizer), "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 3,
                "relative_attention_num_buckets": 8, "relative_attention_max_distance": 16}
    for seed, (name, more) in enumerate({
        "text_encoder_3": {"d_model": 44, "feed_forward_proj": "gated-gelu"}, "first_version": {"d_model": 16},
    }.items(), 20):
        encoder = randomise(T5EncoderModel(T5Config(**settings, **more)), seed)
        encoder.save_pretrained(OUT / "t5" / name)
        tensors[f"t5/{name}"] = encoder(ids[:11]).last_hidden_state
    return {"ids": ids.tolist()}


def save(pipe, name, as_released):
    """Writes the whole folder; tokenizers named in `as_released` keep the files that older versions write."""
    pipe.set_progress_bar_config(disable=True)
    kept = {t: {f.name: f.read_bytes() for f in (OUT / name / t).iterdir()} for t in as_released}
    pipe.save_pretrained(OUT / name)
    for tokenizer, files in kept.items():
        shutil.rmtree(OUT / name / tokenizer)
        (OUT / name / tokenizer).mkdir()
        for file, content in files.items():
            (OUT / name / tokenizer / file).write_bytes(content)
    return pipe


def describe_text(prefix, encoder, tokenizer, tensors):
    """Outputs of an encoder for a few texts, one at a time."""
    texts = [TEXTS[i] for i in (0, 2, 5, 38)]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    out = encoder(ids, output_hidden_states=True)
    tensors[f"{prefix}.last"] = out.last_hidden_state
    tensors[f"{prefix}.penultimate"] = out.hidden_states[-2]
    if hasattr(out, "text_embeds") and out.text_embeds is not None:
        tensors[f"{prefix}.projected"] = out.text_embeds
    else:
        tensors[f"{prefix}.pooled"] = out.pooler_output
    return {"texts": texts, "ids": ids.tolist()}


def describe_vae(prefix, model, size, tensors):
    generator = torch.Generator().manual_seed(11)
    image = 2 * torch.rand((2, model.config.in_channels, *size), generator=generator) - 1
    encoded = model.encode(image).latent_dist
    latent = torch.randn(encoded.mean.shape, generator=generator)
    tensors |= {
        f"{prefix}.image": image, f"{prefix}.mean": encoded.mean, f"{prefix}.log_variance": encoded.logvar,
        f"{prefix}.latent": latent, f"{prefix}.decoded": model.decode(latent).sample,
    }


def tokens(tokenizer):
    full = [len(tokenizer(t).input_ids) for t in TEXTS]
    ids = [tokenizer(t, padding="max_length", max_length=LENGTH, truncation=True).input_ids for t in TEXTS]
    return {"ids": ids, "truncated": sum(n > LENGTH for n in full)}


@torch.no_grad()
def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    packages = ("torch", "transformers", "tokenizers", "diffusers", "safetensors")
    expected = {
        "made_by": "tests/golden/companions.py",
        "versions": {"python": sys.version.split()[0], **{p: importlib.metadata.version(p) for p in packages}},
        "texts": TEXTS,
    }
    tensors = {}
    sd, sdxl, sd3 = stable_diffusion(), stable_diffusion_xl(), stable_diffusion_3()
    expected["tokens"] = {
        "sd/tokenizer": tokens(sd.tokenizer), "sdxl/tokenizer": tokens(sdxl.tokenizer),
        "sdxl/tokenizer_2": tokens(sdxl.tokenizer_2),
    }
    expected["encoders"] = {
        "sd/text_encoder": describe_text("sd/text_encoder", sd.text_encoder, sd.tokenizer, tensors),
        "sdxl/text_encoder": describe_text("sdxl/text_encoder", sdxl.text_encoder, sdxl.tokenizer, tensors),
        "sdxl/text_encoder_2": describe_text("sdxl/text_encoder_2", sdxl.text_encoder_2, sdxl.tokenizer_2, tensors),
    }
    expected["t5"] = t5(tensors)
    prompts = [TEXTS[i] for i in (2, 5, 38)]
    expected["prompts"] = prompts
    tensors["sd.hidden"], tensors["sd.negative"] = sd.encode_prompt(prompts, "cpu", 1, True)
    keys = ("hidden", "negative", "pooled", "negative_pooled")
    outputs = sdxl.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=True)
    tensors |= {f"sdxl.{key}": value for key, value in zip(keys, outputs, strict=True)}
    outputs = sd3.encode_prompt(prompts, prompts, prompts, "cpu")
    tensors |= {f"sd3.{key}": value for key, value in zip(keys, outputs, strict=True)}
    # Only zeros follow.
    assert all(not tensors[f"sd3.{key}"][:, LENGTH:].any() for key in ("hidden", "negative"))
    tensors |= {f"sd3.{key}": tensors[f"sd3.{key}"][:, :LENGTH] for key in ("hidden", "negative")}
    describe_vae("sd/vae", sd.vae, (16, 24), tensors)
    describe_vae("sd3/vae", sd3.vae, (8, 12), tensors)
    other = randomise(
        vae(block_out_channels=(8, 16, 8), layers_per_block=2, norm_num_groups=2, latent_channels=3, in_channels=1,
            out_channels=1, use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
            scaling_factor=0.3611, shift_factor=0.1159), 8)
    other.save_pretrained(OUT / "vae")
    describe_vae("vae", other, (12, 8), tensors)
    model = UNet2DModel(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
                        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"))
    DDPMPipeline(unet=randomise(model, 9), scheduler=DDPMScheduler()).save_pretrained(OUT / "ddpm")
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, OUT / "expected.safetensors")
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The emoji experiment with a transformer that denoises: an untrained MMDiT of 5M parameters, files of latents for it, samples.

    emoji_mmdit.py model FOLDER --text EMOJI_MODEL --images FOLDER --captions demonstrations.jsonl train.jsonl test.jsonl
        writes FOLDER/model, a `StableDiffusion3Pipeline`'s transformer and scheduler (random weights, pixels for latents),
        and FOLDER/NAME.safetensors for every file of captions: pictures, the states of the frozen text encoder that
        `emoji.py model` made, and their means for what SD 3 calls pooled
    emoji_mmdit.py sample FOLDER --data FOLDER/test.safetensors --images FOLDER --captions test.jsonl --model RUN --out NAME
        samples a picture for each of the first 256 captions with diffusers (Euler, 25 steps), and writes NAME.jsonl
    emoji_mmdit.py sheet FOLDER --samples NAME.jsonl .. --out emoji-mmdit.png
        draws some of the samples, a row for each file

Made with torch 2.13.0, diffusers 0.42.1, transformers 5.23.0.
"""
import argparse
import json
import pathlib

import torch
from emoji import WIDTH, caption, lines, picture

STEPS, SHIFT = 25, 1.0


def model(folder):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=3, out_channels=3, num_layers=6, attention_head_dim=32,
        num_attention_heads=5, joint_attention_dim=WIDTH, caption_projection_dim=160, pooled_projection_dim=WIDTH,
        pos_embed_max_size=16, qk_norm="rms_norm",
    )
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.02)
    print(f"{sum(p.numel() for p in transformer.parameters()) / 1e6:.2f}M parameters")
    transformer.save_pretrained(folder / "model" / "transformer")
    FlowMatchEulerDiscreteScheduler(shift=SHIFT).save_pretrained(folder / "model" / "scheduler")


def contexts(text, captions):
    from tokenizers import Tokenizer
    from transformers import CLIPTextModel

    tokenizer = Tokenizer.from_file(str(text / "tokenizer" / "tokenizer.json"))
    tokenizer.enable_padding(length=20, pad_id=1)
    tokenizer.enable_truncation(20)
    encoder = CLIPTextModel.from_pretrained(text / "text_encoder").eval()
    ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(captions)])
    with torch.no_grad():
        states = torch.cat([encoder(part).last_hidden_state for part in ids.split(256)])
    words = (ids != 1).float()[:, :, None]
    return states, (states * words).sum(1) / words.sum(1)


def latents(folder, text, images, files):
    from safetensors.torch import save_file

    for file in files:
        records = lines(file)
        context, pooled = contexts(text, [caption(record) for record in records])
        sides = {"chosen": "image", "rejected": "image"} if "image" in records[0] else {"chosen": "chosen", "rejected": "rejected"}
        tensors = {side: torch.stack([picture(images / record[name]) for record in records]) for side, name in sides.items()}
        tensors |= {"context": context.contiguous(), "pooled": pooled.contiguous()}
        save_file(tensors, folder / f"{pathlib.Path(file).stem}.safetensors")


@torch.no_grad()
def sample(run, data, captions, out):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from PIL import Image
    from safetensors.torch import load_file

    transformer = SD3Transformer2DModel.from_pretrained(run).eval()
    tensors, records = load_file(data), lines(captions)[:256]
    noise = torch.randn(len(records), 3, 32, 32, generator=torch.Generator().manual_seed(5))
    pictures = pathlib.Path(f"{out}-images")
    pictures.mkdir(exist_ok=True)
    with open(f"{out}.jsonl", "w") as file:
        for at in range(0, len(records), 64):
            scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
            scheduler.set_timesteps(STEPS)
            x = noise[at:at + 64]
            context, pooled = (tensors[name][at:at + len(x)] for name in ("context", "pooled"))
            for time in scheduler.timesteps:
                speed = transformer(x, encoder_hidden_states=context, pooled_projections=pooled, timestep=time.expand(len(x))).sample
                x = scheduler.step(speed, time, x).prev_sample
            for i, values in enumerate(x):
                pixels = ((values.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
                path = pictures / f"{at + i}.png"
                Image.fromarray(pixels).save(path)
                file.write(json.dumps({"caption": caption(records[at + i]), "image": str(path)}) + "\n")


def sheet(samples, out, columns=16, scale=2):
    from PIL import Image

    size = 32 * scale
    whole = Image.new("RGB", (columns * size, len(samples) * (size + 4)), "white")
    for row, file in enumerate(samples):
        records = lines(file)
        for column in range(columns):
            drawing = Image.open(records[column * len(records) // columns]["image"])
            whole.paste(drawing.resize((size, size), Image.NEAREST), (column * size, row * (size + 4)))
    whole.quantize(128).save(out, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["model", "sample", "sheet"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--captions", nargs="+")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--data")
    parser.add_argument("--samples", nargs="+")
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.verb == "model":
        given.folder.mkdir(parents=True, exist_ok=True)
        model(given.folder)
        latents(given.folder, given.text, given.images, given.captions)
    elif given.verb == "sheet":
        sheet(given.samples, given.out)
    else:
        sample(given.model, given.data, given.captions[0], given.out)

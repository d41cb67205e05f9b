"""The emoji experiment: an untrained denoiser for 32 x 32 pictures, and a judge of styles.

    emoji.py model FOLDER --captions demonstrations.jsonl test.jsonl
        writes an untrained diffusers folder in pixel space (random weights, a word-level tokenizer of the captions'
        words, a frozen random text encoder of one layer)
    emoji.py style --images FOLDER --train train.jsonl --test test.jsonl --samples NAME=FILE.jsonl ...
        trains a small classifier on real drawings of the training captions, says how well it tells real held-out
        drawings apart, and what share of sampled pictures it takes for the preferred vendor's

Made with torch 2.13.0, diffusers 0.42.1, transformers 5.23.0, Pillow.
"""
import argparse
import json
import math
import pathlib
import re

import torch

SPECIAL = ["<|startoftext|>", "<|endoftext|>", "<|unknown|>"]
WIDTH, LENGTH = 64, 20


def lines(path):
    return [json.loads(line) for line in open(path)]


def caption(record):
    return record.get("caption") or record.get("prompt")


def words_of(text):
    return re.findall(r"\w+|[^\w\s]+", text.lower())


def model(folder, files):
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = pathlib.Path(folder)
    torch.manual_seed(0)
    words = sorted({word for file in files for record in lines(file) for word in words_of(caption(record))})
    unet = UNet2DConditionModel(
        sample_size=32, in_channels=3, out_channels=3, layers_per_block=1,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, cross_attention_dim=WIDTH, norm_num_groups=8, use_linear_projection=True,
    )
    print(f"{sum(p.numel() for p in unet.parameters()) / 1e6:.2f}M parameters, {len(words)} words")
    unet.save_pretrained(folder / "unet")
    config = CLIPTextConfig(
        vocab_size=len(SPECIAL) + len(words), hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=LENGTH, hidden_act="quick_gelu", bos_token_id=0,
        eos_token_id=1, pad_token_id=1, projection_dim=WIDTH,
    )
    encoder = CLIPTextModel(config)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "token_embedding" in name:
                parameter.normal_(0, 1)
            elif "position_embedding" in name:
                parameter.normal_(0, 0.2)
    encoder.save_pretrained(folder / "text_encoder")
    DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing",
        clip_sample=False,
    ).save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer", words)
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1",
        "requires_safety_checker": False, "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def write_tokenizer(folder, words):
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate(SPECIAL + words)}
    special = lambda i: {"id": SPECIAL[i], "ids": [i], "tokens": [SPECIAL[i]]}
    sequence = [
        {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": SPECIAL[1], "type_id": 0}},
    ]
    added = [
        {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True} for i, text in enumerate(SPECIAL)
    ]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": sequence, "pair": sequence,
                           "special_tokens": {SPECIAL[0]: special(0), SPECIAL[1]: special(1)}},
        "decoder": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL[2]},
    }
    config = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "unk_token": SPECIAL[2], "pad_token": SPECIAL[1],
              "model_max_length": LENGTH, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def picture(path):
    from PIL import Image

    image = Image.open(path).convert("RGB")
    return torch.tensor(list(image.getdata()), dtype=torch.float32).view(32, 32, 3).permute(2, 0, 1) / 127.5 - 1


def pairs(folder, file):
    pictures, labels = [], []
    for record in lines(file):
        for side, label in (("chosen", 1.0), ("rejected", 0.0)):
            pictures.append(picture(pathlib.Path(folder) / record[side]))
            labels.append(label)
    return torch.stack(pictures), torch.tensor(labels)


def wilson(successes, n):
    z, share = 1.959964, successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{share:.3f} (95%: {centre - half:.3f} to {centre + half:.3f}, {n})"


def style(folder, train, test, samples):
    torch.manual_seed(0)
    x, y = pairs(folder, train)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 24, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(24, 48, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(48, 48, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Dropout(0.2), torch.nn.Linear(48, 1),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    for epoch in range(20):
        net.train()
        for rows in torch.randperm(len(x)).split(64):
            # Sampled pictures are a little noisy: the judge must not tell styles by that.
            noisy = x[rows] + 0.1 * torch.rand(1) * torch.randn_like(x[rows])
            noisy = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, noisy.flip(3), noisy)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(noisy)[:, 0], y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        x, y = pairs(folder, test)
        right = ((net(x)[:, 0] > 0).float() == y).sum().item()
        print("real held-out drawings told apart:", wilson(right, len(y)))
        for sample in samples:
            name, file = sample.split("=", 1)
            file = pathlib.Path(file)
            x = torch.stack([picture(file.parent / record["image"]) for record in lines(file)])
            logits = net(x)[:, 0]
            share = wilson((logits > 0).sum().item(), len(x))
            print(f"{name}: in the preferred style {share}, mean logit {logits.mean():.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("model")
    make.add_argument("folder")
    make.add_argument("--captions", nargs="+", required=True)
    judge = verbs.add_parser("style")
    judge.add_argument("--images", required=True)
    judge.add_argument("--train", required=True)
    judge.add_argument("--test", required=True)
    judge.add_argument("--samples", nargs="+", required=True)
    arguments = parser.parse_args()
    if arguments.verb == "model":
        model(arguments.folder, arguments.captions)
    else:
        style(arguments.images, arguments.train, arguments.test, arguments.samples)


if __name__ == "__main__":
    main()

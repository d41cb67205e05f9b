"""Tiny random reward models of texts and of pictures, and what transformers and PIL say of them.

Run from the repository's root: python tests/golden/rewards.py
Writes tests/golden/rewards/{gpt_neox,gpt2,llama,qwen2,clip}/ and tests/golden/rewards/pictures.json. The versions used
are in each expected.json.
"""

import importlib.metadata
import json
import pathlib
import shutil

import numpy
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from causal import TOKENS, VOCABULARY, randomise

GOLDEN = pathlib.Path(__file__).parent
FOLDER = GOLDEN / "rewards"
LABELLED = TOKENS | {"num_labels": 1}
SIZES = LABELLED | {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 64,
}
# The padding token is none, the end token, one of its own.
CASES = {
    "gpt_neox": (GPTNeoXForSequenceClassification, GPTNeoXConfig(**SIZES, rotary_pct=0.5)),
    "gpt2": (
        GPT2ForSequenceClassification,
        GPT2Config(**LABELLED, n_embd=16, n_layer=2, n_head=2, n_positions=64, pad_token_id=2),
    ),
    "llama": (LlamaForSequenceClassification, LlamaConfig(**SIZES, num_key_value_heads=2, pad_token_id=0)),
    "qwen2": (Qwen2ForSequenceClassification, Qwen2Config(**SIZES, num_key_value_heads=2, pad_token_id=2)),
}
REQUESTS = ["a red circle", "it's a dog's life, isn't it?", "red red red red red red red red red red red red red red red"]
SIZE = 32


def versions(*names):
    return {name: importlib.metadata.version(name) for name in names}


WORDS = "a ask assistant blue cat circle dog good hello how is it me no ok on red say the to user well yes you".split()
CHAT = [{"role": "user", "content": "hello you"}, {"role": "assistant", "content": "ask me"}, {"role": "user", "content": "is it red"}]
# A request, and two answers to it.
PAIRS = [("say hello", " hello", " no"), ("is the cat red", " yes it is red", " no it is blue"), ("a dog", " ok", "")]


def tokenizer_of_words():
    """One that knows few words, puts <s> before a text, and has a chat template."""
    names = ["<pad>", "<s>", "</s>", "<unk>"] + WORDS
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %} {{ message.role }} {{ message.content }} {{ eos_token }}{% endfor %}"
    )
    return tokenizer


def judged(model, tokenizer):
    """Pairs as TRL's RewardTrainer spells them: the end token behind plain texts, chats by their template."""
    def reward(text, **settings):
        return model(**tokenizer(text, return_tensors="pt", **settings)).logits[0, 0].item()

    plain = [
        {"request": request, "a": a, "b": b, "rewards": [reward(request + answer + "</s>") for answer in (a, b)]}
        for request, a, b in PAIRS
    ]
    chats = []
    for _, a, b in PAIRS[:2]:
        whole = [CHAT + [{"role": "assistant", "content": answer}] for answer in (a, b)]
        spelled = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in whole]
        rewards = [reward(text, add_special_tokens=False) for text in spelled]
        chats.append({"request": json.dumps(CHAT), "a": a, "b": b, "rewards": rewards})
    return plain + chats


def texts(name, model_class, config, seed):
    generator = torch.Generator().manual_seed(seed)
    model = model_class(config).eval()
    randomise(model, generator)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    drawn = [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in (1, 5, 12, 40)]
    drawn += [drawn[1] + [2], drawn[1] + [2, 2], [2] + drawn[2] + [0]]
    with torch.no_grad():
        rewards = [model(torch.tensor([tokens])).logits[0, 0].item() for tokens in drawn]
        expected = {"versions": versions("torch", "transformers"), "texts": drawn, "rewards": rewards}
        if name == "llama":
            tokenizer = tokenizer_of_words()
            tokenizer.save_pretrained(folder)
            expected["judged"] = judged(model, tokenizer)
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def picture(height, width, seed):
    """Soft shapes with some noise, so that scaling matters."""
    random = numpy.random.default_rng(seed)
    rows, columns = numpy.mgrid[:height, :width]
    waves = [numpy.sin(rows * a + columns * b) for a, b in random.uniform(-0.6, 0.6, (3, 2))]
    values = 127 + 90 * numpy.stack(waves, -1) + random.normal(0, 12, (height, width, 3))
    return numpy.clip(values, 0, 255).astype(numpy.uint8)


def pictures():
    """The file sizes are other than the model's; PIL does the scaling."""
    processor = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    cases = []
    for seed, (height, width) in enumerate([(32, 32), (24, 24), (64, 64), (40, 57), (97, 48), (20, 33)]):
        image = Image.fromarray(picture(height, width, seed))
        shorter = min(height, width)
        scaled = image.resize((width * SIZE // shorter, height * SIZE // shorter), Image.Resampling.BICUBIC)
        left, top = (scaled.width - SIZE) // 2, (scaled.height - SIZE) // 2
        square = scaled.crop((left, top, left + SIZE, top + SIZE))
        # transformers scales with torchvision where it can, which may round a byte another way.
        values = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        mean, deviation = numpy.array(processor.image_mean), numpy.array(processor.image_std)
        theirs = numpy.rint((values * deviation + mean) * 255).astype(int)
        assert numpy.abs(theirs - numpy.asarray(square).astype(int)).max() <= 2, (height, width)
        cases.append({
            "height": height, "width": width, "bytes": numpy.asarray(image).ravel().tolist(),
            "square": numpy.asarray(square).ravel().tolist(),
        })
    expected = {"versions": versions("pillow", "transformers", "numpy"), "size": SIZE, "pictures": cases}
    (FOLDER / "pictures.json").write_text(json.dumps(expected) + "\n")


def clip():
    generator = torch.Generator().manual_seed(7)
    tokenizer = CLIPTokenizer.from_pretrained(GOLDEN / "companions" / "sd" / "tokenizer")
    half = {"num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=half | {
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=half | {
            "hidden_size": 24, "intermediate_size": 32, "image_size": SIZE, "patch_size": 8, "hidden_act": "gelu",
        },
        projection_dim=12,
    )
    model = CLIPModel(config).eval()
    randomise(model, generator)
    folder = FOLDER / "clip"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor.save_pretrained(folder)
    images = [picture(SIZE, SIZE, 100 + i) for i in range(len(REQUESTS))]
    tokens = tokenizer(REQUESTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
    pixels = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, **pixels).logits_per_image
    expected = {
        "versions": versions("torch", "transformers", "pillow"), "requests": REQUESTS,
        "images": [image.ravel().tolist() for image in images],
        # [image][text]
        "rewards": logits.tolist(),
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for seed, (name, (model_class, config)) in enumerate(CASES.items()):
        texts(name, model_class, config, seed)
    pictures()
    clip()


if __name__ == "__main__":
    main()

"""How texts become tokens: transformers and TRL against hybrid-dpo, on tokenizers as people have them.

    pip install torch transformers trl
    cargo build --release
    python tests/peers/tokens.py --binary target/release/hybrid-dpo

(1) Small tokenizers of two kinds beside every family and every declared class, with special tokens in their old and new
places: prompt and answers of `score --tokenization joint` are the ids that TRL's rule gives with transformers' tokenizer.
(2) A dozen awkward records under `--preset trl`: prompt and answers are what TRL's trainer and collator make of them, to the
token. The last line is the count of checks.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from checks import Checks

transformers.utils.logging.set_verbosity_error()
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
WORDS = ["the cat sat on 12 mats", "it's a dog, isn't it? yes!", "naïve  spaces\n\nand lines", "the▁cat▁sat", "▁a▁dog▁x[y]x"]
ROWS = [
    {"prompt": "the cat 12", "chosen": " sat on 345 mats", "rejected": " ran"},
    {"prompt": "it's a do", "chosen": "g, isn't it?", "rejected": " no"},
    {"prompt": " naïve\n", "chosen": "the cat", "rejected": "<|im_start|>yes"},
    {"prompt": "<|im_start|>who<|im_end|>", "chosen": "a dog", "rejected": "  two"},
]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(WORDS * 20, trainer)
    return tokenizer


def sentencepiece():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainer = trainers.BpeTrainer(vocab_size=360, show_progress=False,
                                  special_tokens=SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)])
    tokenizer.train_from_iterator(WORDS * 20, trainer)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def begun(tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def make_model(folder, family, rows, width=16):
    torch.manual_seed(0)
    sizes = dict(vocab_size=rows, bos_token_id=1, eos_token_id=2, max_position_embeddings=2048)
    if family == "gpt2":
        sizes |= dict(n_embd=width, n_layer=1, n_head=2, n_positions=2048)
    else:
        sizes |= dict(hidden_size=width, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
                      intermediate_size=16)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(folder)


def write(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file)


# What else a folder says, by name: settings, and files beside them.
PLAIN = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
FOLDERS = {
    "plain": (PLAIN, {}),
    "add_bos_token true": (PLAIN | {"add_bos_token": True, "add_eos_token": True}, {}),
    "end token in the map": (PLAIN, {"special_tokens_map.json": {"eos_token": "<|im_end|>"}}),
    "map beside newer settings": (
        PLAIN | {"added_tokens_decoder": {"2": {"content": "</s>", "special": True}}},
        {"special_tokens_map.json": {"eos_token": "<|im_end|>"}}),
    "added_tokens.json": (PLAIN, {"added_tokens.json": {"dog": 400, "yes": 401}}),
    "additional_special_tokens": (PLAIN | {"additional_special_tokens": ["cat", "two"]}, {}),
    "extra_special_tokens by name": (PLAIN | {"extra_special_tokens": {"image_token": "dog"}}, {}),
    "split_special_tokens": (PLAIN | {"split_special_tokens": True}, {}),
    "add_prefix_space": (PLAIN | {"add_prefix_space": True}, {}),
    "no prefix space": (PLAIN | {"add_prefix_space": False, "legacy": True}, {}),
    "an end token that no vocabulary has": (PLAIN | {"eos_token": "<stop>"}, {}),
}
CLASSES = [None, "PreTrainedTokenizerFast", "LlamaTokenizerFast", "GPT2Tokenizer", "GPTNeoXTokenizerFast", "Qwen2Tokenizer"]


def trl_rule(tokenizer, row):
    """Prompt, chosen and rejected ids as TRL's trainer makes them of a plain record."""
    ids = lambda text: tokenizer(text=text)["input_ids"]
    ended = lambda text: text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token
    prompt, sides = ids(row["prompt"]), [ids(row["prompt"] + ended(row[side])) for side in ("chosen", "rejected")]
    same = lambda side: next((i for i, (a, b) in enumerate(zip(prompt, side)) if a != b), min(len(prompt), len(side)))
    shared = min(map(same, sides))
    return [prompt[:shared], *(side[shared:] for side in sides)]


def scored(binary, model, data, *more):
    out = data + ".scores"
    done = subprocess.run([binary, "score", "--model", model, "--data", data, "--out", out, "--quiet", *more],
                          capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip()
    with open(out) as file:
        lines = [json.loads(line) for line in file]
    return [[line["prompt_tokens"], line["chosen"]["tokens"], line["rejected"]["tokens"]] for line in lines]


def compare(checks, name, expected, found):
    if isinstance(found, str):
        print(f"    {found}")
    differ = [(e, f) for e, f in zip(expected, found) if e != f] if not isinstance(found, str) else [(expected, found)]
    for wanted, got in differ[:1]:
        print(f"    expected {wanted}\n    found    {got}")
    checks(name, float(bool(differ) or len(expected) != len(found)), 0)


def tokenizers_and_classes(checks, binary, folder):
    data = os.path.join(folder, "rows.jsonl")
    with open(data, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    for kind, tokenizer in (("byte-level", begun(byte_level())), ("sentencepiece", begun(sentencepiece()))):
        for family in ("llama", "gpt2", "gpt_neox", "qwen2"):
            model = os.path.join(folder, f"{kind}-{family}")
            make_model(model, family, 500)
            tokenizer.save(os.path.join(model, "tokenizer.json"))
            for declared in CLASSES:
                # Every way to write a folder once, with the class that reads most of it.
                every = declared in (CLASSES[1], "GPT2Tokenizer", "LlamaTokenizerFast") and family == "llama"
                for how, (settings, files) in FOLDERS.items():
                    if how != "plain" and not every:
                        continue
                    settings = settings | ({"tokenizer_class": declared} if declared else {})
                    for name, value in {"tokenizer_config.json": settings, **files}.items():
                        write(model, name, value)
                    theirs = AutoTokenizer.from_pretrained(model)
                    # An empty prompt has no token in TRL; here EOS stands before it.
                    expected = [trl_rule(theirs, row) for row in ROWS]
                    expected = [row if row[0] else [[theirs.eos_token_id], *row[1:]] for row in expected]
                    # Where special tokens are split TRL's end token is, too; here an answer ends all the same.
                    if how == "split_special_tokens":
                        expected = [[prompt, chosen + [2], rejected + [2]] for prompt, chosen, rejected in expected]
                    found = scored(binary, model, data, "--tokenization", "joint")
                    compare(checks, f"{kind}, {family}, {declared}, {how}", expected, found)
                    for name in files:
                        os.remove(os.path.join(model, name))


CHATML = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def awkward():
    """A dozen plain records and a dozen chats, short and long, of the kinds that go wrong."""
    words = lambda n, k=0: " ".join(WORDS[0].split()[(i * 7 + k) % 6] for i in range(n))
    plain = [
        {"prompt": words(900) + " ", "chosen": words(200, 1), "rejected": words(30, 2)},
        {"prompt": words(20) + " ", "chosen": words(1100, 3), "rejected": words(5, 4)},
        {"prompt": words(700), "chosen": " " + words(10, 5), "rejected": " " + words(60, 1)},
        {"prompt": words(1100), "chosen": " a", "rejected": " b"},
        {"prompt": "the ca", "chosen": "t sat", "rejected": "t ran"},
        {"prompt": "the cat", "chosen": "</s>", "rejected": " ran</s>"},
        {"prompt": "the cat\n\n", "chosen": "\nsat", "rejected": " sat"},
        {"prompt": "<s>the cat", "chosen": " sat</s> and ran", "rejected": " sat"},
        {"prompt": "12", "chosen": "345", "rejected": " 345"},
        {"prompt": "naïve 🙂", "chosen": " 日本", "rejected": "é"},
        {"prompt": " ", "chosen": "x", "rejected": "y"},
        {"prompt": words(300), "chosen": " " + words(300, 1), "rejected": " " + words(900, 2)},
    ]
    user = lambda text: {"role": "user", "content": text}
    says = lambda text: [{"role": "assistant", "content": text}]
    chats = [
        {"prompt": [user("the cat")], "chosen": says("sat"), "rejected": says("ran")},
        {"prompt": [{"role": "system", "content": "be kind"}, user("the cat")], "chosen": says("sat"), "rejected": says("ran")},
        {"prompt": [user("a"), *says("b"), user("c")], "chosen": says("d"), "rejected": says("e f")},
        {"prompt": [user("a"), *says("b")], "chosen": says("d"), "rejected": says("e")},
        {"prompt": [user(words(500))], "chosen": says(words(900)), "rejected": says("no")},
        {"prompt": [user(words(1200))], "chosen": says("yes"), "rejected": says("no")},
        {"prompt": [user("<|im_end|> inside")], "chosen": says("yes<|im_end|>"), "rejected": says("no")},
        {"prompt": [user("a")], "chosen": [*says("b"), user("c"), *says("d")], "rejected": says("no")},
        {"prompt": [user("")], "chosen": says("yes\n"), "rejected": says(" no")},
        {"prompt": [user("x")], "chosen": says("yes"), "rejected": says("yes and no")},
        {"prompt": [user(words(300))], "chosen": says(words(300, 1)), "rejected": says(words(300, 2))},
        {"prompt": [user("tabs\tand\r\nlines")], "chosen": says("yes"), "rejected": says("no")},
    ]
    return plain, chats


def trl_batches(folder, rows):
    """Prompt and sides of every record that TRL's trainer keeps, as its collator hands them on: cut, without padding."""
    import datasets
    from trl import DPOConfig, DPOTrainer
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    args = DPOConfig(output_dir=folder + "-out", report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=1,
                     gradient_checkpointing=False)
    trainer = DPOTrainer(model=AutoModelForCausalLM.from_pretrained(folder), args=args,
                         train_dataset=datasets.Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder))
    found = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        sides = []
        for ids, seen, scored in zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"]):
            sides.append(([i for i, s, c in zip(ids.tolist(), seen.tolist(), scored.tolist()) if s and not c],
                          [i for i, c in zip(ids.tolist(), scored.tolist()) if c]))
        found.append([sides[0][0], sides[0][1], sides[1][1]])
    return found


def preset(checks, binary, folder):
    plain, chats = awkward()
    for what, rows, tokenizer in (("plain", plain, begun(byte_level())), ("chats", chats, byte_level())):
        model = os.path.join(folder, what)
        end = "</s>" if what == "plain" else "<|im_end|>"
        theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=end, pad_token="<unk>")
        theirs.chat_template = CHATML
        make_model(model, "llama", tokenizer.get_vocab_size())
        theirs.save_pretrained(model)
        data = os.path.join(folder, what + ".jsonl")
        with open(data, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        run = os.path.join(folder, what + "-run")
        subprocess.run([binary, "train", "--model", model, "--data", data, "--preset", "trl", "--max-steps", "1",
                        "--n-samples", "0", "--eval-share", "0", "--out", run, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        found = scored(binary, model, data, "--config", os.path.join(run, "config.toml"))
        expected = trl_batches(model, rows)
        print(f"    {what}: {len(rows)} records, {len(expected)} of them kept by TRL")
        compare(checks, f"--preset trl, {what}: ids and masks", expected, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    binary = os.path.abspath(parser.parse_args().binary)
    checks = Checks()
    folder = tempfile.mkdtemp()
    try:
        tokenizers_and_classes(checks, binary, folder)
        preset(checks, binary, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    checks.end()


if __name__ == "__main__":
    main()

"""Writes tokenise.json and tokenizer.json: the token ids TRL's DPOTrainer makes of made-up pairs.

The tokeniser is a small byte-level BPE trained here on made-up sentences; the model is a random one of a few thousand
parameters, there only because the trainer wants one.
Run: python tokenise.py   (trl, transformers, tokenizers, torch, datasets; the versions are in the file it writes)
"""

import json
import pathlib
import random
import tempfile

import datasets
import tokenizers
import torch
import transformers
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
WORDS = ("the a one red old quiet house river boat child teacher sees finds keeps sold bridge morning letter 12 7,000 "
         "it's don't naïve 日本 🙂 why? yes! no. however, therefore; (maybe)").split()
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def sentence(rng, low, high):
    return rng.choice(["", "", "  "]) + " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def small_tokenizer(rng):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([sentence(rng, 3, 12) for _ in range(500)], trainer)
    return tokenizer


def plain_pairs(rng):
    pairs = []
    for number in range(60):
        prompt = sentence(rng, 1, 30) + rng.choice([":", "\n", " ", "", "\n\nTL;DR:"])
        chosen, rejected = (rng.choice([" ", "", "\n"]) + sentence(rng, 1, 25) for _ in range(2))
        pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    # Borders that merge.
    pairs.append({"prompt": "the ho", "chosen": "use", "rejected": " boat"})
    pairs.append({"prompt": "one quiet ri", "chosen": "ver sees", "rejected": "ver"})
    pairs.append({"prompt": "old ", "chosen": "house", "rejected": " house"})
    return pairs


def chat_pairs(rng):
    pairs = []
    for number in range(15):
        system = [{"role": "system", "content": sentence(rng, 1, 5)}] if number % 3 == 0 else []
        turn = [{"role": "user", "content": sentence(rng, 1, 9)}, {"role": "assistant", "content": sentence(rng, 1, 9)}]
        prompt = system + (turn if number % 4 == 0 else []) + [{"role": "user", "content": sentence(rng, 1, 15)}]
        chosen, rejected = ([{"role": "assistant", "content": sentence(rng, 1, 15)}] for _ in range(2))
        pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return pairs


def trained_on(tokenizer, pairs):
    """The ids the trainer makes of the pairs, before any truncation."""
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    with tempfile.TemporaryDirectory() as folder:
        config = trl.DPOConfig(output_dir=folder, max_length=None, report_to=[], use_cpu=True, bf16=False,
                               gradient_checkpointing=False)
        # The trainer reads the reference from where the model was read.
        model.save_pretrained(f"{folder}/model")
        model = transformers.LlamaForCausalLM.from_pretrained(f"{folder}/model")
        trainer = trl.DPOTrainer(model=model, args=config, train_dataset=datasets.Dataset.from_list(pairs),
                                 processing_class=tokenizer)
        return [{side: row[f"{side}_ids"] for side in ("prompt", "chosen", "rejected")} for row in trainer.train_dataset]


def main():
    rng = random.Random(3)
    torch.manual_seed(0)
    raw = small_tokenizer(rng)
    raw.save(str(HERE / "tokenizer.json"), pretty=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False)
    plain, chats = plain_pairs(rng), chat_pairs(rng)
    separate = [{side: ids(pair[side]) for side in pair} for pair in plain]
    out = {
        "made_by": f"tokenise.py, trl {trl.__version__}, transformers {transformers.__version__}, "
                   f"tokenizers {tokenizers.__version__}, torch {torch.__version__}",
        "eos": tokenizer.eos_token_id,
        "template": TEMPLATE,
        "plain": {"pairs": plain, "separate": separate, "joint": trained_on(tokenizer, plain)},
        "chats": {"pairs": chats, "joint": trained_on(tokenizer, chats)},
    }
    (HERE / "tokenise.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


main()

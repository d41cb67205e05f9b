"""Records in the shapes that people's files have: what is scored here is what TRL makes of the same rows.

    pip install torch transformers trl datasets
    cargo build --release
    python tests/peers/records.py --binary target/release/hybrid-dpo

Each shape is written with `json`, `datasets` or pyarrow, and `score` reads it. The prompt and the answers together must
be the tokens of TRL's rule (a chat through `apply_chat_template`, split where prompt and whole part), with the row
spelled as TRL takes it; or the file is refused with a message that names what is wrong. The last line is the count.
"""

import argparse
import json
import os
import subprocess
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import datasets
import pyarrow
import pyarrow.parquet
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from trl.data_utils import common_prefix_length

from checks import Checks

datasets.disable_progress_bars()
TEMPLATE = (
    "{% if tools %}[tools {{ tools | tojson }}]{% endif %}{% if day is defined %}[day {{ day }}]{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.name is defined %} {{ m.name }}{% endif %}{{ '\\n' }}"
    "{% if m.reasoning_content %}[think {{ m.reasoning_content }}]{% endif %}{% if m.content is defined %}"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}|{% endfor %}{% endif %}"
    "{% endif %}{% for c in m.tool_calls or [] %}[call {{ c.function.name }} {{ c.function.arguments | tojson }}]"
    "{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALLS = [{"type": "function", "function": {"name": "weather", "arguments": {"at": "sea"}}}]


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def shared(who, words):
    return {"from": who, "value": words}


SYSTEM, USER, GOOD, BAD = say("system", "be kind"), say("user", "a cat?"), say("assistant", "yes"), say("assistant", "no")
EARLIER = [say("user", "a dog?"), say("assistant", "maybe")]
PAIR = dict(prompt=[USER], chosen=[GOOD], rejected=[BAD])
CONTEXT = dict(PAIR, prompt=[SYSTEM, USER])
TURNS = dict(PAIR, prompt=[*EARLIER, USER])
PLAIN = dict(prompt="a cat?", chosen=" yes", rejected=" no")
ANSWERS = dict(chosen="yes", rejected="no")
LABELLED = dict(prompt=[USER], completion=[GOOD], label=True)

# What the file has, and the same as TRL takes it.
SAME = {
    "as TRL takes it": (PAIR, PAIR),
    "plain text": (PLAIN, PLAIN),
    "the question is called question": (dict(question="a cat?", chosen=" yes", rejected=" no"), PLAIN),
    "the question is called query": (dict(query="a cat?", chosen=" yes", rejected=" no"), PLAIN),
    "instruction and input": (dict(instruction="a", input="cat?", **ANSWERS), dict(prompt="a\ncat?", **ANSWERS)),
    "instruction and an empty input": (dict(instruction="a cat?", input="", **ANSWERS), dict(prompt="a cat?", **ANSWERS)),
    "system and question": (dict(system="be kind", question="a cat?", **ANSWERS), CONTEXT),
    "an empty system": (dict(system="", question="a cat?", **ANSWERS), dict(prompt="a cat?", **ANSWERS)),
    "a system column beside messages": (dict(PAIR, system="be kind"), CONTEXT),
    "the system prompt in the prompt alone": (
        dict(prompt=[SYSTEM, USER], chosen=[USER, GOOD], rejected=[USER, BAD]), CONTEXT),
    "earlier turns in the prompt alone": (
        dict(prompt=[*EARLIER, USER], chosen=[USER, GOOD], rejected=[USER, BAD]), TURNS),
    "history as pairs": (dict(query="a cat?", history=[["a dog?", "maybe"]], **ANSWERS), TURNS),
    "history as messages": (dict(query="a cat?", history=EARLIER, **ANSWERS), TURNS),
    "no prompt": (dict(chosen=[USER, GOOD], rejected=[USER, BAD]), PAIR),
    "a prompt that the sides repeat": (dict(prompt="a cat?", chosen=[USER, GOOD], rejected=[USER, BAD]), PAIR),
    "sides that are one message": (dict(prompt=[USER], chosen=GOOD, rejected=BAD), PAIR),
    "messages and a rejected response": (dict(messages=[USER, GOOD], rejected_response="no"), PAIR),
    "messages and rejected messages": (dict(messages=[USER, GOOD], rejected_messages=[USER, BAD]), PAIR),
    "messages and sides": (dict(messages=[USER], chosen=GOOD, rejected=BAD), PAIR),
    "conversations and sides": (
        dict(conversations=[shared("human", "a cat?")], chosen=shared("gpt", "yes"), rejected=shared("gpt", "no")), PAIR),
    "tools": (dict(PAIR, tools=TOOLS), dict(PAIR, tools=TOOLS)),
    "tools as a string": (dict(PAIR, tools=json.dumps(TOOLS)), dict(PAIR, tools=TOOLS)),
    "arguments of the template": (dict(PAIR, chat_template_kwargs={"day": "Monday"}),) * 2,
    "a call of a tool": (dict(PAIR, chosen=[say("assistant", "well", tool_calls=CALLS)]),) * 2,
    "a call of a tool without words": (dict(PAIR, chosen=[say("assistant", None, tool_calls=CALLS)]),) * 2,
    "a thought": (dict(PAIR, chosen=[say("assistant", "yes", reasoning_content="hm")]),) * 2,
    "a thought by another name": (dict(PAIR, chosen=[say("assistant", "yes", thinking="hm")]),) * 2,
    "a name": (dict(PAIR, prompt=[say("user", "a cat?", name="eve")]),) * 2,
    "text parts": (dict(PAIR, prompt=[say("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "cat?"}])]),) * 2,
    "numbers that are none": (dict(PAIR, reward=float("nan"), weight=float("inf")), PAIR),
    "KTO": (LABELLED, LABELLED),
    "KTO as messages": (dict(messages=[USER, GOOD], label=1), LABELLED),
    "KTO with 1.0": (dict(LABELLED, label=1.0), LABELLED),
    "KTO with a tag": (dict(conversations=[shared("human", "a cat?"), shared("gpt", "yes")], kto_tag="true"), LABELLED),
}

# What the file has, and what a refusal must name.
REFUSED = {
    "pictures": (dict(PAIR, images=["cat.png"]), "images"),
    "a picture in a message": (dict(PAIR, prompt=[say("user", [{"type": "image"}, {"type": "text", "text": "?"}])]), "image"),
    "another question": (dict(PLAIN, question="a dog?"), "question"),
    "another system prompt": (dict(CONTEXT, system="be rude"), "system"),
    "context": (dict(PLAIN, context="cats are animals"), "context"),
    "sides that repeat another question": (
        dict(prompt=[USER], chosen=[say("user", "a dog?"), GOOD], rejected=[say("user", "a dog?"), BAD]), "prompt"),
    "two questions": (dict(question="a cat?", query="a dog?", **ANSWERS), "query"),
    "a label that is neither": (dict(LABELLED, label=2), "label"),
    "tools without a chat": (dict(PLAIN, tools=TOOLS), "tools"),
    "a prompt that is no number": (dict(PLAIN, prompt=float("nan")), "prompt"),
}


def make_model(folder):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(special + alphabet)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16, max_position_embeddings=1024, bos_token_id=None, eos_token_id=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return tokenizer


def expected(tokenizer, row):
    """What TRL makes of a row in its own shape: the prompt, and each answer."""
    sides = [row[side] for side in ("chosen", "rejected", "completion") if side in row]
    if isinstance(row["prompt"], str):
        whole = [tokenizer(row["prompt"] + side + tokenizer.eos_token)["input_ids"] for side in sides]
        prompt = tokenizer(row["prompt"])["input_ids"]
    else:
        more = dict(tools=row.get("tools"), **row.get("chat_template_kwargs", {}), tokenize=True, return_dict=True)
        ids = lambda messages, **flags: tokenizer.apply_chat_template(messages, **more, **flags)["input_ids"]
        whole, prompt = [ids(row["prompt"] + side) for side in sides], ids(row["prompt"], add_generation_prompt=True)
    n = min(common_prefix_length(prompt, ids) for ids in whole)
    return prompt[:n], [ids[n:] for ids in whole]


def score(binary, folder, data, *more):
    out = os.path.join(folder, "scores.jsonl")
    done = subprocess.run([binary, "score", "--model", os.path.join(folder, "model"), "--data", data, "--out", out,
                           "--tokenization", "joint", "--quiet", *more], capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr
    return [json.loads(line) for line in open(out)], done.stderr


def found(line):
    sides = [line[side]["tokens"] for side in ("chosen", "rejected") if side in line]
    return line["prompt_tokens"], sides or [line["completion"]["tokens"] if "completion" in line else line["answer"]["tokens"]]


def writers(row):
    """Ways to write rows to a file; those that can't hold one row's type are left out."""
    def lines(path):
        with open(path + ".jsonl", "w") as file:
            file.writelines(json.dumps(row) + "\n" for _ in range(2))
        return path + ".jsonl"

    def parquet(path):
        datasets.Dataset.from_list([row, row]).to_parquet(path + ".parquet")
        return path + ".parquet"

    yield "json", lines
    yield "parquet", parquet


def check_same(check, binary, folder, tokenizer):
    for name, (row, same) in SAME.items():
        wanted = expected(tokenizer, same)
        for kind, write in writers(row):
            lines, error = score(binary, folder, write(os.path.join(folder, "data")))
            good = lines is not None and len(lines) == 2 and all(found(line) == wanted for line in lines)
            check(f"{name}, {kind}", 0 if good else 1, 0)
            if not good:
                print("   expected", tokenizer.decode(wanted[0]), "|", [tokenizer.decode(ids) for ids in wanted[1]])
                print("   found   ", error.strip() or [tokenizer.decode(ids) for ids in [found(lines[0])[0], *found(lines[0])[1]]])


def check_refused(check, binary, folder):
    for name, (row, says) in REFUSED.items():
        for kind, write in list(writers(row))[:1]:
            lines, error = score(binary, folder, write(os.path.join(folder, "data")))
            good = lines is None and f"`{says}`" in error
            check(f"{name}, {kind}: refused", 0 if good else 1, 0)
            if not good:
                print("   ", lines or error)


def check_files(check, binary, folder, tokenizer):
    """Columns by columns, JSON in a column of Parquet, splits."""
    path = lambda name: os.path.join(folder, name)
    table = lambda messages: {key: [message[key] for message in messages] for key in ("role", "content")}
    columns = pyarrow.Table.from_pylist([{key: table(value) for key, value in PAIR.items()}])
    pyarrow.parquet.write_table(columns, path("columns.parquet"))
    lines, error = score(binary, folder, path("columns.parquet"))
    check("a struct of lists", 0 if lines and found(lines[0]) == expected(tokenizer, PAIR) else 1, 0)

    rows = [dict(PAIR, tools=[{"name": "f", "parameters": value}]) for value in ({"a": 1}, {"b": [2]}, {"c": "d"})]
    with open(path("mixed.jsonl"), "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    mixed = datasets.load_dataset("json", data_files=path("mixed.jsonl"), cache_dir=path("cache"))["train"]
    mixed.to_parquet(path("mixed.parquet"))
    wanted = [expected(tokenizer, row) for row in mixed]
    for name in ("mixed.jsonl", "mixed.parquet"):
        lines, error = score(binary, folder, path(name))
        check(f"tools of many forms, {name}", 0 if lines and [found(line) for line in lines] == wanted else 1, 0)

    for name, n in (("train_prefs", 2), ("train_sft", 3), ("test_prefs", 4), ("test_sft", 5)):
        os.makedirs(path("hub/data"), exist_ok=True)
        datasets.Dataset.from_list([PAIR] * n).to_parquet(path(f"hub/data/{name}-00000-of-00001.parquet"))
    for flags, n in (([], 2), (["--split", "train_sft"], 3), (["--split", "test"], 4), (["--split", "all"], 14)):
        lines, error = score(binary, folder, path("hub"), *flags)
        check(f"splits that begin alike {flags}", 0 if lines and len(lines) == n else 1, 0)
    datasets.DatasetDict({"train": datasets.Dataset.from_list([PAIR] * 2500), "test": mixed}).save_to_disk(path("saved"))
    for flags, rows, others in (([], 2500, None), (["--split", "test"], 3, wanted)):
        lines, error = score(binary, folder, path("saved"), *flags)
        texts = [found(line) for line in lines or []]
        right = texts == (others or [expected(tokenizer, PAIR)] * rows)
        check(f"a folder of save_to_disk {flags}", 0 if right else 1, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    binary = os.path.abspath(parser.parse_args().binary)
    check = Checks()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_model(os.path.join(folder, "model"))
        check_same(check, binary, folder, tokenizer)
        check_refused(check, binary, folder)
        check_files(check, binary, folder, tokenizer)
    check.end()


if __name__ == "__main__":
    main()

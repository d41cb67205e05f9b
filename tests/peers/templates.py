"""Every chat template that TRL ships, rendered by hybrid-dpo and by transformers.

    pip install torch transformers trl
    cargo build --release
    python tests/peers/templates.py --binary target/release/hybrid-dpo

Each template goes with a byte-level tokenizer without merges, so that tokens and text are the same thing, but for the
template's own signs (`<|im_end|>`), which are special tokens as in its model. `score` of some conversations (plain, with a system message, with several turns, with tools that are called, with thoughts, with
template arguments) must give the prompt and the prompt with its answer as `apply_chat_template` writes them; where
transformers refuses, so must hybrid-dpo.

Answers, of one turn and of several (users and tools speak in between), must be scored where they are the assistant's, by one
rule in every turn and token by token: for a template with `{% generation %}` blocks where `return_assistant_tokens_mask` is
1, for the others from where the text leaves the generation prompt to the end-of-turn token (TRL scores the line break behind it too, as
`--tokenization joint` does), found here by rendering the conversation message by message. Templates that write earlier turns
differently once later ones follow are checked for the words of the turns alone. The last line is the count of checks.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers.utils.chat_template_utils as chat_template_utils
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from checks import Checks


class FixedDay(datetime.datetime):
    """The day that hybrid-dpo tells templates."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


chat_template_utils.datetime = FixedDay

SYSTEM = {"role": "system", "content": "Be brief. 日本語"}
USER = {"role": "user", "content": " How many? <b>\"&'\n"}
MORE = {"role": "user", "content": "And\n\nthen?"}
ANSWER = {"role": "assistant", "content": "Three.\n"}
THOUGHT = {"role": "assistant", "content": "Two.", "reasoning_content": "Let me count.\nOne, two."}
INLINE = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFour."}
TOOL = {"type": "function", "function": {
    "name": "count", "description": "Counts things.",
    "parameters": {"type": "object", "required": ["of"], "properties": {
        "of": {"type": "string", "description": "what, \"exactly\""},
        "kinds": {"type": "array", "items": {"type": "string"}, "enum": ["a", "b"]},
        "most": {"type": ["integer", "null"]}}}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "abcdefghi", "type": "function", "function": {"name": "count", "arguments": {"of": "apples", "most": 1.5}}}]}
RESULT = {"role": "tool", "content": "{\"n\": 3}", "name": "count", "tool_call_id": "abcdefghi"}

# Name: prompt, answer, and what the record says besides.
CONVERSATIONS = {
    "plain": ([USER], ANSWER, {}),
    "system": ([SYSTEM, USER], ANSWER, {}),
    "turns": ([SYSTEM, USER, ANSWER, MORE], {"role": "assistant", "content": "No."}, {}),
    "tools": ([SYSTEM, USER, CALL, RESULT], ANSWER, {"tools": [TOOL]}),
    "tools without system": ([USER], CALL, {"tools": [TOOL]}),
    "tools, turns": ([USER, CALL, RESULT, ANSWER, MORE], THOUGHT, {"tools": [TOOL]}),
    "thoughts": ([USER, THOUGHT, MORE], THOUGHT, {}),
    "thoughts inline": ([USER, INLINE, MORE], INLINE, {}),
    "no thinking": ([USER], ANSWER, {"chat_template_kwargs": {"enable_thinking": False}}),
    "thinking": ([SYSTEM, USER], ANSWER, {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}),
    "wrong order": ([USER, MORE], ANSWER, {}),
}


def signs(template):
    """The signs that a template writes around turns: its model has them as special tokens."""
    found = set(re.findall(r"<[|｜][^|｜<>\s'\"]{1,40}[|｜]>|<(?:start|end)_of_[a-z]+>|<turn\|>|<\|turn>", template))
    return sorted(found - {"<s>", "</s>"})


def make_model(folder, template):
    """A small model whose tokens are bytes, and its template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>", "<unk>"] + signs(template))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    wrapped.chat_template = template
    wrapped.save_pretrained(folder)
    config = LlamaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=8, max_position_embeddings=16384, bos_token_id=256, eos_token_id=257)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return wrapped


# Name: prompt, answer of several turns, and what the record says besides.
TALKS = {
    "talk": ([SYSTEM, USER], [ANSWER, MORE, {"role": "assistant", "content": "No."}], {}),
    "long talk": ([USER], [ANSWER, MORE, {"role": "assistant", "content": "No."}, MORE, ANSWER], {}),
    "tool talk": ([SYSTEM, USER], [CALL, RESULT, ANSWER, MORE, {"role": "assistant", "content": "No."}],
                  {"tools": [TOOL]}),
    "thoughts": ([USER], [THOUGHT, MORE, THOUGHT], {}),
    "no thinking": ([USER], [ANSWER, MORE, ANSWER], {"chat_template_kwargs": {"enable_thinking": False}}),
}


# The answer on the other side of every pair.
OTHER = {"role": "assistant", "content": "Z"}


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def common(first, second):
    """The length of the common beginning."""
    return next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))


def n_unsaid(tokenizer, ids):
    """The number of blank tokens behind the end-of-turn token that a turn ends with; 0 where the template marks what is generated."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    n = next((n for n, i in enumerate(reversed(ids)) if i in special or tokenizer.decode([i]).strip()), 0)
    return n if not has_blocks(tokenizer) and n < len(ids) and ids[-1 - n] in special else 0


def has_blocks(tokenizer):
    return re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template)


def marked(tokenizer, prompt, answer, told):
    """Of a conversation the tokens, and the answer's mask by generation blocks."""
    whole = tokenizer.apply_chat_template(
        [*prompt, *answer], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **told)
    try:
        asked = tokenizer.apply_chat_template(prompt, tokenize=True, return_dict=True, **told)["input_ids"]
    except Exception:
        asked = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **told)["input_ids"]
    n = common(asked, whole["input_ids"])
    # A block may begin in what the prompt ends with (the end of a tool's results).
    while n and n < len(whole["assistant_masks"]) and whole["assistant_masks"][n] and whole["assistant_masks"][n - 1]:
        n -= 1
    return whole["input_ids"], [bool(mask) and i >= n for i, mask in enumerate(whole["assistant_masks"])]


def border(tokenizer, prompt, answers, told):
    """The number of the prompt's tokens: up to where they are no longer those of the prompt with an answer, as TRL parts
    them, or to the first token of an answer that is marked as generated."""
    start = ids_of(tokenizer, tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **told))
    shared = []
    for answer in answers:
        whole = ids_of(tokenizer, tokenizer.apply_chat_template([*prompt, *answer], tokenize=False, **told))
        shared.append(common(start, whole))
        if has_blocks(tokenizer):
            _, mask = marked(tokenizer, prompt, answer, told)
            shared.extend([mask.index(True)] if True in mask else [])
    return min(shared)


def arguments(more):
    return {"tools": more.get("tools"), **more.get("chat_template_kwargs", {})}


def theirs(tokenizer, prompt, answer, more):
    """The prompt, and the prompt with its answer; nothing where transformers refuses."""
    told = arguments(more)
    try:
        whole = tokenizer.apply_chat_template([*prompt, answer], tokenize=False, **told)
        n = border(tokenizer, prompt, [[answer], [OTHER]], told)
        ids = ids_of(tokenizer, whole)
        decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=False)
        return decode(ids[:n]), decode(ids[:len(ids) - n_unsaid(tokenizer, ids)])
    except Exception:
        return None


def ours(binary, folder, tokenizer, prompt, answer, more):
    """The same of hybrid-dpo, and what it says where it refuses."""
    answer = answer if isinstance(answer, list) else [answer]
    record = {"prompt": prompt, "chosen": answer, "rejected": [OTHER], **more}
    data, out = os.path.join(folder, "data.jsonl"), os.path.join(folder, "scores.jsonl")
    pathlib.Path(data).write_text(json.dumps(record) + "\n")
    lengths = ["--max-length", "16384", "--max-prompt-length", "12000"]
    done = subprocess.run([binary, "score", "--model", folder, "--data", data, "--out", out, "--quiet", *lengths],
                          capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip()
    line = json.loads(pathlib.Path(out).read_text().splitlines()[0])
    start = line["prompt_tokens"]
    decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=False)
    tokens = line["chosen"]["tokens"]
    weights = line["chosen"].get("weights", [1.0] * len(tokens))
    is_scored = [number is not None for number in line["chosen"]["log_probs"]]
    assert is_scored == [weight > 0 for weight in weights], "numbers are where weights are"
    return (decode(start), decode(start + tokens), runs(decode, tokens, is_scored)), ""


def runs(decode, tokens, mask):
    """The texts of the tokens that a mask holds, run by run."""
    found, before = [], False
    for token, is_held in zip(tokens, mask):
        if is_held and not before:
            found.append([])
        if is_held:
            found[-1].append(token)
        before = is_held
    return [decode(run) for run in found]


def scored(tokenizer, prompt, answer, more):
    """The prompt with its answer, and the texts that are scored; nothing where transformers refuses. The texts are
    nothing where they can't be told, as the template writes earlier turns differently later."""
    told = arguments(more)
    write = lambda messages, header: tokenizer.apply_chat_template(
        messages, add_generation_prompt=header, tokenize=False, **told)
    decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=False)
    try:
        whole = write([*prompt, *answer], False)
        starts = [write([*prompt, *answer[:i]], True) for i in range(len(answer))]
        parts = [write([*prompt, *answer[:i]], False) for i in range(len(answer) + 1)]
        n = border(tokenizer, prompt, [answer, [OTHER]], told)
        ids = ids_of(tokenizer, whole)
        start = decode(ids[:n])
        if answer[-1]["role"] == "assistant":
            whole = decode(ids[:len(ids) - n_unsaid(tokenizer, ids)])
        if has_blocks(tokenizer):
            _, mask = marked(tokenizer, prompt, answer, told)
            return start, whole, runs(decode, ids[n:], mask[n:])
    except Exception:
        return None
    if not all(decode(ids).startswith(part) for part in parts):
        return start, whole, None
    mask = [False] * len(ids)
    for i in (i for i, message in enumerate(answer) if message["role"] == "assistant"):
        begin, end = common(ids_of(tokenizer, starts[i]), ids), len(ids_of(tokenizer, parts[i + 1]))
        end -= n_unsaid(tokenizer, ids[begin:end])
        mask[begin:end] = [True] * (end - begin)
    return start, whole, runs(decode, ids[n:], mask[n:])


def is_scored_alike(expected, found, answer, eos):
    """Whether the texts are the same, and the same parts are scored: token by token, but for an end token where the template
    has none."""
    (start, whole, texts), (our_start, our_whole, ours) = expected, found
    if not is_equal((start, whole), (our_start, our_whole), eos):
        return False
    if texts is None:
        said = [message["content"].strip() for message in answer if message["role"] == "assistant"]
        given = [message["content"].strip() for message in answer if message["role"] != "assistant"]
        return len(ours) == len(said) and all(text in our for text, our in zip(said, ours)) \
            and not any(text in our for text in given for our in ours)
    added = our_whole[len(whole):]
    ends = {texts[-1], texts[-1] + added} if texts else {""}
    return len(texts) == len(ours) and texts[:-1] == ours[:-1] and ours[-1] in ends


def is_equal(expected, found, eos):
    """Whether both texts are the same, but for an end token where the template has none."""
    (start, whole), (our_start, our_whole) = expected, found
    return our_start == start and our_whole in {whole, whole + eos}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--only", default="", help="templates whose names hold this")
    options = parser.parse_args()
    checks = Checks()
    templates = sorted((pathlib.Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
    for template in (path for path in templates if options.only in path.name):
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = make_model(folder, template.read_text())
            for name, (prompt, answer, more) in CONVERSATIONS.items():
                expected = theirs(tokenizer, prompt, answer, more)
                found, message = ours(options.binary, folder, tokenizer, prompt, answer, more)
                is_right = found is None if expected is None else found and is_equal(expected, found[:2], "</s>")
                checks(f"{template.name}, {name}{'' if expected else ' (refused)'}", float(not is_right), 0.0)
                if not is_right:
                    print(f"    transformers {expected!r}\n    hybrid-dpo   {found!r} {message}")
                expected = scored(tokenizer, prompt, [answer], more)
                if expected and found:
                    is_right = is_scored_alike(expected, found, [answer], "</s>")
                    checks(f"{template.name}, scored turn of {name}", float(not is_right), 0.0)
                    if not is_right:
                        print(f"    transformers {expected!r}\n    hybrid-dpo   {found!r} {message}")
            for name, (prompt, answer, more) in TALKS.items():
                expected = scored(tokenizer, prompt, answer, more)
                found, message = ours(options.binary, folder, tokenizer, prompt, answer, more)
                # A mask that covers nothing is refused.
                is_refused = expected is None or expected[2] == []
                is_right = found is None if is_refused else found and is_scored_alike(expected, found, answer, "</s>")
                kind = " (refused)" if is_refused else " (words)" if expected[2] is None else ""
                checks(f"{template.name}, scored turns of {name}{kind}", float(not is_right), 0.0)
                if not is_right:
                    print(f"    transformers {expected!r}\n    hybrid-dpo   {found!r} {message}")
    checks.end()


if __name__ == "__main__":
    main()

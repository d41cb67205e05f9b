"""transformers, peft and diffusers against `export`, `merge` and the laws of drawing of `sample`.

    pip install torch transformers peft diffusers safetensors
    cargo build --release
    python tests/peers/exports.py --binary target/release/hybrid-dpo

(1) `export` of a folder in bf16 writes, in each type, the numbers that torch's own conversion has, with the tokenizer, the
chat template and the generation settings; (2) `convert` of a GGUF file writes a folder in which transformers has the log-probabilities of
`score` on the file; (3) `merge` has the logits of peft's merged model; (4) of pipelines, folders that diffusers loads whole
and that give the same network outputs, with an adapter merged too; (5) greedy answers with a repetition penalty, ends by
texts and chats with a system prompt are those of `generate`, token for token, and draws by min-p follow the probabilities
of its processors. The last line is the count of checks.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import diffusers
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper,
    TopPLogitsWarper,
)

from checks import Checks
from run import CASES, call, largest_difference, make_data, make_model

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
TEMPLATE = "{% for m in messages %}{{ m.role[0] }} {{ m.content }} {% endfor %}{% if add_generation_prompt %}a {% endif %}"
TOLERANCE = 2e-4


def run(binary, *arguments):
    """The lines that a command prints."""
    done = subprocess.run([binary, *map(str, arguments), "--quiet"], check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def largest(one, other):
    """The largest difference of two dictionaries of tensors; infinite where names differ."""
    if one.keys() != other.keys():
        return math.inf
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


def types(binary, check, path):
    """(1)"""
    make_model(CASES["llama, grouped heads, untied"], path("base"))
    model = AutoModelForCausalLM.from_pretrained(path("base"), dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=[0, 7], bos_token_id=0, repetition_penalty=1.25)
    model.save_pretrained(path("half"))
    tokenizer = AutoTokenizer.from_pretrained(path("base"))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path("half"))
    chat = [{"role": "system", "content": "w3 w4"}, {"role": "user", "content": "w9"}]
    for word, dtype in [("auto", torch.bfloat16), *TYPES.items()]:
        call(binary, "export", "--model", path("half"), "--out", path(word), "--save-dtype", word)
        loaded = AutoModelForCausalLM.from_pretrained(path(word), dtype="auto")
        expected = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
        check(f"export {word}: weights", largest(dict(loaded.state_dict()), expected), 0)
        check(f"export {word}: type", loaded.dtype != dtype, 0)
        settings = [GenerationConfig.from_pretrained(path(folder)).to_dict() for folder in ("half", word)]
        check(f"export {word}: generation settings", settings[0] != settings[1], 0)
        theirs = AutoTokenizer.from_pretrained(path(word))
        same = theirs.chat_template == TEMPLATE and theirs.apply_chat_template(chat) == tokenizer.apply_chat_template(chat)
        check(f"export {word}: chat template", not same, 0)
        card = pathlib.Path(path(word, "README.md")).read_text()
        check(f"export {word}: card", "license: \"unknown\"" not in card, 0)


def gguf_files(binary, check, path):
    """(2)"""
    make_data(path("pairs.jsonl"))
    sizes = ["--max-length", "30", "--max-prompt-length", "15"]
    for name in ("llama-mixed", "gpt2", "qwen2", "gptneox"):
        file = str(GOLDEN / "formats" / f"{name}.gguf")
        call(binary, "convert", "--model", file, "--out", path(name))
        model, said = AutoModelForCausalLM.from_pretrained(path(name), dtype=torch.float32, output_loading_info=True)
        check(f"export of {name}.gguf: no tensor lacks or is left", any(said.values()), 0)
        if name == "llama-mixed":  # the one with a tokenizer
            call(binary, "score", "--model", file, "--data", path("pairs.jsonl"), *sizes, "--out", path("scores"))
            check(f"export of {name}.gguf", largest_difference(model.eval(), path("scores")), TOLERANCE)


def merged(binary, check, path):
    """(3)"""
    for case in ("llama, grouped heads, tied", "gpt2", "qwen2"):
        folder = case.split(",")[0]
        base, adapter, out = (path(f"{folder}-{part}") for part in ("base", "adapter", "merged"))
        make_model(CASES[case], base)
        load = lambda where: AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
        model = get_peft_model(load(base), LoraConfig(r=3, lora_alpha=9, target_modules="all-linear"))
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(adapter)
        call(binary, "merge", "--model", f"{base}+{adapter}", "--out", out)
        tokens = torch.randint(2, 110, (3, 40), generator=torch.Generator().manual_seed(2))
        theirs = PeftModel.from_pretrained(load(base), adapter).merge_and_unload()
        with torch.no_grad():
            wanted, plain, found = theirs(tokens).logits, load(base)(tokens).logits, load(out)(tokens).logits
        check(f"merge {folder}", (wanted - found).abs().max().item(), TOLERANCE)
        check(f"merge {folder}: the adapter counts", float((wanted - plain).abs().max() < 0.1), 0)


def pipelines(binary, check, path):
    """(4)"""
    for name, pipeline in (("sd", StableDiffusionPipeline), ("sdxl", StableDiffusionXLPipeline)):
        model = GOLDEN / "companions" / name
        theirs = pipeline.from_pretrained(model)
        for word in ("auto", "f16", "bf16"):
            out = path(f"{name}-{word}")
            call(binary, "export", "--model", str(model), "--out", out, "--save-dtype", word)
            pipe = pipeline.from_pretrained(out)
            check(f"{name} {word}: parts", set(pipe.components) != set(theirs.components), 0)
            for part in ("unet", "vae", "text_encoder"):
                own, other = getattr(pipe, part).state_dict(), getattr(theirs, part).state_dict()
                if word != "auto":
                    other = {key: tensor.to(TYPES[word]).to(tensor.dtype) if tensor.is_floating_point() else tensor
                             for key, tensor in other.items()}
                check(f"{name} {word}: {part}", largest(dict(own), dict(other)), 0)
            stored = load_file(os.path.join(out, "vae", "diffusion_pytorch_model.safetensors"))
            right = word == "auto" or all(tensor.dtype == TYPES[word] for tensor in stored.values())
            check(f"{name} {word}: type of the autoencoder", not right, 0)
    base = GOLDEN / "companions" / "sd"
    pipe = StableDiffusionPipeline.from_pretrained(base)
    plain = StableDiffusionPipeline.from_pretrained(base).unet
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    torch.manual_seed(3)
    with torch.no_grad():
        for key, parameter in pipe.unet.named_parameters():
            if "lora_" in key:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    layers = {key.replace("base_model.model.", ""): value for key, value in get_peft_model_state_dict(pipe.unet).items()}
    StableDiffusionPipeline.save_lora_weights(path("lora"), unet_lora_layers=layers)
    # diffusers' file does not say its alpha, which then is the rank: the merged change is half of what the model here has.
    pipe.unet.set_adapters("default", weights=0.5)
    call(binary, "merge", "--model", f"{base}+{path('lora')}", "--out", path("unet-merged"))
    ours = StableDiffusionPipeline.from_pretrained(path("unet-merged")).unet
    generator = torch.Generator().manual_seed(4)
    size, width = plain.config.sample_size, plain.config.cross_attention_dim
    latents = torch.randn((2, plain.config.in_channels, size, size), generator=generator)
    context = torch.randn((2, 7, width), generator=generator)
    with torch.no_grad():
        outputs = [unet(latents, 500, encoder_hidden_states=context).sample for unet in (pipe.unet, ours, plain)]
    check("merge of a UNet's adapter", (outputs[0] - outputs[1]).abs().max().item(), TOLERANCE)
    check("merge of a UNet's adapter: it counts", float((outputs[0] - outputs[2]).abs().max() < 1e-2), 0)


def drawing(binary, check, path):
    """(5)"""
    make_model(CASES["llama, grouped heads, tied"], path("model"))
    tokenizer = AutoTokenizer.from_pretrained(path("model"))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path("model"))
    model = AutoModelForCausalLM.from_pretrained(path("model"), dtype=torch.float32).eval()
    prompts = ["w5 w6 w7 w5", "w90 w2", "w17 w17 w17 w4 w3"]
    asked = [word for prompt in prompts for word in ("--prompt", prompt)]
    sample = ["sample", "--model", path("model"), "--max-new-tokens", 24]

    def theirs(ids, **settings):
        # The model's own settings would be the defaults of `generate`.
        config = GenerationConfig(eos_token_id=0, pad_token_id=0, do_sample=False, max_new_tokens=24, **settings)
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, tokenizer=tokenizer)
        return out[0, ids.shape[1]:].tolist()

    def compare(name, lines, ids, **settings):
        for i, (line, prompt) in enumerate(zip(lines, ids)):
            expected = theirs(torch.tensor([prompt]), **settings)
            check(f"{name}, prompt {i}", line["tokens"] != expected, 0)

    encoded = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    for penalty in (1.0, 1.3, 0.7):
        more = ["--temperature", 0, "--repetition-penalty", penalty]
        compare(f"repetition penalty {penalty}", run(binary, *sample, *asked, *more), encoded, repetition_penalty=penalty)
    chats = [[{"role": "system", "content": "w8 w9"}, {"role": "user", "content": prompt}] for prompt in prompts]
    render = lambda chat: tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    lines = run(binary, *sample, *asked, "--temperature", 0, "--chat", "--system", "w8 w9")
    compare("chats with a system prompt", lines, [render(chat) for chat in chats])
    right = all(line["messages"][:2] == chat for line, chat in zip(lines, chats))
    check("chats come back as messages", not right, 0)

    # A token a letter: transformers can't look for texts in a tokenizer of words.
    make_model(CASES["qwen2"], path("letters"))
    tokenizer = AutoTokenizer.from_pretrained(path("letters"))
    model = AutoModelForCausalLM.from_pretrained(path("letters"), dtype=torch.float32).eval()
    encoded = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    free = [[tokenizer.decode([token]) for token in theirs(torch.tensor([ids]))] for ids in encoded]
    is_letter = lambda text: len(text) == 1 and text.isascii() and text.isprintable() and text != " "
    stops = [next(text for text in texts[3:] if is_letter(text)) for texts in free]
    more = [word for stop in stops for word in ("--stop", stop)]
    asked = ["sample", "--model", path("letters"), "--max-new-tokens", 24, "--temperature", 0, *asked, *more]
    lines = run(binary, *asked)
    compare("ends by texts", lines, encoded, stop_strings=stops)
    for i, line in enumerate(lines):
        is_cut = line["finished"] and not any(stop in line["response"] for stop in stops)
        check(f"ends by texts, prompt {i}: the text is cut", not is_cut, 0)


def shares(binary, check, path):
    """(5), draws"""
    make_model(CASES["llama, grouped heads, tied"], path("model"))
    tokenizer = AutoTokenizer.from_pretrained(path("model"))
    model = AutoModelForCausalLM.from_pretrained(path("model"), dtype=torch.float32).eval()
    prompt, n = "w5 w6 w7 w5", 4000
    ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logits = model(ids).logits[:, -1].float()
    for name, more, processors in [
        ("min-p", ["--min-p", 0.3], [MinPLogitsWarper(0.3)]),
        ("min-p behind temperature, top-k and top-p", ["--min-p", 0.1, "--top-k", 20, "--top-p", 0.8, "--temperature", 1.5],
         [TemperatureLogitsWarper(1.5), TopKLogitsWarper(20), TopPLogitsWarper(0.8), MinPLogitsWarper(0.1)]),
        ("penalty, then min-p", ["--repetition-penalty", 2, "--min-p", 0.2],
         [RepetitionPenaltyLogitsProcessor(2.0), MinPLogitsWarper(0.2)]),
    ]:
        expected = LogitsProcessorList(processors)(ids, logits)[0].softmax(-1).double()
        lines = run(binary, "sample", "--model", path("model"), "--max-new-tokens", 1, "--prompt", prompt, "--n", n, *more)
        found = torch.zeros_like(expected)
        for line in lines:
            found[line["tokens"][0]] += 1 / n
        check(f"{name}: nothing else is drawn", found[expected == 0].sum().item(), 0)
        # Five standard deviations of a share.
        allowed = (5 * (expected * (1 - expected) / n).sqrt() + 1e-9)
        check(f"{name}: shares, in units of what is allowed", ((found - expected).abs() / allowed).max().item(), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--only", default="", help="a group: types, gguf_files, merged, pipelines, drawing, shares")
    options = parser.parse_args()
    checks = Checks()
    for group in (types, gguf_files, merged, pipelines, drawing, shares):
        if options.only in ("", group.__name__):
            with tempfile.TemporaryDirectory() as folder:
                group(options.binary, checks, lambda *parts: os.path.join(folder, *parts))
    checks.end()


if __name__ == "__main__":
    main()

"""PyTorch against hybrid-dpo's TorchScript policies, and these against the same weights as native models.

    pip install torch transformers diffusers safetensors
    LIBTORCH=$(python -c 'import os, torch; print(os.path.dirname(torch.__file__))')
    export LIBTORCH LD_LIBRARY_PATH=$LIBTORCH/lib
    cargo build --release --features torch
    python tests/peers/torchscript.py --binary target/release/hybrid-dpo

A GPT-2 that PyTorch scripts and a UNet that it traces are scored, trained by ten steps of AdamW, sampled, searched and resumed,
and a denoiser of one's own beside them; losses, gradient norms and weights are those of the same steps in PyTorch, and of the
native models. What is written loads in PyTorch. What can't be is refused. The last line is the count of checks.
"""

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import diffusion
from checks import Checks
from diffusion import SCHEDULERS, SD1, lines, relative

WORDS, POSITIONS, WIDTH, HEADS, LAYERS, PAIRS, STEPS = 120, 64, 32, 4, 2, 6, 10
SCORES, CURVES, WEIGHTS = 1e-5, 1e-5, 2e-5
BETA, RATE = 0.1, 1e-3
TRAINING = [
    "--objective", "dpo", "--optimizer", "adamw", "--weight-decay", "0.01", "--warmup-steps", "0", "--schedule", "constant",
    "--max-grad-norm", "1", "--eval-share", "0", "--n-samples", "0", "--micro-batch-size", "2",
]
LENGTHS = ["--max-length", str(POSITIONS), "--max-prompt-length", "32"]


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.c_attn, self.c_proj = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.mlp_proj = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        n, length, width = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(width, dim=2)
        q, k, v = [part.view(n, length, 4, width // 4).transpose(1, 2) for part in (q, k, v)]
        scores = q @ k.transpose(-2, -1) / (width // 4) ** 0.5
        ahead = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        attended = scores.masked_fill(ahead, float("-inf")).softmax(-1) @ v
        x = x + self.c_proj(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp_proj(torch.nn.functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(torch.nn.Module):
    """GPT-2, as anybody would write it; the head is the embedding."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Embedding(POSITIONS, WIDTH)
        self.blocks = torch.nn.ModuleList([Block() for _ in range(LAYERS)])
        self.ln_f = torch.nn.LayerNorm(WIDTH)
        self.head = torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.wte.weight
        self.dropout = torch.nn.Dropout(0.5)  # which a policy goes without

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


class Unlearning(torch.nn.Module):
    """A module whose output has no graph."""

    def __init__(self, gpt):
        super().__init__()
        self.gpt = gpt

    def forward(self, ids):
        with torch.no_grad():
            return self.gpt(ids)


def theirs_to_ours(name):
    """The name of a tensor of transformers' GPT-2 in `Gpt`, and whether it is turned."""
    name = name.removeprefix("transformer.").replace("h.", "blocks.", 1) if ".h." in name else name.removeprefix("transformer.")
    turned = any(part in name for part in ("c_attn.weight", "c_proj.weight", "c_fc.weight"))
    name = name.replace("attn.c_attn", "c_attn").replace("attn.c_proj", "c_proj")
    return name.replace("mlp.c_proj", "mlp_proj").replace("mlp.c_fc", "c_fc"), turned


def gpt_of(state):
    """Our module with the weights of transformers' model."""
    gpt = Gpt()
    own = {}
    for name, tensor in state.items():
        if name == "lm_head.weight":  # the embedding
            continue
        ours, turned = theirs_to_ours(name)
        own[ours] = tensor.t().contiguous() if turned else tensor
    own["head.weight"] = own["wte.weight"]
    gpt.load_state_dict(own)
    return gpt


def make_gpt(path):
    """The same weights as transformers' folder and as a policy; and a reference with others."""
    vocabulary = {"<|end|>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", unk_token="<unk>")
    config = GPT2Config(vocab_size=WORDS, bos_token_id=0, eos_token_id=0, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
                        n_positions=POSITIONS)
    for seed, name in enumerate(("gpt", "other")):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
        with torch.no_grad():  # initial weights are so small that every token is about as likely as another
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(path(name))
        fast.save_pretrained(path(name))
        os.makedirs(path(f"{name}-torch"))
        torch.jit.script(gpt_of(model.state_dict())).save(path(f"{name}-torch", "policy.pt"))
        shutil.copy(path(name, "tokenizer.json"), path(f"{name}-torch", "tokenizer.json"))
        write(path(f"{name}-torch", "policy.json"),
              {"kind": "token-logits", "vocabulary": WORDS, "max_length": POSITIONS, "eos": 0})


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


def make_pairs(path):
    rng = random.Random(0)
    words = lambda low, high: " ".join(f"w{rng.randrange(2, WORDS)}" for _ in range(rng.randint(low, high)))
    pairs = [{"prompt": words(3, 12), "chosen": words(1, 9), "rejected": words(1, 9)} for _ in range(PAIRS)]
    for name, rows in (("pairs.jsonl", pairs), ("prompts.jsonl", [{"prompt": pair["prompt"]} for pair in pairs])):
        with open(path(name), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def run(binary, *arguments):
    done = subprocess.run([binary, *arguments, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stderr}"
    return done.stdout


def log_probs(gpt, prompt, tokens):
    """Of an answer's tokens."""
    logits = gpt(torch.tensor([prompt + tokens]))[0]
    return logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(tokens)[:, None])[:, 0]


def dpo_in_pytorch(gpt, reference, scored):
    """Losses and gradient norms of the same steps; the module learns in place."""
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    margin = lambda model, line: (
        log_probs(model, line["prompt_tokens"], line["chosen"]["tokens"]).sum()
        - log_probs(model, line["prompt_tokens"], line["rejected"]["tokens"]).sum()
    )
    with torch.no_grad():
        of_reference = [margin(reference, line) for line in scored]
    losses, norms = [], []
    for _ in range(STEPS):
        margins = torch.stack([margin(gpt, line) - start for line, start in zip(scored, of_reference)])
        loss = -torch.nn.functional.logsigmoid(BETA * margins).mean()
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def numbers(value):
    """All numbers in a piece of JSON, in order."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def largest(found, expected):
    assert len(found) == len(expected) > 0, (len(found), len(expected))
    return max(abs(a - b) for a, b in zip(found, expected))


def state_of(path):
    """The weights of a policy that was written, as PyTorch loads them."""
    return dict(torch.jit.load(path).named_parameters())


def weights_apart(found, expected):
    """The largest difference; what is expected has to be there. The bias of keys changes nothing, and AdamW makes whole steps of the rounding of its gradient."""
    def difference(name, tensor):
        apart = (found[name].detach() - tensor.detach()).abs()
        if name.endswith("c_attn.bias"):
            apart[WIDTH : 2 * WIDTH] = 0
        return apart.max().item()

    missing = expected.keys() - found.keys()
    assert expected and not missing, f"no weights are called {', '.join(sorted(missing))}; there are {', '.join(sorted(found))}"
    return max(difference(name, tensor) for name, tensor in expected.items())


def check_tokens(binary, check, path):
    make_gpt(path)
    make_pairs(path)
    policy, other = path("gpt-torch", "policy.pt"), path("other-torch", "policy.pt")
    data = ["--data", path("pairs.jsonl"), *LENGTHS]
    load = lambda name: gpt_of(GPT2LMHeadModel.from_pretrained(path(name)).state_dict())

    scored = {}
    for name, model, reference in (("torch", policy, other), ("native", path("gpt"), path("other"))):
        out = path(f"{name}.jsonl")
        run(binary, "score", "--model", model, "--reference", reference, *data, "--out", out)
        scored[name] = lines(out)
    gpt = load("gpt").eval()
    with torch.no_grad():
        expected = [log_probs(gpt, line["prompt_tokens"], line[side]["tokens"]).tolist()
                    for line in scored["torch"] for side in diffusion.SIDES]
    found = [line[side]["log_probs"] for line in scored["torch"] for side in diffusion.SIDES]
    check("GPT-2: log-probabilities, PyTorch's", largest(numbers(found), numbers(expected)), SCORES)
    check("GPT-2: all of score, the native model's", largest(numbers(scored["torch"]), numbers(scored["native"])), SCORES)
    both = [["--model", policy, "--reference", other], ["--model", path("gpt"), "--reference", path("other")]]
    for name, which in zip(("torch", "native"), both):
        run(binary, "eval", *which, *data, "--out", path(f"eval-{name}.json"))
    evals = [numbers(json.load(open(path(f"eval-{name}.json")))) for name in ("torch", "native")]
    check("GPT-2: eval, the native model's", largest(*evals), 1e-4)

    training = [*data, *TRAINING, "--beta", str(BETA), "--lr", str(RATE), "--batch-size", str(PAIRS)]
    epochs = lambda n: ["--epochs", str(n), "--max-steps", str(n)]
    run(binary, "train", "--model", policy, *training, *epochs(STEPS), "--out", path("run"))
    run(binary, "train", "--model", path("gpt"), *training, *epochs(STEPS), "--out", path("run-native"))
    start = load("gpt").eval()
    losses, norms = dpo_in_pytorch(gpt, start, scored["torch"])
    steps, native = lines(path("run", "metrics.jsonl")), lines(path("run-native", "metrics.jsonl"))
    of = lambda steps, name: [line[name] for line in steps if line["split"] == "train"]
    check(f"GPT-2: losses of {STEPS} steps, PyTorch's", relative(of(steps, "loss"), losses), CURVES)
    check(f"GPT-2: gradient norms, PyTorch's", relative(of(steps, "grad_norm"), norms), 1e-4)
    check(f"GPT-2: losses of {STEPS} steps, the native model's", relative(of(steps, "loss"), of(native, "loss")), CURVES)
    written = path("run", "model", "policy.pt")
    state = state_of(written)
    check("GPT-2: weights after training, PyTorch's", weights_apart(state, dict(gpt.named_parameters())), WEIGHTS)
    trained = {theirs_to_ours(name): tensor for name, tensor in load_file(path("run-native", "model", "model.safetensors")).items()}
    trained = {name: tensor.t() if turned else tensor for (name, turned), tensor in trained.items()}
    trained.pop("head.weight", None), trained.pop("lm_head.weight", None)
    check("GPT-2: weights after training, the native model's", weights_apart(state, trained), WEIGHTS)
    ids = torch.tensor([scored["torch"][0]["prompt_tokens"]])
    with torch.no_grad():
        check("GPT-2: what is written, in PyTorch", (torch.jit.load(written).eval()(ids) - gpt(ids)).abs().max().item(), 1e-4)
    moved = weights_apart(state, dict(start.named_parameters()))
    check("GPT-2: and it has learned", 0.0 if moved > 1e-3 else 1.0, 0.0)

    for name in (path("run"), written):
        run(binary, "score", "--model", name, *data, "--out", path("trained.jsonl"))
        found = numbers([line[side]["log_probs"] for line in lines(path("trained.jsonl")) for side in diffusion.SIDES])
        with torch.no_grad():
            expected = [log_probs(gpt, line["prompt_tokens"], line[side]["tokens"]).tolist()
                        for line in scored["torch"] for side in diffusion.SIDES]
        check(f"GPT-2: {os.path.basename(name)} is read again", largest(found, numbers(expected)), 1e-4)

    run(binary, "train", "--model", policy, *training, *epochs(STEPS // 2), "--out", path("half"))
    run(binary, "train", "--resume", path("half"), *epochs(STEPS))
    resumed = state_of(path("half", "model", "policy.pt"))
    check("GPT-2: stopped halfway and resumed", 0.0 if all(torch.equal(resumed[k], state[k]) for k in state) else 1.0, 0.0)
    for threads in ("1", "2"):
        for again in ("a", "b"):
            run(binary, "train", "--model", policy, *training, *epochs(2), "--threads", threads, "--out", path(threads + again))
        one, two = (state_of(path(threads + again, "model", "policy.pt")) for again in "ab")
        check(f"GPT-2: the same again with {threads} threads", 0.0 if all(torch.equal(one[k], two[k]) for k in one) else 1.0, 0.0)
    run(binary, "train", "--model", policy, "--reference", other, *training, *epochs(1), "--out", path("beside"))
    with torch.no_grad():
        with_other = dpo_in_pytorch_first(load("gpt").eval(), load("other").eval(), scored["torch"])
    check("GPT-2: the first loss beside a reference", abs(lines(path("beside", "metrics.jsonl"))[0]["loss"] - with_other), CURVES)
    run(binary, "train", "--model", policy, *training, *epochs(2), "--ema", "0.5", "--reference-ema", "0.9", "--out", path("ema"))

    prompts = ["--prompts", path("prompts.jsonl"), "--max-new-tokens", "8"]
    texts = lambda out: [line["tokens"] for line in lines(out)]
    for what, verb in (("greedy samples", ["sample", "--temperature", "0"]), ("samples", ["sample", "--temperature", "1", "--n", "3"]),
                       ("a beam", ["search", "--method", "beam", "--width", "3"])):
        for name, model in (("t", policy), ("n", path("gpt"))):
            run(binary, *verb, "--model", model, *prompts, "--out", path(f"{name}.jsonl"))
        check(f"GPT-2: {what}, the native model's", float(texts(path("t.jsonl")) != texts(path("n.jsonl"))), 0.0)
    shown = run(binary, "inspect", policy)
    check("GPT-2: inspect", float("TorchScript" not in shown or str(WORDS) not in shown), 0.0)
    return policy, training


def dpo_in_pytorch_first(gpt, reference, scored):
    margin = lambda model, line: (
        log_probs(model, line["prompt_tokens"], line["chosen"]["tokens"]).sum()
        - log_probs(model, line["prompt_tokens"], line["rejected"]["tokens"]).sum()
    )
    margins = torch.stack([margin(gpt, line) - margin(reference, line) for line in scored])
    return -torch.nn.functional.logsigmoid(BETA * margins).mean().item()


class Small(torch.nn.Module):
    """A denoiser of one's own."""

    def __init__(self):
        super().__init__()
        self.into, self.out = torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.Conv2d(16, 3, 3, padding=1)
        self.time = torch.nn.Linear(1, 16)

    def forward(self, x, t):
        told = self.time(t[:, None] / 1000)
        return self.out(torch.nn.functional.silu(self.into(x) + told[:, :, None, None]))


class Called(torch.nn.Module):
    """A module in the form in which diffusers calls its own."""

    class Out:
        def __init__(self, sample):
            self.sample = sample

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x, t, encoder_hidden_states=None, added_cond_kwargs=None):
        inputs = (x, t.to(x)) if encoder_hidden_states is None else (x, t.to(x), encoder_hidden_states)
        return self.Out(self.module(*inputs))


class Plain(torch.nn.Module):
    """diffusers' UNet as a function of tensors."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, t, context):
        return self.unet(x, t, encoder_hidden_states=context, return_dict=False)[0]


def scheduler_of(name):
    scheduler = SCHEDULERS[name]
    return dict(scheduler.config) | {"_class_name": type(scheduler).__name__}


def check_denoiser(binary, check, path, name, make, prediction, native):
    """Scores and ten steps; `make` gives the module and how it is exported, `native` is a folder of the same weights."""
    kind = "DDPM" if native is None else "SD 1"
    folder = lambda *parts: path(f"{name} {prediction}", *parts)
    os.makedirs(folder())
    module, export, context = make()
    export(module, folder("policy.pt"))
    latents, draws = diffusion.make_data(kind, 3 if native is None else 4)
    save_file(latents, folder("latents.safetensors"))
    save_file(draws, folder("draws.safetensors"))
    channels, height, width = latents["chosen"].shape[1:]
    settings = {"kind": "denoiser", "channels": channels, "height": height, "width": width,
                "prediction": prediction.split(",")[0], "scheduler": scheduler_of(prediction)}
    write(folder("policy.json"), settings | ({"context": context} if context else {}))
    scheduler, called = SCHEDULERS[prediction], Called(module)
    data = ["--mdp", "diffusion", "--latents", folder("latents.safetensors"), "--draws", folder("draws.safetensors")]
    score = lambda model, out, *more: (run(binary, "score", "--model", model, *data, *more, "--out", folder(out)), lines(folder(out)))[1]
    scored = score(folder("policy.pt"), "t.jsonl")
    with torch.no_grad():
        sums = [diffusion.squared_errors(called, scheduler, latents, draws, side).sum(dim=[1, 2, 3]) for side in diffusion.SIDES]
    apart = [relative([line[side]["error"] for line in scored], sums[i]) for i, side in enumerate(diffusion.SIDES)]
    check(f"{name}, {prediction}: errors, PyTorch's", max(apart), SCORES)
    write(folder("scheduler_config.json"), scheduler_of(prediction))
    beta, rate = diffusion.BETA, 1e-5
    training = [*data, *TRAINING, "--beta", str(beta), "--lr", str(rate), "--batch-size", str(diffusion.PAIRS)]
    epochs = lambda n: ["--epochs", str(n), "--max-steps", str(n)]
    run(binary, "train", "--model", folder("policy.pt"), *training, *epochs(STEPS), "--out", folder("run"))
    steps = [line for line in lines(folder("run", "metrics.jsonl")) if line["split"] == "train"]
    if native is not None:
        theirs = score(native, "n.jsonl", "--scheduler", folder("scheduler_config.json"))
        apart = [relative([line[side]["error"] for line in scored], [line[side]["error"] for line in theirs]) for side in diffusion.SIDES]
        check(f"{name}, {prediction}: errors, the native model's", max(apart), SCORES)
        run(binary, "train", "--model", native, "--scheduler", folder("scheduler_config.json"), *training, *epochs(STEPS), "--out",
            folder("run-native"))
        own = [line for line in lines(folder("run-native", "metrics.jsonl")) if line["split"] == "train"]
        check(f"{name}, {prediction}: losses of {STEPS} steps, the native model's",
              relative([line["loss"] for line in steps], [line["loss"] for line in own], diffusion.LEAST), diffusion.CURVES)
    before = {key: value.detach().clone() for key, value in module.named_parameters()}
    diffusion.RATE = rate
    reference = Called(make()[0])
    losses, norms = diffusion.dpo_steps(called, reference, scheduler, latents, draws)
    check(f"{name}, {prediction}: losses of {STEPS} steps, PyTorch's",
          relative([line["loss"] for line in steps], losses, diffusion.LEAST), diffusion.CURVES)
    check(f"{name}, {prediction}: gradient norms, PyTorch's",
          relative([line["grad_norm"] for line in steps], norms, diffusion.LEAST), diffusion.CURVES)
    written = torch.jit.load(folder("run", "model", "policy.pt"))
    state, learned = dict(written.named_parameters()), dict(module.named_parameters())
    found, expected, start = (torch.cat([of[key].detach().flatten() for key in learned]) for of in (state, learned, before))
    share = ((found - expected).norm() / (expected - start).norm()).item()
    check(f"{name}, {prediction}: weights after training, share of the way, PyTorch's", share, diffusion.WEIGHTS)
    inputs = [latents["chosen"], draws["timesteps"].float()] + ([latents["context"]] if context else [])
    with torch.no_grad():
        check(f"{name}, {prediction}: what is written, in PyTorch", (written(*inputs) - module(*inputs)).abs().max().item(), 1e-4)
    run(binary, "train", "--model", folder("policy.pt"), *training, *epochs(STEPS // 2), "--out", folder("half"))
    run(binary, "train", "--resume", folder("half"), *epochs(STEPS))
    resumed = dict(torch.jit.load(folder("half", "model", "policy.pt")).named_parameters())
    check(f"{name}, {prediction}: stopped halfway and resumed", float(not all(torch.equal(resumed[k], state[k]) for k in state)), 0.0)
    check(f"{name}, {prediction}: inspect", float("TorchScript" not in run(binary, "inspect", folder("policy.pt"))), 0.0)
    return folder("policy.pt"), data


def check_denoisers(binary, check, path):
    def small():
        torch.manual_seed(3)
        return Small(), lambda module, where: torch.jit.script(module).save(where), None

    def unet():
        module = Plain(UNet2DConditionModel.from_pretrained(path("unet")).eval())
        example = (torch.randn(2, 4, 8, 8), torch.tensor([5.0, 7.0]), torch.randn(2, diffusion.TOKENS, diffusion.WIDTH))
        export = lambda module, where: torch.jit.trace(module, example, check_trace=False).save(where)
        return module, export, {"width": diffusion.WIDTH}

    diffusion.make_model(UNet2DConditionModel, SD1, path("unet"), 0)
    made = check_denoiser(binary, check, path, "a denoiser of one's own", small, "epsilon", None)
    check_denoiser(binary, check, path, "a denoiser of one's own", small, "flow", None)
    check_denoiser(binary, check, path, "a UNet", unet, "v", path("unet"))
    policy, _ = made
    run(binary, "sample", "--mdp", "diffusion", "--model", policy, "--n", "2", "--sample-steps", "5", "--out", path("pictures.jsonl"))
    check("a denoiser of one's own: sample makes pictures", float(not os.listdir(path("pictures"))), 0.0)
    run(binary, "search", "--mdp", "diffusion", "--model", policy, "--method", "best-of", "--width", "2", "--sample-steps", "5", "--eta", "1", "--n", "1",
        "--out", path("found.jsonl"))
    return made


def check_refusals(binary, check, path, policy, training, denoiser, image_data):
    folder = os.path.dirname(policy)

    def refused(what, arguments, *expected):
        done = subprocess.run([binary, *arguments, "--quiet"], capture_output=True, text=True)
        good = done.returncode != 0 and all(word in done.stderr for word in expected) and "panicked" not in done.stderr
        print("" if good else f"{done.returncode}: {done.stderr}", end="")
        check(f"refused: {what}", float(not good), 0.0)

    def beside(name, settings, script=None):
        where = path("bad", name)
        os.makedirs(where)
        shutil.copy(script or policy, os.path.join(where, "policy.pt"))
        shutil.copy(os.path.join(folder, "tokenizer.json"), where)
        if settings is not None:
            write(os.path.join(where, "policy.json"), settings)
        return os.path.join(where, "policy.pt")

    def module(name, forward_of):
        class Bad(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(3))

        Bad.forward = forward_of
        where = path(f"{name}.pt")
        torch.jit.trace(Bad(), torch.zeros(1, 2, dtype=torch.int64)).save(where)
        return where

    def gpt():
        return gpt_of(GPT2LMHeadModel.from_pretrained(path("gpt")).state_dict())

    def saved(name, module):
        torch.jit.save(module, path(f"{name}.pt"))
        return path(f"{name}.pt")

    def fixed():
        return saved("fixed", torch.jit.script(gpt().requires_grad_(False)))

    def frozen():
        return saved("frozen", torch.jit.freeze(torch.jit.script(gpt().eval())))

    def without_graph():
        return saved("without graph", torch.jit.script(Unlearning(gpt())))

    tokens = json.load(open(os.path.join(folder, "policy.json")))
    train = ["train", "--model", policy, *training, "--epochs", "1", "--out", path("none")]
    score = lambda model: ["score", "--model", model, "--data", path("pairs.jsonl"), *LENGTHS]
    refused("adapters", [*train, "--lora-rank", "4"], "--lora-rank", "TorchScript")
    refused("activation checkpointing", [*train, "--activation-checkpointing"], "--activation-checkpointing", "TorchScript")
    refused("half precision", [*train, "--save-dtype", "bf16"], "--save-dtype", "TorchScript")
    refused("a quantised base", [*train, "--base-precision", "quantised"], "--base-precision")
    refused("a scheduler beside the settings", ["score", "--model", denoiser, *image_data, "--prediction", "v"], "--prediction")
    refused("export", ["export", "--model", policy, "--out", path("none")], "TorchScript")
    for name, module_of, why in (("fixed parameters", fixed, "requires_grad"), ("frozen", frozen, "torch.jit.freeze"),
                                 ("no_grad", without_graph, "torch.no_grad")):
        still = beside(name, tokens, module_of())
        run(binary, *score(still), "--reference", policy)
        refused(f"training of what can't learn: {name}", ["train", "--model", still, *training, "--max-steps", "1", "--out", path(name)],
                "no parameter gets a gradient", why)
    refused("an adapter on it", score(f"{policy}+{path('other')}"), "no adapters")
    refused("a denoiser as a language model", score(denoiser), "denoiser", "--mdp diffusion")
    refused("a language model as a denoiser", ["score", "--model", policy, *image_data], "token-logits", "--mdp token")
    refused("no file", score(path("nowhere", "policy.pt")), "no such file")
    refused("no settings", score(beside("no settings", None)), "policy.json")
    refused("an unknown key", score(beside("key", tokens | {"vocabulary_size": 3})), "unknown field `vocabulary_size`")
    refused("a kind", score(beside("kind", tokens | {"kind": "logits"})), "token-logits, denoiser")
    refused("a vocabulary that is another", score(beside("vocabulary", tokens | {"vocabulary": WORDS + 1})),
            f"{WORDS + 1}] in Float, got shape", f"{WORDS}]")
    refused("too long a text", [*score(beside("short", tokens | {"max_length": 8})), ], "positions")
    open(path("text.pt"), "w").write("no script")
    refused("no TorchScript", score(beside("script", tokens, path("text.pt"))), "no TorchScript")
    half = gpt_of(GPT2LMHeadModel.from_pretrained(path("gpt")).state_dict()).half()
    torch.jit.script(half).save(path("half.pt"))
    refused("half-precision weights", score(beside("half", tokens, path("half.pt"))), "Half", "float32")
    tuple_ = module("tuple", lambda self, ids: (self.weight, self.weight))
    refused("a tuple", score(beside("tuple", tokens, tuple_)), "a tuple", "expected one tensor")
    flat = module("flat", lambda self, ids: self.weight * 2)
    refused("an output of another shape", score(beside("flat", tokens, flat)), "expected logits [batch, length, vocabulary]", "got shape [3]")
    refused("a reference of another vocabulary", [*score(policy), "--reference", beside("less", tokens | {"vocabulary": WORDS + 1})],
            "another vocabulary")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    options = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *parts: os.path.join(folder, *parts)
        policy, training = check_tokens(options.binary, checks, path)
        denoiser, image_data = check_denoisers(options.binary, checks, path)
        check_refusals(options.binary, checks, path, policy, training, denoiser, image_data)
    checks.end()


if __name__ == "__main__":
    main()

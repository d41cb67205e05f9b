"""transformers and diffusers against hybrid-dpo on a refiner and a generator that learn from one loss.

    pip install torch diffusers transformers safetensors
    cargo build --release
    python tests/peers/hybrid.py --binary target/release/hybrid-dpo

A random Llama refines requests, the tiny Stable Diffusion of tests/golden/companions draws; `sample --pairs` makes pairs
whose two sides have prompts of their own, this script judges them. (1) `score` gives transformers' log-probabilities,
diffusers' squared errors and the margin of Eq. 15. (2) Ten joint AdamW steps give the losses, gradient norms and margins of
Eq. 15 and 16 written in PyTorch, the gradient clipped as one; and so with each half alone, with two draws inside the sigmoid
and weights of timesteps, and with a square loss and a term of the better side's likelihood. (3) transformers and diffusers load
what was written. The last line is the count of checks.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, CLIPTextModel, CLIPTokenizer, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

from checks import Checks

GENERATOR = pathlib.Path(__file__).parent.parent / "golden" / "companions" / "sd"
SIDE, PAIRS, STEPS, BETA, GAMMA, RATE, CLIP = 4, 6, 10, 0.7, 40.0, 1e-4, 1.0
SCORES, CURVES = 1e-4, 1e-3
WORDS = "a red blue green dog cat house tree sun big small on under the field".split()


def make_refiner(folder):
    torch.manual_seed(0)
    vocabulary = {"<end>": 0, "<unk>": 1} | {word: i + 2 for i, word in enumerate(WORDS)}
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=0, initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<end>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)
    return vocabulary


def call(binary, *arguments):
    subprocess.run([binary, *map(str, arguments), "--quiet"], check=True, stdout=subprocess.DEVNULL)


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


@dataclasses.dataclass
class Loss:
    """What is minimised, and what its flags are."""

    says: str = ""
    objective: str = "dpo"
    draws: int = 1
    horizon: float = 1.0
    snr: bool = False
    sft_weight: float = 0.0

    def flags(self):
        return ["--objective", self.objective, "--horizon", self.horizon, "--omega", "snr" if self.snr else "constant",
                "--sft-weight", self.sft_weight]

    def of_margin(self, margin):
        return (margin - 0.5) ** 2 if self.objective == "ipo" else -torch.nn.functional.logsigmoid(margin)


class Work:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.vocabulary = make_refiner(folder / "refiner")
        requests = [" ".join(WORDS[(i + k) % len(WORDS)] for k in range(2 + i % 3)) for i in range(PAIRS)]
        (folder / "requests.txt").write_text("\n".join(requests) + "\n")
        self.models = ["--mdp", "hybrid", "--refiner", folder / "refiner", "--generator", GENERATOR, "--image-size",
                       SIDE * self.factor(), "--max-length", 24, "--request-template", "{request}"]
        call(binary, "sample", *self.models, "--prompts", folder / "requests.txt", "--limit-prompts", PAIRS,
             "--sample-steps", 5, "--null-share", 0.2, "--pairs", folder / "pairs")
        self.pairs = lines(folder / "pairs" / "pairs.jsonl")
        about = json.loads((folder / "pairs" / "pairs.json").read_text())
        # Every third pair prefers b.
        self.preferences = [0.0 if i % 3 == 1 else 1.0 for i in range(PAIRS)]
        labels = [(i, "ab"[preference < 0.5], "one") for i, preference in enumerate(self.preferences)]
        with open(folder / "pairs" / "labels.jsonl", "w") as file:
            for index, choice, labeller in labels:
                label = {"version": 1, "pairs": about["id"], "index": index, "choice": choice, "labeller": labeller,
                         "by": "person"}
                file.write(json.dumps(label) + "\n")
        generator = torch.Generator().manual_seed(1)
        self.latents = load_file(folder / "pairs" / "latents.safetensors")
        shape = self.latents["a"].shape[1:]
        # How many of an example's draws are used: [examples, draws], and one of them without that dimension.
        draws = {"timesteps": torch.randint(0, 1000, (PAIRS, 2), generator=generator),
                 "noise": torch.randn((PAIRS, 2, *shape), generator=generator)}
        self.draws = {1: {name: tensor[:, 0].contiguous() for name, tensor in draws.items()}, 2: draws}
        for n, tensors in self.draws.items():
            save_file(tensors, folder / f"draws-{n}.safetensors")
        self.data = ["--data", folder / "pairs", "--beta", BETA, "--gamma", GAMMA]
        self.scheduler = DDIMScheduler.from_pretrained(GENERATOR, subfolder="scheduler")
        self.tokenizer = CLIPTokenizer.from_pretrained(GENERATOR, subfolder="tokenizer")
        self.encoder = CLIPTextModel.from_pretrained(GENERATOR, subfolder="text_encoder").double().eval()

    def factor(self):
        return 2 ** (len(json.loads((GENERATOR / "vae" / "config.json").read_text())["block_out_channels"]) - 1)

    def sides(self, index):
        """The better side and the worse one: refined prompt, its tokens, latent."""
        order = "ab" if self.preferences[index] > 0.5 else "ba"
        for side in order:
            line = self.pairs[index][side]
            yield line["refined"], line.get("refined_tokens") or [], self.latents[side][index].double()

    def log_probs(self, model, index):
        prompt = [self.vocabulary[word] for word in self.pairs[index]["request"].split()]
        found = []
        for refined, tokens, _ in self.sides(index):
            tokens = tokens or [self.vocabulary[word] for word in refined.split()] + [0]
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
            found.append(logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0])
        return found

    def drawn(self, n, index):
        """Timestep and noise of each of n draws."""
        timesteps = self.draws[n]["timesteps"].reshape(PAIRS, n, 1)[index]
        noise = self.draws[n]["noise"].reshape(PAIRS, n, 1, *self.latents["a"].shape[1:])[index].double()
        return zip(timesteps, noise, strict=True)

    def errors(self, unet, index, loss):
        """The squared error of each side, weighed by T omega / K and added up over the draws."""
        found = []
        for refined, _, latent in self.sides(index):
            ids = self.tokenizer([refined], padding="max_length", truncation=True, return_tensors="pt",
                                 max_length=self.tokenizer.model_max_length).input_ids
            with torch.no_grad():
                context = self.encoder(ids)[0]
            total = 0.0
            for t, noise in self.drawn(loss.draws, index):
                noisy = self.scheduler.add_noise(latent[None], noise, t)
                signal = self.scheduler.alphas_cumprod[t.item()].double()
                weight = loss.horizon / loss.draws * (signal / (1 - signal) if loss.snr else 1.0)
                total = total + weight * ((unet(noisy, t, encoder_hidden_states=context).sample - noise) ** 2).sum()
            found.append(total)
        return found

    def margins(self, models, references, index, loss):
        """Eq. 15: beta of the words' log-ratios, gamma of the errors', halved means as in Diffusion-DPO. Then the better
        side's log-likelihood in the same units; a request that nobody refined is not the refiner's."""
        unit = GAMMA * 0.5 / self.latents["a"][0].numel()
        own_words, own_errors = self.log_probs(models[0], index), self.errors(models[1], index, loss)
        with torch.no_grad():
            words, errors = self.log_probs(references[0], index), self.errors(references[1], index, loss)
        words = [(own.sum() - other.sum()) * BETA for own, other in zip(own_words, words, strict=True)]
        pictures = [(other - own) * unit for own, other in zip(own_errors, errors, strict=True)]
        better = self.pairs[index]["ab"[self.preferences[index] < 0.5]]
        likelihood = -own_errors[0] * unit + (0.0 if better["null_refiner"] else own_words[0].sum() * BETA)
        return words[0] - words[1], pictures[0] - pictures[1], likelihood

    def load(self, refiner, generator):
        return (AutoModelForCausalLM.from_pretrained(refiner, dtype=torch.float64).eval(),
                UNet2DConditionModel.from_pretrained(generator, subfolder="unet").double().eval())

    def steps(self, update, loss):
        """Losses, gradient norms and margins of each half over ten steps, and the models after."""
        start, models = self.load(self.folder / "refiner", GENERATOR), self.load(self.folder / "refiner", GENERATOR)
        for model, name in zip(models, ("refiner", "generator"), strict=True):
            model.requires_grad_(update in ("both", name))
        parameters = [p for model in models for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01)
        losses, norms, margins = [], [], []
        for _ in range(STEPS):
            optimizer.zero_grad()
            total, means = 0.0, torch.zeros(2, dtype=torch.float64)
            for index in range(PAIRS):
                words, pictures, likelihood = self.margins(models, start, index, loss)
                total = total + (loss.of_margin(words + pictures) - loss.sft_weight * likelihood) / PAIRS
                means += torch.stack([words.detach(), pictures.detach()]) / PAIRS
            total.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, CLIP).item())
            optimizer.step()
            losses.append(total.item())
            margins.append(means.tolist())
        return losses, norms, margins, models

    def check_score(self, check):
        other = self.folder / "other"
        make_refiner(other)
        model = LlamaForCausalLM.from_pretrained(other)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(other)
        call(self.binary, "score", *self.models, *self.data, "--draws", self.folder / "draws-1.safetensors",
             "--refiner-reference", other, "--out", self.folder / "scores.jsonl")
        scored = lines(self.folder / "scores.jsonl")
        models, references = self.load(self.folder / "refiner", GENERATOR), self.load(other, GENERATOR)
        words = pictures = margin = 0.0
        with torch.no_grad():
            assert len(scored) == PAIRS, len(scored)
            for index, line in enumerate(scored):
                for side, own, error in zip(("chosen", "rejected"), self.log_probs(models[0], index),
                                            self.errors(models[1], index, Loss()), strict=True):
                    found = torch.tensor(line[side]["log_probs"], dtype=torch.float64)
                    words = max(words, (found - own).abs().max().item())
                    pictures = max(pictures, abs(line[side]["error"] / error.item() - 1))
                expected = sum(self.margins(models, references, index, Loss())[:2]).item()
                margin = max(margin, abs(line["margin"] - expected) / max(1.0, abs(expected)))
        check("score: log-probabilities of refined prompts", words, SCORES)
        check("score: squared errors, relatively", pictures, SCORES)
        check("score: margins", margin, SCORES)

    def check_steps(self, check, update, loss):
        what = f"{update}{loss.says}"
        run = self.folder / f"run-{what}"
        call(self.binary, "train", *self.models, *self.data, *loss.flags(), "--draws",
             self.folder / f"draws-{loss.draws}.safetensors", "--update", update, "--optimizer", "adamw", "--weight-decay",
             "0.01", "--lr", RATE, "--warmup-steps", 0, "--max-grad-norm", CLIP, "--batch-size", PAIRS,
             "--micro-batch-size", 4, "--epochs", STEPS, "--eval-share", 0, "--n-samples", 0, "--out", run)
        found = [line for line in lines(run / "metrics.jsonl") if line["split"] == "train"]
        losses, norms, margins, models = self.steps(update, loss)
        relative = lambda a, b: max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))
        check(f"{what}: losses of {STEPS} steps", relative([line["loss"] for line in found], losses), CURVES)
        check(f"{what}: gradient norms", relative([line["grad_norm"] for line in found], norms), CURVES)
        for half, name in enumerate(("refiner", "generator")):
            largest = max(abs(margin[half]) for margin in margins) or 1.0
            differences = [abs(line[f"margins/{name}"] - margin[half]) for line, margin in zip(found, margins, strict=True)]
            check(f"{what}: margins of the {name}, share of the largest", max(differences) / largest, CURVES)
        trained = self.load(run / "model" / "refiner", run / "model" / "generator")
        for name, ours, theirs, start in zip(("refiner", "generator"), trained, models,
                                             self.load(self.folder / "refiner", GENERATOR), strict=True):
            flat = [torch.cat([p.flatten() for p in model.state_dict().values()]) for model in (ours, theirs, start)]
            way = (flat[1] - flat[2]).norm()
            if update in ("both", name):
                # Adam moves a weight without a gradient by its rate, whichever way the rounding goes.
                check(f"{what}: weights of the {name}, share of the way", ((flat[0] - flat[1]).norm() / way).item(), 2e-2)
            else:
                check(f"{what}: weights of the {name} stay", (flat[0] - flat[2]).abs().max().item(), 1e-12)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    binary = os.path.abspath(parser.parse_args().binary)
    check = Checks()

    with tempfile.TemporaryDirectory() as folder:
        work = Work(binary, pathlib.Path(folder))
        different = sum(pair["a"]["refined"] != pair["b"]["refined"] for pair in work.pairs)
        check(f"{different} of {PAIRS} pairs have two different prompts", 0.0 if different >= PAIRS // 2 else 1.0, 0.5)
        judged = zip(work.pairs, work.preferences, strict=True)
        given = sum(pair["ab"[preference < 0.5]]["null_refiner"] for pair, preference in judged)
        check(f"{given} of {PAIRS} better sides are requests that nobody refined", 0.0 if 0 < given < PAIRS else 1.0, 0.5)
        work.check_score(check)
        for update in ("both", "refiner", "generator"):
            work.check_steps(check, update, Loss())
        work.check_steps(check, "both", Loss(", two draws, T 3, omega snr", draws=2, horizon=3.0, snr=True))
        work.check_steps(check, "both", Loss(", ipo and sft", "ipo", sft_weight=0.1))
    check.end()


if __name__ == "__main__":
    main()

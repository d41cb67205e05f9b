"""diffusers and PEFT against hybrid-dpo, on the files of denoisers as their writers leave them.

    pip install torch diffusers transformers peft safetensors pillow
    cargo build --release
    python tests/peers/files_diffusion.py --binary target/release/hybrid-dpo

(1) An adapter of every setting, from every writer (a UNet alone, a pipeline with and without settings, PEFT, a state as
it is in memory, attention processors), gives the squared errors of the adapted UNet; what is not built is refused by its
name. (2) A run that trained an adapter is named as BASE+RUN, or alone, in every verb. (3) Schedulers' files as Python
writes them, with another prediction; (4) autoencoders' shifts and means, and guidance, give the pipelines' pictures; (5)
fields that change numbers and aren't built, and values of the wrong type, are refused by name. The last line is the count
of checks.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import torch
from diffusers import (
    DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel, UNet2DModel,
)
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import pipelines
from checks import Checks
from adapter_files import ADAPTERS, ATTENTION, REPLACING, WRITERS, WRITERS_OF_FACTORS, alone, alphas, without_settings
from diffusion import DDPM, LATENT, SD1, make_data, make_model, relative, squared_errors

ALLOWED, SIDES = 1e-3, ("chosen", "rejected")
# A change that is smaller would not tell an adapter from a quarter of it.
MOVED = 0.01


def run(binary, *arguments):
    return subprocess.run([binary, *map(str, arguments), "--quiet"], capture_output=True, text=True)


class Place:
    """A base, data, and what diffusers and ours say of them."""

    def __init__(self, binary, check, folder):
        self.binary, self.check, self.folder = binary, check, folder
        make_model(UNet2DConditionModel, SD1, folder / "base", 0)
        self.latents, self.draws = make_data("SD 1", 4)
        save_file(self.latents, folder / "latents.safetensors")
        save_file(self.draws, folder / "draws.safetensors")
        self.scheduler = DDPMScheduler(**LATENT)
        self.scheduler.save_pretrained(folder / "scheduler")
        make_model(UNet2DModel, DDPM, folder / "pixels", 0)
        (folder / "prompts.txt").write_text("one\n")

    def data(self, scheduler=None):
        scheduler = scheduler or self.folder / "scheduler" / "scheduler_config.json"
        return ["--mdp", "diffusion", "--latents", self.folder / "latents.safetensors", "--scheduler", scheduler]

    def score(self, model, *more, scheduler=None):
        """Ours, or what it is refused with."""
        out = self.folder / "scores.jsonl"
        done = run(self.binary, "score", "--model", model, *self.data(scheduler), "--draws",
                   self.folder / "draws.safetensors", "--out", out, *more)
        if done.returncode:
            return done.stderr.strip() or "no reason"
        return torch.tensor([[json.loads(line)[side]["error"] for side in SIDES] for line in out.open()])

    def errors(self, model, scheduler=None):
        with torch.no_grad():
            of = lambda side: squared_errors(model, scheduler or self.scheduler, self.latents, self.draws, side)
            return torch.stack([of(side).sum(dim=[1, 2, 3]) for side in SIDES], 1)

    def base(self):
        return UNet2DConditionModel.from_pretrained(self.folder / "base").eval()

    def compare(self, name, found, expected):
        if isinstance(found, str):
            self.check(f"{name}: {found}", float("inf"), ALLOWED)
        else:
            self.check(name, relative(found, expected), ALLOWED)

    def refused(self, name, done, word):
        """That it was refused, and names what hinders it."""
        text = done if isinstance(done, str) else done.stderr if getattr(done, "returncode", 0) else None
        if text is None:
            self.check(f"{name}: accepted", float("inf"), 0)
        else:
            self.check(f"{name}: refused, {text.strip()[-110:]!r}", 0 if word in text else 1, 0)

    def adapted(self, settings, peft=False):
        model = self.base()
        torch.manual_seed(4)
        config = LoraConfig(init_lora_weights=False, **settings)
        if peft:
            model = get_peft_model(model, config)
        else:
            model.add_adapter(config)
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(parameter + torch.randn(parameter.shape, generator=generator) * 0.3)
        return model.eval()


def check_adapters(place):
    base = place.errors(place.base())
    ways = [(name, settings, writer, write) for name, settings in ADAPTERS.items() for writer, write in WRITERS.items()]
    ways += [("alpha is the rank", ADAPTERS["alpha is the rank"], writer, write) for writer, write in WRITERS_OF_FACTORS.items()]
    ways += [("alpha is four ranks", ADAPTERS["alpha is four ranks"], "alphas beside them", alphas)]
    ways += [(name, settings, "a UNet alone", alone) for name, settings in REPLACING.items()]
    for name, settings, writer, write in ways:
        folder = place.folder / "adapter"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        model = place.adapted(settings)
        write(model, settings, folder)
        expected = place.errors(model)
        place.compare(f"{writer}: {name}", place.score(f"{place.folder / 'base'}+{folder}"), expected)
        moved = relative(expected, base)
        place.check(f"{writer}: {name}: moves errors by {moved:.2f}", 0 if moved > MOVED else 1, 0)


def check_peft(place):
    for name, settings in (ADAPTERS | REPLACING).items():
        folder = place.folder / "peft"
        shutil.rmtree(folder, ignore_errors=True)
        model = place.adapted(settings, peft=True)
        model.save_pretrained(folder)
        found = place.score(f"{place.folder / 'base'}+{folder}")
        place.compare(f"PEFT's folder: {name}", found, place.errors(model.base_model.model))
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(place.folder / "base")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    place.compare("PEFT's folder alone, which names its base", place.score(folder), place.errors(model.base_model.model))


def check_refusals(place):
    folder = place.folder / "refused"
    folder.mkdir()
    without_settings(place.adapted(ADAPTERS["alpha is the rank"]), {}, folder)
    path = folder / "pytorch_lora_weights.safetensors"
    sound = load_file(path)
    for key, word in {
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": "is missing",
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": "lora_B is missing",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": "an alpha is one number",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_magnitude_vector": "DoRA",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_B.bias": "lora_bias",
        "lora_unet_mid_block_attentions_0_proj_in.dora_scale": "dora_scale",
        "unet.mid_block.attentions.0.proj_in.lokr_w1": "LoKr",
        "unet.mid_block.attentions.0.proj_in.hada_w1_a": "LoHa",
        "unet.mid_block.nowhere.lora_A.weight": "nowhere",
    }.items():
        save_file(sound | {key: torch.zeros(2, 2)}, path)
        place.refused(f"a tensor of another kind, {key[:40]}", place.score(f"{place.folder / 'base'}+{folder}"), word)
    for key, value in {
        "layer_replication": [[0, 1]], "use_rslora": "true", "r": 4.5, "lora_alpha": "16", "rank_pattern": [4],
        "init_lora_weights": "pissa", "peft_type": "LOHA",
    }.items():
        settings = {"r": 4, "lora_alpha": 4, "peft_type": "LORA", "target_modules": ATTENTION} | {key: value}
        described = {"lora_adapter_metadata": json.dumps({f"unet.{name}": of for name, of in settings.items()})}
        save_file(sound, path, metadata=described)
        word = {"peft_type": "LOHA"}.get(key, key)
        place.refused(f"settings: {key} {value}", place.score(f"{place.folder / 'base'}+{folder}"), word)


def check_runs(place):
    base, out = place.folder / "base", place.folder / "run"
    training = ["--lora-rank", 4, "--lr", 1e-2, "--warmup-steps", 0, "--eval-share", 0, "--n-samples", 0, "--batch-size", 2]
    done = run(place.binary, "train", "--model", base, *place.data(), *training, "--max-steps", 3, "--out", out)
    place.check(f"a run of an adapter: {done.stderr.strip()[-110:]}", done.returncode, 0)
    model = place.base()
    state, ranks, metadata = StableDiffusionPipeline.lora_state_dict(
        out / "model", weight_name="pytorch_lora_weights.safetensors", return_lora_metadata=True
    )
    StableDiffusionPipeline.load_lora_into_unet(state, ranks, model, metadata=metadata)
    expected = place.errors(model)
    for name in (out, f"{base}+{out}", f"{base}+{out / 'model'}", out / "model", out / "model" / "pytorch_lora_weights.safetensors"):
        place.compare(f"score {str(name).replace(str(place.folder), '')}", place.score(name), expected)
    again = place.score(base, "--reference", f"{base}+{out}")
    place.compare("score with the run as the reference", again, place.errors(place.base()))
    for name in (out, f"{base}+{out}"):
        shown = str(name).replace(str(place.folder), "")
        more = run(place.binary, "train", "--model", name, *place.data(), *training, "--max-steps", 1, "--out", place.folder / "more")
        place.check(f"train goes on with {shown}: {more.stderr.strip()[-110:]}", more.returncode, 0)
        shutil.rmtree(place.folder / "more", ignore_errors=True)
    for name in (f"{base}+{out}", out / "model"):
        done = run(place.binary, "inspect", name)
        place.check(f"inspect {str(name).replace(str(place.folder), '')}: {done.stderr.strip()[-110:]}", done.returncode, 0)
        place.check("it is described", 0 if "UNet2DConditionModel" in done.stdout else 1, 0)
    small = place.folder / "pixels"
    latents, _ = make_data("DDPM", 3)
    save_file(latents, place.folder / "pixels.safetensors")
    done = run(place.binary, "train", "--mdp", "diffusion", "--model", small, "--latents", place.folder / "pixels.safetensors",
               *training, "--lora-targets", "conv1,to_q", "--max-steps", 2, "--out", place.folder / "pixel-run")
    place.check(f"a run of an adapter of pixels: {done.stderr.strip()[-110:]}", done.returncode, 0)
    pictures = []
    for name in (small, place.folder / "pixel-run", f"{small}+{place.folder / 'pixel-run'}"):
        done = run(place.binary, "sample", "--mdp", "diffusion", "--model", name, "--prompts", place.folder / "prompts.txt",
                   "--sample-steps", 3, "--out", place.folder / "samples.jsonl")
        place.check(f"sample {str(name).replace(str(place.folder), '')}: {done.stderr.strip()[-110:]}", done.returncode, 0)
        if done.returncode == 0:
            line = json.loads((place.folder / "samples.jsonl").read_text().splitlines()[0])
            pictures.append((place.folder / line["image"]).read_bytes())
    place.check("the run's pictures are others, and alike under both names",
                0 if len(pictures) == 3 and pictures[0] != pictures[1] == pictures[2] else 1, 0)


def check_schedulers(place):
    path = place.folder / "scheduler_config.json"
    kinds = [DDPMScheduler, DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler]
    shape = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    for kind in kinds:
        config = dict(kind(**shape).config) | {"_class_name": kind.__name__, "lambda_min_clipped": -float("inf")}
        config |= {"note \" of": [float("inf"), float("nan")]}
        path.write_text(json.dumps(config))
        for name, prediction in (("epsilon", "epsilon"), ("v", "v_prediction")):
            scheduler = DDPMScheduler(**LATENT | {"prediction_type": prediction})
            found = place.score(place.folder / "base", "--prediction", name, scheduler=path)
            place.compare(f"{kind.__name__} with -Infinity, {name}", found, place.errors(place.base(), scheduler))
    path.write_text(json.dumps(config))
    training = ["--prediction", "v", "--lora-rank", 2, "--eval-share", 0, "--n-samples", 0, "--max-steps", 1, "--batch-size", 2]
    out = place.folder / "velocity"
    done = run(place.binary, "train", "--model", place.folder / "base", *place.data(path), *training, "--out", out)
    place.check(f"train with -Infinity and another prediction: {done.stderr.strip()[-110:]}", done.returncode, 0)
    for key, value in {
        "beta_start": "0.1", "num_train_timesteps": 1000.5, "clip_sample": "yes", "trained_betas": 3, "steps_offset": -1,
        "prediction_type": 1, "beta_schedule": "sigmoid", "rescale_betas_zero_snr": 1, "thresholding_": None,
    }.items():
        path.write_text(json.dumps({"_class_name": "DDIMScheduler"} | {key: value}))
        found = place.score(place.folder / "base", scheduler=path)
        if key == "thresholding_":
            place.check("a field that no scheduler has is passed over", 1 if isinstance(found, str) else 0, 0)
        else:
            place.refused(f"scheduler: {key} {value}", found, key)
    path.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    place.refused("flow with --prediction v", place.score(place.folder / "base", "--prediction", "v", scheduler=path), "flow")


def check_drawn_flow(place):
    """Noise drawn anew has no peer's numbers, but its law: all of it is new in every step."""
    path, model = place.folder / "flow.json", place.folder / "pixels"

    def pictures(seed, *more, **settings):
        path.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0} | settings))
        done = run(place.binary, "sample", "--mdp", "diffusion", "--model", model, "--scheduler", path, "--prompts",
                   place.folder / "prompts.txt", "--sample-steps", 5, "--seed", seed, "--out", place.folder / "f.jsonl", *more)
        if done.returncode:
            return done.stderr
        return (place.folder / json.loads((place.folder / "f.jsonl").read_text())["image"]).read_bytes()

    euler, drawn = ("--sampler", "euler"), {"stochastic_sampling": True}
    one, again, other = (pictures(seed, *euler, **drawn) for seed in (1, 1, 2))
    plain = pictures(1, *euler)
    alike = all(isinstance(of, bytes) for of in (one, again, other, plain))
    place.check("drawn anew: a seed gives one picture, another than without", 0 if alike and one == again != plain else 1, 0)
    place.check("drawn anew: another seed gives another", 0 if one != other else 1, 0)
    place.refused("drawn anew with ddim", pictures(1, **drawn), "stochastic_sampling")
    for key, value in {"invert_sigmas": True, "shift_terminal": 0.1, "use_karras_sigmas": True}.items():
        place.refused(f"flow: {key}", pictures(1, *euler, **{key: value}), key)


def edited(source, target, part, **changes):
    """A copy of a folder with another configuration of one part."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    path = target / part
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def check_pictures(place):
    statistics = {"latents_mean": [0.5, -0.3, 0.1, 0.9], "latents_std": [2.0, 0.7, 1.4, 0.5]}
    for name in ("sd", "sdxl"):
        for index, changes in enumerate(({"shift_factor": 0.4}, statistics, {"latents_mean": statistics["latents_mean"]})):
            source = edited(pipelines.FOLDERS / name, place.folder / f"{name}{index}", "vae/config.json", **changes)
            pipelines.check_pictures(place.check, f"{name} with {', '.join(changes)}", place.binary, source, name, place.folder / f"p-{name}{index}")
    usual = pipelines.GUIDANCE
    for scale in (0.0, 0.5, 1.0, 1.5):
        pipelines.GUIDANCE = scale
        pipelines.check_pictures(place.check, f"sd, guidance {scale}", place.binary, pipelines.FOLDERS / "sd", "sd", place.folder / f"guided{scale}")
    pipelines.GUIDANCE = usual


def check_fields(place):
    unet, vae, text = "unet/config.json", "vae/config.json", "text_encoder/config.json"
    wrong = {
        (unet, "quantization_config"): {"quant_method": "bitsandbytes", "load_in_8bit": True},
        (unet, "class_embed_type"): "timestep", (unet, "encoder_hid_dim_type"): "text_proj", (unet, "act_fn"): "gelu",
        (unet, "resnet_time_scale_shift"): "scale_shift", (unet, "attention_type"): "gated",
        (unet, "resnet_skip_time_act"): True, (unet, "time_embedding_type"): "fourier", (unet, "dropout"): "0.1",
        (unet, "flip_sin_to_cos"): "true", (unet, "norm_eps"): "1e-5", (unet, "freq_shift"): None,
        (unet, "block_out_channels"): 16, (unet, "upcast_attention"): 1,
        (vae, "quantization_config"): {"quant_method": "bitsandbytes"}, (vae, "act_fn"): "gelu",
        (vae, "scaling_factor"): "0.1", (vae, "shift_factor"): [0.1], (vae, "latents_mean"): [0.1], (vae, "force_upcast"): "no",
        (vae, "use_quant_conv"): 0, (vae, "norm_num_groups"): None,
        (text, "quantization_config"): {"quant_method": "gptq"}, (text, "hidden_act"): "relu",
        (text, "attention_dropout"): "0", (text, "eos_token_id"): [2], (text, "layer_norm_eps"): "small",
    }
    for (part, key), value in wrong.items():
        source = edited(pipelines.FOLDERS / "sd", place.folder / "fields", part, **{key: value})
        place.refused(f"{part}: {key} {value}", run(place.binary, "inspect", source), key)
    source = edited(pipelines.FOLDERS / "sdxl", place.folder / "fields", "model_index.json", force_zeros_for_empty_prompt="no")
    place.refused("model_index.json: force_zeros_for_empty_prompt", run(place.binary, "inspect", source), "force_zeros")
    harmless = {
        (unet, "dropout"): 0.3, (unet, "upcast_attention"): None, (unet, "addition_embed_type_num_heads"): 8,
        (unet, "attn_norm_num_groups"): 3, (unet, "made_by"): {"some": "script"},
        (vae, "sample_size"): 999, (vae, "force_upcast"): False,
        (text, "attention_dropout"): 0.5, (text, "initializer_factor"): 3.0, (text, "bos_token_id"): 1,
    }
    source = pipelines.FOLDERS / "sd"
    for index, ((part, key), value) in enumerate(harmless.items()):
        source = edited(source, place.folder / f"harmless{index}", part, **{key: value})
    names = ", ".join(key for _, key in harmless)
    pipelines.check_pictures(place.check, f"what changes nothing ({names})", place.binary, source, "sd", place.folder / "harmless")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--only", help="a part of the names of the parts to look at", default="")
    options = parser.parse_args()
    check = Checks()
    parts = [check_adapters, check_peft, check_refusals, check_runs, check_schedulers, check_drawn_flow, check_pictures, check_fields]

    with tempfile.TemporaryDirectory() as folder:
        place = Place(os.path.abspath(options.binary), check, pathlib.Path(folder))
        for part in parts:
            if options.only not in part.__name__:
                continue
            try:
                part(place)
            except (subprocess.CalledProcessError, OSError, KeyError, ValueError, RuntimeError) as error:
                check(f"{part.__name__}: {error!r:.300}", float("inf"), 0)
    check.end()


if __name__ == "__main__":
    main()

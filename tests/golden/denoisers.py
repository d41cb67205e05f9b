"""What the scripts of denoising networks share: random numbers, gradients as they are written, files.

Each script makes tiny random models of its family and writes <case>/{config.json,weights,expected.json}; a call has three
images.
"""

import json

import diffusers
import peft
import torch

VERSIONS = {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}


def randomise(model, generator):
    """Numbers large enough that every part of the model matters."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.data = noise * (1.5 / parameter[0].numel()) ** 0.5
        elif name.endswith("bias"):
            parameter.data = noise * 0.1
        else:
            parameter.data = 1 + noise * 0.1


def randomise_adapter(model, generator):
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3


def flat(tensor):
    return [float(f"{x:.8g}") for x in tensor.detach().flatten().tolist()]


def as_written(batch, size, out):
    """A call's inputs and output."""
    return {
        "size": list(size), "inputs": {name: flat(value.float()) for name, value in batch.items()}, "output": flat(out),
    }


def golden_call(model, batch, size, call, written, generator, is_idle=lambda _: False):
    """A call with gradients for random slopes: of the parameters `written` in full, of all others their norm."""
    batch["x"].requires_grad_()
    model.zero_grad()
    out = call(model, batch)
    slopes = torch.randn(out.shape, generator=generator)
    (out * slopes).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and (float(g.norm()) > 0) != is_idle(name) for name, g in gradients.items())
    return as_written(batch, size, out) | {
        "slopes": flat(slopes),
        "input_gradient": flat(batch["x"].grad),
        "gradients": {name: flat(gradients[name]) for name in written if name in gradients},
        "gradient_norms": {name: float(f"{g.norm():.8g}") for name, g in gradients.items()},
    }


def write(folder, **expected):
    (folder / "expected.json").write_text(json.dumps({"versions": VERSIONS} | expected) + "\n")

"""The fields that diffusers' and transformers' configurations have, with their defaults.

Run from the repository's root: python tests/golden/diffusion_fields.py
Writes tests/golden/diffusion/fields.json, which the tables of fields in `policies` are held against: a field that a
newer version has and no table does fails a test. The versions used are in the file. What Python's json would write as
-Infinity is a string here.
"""

import inspect
import json
import math
import pathlib

import diffusers
import transformers

FILE = pathlib.Path(__file__).parent / "diffusion" / "fields.json"
CLASSES = [
    diffusers.UNet2DModel,
    diffusers.UNet2DConditionModel,
    diffusers.SD3Transformer2DModel,
    diffusers.FluxTransformer2DModel,
    diffusers.ZImageTransformer2DModel,
    diffusers.PixArtTransformer2DModel,
    diffusers.DiTTransformer2DModel,
    diffusers.AutoencoderKL,
    diffusers.DDPMScheduler,
    diffusers.DDIMScheduler,
    diffusers.PNDMScheduler,
    diffusers.EulerDiscreteScheduler,
    diffusers.DPMSolverMultistepScheduler,
    diffusers.FlowMatchEulerDiscreteScheduler,
    diffusers.StableDiffusionPipeline,
    diffusers.StableDiffusionXLPipeline,
    diffusers.StableDiffusion3Pipeline,
    diffusers.FluxPipeline,
    diffusers.ZImagePipeline,
    diffusers.PixArtAlphaPipeline,
    diffusers.PixArtSigmaPipeline,
    diffusers.DiTPipeline,
    diffusers.DDPMPipeline,
    diffusers.DDIMPipeline,
    transformers.CLIPTextConfig,
    transformers.T5Config,
]
# Every configuration of transformers has these.
OF_ALL = set(inspect.signature(transformers.PretrainedConfig.__init__).parameters)


def fields(kind):
    """Each field's default; one that must be given is a part of a pipeline and has the word `required`."""
    found = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in ("self", "kwargs") or (issubclass(kind, transformers.PretrainedConfig) and name in OF_ALL):
            continue
        default = "required" if parameter.default is inspect.Parameter.empty else parameter.default
        if isinstance(default, float) and not math.isfinite(default):
            default = str(default)
        found[name] = default
    return found


versions = {"diffusers": diffusers.__version__, "transformers": transformers.__version__}
contents = {"versions": versions, "classes": {kind.__name__: fields(kind) for kind in CLASSES}}
FILE.write_text(json.dumps(contents, indent=1) + "\n")
print(f"{sum(map(len, contents['classes'].values()))} fields of {len(CLASSES)} classes")

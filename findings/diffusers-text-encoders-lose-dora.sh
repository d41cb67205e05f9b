#!/usr/bin/env bash
# diffusers 0.42.1, peft 0.21.2: load_lora_weights of a text encoder's DoRA adapter leaves the magnitudes of the file out without a
# word: the layers have magnitudes, at their initial values. Seen: all 4 differ from the file's, states 0.99 apart from the
# trained encoder's (the whole adapter moves them by 3.5).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 peft==0.21.2 safetensors
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
venv/bin/python -W ignore - <<'PYTHON'
import tempfile

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel


def pipeline():
    torch.manual_seed(0)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                        num_attention_heads=2, projection_dim=32))
    unet = UNet2DConditionModel(block_out_channels=(32, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
                                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=8,
                                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), sample_size=8)
    vae = AutoencoderKL(block_out_channels=(32,), norm_num_groups=8, latent_channels=4)
    return StableDiffusionPipeline(vae=vae, text_encoder=text.eval(), tokenizer=None, unet=unet.eval(), scheduler=DDIMScheduler(),
                                   safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def states(pipe):
    with torch.no_grad():
        return pipe.text_encoder(torch.arange(1, 9)[None]).last_hidden_state


trained = pipeline()
trained.text_encoder.add_adapter(LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "v_proj"]))
torch.manual_seed(1)
with torch.no_grad():
    for name, parameter in trained.text_encoder.named_parameters():
        if "lora_" in name:
            parameter.add_(0.3 * torch.randn_like(parameter).abs())
folder = tempfile.mkdtemp()
StableDiffusionPipeline.save_lora_weights(
    folder, text_encoder_lora_layers=get_peft_model_state_dict(trained.text_encoder),
    text_encoder_lora_adapter_metadata=trained.text_encoder.peft_config["default"].to_dict(),
)
stored = load_file(f"{folder}/pytorch_lora_weights.safetensors")
loaded = pipeline()
loaded.load_lora_weights(folder)
parameters = dict(loaded.text_encoder.named_parameters())
apart = []
for name, value in stored.items():
    if name.endswith(".lora_magnitude_vector.weight") or name.endswith(".lora_magnitude_vector"):
        layer = name.removeprefix("text_encoder.").split(".lora_magnitude_vector")[0]
        found = parameters[f"{layer}.lora_magnitude_vector.default_0.weight"]
        apart.append(float((found - value).abs().max()))
moved, lost = (float((states(trained) - states(other)).abs().max()) for other in (pipeline(), loaded))
print(len(apart), "magnitudes in the file, none as in the file once loaded, by", min(apart), "to", max(apart))
print("states moved by the adapter", moved, "apart from the trained ones after loading", lost)
assert len(apart) == 4 and min(apart) > 1e-3, "magnitudes are loaded now"
assert lost > 0.1, "the loaded encoder says what the trained one says now"
PYTHON

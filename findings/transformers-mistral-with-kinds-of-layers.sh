#!/usr/bin/env bash
# transformers 5.23.0: a config.json with model_type mistral and layer_types is two models. AutoModelForCausalLM makes it a
# MinistralForCausalLM, with a window in the sliding layers; MistralForCausalLM.from_pretrained reads past layer_types, with a
# window in every layer. Seen for two layers and a window of 4: log-probabilities 0.11 apart.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
venv/bin/python -W ignore - <<'PYTHON'
import json, tempfile, pathlib
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

torch.manual_seed(0)
folder = pathlib.Path(tempfile.mkdtemp())
config = MistralConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                       num_key_value_heads=1, max_position_embeddings=64, sliding_window=4)
MistralForCausalLM(config).save_pretrained(folder)
settings = json.loads((folder / "config.json").read_text()) | {"layer_types": ["full_attention", "sliding_attention"]}
(folder / "config.json").write_text(json.dumps(settings))
tokens = torch.arange(1, 17)[None]
models = [kind.from_pretrained(folder, dtype=torch.float32).eval() for kind in (AutoModelForCausalLM, MistralForCausalLM)]
with torch.no_grad():
    found, named = (model(tokens).logits.log_softmax(-1) for model in models)
apart = float((found - named).abs().max())
print("model_type", settings["model_type"], "loaded as", *(type(model).__name__ for model in models), "apart by", apart)
assert [type(model).__name__ for model in models] == ["MinistralForCausalLM", "MistralForCausalLM"]
assert apart > 1e-3, "both read the kinds of layers alike now"
PYTHON

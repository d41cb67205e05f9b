#!/usr/bin/env bash
# transformers 5.23.0: {"type": "linear", "factor": 8} as rope_scaling, the older spelling, scales Llama and leaves Gemma 3 as it
# is, whose defaults already have a rope_type beside which type says nothing. Seen: lowest frequencies 8 times and 1 time slower;
# with the key rope_type 8 times both.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
venv/bin/python -W ignore - <<'PYTHON'
import torch
from transformers import Gemma3TextConfig, Gemma3ForCausalLM, LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=2,
             num_key_value_heads=1, head_dim=16, max_position_embeddings=64)


def slowest(kind, config, key):
    """The lowest frequency of full attention; linear scaling by 8 divides it by 8."""
    scaling = {} if key is None else {"rope_scaling": {key: "linear", "factor": 8.0}}
    model = kind(config(**SIZES, **scaling))
    rotary = model.model.rotary_emb
    frequencies = rotary.full_attention_inv_freq if kind is Gemma3ForCausalLM else rotary.inv_freq
    return float(frequencies[-1])


for kind, config in ((LlamaForCausalLM, LlamaConfig), (Gemma3ForCausalLM, Gemma3TextConfig)):
    plain, newer, older = (slowest(kind, config, key) for key in (None, "rope_type", "type"))
    print(kind.__name__, "plain", plain, "by rope_type", plain / newer, "times slower, by type", plain / older)
    assert abs(plain / newer - 8) < 1e-4
    expected = 8 if kind is LlamaForCausalLM else 1
    assert abs(plain / older - expected) < 1e-4, "the older key is read otherwise now"
PYTHON

#!/usr/bin/env bash
# transformers 5.23.0: of n_head and num_attention_heads in a GPT-2 config.json the latter wins without a word (n_positions
# and max_position_embeddings likewise), so a file with both loads with another attention. Seen: n_head 2, n_positions 64.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
venv/bin/python -W ignore - <<'PYTHON'
from transformers import GPT2Config
config = GPT2Config.from_dict({"n_embd": 16, "n_layer": 1, "n_head": 4, "num_attention_heads": 2, "n_positions": 32,
                               "max_position_embeddings": 64})
print("n_head", config.n_head, "n_positions", config.n_positions)
assert (config.n_head, config.n_positions) == (2, 64), "the other name counts now"
PYTHON

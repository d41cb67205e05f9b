#!/usr/bin/env bash
# transformers 5.23.0: Gemma3ForConditionalGeneration reads text_config.final_logit_softcapping and never applies it, while
# Gemma3ForCausalLM with the same text_config and weights bounds its logits. Seen for a cap of 2: 33.24 against 2.00.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.13.0 transformers==5.23.0 pillow
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
venv/bin/python -W ignore - <<'PYTHON'
import torch
from transformers import Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration

CAP = 2.0
text = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, max_position_embeddings=64, final_logit_softcapping=CAP)
vision = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
torch.manual_seed(0)
both = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4,
                                                   image_token_index=63, boi_token_index=62, eoi_token_index=61)).eval()
alone = Gemma3ForCausalLM(both.config.text_config).eval()
with torch.no_grad():
    both.get_input_embeddings().weight.normal_(std=1.0)
    alone.model.load_state_dict(both.model.language_model.state_dict())
    alone.lm_head.weight.copy_(both.lm_head.weight)
    tokens = torch.arange(1, 9)[None]
    free, bounded = both(input_ids=tokens).logits, alone(input_ids=tokens).logits
print("cap", CAP, "largest logit with pictures", float(free.abs().max()), "texts alone", float(bounded.abs().max()))
assert both.config.text_config.final_logit_softcapping == CAP
assert bounded.abs().max() <= CAP < free.abs().max(), "the class of texts and pictures bounds its logits now"
assert torch.allclose(CAP * torch.tanh(free / CAP), bounded, atol=1e-5), "they differ by more than the cap"
PYTHON

#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.23.0: LoRA on embed_tokens AND lm_head of a tied Llama computes with two matrices, but
# merge_and_unload adds both changes to the one that they share, so the merged model says something else. Seen: largest logits
# 5.8 apart (q_proj alone: 0.000); with embed_tokens alone the merged head moves as well, 3.5 apart.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
venv/bin/python -W ignore - <<'PYTHON'
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
def apart(targets):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                         num_attention_heads=2, tie_word_embeddings=True)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=targets)).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
        ids = torch.tensor([[1, 2, 3, 4]])
        before = adapted(ids).logits
        after = adapted.merge_and_unload()(ids).logits
    difference = (before - after).abs().max().item()
    print(targets, f"{difference:.3f}")
    return difference
assert apart(["q_proj"]) < 1e-4
assert apart(["embed_tokens", "lm_head"]) > 0.1, "merging keeps the two ends apart now"
assert apart(["embed_tokens"]) > 0.1, "merging keeps the two ends apart now"
PYTHON

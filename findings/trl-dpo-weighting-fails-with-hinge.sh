#!/usr/bin/env bash
# TRL 1.16.0: DPOConfig accepts use_weighting=True with loss_type="hinge", and the first backward pass raises torch's
# "one of the variables needed for gradient computation has been modified by an inplace operation". The same run with
# "sigmoid" or "ipo" trains; "aot", which has no weighting either, is refused with a message before training.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.13.0 transformers==5.23.0 \
    trl==1.16.0 datasets==5.2.0 accelerate
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
venv/bin/python -W ignore - <<'PYTHON'
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

words = "which is good ? this one that other".split()
vocabulary = {word: index for index, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
base = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
base.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
pairs = Dataset.from_list([{"prompt": "which is good ?", "chosen": " this one", "rejected": " that other one"}] * 4)


def run(loss):
    """The error of a training step, if there is one."""
    config = LlamaConfig(vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=2, pad_token_id=0, eos_token_id=1)
    args = DPOConfig("out", loss_type=[loss], use_weighting=True, max_steps=1, per_device_train_batch_size=2, use_cpu=True,
                     bf16=False, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no")
    try:
        model, reference = LlamaForCausalLM(config), LlamaForCausalLM(config)
        DPOTrainer(model, ref_model=reference, args=args, train_dataset=pairs, processing_class=tokenizer).train()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"


found = {loss: run(loss) for loss in ("sigmoid", "ipo", "hinge", "aot")}
for loss, error in found.items():
    print(f"{loss}: {error or 'trains'}")
assert found["sigmoid"] is None and found["ipo"] is None
assert "inplace operation" in (found["hinge"] or ""), "weighting works with hinge now"
assert "not implemented" in found["aot"]
PYTHON

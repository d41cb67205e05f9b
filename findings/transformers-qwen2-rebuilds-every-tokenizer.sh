#!/usr/bin/env bash
# transformers 5.23.0: beside a config.json of model_type qwen2 every tokenizer.json is rebuilt as Qwen2Tokenizer, whatever
# tokenizer_class says: a tokenizer of words then knows none of its words, without an error. Seen: llama [1, 2]; qwen2 [].
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
venv/bin/python -W ignore - <<'PYTHON'
import json, os
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer
words = Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1, "world": 2}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
found = {}
for model_type in ("llama", "qwen2"):
    os.makedirs(model_type)
    words.save(f"{model_type}/tokenizer.json")
    for name, value in (("config", {"model_type": model_type}), ("tokenizer_config", {"tokenizer_class": "PreTrainedTokenizerFast"})):
        with open(f"{model_type}/{name}.json", "w") as file:
            json.dump(value, file)
    tokenizer = AutoTokenizer.from_pretrained(model_type)
    found[model_type] = tokenizer("hello world").input_ids
    print(model_type, type(tokenizer).__name__, found[model_type])
assert found == {"llama": [1, 2], "qwen2": []}, "the class is chosen otherwise now"
PYTHON

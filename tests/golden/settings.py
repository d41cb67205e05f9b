"""Writes tests/golden/settings/settings.json: the settings that the classes of transformers, peft and gguf declare.

    python tests/golden/settings.py

The tables in `policies` that say what becomes of each setting are held against these names, so that one that a new
version adds is seen. Versions are recorded in the file.
"""

import dataclasses
import importlib.metadata
import inspect
import json
import sys
from pathlib import Path

import peft
from gguf.constants import Keys
import transformers
from transformers import GenerationConfig

OUT = Path(__file__).parent / "settings" / "settings.json"


def declared(config):
    """Declared fields, and what an instance writes beside them."""
    return sorted({field.name for field in dataclasses.fields(config)} | set(config().to_dict()))


def gguf_keys(group):
    """The keys of a group of gguf's constants, subgroups included."""
    keys = []
    for name, value in vars(group).items():
        if not name.startswith("_"):
            keys += gguf_keys(value) if inspect.isclass(value) else [value]
    return keys


FAMILIES = (
    "Llama", "Qwen2", "GPTNeoX", "GPT2", "Qwen3", "Mistral", "Ministral", "SmolLM3", "Gemma", "Gemma2", "Gemma3Text",
    "Granite", "Olmo2", "Olmo3", "Phi3",
)
classes = {f"{family}Config": declared(getattr(transformers, f"{family}Config")) for family in FAMILIES}
classes["GenerationConfig"] = sorted(set(vars(GenerationConfig())) | set(GenerationConfig._get_default_generation_params()))
classes["LoraConfig"] = sorted(field.name for field in dataclasses.fields(peft.LoraConfig))
classes["gguf"] = sorted(set(gguf_keys(Keys)))
versions = {name: importlib.metadata.version(name) for name in ("transformers", "peft", "gguf")}
golden = {"versions": {"python": sys.version.split()[0], **versions}, "classes": classes}
OUT.parent.mkdir(exist_ok=True)
OUT.write_text(json.dumps(golden, indent=1) + "\n")

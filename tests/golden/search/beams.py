"""Writes beams.json: what `generate(num_beams=..)` of transformers finds with models of two tables.

A model's logits are a table of the last two tokens, so that any program can be it. Every case is a prompt, settings, and the
sequences with their scores, best first. Run: python beams.py   (torch and transformers; the versions used are in the file)
"""

import itertools
import json
import pathlib

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

VOCABULARY = 9


class TableConfig(PretrainedConfig):
    """Nothing to configure."""

    model_type = "table"


class Table(PreTrainedModel, GenerationMixin):
    """Logits of the next token from the last two; before the first token there is token 0."""

    config_class = TableConfig

    def __init__(self, table):
        super().__init__(TableConfig())
        self.table = torch.nn.Parameter(table)

    def forward(self, input_ids, attention_mask=None, **kwargs):
        """One row of the table for every position."""
        before = torch.cat([torch.zeros_like(input_ids[:, :1]), input_ids[:, :-1]], dim=1)
        return CausalLMOutput(logits=self.table[before, input_ids])

    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        """All tokens, every time."""
        return {"input_ids": input_ids}


def cases():
    """Settings of every kind, a few of all their combinations."""
    settings = itertools.product([2, 4, 8], [-1.0, 0.0, 1.0, 2.0], [True, False, "never"], [[0], [0, 3]], [3, 9])
    for nth, (width, penalty, early, eos, longest) in enumerate(settings):
        yield {"table": nth // 2 % 2, "prompt": [1 + nth % 8], "width": width, "length_penalty": penalty,
               "early_stopping": early, "eos": eos, "longest": longest}


def main():
    """Runs every case."""
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(VOCABULARY, VOCABULARY, VOCABULARY, generator=generator) * 2 for _ in range(2)]
    tables = [(table * 1000).round() / 1000 for table in tables]
    models = [Table(table).eval() for table in tables]
    found = []
    for case in cases():
        settings = GenerationConfig(
            num_beams=case["width"], num_return_sequences=case["width"], length_penalty=case["length_penalty"],
            early_stopping=case["early_stopping"], eos_token_id=case["eos"], pad_token_id=0, use_cache=False,
            max_new_tokens=case["longest"], do_sample=False, return_dict_in_generate=True, output_scores=True,
        )
        prompt = torch.tensor([case["prompt"]])
        out = models[case["table"]].generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
        responses = []
        for sequence in out.sequences[:, 1:].tolist():
            end = next((i + 1 for i, token in enumerate(sequence) if token in case["eos"]), len(sequence))
            responses.append(sequence[:end])
        found.append(case | {"responses": responses, "scores": [round(s, 6) for s in out.sequences_scores.tolist()]})
    text = {"versions": {"transformers": transformers.__version__, "torch": torch.__version__},
            "vocabulary": VOCABULARY, "tables": [[round(x, 3) for x in table.flatten().tolist()] for table in tables]}
    lines = ",\n".join(json.dumps(case) for case in found)
    head = json.dumps(text)[:-1]
    pathlib.Path(__file__).with_name("beams.json").write_text(f'{head},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()

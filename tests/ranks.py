"""Several processes train as one does: a program built with `--features mpi`, started by `mpirun` on this machine.

    cargo build --release --features mpi
    python tests/ranks.py --binary target/release/hybrid-dpo        # of Open MPI; see LAUNCH for MPICH

(1) 2 and 4 ranks have the losses of one process with as many micro-batches, to 1e-6, for texts, pictures and hybrids, for losses of
whole batches and for adapters; (2) the same ranks have the same bits, and what they write is written once; (3) a rank that is killed
ends the job, and `--resume` goes on to the bit, with another number of ranks to rounding; (4) ranks that share the optimiser's state
(`--shard-optimizer`) have the bits of those that do not, and their checkpoints too; (5) rounds and `precompute` are those of one
process; (6) so are scores, evaluations, samples, pairs, searches and judgements, to the bit, and what they say; (7) a step sends the
bytes that it should; (8) what is for one process, what is wrong, and processes that do not start alike are refused by one message, which
is the one of the process that knows the cause; (9) interrupts of all verbs end with 130. The last line is the count of checks.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "peers")]
import ranks_endings
from checks import Checks

# Numbers of the clock.
CLOCK = ("_per_second",)
# Of Open MPI. MPICH's takes more processes than cores as it is: --launch mpirun.mpich.
LAUNCH = "mpirun --oversubscribe --bind-to none"


class Program:
    def __init__(self, binary, folder, launch):
        self.binary, self.folder, self.launch = os.path.abspath(binary), folder, launch.split()
        (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
        self.environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                                         "HF_HUB_OFFLINE": "1", "OMPI_MCA_btl_base_warn_component_unused": "0"}

    def start(self, ranks, arguments, through=()):
        arguments = arguments.replace("BINARY", self.binary)
        launch = [*self.launch, "-n", str(ranks)] if ranks > 1 else []
        return subprocess.Popen([*launch, *through, self.binary, *arguments.split()], cwd=self.folder, env=self.environment,
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


# A data set of one's own is compared with the start by no oracle, which would take most of the time.
PAIRS = [{"prompt": f"say {n * 7 % 13} and {n}", "chosen": f"{n} it is, and {n % 5}", "rejected": f"never {n % 3}" + " no" * (n % 4)}
         for n in range(64)]
TEXT = "train --model builtin:tldr --data pairs.jsonl --eval-share 0.3 --max-steps 6 --batch-size 8 --eval-every 3 --n-samples 0 --seed 3 --threads 1"
KINDS = {
    "texts": (TEXT, 8, (2, 4)),
    "adapters": (f"{TEXT} --lora-rank 4", 8, (2,)),
    "a loss of whole batches": (f"{TEXT} --objective kto", 8, (2,)),
    "a loss that remembers": (f"{TEXT} --objective bco", 8, (2,)),
    "pictures": ("train --mdp diffusion --max-steps 4 --batch-size 8 --n-samples 0 --seed 3 --threads 1 --sample-steps 2 "
                 "--eval-examples 16", 8, (2,)),
    "hybrids": ("train --mdp hybrid --limit 64 --max-steps 3 --batch-size 8 --n-samples 0 --seed 3 --threads 1 --sample-steps 2 "
                "--eval-examples 16 --compare=false", 8, (2,)),
}


def weights(folder):
    """The numbers of values of all trained tensors, by the newest checkpoint of a run."""
    newest = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name.split("-")[1]))
    sizes = []
    for path in newest.rglob("weights.safetensors"):
        data = path.read_bytes()
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        sizes += [math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
    return sizes


def messages(sizes):
    """The numbers of values that are summed at once: small tensors travel together, and nothing longer than a million."""
    sent = [size for size in sizes if size > 1 << 16] + [sum(size for size in sizes if size <= 1 << 16)]
    return [min(size - begin, 1 << 20) for size in sent for begin in range(0, size, 1 << 20)]


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
        checks(f"{name}: one process speaks", float(out.count(f"run folder   {name}") + err.count(f"run folder   {name}") != 1), 0)
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
    begun = f"{TEXT} --schedule constant --save-every 2"
    program.run(2, f"{begun.replace('--max-steps 6', '--max-steps 8')} --out longer")
    for ranks in (1, 4):
        program.run(2, f"{begun} --out other-{ranks}")
        program.run(ranks, f"train --resume other-{ranks} --max-steps 8")
        difference = apart(records(program.folder / "longer"), records(program.folder / f"other-{ranks}"))
        checks(f"{ranks} go on with a run of two", difference, 1e-6)


def sharded(program, checks):
    """(4)"""
    hybrid = KINDS["hybrids"][0]
    for name, ranks, command in [("adamw", 2, f"{TEXT} --optimizer adamw"), ("rmsprop", 4, f"{TEXT} --save-every 2"),
                                 ("lora", 2, f"{TEXT} --lora-rank 4"), ("ema", 2, f"{TEXT} --ema 0.9"), ("hybrid", 2, hybrid)]:
        whole, shared = program.folder / f"whole-{name}", program.folder / f"shared-{name}"
        program.run(ranks, f"{command} --out {whole.name}")
        program.run(ranks, f"{command} --shard-optimizer --out {shared.name}")
        checks(f"{ranks} ranks share the state of {name}: records", apart(records(whole), records(shared)), 0)
        checks(f"{ranks} ranks share the state of {name}: the bits of model and checkpoints",
               float(digest(whole) != digest(shared)), 0)
    longer = TEXT.replace("--max-steps 6", "--max-steps 8")
    program.run(2, f"{longer} --schedule constant --optimizer adamw --out shared-longer")
    for ranks in (1, 2, 4):
        name = f"shared-{ranks}"
        program.run(2, f"{TEXT} --schedule constant --optimizer adamw --shard-optimizer --out {name}")
        program.run(ranks, f"train --resume {name} --max-steps 8")
        difference = apart(records(program.folder / "shared-longer"), records(program.folder / name))
        checks(f"{ranks} go on with the state that two have shared", difference, 0 if ranks == 2 else 1e-6)


def rounds(program, checks):
    """(5)"""
    short = "--eval-examples 4 --batch-size 8 --max-steps 2 --n-samples 0 --seed 3 --threads 1"
    for kind, command, n in [("texts", f"train --mdp token --rounds 2 --round-pairs 40 {short}", 2),
                             ("hybrids", f"train --mdp hybrid --rounds 1 --round-pairs 8 --sample-steps 2 --compare=false {short}", 1)]:
        alone, together = program.folder / f"rounds-{kind}-1", program.folder / f"rounds-{kind}-2"
        program.run(1, f"{command} --micro-batch-size 4 --out {alone.name}")
        out, _ = program.run(2, f"{command} --micro-batch-size 8 --out {together.name}")
        pairs = [run / "round-1/pairs/pairs.jsonl" for run in (alone, together)]
        checks(f"rounds of {kind}: the pairs of round 1", float(pairs[0].read_bytes() != pairs[1].read_bytes()), 0)
        runs = [records(run / "round-1/run") for run in (alone, together)]
        checks(f"rounds of {kind}: the losses of round 1", apart(*runs), 1e-6)
        finished = len((together / "rounds.jsonl").read_text().splitlines())
        checks(f"rounds of {kind}: all are done and said once", float(finished != n or out.count("round 1") != 1), 0)
        files = [sorted(str(path.relative_to(run)) for path in run.rglob("*") if "events" not in path.name)
                 for run in (alone, together)]
        checks(f"rounds of {kind}: the same files", float(files[0] != files[1]), 0)
    for ranks in (1, 2):
        program.run(ranks, f"precompute --mdp token --limit 40 --batch-size 8 --micro-batch-size 4 --threads 1 "
                           f"--reference-cache numbers-{ranks}")
    numbers = [(program.folder / f"numbers-{ranks}").read_bytes() for ranks in (1, 2)]
    checks("the reference's numbers, computed before", float(numbers[0] != numbers[1]), 0)


# What several processes divide: each command's output, or what it writes to OUT.
VERBS = {
    "score texts": "score --model builtin:tldr --reference builtin:tldr --data pairs.jsonl --micro-batch-size 6 --threads 1",
    "score pictures": "score --mdp diffusion --model builtin:shapes --data builtin:shapes --limit 12 --threads 1",
    "score hybrids": "score --mdp hybrid --refiner builtin:chimera-refiner --generator builtin:chimera-generator --data builtin:chimera --limit 9 --threads 1",
    "eval texts": "eval --model builtin:tldr --reference builtin:tldr --data pairs.jsonl --micro-batch-size 6 --threads 1",
    "eval pictures": "eval --mdp diffusion --model builtin:shapes --data builtin:shapes --limit 12 --threads 1",
    "sample texts": "sample --model builtin:tldr --prompts builtin:tldr --limit-prompts 90 --n 3 --threads 1",
    "sample pictures": "sample --mdp diffusion --prompts builtin:shapes --limit-prompts 40 --n 1 --sample-steps 2 --threads 1 --out OUT/p.jsonl",
    "sample trajectories": "sample --mdp diffusion --prompts builtin:shapes --limit-prompts 40 --n 1 --sample-steps 3 --eta 1 --threads 1 --save-trajectories OUT/t.safetensors --out OUT/p.jsonl",
    "sample hybrids": "sample --mdp hybrid --prompts builtin:chimera --limit-prompts 40 --n 2 --sample-steps 2 --threads 1 --out OUT/p.jsonl",
    "pairs of texts": "sample --model builtin:tldr --prompts builtin:tldr --limit-prompts 90 --threads 1 --pairs OUT/pairs",
    "pairs of pictures": "sample --mdp diffusion --prompts builtin:shapes --limit-prompts 40 --sample-steps 2 --threads 1 --pairs OUT/pairs",
    "pairs of hybrids": "sample --mdp hybrid --prompts builtin:chimera --limit-prompts 40 --sample-steps 2 --threads 1 --pairs OUT/pairs",
    "search texts": "search --model builtin:tldr --prompts builtin:tldr --limit-prompts 20 --method beam --width 4 --threads 1",
    "search pictures": "search --mdp diffusion --prompts builtin:shapes --limit-prompts 9 --method smc --width 16 --sample-steps 2 --threads 1 --out OUT/p.jsonl",
    "search hybrids": "search --mdp hybrid --prompts builtin:chimera --limit-prompts 5 --method refinements --width 8 --pictures 4 --sample-steps 2 --threads 1 --out OUT/p.jsonl",
    "searched pairs of texts": "sample --model builtin:tldr --prompts builtin:tldr --limit-prompts 20 --search beam --width 4 --threads 1 --pairs OUT/pairs",
    "searched pairs of pictures": "sample --mdp diffusion --prompts builtin:shapes --limit-prompts 9 --search smc --width 16 --sample-steps 2 --threads 1 --pairs OUT/pairs",
    "searched pairs of hybrids": "sample --mdp hybrid --prompts builtin:chimera --limit-prompts 5 --search refinements --width 8 --pictures 4 --sample-steps 2 --threads 1 --pairs OUT/pairs",
}


def contents(folder):
    """The files of a folder by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def verbs(program, checks):
    """(6)"""
    for name, command in VERBS.items():
        results = []
        for ranks in (1, 2, 4):
            out = program.folder / f"{name.replace(' ', '-')}-{ranks}"
            out.mkdir()
            said, _ = program.run(ranks, command.replace("OUT", out.name))
            results.append((said.replace(out.name, "OUT"), contents(out)))
        for ranks, result in zip((2, 4), results[1:]):
            checks(f"{ranks} ranks {name} as one process does, to the bit", float(result != results[0]), 0)
        checks(f"{name} has a result", float(not results[0][0] and not results[0][1]), 0)
    said_of_hybrids(program, checks)
    judges(program, checks)
    judges_of_systems(program, checks)


def said_of_hybrids(program, checks):
    """What is said of refined prompts that are too long, and a refusal, are those of one process."""
    requests = ["a red minotaur on a white field " * 12, "a green griffin on a black field " * 12] * 40
    (program.folder / "too-long.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in requests))
    refused = [("--request-template nothing --prompts builtin:chimera", 2, "--request-template has no {request}"),
               ("--max-length 8 --null-share 0 --prompts too-long.jsonl", 1, "tokens, and --max-length is 8")]
    counts, refusals = [], []
    for ranks in (1, 2, 4):
        # Nothing refines the requests, so that the long ones reach the generator from every process.
        _, err = program.run(ranks, "sample --mdp hybrid --prompts too-long.jsonl --null-share 1 --sample-steps 2 --threads 1 "
                                    f"--pairs too-long-{ranks}")
        counts.append([line for line in err.splitlines() if "longer than the text encoder reads" in line])
        refusals.append([])
        for command, code, _ in refused:
            _, err = program.run(ranks, f"sample --mdp hybrid {command} --threads 1 --pairs refused-{ranks}", code=code)
            refusals[-1].append(ranks_endings.errors(err))
    for ranks, said, refusal in zip((2, 4), counts[1:], refusals[1:]):
        checks(f"{ranks} ranks count the prompts that are too long as one process does", float(said != counts[0]), 0)
        checks(f"{ranks} ranks refuse a hybrid as one process does, once", float(refusal != refusals[0]), 0)
    checks("two prompts are too long", float(len(counts[0]) != 1 or not counts[0][0].startswith("2 ")), 0)
    for (command, _, says), errors in zip(refused, refusals[0]):
        checks(f"a hybrid is refused: {command}", float(len(errors) != 1 or says not in errors[0]), 0)


def judges_of_systems(program, checks):
    """A run and a reward model judge files of samples, by one process and by several."""
    for name, temperature in (("a", 0.5), ("b", 1)):
        program.run(1, f"sample --model builtin:tldr --prompts builtin:tldr --limit-prompts 90 --temperature {temperature} --threads 1 "
                       f"--out {name}.jsonl")
    for judge in ("judging", "reward"):
        results = []
        for ranks in (1, 2, 4):
            out = f"systems-{judge}-{ranks}.json"
            said, _ = program.run(ranks, f"judge --judge {judge} --a a.jsonl --b b.jsonl --threads 1 --out {out}")
            results.append((said, (program.folder / out).read_bytes()))
        for ranks, result in zip((2, 4), results[1:]):
            checks(f"{ranks} ranks judge systems by {judge} as one process does", float(result != results[0]), 0)
        checks(f"{judge} has judged systems", float("a.jsonl" not in results[0][0]), 0)


def judges(program, checks):
    """A run and a reward model judge pairs, by one process and by several."""
    program.run(1, f"{TEXT} --out judging")
    reward_model(program.folder / "judging/model", program.folder / "reward")
    for judge in ("oracle", "judging", "reward"):
        results = []
        for ranks in (1, 2, 4):
            pairs = program.folder / f"judged-{judge}-{ranks}"
            shutil.copytree(program.folder / "pairs-of-texts-1/pairs", pairs)
            threads = "" if judge == "oracle" else "--threads 1"
            said, _ = program.run(ranks, f"judge --judge {judge} --pairs {pairs.name} {threads}")
            labels = [json.loads(line) for line in (pairs / "labels.jsonl").read_text().splitlines()]
            results.append((said.replace(pairs.name, "PAIRS"), [(label.get("index"), label.get("choice")) for label in labels]))
        for ranks, result in zip((2, 4), results[1:]):
            checks(f"{ranks} ranks judge by {judge} as one process does", float(result != results[0]), 0)
        checks(f"{judge} has judged all pairs", float(len(results[0][1]) < 90), 0)


def reward_model(model, folder):
    """A reward model of a language model's weights: a head of one row, which is the first word's embedding."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [config["architectures"][0].replace("ForCausalLM", "ForSequenceClassification")]
    (folder / "config.json").write_text(json.dumps(config | {"num_labels": 1, "pad_token_id": 0}))
    data = (folder / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    name = next(name for name in header if "embed" in name)
    width = header[name]["shape"][1]
    begin = header[name]["data_offsets"][0]
    row = body[begin:begin + width * (header[name]["data_offsets"][1] - begin) // math.prod(header[name]["shape"])]
    header["score.weight"] = header[name] | {"shape": [1, width], "data_offsets": [len(body), len(body) + len(row)]}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body + row)


def sent(program, checks):
    """(7)"""
    for kind, ranks, command in [("weights", 2, TEXT), ("weights", 4, TEXT), ("adapters", 2, f"{TEXT} --lora-rank 4"),
                                 ("shared state", 2, f"{TEXT} --shard-optimizer")]:
        name = f"sent-{ranks}-{kind}".replace(" ", "-")
        _, err = program.run(ranks, f"{command} --out {name}")
        found = re.search(r"sent (\d+) bytes in its steps, (\d+) in each", err)
        run = program.folder / name
        # A part to each other rank, the sum of the own part to each, and of shared state the new weights of the own part.
        part = lambda size: -(-size // ranks) * 4 * (ranks - 1)
        of_gradient = 2 * sum(map(part, messages(weights(run)))) + ("shared" in kind) * sum(map(part, weights(run)))
        tokens = records(run)[-1]["num_tokens"] / 6
        rest = (int(found[2]) - of_gradient) / (tokens * (ranks - 1)) if found else math.inf
        print(f"{ranks} ranks, {kind}: {sum(weights(run))} numbers, {of_gradient} bytes of a gradient by arithmetic, "
              f"{found and found[2]} sent in a step, {rest:.1f} more a token and rank")
        checks(f"{ranks} ranks, {kind}: bytes beyond the gradient's, a token and rank", abs(rest - 24), 24)


def refused(program, checks):
    """(8)"""
    for arguments, says, code in [
        ("export --model builtin:tldr --out exported", "only these verbs work in several: train", 2),
        ("credit --model builtin:tldr --data builtin:tldr", "only these verbs work in several: train", 2),
        ("search --model builtin:tldr --prompts missing.jsonl", "missing.jsonl", 1),
        ("train --resume nowhere", "nowhere", 1),
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
    ranks_endings.alone(program, checks)


def interrupted(program, checks):
    """(9)"""
    ranks_endings.interrupted(program, checks)


def speed(program, _):
    """Pairs a second of two processes with a thread each, and of one with two."""
    command = TEXT.replace("--max-steps 6", "--max-steps 40").replace("--batch-size 8", "--batch-size 32")
    command = command.replace("--eval-every 3", "--eval-every 0")
    rates = []
    for ranks, threads in ((1, 2), (2, 1)):
        name = f"speed-{ranks}"
        program.run(ranks, f"{command.replace('--threads 1', f'--threads {threads}')} --out {name}")
        lines = [json.loads(line) for line in (program.folder / name / "metrics.jsonl").read_text().splitlines()]
        found = sorted(line["pairs_per_second"] for line in lines if line["split"] == "train")
        rates.append(found[len(found) // 2])
    print(f"pairs a second: one process with two threads {rates[0]:.1f}, two processes {rates[1]:.1f}, "
          f"ratio {rates[1] / rates[0]:.2f}")


PARTS = {"laws": laws, "bits": bits, "killed": killed, "sharded": sharded, "rounds": rounds, "verbs": verbs, "sent": sent,
         "refused": refused, "interrupted": interrupted, "speed": speed}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--launch", default=LAUNCH)
    arguments = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.binary, Path(folder), arguments.launch)
        for part in arguments.parts.split(","):
            begun = time.monotonic()
            PARTS[part](program, checks)
            print(f"-- {part}: {time.monotonic() - begun:.0f} s", flush=True)
    checks.end()


if __name__ == "__main__":
    main()

"""Damaged and hostile files against the program: no panic, no hang, no memory without end.

    pip install pillow
    cargo build --release
    python tests/fuzz/run.py --binary target/release/hybrid-dpo --damaged 20000 --hostile 2000 --journal fuzz.jsonl

Case n of a seed is always the same file and command. Each runs in a process of its own, which may take 30 s, hold 2 GB
and ask the system for 4 GB of addresses; it must be done, or refuse in one message. What else happens is a failure: its
line is printed with the words that make the file again (`--only damaged:17 --keep FOLDER`). A run with a journal goes
on where it stopped. Exit code 1 if anything failed.
"""

import argparse
import collections
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import damage
import hostile
import seeds

SECONDS, MEMORY, ADDRESSES = 30, 2 << 30, 4 << 30
GOOD = ("done", "refused")


def lay(source, target):
    """Copies seeds beside the spoiled file; what is written to must be a copy, so nothing is linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif not target.exists():
        shutil.copy(source, target)


def build(case, seed, source, scene):
    """Writes the files of a case into an empty folder, and gives its name and command."""
    kind, number = case.split(":")
    rng = random.Random(f"{seed} {case}")
    if kind == "hostile":
        make = hostile.CASES[int(number) % len(hostile.CASES)]
        command = make(rng, scene, lambda name: lay(source / name, scene / name))
        return make.__name__, command.split()
    targets = list(seeds.targets())
    file, beside, commands = targets[int(number) % len(targets)]
    for name in (file, *beside):
        lay(source / name, scene / name)
    spoiled = damage.damage(rng, file, (source / file).read_bytes())
    (scene / file).write_bytes(spoiled)
    return file, rng.choice(commands).replace("{}", file).split()


def build_apart(case, seed, source, scene):
    """Builds a case in a process of its own: what a process held before it became another counts as the other's."""
    told = scene.with_name(scene.name + ".case")
    child = os.fork()
    if not child:
        try:
            found = build(case, seed, source, scene)
        except Exception:  # whatever a mutation ran into must not end the other cases
            found = ["not made", [traceback.format_exc()]]
        told.write_text(json.dumps(found))
        os._exit(0)
    os.waitpid(child, 0)
    try:
        return json.loads(told.read_text())
    finally:
        told.unlink(missing_ok=True)


def run(binary, command, scene):
    """The outcome of one process, what it said, how long it took, and the most memory it held."""
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        words = ["sh", "-c", f'ulimit -v {ADDRESSES >> 10}; exec "$@"', "sh", binary, *command]
        process = subprocess.Popen(words, cwd=scene, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                                   env=os.environ | {"RAYON_NUM_THREADS": "2"})
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        said.seek(0)
        text = said.read(1 << 20).decode("utf-8", "replace")
    return outcome(process.returncode, text, seconds, usage.ru_maxrss << 10), text, seconds, usage.ru_maxrss << 10


def outcome(code, text, seconds, memory):
    if "panicked at" in text or "overflowed its stack" in text or code == 101:
        return "panicked"
    if seconds >= SECONDS:
        return "too long"
    if memory > MEMORY or "memory allocation of" in text:
        return "over memory"
    if code < 0:
        return "killed"
    if code == 0:
        return "done"
    errors = sum(line.startswith("error: ") for line in text.splitlines())
    return "refused" if code in (1, 2) and errors == 1 else "muddled"


def work(job):
    case, seed, binary, source, keep = job
    scene = pathlib.Path(keep or tempfile.mkdtemp(prefix="fuzz-"))
    scene.mkdir(exist_ok=True)
    try:
        name, command = build_apart(case, seed, source, scene)
        if name == "not made":
            found, text, seconds, memory = name, command.pop(), 0.0, 0
        else:
            found, text, seconds, memory = run(binary, command, scene)
    finally:
        if not keep:
            shutil.rmtree(scene, ignore_errors=True)
    line = {"seed": seed, "case": case, "name": name, "outcome": found, "seconds": round(seconds, 2),
            "megabytes": memory >> 20, "command": " ".join(command)}
    return line if found in GOOD and not keep else line | {"said": text[-2000:]}


def told(path, seed):
    """What a journal holds of this seed; half a line at its end is run again."""
    lines = {}
    for text in path.read_text().splitlines() if path and path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["seed"] == seed:
            lines[line["case"]] = line
    return lines


def report(lines, seed):
    for kind in ("damaged", "hostile"):
        mine = [line for line in lines if line["case"].startswith(kind)]
        if mine:
            counts = collections.Counter(line["outcome"] for line in mine)
            slowest, largest = max(mine, key=lambda l: l["seconds"]), max(mine, key=lambda l: l["megabytes"])
            print(f"{kind}: {len(mine)} files; " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
            print(f"  slowest {slowest['seconds']} s ({slowest['name']}), most memory {largest['megabytes']} MB "
                  f"({largest['name']})")
    bad = [line for line in lines if line["outcome"] not in GOOD]
    for line in sorted(bad, key=lambda l: (l["outcome"], l["name"])):
        print(f"{line['outcome']}: --seed {seed} --only {line['case']}  {line['name']}: {line['command']}")
        print("    " + (line.get("said") or "").strip().replace("\n", "\n    ")[-400:])
    return bad


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--damaged", type=int, default=0)
    parser.add_argument("--hostile", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--journal", type=pathlib.Path, help="a file that outcomes are added to; a second run goes on")
    parser.add_argument("--only", help="one case, such as damaged:17")
    parser.add_argument("--keep", help="with --only: a folder that its files stay in")
    return parser.parse_args()


def main():
    asked = arguments()
    binary = str(pathlib.Path(asked.binary).resolve())
    cases = [f"damaged:{n}" for n in range(asked.damaged)] + [f"hostile:{n}" for n in range(asked.hostile)]
    known = told(asked.journal, asked.seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as source:
        source = pathlib.Path(source)
        seeds.make(binary, source)
        if asked.only:
            line = work((asked.only, asked.seed, binary, source, asked.keep))
            print(json.dumps(line, indent=1))
            return line["outcome"] not in GOOD
        jobs = [(case, asked.seed, binary, source, None) for case in cases if case not in known]
        with multiprocessing.Pool(asked.processes, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            journal = open(asked.journal, "a") if asked.journal else None
            for line in pool.imap_unordered(work, jobs, chunksize=4):
                known[line["case"]] = line
                if journal:
                    journal.write(json.dumps(line) + "\n")
                    journal.flush()
    return bool(report([known[case] for case in cases], asked.seed))


if __name__ == "__main__":
    sys.exit(main())

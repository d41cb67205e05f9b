"""Runs that are ended from outside, in every phase: what is saved is whole, and the next command works.

    cargo build --release
    python tests/kill.py --binary target/release/hybrid-dpo

In each phase of a run (reading, tokenising, writing the cache of tokens, first evaluation, training, sampling, export) and of
the verb `export`, four things happen to it: its log pipe is closed, it hangs up under nohup, its disk is full, it is killed
hard (kill -9). The first two change nothing. After the others every saved file is read, the next command (`--resume`, or the
same command where nothing was saved yet) is given, and the run ends with the weights and the metrics of one that nothing
happened to. A phase is found by what the program itself shows: the position in its data file, and the files of its folder; it is
stopped there (SIGSTOP), looked at again, and then ended.

The full disk is a small tmpfs that a file fills up, where a file system may be mounted; else the size of files that the
process may write is limited from then on (RLIMIT_FSIZE by prlimit), which fails the next write of a larger file. The last line is
the count of checks. Needs Linux.
"""

import argparse
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

MODEL = "builtin:tldr-untrained"
STEPS = 6
RUN = (
    f"--model {MODEL} --eval-data held.jsonl --batch-size 4 --max-steps {STEPS} --eval-every 3 --save-every 2 "
    "--eval-examples 64 --n-samples 8 --max-length 96 --warmup-steps 0 --lr 1e-3 --optimizer adamw --log-format json"
)
# Nothing takes so long; a process that does is stuck.
PATIENCE = 60


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, name, good, why=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        if not good:
            print(f"BAD {name}: {why}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        raise SystemExit(self.failed > 0)


def pairs(n, words, seed, note=0):
    """Pairs of so many words; a note, which no run reads, makes a file large that is tokenised soon."""
    draw = random.Random(seed)
    text = lambda: " ".join(draw.choice(["dog", "cat", "rent", "late", "owe", "job", "may"]) for _ in range(words))
    for i in range(n):
        pair = {"prompt": f"POST: {i} {text()}\n\nTL;DR:", "chosen": f" {text()}", "rejected": f" {text()} no"}
        yield json.dumps(pair | {"note": "x" * note} if note else pair)


def position(pid, name):
    """The furthest position of a process in a file that it has open; None where it has not."""
    found = None
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}")) == name:
                info = pathlib.Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
                found = max(found or 0, int(info.split("pos:")[1].split()[0]))
    except (FileNotFoundError, ProcessLookupError, PermissionError, IndexError):
        return None
    return found


def lines(path):
    """The whole lines of a file that grows, as JSON; what a cut write left of the last one is not there."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def is_reading(pid, folder):
    # Nothing is tokenised before the first 256 records are read.
    at = position(pid, "large.jsonl")
    return at is not None and 0 < at <= 400_000


def is_tokenising(pid, folder):
    at, size = position(pid, "large.jsonl"), (folder / "large.jsonl").stat().st_size
    return at is not None and size // 4 < at < size * 3 // 4


def is_caching(pid, folder):
    return any((folder / "cache/tokens").glob(".building-*"))


def is_evaluating(pid, folder):
    return any((folder / "run/tensorboard").glob("*")) and not lines(folder / "run/metrics.jsonl")


def is_training(pid, folder):
    return 1 < sum(line["split"] == "train" for line in lines(folder / "run/metrics.jsonl")) < STEPS


def is_sampling(pid, folder):
    looked = [line["step"] for line in lines(folder / "run/metrics.jsonl") if line["split"] == "eval"]
    return any(not (folder / f"run/samples/step-{step}.jsonl").exists() for step in looked)


def is_exporting(pid, folder):
    return (folder / f"run/samples/step-{STEPS}.jsonl").exists() and not (folder / "run/model").exists()


def is_exporting_apart(pid, folder):
    return any(folder.glob(".building-*")) or any(folder.glob(".exported.*"))


# The phases: how each is recognised, its data, and whether the run's folder is there then.
PHASES = {
    "reading": (is_reading, "large.jsonl", False),
    "tokenising": (is_tokenising, "large.jsonl", False),
    "writing the token cache": (is_caching, "huge.jsonl", False),
    "first evaluation": (is_evaluating, "small.jsonl", True),
    "training": (is_training, "small.jsonl", True),
    "sampling": (is_sampling, "small.jsonl", True),
    "export": (is_exporting, "small.jsonl", True),
}


class Scene:
    """A folder of data, with a disk of its own where the system allows it."""

    def __init__(self, binary, folder, small_disk):
        self.binary, self.folder, self.is_disk = str(pathlib.Path(binary).resolve()), folder, False
        if small_disk:
            command = ["mount", "-t", "tmpfs", "-o", "size=48m", "hybrid-dpo-kill", str(folder)]
            self.is_disk = subprocess.run(command, capture_output=True).returncode == 0

    def fill(self):
        for name, (n, words, seed) in {"small": (24, 6, 1), "held": (64, 6, 2), "large": (1600, 90, 3)}.items():
            (self.folder / f"{name}.jsonl").write_text("\n".join(pairs(n, words, seed)) + "\n")

    def add_huge(self):
        (self.folder / "huge.jsonl").write_text("\n".join(pairs(1600, 90, 4, note=1500)) + "\n")

    def end(self):
        if self.is_disk:
            subprocess.run(["umount", str(self.folder)], check=True)

    def command(self, arguments):
        return [self.binary, *arguments.split()]

    def environment(self):
        return os.environ | {"HYBRID_DPO_CACHE": str(self.folder / "cache")}

    def start(self, arguments, nohup=False):
        def before():
            # A limit on the size of files is to be an error of a write, as a full disk is, and no signal.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if nohup:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

        return subprocess.Popen(
            self.command(arguments), cwd=self.folder, env=self.environment(), preexec_fn=before,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def run(self, arguments):
        return subprocess.run(
            self.command(arguments), cwd=self.folder, env=self.environment(), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=PATIENCE,
        )

    def clear(self):
        for name in ["run", "cache", "exported"]:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.clear_leftovers()

    def clear_leftovers(self):
        for left in [*self.folder.glob(".exported*"), *self.folder.glob(".building-*")]:
            shutil.rmtree(left)

    def stopped_in(self, arguments, is_there, nohup=False):
        """A process that is stopped in a phase; it is started again where it was faster than the look at it."""
        for _ in range(20):
            self.clear_for(arguments)
            child = self.start(arguments, nohup)
            until = time.monotonic() + PATIENCE
            while child.poll() is None and time.monotonic() < until:
                if is_there(child.pid, self.folder):
                    child.send_signal(signal.SIGSTOP)
                    # The signal takes a moment, in which the phase may end.
                    time.sleep(0.002)
                    if is_there(child.pid, self.folder):
                        return child
                    break
                # The process has the other cores, and this one a moment.
                time.sleep(0.0002)
            child.kill()
            child.communicate()
        raise SystemExit(f"{is_there.__name__} was never seen of: {arguments}")

    def clear_for(self, arguments):
        if arguments.startswith("train"):
            self.clear()
        else:
            shutil.rmtree(self.folder / "exported", ignore_errors=True)
            self.clear_leftovers()


def ended(child):
    out, err = child.communicate(timeout=PATIENCE)
    return child.returncode, out.decode(), err.decode()


def check_tensors(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    assert 8 + n + end == len(data), "it is cut off"


def broken(folder):
    """The saved files that are not whole; of those that grow all lines but a cut last one count."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            if path.suffix == ".safetensors":
                check_tensors(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name in ("metrics.jsonl", "evaluations.jsonl"):
                lines(path)
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
            elif path.suffix == ".toml":
                assert path.read_text().strip(), "it is empty"
        except Exception as error:
            found.append(f"{path.relative_to(folder)}: {error!r}")
    return found


def result(folder):
    """What a run leaves: its weights, and its metrics without what the clock decides."""
    metrics = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        for name in [name for name in line if name.endswith("_per_second")]:
            del line[name]
    return (folder / "run/model/model.safetensors").read_bytes(), metrics


def close_pipes(child, scene):
    child.stdout.close()
    child.stderr.close()
    child.send_signal(signal.SIGCONT)
    return child.wait(timeout=PATIENCE), "", ""


def hang_up(child, scene):
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGCONT)
    return ended(child)


def fill_disk(child, scene):
    if scene.is_disk:
        with open(scene.folder / "ballast", "wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
    else:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
    child.send_signal(signal.SIGCONT)
    left = ended(child)
    (scene.folder / "ballast").unlink(missing_ok=True)
    return left


def kill_hard(child, scene):
    child.kill()
    return ended(child)


def next_command(scene, arguments):
    """What a person does next: goes on with the run, or gives the same command where there is none."""
    if (scene.folder / "run/config.toml").is_file():
        return scene.run("train --resume run --quiet")
    return scene.run(arguments)


def check_phase(check, scene, phase, wholes):
    is_there, data, has_folder = PHASES[phase]
    # Reading the large file that is cached takes longest, and signals are looked at elsewhere.
    kinds = ("full disk", "kill -9") if phase == "writing the token cache" else ("pipe", "hangup", "full disk", "kill -9")
    arguments = f"train --data {data} {RUN} --out run"
    for what, act in {"pipe": close_pipes, "hangup": hang_up, "full disk": fill_disk, "kill -9": kill_hard}.items():
        name = f"{phase}, {what}"
        if what not in kinds:
            continue
        child = scene.stopped_in(arguments, is_there, nohup=what == "hangup")
        check(f"{name}: the phase", (scene.folder / "run/config.toml").exists() == has_folder, "the folder says otherwise")
        code, out, err = act(child, scene)
        if what in ("pipe", "hangup"):
            check(f"{name}: goes on", code == 0, f"{code}: {err[-300:]}")
        else:
            goes_on = code == (1 if what == "full disk" else -signal.SIGKILL)
            # The cache of tokens is no reason to fail.
            goes_on |= what == "full disk" and phase == "writing the token cache" and code == 0
            check(f"{name}: ends", goes_on and "panicked" not in err, f"{code}: {err[-300:]}")
            check(f"{name}: what is saved is whole", not (found := broken(scene.folder / "run")), found)
            if code != 0:
                after = next_command(scene, arguments)
                check(f"{name}: the next command", after.returncode == 0, after.stderr[-300:])
        model = (scene.folder / "run/model/model.safetensors").is_file()
        check(f"{name}: the same as undisturbed", model and result(scene.folder) == wholes[data], "another result")
        left = [str(path) for path in (scene.folder / "run").rglob(".*")]
        check(f"{name}: nothing temporary is left", not left, left)
        check(f"{name}: all files are whole", not (found := broken(scene.folder / "run")), found)


def check_export(check, scene):
    scene.clear()
    scene.run(f"train --data small.jsonl {RUN} --out run")
    arguments = "export --model run --out exported"
    assert scene.run(arguments).returncode == 0
    whole = (scene.folder / "exported/model.safetensors").read_bytes()
    for what, act in {"pipe": close_pipes, "hangup": hang_up, "full disk": fill_disk, "kill -9": kill_hard}.items():
        name = f"the verb export, {what}"
        child = scene.stopped_in(arguments, is_exporting_apart, nohup=what == "hangup")
        code, out, err = act(child, scene)
        if what in ("pipe", "hangup"):
            check(f"{name}: goes on", code == 0, f"{code}: {err[-300:]}")
        else:
            check(f"{name}: ends", code == (1 if what == "full disk" else -signal.SIGKILL), f"{code}: {err[-300:]}")
            check(f"{name}: nothing half", not (scene.folder / "exported").exists(), "there is a folder")
            after = scene.run(arguments)
            check(f"{name}: the next command", after.returncode == 0, after.stderr[-300:])
        found = (scene.folder / "exported/model.safetensors")
        check(f"{name}: the model is whole", found.is_file() and found.read_bytes() == whole, "another file")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--phases", nargs="*", help="only these", choices=[*PHASES, "the verb export"])
    parser.add_argument("--no-mount", action="store_true", help="limits the size of files in place of a full tmpfs")
    given = parser.parse_args()
    check, began = Checks(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(given.binary, pathlib.Path(folder), small_disk=not given.no_mount)
        try:
            scene.fill()
            print("the full disk is", "a tmpfs" if scene.is_disk else "a limit on the size of files (RLIMIT_FSIZE)")
            wholes = {}
            for phase, (_, data, _) in PHASES.items():
                if given.phases and phase not in given.phases:
                    continue
                if data == "huge.jsonl" and not (scene.folder / data).exists():
                    scene.add_huge()
                if data not in wholes:
                    scene.clear()
                    whole = scene.run(f"train --data {data} {RUN} --out run")
                    assert whole.returncode == 0, whole.stderr
                    wholes[data] = result(scene.folder)
                begin = time.monotonic()
                check_phase(check, scene, phase, wholes)
                print(f"{phase}: {time.monotonic() - begin:.1f} s", flush=True)
            if not given.phases or "the verb export" in given.phases:
                check_export(check, scene)
        finally:
            scene.end()
    print(f"{time.monotonic() - began:.0f} s")
    check.end()


if __name__ == "__main__":
    main()

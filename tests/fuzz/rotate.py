"""Runs the fuzz targets one after another, next the one that had the least of the processor so far, and keeps count.

    cargo +nightly fuzz build --fuzz-dir tests/fuzz/targets -O -s none
    python tests/fuzz/rotate.py --built tests/fuzz/targets/target/x86_64-unknown-linux-gnu/release --work FOLDER --seconds 300

FOLDER gets `corpus/TARGET` (what was found beyond the committed one), `found/TARGET` (inputs that made a target crash, hang or ask
for too much memory) and `runs.jsonl`, a line for each turn of a target. It goes on until it is interrupted, or for `--turns`
for each target. `--table` prints what `runs.jsonl` adds up to. A target that crashed is started anew until its turn is over, or
its tenth crash. libFuzzer counts the time on a wall against an input, so an input that took long is read once more alone, and
counts if it takes that long by the processor's time. Where other work stops the targets for a while, `--timeout` is to be longer.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LIMITS = ["-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-max_len=65536", "-print_final_stats=1", "-reload=0"]
# Targets whose inputs need numbers that fit each other, which comparisons of values find sooner.
VALUES = {"llama2c", "gguf", "latents", "npz"}
# Where a target's reader has its keys and names, which mutations put into inputs.
WORDS = {
    "adapter": ["models/src/formats"],
    "denoiser_adapter": ["models/src/formats"],
    "gguf": ["models/src/formats/gguf"],
    "model": ["models/src/formats", "models/src/causal"],
    "npz": ["tensorfile/src/npz", "datasets/src/control"],
    "pairs": ["datasets/src/pairs"],
    "pipeline": ["models/src/formats", "models/src/denoiser", "models/src/scheduler"],
    "records": ["datasets/src/formats", "datasets/src/reading", "datasets/src/chat"],
    "run": ["train/src", "report/src"],
    "template": ["datasets/src/chat"],
    "tokenizer": ["models/src/formats"],
}
# Processor seconds that no input may take.
SLOW = 10


def targets():
    return sorted(path.stem for path in (HERE / "targets/fuzz_targets").glob("*.rs"))


def dictionary(given, target):
    """The strings in the source of a target's reader, as libFuzzer reads them; `None` if there are none."""
    files = [path for folder in WORDS.get(target, []) for path in sorted((HERE.parents[1] / folder).rglob("*.rs"))]
    words = {word for path in files for word in re.findall(r'"([\w./<>|:-]{2,40})"', path.read_text(), re.A)}
    path = given.work / f"{target}.words"
    path.write_text("".join(f'"{word}"\n' for word in sorted(words)))
    return path if words else None


def ran(command, log):
    """The exit code of a command and its processor seconds; its temporary files are gone when it has ended."""
    with open(log, "wb") as file, tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | {"RAYON_NUM_THREADS": "1", "TMPDIR": folder})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def forget_stalls(given, target, found):
    """Removes inputs that took long only because the process did not run; how many of them had ended it."""
    stalls = 0
    for path in [*found.glob("timeout-*"), *found.glob("slow-unit-*")]:
        code, seconds = ran([str(given.built / target), str(path), "-timeout=600", *LIMITS], given.work / "alone.log")
        if code == 0 and seconds < SLOW:
            stalls += path.name.startswith("timeout-")
            path.unlink()
        else:
            path.rename(found / f"hang-{path.name}")
            print(f"{target}: {path.name} takes {seconds:.0f} s of the processor, and ends with {code}", flush=True)
    return stalls


def turn(given, target):
    """One turn of a target, of so many seconds; how many of the processor it had."""
    corpus, found = given.work / "corpus" / target, given.work / "found" / target
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    line = {"target": target, "seconds": 0, "processor": 0.0, "executions": 0, "coverage": 0, "crashes": 0, "stalls": 0}
    words, begin = dictionary(given, target), time.monotonic()
    while line["crashes"] < 10 and (left := given.seconds - (time.monotonic() - begin)) > 1:
        command = [str(given.built / target), str(corpus), str(HERE / "corpora" / target), *LIMITS]
        command += [f"-max_total_time={int(left)}", f"-timeout={given.timeout}", f"-artifact_prefix={found}/"]
        command += ["-use_value_profile=1"] * (target in VALUES) + [f"-dict={words}"] * (words is not None)
        log = given.work / f"{target}.log"
        code, processor = ran(command, log)
        text = log.read_bytes().decode("utf-8", "replace")
        counts = [int(number) for number in re.findall(r"^#(\d+)", text, re.M)]
        said = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
        line["executions"] += int(said.group(1)) if said else max(counts, default=0)
        line["coverage"] = max([line["coverage"], *(int(number) for number in re.findall(r"cov: (\d+)", text))])
        line["processor"] += processor
        stalls = forget_stalls(given, target, found)
        line["stalls"] += stalls
        if code and not stalls:
            line["crashes"] += 1
            shutil.copy(log, found / f"crash-{time.time_ns()}.log")
            print(f"{target}: {text[-1500:]}", flush=True)
    line["seconds"], line["inputs"] = round(time.monotonic() - begin), len(list(corpus.iterdir()))
    line["processor"] = round(line["processor"])
    with open(given.work / "runs.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)
    return line["processor"]


def table(path):
    """A row for each target: hours, hours of a processor, executions, edges reached, crashes."""
    rows = {}
    for line in map(json.loads, path.read_text().splitlines()):
        row = rows.setdefault(line["target"], dict.fromkeys(("seconds", "processor", "executions", "coverage", "crashes"), 0))
        for name in ("seconds", "processor", "executions", "crashes"):
            row[name] += line[name]
        row["coverage"] = max(row["coverage"], line["coverage"])
    print("| target | minutes | of a processor | executions | edges |\n|---|--:|--:|--:|--:|")
    total = [0, 0, 0]
    for target, row in sorted(rows.items()):
        total = [total[0] + row["seconds"], total[1] + row["processor"], total[2] + row["executions"]]
        print(f"| {target} | {row['seconds'] / 60:.0f} | {row['processor'] / 60:.1f} | {row['executions']:,} | {row['coverage']:,} |")
    print(f"| all | {total[0] / 60:.0f} | {total[1] / 60:.1f} | {total[2]:,} | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--built", type=pathlib.Path, help="the folder of the built targets")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=300, help="of each turn")
    parser.add_argument("--timeout", type=int, default=25, help="seconds after which an input ends its target")
    parser.add_argument("--turns", type=int, help="of each target; without it no end")
    parser.add_argument("--only", nargs="*", help="only these targets")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        return table(given.work / "runs.jsonl")
    given.work.mkdir(parents=True, exist_ok=True)
    chosen = given.only or targets()
    spent = dict.fromkeys(chosen, 0)
    if (given.work / "runs.jsonl").exists():
        for line in map(json.loads, (given.work / "runs.jsonl").read_text().splitlines()):
            if line["target"] in spent:
                spent[line["target"]] += line["processor"]
    done = 0
    while given.turns is None or done < given.turns * len(chosen):
        target = min(chosen, key=spent.get)
        spent[target] += max(turn(given, target), 1)
        done += 1


if __name__ == "__main__":
    main()

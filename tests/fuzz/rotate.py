"""Runs the fuzz targets one after another, again and again, and keeps count.

    cargo +nightly fuzz build --fuzz-dir tests/fuzz/targets -O -s none
    python tests/fuzz/rotate.py --built tests/fuzz/targets/target/x86_64-unknown-linux-gnu/release --work FOLDER --seconds 300

FOLDER gets `corpus/TARGET` (which begins with the committed one), `found/TARGET` (inputs that made a target crash, hang or ask
for too much memory) and `runs.jsonl`, a line for each turn of a target. It goes on until it is interrupted, or for `--turns`
of every target. `--table` prints what `runs.jsonl` adds up to. A target that crashed is started anew until its turn is over.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
LIMITS = ["-timeout=25", "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-max_len=65536", "-print_final_stats=1", "-reload=0"]
# Targets whose inputs need numbers that fit each other, which comparisons of values find sooner.
VALUES = {"llama2c", "gguf", "latents", "npz"}


def targets():
    return sorted(path.stem for path in (HERE / "targets/fuzz_targets").glob("*.rs"))


def turn(given, target):
    """One turn of a target: what it did in so many seconds."""
    corpus, found = given.work / "corpus" / target, given.work / "found" / target
    if not corpus.exists():
        shutil.copytree(HERE / "corpora" / target, corpus)
    found.mkdir(parents=True, exist_ok=True)
    line = {"target": target, "seconds": 0, "processor": 0.0, "executions": 0, "coverage": 0, "crashes": 0}
    begin = time.monotonic()
    while (left := given.seconds - (time.monotonic() - begin)) > 1:
        command = [str(given.built / target), str(corpus), f"-max_total_time={int(left)}", f"-artifact_prefix={found}/", *LIMITS]
        if target in VALUES:
            command.append("-use_value_profile=1")
        log = given.work / f"{target}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | {"RAYON_NUM_THREADS": "1"})
            _, status, usage = os.wait4(process.pid, 0)
        text = log.read_bytes().decode("utf-8", "replace")
        counts = [int(number) for number in re.findall(r"^#(\d+)", text, re.M)]
        said = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
        line["executions"] += int(said.group(1)) if said else max(counts, default=0)
        line["coverage"] = max([line["coverage"], *(int(number) for number in re.findall(r"cov: (\d+)", text))])
        line["processor"] += usage.ru_utime + usage.ru_stime
        if os.waitstatus_to_exitcode(status):
            line["crashes"] += 1
            shutil.copy(log, found / f"crash-{int(time.time())}.log")
            print(f"{target}: {text[-1500:]}", flush=True)
    line["seconds"], line["inputs"] = round(time.monotonic() - begin), len(list(corpus.iterdir()))
    line["processor"] = round(line["processor"])
    with open(given.work / "runs.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)


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
        print(f"| {target} | {row['seconds'] / 60:.0f} | {row['processor'] / 60:.0f} | {row['executions']:,} | {row['coverage']:,} |")
    print(f"| all | {total[0] / 60:.0f} | {total[1] / 60:.0f} | {total[2]:,} | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--built", type=pathlib.Path, help="the folder of the built targets")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=300, help="of each turn")
    parser.add_argument("--turns", type=int, help="of each target; without it no end")
    parser.add_argument("--only", nargs="*", help="only these targets")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        return table(given.work / "runs.jsonl")
    given.work.mkdir(parents=True, exist_ok=True)
    done = 0
    while given.turns is None or done < given.turns:
        for target in given.only or targets():
            turn(given, target)
        done += 1


if __name__ == "__main__":
    main()

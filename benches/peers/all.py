"""hybrid-dpo against the programs that people use today, work by work: one table of ratios of medians.

    pip install torch diffusers transformers trl datasets peft pillow
    cargo build --release
    cargo bench -p benches --bench sampling --no-run     # prints the path of the program
    python benches/peers/all.py --binary target/release/hybrid-dpo --sampling target/release/deps/sampling-... \\
        --out all.json

Each work is a script of this folder, whose docstring says what is measured and how; systems take turns, each run is a
process of its own, and a work's files are made once. Prints the machine, the versions, the date and a Markdown table,
all of it after the runs; --out gets every run's numbers and the table so far as JSON, written anew after each work. A
work that fails is named at the end, and the exit status is then 1. `--quick` takes few steps and rows, to see that
everything runs: its figures mean nothing.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import traceback

import ddim
import diffusion_dpo
import hybrid
import loading
import sampling
import startup
import trl_dpo
from turns import is_ours

PACKAGES = ["torch", "transformers", "diffusers", "trl", "peft", "datasets", "tokenizers"]
# Of 28 pairs a step TRL takes minutes.
RANKED_STEPS, QUICK_STEPS = 3, 4
# Slower than the peer as it comes, and left to the scripts.
LEFT_OUT = "-checkpointing"


class Row:
    """A line of measurements: what is measured, the number that is compared, and whether it is a time."""

    def __init__(self, what, key, unit, results, is_time=False, ours=None):
        self.what, self.key, self.unit, self.results, self.is_time = what, key, unit, results, is_time
        self.ours = ours or key  # hybrid-dpo's number, if it has another name

    def lines(self):
        """A line of the table for each peer, and each precision of hybrid-dpo."""
        return (line for system in filter(is_ours, self.results) for line in self.lines_of(system))

    def lines_of(self, name):
        ours = self.results[name]
        speed, memory = ours[self.ours], ours.get("peak_mb")
        what = self.what + name.removeprefix("hybrid-dpo").replace("-", ", in ")
        for system, theirs in self.results.items():
            if is_ours(system):
                continue
            ratio = theirs[self.key] / speed if self.is_time else speed / theirs[self.key]
            medians = f"{speed:.4g} against {theirs[self.key]:.4g} {self.unit}"
            share, peaks = "", ""
            if memory:
                share, peaks = f"{memory / theirs['peak_mb']:.2f}x", f"{memory:.0f} against {theirs['peak_mb']:.0f}"
            yield f"| {what} | {system} | {ratio:.2f}x | {share} | {medians} | {peaks} |"


def denoiser(network):
    def rows(options):
        steps = QUICK_STEPS if options.quick else diffusion_dpo.STEPS
        peers = [name for name in diffusion_dpo.PEERS[network] if not name.endswith(LEFT_OUT)]
        systems = [peers[0], *diffusion_dpo.OURS, *peers[1:]]
        results = diffusion_dpo.measure(options.binary, network, options.rounds, steps, systems=systems)
        what, second = f"Diffusion-DPO step, {network}", "second_epoch_pairs_per_second"
        yield Row(what, "pairs_per_second", "pairs/s", results)
        yield Row(f"{what}, second epoch", "pairs_per_second", "pairs/s", results, ours=second)

    return rows


def language(work, what):
    def rows(options):
        steps = QUICK_STEPS if options.quick else RANKED_STEPS if work == "ranked" else trl_dpo.STEPS
        left_out = (LEFT_OUT, "trl-bf16") if work == "ranked" else LEFT_OUT
        systems = [name for name in trl_dpo.SYSTEMS if not name.endswith(left_out)]
        results = trl_dpo.measure(options.binary, work, options.rounds, steps, systems)
        yield Row(what, "prompts_per_second", "prompts/s", results)

    return rows


def sampled(options):
    for kind, what in {"sample": "64 answers of 8 prompts", "beams": "beams of width 5"}.items():
        results = sampling.measure(options.sampling, kind, options.rounds, *([8] if options.quick else []))
        yield Row(what, "tokens_per_second", "tokens/s", results)


def drawn(options):
    how = {"images": 4, "steps": 2} if options.quick else {}
    results = ddim.measure(options.binary, options.rounds, **how)
    yield Row(f"DDIM, {how.get('images', ddim.IMAGES)} images", "images_per_second", "images/s", results)


def loaded(options):
    rows = 500 if options.quick else loading.ROWS
    for format in loading.FORMATS:
        results = loading.measure(options.binary, format, options.rounds, rows)
        yield Row(f"{rows:,} pairs from {format}", "rows_per_second", "rows/s", results)


def started(options):
    for work, unit, what in ("help", "ms", "`--help`"), ("step", "s", "first step of a 135M model"):
        results = startup.measure(options.binary, work, options.rounds)
        yield Row(what, startup.TIMES[work], unit, results, is_time=True)


def both(options):
    steps = QUICK_STEPS if options.quick else hybrid.STEPS
    results = hybrid.measure(options.binary, options.rounds, steps)
    shown = {system: result for system, result in results.items() if system not in hybrid.PARTS}
    yield Row("hybrid step, LoRA, two draws", "pairs_per_second", "pairs/s", shown), results


WORKS = {
    "unet": denoiser("unet"),
    "mmdit": denoiser("mmdit"),
    "token": language("full", "token DPO step, 70M GPT-NeoX"),
    "lora": language("lora", "token DPO step with LoRA, SmolLM2-135M's shape"),
    "ranked": language("ranked", "step of eight ranked answers, 70M GPT-NeoX"),
    "sampling": sampled,
    "ddim": drawn,
    "loading": loaded,
    "startup": started,
    "hybrid": both,
}


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def conditions(options):
    """The machine, the versions, the date, and how many rounds there were."""
    ours = subprocess.run([options.binary, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    versions = {"hybrid-dpo": ours.split()[-1], "python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = importlib.metadata.version(package)
    return {
        "date": datetime.date.today().isoformat(), "processor": processor(), "cores": os.cpu_count(),
        "versions": versions, "rounds": options.rounds, "quick": options.quick,
    }


def table(rows):
    yield "| work | peer | speed of hybrid-dpo | memory | medians: hybrid-dpo against the peer | peak memory, MB |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        yield from row.lines()


def print_table(about, rows):
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    print(f"{about['processor']}, {about['cores']} cores; {versions}; {about['date']}; medians of {about['rounds']}.")
    if about["quick"]:
        print("A quick run: these figures mean nothing.")
    print("", *table(rows), sep="\n")


def write(path, about, works):
    """Whole or not at all, since it is written again after each work."""
    with open(f"{path}.tmp", "w") as file:
        json.dump(about | {"works": works}, file, indent=1)
    os.replace(f"{path}.tmp", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/hybrid-dpo")
    parser.add_argument("--sampling", metavar="PROGRAM", help="the built benches/sampling.rs; else left out")
    parser.add_argument("--rounds", type=int, default=5)
    names = list(WORKS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="WORK", help=", ".join(names))
    parser.add_argument("--out", metavar="FILE.json", help="every run's numbers")
    parser.add_argument("--quick", action="store_true", help="few steps and rows, to see that everything runs")
    options = parser.parse_args()
    if "sampling" in options.only and not options.sampling:
        print("sampling is left out: --sampling names no program", flush=True)
        options.only.remove("sampling")
    about, rows, works, failed = conditions(options), [], {}, []
    for name in options.only:
        try:
            for row in WORKS[name](options):
                row, results = row if isinstance(row, tuple) else (row, row.results)
                rows.append(row)
                works[row.what] = results
        except (subprocess.CalledProcessError, OSError, ValueError, LookupError, ArithmeticError, RuntimeError):
            traceback.print_exc()
            failed.append(name)
        if options.out:
            write(options.out, about | {"failed": failed, "table": list(table(rows))}, works)
    print_table(about, rows)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

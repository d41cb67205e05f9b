"""Makes the reference runs of the embedded problems, which reports draw behind other runs:
recipes/embedded/NAME/reference-run.jsonl.

    python scripts/reference_runs.py --binary target/release/hybrid-dpo [--problems tldr,shapes,chimera]

Each is `metrics.jsonl` of `hybrid-dpo train --mdp ..` with nothing else, without the numbers of the clock and rounded to six
digits. It takes some minutes; run it after a change that alters what training computes.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

MODALITIES = {"tldr": "token", "shapes": "diffusion", "chimera": "hybrid"}


def shortened(line):
    record = {name: value for name, value in json.loads(line).items() if not name.endswith("_per_second")}
    rounded = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in record.items()}
    return json.dumps(rounded, separators=(",", ":"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--problems", default=",".join(MODALITIES))
    arguments = parser.parse_args()
    embedded = pathlib.Path(__file__).parent.parent / "recipes" / "embedded"
    for problem in arguments.problems.split(","):
        with tempfile.TemporaryDirectory() as folder:
            run = pathlib.Path(folder) / "run"
            command = [arguments.binary.resolve(), "train", "--mdp", MODALITIES[problem], "--out", run, "--quiet"]
            subprocess.run(command, check=True)
            lines = (run / "metrics.jsonl").read_text().splitlines()
        path = embedded / problem / "reference-run.jsonl"
        path.write_text("".join(shortened(line) + "\n" for line in lines))
        print(f"{path}: {len(lines)} records")


if __name__ == "__main__":
    main()

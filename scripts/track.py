"""Shows a run in Weights & Biases, MLflow or trackio: its settings, and its metrics step by step.

    pip install wandb                     (or mlflow, or trackio)
    python scripts/track.py runs/first --to wandb --project preferences
    python scripts/track.py runs/first --to mlflow --project preferences --follow

It reads `config.toml` and `metrics.jsonl`, during a run (`--follow`: until the run ends) or afterwards. Where the numbers go is
what these programs are set to: WANDB_MODE, MLFLOW_TRACKING_URI and so on.
"""

import argparse
import json
import pathlib
import time
import tomllib


def settings(run):
    sections = tomllib.loads((run / "config.toml").read_text())
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def records(run, follow):
    """(step, metrics by `train/` or `eval/` and name), as the lines are there; a cut last line is left for later."""
    read = 0
    while True:
        # Looked at first, so that lines written in between are read in the next pass.
        has_ended = not follow or (run / "report/summary.json").exists()
        whole = (run / "metrics.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        for line in map(json.loads, whole[read:]):
            numbers = {f"{line['split']}/{name}": value for name, value in line.items() if isinstance(value, (int, float))}
            yield line["step"], numbers
        read = len(whole)
        if has_ended:
            return
        time.sleep(2)


def to_wandb(given, config, lines):
    import wandb

    with wandb.init(project=given.project, name=given.run.name, config=config) as run:
        # An evaluation comes after the step of the same number, so the step is a metric of its own.
        run.define_metric("*", step_metric="step")
        for step, numbers in lines:
            run.log(numbers | {"step": step})


def to_mlflow(given, config, lines):
    import mlflow

    mlflow.set_experiment(given.project)
    with mlflow.start_run(run_name=given.run.name):
        mlflow.log_params({name: str(value)[:500] for name, value in config.items()})
        # Its file store makes folders of slashes: `divergence` beside `divergence/chosen` is a file and a folder.
        named = lambda name: name.replace("/", ".").replace(".", "/", 1)
        for step, numbers in lines:
            mlflow.log_metrics({named(name): value for name, value in numbers.items()}, step=step)


def to_trackio(given, config, lines):
    import trackio

    run = trackio.init(project=given.project, name=given.run.name, config=config, embed=False)
    for step, numbers in lines:
        run.log(numbers, step=step)
    run.finish()


TRACKERS = {"wandb": to_wandb, "mlflow": to_mlflow, "trackio": to_trackio}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--to", choices=TRACKERS, required=True)
    parser.add_argument("--project", default="hybrid-dpo")
    parser.add_argument("--follow", action="store_true", help="until the run ends")
    given = parser.parse_args()
    given.run = given.run.resolve()
    TRACKERS[given.to](given, settings(given.run), records(given.run, given.follow))


if __name__ == "__main__":
    main()

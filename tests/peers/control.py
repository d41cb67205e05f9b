"""numpy and torch against the example 08_control: files of segments both ways, and the policy that it leaves.

    pip install numpy torch safetensors
    cargo build --release --example 08_control
    python tests/peers/control.py --example target/release/examples/08_control

The embedded segments are written and read by numpy, which computes their scores again from observations and actions. Then
numpy writes segments in every way that it has (compressed, in Fortran's order, in other types, as pairs), and the example learns
the same from all of them, to the bit. torch computes the log-probabilities of the policy again. Files that are wrong are refused in
one message that names the file and the array. The last line is the count of checks.
"""

import argparse
import json
import math
import os
import re
import subprocess
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file

from checks import Checks

TOLERANCE, REACH = 0.15, 0.2  # of the embedded problem: a grasp, a step


def run(example, *arguments):
    return subprocess.run([example, *arguments], capture_output=True, text=True)


def time_to_go(object_way, bin_way, closed, holding):
    """The oracle's time by states, with parts of decisions."""
    distance = lambda way: np.maximum(np.linalg.norm(way, axis=-1) - TOLERANCE, 0) / REACH
    carrying = distance(bin_way) + 1
    fetching = closed + distance(object_way) + 1 + carrying
    done = ~holding & (np.linalg.norm(bin_way, axis=-1) <= TOLERANCE)
    return np.where(done, 0, np.where(holding, carrying, fetching))


def scores(obs, action):
    """The sum of the oracle's advantages of each segment."""
    obs, action = obs.astype(np.float64), action.astype(np.float64)
    gripper, object_way, bin_way = obs[..., 0:2], obs[..., 2:4], obs[..., 4:6]
    closed, holding = obs[..., 6] > 0, obs[..., 7] > 0
    closes = action[..., 2] > 0
    changes = closes != closed
    velocity = action[..., :2] / np.maximum(np.linalg.norm(action[..., :2], axis=-1, keepdims=True), 1)
    moved = np.clip(gripper + REACH * velocity, -1, 1) - gripper
    moved = np.where(changes[..., None], 0, moved)
    grasps = closes & (np.linalg.norm(object_way, axis=-1) <= TOLERANCE)
    holds = np.where(changes, grasps, holding)
    carried = np.where((~changes & holding)[..., None], moved, 0)
    after = time_to_go(object_way + carried - moved, bin_way - carried, closes, holds)
    return (time_to_go(object_way, bin_way, closed, holding) - after - 1).sum(-1)


def model_bytes(folder):
    return open(os.path.join(folder, "cpl", "model", "model.safetensors"), "rb").read()


def log_prob(folder, obs, action):
    """The sum of log-probabilities of a segment by torch."""
    config = json.load(open(os.path.join(folder, "config.json")))
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    x = (torch.tensor(obs, dtype=torch.float64) - torch.tensor(config["observation_mean"], dtype=torch.float64))
    x = x / torch.tensor(config["observation_std"], dtype=torch.float64)
    layers = len(config["hidden_sizes"]) + 1
    for layer in range(layers):
        weight, bias = (tensors[f"layers.{layer}.{name}"].double() for name in ("weight", "bias"))
        x = torch.nn.functional.linear(x, weight, bias)
        x = torch.tanh(x) if layer + 1 < layers else x
    return torch.distributions.Normal(x, config["std"]).log_prob(torch.tensor(action, dtype=torch.float64)).sum().item()


def check_encodings(checks, example, path, embedded):
    few = {name: embedded[name][:200] for name in ("obs", "action", "reward", "rl_sum")}
    pairs = {f"{name}_{side}": few[name][half] for name in ("obs", "action", "reward")
             for side, half in ((1, slice(0, 100)), (2, slice(100, 200)))}
    better = (few["rl_sum"][100:] > few["rl_sum"][:100]) + 0.5 * (few["rl_sum"][100:] == few["rl_sum"][:100])
    ranks = few["rl_sum"].argsort().argsort()
    per_decision = np.repeat(few["rl_sum"][:, None] / 8, 8, axis=1)
    groups = {
        "scores": {
            "as written": few,
            "compressed": few | {"compressed": True},
            "in Fortran's order": {name: np.asfortranarray(array) for name, array in few.items()},
            "in double precision": {name: array.astype(np.float64) for name, array in few.items()},
            "big-endian": {name: array.astype(array.dtype.newbyteorder(">")) for name, array in few.items()},
            "with ranks as int64": few | {"rl_sum": ranks},
            "with a column of scores": few | {"rl_sum": few["rl_sum"][:, None]},
            "with a score for each decision": few | {"rl_sum": per_decision},
            "with arrays nobody asks for": few | {"name": np.array(["a", "b"]), "other": np.array([{}, None])},
        },
        "pairs": {
            "float64 labels": pairs | {"label": better},
            "float16 labels": pairs | {"label": better.astype(np.float16)},
            "truth values": pairs | {"label": better > 0.5},
        },
    }
    for group, files in groups.items():
        models = {}
        for index, (name, arrays) in enumerate(files.items()):
            file, out = path(f"{group}-{index}.npz"), path(f"{group}-{index}")
            arrays = dict(arrays)
            (np.savez_compressed if arrays.pop("compressed", False) else np.savez)(file, **arrays)
            ran = run(example, out, file, "--steps", "3")
            checks(f"{group} {name}: read and learned from", ran.returncode, 0)
            if ran.returncode == 0:
                models[name] = model_bytes(out)
            else:
                print(ran.stderr)
        checks(f"{group}: encodings from which another policy is learned", len(set(models.values())) - 1, 0)


def check_log_probs(checks, example, path, embedded):
    # Every pair is the same, so those held out are too.
    again = lambda array, index: np.repeat(array[index : index + 1], 20, axis=0)
    arrays = {f"{name}_{side}": again(embedded[name], side) for name in ("obs", "action") for side in (1, 2)}
    np.savez(path("same.npz"), **arrays, label=np.zeros(20))
    ran = run(example, path("same"), path("same.npz"), "--steps", "5")
    for name, folder in (("imitation", "cloned"), ("CPL", "cpl")):
        found = re.search(rf"{name}: log-probability of chosen segments ([-.\d]+), of rejected ones ([-.\d]+)", ran.stdout)
        for side, number in zip((1, 2), found.groups()):
            expected = log_prob(path("same", folder, "model"), embedded["obs"][side], embedded["action"][side])
            checks(f"{name}: torch's log-probability of segment {side}, {expected:.3f}", abs(float(number) - expected), 2e-3)


def check_refusals(checks, example, path, embedded):
    few = {name: embedded[name][:20] for name in ("obs", "action", "rl_sum")}
    broken = few["action"].copy()
    broken[3, 2, 1] = math.nan
    objects = np.empty(20, dtype=object)
    cases = {
        "nan": (few | {"action": broken}, "`action` is NaN at [3, 2, 1]"),
        "objects": (few | {"rl_sum": objects}, "`rl_sum` is an array of Python objects"),
        "texts": (few | {"obs": np.full((20, 8, 8), "a")}, "`obs` is of type <U1"),
        "shape": (few | {"obs": few["obs"].reshape(160, 8)}, "`obs` should have the shape [N, L, observation], but has [160, 8]"),
        "length": (few | {"action": few["action"][:, :5]}, "`action` should begin with [20, 8]"),
        "scores": (few | {"rl_sum": few["rl_sum"][:7]}, "`rl_sum` should have the shape [20] or [20, 8], but has [7]"),
        "missing": ({name: few[name] for name in ("action", "rl_sum")}, "`obs` is not in this file, which has action, rl_sum"),
        "unlabelled": ({name: few[name] for name in ("action", "obs")}, "`rl_sum` is not in this file, which has action, obs"),
    }
    for name, (arrays, expected) in cases.items():
        np.savez(path(f"{name}.npz"), **arrays)
    for name, text in {"text": b"obs,action\n", "empty": b""}.items():
        open(path(f"{name}.npz"), "wb").write(text)
        cases[name] = (None, "not an .npz file")
    whole = open(path("scores.npz"), "rb").read()
    open(path("cut.npz"), "wb").write(whole[: len(whole) // 2])
    cases["cut"] = (None, "not an .npz file")
    for name, (_, expected) in cases.items():
        ran = run(example, path(f"out-{name}"), path(f"{name}.npz"))
        lines = ran.stderr.strip().splitlines()
        is_said = len(lines) == 1 and f"{name}.npz" in lines[0] and expected in lines[0]
        good = ran.returncode == 1 and is_said and not os.path.exists(path(f"out-{name}"))
        checks(f"{name}: refused ({ran.stderr.strip()[-120:]})", not good, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--example", default="target/release/examples/08_control")
    options, checks = parser.parse_args(), Checks()
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *parts: os.path.join(folder, *parts)
        ran = run(options.example, "--write", path("bins.npz"))
        checks("the embedded segments are written", ran.returncode, 0)
        embedded = dict(np.load(path("bins.npz")))
        shapes = {name: array.shape for name, array in embedded.items()}
        expected = {"obs": (3000, 8, 8), "action": (3000, 8, 3), "reward": (3000, 8), "rl_sum": (3000,)}
        checks(f"numpy's shapes: {shapes}", shapes != expected, 0)
        again = scores(embedded["obs"], embedded["action"])
        # Observations are in single precision, in which a grasp at the very edge may be another; none of these is.
        checks("numpy's scores of them", np.abs(again - embedded["rl_sum"]).max(), 1e-4)
        check_encodings(checks, options.example, path, embedded)
        check_log_probs(checks, options.example, path, embedded)
        check_refusals(checks, options.example, path, embedded)
    checks.end()


if __name__ == "__main__":
    main()

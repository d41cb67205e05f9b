"""Noise schedules and timestep spacings of diffusers' schedulers, written to diffusion/schedules.json.

Run with diffusers on the CPU: python tests/golden/schedules.py
"""

import json
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

SCHEDULES = {
    "ddpm": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "stable_diffusion": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero_snr": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "rescale_betas_zero_snr": True,
    },
    "trained": {"trained_betas": [0.01, 0.02, 0.05, 0.2, 0.5]},
}
SPACINGS = [("leading", 0), ("leading", 1), ("linspace", 0), ("trailing", 0)]
STEPS = [1, 2, 3, 7, 10, 20, 25, 30, 50, 77, 100]


def squared_signals():
    """alphas_cumprod at every 37th timestep and the last."""
    rows = {}
    for name, options in SCHEDULES.items():
        count = len(options["trained_betas"]) if "trained_betas" in options else 1000
        every = 1 if count < 100 else 37
        squares = DDIMScheduler(num_train_timesteps=count, **options).alphas_cumprod
        picked = sorted({*range(0, count, every), count - 1})
        rows[name] = {"timesteps": picked, "alphas_cumprod": [squares[t].item() for t in picked]}
    return rows


def spacings():
    """Timesteps by spacing, offset and number of steps; first and last few where there are many."""
    rows = []
    for spacing, offset in SPACINGS:
        for steps in STEPS:
            row = {"spacing": spacing, "offset": offset, "steps": steps}
            options = {"timestep_spacing": spacing, "steps_offset": offset}
            for key, kind in [("ddim", DDIMScheduler), ("solver", DPMSolverMultistepScheduler)]:
                scheduler = kind(num_train_timesteps=1000, **options)
                scheduler.set_timesteps(steps)
                # A rounding error gives one more than asked for, and that one is below 0.
                row[key] = [t for t in scheduler.timesteps.tolist() if t >= 0]
            euler = EulerDiscreteScheduler(num_train_timesteps=1000, **SCHEDULES["stable_diffusion"], **options)
            euler.set_timesteps(steps)
            if steps <= 30:
                row["euler"] = euler.timesteps.tolist()
                row["euler_sigmas"] = euler.sigmas.tolist()
            rows.append(row)
    return rows


def flows():
    """Training and sampling levels of flow matching."""
    rows = []
    for shift in [1.0, 3.0]:
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
        training = scheduler.sigmas.flip(0)
        picked = [0, 1, 10, 250, 500, 998, 999]
        row = {
            "shift": shift,
            "timesteps": picked,
            "sigmas": [training[t].item() for t in picked],
            "times": [scheduler.timesteps.flip(0)[t].item() for t in picked],
            "sampling": [],
        }
        for steps in [1, 4, 28]:
            scheduler.set_timesteps(steps)
            row["sampling"].append({"steps": steps, "sigmas": scheduler.sigmas.tolist()})
        rows.append(row)
    return rows


def main():
    golden = {
        "made_by": f"tests/golden/schedules.py with diffusers {diffusers.__version__}, torch {torch.__version__}",
        "squared_signals": squared_signals(),
        "spacings": spacings(),
        "flows": flows(),
    }
    (Path(__file__).parent / "diffusion" / "schedules.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()

"""Trajectories of diffusers' schedulers under a toy model, written to diffusion/samplers.json.

The model says 0.3 x + 0.1 sin(t / 100) of what the scheduler shows it, so no network is needed. Latents are written as
signal x_0 + noise eps, whatever the scheduler keeps. Run with diffusers on the CPU: python tests/golden/samplers.py
"""

import json
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers.schedulers import scheduling_ddpm

LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
STABLE = {**SCALED, "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}
ZERO = {**SCALED, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
V = {"prediction_type": "v_prediction"}
FINAL = {"final_sigmas_type": "sigma_min"}

LARGE = {"variance_type": "fixed_large", "clip_sample": False}
SPACINGS = ["leading", "linspace", "trailing"]

# Every sampler in every spacing, in 7 steps, which do not divide 1000. Leading starts at 1, so DDPM's last step is not from 0.
SPACED = {
    f"{name}_{spacing}": (kind, {**SCALED, **options, "timestep_spacing": spacing, "steps_offset": 1}, 7, eta)
    for spacing in SPACINGS
    for name, kind, options, eta in [
        ("ddpm_spaced", "DDPM", {"clip_sample": False}, None),
        ("ddpm_large_spaced", "DDPM", LARGE, None),
        ("ddim_spaced", "DDIM", {"clip_sample": False}, 0.0),
        ("ddim_spaced_eta", "DDIM", {"clip_sample": False}, 0.6),
        ("ddim_spaced_to_cleanest", "DDIM", {"clip_sample": False, "set_alpha_to_one": False}, 0.6),
        ("ddim_spaced_clipped", "DDIM", {"clip_sample": True}, 0.6),
        ("euler_spaced", "EulerDiscrete", {}, None),
        ("solver_spaced", "DPMSolverMultistep", {}, None),
    ]
}

# name: (scheduler, options, number of steps, eta)
CASES = {
    "ddpm": ("DDPM", {**LINEAR, "clip_sample": False}, 10, None),
    "ddpm_clipped": ("DDPM", {**LINEAR, "clip_sample": True}, 10, None),
    "ddpm_every_step": ("DDPM", {**LINEAR, "num_train_timesteps": 12, "beta_end": 0.5, "clip_sample": False}, 12, None),
    "ddpm_large": ("DDPM", {**LINEAR, "clip_sample": False, "variance_type": "fixed_large"}, 10, None),
    "ddpm_velocity": ("DDPM", {**SCALED, **V, "clip_sample": False, "steps_offset": 1}, 8, None),
    "ddpm_zero_snr": ("DDPM", {**ZERO, **V, "clip_sample": True, "clip_sample_range": 0.8}, 5, None),
    "ddim": ("DDIM", STABLE, 10, 0.0),
    "ddim_eta": ("DDIM", STABLE, 10, 0.7),
    "ddim_clipped": ("DDIM", {**LINEAR, "clip_sample": True}, 8, 0.5),
    "ddim_cosine": ("DDIM", {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True}, 10, 1.0),
    # With eta 1 the direction is the root of what f32 leaves of 0, 2e-4.
    "ddim_zero_snr": ("DDIM", {**ZERO, **V, "clip_sample": False}, 10, 0.9),
    "ddim_zero_snr_linspace": ("DDIM", {**ZERO, **V, "clip_sample": False, "timestep_spacing": "linspace"}, 7, 0.5),
    "ddim_zero_snr_not_dividing": ("DDIM", {**ZERO, **V, "clip_sample": False}, 7, 0.0),
    "ddim_linspace_dividing": ("DDIM", {**LINEAR, "clip_sample": False, "timestep_spacing": "linspace"}, 5, 0.0),
    "ddim_one_step": ("DDIM", {**SCALED, "clip_sample": False, "timestep_spacing": "trailing"}, 1, 0.0),
    "ddim_of_ten": ("DDIM", {"num_train_timesteps": 10, "beta_end": 0.4, "timestep_spacing": "linspace"}, 4, 0.5),
    "euler": ("EulerDiscrete", {**SCALED, "steps_offset": 1, "timestep_spacing": "leading"}, 10, None),
    "euler_between": ("EulerDiscrete", {**SCALED, **V}, 7, None),
    "euler_trailing": ("EulerDiscrete", {**SCALED, "timestep_spacing": "trailing"}, 7, None),
    "euler_zero_snr": ("EulerDiscrete", {**ZERO, **V}, 6, None),
    "euler_zero_snr_linspace": ("EulerDiscrete", {**ZERO, **V, "timestep_spacing": "linspace"}, 6, None),
    "solver": ("DPMSolverMultistep", SCALED, 8, None),
    "solver_velocity": ("DPMSolverMultistep", {**SCALED, **V, "timestep_spacing": "leading", "steps_offset": 1}, 20, None),
    "solver_trailing": ("DPMSolverMultistep", {**LINEAR, "timestep_spacing": "trailing"}, 16, None),
    "solver_ends_with_noise": ("DPMSolverMultistep", {**SCALED, **FINAL}, 20, None),
    "solver_ends_soon": ("DPMSolverMultistep", {**SCALED, **FINAL}, 6, None),
    "solver_zero_snr": ("DPMSolverMultistep", {**ZERO, **V}, 6, None),
    "solver_zero_snr_linspace": ("DPMSolverMultistep", {**ZERO, **V, "timestep_spacing": "linspace"}, 6, None),
    **SPACED,
    "flow": ("FlowMatchEulerDiscrete", {}, 6, None),
    "flow_shifted": ("FlowMatchEulerDiscrete", {"shift": 3.0}, 9, None),
}

# As PNDM's file in Stable Diffusion 1.5 and Euler's in SDXL.
PNDM_FILE = {**STABLE, "skip_prk_steps": True}
EULER_FILE = {**STABLE, "timestep_spacing": "leading", "interpolation_type": "linear", "use_karras_sigmas": False}

# Samplers made from another scheduler's file. name: (file's scheduler, its options, sampler, number of steps, eta)
FROM_OTHERS = {
    "pndm_file": ("PNDM", PNDM_FILE, "DDIM", 7, 0.5),
    "euler_file": ("EulerDiscrete", EULER_FILE, "DDIM", 7, 0.5),
    "bare_pndm_to_ddim": ("PNDM", SCALED, "DDIM", 7, 0.5),
    "bare_pndm_to_euler": ("PNDM", {**SCALED, "steps_offset": 1}, "EulerDiscrete", 7, None),
    "bare_pndm_to_solver": ("PNDM", {**SCALED, "steps_offset": 1}, "DPMSolverMultistep", 7, None),
    "bare_euler_to_ddim": ("EulerDiscrete", SCALED, "DDIM", 7, 0.5),
    "bare_euler_to_ddpm": ("EulerDiscrete", {**SCALED, "variance_type": "fixed_large"}, "DDPM", 7, None),
    "bare_solver_to_ddim": ("DPMSolverMultistep", SCALED, "DDIM", 7, 0.0),
    "bare_solver_to_euler": ("DPMSolverMultistep", {**SCALED, **FINAL}, "EulerDiscrete", 7, None),
    "ddim_to_ddpm": ("DDIM", {**STABLE, "timestep_spacing": "trailing"}, "DDPM", 7, None),
    "ddpm_to_solver": ("DDPM", {**LINEAR, "clip_sample": True}, "DPMSolverMultistep", 7, None),
}


def model(latent, time):
    return 0.3 * latent + 0.1 * torch.sin(torch.as_tensor(float(time)) / 100)


def take(scheduler, prediction, time, latent, eta, noise):
    """One step with the given draw."""
    options = {} if eta is None else {"eta": eta, "variance_noise": noise if eta > 0 else None}
    scheduling_ddpm.randn_tensor = lambda *_, **__: noise
    return scheduler.step(prediction, time, latent, **options).prev_sample


def deviation(scheduler, time, eta):
    """The standard deviation of DDPM's and DDIM's steps."""
    if eta is None:
        return scheduler._get_variance(time) ** 0.5 if time > 0 else torch.tensor(0.0)
    before = time - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    return eta * scheduler._get_variance(time, before) ** 0.5


def scored(scheduler, prediction, time, latent, eta, following):
    """The log-density of the latent that followed, and its slopes in the prediction; 0 where there was no chance."""
    width = deviation(scheduler, time, eta)
    # DDPM puts 1e-20 in the place of no variance.
    if width <= 1e-9:
        return 0.0, torch.zeros(latent.numel()).tolist()
    prediction = prediction.double().requires_grad_()
    mean = take(scheduler, prediction, time, latent.double(), eta, torch.zeros_like(latent))
    log_density = torch.distributions.Normal(mean, width.double()).log_prob(following.double()).sum()
    (slopes,) = torch.autograd.grad(log_density, prediction)
    return log_density.item(), slopes.flatten().tolist()


def from_file(kind, options, sampler):
    """The sampler that diffusers makes from the configuration of a scheduler that was loaded from a file, and the file."""
    text = json.dumps({"_class_name": f"{kind}Scheduler", **options})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "scheduler_config.json").write_text(text)
        loaded = getattr(diffusers, f"{kind}Scheduler").from_pretrained(folder)
    return getattr(diffusers, f"{sampler}Scheduler").from_config(loaded.config), text


def run(kind, options, steps, eta):
    scheduler = getattr(diffusers, f"{kind}Scheduler")(**options)
    return {"config": scheduler.to_json_string(), **trajectory(scheduler, kind, steps, eta)}


def run_from_other(kind, options, sampler, steps, eta):
    scheduler, text = from_file(kind, options, sampler)
    return {"config": text, "sampler": sampler, **trajectory(scheduler, sampler, steps, eta)}


def trajectory(scheduler, kind, steps, eta):
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(7)
    draw = lambda: torch.randn(1, 1, 2, 2, generator=generator)
    start = draw()
    latent = start * scheduler.init_noise_sigma if kind == "EulerDiscrete" else start
    golden = {"start": start.flatten().tolist(), "times": [], "noises": [], "latents": []}
    is_random = kind in ("DDPM", "DDIM") and eta != 0.0
    if is_random:
        golden |= {"log_densities": [], "slopes": []}
    for time in scheduler.timesteps:
        shown = scheduler.scale_model_input(latent, time) if kind == "EulerDiscrete" else latent
        prediction, noise = model(shown, time), draw()
        following = take(scheduler, prediction, time, latent, eta, noise)
        if is_random:
            log_density, slopes = scored(scheduler, prediction, time, latent, eta, following)
            golden["log_densities"].append(log_density)
            golden["slopes"].append(slopes)
        latent = following
        # Euler keeps x / signal; the ratio it has reached is the next of its sigmas.
        ratio = scheduler.sigmas[scheduler.step_index] if kind == "EulerDiscrete" else 0.0
        golden["times"].append(float(time))
        golden["noises"].append(noise.flatten().tolist())
        golden["latents"].append((latent / (1 + ratio**2) ** 0.5).flatten().tolist())
    return {"steps": steps, "eta": eta, **golden}


def main():
    golden = {"made_by": f"tests/golden/samplers.py with diffusers {diffusers.__version__}, torch {torch.__version__}"}
    golden["cases"] = {name: run(*case) for name, case in CASES.items()}
    golden["cases"] |= {name: run_from_other(*case) for name, case in FROM_OTHERS.items()}
    path = Path(__file__).parent / "diffusion" / "samplers.json"
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()

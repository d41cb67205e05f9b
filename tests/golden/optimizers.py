"""Ten steps of torch's optimisers on fixed numbers, written to optimizers/*.json.

Run with any recent torch on the CPU: python tests/golden/optimizers.py
"""

import json
from pathlib import Path

import torch

N, N_STEPS, RATE = 40, 10, 0.01

CASES = {
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-8}),
    "rmsprop_short_memory": (torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-4}),
    "adamw": (torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    "adamw_strong_decay": (torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.5}),
    "sgd": (torch.optim.SGD, {"momentum": 0.0}),
    "sgd_momentum": (torch.optim.SGD, {"momentum": 0.9}),
}


def run(optimizer_class, options):
    """Weights after every step. Gradients span many magnitudes, and some are exactly zero."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(N, generator=generator).requires_grad_()
    magnitudes = 10.0 ** torch.linspace(-6, 2, N)
    optimizer = optimizer_class([weight], lr=RATE, foreach=False, **options)
    start, gradients, weights = weight.tolist(), [], []
    for step in range(N_STEPS):
        gradient = torch.randn(N, generator=generator) * magnitudes
        gradient[step::11] = 0.0
        weight.grad = gradient
        # The rate changes from step to step, as a warm-up makes it.
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 4)
        optimizer.step()
        gradients.append(gradient.tolist())
        weights.append(weight.tolist())
    return {"start": start, "gradients": gradients, "weights": weights}


def main():
    folder = Path(__file__).parent / "optimizers"
    for name, (optimizer_class, options) in CASES.items():
        golden = {
            "made_by": f"tests/golden/optimizers.py with torch {torch.__version__}",
            "options": options,
            "rates": [RATE * min(1.0, (step + 1) / 4) for step in range(N_STEPS)],
            **run(optimizer_class, options),
        }
        (folder / f"{name}.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()

"""Losses, metrics and gradients of TRL's own code on fixed random numbers.

Run `python objectives.py` beside this file; it writes objectives/trl.json. Needs torch, transformers, trl.

The trainers' loss methods are called as they are, with stand-ins for what surrounds them: a "model" that returns given
log-probabilities, an "accelerator" of one process. Everything is float64 unless TRL itself rounds (ORPO's odds).
"""

import collections
import contextlib
import json
import pathlib
import types

import torch
import transformers
import trl
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

torch.set_default_dtype(torch.float64)

# Four pairs: rows 0..4 are chosen, 4..8 rejected.
LENGTHS = [3, 1, 5, 2, 3, 4, 2, 6]
PAIRS = 4
WIDTH = max(LENGTHS)


def padded(rows):
    table = torch.zeros(len(rows), WIDTH)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def ragged(table):
    return [table[i, :n].tolist() for i, n in enumerate(LENGTHS)]


generator = torch.Generator().manual_seed(20261123)
draw = lambda n: -0.05 - 4 * torch.rand(n, generator=generator)
REFERENCE = padded([draw(n) for n in LENGTHS])
noise = padded([1.5 * torch.randn(n, generator=generator) for n in LENGTHS])
MASK = padded([torch.ones(n) for n in LENGTHS])
POLICY = torch.clamp(REFERENCE + noise, max=-0.01) * MASK
# What is printed is what is used.
POLICY, REFERENCE = POLICY.round(decimals=6), REFERENCE.round(decimals=6)
# The logarithm of the sum of squared probabilities, for WPO.
COLLISION = padded([draw(n) for n in LENGTHS]).round(decimals=6)

identity = lambda tensor: tensor
ACCELERATOR = types.SimpleNamespace(
    device=torch.device("cpu"), gather=identity, gather_for_metrics=identity, autocast=contextlib.nullcontext
)


class Model(torch.nn.Module):
    """Returns the log-probabilities it was given, whatever the input; one table for each width of input."""

    def __init__(self, tables):
        super().__init__()
        self.tables = tables
        self.is_gradient_checkpointing = False

    def forward(self, input_ids, **_):
        table = self.tables[int(input_ids[0, 0])]
        nothing = torch.zeros_like(table)
        return types.SimpleNamespace(
            log_probs=table,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
            log_sum_sq_probs=COLLISION if table.shape == COLLISION.shape else nothing,
        )


def inputs(mask, table):
    """One prompt token (it names the table) and the completion."""
    ones = torch.ones(len(mask), 1, dtype=torch.long)
    completion = torch.cat([0 * ones, mask.long()], dim=1)
    return torch.cat([table * ones, ones.expand(-1, mask.shape[1])], dim=1), completion


def trainer(policy, reference, **settings):
    standard = dict(
        model=policy,
        ref_model=reference,
        accelerator=ACCELERATOR,
        args=types.SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        ld_alpha=None,
        use_weighting=False,
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=0.5,
        label_smoothing=0.0,
        _metrics={"train": collections.defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    return types.SimpleNamespace(**(standard | settings))


KEPT = ("rewards/", "logps/", "kl", "nll_loss", "log_odds")


def case(name, settings, loss, policy, metrics, tolerance=1e-9):
    (gradient,) = torch.autograd.grad(loss, policy)
    metrics = {key: float(value) for key, value in metrics.items() if key.startswith(KEPT)}
    return dict(
        name=name, settings=settings, loss=loss.item(), metrics=metrics, slopes=ragged(gradient), tolerance=tolerance
    )


def dpo(name, loss_types, weights=None, dtype=torch.float64, tolerance=1e-9, **settings):
    """DPOTrainer._compute_loss."""
    policy = POLICY.to(dtype, copy=True).requires_grad_()
    me = trainer(
        Model({1: policy}), Model({1: REFERENCE.to(dtype)}), loss_types=loss_types, loss_weights=weights or [1.0], **settings
    )
    ids, completion = inputs(MASK, 1)
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids), completion_mask=completion)
    loss = DPOTrainer._compute_loss(me, me.model, batch, False)
    metrics = {key: values[-1] for key, values in me._metrics["train"].items()}
    if "ld_alpha" in settings:
        # TRL's are weighed too; ours are always nats per episode.
        metrics = {key: value for key, value in metrics.items() if not key.startswith("logps/")}
    return case(name, settings, loss, policy, metrics, tolerance)


def averages(policy):
    return policy.sum(1) / MASK.sum(1)


def cpo(name, loss_type, returns, **settings):
    """CPOTrainer.cpo_loss: returns of the policy alone."""
    policy = POLICY.clone().requires_grad_()
    me = trainer(None, None, loss_type=loss_type, alpha=0.0, **settings)
    chosen, rejected = returns(policy).chunk(2)
    losses, chosen_rewards, rejected_rewards = CPOTrainer.cpo_loss(me, chosen, rejected)
    metrics = {
        "rewards/chosen": chosen_rewards.mean(),
        "rewards/rejected": rejected_rewards.mean(),
        "rewards/accuracies": (chosen_rewards > rejected_rewards).double().mean(),
    }
    return case(name, settings, losses.mean(), policy, metrics)


def orpo(name, **settings):
    """ORPOTrainer.get_batch_loss_metrics, given the likelihood term (TRL's own also counts the prompt's tokens)."""
    policy = POLICY.clone().requires_grad_()
    me = trainer(None, None, **settings)
    chosen, rejected = averages(policy).chunk(2)
    nothing = torch.zeros(1)
    me.concatenated_forward = lambda *_: (chosen, rejected, nothing, nothing, -chosen.mean())
    me.odds_ratio_loss = types.MethodType(ORPOTrainer.odds_ratio_loss, me)
    loss, metrics = ORPOTrainer.get_batch_loss_metrics(me, None, None)
    # TRL's are per token here; ours are always per episode.
    metrics = {key: value for key, value in metrics.items() if not key.startswith("logps/")}
    return case(name, settings, loss, policy, metrics, tolerance=1e-5)


def kto(name, loss_type, kl_shift, **settings):
    """KTOTrainer._compute_loss: the first four rows are desirable; mismatched completions are the same rows turned."""
    policy = POLICY.clone().requires_grad_()
    mismatched = POLICY.roll(1, 0) + kl_shift * MASK.roll(1, 0)
    models = [Model({1: policy, 2: mismatched}), Model({1: REFERENCE, 2: REFERENCE.roll(1, 0)})]
    me = trainer(*models, loss_type=loss_type, calculate_KL=loss_type == "kto", **settings)
    me._compute_kl_logps = types.MethodType(KTOTrainer._compute_kl_logps, me)
    (ids, completion), (kl_ids, kl_completion) = inputs(MASK, 1), inputs(MASK.roll(1, 0), 2)
    batch = dict(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        completion_mask=completion,
        KL_input_ids=kl_ids,
        KL_attention_mask=torch.ones_like(kl_ids),
        KL_completion_mask=kl_completion,
        label=torch.arange(len(LENGTHS)) < PAIRS,
    )
    loss = KTOTrainer._compute_loss(me, models[0], batch, False)
    metrics = {key: values[-1] for key, values in me._metrics["train"].items()}
    return case(name, settings | dict(kl_shift=kl_shift), loss, policy, metrics)


CASES = [
    dpo("dpo", ["sigmoid"], beta=0.1),
    dpo("dpo", ["sigmoid"], beta=0.5),
    dpo("dpo_per_token", ["sigmoid_norm"], beta=2.0),
    dpo("robust", ["robust"], beta=0.3, label_smoothing=0.1),
    dpo("ipo_per_token", ["ipo"], beta=0.1),
    dpo("hinge", ["hinge"], beta=0.3),
    dpo("nca", ["nca_pair"], beta=0.3),
    dpo("bco", ["bco_pair"], beta=0.3),
    dpo("apo_zero", ["apo_zero"], beta=0.3),
    dpo("apo_down", ["apo_down"], beta=0.3),
    dpo("exo", ["exo_pair"], beta=0.3, label_smoothing=0.001),
    dpo("sppo", ["sppo_hard"], beta=0.3),
    dpo("dpo_and_ipo", ["sigmoid", "ipo"], weights=[0.7, 0.3], beta=0.2),
    dpo("dpo_bco_and_sft", ["sigmoid", "bco_pair", "sft"], weights=[0.8, 0.2, 1.0], beta=0.2),
    dpo("aot", ["aot"], beta=0.3, label_smoothing=0.1),
    dpo("aot_unpaired", ["aot_unpaired"], beta=0.3, label_smoothing=0.1),
    dpo("discopop", ["discopop"], beta=0.05),
    dpo("forward_kl", ["sigmoid"], beta=0.3, f_divergence_type="forward_kl"),
    dpo("js", ["sigmoid"], beta=0.3, f_divergence_type="js_divergence"),
    dpo("alpha", ["sigmoid"], beta=0.3, f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.5,
        dtype=torch.float32, tolerance=1e-5),
    dpo("js_per_token", ["sigmoid_norm"], beta=2.0, f_divergence_type="js_divergence"),
    dpo("js_ipo", ["ipo"], beta=0.3, f_divergence_type="js_divergence"),
    dpo("js_hinge", ["hinge"], beta=0.3, f_divergence_type="js_divergence"),
    dpo("js_exo", ["exo_pair"], beta=0.3, label_smoothing=0.001, f_divergence_type="js_divergence"),
    dpo("js_robust", ["robust"], beta=0.3, label_smoothing=0.1, f_divergence_type="js_divergence"),
    dpo("js_discopop", ["discopop"], beta=0.05, f_divergence_type="js_divergence"),
    dpo("ld", ["sigmoid"], beta=0.3, ld_alpha=0.4),
    dpo("ld_bco", ["bco_pair"], beta=0.3, ld_alpha=0.4),
    dpo("wpo", ["sigmoid"], beta=0.3, use_weighting=True),
    dpo("wpo_robust", ["robust"], beta=0.3, label_smoothing=0.1, use_weighting=True),
    cpo("cdpo_own", "sigmoid", lambda policy: policy.sum(1), beta=0.3, label_smoothing=0.2),
    cpo("hinge_own", "hinge", lambda policy: policy.sum(1), beta=0.3, label_smoothing=0.0),
    cpo("ipo_own", "ipo", averages, beta=0.3, label_smoothing=0.0),
    cpo("simpo", "simpo", averages, beta=2.0, simpo_gamma=0.5, label_smoothing=0.0),
    orpo("orpo", beta=0.1),
    orpo("orpo", beta=1.0),
    kto("kto", "kto", kl_shift=0.0, beta=0.2, desirable_weight=1.0, undesirable_weight=1.0),
    kto("kto", "kto", kl_shift=1.0, beta=0.2, desirable_weight=1.0, undesirable_weight=1.5),
    kto("kto_no_baseline", "apo_zero_unpaired", kl_shift=0.0, beta=0.2, desirable_weight=1.0, undesirable_weight=1.0),
]

if __name__ == "__main__":
    golden = dict(
        made_by="tests/golden/objectives.py",
        versions={module.__name__: module.__version__ for module in (torch, transformers, trl)},
        policy=ragged(POLICY),
        reference=ragged(REFERENCE),
        collision=ragged(COLLISION),
        cases=CASES,
    )
    path = pathlib.Path(__file__).parent / "objectives" / "trl.json"
    path.write_text(json.dumps(golden, indent=1) + "\n")

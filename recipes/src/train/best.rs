//! The metrics by which a run may keep its best policy.
use mdp::{Channels, Steps};
use objectives::{Comparison, Demonstration, Label, Needs, ObjectiveError, Ranking, Scores};

use super::hybrid;
use crate::Failure;
use crate::hybrid::NAMES;
use crate::objective::{AnyObjective, choose};
use crate::settings::{Loss, Modality, Scheme, Values};

/// The metric of comparisons with the start, which some evaluations have.
pub(super) const WIN_RATE: &str = "win_rate";

/// The metric of a denoiser's error in a band of timesteps, whose ends are those of its schedule.
const ERROR_BAND: &str = "diffusion/error/tA-B";

/// Checks that evaluations of a run will have the metric of `train.best_metric`.
///
/// # Errors
/// They will not; the message names the nearest one and lists all.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    let name = values.train.best_metric();
    // Whether there are comparisons is checked with their settings.
    if matches!(name, "none" | WIN_RATE) {
        return Ok(());
    }
    let Some(known) = metrics(values)? else { return Ok(()) };
    let is_it = |metric: &String| if metric == ERROR_BAND { is_error_band(name) } else { metric == name };
    if known.iter().any(is_it) {
        return Ok(());
    }
    // Other programs begin the names of evaluations' metrics so.
    let plain = name.strip_prefix("eval_").or_else(|| name.strip_prefix("eval/")).unwrap_or(name);
    let score = |metric: &String| strsim::jaro_winkler(plain, metric);
    let nearest = known.iter().max_by(|a, b| score(a).total_cmp(&score(b))).map_or("loss", String::as_str);
    Err(Failure::usage(format!(
        "`train.best_metric` takes a metric of this run's evaluations, and `{name}` is none; the nearest is {nearest}; there are \
         {}; none: no model is kept",
        known.join(", ")
    )))
}

/// The metrics of a run's evaluations: the loss, those of its objective, of its kind of problem, and of comparisons; `None`
/// of an objective that is not for this kind of problem.
fn metrics(values: &Values) -> Result<Option<Vec<String>>, Failure> {
    let mdp = values.run.mdp();
    let objective = if mdp == Modality::Hybrid { hybrid::objective(values)? } else { choose(values)? };
    let is_imitation = values.objective.name() == Loss::Sft;
    let has_divergence = mdp == Modality::Token && !is_imitation;
    let Ok((needs, of_objective)) = of_objective(&objective, has_divergence) else { return Ok(None) };
    let mut found = vec!["loss".to_owned()];
    found.extend(of_objective.into_iter().map(str::to_owned));
    let mut add = |names: &[&str]| found.extend(names.iter().map(|name| (*name).to_owned()));
    match mdp {
        Modality::Token => {
            add(&["entropy", "mean_token_accuracy", "logits/chosen"]);
            if !is_imitation {
                add(&["divergence", "logits/rejected"]);
            }
        }
        Modality::Diffusion => {
            if values.diffusion.scheme != Scheme::Trajectory {
                add(&[ERROR_BAND]);
            }
            if needs.reference {
                add(&["implicit_accuracy", "diffusion/w_diff", "diffusion/l_diff"]);
            }
        }
        Modality::Hybrid => {
            add(&[ERROR_BAND, &format!("length/{}", NAMES[0])]);
            if needs.reference {
                add(&["implicit_accuracy", "diffusion/w_diff", "diffusion/l_diff"]);
                for half in NAMES {
                    let of_half = ["accuracies/", "margins/", "margin_share/"].map(|start| format!("{start}{half}"));
                    let rewards = ["chosen", "rejected"].map(|side| format!("rewards/{half}/{side}"));
                    add(&of_half.iter().chain(&rewards).map(String::as_str).collect::<Vec<_>>());
                }
            }
        }
    }
    if values.judge.every > 0 {
        add(&[WIN_RATE]);
    }
    Ok(Some(found))
}

/// The metrics of an objective, by evaluating it on two made-up episodes of one decision.
fn of_objective(objective: &AnyObjective, has_divergence: bool) -> Result<(Needs, Vec<&'static str>), ObjectiveError> {
    let log_probs = Steps::from_iter([[-1.0], [-2.0]]);
    let divergence = has_divergence.then(|| log_probs.filled(0.5));
    let (reference, weights) = (log_probs.filled(-1.5), log_probs.filled(1.0));
    let policy = Channels { divergence, ..log_probs.into() };
    let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
    let (needs, evaluation) = match objective {
        AnyObjective::Comparisons(objective) => {
            (objective.needs(), objective.evaluate(&[Comparison::new(0, 1)], scores)?)
        }
        AnyObjective::Rankings(objective) => {
            (objective.needs(), objective.evaluate(&[Ranking { best_first: vec![0, 1] }], scores)?)
        }
        AnyObjective::Labels(objective) => {
            let label = |episode, desirable| Label { episode, desirable, mismatched: Some(1 - episode) };
            (objective.needs(), objective.evaluate(&[label(0, true), label(1, false)], scores)?)
        }
        AnyObjective::Demonstrations(objective) => {
            (objective.needs(), objective.evaluate(&[Demonstration { episode: 0 }], scores)?)
        }
    };
    Ok((needs, evaluation.metrics.into_keys().collect()))
}

/// Whether a name is that of a denoiser's error in some band of timesteps.
fn is_error_band(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let band = name.strip_prefix("diffusion/error/t").and_then(|band| band.split_once('-'));
    band.is_some_and(|(from, to)| is_number(from) && is_number(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(sets: &[&str]) -> Result<(), Failure> {
        let mut values = Values::default();
        for set in sets {
            values.merge_set(set).unwrap();
        }
        check(&values)
    }

    #[test]
    fn every_loss_has_its_metrics_for_every_kind_of_problem() {
        let refuses = |mdp: &str, loss: &str| {
            let sets = [format!("run.mdp={mdp}"), format!("objective.name={loss}")];
            let checked = |metric: &str| checked(&[&sets[0], &sets[1], &format!("train.best_metric={metric}")]);
            assert!(checked("none").is_ok() && (checked("loss").is_ok() || mdp == "hybrid"), "{mdp} {loss}");
            checked("nonsense").is_err_and(|error| error.to_string().contains("`nonsense` is none"))
        };
        for loss in Loss::WORDS {
            assert!(refuses("token", loss), "{loss}");
        }
        assert!(refuses("diffusion", "d3po") && refuses("diffusion", "sft") && refuses("hybrid", "dpo"));
    }

    #[test]
    fn a_metric_that_evaluations_do_not_have_is_refused_with_the_nearest() {
        for (mdp, loss, metric) in [
            ("token", "dpo", "rewards/accuracies"),
            ("token", "dpo", "divergence"),
            ("token", "sft", "nll_loss"),
            ("token", "sft", "mean_token_accuracy"),
            ("token", "kto", "kl"),
            ("diffusion", "dpo", "implicit_accuracy"),
            ("diffusion", "dpo", "diffusion/error/t0-249"),
            ("hybrid", "dpo", "accuracies/refiner"),
        ] {
            let sets = [format!("run.mdp={mdp}"), format!("objective.name={loss}")];
            let of = |metric: &str| checked(&[&sets[0], &sets[1], &format!("train.best_metric={metric}")]);
            assert!(of(metric).is_ok(), "{mdp} {loss} {metric}: {:?}", of(metric));
        }
        for (mdp, loss, metric, nearest) in [
            ("token", "dpo", "accuracy", ""),
            ("token", "dpo", "rewards/accuracy", "the nearest is rewards/accuracies"),
            ("token", "dpo", "eval_loss", "the nearest is loss;"),
            ("token", "dpo", "eval/rewards/margins", "the nearest is rewards/margins;"),
            ("token", "sft", "rewards/accuracies", ""),
            ("token", "sft", "divergence", ""),
            ("diffusion", "dpo", "divergence", ""),
            ("diffusion", "dpo", "diffusion/error/tA-B", ""),
            ("hybrid", "sft", "accuracies/refiner", ""),
        ] {
            let sets = [format!("run.mdp={mdp}"), format!("objective.name={loss}")];
            let refused = checked(&[&sets[0], &sets[1], &format!("train.best_metric={metric}")]).unwrap_err();
            assert!(refused.to_string().contains(nearest), "{mdp} {loss} {metric}: {refused}");
        }
    }
}

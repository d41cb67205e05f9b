//! The loss of the settings.
use objectives::{
    ApoDown, ApoZero, Bco, BoxObjective, ChosenLikelihood, Clamped, Comparison, Cpl, Demonstration, Exo, Hinge, Ipo,
    Kto, Label, Link, Logistic, Nca, Orpo, Pairwise, PlackettLuce, Ranking, Reduction, Robust, Sft, Simpo, Sppo, Tdpo,
    WeightedSum,
};

use crate::Failure;
use crate::settings::{Loss, Modality, Values, at};

/// A loss, by its kind of feedback.
pub(crate) enum AnyObjective {
    Comparisons(BoxObjective<Comparison>),
    Rankings(BoxObjective<Ranking>),
    Labels(BoxObjective<Label>),
    Demonstrations(BoxObjective<Demonstration>),
}

/// The loss's own beta. In a hybrid it is 1: the weights of the decisions carry beta and gamma.
pub(crate) fn beta(values: &Values) -> f64 {
    match values.run.mdp() {
        Modality::Hybrid => 1.0,
        Modality::Token | Modality::Diffusion => values.objective.beta(),
    }
}

/// The loss that the settings name.
pub(crate) fn choose(values: &Values) -> Result<AnyObjective, Failure> {
    let (beta, smoothing) = (beta(values), values.objective.label_smoothing());
    let name = values.objective.name();
    let reduction = if values.objective.per_token() { Reduction::PerToken } else { Reduction::Sum };
    let sft_weight = values.objective.sft_weight();
    if sft_weight < 0.0 {
        return Err(Failure::usage(format!("`objective.sft_weight` takes a number from 0 up, not {sft_weight}")));
    }
    let comparisons = match name {
        Loss::Sft => return Ok(AnyObjective::Demonstrations(Box::new(Sft::default()))),
        Loss::Kto => {
            let weights = (values.objective.desirable_weight(), values.objective.undesirable_weight());
            return Ok(AnyObjective::Labels(Box::new(usage(Kto::weighted(beta, weights.0, weights.1))?)));
        }
        Loss::PlackettLuce => return Ok(AnyObjective::Rankings(Box::new(usage(PlackettLuce::new(beta))?))),
        Loss::Tdpo => Box::new(usage(Tdpo::v2(beta, values.objective.alpha()))?),
        Loss::Dpo => pairwise(usage(Logistic::new(beta))?),
        Loss::Cdpo => pairwise(usage(Logistic::smoothed(beta, smoothing))?),
        Loss::Robust => pairwise(usage(Robust::new(beta, smoothing))?),
        Loss::Ipo => Box::new(Pairwise::new(usage(Ipo::new(beta))?).with_reduction(reduction)),
        Loss::Hinge => pairwise(usage(Hinge::new(beta))?),
        Loss::Simpo if values.objective.gamma() < 0.0 => {
            let text = format!("`objective.gamma` takes a number from 0 up, not {}", values.objective.gamma());
            return Err(Failure::usage(text));
        }
        Loss::Simpo => pairwise(usage(Simpo::new(beta, beta * values.objective.gamma()))?),
        Loss::Orpo => pairwise(usage(Orpo::new(beta))?),
        Loss::Nca => pairwise(usage(Nca::new(beta))?),
        Loss::Bco => pairwise(usage(Bco::new(beta))?),
        Loss::ApoZero => pairwise(usage(ApoZero::new(beta))?),
        Loss::ApoDown => pairwise(usage(ApoDown::new(beta))?),
        Loss::Exo => pairwise(usage(Exo::new(beta, smoothing))?),
        Loss::Sppo => pairwise(usage(Sppo::new(beta))?),
        Loss::D3po => pairwise(usage(Clamped::new(beta, values.diffusion.clamp()))?),
        Loss::Cpl => pairwise(usage(Cpl::new(beta, values.objective.bias()))?),
    };
    let comparisons =
        if values.run.mdp() == Modality::Diffusion { in_units_of_beta(name, beta, comparisons)? } else { comparisons };
    with_sft(comparisons, sft_weight).map(AnyObjective::Comparisons)
}

fn pairwise<L: Link + Send + Sync + 'static>(link: L) -> BoxObjective<Comparison> {
    Box::new(Pairwise::new(link))
}

/// Rescales squared losses. Their target margin is 1 / (2 beta); times beta^2 they are squares of beta times the margin
/// minus one half, with the same optimum. At a denoiser's beta of 2000 the unscaled loss is 6e-8, and its gradients
/// vanish beside Adam's epsilon.
fn in_units_of_beta(
    name: Loss,
    beta: f64,
    objective: BoxObjective<Comparison>,
) -> Result<BoxObjective<Comparison>, Failure> {
    if matches!(name, Loss::Ipo | Loss::Sppo) {
        return Ok(Box::new(usage(WeightedSum::new(vec![(beta * beta, objective)]))?));
    }
    Ok(objective)
}

/// The metric of the preference term's share of a sum with an SFT term.
pub const PREFERENCE_PART: &str = "loss/preference";
/// The metric of the SFT term's share, with its weight.
pub const SFT_PART: &str = "loss/sft";

fn with_sft(objective: BoxObjective<Comparison>, weight: f64) -> Result<BoxObjective<Comparison>, Failure> {
    if weight == 0.0 {
        return Ok(objective);
    }
    let likelihood: BoxObjective<Comparison> = Box::new(Pairwise::new(ChosenLikelihood));
    let sum = usage(WeightedSum::new(vec![(1.0, objective), (weight, likelihood)]))?;
    Ok(Box::new(sum.named(&[PREFERENCE_PART, SFT_PART])))
}

/// Turns an invalid setting of a loss into wrong usage.
fn usage<T>(result: Result<T, objectives::ObjectiveError>) -> Result<T, Failure> {
    result.map_err(|error| match error {
        objectives::ObjectiveError::Setting { objective, field, value, allowed } => {
            Failure::usage(format!("{} of {objective} is {value}, it must be {allowed}", setting(field)))
        }
        other => Failure::usage(other.to_string()),
    })
}

/// The settings path of a loss's own parameter name.
fn setting(of_loss: &str) -> String {
    let sections = [at::objective::ALL, at::diffusion::ALL];
    let field = sections.into_iter().flatten().find(|field| field.path.split('.').next_back() == Some(of_loss));
    field.map_or_else(|| of_loss.to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_built() {
        for name in Loss::WORDS {
            let mut values = Values::default();
            values.merge_set(&format!("objective.name={name}")).unwrap();
            assert!(choose(&values).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_setting_without_sense_is_wrong_usage() {
        let mut values = Values::default();
        values.merge_set("objective.beta=-1").unwrap();
        let failure = choose(&values).err().unwrap();
        assert!(failure.is_usage());
        assert!(failure.to_string().contains("`objective.beta`"), "{failure}");
    }

    #[test]
    fn a_loss_names_the_setting_wherever_it_is() {
        let wrong =
            [("d3po", "diffusion.clamp=0"), ("cdpo", "objective.label_smoothing=0.5"), ("cpl", "objective.bias=2")];
        for (name, setting) in wrong {
            let mut values = Values::default();
            values.merge_set(&format!("objective.name={name}")).unwrap();
            values.merge_set(setting).unwrap();
            let message = choose(&values).err().unwrap().to_string();
            let path = setting.split('=').next().unwrap();
            assert!(message.starts_with(&format!("`{path}`")), "{message}");
        }
    }

    #[test]
    fn losses_without_a_reference_are_those_that_need_none() {
        for name in Loss::WORDS {
            let mut values = Values::default();
            values.merge_set(&format!("objective.name={name}")).unwrap();
            let needs = match choose(&values).unwrap() {
                AnyObjective::Comparisons(objective) => objective.needs(),
                AnyObjective::Rankings(objective) => objective.needs(),
                AnyObjective::Labels(objective) => objective.needs(),
                AnyObjective::Demonstrations(objective) => objective.needs(),
            };
            assert_eq!(needs.reference, !crate::keys::WITHOUT_REFERENCE.contains(name), "{name}");
        }
    }
}

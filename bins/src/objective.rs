//! The loss by name.
use objectives::{
    ApoDown, ApoZero, Bco, BoxObjective, ChosenLikelihood, Clamped, Comparison, Cpl, Demonstration, Exo, Hinge, Ipo,
    Kto, Label, Link, Logistic, Nca, Orpo, Pairwise, PlackettLuce, Ranking, Reduction, Robust, Sft, Simpo, Sppo, Tdpo,
    WeightedSum,
};

use crate::Failure;
use crate::values::Values;

/// A loss, by the kind of feedback it learns from.
pub(crate) enum Chosen {
    Comparisons(BoxObjective<Comparison>),
    Rankings(BoxObjective<Ranking>),
    Labels(BoxObjective<Label>),
    Demonstrations(BoxObjective<Demonstration>),
}

/// The loss that the settings name.
pub(crate) fn choose(values: &Values) -> Result<Chosen, Failure> {
    let number = |path| values.number(path).unwrap_or_default();
    let (beta, smoothing) = (number("objective.beta"), number("objective.label_smoothing"));
    let name = values.word("objective.name");
    let reduction = if values.switch("objective.per_token") { Reduction::PerToken } else { Reduction::Sum };
    let sft_weight = number("objective.sft_weight");
    if sft_weight < 0.0 {
        return Err(Failure::usage(format!("--sft-weight takes a number from 0 up, not {sft_weight}")));
    }
    let comparisons = match name {
        "sft" => return Ok(Chosen::Demonstrations(Box::new(Sft::default()))),
        "kto" => {
            let weights = (number("objective.desirable_weight"), number("objective.undesirable_weight"));
            return Ok(Chosen::Labels(Box::new(usage(Kto::weighted(beta, weights.0, weights.1))?)));
        }
        "plackett-luce" => return Ok(Chosen::Rankings(Box::new(usage(PlackettLuce::new(beta))?))),
        "tdpo" => Box::new(usage(Tdpo::second_form(beta, number("objective.alpha")))?),
        "dpo" => pairwise(usage(Logistic::new(beta))?),
        "cdpo" => pairwise(usage(Logistic::smoothed(beta, smoothing))?),
        "robust" => pairwise(usage(Robust::new(beta, smoothing))?),
        "ipo" => Box::new(Pairwise::new(usage(Ipo::new(beta))?).with_reduction(reduction)),
        "hinge" => pairwise(usage(Hinge::new(beta))?),
        "simpo" if number("objective.gamma") < 0.0 => {
            let text = format!("--gamma takes a number from 0 up, not {}", number("objective.gamma"));
            return Err(Failure::usage(text));
        }
        "simpo" => pairwise(usage(Simpo::new(beta, beta * number("objective.gamma")))?),
        "orpo" => pairwise(usage(Orpo::new(beta))?),
        "nca" => pairwise(usage(Nca::new(beta))?),
        "bco" => pairwise(usage(Bco::new(beta))?),
        "apo-zero" => pairwise(usage(ApoZero::new(beta))?),
        "apo-down" => pairwise(usage(ApoDown::new(beta))?),
        "exo" => pairwise(usage(Exo::new(beta, smoothing))?),
        "sppo" => pairwise(usage(Sppo::new(beta))?),
        "d3po" => pairwise(usage(Clamped::new(beta, values.number("diffusion.clamp").unwrap_or(0.1)))?),
        "cpl" => pairwise(usage(Cpl::new(beta, number("objective.bias")))?),
        other => return Err(Failure::usage(format!("there is no objective `{other}`"))),
    };
    let comparisons =
        if values.word("run.mdp") == "diffusion" { in_units_of_beta(name, beta, comparisons)? } else { comparisons };
    with_sft(comparisons, sft_weight).map(Chosen::Comparisons)
}

fn pairwise<L: Link + Send + Sync + 'static>(link: L) -> BoxObjective<Comparison> {
    Box::new(Pairwise::new(link))
}

/// Losses that are squares of a margin and its target, 1 / (2 beta), times beta^2: squares of beta times the margin and one
/// half. The optimum is the same. At a denoiser's beta of 2000 the bare loss is 6e-8 and its gradients drown in Adam's
/// epsilon.
fn in_units_of_beta(
    name: &str,
    beta: f64,
    objective: BoxObjective<Comparison>,
) -> Result<BoxObjective<Comparison>, Failure> {
    if ["ipo", "sppo"].contains(&name) {
        return Ok(Box::new(usage(WeightedSum::new(vec![(beta * beta, objective)]))?));
    }
    Ok(objective)
}

fn with_sft(objective: BoxObjective<Comparison>, weight: f64) -> Result<BoxObjective<Comparison>, Failure> {
    if weight == 0.0 {
        return Ok(objective);
    }
    let likelihood: BoxObjective<Comparison> = Box::new(Pairwise::new(ChosenLikelihood));
    Ok(Box::new(usage(WeightedSum::new(vec![(1.0, objective), (weight, likelihood)]))?))
}

/// A setting that makes no sense is wrong usage.
fn usage<T>(result: Result<T, objectives::ObjectiveError>) -> Result<T, Failure> {
    result.map_err(|error| match error {
        objectives::ObjectiveError::Setting { objective, field, value, allowed } => {
            let flag = field.replace('_', "-");
            Failure::usage(format!("--{flag} of {objective} is {value}, it must be {allowed}"))
        }
        other => Failure::usage(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_built() {
        for name in crate::keys::OBJECTIVES {
            let mut values = Values::defaults();
            values.merge_set(&format!("objective.name={name}")).unwrap();
            assert!(choose(&values).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_setting_without_sense_is_wrong_usage() {
        let mut values = Values::defaults();
        values.merge_set("objective.beta=-1").unwrap();
        let failure = choose(&values).err().unwrap();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("beta"), "{failure}");
    }
}

//! The loss of the settings.
use objectives::{
    Aot, ApoDown, ApoZero, Bco, BoxObjective, ChosenLikelihood, Clamped, Comparison, Cpl, Demonstration, DiscoPop,
    Divergence, Dpop, Exo, Hinge, Ipo, Kto, Label, Linear, Link, Logistic, MovingBco, Nca, ObjectiveError, Orpo,
    Pairwise, PlackettLuce, Ranking, Reduction, Robust, Sft, Simpo, Sppo, Tdpo, TokenLikelihood, WeightedSum, Wpo,
};

use crate::Failure;
use crate::settings::{DivergenceName, Loss, Modality, Values, at};

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

/// The losses of a sum with their weights, as they are given; none where there is one loss, `objective.name`.
///
/// # Errors
/// A word that is no loss, one that compares no pairs, a loss that is named twice, a weight that is no number above 0.
pub(crate) fn terms(values: &Values) -> Result<Vec<(Loss, f64)>, Failure> {
    let mut terms: Vec<(Loss, f64)> = Vec::new();
    for text in values.objective.losses() {
        let (loss, weight) = term(text)?;
        if terms.iter().any(|(other, _)| *other == loss) {
            return Err(Failure::usage(format!("`objective.losses` names {loss} twice")));
        }
        terms.push((loss, weight));
    }
    Ok(terms)
}

/// A loss and its weight: `dpo:0.8`, or `dpo` for 1.
fn term(text: &str) -> Result<(Loss, f64), Failure> {
    let (word, weight) = text.split_once(':').map_or((text, Ok(1.0)), |(word, weight)| (word, weight.parse::<f64>()));
    let known = || {
        let pairwise = Loss::ALL.iter().filter(|loss| compares(**loss)).map(|loss| loss.word());
        pairwise.collect::<Vec<_>>().join(", ")
    };
    let loss = Loss::ALL.iter().copied().find(|loss| loss.word() == word.trim() && compares(*loss));
    let loss = loss.ok_or_else(|| {
        Failure::usage(format!(
            "`objective.losses` takes losses of pairs with weights, such as dpo:0.8, not `{text}`: {}",
            known()
        ))
    })?;
    match weight {
        Ok(weight) if weight.is_finite() && weight > 0.0 => Ok((loss, weight)),
        Ok(_) | Err(_) => {
            Err(Failure::usage(format!("`objective.losses`: the weight of `{text}` must be a number above 0")))
        }
    }
}

/// Whether a loss can be a term of a sum: it compares pairs, or imitates the better side.
fn compares(loss: Loss) -> bool {
    !matches!(loss, Loss::Kto | Loss::PlackettLuce)
}

/// Makes the first loss of a sum that compares the loss by which defaults and data are chosen.
///
/// # Errors
/// As [`terms`], and a sum of imitation alone.
pub(crate) fn lead(values: &mut Values) -> Result<(), Failure> {
    let terms = terms(values)?;
    if terms.is_empty() {
        return Ok(());
    }
    let Some((first, _)) = terms.iter().copied().find(|(loss, _)| *loss != Loss::Sft) else {
        return Err(Failure::usage("`objective.losses` needs a loss that compares; to imitate: `objective.name` sft"));
    };
    values.set(|settings| settings.objective.name = first);
    Ok(())
}

/// Every loss of the settings.
pub(crate) fn names(values: &Values) -> Result<Vec<Loss>, Failure> {
    let terms = terms(values)?;
    Ok(if terms.is_empty() { vec![values.objective.name()] } else { terms.into_iter().map(|(loss, _)| loss).collect() })
}

/// The loss that the settings name.
pub(crate) fn choose(values: &Values) -> Result<AnyObjective, Failure> {
    let terms = terms(values)?;
    if !terms.is_empty() {
        return sum(values, terms).map(AnyObjective::Comparisons);
    }
    let (beta, name) = (beta(values), values.objective.name());
    let sft_weight = values.objective.sft_weight();
    if sft_weight < 0.0 {
        return Err(Failure::usage(format!("`objective.sft_weight` takes a number from 0 up, not {sft_weight}")));
    }
    if name == Loss::Sft {
        return Ok(AnyObjective::Demonstrations(Box::new(Sft { reduction: reduction(values) })));
    }
    if name == Loss::Kto {
        let weights = (values.objective.desirable_weight(), values.objective.undesirable_weight());
        let kto = usage(Kto::weighted(beta, weights.0, weights.1))?;
        let is_of_images = values.run.mdp() == Modality::Diffusion;
        let kto = if is_of_images { kto.with_batch_baseline() } else { kto };
        return Ok(AnyObjective::Labels(Box::new(kto)));
    }
    if name == Loss::PlackettLuce {
        return Ok(AnyObjective::Rankings(Box::new(usage(PlackettLuce::new(beta))?)));
    }
    with_sft(comparisons(values, name)?, sft_weight).map(AnyObjective::Comparisons)
}

/// A weighted sum; what compares stands first, as metrics and rewards are the first term's.
fn sum(values: &Values, mut terms: Vec<(Loss, f64)>) -> Result<BoxObjective<Comparison>, Failure> {
    terms.sort_by_key(|(loss, _)| *loss == Loss::Sft);
    let n_compared = terms.partition_point(|(loss, _)| *loss != Loss::Sft);
    let term = |(loss, weight)| Ok((weight, comparisons(values, loss)?));
    let mut terms = terms.into_iter().map(term).collect::<Result<Vec<_>, Failure>>()?;
    let imitated = terms.split_off(n_compared);
    let compared = usage(WeightedSum::new(terms))?;
    if imitated.is_empty() {
        return Ok(Box::new(compared));
    }
    // As a loss with an SFT weight: what it starts at is seen beside the log-likelihood.
    let compared: BoxObjective<Comparison> = Box::new(compared);
    let parts = std::iter::once((1.0, compared)).chain(imitated).collect();
    Ok(Box::new(usage(WeightedSum::new(parts))?.named(&[PREFERENCE_PART, SFT_PART])))
}

fn reduction(values: &Values) -> Reduction {
    if values.objective.per_token() { Reduction::PerToken } else { Reduction::Sum }
}

/// A loss of comparisons, in the units of its problem.
fn comparisons(values: &Values, name: Loss) -> Result<BoxObjective<Comparison>, Failure> {
    let beta = beta(values);
    let objective = of_comparisons(values, name)?;
    match values.run.mdp() {
        Modality::Diffusion => in_units_of_beta(name, beta, objective),
        Modality::Token | Modality::Hybrid => Ok(objective),
    }
}

fn of_comparisons(values: &Values, name: Loss) -> Result<BoxObjective<Comparison>, Failure> {
    let (beta, smoothing) = (beta(values), values.objective.label_smoothing());
    let changes = Changes::of(values)?;
    match name {
        Loss::Tdpo => Ok(Box::new(usage(Tdpo::v2(beta, values.objective.alpha()))?)),
        Loss::Dpo => changes.margin(usage(Logistic::new(beta))?),
        Loss::DpoNorm => {
            changes.margin_of(Pairwise::new(usage(Logistic::new(beta))?).with_reduction(Reduction::PerToken))
        }
        Loss::Cdpo => changes.margin(usage(Logistic::smoothed(beta, smoothing))?),
        Loss::Robust => changes.margin(usage(Robust::new(beta, smoothing))?),
        Loss::Ipo => changes.margin_of(Pairwise::new(usage(Ipo::new(beta))?).with_reduction(reduction(values))),
        Loss::Hinge => changes.margin(usage(Hinge::new(beta))?),
        Loss::Exo => changes.margin(usage(Exo::new(beta, smoothing))?),
        Loss::DiscoPop => changes.margin(usage(DiscoPop::new(beta, values.objective.tau()))?),
        Loss::Dpop => changes.sides(usage(Dpop::new(beta, values.objective.penalty()))?),
        Loss::Nca => changes.sides(usage(Nca::new(beta))?),
        Loss::Bco if values.objective.moving_delta() => changes.moving(beta),
        Loss::Bco => changes.sides(usage(Bco::new(beta))?),
        Loss::ApoZero => changes.sides(usage(ApoZero::new(beta))?),
        Loss::ApoDown => changes.sides(usage(ApoDown::new(beta))?),
        Loss::Sppo => changes.sides(usage(Sppo::new(beta))?),
        Loss::Simpo if values.objective.gamma() < 0.0 => {
            let text = format!("`objective.gamma` takes a number from 0 up, not {}", values.objective.gamma());
            Err(Failure::usage(text))
        }
        Loss::Simpo => Ok(pairwise(usage(Simpo::new(beta, beta * values.objective.gamma()))?)),
        Loss::Orpo => Ok(pairwise(usage(Orpo::new(beta))?)),
        Loss::D3po => Ok(pairwise(usage(Clamped::new(beta, values.diffusion.clamp()))?)),
        Loss::Linear => Ok(pairwise(usage(Linear::new(beta, values.objective.least_weight()))?)),
        Loss::Cpl => Ok(pairwise(usage(Cpl::new(beta, values.objective.bias()))?)),
        Loss::Aot => changes.none_of(name, usage(Aot::paired(beta, smoothing))?),
        Loss::AotUnpaired => changes.none_of(name, usage(Aot::unpaired(beta, smoothing))?),
        Loss::Sft if values.objective.per_token() => Ok(Box::new(TokenLikelihood)),
        Loss::Sft => Ok(pairwise(ChosenLikelihood)),
        Loss::Kto | Loss::PlackettLuce => Err(Failure::usage(format!("`objective.name` {name} compares no pairs"))),
    }
}

/// What the settings change of losses of log-ratios.
#[derive(Clone, Copy)]
struct Changes {
    divergence: Divergence,
    tail_weight: f64,
    is_wpo: bool,
}

impl Changes {
    fn of(values: &Values) -> Result<Self, Failure> {
        let divergence = match values.objective.divergence() {
            DivergenceName::ReverseKl => Divergence::ReverseKl,
            DivergenceName::ForwardKl => Divergence::ForwardKl,
            DivergenceName::JensenShannon => Divergence::JensenShannon,
            DivergenceName::Alpha => usage(Divergence::alpha(values.objective.divergence_alpha()))?,
        };
        let (tail_weight, is_wpo) = (values.objective.tail_weight(), values.objective.wpo());
        Ok(Self { divergence, tail_weight, is_wpo })
    }

    /// A loss of the margin alone, which any divergence fits.
    fn margin<L: Link + Send + Sync + 'static>(self, link: L) -> Result<BoxObjective<Comparison>, Failure> {
        self.margin_of(Pairwise::new(link))
    }

    fn margin_of<L: Link + Send + Sync + 'static>(
        self,
        loss: Pairwise<L>,
    ) -> Result<BoxObjective<Comparison>, Failure> {
        self.weighed(loss.with_divergence(self.divergence))
    }

    /// A loss of both sides.
    fn sides<L: Link + Send + Sync + 'static>(self, link: L) -> Result<BoxObjective<Comparison>, Failure> {
        self.weighed(Pairwise::new(link))
    }

    fn weighed<L: Link + Send + Sync + 'static>(self, loss: Pairwise<L>) -> Result<BoxObjective<Comparison>, Failure> {
        let loss = usage(loss.with_tail_weight(self.tail_weight))?;
        Ok(if self.is_wpo { Box::new(Wpo::new(loss)) } else { Box::new(loss) })
    }

    /// BCO with its moving delta.
    fn moving(self, beta: f64) -> Result<BoxObjective<Comparison>, Failure> {
        // The weight is checked before: the change itself can't fail.
        let plain = usage(Pairwise::new(usage(Bco::new(beta))?).with_tail_weight(self.tail_weight))?;
        let loss = usage(MovingBco::of(beta, |_| plain))?;
        Ok(if self.is_wpo { Box::new(Wpo::new(loss)) } else { Box::new(loss) })
    }

    /// A loss that takes none of them.
    fn none_of(
        self,
        name: Loss,
        loss: impl objectives::Objective<Feedback = Comparison> + Send + Sync + 'static,
    ) -> Result<BoxObjective<Comparison>, Failure> {
        if self.is_wpo || self.tail_weight != 1.0 {
            let which = if self.is_wpo { "`objective.wpo`" } else { "`objective.tail_weight`" };
            return Err(Failure::usage(format!("{which} is not for {name}, which sorts the answers of a batch")));
        }
        Ok(Box::new(loss))
    }
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
fn usage<T>(result: Result<T, ObjectiveError>) -> Result<T, Failure> {
    result.map_err(|error| match error {
        ObjectiveError::Setting { objective, field, value, allowed } => {
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

    fn values(sets: &[&str]) -> Values {
        let mut values = Values::default();
        for set in sets {
            values.merge_set(set).unwrap();
        }
        values
    }

    fn refused(sets: &[&str]) -> String {
        let failure = choose(&values(sets)).err().unwrap();
        assert!(failure.is_usage());
        failure.to_string()
    }

    #[test]
    fn every_name_is_built() {
        for name in Loss::WORDS {
            assert!(choose(&values(&[&format!("objective.name={name}")])).is_ok(), "{name}");
        }
        for changed in ["divergence=js", "divergence=alpha", "tail_weight=0.5", "wpo=true"] {
            assert!(choose(&values(&[&format!("objective.{changed}")])).is_ok(), "{changed}");
        }
    }

    #[test]
    fn a_setting_without_sense_is_wrong_usage() {
        assert!(refused(&["objective.beta=-1"]).contains("`objective.beta`"));
        assert!(refused(&["objective.name=aot", "objective.wpo=true"]).starts_with("`objective.wpo` is not for aot"));
    }

    #[test]
    fn a_loss_names_the_setting_wherever_it_is() {
        let wrong = [
            ("d3po", "diffusion.clamp=0"),
            ("cdpo", "objective.label_smoothing=0.5"),
            ("cpl", "objective.bias=2"),
            ("discopop", "objective.tau=0"),
            ("dpop", "objective.penalty=-1"),
            ("linear", "objective.least_weight=0.5"),
            ("dpo", "objective.tail_weight=2"),
        ];
        for (name, setting) in wrong {
            let message = refused(&[&format!("objective.name={name}"), setting]);
            let path = setting.split('=').next().unwrap();
            assert!(message.starts_with(&format!("`{path}`")), "{message}");
        }
    }

    #[test]
    fn losses_without_a_reference_are_those_that_need_none() {
        for name in Loss::WORDS {
            let needs = match choose(&values(&[&format!("objective.name={name}")])).unwrap() {
                AnyObjective::Comparisons(objective) => objective.needs(),
                AnyObjective::Rankings(objective) => objective.needs(),
                AnyObjective::Labels(objective) => objective.needs(),
                AnyObjective::Demonstrations(objective) => objective.needs(),
            };
            assert_eq!(needs.reference, !crate::keys::WITHOUT_REFERENCE.contains(name), "{name}");
        }
    }

    #[test]
    fn a_sum_has_losses_and_weights_and_is_led_by_what_compares() {
        let mut sum = values(&["objective.losses=sft:0.5,bco,dpo:2"]);
        assert_eq!(terms(&sum).unwrap(), [(Loss::Sft, 0.5), (Loss::Bco, 1.0), (Loss::Dpo, 2.0)]);
        lead(&mut sum).unwrap();
        assert_eq!(sum.objective.name, Loss::Bco);
        let AnyObjective::Comparisons(objective) = choose(&sum).unwrap() else { panic!("a sum compares") };
        assert!(objective.needs().reference);
        for (losses, says) in [
            ("kto", "takes losses of pairs with weights, such as dpo:0.8, not `kto`: sft, dpo"),
            ("dpo:0", "the weight of `dpo:0` must be a number above 0"),
            ("dpo:1,dpo:2", "names dpo twice"),
            ("dpo:-1", "the weight of `dpo:-1` must be a number above 0"),
            ("dpo:much", "the weight of `dpo:much`"),
        ] {
            assert!(refused(&[&format!("objective.losses={losses}")]).contains(says), "{losses}");
        }
        assert!(lead(&mut values(&["objective.losses=sft"])).unwrap_err().to_string().contains("sft"));
    }
}

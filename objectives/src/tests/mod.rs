//! Tests of the whole family; helpers that their files share.
mod batch;
mod hand;
mod lawful;
mod refusals;
mod stable;

use mdp::{Channels, Steps};

use crate::*;

/// Numbers that own what [`Scores`] borrows.
#[derive(Debug)]
struct Numbers {
    policy: Channels,
    reference: Steps,
    weights: Steps,
}

impl Numbers {
    /// One-decision episodes of these log-ratios, with a reference of 0.
    fn of_returns(returns: &[f64]) -> Self {
        let steps: Steps = returns.iter().map(|value| [*value]).collect();
        Self { reference: steps.filled(0.0), weights: steps.filled(1.0), policy: steps.into() }
    }

    fn scores(&self) -> Scores<'_> {
        Scores { policy: &self.policy, reference: Some(&self.reference), weights: &self.weights }
    }
}

type Member = (&'static str, Option<f64>, BoxObjective<Comparison>);

/// Every loss of comparisons that reads returns, by name, and its loss when both returns are 0 (`None` where that is
/// not the first loss, as no reference is read).
fn pairwise_family() -> Vec<Member> {
    fn family(beta: f64) -> Result<Vec<Member>, ObjectiveError> {
        let ln_2 = std::f64::consts::LN_2;
        let ipo = Pairwise::new(Ipo::new(beta)?);
        let target = 0.25 / (beta * beta);
        // Half of q being right: 0.5 (log 0.5 - log 0.99) + 0.5 (log 0.5 - log 0.01).
        let exo = -ln_2 - 0.5 * (0.99_f64 * 0.01).ln();
        let both: BoxObjective<Comparison> = Box::new(WeightedSum::new(vec![
            (0.5, Box::new(Pairwise::new(Logistic::new(beta)?))),
            (2.0, Box::new(Pairwise::new(Sppo::new(beta)?))),
        ])?);
        let mut all = changed(beta)?;
        all.extend::<Vec<Member>>(vec![
            ("dpo", Some(ln_2), Box::new(Pairwise::new(Logistic::new(beta)?))),
            ("cdpo", Some(ln_2), Box::new(Pairwise::new(Logistic::smoothed(beta, 0.2)?))),
            ("robust", Some(ln_2), Box::new(Pairwise::new(Robust::new(beta, 0.2)?))),
            ("ipo", Some(target), Box::new(ipo)),
            ("ipo per token", Some(target), Box::new(ipo.with_reduction(Reduction::PerToken))),
            ("hinge", Some(1.0), Box::new(Pairwise::new(Hinge::new(beta)?))),
            ("simpo", None, Box::new(Pairwise::new(Simpo::new(beta, 0.4)?))),
            ("orpo", None, Box::new(Pairwise::new(Orpo::new(beta)?))),
            ("nca", Some(2.0 * ln_2), Box::new(Pairwise::new(Nca::new(beta)?))),
            ("bco", Some(2.0 * ln_2), Box::new(Pairwise::new(Bco::new(beta)?))),
            ("bco shifted", None, Box::new(Pairwise::new(Bco::shifted(beta, 0.3)?))),
            ("apo_zero", Some(1.0), Box::new(Pairwise::new(ApoZero::new(beta)?))),
            ("apo_down", Some(1.0), Box::new(Pairwise::new(ApoDown::new(beta)?))),
            ("exo", Some(exo), Box::new(Pairwise::new(Exo::new(beta, 0.01)?))),
            ("sppo", Some(2.0 * target), Box::new(Pairwise::new(Sppo::new(beta)?))),
            ("cpl", None, Box::new(Pairwise::new(Cpl::new(beta, 0.5)?))),
            ("cpl_kl", Some(ln_2), Box::new(Pairwise::new(Cpl::new(beta, 0.5)?).with_reward(DecisionReward::LogRatio))),
            ("sft", None, Box::new(Pairwise::new(ChosenLikelihood))),
            ("sum", Some(0.5 * ln_2 + 4.0 * target), both),
        ]);
        Ok(all)
    }
    family(0.5).expect("every setting makes sense")
}

/// Those of them with other returns than their paper's, and those of other forms than a function of the margin.
fn changed(beta: f64) -> Result<Vec<Member>, ObjectiveError> {
    let ln_2 = std::f64::consts::LN_2;
    let ipo = Pairwise::new(Ipo::new(beta)?);
    let target = 0.25 / (beta * beta);
    Ok(vec![
        ("dpo_norm", Some(ln_2), Box::new(Pairwise::new(Logistic::new(beta)?).with_reduction(Reduction::PerToken))),
        ("ld-dpo", Some(ln_2), Box::new(Pairwise::new(Logistic::new(beta)?).with_tail_weight(0.25)?)),
        ("ld-ipo", Some(target), Box::new(ipo.with_reduction(Reduction::PerToken).with_tail_weight(0.25)?)),
        ("forward", Some(ln_2), Box::new(Pairwise::new(Logistic::new(beta)?).with_divergence(Divergence::ForwardKl))),
        ("js", Some(ln_2), Box::new(Pairwise::new(Logistic::new(beta)?).with_divergence(Divergence::JensenShannon))),
        ("alpha", Some(ln_2), Box::new(Pairwise::new(Logistic::new(beta)?).with_divergence(Divergence::alpha(0.5)?))),
        (
            "js per token",
            Some(target),
            Box::new(ipo.with_reduction(Reduction::PerToken).with_divergence(Divergence::JensenShannon)),
        ),
        ("discopop", Some(0.5 * ln_2 + 0.5), Box::new(Pairwise::new(DiscoPop::new(beta, 0.5)?))),
        ("dpop", Some(ln_2), Box::new(Pairwise::new(Dpop::new(beta, 0.5)?))),
    ])
}

#[test]
fn public_types_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Pairwise<Logistic>>();
    check::<WeightedSum<Comparison>>();
    check::<(Kto, PlackettLuce, Sft, Tdpo, Aot, MovingBco, Wpo<Pairwise<Logistic>>)>();
    check::<(Evaluation, ObjectiveError, Scores<'static>)>();
}

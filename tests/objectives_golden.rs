//! Losses, metrics and gradients against TRL's own (`tests/golden/objectives.py` made the numbers).
use std::collections::BTreeMap;

use mdp::{Channels, Steps};
use objectives::{
    Aot, ApoDown, ApoZero, Bco, BoxObjective, Comparison, DecisionReward, DiscoPop, Divergence, Evaluation, Exo, Hinge,
    Ipo, Kto, Label, Logistic, Nca, Objective, ObjectiveError, Orpo, Pairwise, Reduction, Robust, Scores, Simpo, Sppo,
    TokenLikelihood, WeightedSum, Wpo,
};
use serde_json::Value;

const TRL: &str = include_str!("golden/objectives/trl.json");

struct Case<'a>(&'a Value);

impl Case<'_> {
    fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    fn setting(&self, name: &str) -> f64 {
        self.0["settings"][name].as_f64().unwrap()
    }

    fn check(&self, evaluation: &Evaluation) {
        let tolerance = self.0["tolerance"].as_f64().unwrap();
        let close = |what: &str, got: f64, expected: f64| {
            let error = (got - expected).abs();
            assert!(error < tolerance, "{} of {:?}: {got} is not TRL's {expected}", what, self.0["settings"]);
        };
        close(self.name(), evaluation.loss, self.0["loss"].as_f64().unwrap());
        let metrics: BTreeMap<String, f64> = serde_json::from_value(self.0["metrics"].clone()).unwrap();
        for (name, expected) in metrics {
            close(&format!("{name} of {}", self.name()), evaluation.metrics[name.as_str()], expected);
        }
        let slopes = steps(&self.0["slopes"]);
        assert!(evaluation.slopes.log_probs.same_shape(&slopes), "slopes of {}", self.name());
        for (i, (row, expected)) in evaluation.slopes.log_probs.rows().zip(slopes.rows()).enumerate() {
            row.iter().zip(expected).for_each(|(a, b)| close(&format!("slope {i} of {}", self.name()), *a, *b));
        }
    }
}

fn steps(rows: &Value) -> Steps {
    serde_json::from_value::<Vec<Vec<f64>>>(rows.clone()).unwrap().into_iter().collect()
}

/// The objective of comparisons that does what TRL's case of this name does.
fn pairwise(case: &Case<'_>) -> Result<Option<BoxObjective<Comparison>>, ObjectiveError> {
    let beta = case.setting("beta");
    let logistic = Pairwise::new(Logistic::new(beta)?);
    let ipo = Pairwise::new(Ipo::new(beta)?).with_reduction(Reduction::PerToken);
    if let Some(changed) = changed(case)? {
        return Ok(Some(changed));
    }
    Ok(Some(match case.name() {
        "dpo" => Box::new(logistic),
        "dpo_per_token" => Box::new(logistic.with_reduction(Reduction::PerToken)),
        "robust" => Box::new(Pairwise::new(Robust::new(beta, case.setting("label_smoothing"))?)),
        "ipo_per_token" => Box::new(ipo),
        "hinge" => Box::new(Pairwise::new(Hinge::new(beta)?)),
        "nca" => Box::new(Pairwise::new(Nca::new(beta)?)),
        "bco" => Box::new(Pairwise::new(Bco::new(beta)?)),
        "apo_zero" => Box::new(Pairwise::new(ApoZero::new(beta)?)),
        "apo_down" => Box::new(Pairwise::new(ApoDown::new(beta)?)),
        "exo" => Box::new(Pairwise::new(Exo::new(beta, case.setting("label_smoothing"))?)),
        "sppo" => Box::new(Pairwise::new(Sppo::new(beta)?)),
        "dpo_and_ipo" => Box::new(WeightedSum::new(vec![(0.7, Box::new(logistic)), (0.3, Box::new(ipo))])?),
        "cdpo_own" => {
            let smoothed = Logistic::smoothed(beta, case.setting("label_smoothing"))?;
            Box::new(Pairwise::new(smoothed).with_reward(DecisionReward::LogProb))
        }
        "hinge_own" => Box::new(Pairwise::new(Hinge::new(beta)?).with_reward(DecisionReward::LogProb)),
        "ipo_own" => Box::new(ipo.with_reward(DecisionReward::LogProb)),
        "simpo" => Box::new(Pairwise::new(Simpo::new(beta, case.setting("simpo_gamma"))?)),
        "orpo" => Box::new(Pairwise::new(Orpo::new(beta)?)),
        _ => return Ok(None),
    }))
}

/// The same of sums, sorted batches, other divergences and weights.
fn changed(case: &Case<'_>) -> Result<Option<BoxObjective<Comparison>>, ObjectiveError> {
    let (beta, js) = (case.setting("beta"), Divergence::JensenShannon);
    let logistic = Pairwise::new(Logistic::new(beta)?);
    let ipo = Pairwise::new(Ipo::new(beta)?).with_reduction(Reduction::PerToken);
    Ok(Some(match case.name() {
        "dpo_bco_and_sft" => Box::new(WeightedSum::new(vec![
            (0.8, Box::new(logistic)),
            (0.2, Box::new(Pairwise::new(Bco::new(beta)?))),
            (1.0, Box::new(TokenLikelihood)),
        ])?),
        "aot" => Box::new(Aot::paired(beta, case.setting("label_smoothing"))?),
        "aot_unpaired" => Box::new(Aot::unpaired(beta, case.setting("label_smoothing"))?),
        "discopop" => Box::new(Pairwise::new(DiscoPop::new(beta, 0.05)?)),
        "forward_kl" => Box::new(logistic.with_divergence(Divergence::ForwardKl)),
        "js" => Box::new(logistic.with_divergence(js)),
        "alpha" => Box::new(logistic.with_divergence(Divergence::alpha(case.setting("f_alpha_divergence_coef"))?)),
        "js_per_token" => Box::new(logistic.with_reduction(Reduction::PerToken).with_divergence(js)),
        "js_ipo" => Box::new(ipo.with_divergence(js)),
        "js_hinge" => Box::new(Pairwise::new(Hinge::new(beta)?).with_divergence(js)),
        "js_exo" => Box::new(Pairwise::new(Exo::new(beta, case.setting("label_smoothing"))?).with_divergence(js)),
        "js_robust" => Box::new(Pairwise::new(Robust::new(beta, case.setting("label_smoothing"))?).with_divergence(js)),
        "js_discopop" => Box::new(Pairwise::new(DiscoPop::new(beta, 0.05)?).with_divergence(js)),
        "ld" => Box::new(logistic.with_tail_weight(case.setting("ld_alpha"))?),
        "ld_bco" => Box::new(Pairwise::new(Bco::new(beta)?).with_tail_weight(case.setting("ld_alpha"))?),
        "wpo" => Box::new(Wpo::new(logistic)),
        "wpo_robust" => Box::new(Wpo::new(Pairwise::new(Robust::new(beta, case.setting("label_smoothing"))?))),
        _ => return Ok(None),
    }))
}

#[test]
fn every_loss_trl_has_agrees() {
    let golden: Value = serde_json::from_str(TRL).unwrap();
    let collision = Some(steps(&golden["collision"]));
    let policy = Channels { collision, ..steps(&golden["policy"]).into() };
    let reference = steps(&golden["reference"]);
    let weights = reference.filled(1.0);
    let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
    let n = reference.len() / 2;
    let comparisons: Vec<Comparison> = (0..n).map(|i| Comparison::new(i, n + i)).collect();
    // The same feedback the other way round: second is better for sure.
    let turned: Vec<Comparison> = (0..n).map(|i| Comparison { preference: 0.0, ..Comparison::new(n + i, i) }).collect();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 39);
    for case in cases.iter().map(Case) {
        if let Some(objective) = pairwise(&case).unwrap() {
            case.check(&objective.evaluate(&comparisons, scores).unwrap());
            case.check(&objective.evaluate(&turned, scores).unwrap());
        } else {
            assert!(case.name().starts_with("kto"), "no objective for {}", case.name());
            case.check(&kto(&case, scores));
        }
    }
}

/// The first half is desirable; mismatched episodes are the same rows turned by one, `kl_shift` likelier per token.
fn kto(case: &Case<'_>, scores: Scores<'_>) -> Evaluation {
    let n = scores.policy.log_probs.len();
    let turned = |steps: &Steps, shift: f64| {
        let mut all = steps.clone();
        for i in 0..n {
            all.push(&steps.row((i + n - 1) % n).iter().map(|x| x + shift).collect::<Vec<f64>>());
        }
        all
    };
    let policy = Channels::from(turned(&scores.policy.log_probs, case.setting("kl_shift")));
    let reference = turned(scores.reference.unwrap(), 0.0);
    let weights = reference.filled(1.0);
    let mismatched = |i: usize| (case.name() == "kto").then_some(n + i);
    let labels: Vec<Label> =
        (0..n).map(|i| Label { episode: i, desirable: i < n / 2, mismatched: mismatched(i) }).collect();
    let weight = |side: &str| case.setting(side);
    let kto = Kto::weighted(case.setting("beta"), weight("desirable_weight"), weight("undesirable_weight")).unwrap();
    let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
    let mut evaluation = kto.evaluate(&labels, scores).unwrap();
    assert!(evaluation.slopes.log_probs.slice(n..2 * n).values().iter().all(|slope| *slope == 0.0));
    evaluation.slopes.log_probs = evaluation.slopes.log_probs.slice(0..n);
    evaluation
}

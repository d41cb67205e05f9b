//! Losses that couple a batch, hold numbers constant, or remember earlier steps.
use super::*;
use crate::laws::{self, nothing_held};

fn close(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-12 * (1.0 + expected.abs()), "{got} is not {expected}");
}

fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
}

/// Pairs of rows 0..n with rows n..2n.
fn pairs(n: usize) -> Vec<Comparison> {
    (0..n).map(|i| Comparison::new(i, n + i)).collect()
}

/// Three pairs of episodes of several decisions.
fn several() -> Numbers {
    let rows = |shift: f64| -> Steps {
        (0..6)
            .map(|i| {
                (0..=i % 3).map(|t| -0.3 - shift * (1.7 * f64::from(i) + f64::from(t)).sin().abs()).collect::<Vec<_>>()
            })
            .collect()
    };
    let reference = rows(1.3);
    Numbers { weights: reference.filled(0.8), policy: rows(2.9).into(), reference }
}

/// Policy's differences 3 and -1, the reference's 0.5 and 2 (of the other pair): sorted -1 beside 0.5 and 3 beside 2.
#[test]
fn aot_sorts_the_differences_of_pairs() {
    let steps = |values: [f64; 4]| values.iter().map(|value| [*value]).collect::<Steps>();
    let (policy, reference) = (steps([1.0, -2.0, -2.0, -1.0]), steps([0.5, 1.0, 0.0, -1.0]));
    let numbers = Numbers { weights: policy.filled(1.0), policy: policy.into(), reference };
    let aot = Aot::paired(0.5, 0.1).unwrap();
    let evaluation = aot.evaluate(&pairs(2), numbers.scores()).unwrap();
    let at = |z: f64| 0.9 * softplus(-z) + 0.1 * softplus(z);
    close(evaluation.loss, 0.5 * (at(0.5 * (-1.0 - 0.5)) + at(0.5 * (3.0 - 2.0))));
    // The first pair has the larger difference: 0.5 * 0.5 (0.1 sigma(0.5) - 0.9 sigma(-0.5)).
    let slope = 0.25 * (0.1 / (1.0 + (-0.5f64).exp()) - 0.9 / (1.0 + 0.5f64.exp()));
    close(evaluation.slopes.log_probs.row(0)[0], slope);
    close(evaluation.slopes.log_probs.row(2)[0], -slope);
    close(evaluation.metrics["rewards/chosen"], 0.5 * 0.5 * (0.5 - 3.0));
}

/// Better sides 2 and 0, worse sides 1 and -1: sorted 0 beside -1 and 2 beside 1, whichever pairs they are of.
#[test]
fn aot_sorts_better_and_worse_sides() {
    let numbers = Numbers::of_returns(&[2.0, 0.0, 1.0, -1.0]);
    let feedback = [Comparison::new(0, 3), Comparison::new(1, 2)];
    let evaluation = Aot::unpaired(0.5, 0.0).unwrap().evaluate(&feedback, numbers.scores()).unwrap();
    close(evaluation.loss, softplus(-0.5));
    let pull = 0.25 / (1.0 + 0.5f64.exp());
    for (row, slope) in [-pull, -pull, pull, pull].into_iter().enumerate() {
        close(evaluation.slopes.log_probs.row(row)[0], slope);
    }
}

#[test]
fn aot_obeys_the_laws() {
    let numbers = several();
    let turned: Vec<Comparison> =
        pairs(3).iter().map(|c| Comparison { preference: 0.0, ..Comparison::new(c.second, c.first) }).collect();
    for aot in [Aot::paired(0.7, 0.1), Aot::unpaired(0.7, 0.1)] {
        let aot = aot.unwrap();
        for feedback in [&pairs(3), &turned] {
            laws::check(&aot, feedback, numbers.scores(), &nothing_held).unwrap();
            laws::check_swap(&aot, feedback, numbers.scores()).unwrap();
            laws::check_first_loss(&aot, feedback, numbers.scores(), 2f64.ln()).unwrap();
        }
    }
}

/// Log-ratios 1, 0.5 and -2 of the better answer beside one token of the worse: with alpha 0.5 it has 1 + 0.5 (0.5 - 2) = 0.25.
#[test]
fn ld_dpo_weighs_what_is_longer() {
    let policy: Steps = [vec![1.0, 0.5, -2.0], vec![-1.0]].into_iter().collect();
    let numbers = Numbers { reference: policy.filled(0.0), weights: policy.filled(1.0), policy: policy.into() };
    let loss = Pairwise::new(Logistic::new(0.4).unwrap()).with_tail_weight(0.5).unwrap();
    let evaluation = loss.evaluate(&pairs(1), numbers.scores()).unwrap();
    close(evaluation.loss, softplus(-0.4 * 1.25));
    let pull = 0.4 / (1.0 + 0.5f64.exp());
    close(evaluation.slopes.log_probs.row(0)[0], -pull);
    close(evaluation.slopes.log_probs.row(0)[2], -0.5 * pull);
    close(evaluation.slopes.log_probs.row(1)[0], pull);
    close(evaluation.metrics["rewards/chosen"], 0.4 * 0.25);
    assert_eq!(evaluation.metrics["logps/chosen"], -0.5);
}

/// Collisions of -1 everywhere: the better answer has log-probabilities -0.5 and -1.5 (aligned 0), the worse -3 (aligned -2).
#[test]
fn wpo_weighs_pairs_by_what_the_policy_writes() {
    let policy: Steps = [vec![-0.5, -1.5], vec![-3.0]].into_iter().collect();
    let collision = Some(policy.filled(-1.0));
    let (reference, weights) = (policy.filled(-1.0), policy.filled(1.0));
    let numbers = Numbers { policy: Channels { collision, ..policy.into() }, reference, weights };
    let dpo = Pairwise::new(Logistic::new(0.5).unwrap());
    let (plain, weighed) = (
        dpo.evaluate(&pairs(1), numbers.scores()).unwrap(),
        Wpo::new(dpo).evaluate(&pairs(1), numbers.scores()).unwrap(),
    );
    let weight = (-2.0f64).exp();
    close(weighed.metrics["wpo_weight"], weight);
    close(weighed.loss, weight * plain.loss);
    // The weight is held: the slope is the loss's own, weighed.
    for (weighed, plain) in weighed.slopes.log_probs.values().iter().zip(plain.slopes.log_probs.values()) {
        close(*weighed, weight * plain);
    }
    assert_eq!(weighed.metrics["rewards/margins"], plain.metrics["rewards/margins"]);
    laws::check_parts(&Wpo::new(dpo), &pairs(1), numbers.scores()).unwrap();
    laws::check_swap(&Wpo::new(dpo), &pairs(1), numbers.scores()).unwrap();
    laws::check_refusals(&Wpo::new(dpo), &pairs(1), numbers.scores()).unwrap();
}

/// Rewards 1 and -0.5, mean 0.25; then 2 and 1 beside them: the mean of all four is 0.875.
#[test]
fn the_delta_of_bco_is_the_mean_of_all_rewards_so_far() {
    let (first, second) = (Numbers::of_returns(&[2.0, -1.0]), Numbers::of_returns(&[4.0, 2.0]));
    let moving = MovingBco::new(0.5).unwrap();
    let check = |numbers: &Numbers, delta: f64| {
        let evaluation = moving.evaluate(&pairs(1), numbers.scores()).unwrap();
        close(evaluation.metrics["delta"], delta);
        let shifted = Pairwise::new(Bco::shifted(0.5, delta).unwrap()).evaluate(&pairs(1), numbers.scores()).unwrap();
        close(evaluation.loss, shifted.loss);
        assert_eq!(evaluation.slopes, shifted.slopes);
    };
    check(&first, 0.25);
    // An evaluation remembers nothing; a step does.
    check(&first, 0.25);
    moving.advance(&pairs(1), first.scores()).unwrap();
    check(&second, 0.875);
    assert_eq!(moving.state(), [2.0, 0.25]);
    let sum = WeightedSum::new(vec![
        (1.0, Box::new(Pairwise::new(Logistic::new(0.5).unwrap())) as BoxObjective<Comparison>),
        (1.0, Box::new(MovingBco::new(0.5).unwrap())),
    ])
    .unwrap();
    assert_eq!(sum.state(), [0.0, 2.0, 0.0, 0.0]);
    sum.restore(&[0.0, 2.0, 2.0, 0.25]);
    close(sum.evaluate(&pairs(1), second.scores()).unwrap().metrics["delta"], 0.875);
    sum.advance(&pairs(1), second.scores()).unwrap();
    assert_eq!(sum.state(), [0.0, 2.0, 4.0, 0.875]);
    laws::check_swap(&moving, &pairs(3), several().scores()).unwrap();
    laws::check_refusals(&moving, &pairs(3), several().scores()).unwrap();
}

/// Liked 2 and disliked -1, mean 0.5; beta 0.5.
#[test]
fn the_baseline_of_images_is_the_batch() {
    let numbers = Numbers::of_returns(&[2.0, -1.0]);
    let labels = [true, false].map(|desirable| Label { episode: usize::from(!desirable), desirable, mismatched: None });
    let kto = Kto::new(0.5).unwrap().with_batch_baseline();
    let evaluation = kto.evaluate(&labels, numbers.scores()).unwrap();
    let wrong = |z: f64| 1.0 / (1.0 + z.exp());
    close(evaluation.loss, 0.5 * (wrong(0.5 * 1.5) + wrong(0.5 * 1.5)));
    assert_eq!(evaluation.metrics["kl"], 0.5);
    // The baseline is held: the slope is that of its own label.
    close(evaluation.slopes.log_probs.row(0)[0], -0.5 * 0.5 * wrong(0.75) * (1.0 - wrong(0.75)));
    let low = Numbers::of_returns(&[-2.0, -1.0]);
    assert_eq!(kto.evaluate(&labels, low.scores()).unwrap().metrics["kl"], 0.0);
}

/// D = 0.5 and beta 0.5: w = 0.5 - 0.4 * 0.25 = 0.4; at D = 3 the line is below eta, at -3 above 1 - eta.
#[test]
fn linear_weighs_the_margin_and_holds_the_weight() {
    let linear = Linear::new(0.5, 0.1).unwrap();
    for (returns, weight) in [([0.5, 0.0], 0.4), ([2.0, -1.0], 0.1), ([-2.0, 1.0], 0.9)] {
        let point = linear.at(returns[0], returns[1]);
        close(point.loss, -weight * (returns[0] - returns[1]));
        close(point.chosen, -weight);
        close(point.rejected, weight);
        close(linear.metrics(returns[0], returns[1])[0].1, weight);
    }
    let loss = Pairwise::new(linear);
    laws::check_parts(&loss, &pairs(3), several().scores()).unwrap();
    laws::check_swap(&loss, &pairs(3), several().scores()).unwrap();
    laws::check_refusals(&loss, &pairs(3), several().scores()).unwrap();
}

/// c = -1 and r = -3 with beta 0.5 and lambda 0.5: z = 0.5 (2 - 0.5).
#[test]
fn dpop_penalises_a_better_side_that_falls() {
    let numbers = Numbers::of_returns(&[-1.0, -3.0]);
    let evaluation = Pairwise::new(Dpop::new(0.5, 0.5).unwrap()).evaluate(&pairs(1), numbers.scores()).unwrap();
    close(evaluation.loss, softplus(-0.75));
    let pull = 0.5 / (1.0 + 0.75f64.exp());
    close(evaluation.slopes.log_probs.row(0)[0], -1.5 * pull);
    close(evaluation.slopes.log_probs.row(1)[0], pull);
    close(evaluation.metrics["penalty"], 0.25);
}

/// Three tokens of better answers: -1, -2 and -4.
#[test]
fn likelihood_per_token_of_the_batch() {
    let policy: Steps = [vec![-1.0, -2.0], vec![-4.0], vec![-9.0], vec![-9.0]].into_iter().collect();
    let numbers = Numbers { reference: Steps::default(), weights: policy.filled(1.0), policy: policy.into() };
    let evaluation = TokenLikelihood.evaluate(&pairs(2), numbers.scores()).unwrap();
    close(evaluation.loss, 7.0 / 3.0);
    assert_eq!(evaluation.metrics["nll_loss"], evaluation.loss);
    assert!(evaluation.slopes.log_probs.values()[..3].iter().all(|slope| (slope + 1.0 / 3.0).abs() < 1e-15));
    assert_eq!(evaluation.slopes.log_probs.values()[3..], [0.0, 0.0]);
    laws::check(&TokenLikelihood, &pairs(3), several().scores(), &nothing_held).unwrap();
}

//! Margins no float form survives by luck.
use super::*;

fn finite(name: &str, evaluation: &Evaluation) {
    let divergence = evaluation.slopes.divergence.iter().flat_map(Steps::values);
    let slopes = evaluation.slopes.log_probs.values().iter().chain(divergence);
    assert!(evaluation.loss.is_finite() && slopes.clone().all(|x| x.is_finite()), "{name}: {evaluation:?}");
    assert!(evaluation.metrics.values().all(|x| x.is_finite()), "{name}: {evaluation:?}");
}

const EXTREMES: [[f64; 2]; 6] =
    [[1000.0, 0.0], [0.0, 1000.0], [-1000.0, 0.0], [0.0, -1000.0], [-1e-300, -1000.0], [0.0, 0.0]];

#[test]
fn pairs_a_thousand_apart() {
    for returns in EXTREMES {
        let mut numbers = Numbers::of_returns(&returns);
        for (name, _, objective) in pairwise_family() {
            finite(name, &objective.evaluate(&[Comparison::new(0, 1)], numbers.scores()).unwrap());
        }
        numbers.policy.divergence = Some([[1000.0], [0.0]].into_iter().collect());
        for tdpo in [Tdpo::v1(1.0), Tdpo::v2(1.0, 0.5)] {
            finite("tdpo", &tdpo.unwrap().evaluate(&[Comparison::new(0, 1)], numbers.scores()).unwrap());
        }
    }
}

#[test]
fn labels_and_rankings_a_thousand_apart() {
    for [a, b] in EXTREMES {
        let numbers = Numbers::of_returns(&[a, b, -a]);
        let labels =
            [true, false].map(|desirable| Label { episode: usize::from(!desirable), desirable, mismatched: Some(2) });
        finite("kto", &Kto::new(1.0).unwrap().evaluate(&labels, numbers.scores()).unwrap());
        let ranking = Ranking { best_first: vec![2, 0, 1] };
        finite("plackett_luce", &PlackettLuce::new(1.0).unwrap().evaluate(&[ranking], numbers.scores()).unwrap());
    }
}

/// A margin of -1000 at beta 1 costs 1000 with slope -1, not infinity; one of 1000 costs nothing.
#[test]
fn far_losses_are_exact() {
    let dpo = Pairwise::new(Logistic::new(1.0).unwrap());
    let numbers = Numbers::of_returns(&[-1000.0, 0.0]);
    let worst = dpo.evaluate(&[Comparison::new(0, 1)], numbers.scores()).unwrap();
    assert_eq!((worst.loss, worst.slopes.log_probs.values()), (1000.0, &[-1.0, 1.0][..]));
    let best = dpo.evaluate(&[Comparison::new(1, 0)], numbers.scores()).unwrap();
    assert_eq!((best.loss, best.slopes.log_probs.values()), (0.0, &[0.0, 0.0][..]));
}

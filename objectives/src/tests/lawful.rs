//! The laws, for every objective on random numbers.
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::laws::{Channel, Number, nothing_held};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() }
}

prop_compose! {
    /// Four episodes of one to four decisions.
    fn numbers()(rows in prop::collection::vec(prop::collection::vec([-6.0..-0.01, -6.0..-0.01, 0.1..2.0, 0.0..3.0], 1..5), 4..5)) -> Numbers {
        let column = |k: usize| rows.iter().map(|row| row.iter().map(|x: &[f64; 4]| x[k]).collect::<Vec<f64>>()).collect::<Steps>();
        Numbers {
            policy: Channels { divergence: Some(column(3)), ..column(0).into() },
            reference: column(1),
            weights: column(2),
        }
    }
}

/// Pairs of different episodes, clean and soft ones.
fn comparisons() -> impl Strategy<Value = Vec<Comparison>> {
    let preference = prop_oneof![Just(0.0), Just(0.5), Just(1.0), 0.0..1.0];
    let one = (0..4_usize, 1..4_usize, preference);
    let one = one.prop_map(|(first, further, preference)| Comparison {
        preference,
        ..Comparison::new(first, (first + further) % 4)
    });
    prop::collection::vec(one, 1..6)
}

fn rankings() -> impl Strategy<Value = Vec<Ranking>> {
    let order = Just(vec![0, 1, 2, 3]).prop_shuffle();
    let one = (order, 2..5_usize).prop_map(|(order, n)| Ranking { best_first: order[..n].to_vec() });
    prop::collection::vec(one, 1..4)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn comparisons_obey(numbers in numbers(), feedback in comparisons()) {
        for (name, first_loss, objective) in pairwise_family() {
            let lawful = laws::check(&*objective, &feedback, numbers.scores(), &nothing_held)
                .and_then(|()| laws::check_swap(&*objective, &feedback, numbers.scores()))
                .and_then(|()| {
                    let check = |loss| laws::check_first_loss(&*objective, &feedback, numbers.scores(), loss);
                    first_loss.map_or(Ok(()), check)
                });
            prop_assert!(lawful.is_ok(), "{name}: {lawful:?}");
        }
    }

    #[test]
    fn rankings_obey(numbers in numbers(), feedback in rankings()) {
        let objective = PlackettLuce::new(0.7).unwrap();
        laws::check(&objective, &feedback, numbers.scores(), &nothing_held).unwrap();
        // Every order of K answers is as likely as any other: the first loss is log K!.
        let first: f64 = feedback.iter().map(|r| (1..=r.best_first.len()).map(|k| (k as f64).ln()).sum::<f64>()).sum();
        laws::check_first_loss(&objective, &feedback, numbers.scores(), first / feedback.len() as f64).unwrap();
    }

    #[test]
    fn labels_obey(numbers in numbers(), desirable in prop::collection::vec(any::<bool>(), 2)) {
        let labels: Vec<Label> = desirable
            .iter()
            .enumerate()
            .map(|(episode, &desirable)| Label { episode, desirable, mismatched: Some(episode + 2) })
            .collect();
        let kto = Kto::weighted(0.7, 1.3, 0.8).unwrap();
        let baseline = |number: Number| number.episode >= 2;
        laws::check(&kto, &labels, numbers.scores(), &baseline).unwrap();
        let first = desirable.iter().map(|&liked| if liked { 0.65 } else { 0.4 }).sum::<f64>() / 2.0;
        laws::check_first_loss(&kto, &labels, numbers.scores(), first).unwrap();
    }

    #[test]
    fn demonstrations_obey(numbers in numbers(), episodes in prop::collection::vec(0..4_usize, 1..5)) {
        let feedback: Vec<Demonstration> = episodes.into_iter().map(|episode| Demonstration { episode }).collect();
        for reduction in [Reduction::Sum, Reduction::PerToken] {
            laws::check(&Sft { reduction }, &feedback, numbers.scores(), &nothing_held).unwrap();
        }
    }

    #[test]
    fn divergences_obey(numbers in numbers(), feedback in comparisons()) {
        let v1 = Tdpo::v1(0.7).unwrap();
        laws::check(&v1, &feedback, numbers.scores(), &nothing_held).unwrap();
        laws::check_swap(&v1, &feedback, numbers.scores()).unwrap();
        laws::check_first_loss(&v1, &feedback, numbers.scores(), 2f64.ln()).unwrap();
        // In the second form an episode must not be chosen here and rejected there for "held" to have one answer.
        let v2 = Tdpo::v2(0.7, 0.5).unwrap();
        let chosen_is_held = |n: Number| n.channel == Channel::Divergence && n.episode < 2;
        let pairs = [Comparison::new(0, 2), Comparison::new(1, 3), Comparison::new(0, 3)];
        laws::check(&v2, &pairs, numbers.scores(), &chosen_is_held).unwrap();
        laws::check_swap(&v2, &feedback, numbers.scores()).unwrap();
    }
}

#[test]
fn a_wrong_gradient_is_caught() {
    struct Wrong;
    impl Link for Wrong {
        fn at(&self, chosen: f64, rejected: f64) -> Point {
            let margin = chosen - rejected;
            Point::of_margin(margin * margin, margin)
        }
    }
    let numbers = Numbers::of_returns(&[2.0, -1.0]);
    let found = laws::check(&Pairwise::new(Wrong), &[Comparison::new(0, 1)], numbers.scores(), &nothing_held);
    assert!(matches!(found, Err(ObjectiveError::Law { law: "slopes are the gradient", .. })), "{found:?}");
}

//! Values derived by hand, and the field's published ones.
use super::*;

fn check(name: &str, got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-6, "{name}: {got} is not {expected}");
}

fn check_all(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{name}: {got:?}");
    got.iter().zip(expected).for_each(|(got, expected)| check(name, *got, *expected));
}

/// c = 2, r = -1, beta = 0.5: beta c = 1, beta r = -0.5, beta D = 1.5, 1/(2 beta) = 1.
/// softplus(-1.5) = 0.2014133, softplus(1.5) = 1.7014133, softplus(-1) = 0.3132617, softplus(1) = 1.3132617,
/// softplus(-0.5) = 0.4740770; sigma(1.5) = 0.8175745, sigma(1) = 0.7310586, sigma(-0.5) = 0.3775407.
#[test]
fn losses_of_two_returns() {
    let expected = [
        ("dpo", 0.201_413_3),
        ("cdpo", 0.8 * 0.201_413_3 + 0.2 * 1.701_413_3),
        ("robust", (0.8 * 0.201_413_3 - 0.2 * 1.701_413_3) / 0.6),
        ("ipo", 4.0),           // (3 - 1)^2
        ("ipo per token", 4.0), // the same: there is one decision
        ("hinge", 0.0),         // 1 - 1.5 is below 0
        // softplus(-(1.5 - 0.4)) = log(1 + exp(-1.1)) = log 1.3328711
        ("simpo", 0.287_335_4),
        ("nca", 0.313_261_7 + 0.5 * 1.313_261_7 + 0.5 * 0.474_077_0),
        ("bco", 0.313_261_7 + 0.474_077_0),
        // beta c - delta = 0.7, beta r - delta = -0.8: log(1 + exp(-0.7)) + log(1 + exp(-0.8))
        ("bco shifted", 0.403_186_0 + 0.371_100_7),
        ("apo_zero", 1.0 - 0.731_058_6 + 0.377_540_7),
        ("apo_down", 0.731_058_6 + 1.0 - 0.817_574_5),
        // q (log q - log 0.99) + (1 - q)(log(1 - q) - log 0.01), log 0.99 = -0.0100503, log 0.01 = -4.6051702
        ("exo", 0.817_574_5 * (-0.201_413_3 + 0.010_050_3) + 0.182_425_5 * (-1.701_413_3 + 4.605_170_2)),
        ("sppo", 1.0), // (2 - 1)^2 + (-1 + 1)^2
        // z = 0.5 (2 + 0.5) = 1.25: log(1 + exp(-1.25)) = log 1.2865048
        ("cpl", 0.251_929_1),
        ("cpl_kl", 0.251_929_1),
        ("dpo_norm", 0.201_413_3),
        ("ld-dpo", 0.201_413_3), // both have one decision
        ("ld-ipo", 4.0),
        // 1 - e^-2 = 0.8646647, 1 - e = -1.7182818: z = 1.2914733, log(1 + 0.2748655)
        ("forward", 0.242_840_7),
        // log sigma(2) = -0.1269280, log sigma(-1) = -1.3132617: z = 0.5931668, log(1 + 0.5525748)
        ("js", 0.439_914_6),
        // -2 (e^-1 - 1) = 1.2642411, -2 (e^0.5 - 1) = -1.2974425: z = 1.2808418, log(1 + 0.2778033)
        ("alpha", 0.245_142_4),
        // 1.1863337 - 1
        ("js per token", 0.034_720_2),
        // m = sigma(3) = 0.9525741: 0.0474259 0.2014133 + 0.9525741 e^-1.5
        ("discopop", 0.222_100_2),
        ("dpop", 0.201_413_3), // c is above 0
        ("sft", -2.0),
        ("sum", 0.5 * 0.201_413_3 + 2.0),
    ];
    let numbers = Numbers::of_returns(&[2.0, -1.0]);
    for (name, _, objective) in pairwise_family() {
        let Some((_, loss)) = expected.iter().find(|(known, _)| *known == name) else {
            assert_eq!(name, "orpo", "its returns must be below 0, see below");
            continue;
        };
        let evaluation = objective.evaluate(&[Comparison::new(0, 1)], numbers.scores()).unwrap();
        check(name, evaluation.loss, *loss);
    }
}

/// Per token log 0.5 against log 0.25: odds 1 and 1/3, so log odds log 3 apart and sigma(log 3) = 3/4; the loss is
/// log 2 + 0.5 log(4/3).
#[test]
fn orpo_of_two_probabilities() {
    let (half, quarter) = (0.5_f64.ln(), 0.25_f64.ln());
    let policy: Steps = [vec![half, half], vec![quarter, quarter, quarter]].into_iter().collect();
    let numbers = Numbers { reference: Steps::default(), weights: policy.filled(1.0), policy: Channels::from(policy) };
    let orpo = Pairwise::new(Orpo::new(0.5).unwrap());
    let evaluation = orpo.evaluate(&[Comparison::new(0, 1)], numbers.scores()).unwrap();
    check("loss", evaluation.loss, 2f64.ln() + 0.5 * (4.0_f64 / 3.0).ln());
    check("nll_loss", evaluation.metrics["nll_loss"], 2f64.ln());
    check("log_odds_chosen", evaluation.metrics["log_odds_chosen"], 3f64.ln());
    check("log_odds_ratio", evaluation.metrics["log_odds_ratio"], 0.75_f64.ln());
    check("logps/chosen", evaluation.metrics["logps/chosen"], 2.0 * half);
    // d/dc = -1 - 0.5 (1/4) / (1 - 1/2), shared by two decisions; d/dr = 0.5 (1/4) / (1 - 1/4) by three.
    check("slope", evaluation.slopes.log_probs.row(0)[1], -1.25 / 2.0);
    check("slope", evaluation.slopes.log_probs.row(1)[0], 1.0 / 6.0 / 3.0);
}

fn dpo_losses(policy: [&[f64]; 2], reference: [&[f64]; 2]) -> Vec<f64> {
    let steps = |sides: [&[f64]; 2]| sides.concat().iter().map(|x| [*x]).collect::<Steps>();
    let numbers = Numbers {
        weights: steps(policy).filled(1.0),
        reference: steps(reference),
        policy: Channels::from(steps(policy)),
    };
    let n = policy[0].len();
    let dpo = Pairwise::new(Logistic::new(0.1).unwrap());
    let one = |i| dpo.evaluate(&[Comparison::new(i, n + i)], numbers.scores()).unwrap().loss;
    (0..n).map(one).collect()
}

/// Margins 0, 10, 20 (the first as torchtune's test has it) and small ones (LLaMA-Factory's).
#[test]
fn published_dpo_values() {
    let losses =
        dpo_losses([&[-0.5, -10.0, -1.0], &[-0.1, -30.0, -21.0]], [&[-0.5, -10.1, -0.1], &[-0.1, -20.1, -0.1]]);
    check_all("dpo", &losses, &[2f64.ln(), 0.313_262, 0.126_928]);
    let losses = dpo_losses(
        [&[-3.0, -2.5, -4.0, -1.5], &[-5.0, -3.5, -6.0, -2.5]],
        [&[-2.8, -2.3, -3.8, -1.4], &[-3.2, -2.7, -4.2, -1.8]],
    );
    check_all("dpo", &losses, &[0.616_344, 0.663_597, 0.616_344, 0.663_597]);
}

/// The first episode has log-ratios 1 and -0.5, the second 2; weights 1, 2 and 0.5 make the returns 0 and 1.
#[test]
fn weights_reductions_and_metrics() {
    let numbers = Numbers {
        policy: Channels::from([vec![-1.0, -2.5], vec![-3.0]].into_iter().collect::<Steps>()),
        reference: [vec![-2.0, -2.0], vec![-5.0]].into_iter().collect(),
        weights: [vec![1.0, 2.0], vec![0.5]].into_iter().collect(),
    };
    let sum = Pairwise::new(Ipo::new(0.5).unwrap());
    let per_token = sum.with_reduction(Reduction::PerToken);
    let feedback = [Comparison { preference: 0.25, ..Comparison::new(0, 1) }];
    // D = -1 one way and 1 the other: 0.25 (-1 - 1)^2 + 0.75 (1 - 1)^2.
    let evaluation = sum.evaluate(&feedback, numbers.scores()).unwrap();
    check("loss", evaluation.loss, 1.0);
    // The slope of the margin is 0.25 * 2 * (-2) = -1, times the weight.
    assert_eq!(evaluation.slopes.log_probs.row(0), [-1.0, -2.0]);
    assert_eq!(evaluation.slopes.log_probs.row(1), [0.5]);
    // The second is likelier the better one.
    let metrics = &evaluation.metrics;
    assert_eq!(metrics["rewards/chosen"], 0.5);
    assert_eq!(metrics["rewards/rejected"], 0.0);
    assert_eq!(metrics["rewards/margins"], 0.5);
    assert_eq!(metrics["rewards/accuracies"], 1.0);
    assert_eq!(metrics["logps/chosen"], -3.0);
    assert_eq!(metrics["logps/rejected"], -3.5);
    assert_eq!(evaluation.implicit_rewards, [ImplicitRewards::of_pair(0.5, 0.0)]);
    // Half the slope for each of two decisions, and the loss is the same as the first return is 0.
    let evaluation = per_token.evaluate(&feedback, numbers.scores()).unwrap();
    check("loss", evaluation.loss, 1.0);
    assert_eq!(evaluation.slopes.log_probs.row(0), [-0.5, -1.0]);
    assert_eq!(evaluation.metrics["rewards/chosen"], 0.5);
}

/// Returns 2 and -1, divergences 0.5 and 1.5, beta 0.5: D - alpha (1.5 - 0.5) is 2.5 with alpha 0.5, and 2 with 1.
#[test]
fn tdpo_of_two_divergences() {
    let mut numbers = Numbers::of_returns(&[2.0, -1.0]);
    numbers.policy.divergence = Some([[0.5], [1.5]].into_iter().collect());
    let feedback = [Comparison::new(0, 1)];
    let second = Tdpo::v2(0.5, 0.5).unwrap().evaluate(&feedback, numbers.scores()).unwrap();
    // softplus(-1.25) = 0.2519291, sigma(-1.25) = 0.2227001
    check("loss", second.loss, 0.251_929_1);
    check("slope", second.slopes.log_probs.row(0)[0], -0.5 * 0.222_700_1);
    let divergence = second.slopes.divergence.unwrap();
    check("held", divergence.row(0)[0], 0.0);
    check("learns", divergence.row(1)[0], 0.25 * 0.222_700_1);
    assert_eq!((second.metrics["divergence/chosen"], second.metrics["divergence/rejected"]), (0.5, 1.5));
    let first = Tdpo::v1(0.5).unwrap().evaluate(&feedback, numbers.scores()).unwrap();
    // softplus(-1) = 0.3132617, sigma(-1) = 0.2689414
    check("loss", first.loss, 0.313_261_7);
    check("learns", first.slopes.divergence.unwrap().row(0)[0], -0.5 * 0.268_941_4);
}

/// Rewards log 3, log 2 and 0: (3/6) (2/3) = 1/3 is the probability of this order.
#[test]
fn plackett_luce_of_three() {
    let numbers = Numbers::of_returns(&[0.0, 3f64.ln(), 2f64.ln()]);
    let objective = PlackettLuce::new(1.0).unwrap();
    let ranking = Ranking { best_first: vec![1, 2, 0] };
    let evaluation = objective.evaluate(std::slice::from_ref(&ranking), numbers.scores()).unwrap();
    check("loss", evaluation.loss, 3f64.ln());
    // The best: 3/6 - 1. The second: 2/6 + 2/3 - 1. The last: 1/6 + 1/3.
    check_all("slope", evaluation.slopes.log_probs.values(), &[0.5, -0.5, 0.0]);
    assert_eq!(evaluation.metrics["rewards/accuracies"], 1.0);
    check("rejected", evaluation.metrics["rewards/rejected"], 0.5 * 2f64.ln());
    // One of three pairs the wrong way round.
    let wrong = Ranking { best_first: vec![2, 1, 0] };
    let evaluation = objective.evaluate(&[wrong], numbers.scores()).unwrap();
    check("accuracy", evaluation.metrics["rewards/accuracies"], 2.0 / 3.0);
}

#[test]
fn a_ranking_of_two_is_dpo() {
    let numbers = Numbers::of_returns(&[0.3, -1.1]);
    let ranked =
        PlackettLuce::new(0.4).unwrap().evaluate(&[Ranking { best_first: vec![1, 0] }], numbers.scores()).unwrap();
    let dpo = Pairwise::new(Logistic::new(0.4).unwrap());
    let pair = dpo.evaluate(&[Comparison::new(1, 0)], numbers.scores()).unwrap();
    check("loss", ranked.loss, pair.loss);
    assert_eq!(ranked.metrics.keys().collect::<Vec<_>>(), pair.metrics.keys().collect::<Vec<_>>());
    for (name, value) in pair.metrics {
        check(name, ranked.metrics[name], value);
    }
}

/// Mismatched returns 3 and -1 make the baseline 1; beta 0.5, returns 2 (liked) and -1 (not liked).
#[test]
fn kto_of_two_labels() {
    let numbers = Numbers::of_returns(&[2.0, -1.0, 3.0, -1.0]);
    let labels = [
        Label { episode: 0, desirable: true, mismatched: Some(2) },
        Label { episode: 1, desirable: false, mismatched: Some(3) },
    ];
    let kto = Kto::weighted(0.5, 1.0, 3.0).unwrap();
    let evaluation = kto.evaluate(&labels, numbers.scores()).unwrap();
    // 1 - sigma(0.5) = 0.3775407; 1 - sigma(0.5 (1 + 1)) = 0.2689414; the second counts three times.
    check("loss", evaluation.loss, 0.5 * (0.377_540_7 + 3.0 * 0.268_941_4));
    // sigma'(0.5) = 0.2350037, sigma'(1) = 0.1966119
    check("slope", evaluation.slopes.log_probs.row(0)[0], -0.25 * 0.235_003_7);
    check("slope", evaluation.slopes.log_probs.row(1)[0], 0.75 * 0.196_611_9);
    check("held", evaluation.slopes.log_probs.row(2)[0], 0.0);
    let metrics = &evaluation.metrics;
    assert_eq!((metrics["kl"], metrics["rewards/chosen"], metrics["rewards/rejected"]), (1.0, 1.0, -0.5));
    assert_eq!((metrics["rewards/margins"], metrics["rewards/accuracies"]), (1.5, 1.0));
    assert_eq!((metrics["logps/chosen"], metrics["logps/rejected"]), (2.0, -1.0));
    // A baseline below 0 counts as 0.
    let low = [Label { mismatched: Some(3), ..labels[0] }];
    let evaluation = kto.evaluate(&low, numbers.scores()).unwrap();
    check("loss", evaluation.loss, 0.268_941_4);
    assert_eq!(evaluation.metrics["kl"], 0.0);
    assert!(!evaluation.metrics.contains_key("rewards/rejected"));
}

#[test]
fn sft_sums_or_averages_an_example() {
    let policy: Steps = [vec![-1.0, -2.0], vec![-4.0]].into_iter().collect();
    let numbers = Numbers { reference: Steps::default(), weights: policy.filled(1.0), policy: policy.into() };
    let feedback = [Demonstration { episode: 0 }, Demonstration { episode: 1 }];
    let sum = Sft::default().evaluate(&feedback, numbers.scores()).unwrap();
    assert_eq!((sum.loss, sum.metrics["logps/chosen"], sum.metrics["nll_per_token"]), (3.5, -3.5, 2.75));
    assert_eq!(sum.slopes.log_probs.values(), [-0.5, -0.5, -0.5]);
    let mean = Sft { reduction: Reduction::PerToken }.evaluate(&feedback, numbers.scores()).unwrap();
    assert_eq!((mean.loss, mean.metrics["nll_loss"]), (2.75, 2.75));
    assert_eq!(mean.slopes.log_probs.values(), [-0.25, -0.25, -0.5]);
}

#[test]
fn a_sum_adds_losses_and_keeps_both_terms_metrics() {
    let numbers = Numbers::of_returns(&[2.0, -1.0]);
    let dpo = Pairwise::new(Logistic::new(0.5).unwrap());
    let terms: Vec<(f64, BoxObjective<Comparison>)> =
        vec![(1.0, Box::new(dpo)), (0.25, Box::new(Pairwise::new(ChosenLikelihood)))];
    let sum = WeightedSum::new(terms).unwrap();
    assert_eq!(sum.needs(), Needs { reference: true, ..Needs::default() });
    let evaluation = sum.evaluate(&[Comparison::new(0, 1)], numbers.scores()).unwrap();
    check("loss", evaluation.loss, 0.201_413_3 - 0.5);
    check("slope", evaluation.slopes.log_probs.row(0)[0], -0.5 * 0.182_425_5 - 0.25);
    assert_eq!(evaluation.metrics["rewards/chosen"], 1.0); // beta times the return, dpo's
    assert_eq!(evaluation.metrics["nll_loss"], -2.0);
}

/// By hand: beta 0.5 and returns 3 and 1 give a reward difference of 1, from which a margin of 0.4 leaves 0.6.
#[test]
fn a_margin_shortens_the_difference_and_a_weight_scales_the_loss() {
    let policy = mdp::Channels::from(mdp::Steps::from_iter([[3.0], [1.0]]));
    let (reference, weights) = (policy.log_probs.filled(0.0), policy.log_probs.filled(1.0));
    let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
    let dpo = Pairwise::new(Logistic::new(0.5).unwrap());
    let loss = |comparison| dpo.evaluate(&[comparison], scores).unwrap().loss;
    let softplus = |x: f64| x.exp().ln_1p();
    let margin = Comparison { margin: 0.4, ..Comparison::new(0, 1) };
    assert!((loss(margin) - softplus(-0.6)).abs() < 1e-12);
    let weighed = Comparison { weight: 0.25, ..margin };
    assert!((loss(weighed) - 0.25 * softplus(-0.6)).abs() < 1e-12);
    // A soft label: the other order's difference is -(1 - 0.4).
    let soft = Comparison { preference: 0.75, ..margin };
    assert!((loss(soft) - 0.75 * softplus(-0.6) - 0.25 * softplus(0.6)).abs() < 1e-12);
    let swapped = Comparison { first: 1, second: 0, preference: 0.25, margin: -0.4, weight: 1.0 };
    assert!((loss(swapped) - loss(soft)).abs() < 1e-12);
    let slopes = dpo.evaluate(&[weighed], scores).unwrap().slopes.log_probs;
    let pull = -0.25 * 0.5 / (1.0 + 0.6_f64.exp());
    assert!((slopes.row(0)[0] - pull).abs() < 1e-12 && (slopes.row(1)[0] + pull).abs() < 1e-12);
    for refused in [
        Pairwise::new(Ipo::new(0.5).unwrap()).evaluate(&[margin], scores),
        Pairwise::new(ApoZero::new(0.5).unwrap()).evaluate(&[margin], scores),
    ] {
        assert_eq!(refused.unwrap_err(), ObjectiveError::Margin { feedback: 0, margin: 0.4 });
    }
    let negative = Comparison { weight: -1.0, ..margin };
    assert!(dpo.evaluate(&[negative], scores).unwrap_err().to_string().contains("no weight below 0"));
}

//! What bad settings and bad numbers get.
use super::*;

fn refuses<T: std::fmt::Debug>(made: Result<T, ObjectiveError>, message: &str) {
    assert_eq!(made.unwrap_err().to_string(), message);
}

#[test]
fn settings_that_make_no_sense() {
    refuses(Logistic::new(0.0), "`beta` of dpo is 0, but must be a number above 0");
    refuses(Logistic::new(f64::NAN), "`beta` of dpo is NaN, but must be a number above 0");
    refuses(Logistic::smoothed(0.1, 0.5), "`label_smoothing` of cdpo is 0.5, but must be at least 0 and below 0.5");
    refuses(Robust::new(0.1, -0.1), "`label_smoothing` of robust is -0.1, but must be at least 0 and below 0.5");
    refuses(Ipo::new(f64::INFINITY), "`beta` of ipo is inf, but must be a number above 0");
    refuses(Hinge::new(-1.0), "`beta` of hinge is -1, but must be a number above 0");
    refuses(Simpo::new(2.0, -0.5), "`gamma` of simpo is -0.5, but must be a number from 0 up");
    refuses(Orpo::new(0.0), "`beta` of orpo is 0, but must be a number above 0");
    refuses(Bco::shifted(0.1, f64::NAN), "`delta` of bco is NaN, but must be a finite number");
    refuses(
        Exo::new(0.1, 0.0),
        "`label_smoothing` of exo is 0, but must be above 0 and below 0.5, as its logarithm is taken",
    );
    refuses(Cpl::new(0.1, 0.0), "`bias` of cpl is 0, but must be above 0 and at most 1");
    refuses(Cpl::new(-0.1, 0.5), "`alpha` of cpl is -0.1, but must be a number above 0");
    refuses(Tdpo::v2(0.1, -1.0), "`alpha` of tdpo is -1, but must be a number from 0 up");
    refuses(Kto::weighted(0.1, 1.0, -2.0), "`undesirable_weight` of kto is -2, but must be a number from 0 up");
    refuses(PlackettLuce::new(0.0), "`beta` of plackett_luce is 0, but must be a number above 0");
    refuses(Nca::new(0.0), "`beta` of nca is 0, but must be a number above 0");
    refuses(ApoZero::new(0.0), "`beta` of apo_zero is 0, but must be a number above 0");
    refuses(ApoDown::new(0.0), "`beta` of apo_down is 0, but must be a number above 0");
    refuses(Sppo::new(0.0), "`beta` of sppo is 0, but must be a number above 0");
    refuses(WeightedSum::<Comparison>::new(vec![]), "a weighted sum needs at least one objective");
    let dpo = Box::new(Pairwise::new(Logistic::new(0.1).unwrap()));
    refuses(
        WeightedSum::new(vec![(f64::NAN, dpo as BoxObjective<Comparison>)]),
        "`weight` of a weighted sum is NaN, but must be a number from 0 up",
    );
}

#[test]
fn settings_of_what_changes_a_loss() {
    refuses(DiscoPop::new(0.1, 2.0), "`tau` of discopop is 2, but must be above 0 and at most 1");
    refuses(Dpop::new(0.1, -1.0), "`penalty` of dpop is -1, but must be a number from 0 up");
    refuses(Linear::new(0.1, 0.5), "`least_weight` of linear is 0.5, but must be at least 0 and below 0.5");
    refuses(Aot::paired(0.0, 0.0), "`beta` of aot is 0, but must be a number above 0");
    refuses(Aot::unpaired(0.1, 0.5), "`label_smoothing` of aot_unpaired is 0.5, but must be at least 0 and below 0.5");
    refuses(MovingBco::new(-1.0), "`beta` of bco is -1, but must be a number above 0");
    refuses(
        Divergence::alpha(f64::NAN),
        "`divergence_alpha` of the alpha-divergence is NaN, but must be a finite number",
    );
    refuses(
        Pairwise::new(Logistic::new(0.1).unwrap()).with_tail_weight(1.5),
        "`tail_weight` of ld-dpo is 1.5, but must be a number from 0 to 1",
    );
}

#[test]
fn feedback_that_makes_no_sense() {
    let numbers = Numbers::of_returns(&[2.0, -1.0]);
    let dpo = Pairwise::new(Logistic::new(0.1).unwrap());
    let refuse = |comparison| dpo.evaluate(&[Comparison::new(0, 1), comparison], numbers.scores());
    refuses(refuse(Comparison::new(0, 2)), "feedback 1 is about episode 2, but there are 2");
    let unlikely = Comparison { preference: 1.5, ..Comparison::new(0, 1) };
    refuses(refuse(unlikely), "the preference of feedback 1 is 1.5, but must be from 0 to 1");
    let unknown = Comparison { preference: f64::NAN, ..unlikely };
    refuses(refuse(unknown), "the preference of feedback 1 is NaN, but must be from 0 to 1");
    refuses(dpo.evaluate(&[], numbers.scores()), "there is no feedback to learn from");
    let rank = |best_first| PlackettLuce::new(0.1)?.evaluate(&[Ranking { best_first }], numbers.scores());
    let why = "the ranking of feedback 0 must name two or more episodes, each once, and names";
    refuses(rank(vec![1]), &format!("{why} [1]"));
    refuses(rank(vec![1, 0, 1]), &format!("{why} [1, 0, 1]"));
    refuses(rank(vec![1, 7]), "feedback 0 is about episode 7, but there are 2");
    let aot = Aot::paired(0.1, 0.0).unwrap();
    let soft = Comparison { preference: 0.75, ..Comparison::new(0, 1) };
    refuses(
        aot.evaluate(&[soft], numbers.scores()),
        "feedback 0 has a preference of 0.75, a weight of 1 and a margin of 0, and the loss sorts a whole batch: it takes \
         certain preferences of weight 1 (`objective.name` dpo takes others)",
    );
    let label = Label { episode: 0, desirable: true, mismatched: Some(3) };
    let kto = Kto::new(0.1).unwrap();
    refuses(kto.evaluate(&[label], numbers.scores()), "feedback 0 is about episode 3, but there are 2");
    refuses(kto.evaluate(&[], numbers.scores()), "there is no feedback to learn from");
    let sft = Sft::default();
    refuses(
        sft.evaluate(&[Demonstration { episode: 2 }], numbers.scores()),
        "feedback 0 is about episode 2, but there are 2",
    );
    refuses(sft.evaluate(&[], numbers.scores()), "there is no feedback to learn from");
}

#[test]
fn numbers_that_are_missing_or_misshapen() {
    let numbers = Numbers::of_returns(&[2.0, -1.0]);
    let feedback = [Comparison::new(0, 1)];
    let dpo = Pairwise::new(Logistic::new(0.1).unwrap());
    refuses(
        dpo.evaluate(&feedback, Scores { reference: None, ..numbers.scores() }),
        "the reference's log-probability is needed and was not given",
    );
    let short: Steps = [[0.0]].into_iter().collect();
    refuses(
        dpo.evaluate(&feedback, Scores { reference: Some(&short), ..numbers.scores() }),
        "the reference's log-probability has other episodes or decisions than the policy's log-probabilities",
    );
    refuses(
        dpo.evaluate(&feedback, Scores { weights: &short, ..numbers.scores() }),
        "the weight has other episodes or decisions than the policy's log-probabilities",
    );
    refuses(
        Tdpo::v2(0.1, 0.5).unwrap().evaluate(&feedback, numbers.scores()),
        "the policy's divergence is needed and was not given",
    );
    refuses(
        Wpo::new(dpo).evaluate(&feedback, numbers.scores()),
        "the policy's collision log-probability is needed and was not given",
    );
    let simpo = Pairwise::new(Simpo::new(2.0, 0.5).unwrap());
    assert!(simpo.evaluate(&feedback, Scores { reference: None, ..numbers.scores() }).is_ok());
}

#[test]
fn numbers_too_large_for_a_loss() {
    let numbers = Numbers::of_returns(&[1e200, 0.0]);
    let ipo = Pairwise::new(Ipo::new(0.1).unwrap());
    refuses(
        ipo.evaluate(&[Comparison::new(0, 1)], numbers.scores()),
        "the loss of feedback 0 is inf, not a finite number",
    );
}

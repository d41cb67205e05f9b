//! What losses remember, and what they ask of a policy.
use std::sync::atomic::AtomicBool;

use objectives::{Comparison, MovingBco};
use policies::Tabular;

use super::{MDP, StopAfter, dpo, fresh, logits, pairs, settings, train};
use crate::token::TokenSource;
use crate::{Settings, Silent, Training};

#[test]
fn what_an_objective_remembers_goes_on() {
    let bco = || MovingBco::new(0.1).unwrap();
    let (_guard, path) = fresh();
    let whole = train(&path, &bco(), &settings(), &mut Silent, &AtomicBool::new(false));
    for after in [1, 4] {
        let (_guard, path) = fresh();
        let stop = AtomicBool::new(false);
        train(&path, &bco(), &settings(), &mut StopAfter(after, &stop), &stop);
        let resumed = train(&path, &bco(), &settings(), &mut Silent, &AtomicBool::new(false));
        assert_eq!(resumed.metrics, whole.metrics, "stopped after {after}");
        assert_eq!(logits(&resumed.learner, 1), logits(&whole.learner, 1));
    }
    let delta = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["delta"].as_f64().unwrap();
    let deltas: Vec<f64> = whole.metrics.lines().filter(|line| line.contains("\"train\"")).map(delta).collect();
    assert!(deltas.len() == 9 && deltas[0] == 0.0 && deltas.windows(2).all(|two| two[0] != two[1]), "{deltas:?}");
}

#[test]
fn a_policy_without_an_average_or_comparable_outputs_says_so() {
    let data = pairs(4);
    let (data, objective) = (TokenSource::<Comparison>::new(&data, 6), dpo());
    let reference = Tabular::new(&MDP);
    let told = |settings: Settings| {
        let training = Training::new(&MDP, &data, &objective).reference(&reference).settings(settings);
        let mut learner = Tabular::new(&MDP);
        let steps = training.steps(&mut learner);
        steps.and_then(|mut steps| steps.next().unwrap().map(drop)).unwrap_err().to_string()
    };
    assert!(told(Settings { reference_ema: Some(0.9), ..settings() }).contains("keeps no average"));
    assert!(told(Settings { safeguard: Some(0.9), ..settings() }).contains("can't be compared"));
    assert!(told(Settings { safeguard: Some(1.5), ..settings() }).contains("`objective.safeguard` is 1.5"));
    assert!(told(Settings { reference_ema: Some(1.0), ..settings() }).contains("`model.reference_ema` is 1"));
}

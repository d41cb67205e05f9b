//! Which weights the oracle of an embedded problem compares: those that a run exports.
use std::path::Path;

use super::train_judged;
use crate::Call;
use crate::settings::{Data, Model, Optimizer, Run, SaveDtype, TokenTraining, Train};

/// Prompts of the oracle.
const PROMPTS: u64 = 12;

/// The oracle's score of a short run's policy, with the start's as the second.
fn judged(out: &Path, model: &str, ema: Option<f64>, rate: f64) -> (f64, f64) {
    let training = TokenTraining {
        run: Run { out: Some(out.display().to_string()), ..Run::default() },
        model: Model {
            model: Some(model.to_owned()),
            reference: Some("builtin:tldr".to_owned()),
            save_dtype: SaveDtype::F32,
            ema,
            ..Model::default()
        },
        data: Data { data: "builtin:tldr".into(), limit: Some(16), max_length: 256, ..Data::default() },
        optimizer: Optimizer { lr: rate, warmup_steps: 0, ..Optimizer::default() },
        train: Train { batch_size: 4, eval_examples: 0, n_samples: 0, ..Train::default() },
        ..TokenTraining::default()
    };
    let judged = train_judged(Call::quiet(training), None, PROMPTS).unwrap().judged;
    assert_eq!([judged[0].name, judged[1].name], ["start", "policy"]);
    (judged[1].score, judged[0].score)
}

#[test]
fn the_oracle_compares_the_average_where_a_run_exports_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // The last weights are far from the start, their average is near to it.
    let (averaged, start) = judged(&path("averaged"), "builtin:tldr", Some(0.99), 3e-3);
    let (last, same_start) = judged(&path("last"), "builtin:tldr", None, 3e-3);
    assert_eq!(start, same_start);
    assert_ne!(averaged, last);
    // Steps too small to change a weight: the policy is the model that it begins with.
    for (run, score) in [("averaged", averaged), ("last", last)] {
        let exported = path(run).join("model").display().to_string();
        assert_eq!(judged(&path(&format!("{run}-again")), &exported, None, 1e-30).0, score, "{run}");
    }
}

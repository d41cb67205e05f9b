//! The loop on a table of logits: small enough to follow, with everything a real run has.
mod looks;
mod losses;
mod own_sums;
mod ranks;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datasets::{Example, ExampleKind};
use mdp::token::TokenMdp;
use objectives::{Comparison, Kto, Label, Logistic, MovingBco, Objective, Pairwise, Tdpo};
use policies::Tabular;

use crate::token::{Examples, FromExample, TokenSource};
use crate::{
    Decay, Ending, Hooks, Monitor, Observers, Record, ReferenceCache, RunFolder, RunSummary, Settings, Silent,
    TrainError, Training, evaluate,
};

static MDP: TokenMdp = TokenMdp { vocabulary: 5, eos: Vec::new(), max_length: 6 };

/// Pairs in which token 1 is better than token 2.
fn pairs(n: u64) -> Vec<Example> {
    let pair = |index| {
        let (a, b) = ((index % 4) as u32, (index % 3) as u32);
        let responses = vec![vec![1, b].into(), vec![2, a, b].into()];
        Example::new(index, Arc::from([a]), responses, ExampleKind::Pair)
    };
    (0..n).map(pair).collect()
}

fn settings() -> Settings {
    Settings {
        seed: 3,
        batch_size: 4,
        micro_batch_size: 4,
        epochs: Some(3),
        max_steps: None,
        rate: 0.5,
        warmup_steps: 2,
        decay: Decay::Linear,
        max_gradient_norm: Some(1.0),
        eval_every: 2,
        judge_every: 0,
        eval_examples: 5,
        save_every: Some(2),
        save_seconds: 600.0,
        keep_checkpoints: 2,
        best_metric: None,
        patience: None,
        beta: 0.1,
        safeguard: None,
        reference_ema: None,
        shard_optimizer: false,
    }
}

struct Trained {
    outcome: RunSummary,
    learner: Tabular<TokenMdp>,
    metrics: String,
}

/// Trains in `path`, which may hold an earlier part of the run.
fn train<F: FromExample>(
    path: &Path,
    objective: &dyn Objective<Feedback = F>,
    settings: &Settings,
    monitor: &mut dyn Monitor,
    stop: &AtomicBool,
) -> Trained {
    let (data, held_out) = (pairs(10), pairs(5));
    let (data, held_out) = (TokenSource::<F>::new(&data, 6), TokenSource::<F>::new(&held_out, 6));
    let mut learner = Tabular::new(&MDP);
    let reference = Tabular::new(&MDP);
    let training = Training::new(&MDP, &data, objective).held_out(&held_out).reference(&reference);
    let observers = Observers { stop: Some(stop), ..Observers::monitor(monitor) };
    let outcome = training.settings(settings.clone()).watched(&mut learner, path, observers).unwrap();
    Trained { outcome, learner, metrics: untimed(&std::fs::read_to_string(path.join("metrics.jsonl")).unwrap()) }
}

/// The lines without what the clock decides.
fn untimed(metrics: &str) -> String {
    let untimed = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_per_second"));
        value.to_string()
    };
    metrics.lines().map(untimed).collect::<Vec<String>>().join("\n")
}

fn dpo() -> Pairwise<Logistic> {
    Pairwise::new(Logistic::new(0.1).unwrap())
}

fn fresh() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    (folder, path)
}

fn logits(learner: &Tabular<TokenMdp>, prompt: u32) -> Vec<f64> {
    learner.logits(&mdp::token::TokenState::new([prompt])).unwrap().to_vec()
}

#[test]
fn a_run_learns_and_leaves_everything_behind() {
    let (_guard, path) = fresh();
    let trained = train(&path, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
    assert_eq!(trained.outcome.ending, Ending::Done);
    assert_eq!(trained.outcome.steps, 9); // three epochs of batches of 4, 4 and 2
    let first = trained.outcome.first.unwrap();
    assert!((first.value("loss").unwrap() - 2f64.ln()).abs() < 1e-12 && first.is_all_tied());
    let last = trained.outcome.last.unwrap();
    assert_eq!(last.metrics["rewards/accuracies"], 1.0);
    assert!(last.accuracy_interval.unwrap().0 > 0.5);
    for name in ["metrics.jsonl", "tensorboard", "checkpoints/step-8", "checkpoints/step-9", "model"] {
        assert!(path.join(name).exists(), "{name}");
    }
    assert!(!path.join("checkpoints/step-6").exists(), "only the newest two are kept");
    let lines = trained.metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let steps: Vec<_> =
        lines.filter(|line| line["split"] == "train").map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=9).collect::<Vec<_>>());
}

#[test]
fn any_micro_batch_size_is_the_same_step() {
    fn both<F: FromExample>(objective: &dyn Objective<Feedback = F>) {
        let at = |micro_batch_size| {
            let (_guard, path) = fresh();
            let settings = Settings { micro_batch_size, ..settings() };
            train(&path, objective, &settings, &mut Silent, &AtomicBool::new(false)).learner
        };
        let (whole, single) = (at(4), at(1));
        for prompt in 0..4 {
            let (whole, single) = (logits(&whole, prompt), logits(&single, prompt));
            assert_eq!(whole.len(), single.len());
            for (a, b) in whole.iter().zip(single) {
                assert!((a - b).abs() < 1e-12, "{a} {b}");
            }
        }
    }
    both::<Comparison>(&dpo());
    both::<Comparison>(&MovingBco::new(0.1).unwrap());
    both::<Label>(&Kto::new(0.1).unwrap());
}

/// Sets a flag when a step is done, as an interrupt would.
struct StopAfter<'a>(usize, &'a AtomicBool);

impl Monitor for StopAfter<'_> {
    fn stepped(&mut self, record: &Record) {
        self.1.store(record.step >= self.0, Ordering::Relaxed);
    }
}

#[test]
fn stopped_anywhere_and_resumed_is_the_same_to_the_bit() {
    let (_guard, path) = fresh();
    let whole = train(&path, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
    for after in 1..9 {
        let (_guard, path) = fresh();
        let stop = AtomicBool::new(false);
        let part = train(&path, &dpo(), &settings(), &mut StopAfter(after, &stop), &stop);
        assert_eq!(part.outcome.ending, Ending::Interrupted);
        assert!(!path.join("model").exists());
        let resumed = train(&path, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
        assert_eq!(resumed.metrics, whole.metrics, "stopped after {after}");
        for prompt in 0..4 {
            assert_eq!(logits(&resumed.learner, prompt), logits(&whole.learner, prompt));
        }
    }
}

#[test]
fn killed_between_checkpoints_and_resumed_is_the_same_to_the_bit() {
    struct Kill<'a>(usize, &'a Path, &'a Path);
    impl Monitor for Kill<'_> {
        fn stepped(&mut self, record: &Record) {
            if record.step == self.0 {
                copy(self.1, self.2);
            }
        }
    }
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.path().is_dir() { copy(&entry.path(), &target) } else { drop(std::fs::copy(entry.path(), target)) }
        }
    }
    for at in [1, 3, 5, 9] {
        let ((_a, path), (_b, killed)) = (fresh(), fresh());
        let whole = train(&path, &dpo(), &settings(), &mut Kill(at, &path, &killed), &AtomicBool::new(false));
        let resumed = train(&killed, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
        assert_eq!(resumed.metrics, whole.metrics, "killed in step {at}");
        assert_eq!(logits(&resumed.learner, 1), logits(&whole.learner, 1));
    }
}

/// How often a tag is in the event files of a run.
fn events_of(path: &Path, tag: &str) -> usize {
    let files = std::fs::read_dir(path.join("tensorboard")).unwrap();
    let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    bytes.windows(tag.len()).filter(|window| *window == tag.as_bytes()).count()
}

#[test]
fn a_run_that_is_over_writes_its_last_evaluation_once() {
    let (_guard, path) = fresh();
    let whole = train(&path, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
    let events = events_of(&path, "eval/loss");
    assert_eq!(events, 6, "before, after 2, 4, 6, 8 and 9 steps");
    let again = train(&path, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
    assert_eq!((again.metrics, events_of(&path, "eval/loss")), (whole.metrics, events));
    assert_eq!(again.outcome.last.unwrap().metrics, whole.outcome.last.unwrap().metrics);
}

#[test]
fn time_decides_when_to_save_and_nothing_else() {
    let (_guard, path) = fresh();
    let by_steps = train(&path, &dpo(), &settings(), &mut Silent, &AtomicBool::new(false));
    let (_guard, path) = fresh();
    let settings = Settings { save_every: None, eval_every: 0, keep_checkpoints: 0, ..settings() };
    // The clock is looked at when the run starts, after every step but the last, and when a checkpoint is saved.
    let now = std::cell::Cell::new(0.0);
    let clock = || {
        now.set(now.get() + 200.0);
        now.get()
    };
    let (data, held_out) = (pairs(10), pairs(5));
    let (data, held_out) = (TokenSource::<Comparison>::new(&data, 6), TokenSource::<Comparison>::new(&held_out, 6));
    let (mut learner, reference, objective) = (Tabular::new(&MDP), Tabular::new(&MDP), dpo());
    let training = Training::new(&MDP, &data, &objective).held_out(&held_out).reference(&reference);
    let mut silent = Silent;
    let observers = Observers { clock: Some(&clock), ..Observers::monitor(&mut silent) };
    training.settings(settings).watched(&mut learner, &path, observers).unwrap();
    assert_eq!(RunFolder::open(&path).unwrap().checkpoints().unwrap(), [3, 6, 9]);
    assert_eq!(logits(&learner, 1), logits(&by_steps.learner, 1));
}

#[test]
fn the_best_policy_is_kept_and_patience_ends_a_run() {
    let (_guard, path) = fresh();
    let best = |metric: &str| Settings { best_metric: Some(metric.to_owned()), ..settings() };
    let trained = train(&path, &dpo(), &best("loss"), &mut Silent, &AtomicBool::new(false));
    let (name, loss) = trained.outcome.best.unwrap();
    assert_eq!((name.as_str(), Some(loss)), ("loss", trained.outcome.last.unwrap().metric("loss")));
    assert!(path.join("best/evaluation.json").is_file());
    // A rate at which nothing changes: all comparisons stay ties.
    let (_guard, path) = fresh();
    let still = Settings { rate: 1e-300, patience: Some(2), ..best("rewards/accuracies") };
    let ended = train(&path, &dpo(), &still, &mut Silent, &AtomicBool::new(false));
    assert_eq!((ended.outcome.ending, ended.outcome.steps), (Ending::StoppedEarly, 6));
    assert!(ended.outcome.first.unwrap().is_all_tied());
    assert_eq!(ended.outcome.last.unwrap().accuracy_text(), "all 5 tied");
    let again = train(&path, &dpo(), &still, &mut Silent, &AtomicBool::new(false));
    assert!(
        again.outcome.first.is_some_and(|first| first.is_all_tied()),
        "the start of a run is known when it goes on"
    );
    assert_eq!((again.outcome.ending, again.metrics), (Ending::StoppedEarly, ended.metrics));
}

#[test]
fn a_step_that_is_tried_leaves_no_trace() {
    let (data, reference, objective) = (pairs(10), Tabular::new(&MDP), dpo());
    let data = TokenSource::<Comparison>::new(&data, 6);
    let training = Training::new(&MDP, &data, &objective).reference(&reference).settings(settings());
    let losses = |learner: &mut Tabular<TokenMdp>| -> Vec<f64> {
        training.steps(learner).unwrap().map(|step| step.unwrap().loss).collect()
    };
    let (mut plain, mut tried) = (Tabular::new(&MDP), Tabular::new(&MDP));
    let trial = training.try_step(&mut tried).unwrap();
    assert!(trial.parameters > 0 && trial.size > 1.0 && trial.step_seconds >= 0.0);
    assert_eq!(losses(&mut plain), losses(&mut tried));
    assert_eq!(logits(&plain, 1), logits(&tried, 1));
}

#[test]
fn the_references_numbers_are_computed_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers");
    let (objective, data, reference) = (dpo(), pairs(10), Tabular::new(&MDP));
    let data = TokenSource::<Comparison>::new(&data, 6);
    let training =
        Training::new(&MDP, &data, &objective).reference(&reference).settings(settings()).cache(path.clone());
    let mut heard = Vec::new();
    let stopped = AtomicBool::new(true);
    assert_eq!(training.precompute(&mut |known, of| heard.push((known, of)), &stopped).unwrap(), (0, 10));
    let go = AtomicBool::new(false);
    assert_eq!(training.precompute(&mut |known, of| heard.push((known, of)), &go).unwrap(), (10, 10));
    assert_eq!(heard, [(0, 10), (0, 10), (4, 10), (8, 10)]);
    let key = training.cache_key().unwrap();
    assert_eq!(ReferenceCache::load(&path, &key).unwrap().len(), 10);
    assert_eq!(training.precompute(&mut |_, _| panic!("nothing is missing"), &go).unwrap(), (10, 10));
}

/// Examples that remember which of them were asked for.
struct Watched(Vec<Example>, std::cell::RefCell<Vec<usize>>);

impl Examples for Watched {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn example(&self, index: usize) -> Result<Example, policies::BoxError> {
        self.1.borrow_mut().push(index);
        self.0.example(index)
    }
}

#[test]
fn an_evaluation_looks_at_examples_that_the_seed_draws() {
    let looked = |seed, examples| {
        let data = Watched(pairs(200), std::cell::RefCell::default());
        let source = TokenSource::<Comparison>::new(&data, 16);
        let learner = Tabular::new(&MDP);
        let mut reference = crate::step::Reference { policy: Some(&learner), cache: ReferenceCache::default() };
        let look = crate::evaluate::EvalSettings { step: 0, micro_batch_size: 3, examples, seed, beta: 0.1 };
        let hooks = Hooks::default();
        let seen = evaluate(&MDP, &learner, &mut reference, &dpo(), &source, &hooks, look).unwrap();
        assert_eq!(seen.examples, examples.min(200));
        data.1.into_inner()
    };
    let ten = looked(1, 10);
    assert_eq!(ten.len(), 10);
    assert!(ten.iter().any(|&index| index >= 20), "not what stands first: {ten:?}");
    assert_eq!(ten, looked(1, 10));
    assert_ne!(ten, looked(2, 10));
    assert_eq!(looked(1, 500), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_folder_that_is_taken_or_is_no_run_is_refused() {
    let (_guard, path) = fresh();
    std::fs::create_dir_all(&path).unwrap();
    let error = RunFolder::open(&path).unwrap_err().to_string();
    assert!(error.contains("not a run's folder"), "{error}");
    std::fs::write(path.join("mine.txt"), "x").unwrap();
    assert!(matches!(RunFolder::create(&path), Err(TrainError::Occupied(_))));
}

#[test]
fn a_run_is_not_resumed_with_another_reference_or_other_data() {
    let (_guard, path) = fresh();
    let (objective, settings) = (dpo(), Settings { max_steps: Some(2), ..settings() });
    let data = pairs(10);
    let data = TokenSource::<Comparison>::new(&data, 6);
    let reference = Tabular::new(&MDP);
    let mut learner = Tabular::new(&MDP);
    let training = Training::new(&MDP, &data, &objective).settings(settings);
    let training = training.reference(&reference);
    training.run(&mut learner, &path).unwrap();
    assert_eq!(RunFolder::open(&path).unwrap().checkpoints().unwrap(), [2]);
    training.run(&mut learner, &path).unwrap();
    let mut other = pairs(10);
    other[0].responses[1] = vec![3, 3, 3].into();
    let other = TokenSource::<Comparison>::new(&other, 6);
    let refused = Training::new(&MDP, &other, &objective).reference(&reference).run(&mut learner, &path).unwrap_err();
    assert!(refused.to_string().contains("another data"), "{refused}");
    let refused = Training::new(&MDP, &data, &objective).reference(&learner).run(&mut Tabular::new(&MDP), &path);
    assert!(refused.unwrap_err().to_string().contains("another model"));
}

#[test]
fn steps_read_and_write_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers");
    let (objective, data, reference) = (dpo(), pairs(10), Tabular::new(&MDP));
    let data = TokenSource::<Comparison>::new(&data, 6);
    let training = || Training::new(&MDP, &data, &objective).settings(settings()).cache(path.clone());
    let losses = |training: &Training<'_, _, _>| -> Vec<f64> {
        let mut learner = Tabular::new(&MDP);
        training.steps(&mut learner).unwrap().map(|step| step.unwrap().loss).collect()
    };
    let first = losses(&training().reference(&reference));
    assert!(path.is_file());
    assert_eq!(losses(&training().reference(&reference)), first);
    // Without a reference every number must be in the cache, whose key then is another.
    let error = training().steps(&mut Tabular::new(&MDP)).unwrap_err().to_string();
    assert!(error.contains("another model"), "{error}");
}

#[test]
fn a_channel_that_the_objective_needs_is_asked_of_the_learner() {
    let (data, reference) = (pairs(10), Arc::new(Tabular::new(&MDP)));
    let data = TokenSource::<Comparison>::new(&data, 6);
    let objective = Tdpo::v2(0.1, 0.5).unwrap();
    let training = Training::new(&MDP, &data, &objective).reference(&reference).settings(settings());
    let error = training.steps(&mut Tabular::new(&MDP)).unwrap_err().to_string();
    assert!(error.contains("`Tabular::with_reference`"), "{error}");
    let mut learner = Tabular::new(&MDP).with_reference(Arc::clone(&reference));
    assert!(training.steps(&mut learner).unwrap().all(|step| step.is_ok()));
}

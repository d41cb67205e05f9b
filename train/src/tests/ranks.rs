//! Several ranks, as threads, train as one process does.
use std::thread;

use mdp::Channels;
use policies::Learner as _;

use super::*;
use crate::{Alone, Ranks, Source as _, Threads};

/// Makes the objective of a rank, which may remember what it has seen.
type Make<'m, F> = &'m (dyn Fn() -> Box<dyn Objective<Feedback = F>> + Sync);

/// A table with a row for every state of the data: ranks have the same parameters, and a row appears when it is first needed.
fn table<F: FromExample>(data: &TokenSource<'_, F>) -> Tabular<TokenMdp> {
    let mut learner = Tabular::new(&MDP).with_reference(Arc::new(Tabular::new(&MDP)));
    for index in 0..data.len() {
        let (numbers, tape) = learner.forward(&MDP, &data.item(index).unwrap().episodes).unwrap();
        learner.backward(tape, &Channels::from(numbers.log_probs.filled(0.0))).unwrap();
    }
    learner.update(0.0, None).unwrap();
    learner
}

/// Trains one rank's copy in the folder of all; its logits at the end.
fn one<F: FromExample>(ranks: &dyn Ranks, path: &Path, make: Make<'_, F>, settings: &Settings) -> Vec<f64> {
    let (data, held_out) = (pairs(8), pairs(5));
    let (data, held_out) = (TokenSource::<F>::new(&data, 6), TokenSource::<F>::new(&held_out, 6));
    let (mut learner, reference, objective) = (table(&data), Tabular::new(&MDP), make());
    let training = Training::new(&MDP, &data, &*objective).held_out(&held_out).reference(&reference).ranks(ranks);
    training.settings(settings.clone()).run(&mut learner, path).unwrap();
    (0..4).flat_map(|prompt| logits(&learner, prompt)).collect()
}

/// Trains on so many ranks in one folder; the logits of each.
fn together<F: FromExample>(size: usize, path: &Path, make: Make<'_, F>, settings: &Settings) -> Vec<Vec<f64>> {
    thread::scope(|scope| {
        let run = |ranks: Threads| scope.spawn(move || one(&ranks, path, make, settings));
        let running: Vec<_> = Threads::new(size).into_iter().map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn metrics(path: &Path) -> String {
    untimed(&std::fs::read_to_string(path.join("metrics.jsonl")).unwrap())
}

/// Checks that two files of records have the same numbers but for rounding.
fn check_close(one: &str, other: &str) {
    assert_eq!(one.lines().count(), other.lines().count());
    for (a, b) in one.lines().zip(other.lines()) {
        let [a, b] = [a, b].map(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap());
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        for (name, value) in &a {
            let (value, other) = (value.as_f64().unwrap_or_default(), b[name].as_f64().unwrap_or_default());
            assert!((value - other).abs() <= 1e-9 * value.abs().max(1.0), "{name}: {value} {other}");
        }
    }
}

fn check<F: FromExample>(make: Make<'_, F>) {
    for size in [2, 3, 4] {
        let ((_one, alone), (_other, path)) = (fresh(), fresh());
        let micro_batch_size = 4_usize.div_ceil(size);
        let own = one(&Alone, &alone, make, &Settings { micro_batch_size, ..settings() });
        let all = together(size, &path, make, &settings());
        check_close(&metrics(&path), &metrics(&alone));
        for logits in &all {
            assert_eq!(logits, &all[0], "every rank has the same bits");
            assert!(own.iter().zip(logits).all(|(a, b)| (a - b).abs() < 1e-9), "{own:?} {logits:?}");
        }
        let (_again, again) = fresh();
        assert_eq!(together(size, &again, make, &settings()), all, "the same ranks have the same bits");
        assert_eq!(metrics(&again), metrics(&path));
    }
}

#[test]
fn ranks_are_micro_batches() {
    check::<Comparison>(&|| Box::new(dpo()));
}

#[test]
fn ranks_are_micro_batches_for_losses_of_whole_batches_and_for_those_that_remember() {
    check::<Label>(&|| Box::new(Kto::new(0.1).unwrap()));
    check::<Comparison>(&|| Box::new(MovingBco::new(0.1).unwrap()));
    check::<Comparison>(&|| Box::new(Tdpo::v2(0.1, 0.5).unwrap()));
}

#[test]
fn a_run_of_ranks_goes_on_to_the_bit_and_with_other_ranks_to_rounding() {
    // Without a decay the first part is that of the longer run.
    let long = Settings { decay: Decay::Constant, ..settings() };
    let make: Make<'_, Comparison> = &|| Box::new(dpo());
    let (_guard, path) = fresh();
    let whole = together(2, &path, make, &long).remove(0);
    for (first, then) in [(2, 2), (3, 2), (2, 3), (2, 1)] {
        let (_other, path) = fresh();
        together(first, &path, make, &Settings { max_steps: Some(3), ..long.clone() });
        let all = if then == 1 { vec![one(&Alone, &path, make, &long)] } else { together(then, &path, make, &long) };
        for logits in all {
            let apart = logits.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let expected = if (first, then) == (2, 2) { 0.0 } else { 1e-9 };
            assert!(apart <= expected, "{first} then {then}: {apart}");
        }
    }
}

/// What each of three ranks says, the last of which starts from something else.
fn refusals(other: &str) -> Vec<String> {
    let (_guard, path) = fresh();
    let refusal = |ranks: Threads| {
        let is_other = |part| other == part && ranks.rank() == 2;
        let data = pairs(if is_other("training data") { 7 } else { 8 });
        let data = TokenSource::<Comparison>::new(&data, 6);
        let (mut learner, reference, objective) = (table(&data), Tabular::new(&MDP), dpo());
        if is_other("policy") {
            learner = Tabular::new(&MDP);
        }
        let rate = if is_other("settings") { 0.25 } else { 0.5 };
        let training = Training::new(&MDP, &data, &objective).settings(Settings { rate, ..settings() }).ranks(&ranks);
        let training = if is_other("reference") { training } else { training.reference(&reference) };
        training.run(&mut learner, &path).unwrap_err().to_string()
    };
    let refusal = &refusal;
    thread::scope(|scope| {
        let running: Vec<_> = Threads::new(3).into_iter().map(|ranks| scope.spawn(move || refusal(ranks))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn ranks_that_do_not_start_alike_are_refused_by_all() {
    for other in ["settings", "training data", "reference", "policy"] {
        for refusal in refusals(other) {
            assert!(refusal.starts_with(&format!("rank 2 differs from rank 0 in its {other}: ")), "{other}: {refusal}");
        }
    }
}

/// The numbers of the reference that ranks compute and the first of them writes.
fn precomputed(ranks: &dyn Ranks, path: &Path, stopped: bool) -> (usize, usize) {
    let (objective, data, reference) = (dpo(), pairs(10), Tabular::new(&MDP));
    let data = TokenSource::<Comparison>::new(&data, 6);
    let training = Training::new(&MDP, &data, &objective).reference(&reference).settings(settings()).ranks(ranks);
    // Only what the first is told counts.
    let stop = AtomicBool::new(stopped || ranks.rank() == 1);
    training.cache(path.to_owned()).precompute(&mut |_, _| (), &stop).unwrap()
}

#[test]
fn ranks_divide_the_references_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let [alone, path] = ["alone", "together"].map(|name| folder.path().join(name));
    assert_eq!(precomputed(&Alone, &alone, false), (10, 10));
    for stopped in [true, false] {
        let known = thread::scope(|scope| {
            let path = &path;
            let one = |ranks: Threads| scope.spawn(move || precomputed(&ranks, path, stopped));
            let running: Vec<_> = Threads::new(3).into_iter().map(one).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(known, vec![(if stopped { 0 } else { 10 }, 10); 3]);
    }
    assert_eq!(std::fs::read(alone).unwrap(), std::fs::read(path).unwrap());
}

//! `judge`: an oracle compares the pairs of a folder.
use std::path::Path;
use std::process::ExitCode;

use datasets::pairs::{Choice, Judge, Kept, Label, LabelLog, Modality, PairFolder, Side, Verdict};
use datasets::synthetic::{Outcome, chimera, shapes};

use crate::{Call, Failure, console};

/// The name that the oracle's judgements are under.
const NAME: &str = "oracle";

pub(crate) fn judge(call: &Call) -> Result<ExitCode, Failure> {
    let folder =
        call.values.text("label.pairs").ok_or_else(|| Failure::usage("judge what? Name a folder: --pairs DIR"))?;
    let pairs = PairFolder::open(Path::new(folder))?;
    let counts = judge_all(&pairs, &|done| call.console.info(&format!("{done} pairs judged")))?;
    let (first, ties, second) = counts;
    console::result(&format!("{folder}: {first} times a, {second} times b, {ties} ties"));
    Ok(ExitCode::SUCCESS)
}

/// Adds the oracle's judgement of every pair, where it has none of it yet; counts of a, tie and b.
pub(crate) fn judge_all(pairs: &PairFolder, progress: &dyn Fn(usize)) -> Result<(usize, usize, usize), Failure> {
    let mut log = LabelLog::open(pairs)?;
    let mut counts = (0, 0, 0);
    for index in 0..pairs.len() {
        let known = log.labels().choice(index, NAME);
        let choice = known.map_or_else(|| compare(pairs, index), Ok)?;
        if known.is_none() {
            let verdict = Verdict::Chosen(choice);
            log.append(&Label { index, labeller: NAME.to_owned(), by: Judge::Oracle, verdict })?;
        }
        match choice {
            Choice::A => counts.0 += 1,
            Choice::B => counts.2 += 1,
            Choice::Tie | Choice::Skip => counts.1 += 1,
        }
    }
    progress(pairs.len());
    Ok(counts)
}

/// The oracle that knows the request.
fn compare(pairs: &PairFolder, index: usize) -> Result<Choice, Failure> {
    let name = pairs.path().display();
    let pair = pairs.get(index).ok_or_else(|| Failure::failed(format!("{name}: there is no pair {index}")))?;
    if pairs.modality() == Modality::Token || matches!(pair.a.made, Kept::Response(_)) {
        return Err(Failure::failed(format!("{name}: the oracle judges pictures; texts are for hybrid-dpo label")));
    }
    let picture = |side| -> Result<_, Failure> {
        let missing = || Failure::failed(format!("{name}: pair {index} has no picture {side}"));
        pairs.pixels(index, side)?.ok_or_else(missing)
    };
    let (a, b) = (picture(Side::A)?, picture(Side::B)?);
    let outcome = if let Some(wanted) = chimera::Wanted::from_request(&pair.request) {
        chimera::Oracle::compare(&wanted, &a, &b)
    } else if let Some(wanted) = shapes::Scene::from_caption(&pair.request) {
        shapes::Oracle::compare(&wanted, &a, &b)
    } else {
        let text = format!(
            "{name}: pair {index} asks for `{}`, and the oracle knows builtin:chimera and builtin:shapes only; people \
             judge the rest: hybrid-dpo label",
            pair.request
        );
        return Err(Failure::failed(text));
    };
    Ok(match outcome {
        Outcome::Win => Choice::A,
        Outcome::Tie => Choice::Tie,
        Outcome::Loss => Choice::B,
    })
}

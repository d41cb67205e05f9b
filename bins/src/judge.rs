//! `judge`: an oracle, or what a run has learned to reward, compares the pairs of a folder.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use datasets::pairs::{Choice, Judge, Kept, Label, LabelLog, Modality, PairFolder, Side, Verdict};
use datasets::synthetic::{Outcome, chimera, shapes, tldr};
use train::RunFolder;

use crate::console::Console;
use crate::keys::MODELS;
use crate::values::Values;
use crate::{Call, Failure, console, score};

/// The name that the oracle's judgements are under.
const ORACLE: &str = "oracle";

/// Noisy images of each side that a denoiser judges by, unless its run had more.
const DRAWS: usize = 16;

pub(crate) fn judge(call: &Call) -> Result<ExitCode, Failure> {
    let folder =
        call.values.text("label.pairs").ok_or_else(|| Failure::usage("judge what? Name a folder: --pairs DIR"))?;
    let counts = judge_all(Path::new(folder), call.values.word("judge.judge"), &call.console)?;
    let Counts { a, ties, b } = counts;
    console::result(&format!("{folder}: {a} times a, {b} times b, {ties} ties"));
    Ok(ExitCode::SUCCESS)
}

/// How a judge decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) a: usize,
    pub(crate) ties: usize,
    pub(crate) b: usize,
}

impl Counts {
    /// What judgements that stand add up to.
    pub(crate) fn of(choices: impl IntoIterator<Item = Choice>) -> Self {
        choices.into_iter().fold(Self::default(), |counts, choice| match choice {
            Choice::A => Self { a: counts.a + 1, ..counts },
            Choice::B => Self { b: counts.b + 1, ..counts },
            Choice::Tie | Choice::Skip => Self { ties: counts.ties + 1, ..counts },
        })
    }
}

/// Says who may judge, before there is anything to judge.
pub(crate) fn check(judge: &str) -> Result<(), Failure> {
    match judge {
        ORACLE | "people" => Ok(()),
        run if RunFolder::open(Path::new(run)).is_ok() && Path::new(run).join("model").is_dir() => Ok(()),
        other => Err(Failure::usage(format!(
            "--judge takes oracle, people (with --rounds) or the folder of a finished run, not `{other}`"
        ))),
    }
}

/// Adds a judgement of every pair, where there is none by this judge yet.
pub(crate) fn judge_all(path: &Path, judge: &str, console: &Console) -> Result<Counts, Failure> {
    check(judge)?;
    let pairs = PairFolder::open(path)?;
    let mut log = LabelLog::open(&pairs)?;
    let (name, by) = match judge {
        "people" => {
            return Err(Failure::usage(format!("people judge with: hybrid-dpo label --pairs {}", path.display())));
        }
        ORACLE => (ORACLE.to_owned(), Judge::Oracle),
        run => (labeller(run)?, Judge::Model),
    };
    let unknown = (0..pairs.len()).any(|index| log.labels().choice(index, &name).is_none());
    let margins = if by == Judge::Model && unknown { margins(&pairs, judge, console)? } else { Vec::new() };
    let mut choices = Vec::with_capacity(pairs.len());
    for index in 0..pairs.len() {
        if let Some(known) = log.labels().choice(index, &name) {
            choices.push(known);
            continue;
        }
        let choice = match margins.get(index) {
            Some(margin) if *margin > 0.0 => Choice::A,
            Some(margin) if *margin < 0.0 => Choice::B,
            Some(_) => Choice::Tie,
            None => compare(&pairs, index)?,
        };
        log.append(&Label { index, labeller: name.clone(), by, verdict: Verdict::Chosen(choice) })?;
        choices.push(choice);
    }
    console.info(&format!("{} pairs judged by {name}", pairs.len()));
    Ok(Counts::of(choices))
}

/// A run's name among labellers: its folder's, and a hash of what it learned, as other runs may be called the same.
fn labeller(run: &str) -> Result<String, Failure> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![Path::new(run).join("model")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| Failure::failed(format!("{}: {e}", folder.display())))? {
            let path = entry?.path();
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        std::io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
    }
    let whole = std::fs::canonicalize(run)?;
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(32).collect();
    Ok(format!("run {name} {}", &hasher.finalize().to_hex()[..8]))
}

/// What a run rewards `a` more than `b` with: beta times the log-ratio of its policy to the one it started from.
fn margins(pairs: &PairFolder, run: &str, console: &Console) -> Result<Vec<f64>, Failure> {
    let mut values = Values::defaults();
    values.merge_file(&Path::new(run).join("config.toml"))?;
    let (mdp, modality) = (values.word("run.mdp").to_owned(), pairs.modality().name());
    if mdp != modality {
        let text =
            format!("--judge {run} is a run of --mdp {mdp}, the pairs of {} are of {modality}", pairs.path().display());
        return Err(Failure::failed(text));
    }
    // The run's model against what the run began with, or stayed close to.
    for (model, reference) in MODELS {
        if let Some(start) = values.text(reference).or(values.text(model)).map(str::to_owned) {
            values.settle(reference, &start);
        }
        values.clear(model);
    }
    if mdp != "token" {
        let draws = values.count("diffusion.draws_per_pair").unwrap_or(1).max(DRAWS);
        values.settle("diffusion.draws_per_pair", &draws.to_string());
    }
    for path in ["data.limit", "data.latents", "data.eval_data", "diffusion.draws"] {
        values.clear(path);
    }
    let scores = tempfile::NamedTempFile::new()?;
    for (path, value) in [
        ("model.model", run),
        ("data.data", &pairs.path().display().to_string()),
        ("data.eval_share", "0"),
        ("data.all_pairs", "true"),
        ("data.on_bad", "fail"),
        ("run.out", &scores.path().display().to_string()),
    ] {
        values.settle(path, value);
    }
    score::score(Call { values, console: console.again() })?;
    let mut margins = vec![0.0; pairs.len()];
    for line in std::fs::read_to_string(scores.path())?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let index = line["index"].as_u64().unwrap_or(u64::MAX) as usize;
        if let (Some(to), Some(margin)) = (margins.get_mut(index), line["margin"].as_f64()) {
            *to = margin;
        }
    }
    Ok(margins)
}

/// The oracle that knows the request.
fn compare(pairs: &PairFolder, index: usize) -> Result<Choice, Failure> {
    let name = pairs.path().display();
    let pair = pairs.get(index).ok_or_else(|| Failure::failed(format!("{name}: there is no pair {index}")))?;
    let unknown = || {
        Failure::failed(format!(
            "{name}: pair {index} asks for `{}`, and the oracle knows the embedded problems only (builtin:tldr, \
             builtin:shapes, builtin:chimera); people judge the rest: hybrid-dpo label",
            pair.request.chars().take(80).collect::<String>()
        ))
    };
    if let (Modality::Token, Kept::Response(a), Kept::Response(b)) = (pairs.modality(), &pair.a.made, &pair.b.made) {
        let facts = tldr::Facts::from_prompt(&pair.request).ok_or_else(unknown)?;
        return Ok(choice(tldr::Oracle::compare(&facts, a, b)));
    }
    let picture = |side| -> Result<_, Failure> {
        let missing = || Failure::failed(format!("{name}: pair {index} has no picture {side}"));
        pairs.pixels(index, side)?.ok_or_else(missing)
    };
    let (a, b) = (picture(Side::A)?, picture(Side::B)?);
    if let Some(wanted) = chimera::Wanted::from_request(&pair.request) {
        Ok(choice(chimera::Oracle::compare(&wanted, &a, &b)))
    } else if let Some(wanted) = shapes::Scene::from_caption(&pair.request) {
        Ok(choice(shapes::Oracle::compare(&wanted, &a, &b)))
    } else {
        Err(unknown())
    }
}

fn choice(outcome: Outcome) -> Choice {
    match outcome {
        Outcome::Win => Choice::A,
        Outcome::Tie => Choice::Tie,
        Outcome::Loss => Choice::B,
    }
}

//! `train --rounds`: pairs are made by the policy as it is, judged, learned from, and again.
//!
//! A round is the verbs in a row: `sample --pairs`, `judge`, `train --data`, and for its result `sample --pairs
//! --reference` against the policy at the start, `judge`. All that a round makes stays in its folder, and what is there
//! already is not made again: that is how rounds go on after they were stopped.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use datasets::pairs::PairFolder;
use datasets::synthetic::Split;
use datasets::{Text, pairs};
use serde_json::json;
use train::statistics::wilson;
use train::{RunFolder, write_whole};

use super::{fresh_folder, one};
use crate::hybrid::Files;
use crate::judge::{self, Counts};
use crate::judged::hold_out;
use crate::keys::TRAIN;
use crate::objective::{Chosen, choose};
use crate::sample::{self, embedded_prompts, read_prompts};
use crate::values::Values;
use crate::{Call, Failure, console, denoiser, model, text};

/// What means something in rounds alone is refused elsewhere.
pub(super) fn refuse_alone(values: &Values) -> Result<(), Failure> {
    if values.count("rounds.rounds") == Some(0) {
        return Err(Failure::usage("--rounds takes at least 1"));
    }
    let alone = ["rounds.pairs", "rounds.reference", "judge.judge", "sample.prompts", "sample.null_share"];
    let of_answers = ["sample.temperature", "sample.top_k", "sample.top_p"];
    // A hybrid's pictures are drawn of refined prompts, whose drawing these say, in any run.
    let of_answers = of_answers.into_iter().filter(|_| values.word("run.mdp") == "token");
    match alone.into_iter().chain(of_answers).find(|path| values.is_typed(path)).and_then(crate::keys::find) {
        Some(key) => Err(Failure::usage(format!("--{} goes with --rounds", key.flag))),
        None => Ok(()),
    }
}

/// Trains in rounds, or goes on with them.
pub(super) fn train(mut call: Call, resume: Option<&PathBuf>, stop: &'static AtomicBool) -> Result<ExitCode, Failure> {
    check(&call.values)?;
    let source = source(&mut call.values)?;
    let prompts = Prompts::read(source, &call.values)?;
    if resume.is_none() {
        fit(&mut call.values)?;
    }
    let path = match resume {
        Some(path) => path.clone(),
        None => call.values.text("run.out").map_or_else(|| fresh_folder("rounds"), PathBuf::from),
    };
    call.values.settle("run.out", &path.display().to_string());
    if resume.is_none() {
        RunFolder::create(&path)?;
        let config = call.values.to_toml(TRAIN);
        write_whole(&path.join("config.toml"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
    }
    let _lock = RunFolder::open(&path)?.lock()?;
    Rounds { call, path, prompts, stop }.go()
}

/// What can't be is said before anything is made.
fn check(values: &Values) -> Result<(), Failure> {
    judge::check(values.word("judge.judge"))?;
    if values.count("rounds.pairs") == Some(0) {
        return Err(Failure::usage("--round-pairs takes at least 1"));
    }
    for (path, flag) in [("rounds.pairs", "round-pairs"), ("train.eval_examples", "eval-examples")] {
        if values.count(path).is_some_and(|n| n > sample::MOST) {
            return Err(Failure::usage(format!("--{flag} takes at most {}: so many are drawn at once", sample::MOST)));
        }
    }
    for (path, why) in [
        ("data.data", "rounds make their own pairs, of --prompts"),
        ("data.latents", "rounds make their own pairs, of --prompts"),
        ("data.limit", "--round-pairs says how many pairs there are"),
        ("data.format", "rounds make their own pairs"),
        ("data.split", "rounds make their own pairs"),
        ("data.eval_data", "rounds compare policies on prompts that are held out"),
        ("train.reference_cache", "every round has other pairs"),
        ("diffusion.draws", "every round has other pairs"),
        ("diffusion.trajectories", "rounds make finished images"),
        ("hybrid.compare", "it compares halves on one set of pairs"),
    ] {
        if values.is_typed(path) && !(path == "hybrid.compare" && !values.switch(path)) {
            let flag = crate::keys::find(path).map_or(path, |key| key.flag);
            return Err(Failure::usage(format!("--{flag} is not for --rounds: {why}")));
        }
    }
    let is_moved = values.word("rounds.reference") == "moved";
    if let Some((_, path)) = MODELS.into_iter().find(|(_, path)| is_moved && values.text(path).is_some()) {
        let flag = crate::keys::find(path).map_or(path, |key| key.flag);
        let text = format!("--{flag} is for all rounds alike: it goes with --round-reference fixed");
        return Err(Failure::usage(text));
    }
    let is_hybrid = values.word("run.mdp") == "hybrid";
    for (model, _) in MODELS.into_iter().filter(|(model, _)| model.starts_with("hybrid") == is_hybrid) {
        let flag = crate::keys::find(model).map_or(model, |key| key.flag);
        match values.text(model) {
            None => return Err(Failure::usage(format!("--{flag} is needed: what the rounds begin with"))),
            Some(name) if name.ends_with("-untrained") => {
                let text = format!("--{flag} {name} is drawn from --seed, and every round has its own; name a folder");
                return Err(Failure::usage(text));
            }
            Some(_) => {}
        }
    }
    if values.word("objective.name") == "sft" {
        return Err(Failure::usage("--objective sft has no use for judgements; --rounds are for the DPO family"));
    }
    if values.word("diffusion.scheme") == "trajectory" {
        return Err(Failure::usage("--rounds make finished images: --scheme forward or half"));
    }
    if values.text("model.lora_rank").is_some() || values.count("model.lora_rank").is_some() {
        return Err(Failure::usage("--lora-rank is not for --rounds: an adapter can't be trained on top of another"));
    }
    Ok(())
}

/// Where the prompts come from: an embedded model has its problem's.
fn source(values: &mut Values) -> Result<String, Failure> {
    let (model, builtin) = match values.word("run.mdp") {
        "diffusion" => ("model.model", "builtin:shapes"),
        "hybrid" => ("hybrid.refiner", "builtin:chimera"),
        _ => ("model.model", "builtin:tldr"),
    };
    let by_default = if values.word(model).starts_with(builtin) { builtin } else { "" };
    let source = values.text("sample.prompts").unwrap_or(by_default).to_owned();
    if source.is_empty() {
        return Err(Failure::usage("--rounds need --prompts FILE: what the policy is asked"));
    }
    if source == "builtin:chimera" {
        values.preset("hybrid.template", crate::hybrid::CHIMERA_TEMPLATE);
        values.preset("data.max_length", "96");
    }
    Ok(source)
}

/// Loads the models once, so that what can't be is said before there is a folder, and fits lengths to them.
fn fit(values: &mut Values) -> Result<(), Failure> {
    let name = values.word("model.model").to_owned();
    match values.word("run.mdp") {
        "diffusion" => {
            super::diffusion::check_settings(values, false)?;
            denoiser::load(&name, values)?.shape(values)?;
            if let Chosen::Labels(_) | Chosen::Rankings(_) = choose(values)? {
                return Err(Failure::usage("images come in pairs: --objective dpo and its like"));
            }
        }
        "hybrid" => {
            super::hybrid::objective(values)?;
            drop(Files::load(values)?);
        }
        _ => {
            choose(values)?;
            let files = model::load(&name, values)?;
            text::fit_lengths(values, &files)?;
            text::tokenise(&files, values)?;
        }
    }
    super::settings(values)?;
    model::optimizer(values).map(drop)
}

/// What is asked in the rounds, and what the policies are compared on.
struct Prompts {
    source: String,
    /// Those of a file; the embedded ones are made as they are needed.
    asked: Vec<Text>,
    held_out: Vec<Text>,
}

impl Prompts {
    fn read(source: String, values: &Values) -> Result<Self, Failure> {
        let n = values.count("train.eval_examples").unwrap_or(256);
        if source.starts_with("builtin:") {
            let held_out = embedded_prompts(&source, Split::Test, 0..n as u64, values)?;
            return Ok(Self { source, asked: Vec::new(), held_out });
        }
        let all = read_prompts(&source, values)?;
        let share = crate::images::eval_share(values)?;
        let shown: Vec<String> = all.iter().map(|prompt| line(prompt)).collect();
        let (asked, mut held_out) = hold_out(&shown, share, values.count("run.seed").unwrap_or(0) as u64);
        if asked.is_empty() {
            return Err(Failure::usage(format!(
                "--eval-share {share} holds all prompts out and leaves none to learn from"
            )));
        }
        held_out.truncate(n);
        let pick = |rows: Vec<usize>| rows.into_iter().map(|row| all[row].clone()).collect();
        Ok(Self { source, asked: pick(asked), held_out: pick(held_out) })
    }

    /// The prompts of a round; each goes on where the one before ended.
    fn of_round(&self, round: usize, n: usize, values: &Values) -> Result<Vec<Text>, Failure> {
        let numbers = (round - 1) * n..round * n;
        if self.source.starts_with("builtin:") {
            return embedded_prompts(&self.source, Split::Train, numbers.start as u64..numbers.end as u64, values);
        }
        Ok(numbers.map(|i| self.asked[i % self.asked.len()].clone()).collect())
    }
}

/// A prompt as a line of a file of prompts.
fn line(prompt: &Text) -> String {
    match prompt {
        Text::Plain(text) => json!({ "prompt": text }).to_string(),
        Text::Chat(messages) => json!({ "prompt": messages }).to_string(),
    }
}

/// What is known of a finished round.
struct Finished {
    pairs: usize,
    decided: usize,
    won: Option<(f64, usize)>,
}

struct Rounds {
    call: Call,
    path: PathBuf,
    prompts: Prompts,
    stop: &'static AtomicBool,
}

impl Rounds {
    fn go(&self) -> Result<ExitCode, Failure> {
        let values = &self.call.values;
        let n_rounds = values.count("rounds.rounds").unwrap_or(1);
        let judge = values.word("judge.judge");
        let mut finished = Vec::with_capacity(n_rounds);
        for round in 1..=n_rounds {
            let folder = self.folder(round);
            let pairs = folder.join("pairs");
            self.call.console.info(&format!("round {round} of {n_rounds}"));
            std::fs::create_dir_all(&folder)?;
            remove_leftovers(&folder)?;
            if !pairs.exists() {
                let asked = self.prompts.of_round(round, values.count("rounds.pairs").unwrap_or(1), values)?;
                self.make_pairs(round, &asked, &folder.join("prompts.jsonl"), &pairs, Against::Itself)?;
            }
            let counts = match judge {
                "people" => match said(&pairs)? {
                    Some(counts) => {
                        let n = counts.a + counts.ties + counts.b;
                        self.call.console.info(&format!("people have judged {n} pairs of {}", pairs.display()));
                        counts
                    }
                    None => {
                        let (pairs, path) = (pairs.display(), self.path.display());
                        console::result(&format!(
                            "round {round} waits for people: hybrid-dpo label --pairs {pairs}\n\
                             and then:                hybrid-dpo train --resume {path}"
                        ));
                        return Ok(ExitCode::SUCCESS);
                    }
                },
                judge => judge::judge_all(&pairs, judge, &self.call.console)?,
            };
            if counts.a + counts.b == 0 {
                let text = format!(
                    "{}: every pair is a tie, so there is nothing to learn from; start again with more --round-pairs, \
                     other --prompts or another --judge",
                    pairs.display()
                );
                return Err(Failure::failed(text));
            }
            if self.is_stopped() || !self.learn(round, &pairs)? {
                return Ok(self.interrupted());
            }
            let won = self.compare(round, judge)?;
            if self.is_stopped() {
                return Ok(self.interrupted());
            }
            finished.push(Finished { pairs: counts.a + counts.b + counts.ties, decided: counts.a + counts.b, won });
            self.write(&finished)?;
        }
        console::result(&table(&finished));
        let run = self.run(n_rounds);
        console::result(&format!("\nrounds       {}", self.path.display()));
        console::result(&format!("last run     {}", run.display()));
        Ok(ExitCode::SUCCESS)
    }

    fn folder(&self, round: usize) -> PathBuf {
        self.path.join(format!("round-{round}"))
    }

    fn run(&self, round: usize) -> PathBuf {
        self.folder(round).join("run")
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn interrupted(&self) -> ExitCode {
        console::notice(&format!("stopped; go on with: hybrid-dpo train --resume {}", self.path.display()));
        ExitCode::from(130)
    }

    /// Settings of a verb within a round: chance of its own, and the policy that the rounds before have made.
    fn values(&self, round: usize, policy_of: usize) -> Values {
        let mut values = self.call.values.clone();
        let seed = values.count("run.seed").unwrap_or(0) + round;
        let no_more = [
            "rounds.rounds",
            "data.data",
            "data.latents",
            "data.eval_data",
            "data.limit",
            "diffusion.draws",
            "train.reference_cache",
            "run.out",
            "label.pairs",
            "sample.prompts",
            "sample.limit",
            "sample.n",
        ];
        no_more.into_iter().for_each(|path| values.clear(path));
        values.settle("run.seed", &seed.to_string());
        values.settle("hybrid.compare", "false");
        if policy_of > 0 {
            let run = self.run(policy_of);
            if values.word("run.mdp") == "hybrid" {
                for half in crate::hybrid::NAMES {
                    let own = run.join("model").join(half).display().to_string();
                    values.settle(if half == "refiner" { "hybrid.refiner" } else { "hybrid.generator" }, &own);
                }
            } else {
                values.settle("model.model", &run.display().to_string());
            }
        }
        values
    }

    /// Makes the policy at the start the one that others are compared with, or stay close to where no other was named.
    fn against_start(&self, values: &mut Values, or: Named) {
        let start = &self.call.values;
        for (model, reference) in MODELS {
            let named = start.text(reference).filter(|_| or == Named::Counts);
            let name = named.or(start.text(model)).unwrap_or_default();
            values.settle(reference, name);
        }
    }

    fn make_pairs(
        &self,
        round: usize,
        asked: &[Text],
        prompts: &Path,
        pairs: &Path,
        against: Against,
    ) -> Result<(), Failure> {
        write_whole(prompts, |file| {
            asked
                .iter()
                .try_for_each(|prompt| std::io::Write::write_all(file, format!("{}\n", line(prompt)).as_bytes()))
        })?;
        let (policy_of, is_comparison) = match against {
            Against::Itself => (round - 1, false),
            Against::Start => (round, true),
        };
        let mut values = self.values(round, policy_of);
        if is_comparison {
            self.against_start(&mut values, Named::IsLeftOut);
            values.settle("sample.null_share", "0");
        } else {
            MODELS.iter().for_each(|(_, reference)| values.clear(reference));
        }
        values.settle("sample.prompts", &prompts.display().to_string());
        values.settle("label.pairs", &pairs.display().to_string());
        sample::sample(Call { values, console: self.call.console.again() }).map(drop)
    }

    /// Trains on a round's pairs; false if that was interrupted.
    fn learn(&self, round: usize, pairs: &Path) -> Result<bool, Failure> {
        let run = self.run(round);
        if run.join("model").is_dir() {
            return Ok(true);
        }
        let mut values = self.values(round, round - 1);
        match values.word("rounds.reference") {
            "fixed" => self.against_start(&mut values, Named::Counts),
            _ => MODELS.iter().for_each(|(_, reference)| values.clear(reference)),
        }
        values.settle("data.data", &pairs.display().to_string());
        values.settle("run.out", &run.display().to_string());
        let resume = if run.exists() { begun(&run)? } else { None };
        one(Call { values, console: self.call.console.again() }, false, resume, self.stop)?;
        Ok(run.join("model").is_dir())
    }

    /// The share of prompts on which the judge prefers a round's policy to the one at the start.
    fn compare(&self, round: usize, judge: &str) -> Result<Option<(f64, usize)>, Failure> {
        if self.prompts.held_out.is_empty() {
            return Ok(None);
        }
        let (folder, pairs) = (self.folder(round), self.folder(round).join("against-start"));
        if !pairs.exists() {
            let prompts = folder.join("held-out.jsonl");
            self.make_pairs(round, &self.prompts.held_out, &prompts, &pairs, Against::Start)?;
        }
        let counts = match judge {
            "people" => match said(&pairs)? {
                Some(counts) => counts,
                None => {
                    let name = pairs.display();
                    self.call
                        .console
                        .info(&format!("whether it got better is for people: hybrid-dpo label --pairs {name}"));
                    return Ok(None);
                }
            },
            judge => judge::judge_all(&pairs, judge, &self.call.console)?,
        };
        Ok(Some((counts.a as f64 + 0.5 * counts.ties as f64, counts.a + counts.b + counts.ties)))
    }

    fn write(&self, finished: &[Finished]) -> Result<(), Failure> {
        Ok(write_whole(&self.path.join("rounds.jsonl"), |file| {
            finished.iter().zip(1..).try_for_each(|(round, number)| {
                let rate = round.won.map(|(won, n)| won / n as f64);
                let interval = round.won.map(|(won, n)| wilson(won, n as f64));
                let line = json!({ "round": number, "pairs": round.pairs, "decided": round.decided, "win_rate": rate,
                                   "interval": interval });
                std::io::Write::write_all(file, format!("{line}\n").as_bytes())
            })
        })?)
    }
}

/// What makes side b of a pair.
#[derive(Clone, Copy)]
enum Against {
    Itself,
    Start,
}

/// Whether a reference that the user named counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Counts,
    IsLeftOut,
}

/// Where the settings name a model, and what it is compared with.
const MODELS: [(&str, &str); 3] = [
    ("model.model", "model.reference"),
    ("hybrid.refiner", "hybrid.refiner_reference"),
    ("hybrid.generator", "hybrid.generator_reference"),
];

/// What a kill left half made under a temporary name.
fn remove_leftovers(folder: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') && name.contains("building-") {
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }?;
        }
    }
    Ok(())
}

/// A run that was begun and has something to go on from; one that has not is put away.
fn begun(run: &Path) -> Result<Option<PathBuf>, Failure> {
    let is_begun = run.join("config.toml").is_file() && !RunFolder::open(run)?.checkpoints()?.is_empty();
    if is_begun {
        return Ok(Some(run.to_owned()));
    }
    std::fs::remove_dir_all(run)?;
    Ok(None)
}

/// What people have said of a folder of pairs, if anything; what several say of a pair is decided by their mean.
fn said(path: &Path) -> Result<Option<Counts>, Failure> {
    let preferences = PairFolder::open(path)?.labels()?.preferences();
    let choices = preferences.iter().map(|preference| match preference.a_is_better {
        share if share > 0.5 => pairs::Choice::A,
        share if share < 0.5 => pairs::Choice::B,
        _ => pairs::Choice::Tie,
    });
    Ok((!preferences.is_empty()).then(|| Counts::of(choices)))
}

fn table(finished: &[Finished]) -> String {
    let mut text = format!("{:<12}{:>8}{:>10}{:>26}   95% interval", "", "pairs", "decided", "win rate over the start");
    for (round, number) in finished.iter().zip(1..) {
        let name = format!("round {number}");
        let _ = write!(text, "\n{name:<12}{:>8}{:>10}", round.pairs, round.decided);
        match round.won {
            Some((won, n)) => {
                let (low, high) = wilson(won, n as f64);
                let _ = write!(text, "{:>26.3}   {low:.3} to {high:.3} ({n} prompts)", won / n as f64);
            }
            None => text.push_str(&format!("{:>26}", "not judged")),
        }
    }
    text
}

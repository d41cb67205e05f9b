//! `train` with `rounds.rounds`: iterated sampling of pairs, judging, and training on them.
//!
//! A round runs verbs in a row: `sample` into `label.pairs`, `judge`, `train` on `data.data`, and for its result
//! `sample` with the starting policy as `model.reference`, `judge`. All outputs of a round stay in its folder, and
//! existing ones are not made again, so that stopped rounds can be resumed.
mod prompts;
mod settings;
mod step;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ::train::statistics::wilson;
use ::train::{RunFolder, remove_leftovers, write_lines, write_whole};
use datasets::pairs::PairFolder;
use datasets::{Prompt, pairs};
use mdp::chance::derived_seed;
use serde_json::json;

use self::prompts::{Prompts, line, source};
use self::settings::{check, fit};
use self::step::{PolicyNames, RoundStep};
use super::{Purpose, fresh_folder, one};
use crate::embedded::{PROMPTS, usual};
use crate::judge::{self, JudgeCounts};
use crate::keys::{TRAIN, to_toml};
use crate::report;
use crate::sample;
use crate::settings::{RoundReference, SaveDtype, SearchScore, at};
use crate::text::refuse_idle_template;
use crate::trained::{Suggestion, Trained, TrainingStatus};
use crate::{Call, Failure, search};

/// Trains in rounds, or resumes them.
pub(super) fn train(mut call: Call<'_>, resume: Option<&Path>) -> Result<Trained, Failure> {
    check(&call.values)?;
    if call.values.sample.search().is_some() {
        search::presets(&mut call.values);
    }
    // Every round goes on from the model of the one before.
    call.values.preset(|settings| {
        if settings.model.save_dtype == SaveDtype::Auto {
            settings.model.save_dtype = SaveDtype::F32;
        }
    });
    let source = source(&mut call.values)?;
    let prompts = Prompts::read(source, &call.values, call.reporter)?;
    refuse_idle_template(&call.values, prompts.have_chats())?;
    if resume.is_none() {
        fit(&mut call.values)?;
    }
    let path = folder_of_rounds(&call, resume);
    call.values.set(|settings| settings.run.out = Some(path.display().to_string()));
    let mut lock = None;
    call.reporter.lead(|| {
        if resume.is_none() {
            RunFolder::create(&path)?;
            let config = to_toml(&super::resume::kept(&call.values), TRAIN);
            write_whole(&path.join("config.toml"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
        }
        lock = Some(RunFolder::open(&path)?.lock()?);
        prompts.keep_split(&path)?;
        Ok(true)
    })?;
    let rounds = Rounds { call, path, prompts };
    let trained = match rounds.go() {
        Err(failure) if failure.is_interrupt() => rounds.trained(TrainingStatus::Interrupted { after: None }),
        ended => ended?,
    };
    if rounds.call.reporter.ranks().is_leader() {
        report::of_rounds(&trained.folder, rounds.call.reporter);
    }
    drop(lock);
    rounds.call.reporter.trained(&trained);
    Ok(trained)
}

/// The folder of new rounds, which the first of several processes chooses for all, or of those that are resumed.
fn folder_of_rounds(call: &Call<'_>, resume: Option<&Path>) -> PathBuf {
    if let Some(path) = resume.or(call.values.run.out().map(Path::new)) {
        return path.to_owned();
    }
    let ranks = call.reporter.ranks();
    let mut path = Vec::new();
    if ranks.is_leader() {
        path = fresh_folder(call.values.run.mdp(), "rounds").display().to_string().into_bytes();
    }
    ranks.broadcast(&mut path);
    PathBuf::from(String::from_utf8_lossy(&path).into_owned())
}

/// The counts of a finished round.
struct RoundResult {
    pairs: usize,
    decided: usize,
    won: Option<(f64, usize)>,
}

struct Rounds<'a> {
    call: Call<'a>,
    path: PathBuf,
    prompts: Prompts,
}

impl Rounds<'_> {
    fn go(&self) -> Result<Trained, Failure> {
        let values = &self.call.values;
        let n_rounds = values.rounds.rounds().unwrap_or(1);
        let judge = values.judge.judge();
        let mut finished = Vec::with_capacity(n_rounds);
        for round in 1..=n_rounds {
            let folder = self.folder(round);
            let pairs = folder.join("pairs");
            let reporter = self.call.reporter;
            reporter.info(&format!("round {round} of {n_rounds}"));
            let has_pairs = reporter.lead(|| {
                std::fs::create_dir_all(&folder).map_err(Failure::of_file(&folder))?;
                remove_leftovers(&folder)?;
                Ok(pairs.exists())
            })?;
            if !has_pairs {
                self.make_pairs(round, &pairs)?;
            }
            // Of several processes the first alone knows the counts, and says what comes of them.
            let judged = self.judged_counts(&pairs, judge)?;
            let mut counts = JudgeCounts::default();
            if !reporter.lead(|| count(&pairs, judged, &mut counts))? {
                return Ok(self.trained(TrainingStatus::AwaitingLabels { round, pairs }));
            }
            if self.is_stopped()? || !self.learn(round, &pairs)? {
                return Ok(self.trained(TrainingStatus::Interrupted { after: None }));
            }
            let won = self.compare(round, judge)?;
            if self.is_stopped()? {
                return Ok(self.trained(TrainingStatus::Interrupted { after: None }));
            }
            finished.push(RoundResult { pairs: counts.a + counts.b + counts.ties, decided: counts.a + counts.b, won });
            reporter.lead(|| self.write(&finished).map(|()| true))?;
        }
        Ok(Trained {
            table: table(&finished),
            suggestion: Some(self.suggestion()),
            ..self.trained(TrainingStatus::RoundsFinished { last: self.run(n_rounds) })
        })
    }

    fn trained(&self, status: TrainingStatus) -> Trained {
        Trained::of(&self.path, status)
    }

    /// The verb to try with the last policy.
    fn suggestion(&self) -> Suggestion {
        let values = &self.call.values;
        let prompts = values.sample.prompts().unwrap_or(usual(values.run.mdp()).name);
        Suggestion::Sample { mdp: values.run.mdp(), prompts: Some(prompts.to_owned()) }
    }

    fn folder(&self, round: usize) -> PathBuf {
        self.path.join(format!("round-{round}"))
    }

    fn run(&self, round: usize) -> PathBuf {
        self.folder(round).join("run")
    }

    fn is_stopped(&self) -> Result<bool, Failure> {
        self.call.reporter.lead(|| Ok(self.call.reporter.is_stopped()))
    }

    /// A step of a round: a seed derived from purpose, round and seed, and the policy of the rounds before. It has no
    /// reference and no files yet.
    fn step(&self, purpose: &str, round: usize, policy_of: usize) -> Result<RoundStep<'_>, Failure> {
        let values = &self.call.values;
        Ok(RoundStep {
            seed: derived_seed(values.run.seed(), purpose, round as u64),
            policy: self.policy(policy_of)?,
            reference: PolicyNames::default(),
            search: None,
            score: values.search.score(),
            null_share: values.sample.null_share(),
            prompts: None,
            pairs: None,
            data: None,
            out: None,
        })
    }

    /// The policy after a round; after round 0 the one that the rounds begin with.
    fn policy(&self, round: usize) -> Result<PolicyNames, Failure> {
        let values = &self.call.values;
        if round == 0 { Ok(PolicyNames::start(values)) } else { PolicyNames::of_run(&self.run(round), values) }
    }

    /// The reference that was named, or else the starting policy.
    fn fixed_reference(&self) -> PolicyNames {
        let values = &self.call.values;
        PolicyNames::named_reference(values).or(PolicyNames::start(values))
    }

    /// The score that a round's search seeks, and the reference of an implicit reward: the one that the policy learned
    /// beside. The first round's policy has learned nothing here, so its reward is 0 everywhere unless a reference is named,
    /// and the likelihood is sought.
    fn score_of_search(&self, round: usize) -> Result<(SearchScore, PolicyNames), Failure> {
        let values = &self.call.values;
        let score = values.search.score();
        if values.sample.search().is_none() || score != SearchScore::Implicit {
            return Ok((score, PolicyNames::default()));
        }
        if round == 1 && PolicyNames::named_reference(values) == PolicyNames::default() {
            let field = &at::search::score;
            self.call.reporter.info(&format!("{field} implicit begins with round 2; this round seeks the likelihood"));
            return Ok((SearchScore::Likelihood, PolicyNames::default()));
        }
        let is_of_start = values.rounds.reference() == RoundReference::Fixed || round <= 2;
        Ok((score, if is_of_start { self.fixed_reference() } else { self.policy(round - 2)? }))
    }

    /// Samples pairs for a step's prompts.
    fn sample(&self, asked: &[Prompt], step: RoundStep<'_>) -> Result<(), Failure> {
        let reporter = self.call.reporter;
        reporter.lead(|| {
            step.prompts.map_or(Ok(()), |path| write_lines(path, asked.iter().map(line)))?;
            Ok(true)
        })?;
        let values = step.values(&self.call.values);
        sample::sample(Call { values, reporter })?;
        // The others go on once the leader has written the pairs.
        reporter.ranks().barrier();
        Ok(())
    }

    /// Samples the pairs that a round learns from, both sides by its policy.
    fn make_pairs(&self, round: usize, pairs: &Path) -> Result<(), Failure> {
        let values = &self.call.values;
        let asked = self.prompts.of_round(round, values.rounds.pairs(), values)?;
        let prompts = self.folder(round).join("prompts.jsonl");
        let (score, reference) = self.score_of_search(round)?;
        let step = RoundStep {
            search: values.sample.search(),
            score,
            reference,
            prompts: Some(&prompts),
            pairs: Some(pairs),
            ..self.step("pairs of a round", round, round - 1)?
        };
        self.sample(&asked, step)
    }

    /// Samples pairs of a round's policy and the starting one, which are compared by what they draw.
    fn make_comparison(&self, round: usize, pairs: &Path) -> Result<(), Failure> {
        let prompts = self.folder(round).join("held-out.jsonl");
        let step = RoundStep {
            reference: PolicyNames::start(&self.call.values),
            null_share: 0.0,
            prompts: Some(&prompts),
            pairs: Some(pairs),
            ..self.step("comparison of a round", round, round)?
        };
        self.sample(&self.prompts.held_out, step)
    }

    /// Counts the judge's choices in a pair folder; `None` if people have not judged any yet.
    fn judged_counts(&self, pairs: &Path, judge: &str) -> Result<Option<JudgeCounts>, Failure> {
        if judge != "people" {
            return judge::counts_of(pairs, &self.call.values, self.call.reporter).map(Some);
        }
        let people_counts = people_counts(pairs)?;
        if let Some(JudgeCounts { a, ties, b, .. }) = people_counts {
            let (n, of) = (a + ties + b, PairFolder::open(pairs)?.len());
            self.call.reporter.info(&format!("people have judged {n} of {of} pairs of {}", pairs.display()));
            if n < of {
                self.call.reporter.notice(&format!("{} pairs have no judgement, and are left out", of - n));
            }
        }
        Ok(people_counts)
    }

    /// Trains on a round's pairs; false if interrupted.
    fn learn(&self, round: usize, pairs: &Path) -> Result<bool, Failure> {
        let (run, reporter) = (self.run(round), self.call.reporter);
        let is_learned = || reporter.lead(|| Ok(run.join("model").is_dir()));
        if is_learned()? {
            return Ok(true);
        }
        let step = RoundStep {
            reference: match self.call.values.rounds.reference() {
                RoundReference::Fixed => self.fixed_reference(),
                RoundReference::Moved => PolicyNames::default(),
            },
            data: Some(pairs),
            out: Some(&run),
            ..self.step("run of a round", round, round - 1)?
        };
        let values = step.values(&self.call.values);
        let is_begun = reporter.lead(|| Ok(run.exists() && resumable_run(&run)?.is_some()))?;
        one(Call { values, reporter }, Purpose::Round, (is_begun.then(|| run.clone()), None), PROMPTS)?;
        is_learned()
    }

    /// The wins of a round's policy over the starting one, ties as one half, and the number of pairs.
    fn compare(&self, round: usize, judge: &str) -> Result<Option<(f64, usize)>, Failure> {
        if self.prompts.held_out.is_empty() {
            return Ok(None);
        }
        let (pairs, reporter) = (self.folder(round).join("against-start"), self.call.reporter);
        if !reporter.lead(|| Ok(pairs.exists()))? {
            self.make_comparison(round, &pairs)?;
        }
        let Some(counts) = self.judged_counts(&pairs, judge)? else {
            let name = pairs.display();
            reporter.info(&format!("whether it got better is for people: `label::Server` `label.pairs` {name}"));
            return Ok(None);
        };
        let n = counts.a + counts.b + counts.ties;
        Ok((n > 0).then(|| (counts.won(), n)))
    }

    fn write(&self, finished: &[RoundResult]) -> Result<(), Failure> {
        let lines = finished.iter().zip(1..).map(|(round, number)| {
            let rate = round.won.map(|(won, n)| won / n as f64);
            let interval = round.won.map(|(won, n)| wilson(won, n as f64));
            json!({ "round": number, "pairs": round.pairs, "decided": round.decided, "win_rate": rate,
                    "interval": interval })
        });
        Ok(write_lines(&self.path.join("rounds.jsonl"), lines)?)
    }
}

/// A started run that can be resumed; one without a checkpoint is deleted.
fn resumable_run(run: &Path) -> Result<Option<PathBuf>, Failure> {
    let is_begun = run.join("config.toml").is_file() && !RunFolder::open(run)?.checkpoints()?.is_empty();
    if is_begun {
        return Ok(Some(run.to_owned()));
    }
    std::fs::remove_dir_all(run).map_err(Failure::of_file(run))?;
    Ok(None)
}

/// Checks the judge's choices that a round learns from; false if people have not judged any yet.
fn count(pairs: &Path, judged: Option<JudgeCounts>, counts: &mut JudgeCounts) -> Result<bool, Failure> {
    let Some(found) = judged else { return Ok(false) };
    if found.a + found.b == 0 {
        let text = format!(
            "{}: no pair has a better side, so there is nothing to learn from; start again with more `rounds.pairs`, \
             other `sample.prompts` or another `judge.judge`",
            pairs.display()
        );
        return Err(Failure::failed(text));
    }
    *counts = found;
    Ok(true)
}

/// Counts people's choices in a pair folder, if there are any; several judgements of a pair are averaged.
fn people_counts(path: &Path) -> Result<Option<JudgeCounts>, Failure> {
    let preferences = PairFolder::open(path)?.labels()?.preferences();
    let choices = preferences.iter().map(|preference| match preference.a_is_better {
        share if share > 0.5 => pairs::LabelChoice::A,
        share if share < 0.5 => pairs::LabelChoice::B,
        _ => pairs::LabelChoice::Tie,
    });
    Ok((!preferences.is_empty()).then(|| JudgeCounts::of(choices.map(Some))))
}

fn table(finished: &[RoundResult]) -> String {
    let mut text = format!("{:<12}{:>8}{:>10}{:>26}   95% interval", "", "pairs", "decided", "win rate over the start");
    for (round, number) in finished.iter().zip(1..) {
        let name = format!("round {number}");
        let _ = write!(text, "\n{name:<12}{:>8}{:>10}", round.pairs, round.decided);
        match round.won {
            Some((won, n)) => {
                let (low, high) = wilson(won, n as f64);
                let _ = write!(text, "{:>26.3}   {low:.3} to {high:.3} ({n} prompts)", won / n as f64);
            }
            None => {
                let _ = write!(text, "{:>26}", "not judged");
            }
        }
    }
    text
}

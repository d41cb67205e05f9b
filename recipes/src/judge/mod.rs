//! `judge`: an oracle, a server, a reward model, or the implicit reward of a run compares answers.
//!
//! What is compared is a folder of pairs, or files of samples, which become a folder of pairs for the time being. So every judge
//! reads a folder of pairs, and keeps its judgements in the folder's label log.
mod api;
mod comparer;
mod figures;
mod report;
pub(crate) mod reward;
mod systems;

use std::path::{Path, PathBuf};

use ::train::{Alone, Ranks, can_write, write_whole};
use datasets::pairs::{Judge, Judgement, JudgementChange, JudgementLog, LabelChoice, Modality, PairFolder};
use eval::statistics::agreements;

use self::api::{ApiFigures, ApiSettings};
use self::comparer::{Comparer, settings_of};
use self::figures::Figures;
pub use self::report::{JudgeCounts, JudgeReport, JudgeUsage, SystemDifference, SystemReport};
use self::reward::JudgeReward;
use self::systems::Samples;
use crate::settings::{JudgingSettings, Values, at};
use crate::trained::open_run;
use crate::{Call, Failure, Reporter, divided};

/// The labeller name of the oracle.
const ORACLE: &str = "oracle";
/// The judge that is a server.
pub(crate) const API: &str = "openai";

/// Pairs that are judged between writes of the label log.
const AT_ONCE: usize = 16;

/// The file of a server's answers in a folder of pairs.
pub(crate) const ANSWERS: &str = "judge-answers.jsonl";

/// Compares the two sides of the pairs in a folder (`label.pairs`), or the answers in files of samples (`judge.a`, `judge.b`).
///
/// Judgements are added to the folder's labels, and what is judged already is not judged again. The report is also written as
/// JSON to `run.out` where that names a file.
///
/// # Errors
/// Invalid settings, a judge for other kinds of pairs, unreadable or unwritable files; a server that is down: what it has
/// answered is kept.
pub fn judge(call: Call<'_, impl JudgingSettings>) -> Result<JudgeReport, Failure> {
    let call = call.found(crate::keys::JUDGE)?;
    let (values, reporter) = (&call.values, call.reporter);
    let out = call.out().map(PathBuf::from);
    out.as_deref().map_or(Ok(()), can_write)?;
    check(values)?;
    let report = match (values.label.pairs(), values.judge.a(), values.judge.b()) {
        (Some(folder), [], None) => of_folder(Path::new(folder), values, reporter)?,
        (None, systems @ [_, ..], Some(baseline)) => of_samples(systems, baseline, values, reporter)?,
        (Some(_), ..) => {
            return Err(Failure::usage("`label.pairs` has both sides in it: without `judge.a` and `judge.b`"));
        }
        (None, [_, ..], None) => return Err(Failure::usage("`judge.a` FILE is compared with `judge.b` FILE")),
        (None, [], _) => {
            return Err(Failure::usage(
                "judge what? Name a folder: `label.pairs` DIR, or two files of samples: `judge.a` FILE `judge.b` FILE",
            ));
        }
    };
    out.map_or(Ok(()), |out| {
        write_whole(&out, |file| {
            serde_json::to_writer_pretty(&mut *file, &report.to_json())?;
            std::io::Write::write_all(file, b"\n")
        })
    })?;
    Ok(report)
}

/// Judges a folder of pairs.
fn of_folder(path: &Path, values: &Values, reporter: &dyn Reporter) -> Result<JudgeReport, Failure> {
    let judged = judge_folder(path, &path.join(ANSWERS), values, (GoesOn::ByCommand, reporter))?;
    reporter.info(&format!("{} pairs judged by {}", judged.folder.len(), judged.labeller));
    let system = figures(&judged).report(&path.display().to_string(), None, values.run.seed());
    let usage = judged.api.as_ref().map(|api| api.usage(values));
    Ok(JudgeReport { judge: judged.labeller, systems: vec![system], differences: Vec::new(), usage })
}

/// Judges files of samples against another.
fn of_samples(
    systems: &[String],
    baseline: &str,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<JudgeReport, Failure> {
    let others = Samples::read(Path::new(baseline))?;
    let (mut reports, mut all, mut usage) = (Vec::new(), Vec::new(), None::<JudgeUsage>);
    let mut judge = String::new();
    for system in systems {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pairs");
        Samples::read(Path::new(system))?.against(&others, &path, reporter)?;
        let answers = PathBuf::from(format!("{system}.{ANSWERS}"));
        let place = path.display().to_string();
        let judged = judge_folder(&path, &answers, values, (GoesOn::ByCommand, reporter))
            .map_err(|failure| failure.naming(&place, &format!("{system} against {baseline}")))?;
        let figures = figures(&judged);
        reports.push(figures.report(system, Some(baseline), values.run.seed()));
        if let Some(api) = &judged.api {
            usage = Some(usage.map_or_else(|| api.usage(values), |before| before.plus(&api.usage(values))));
        }
        judge.clone_from(&judged.labeller);
        let outcomes = figures.by_prompt().into_iter().map(|(prompt, of)| (prompt.to_owned(), of)).collect();
        all.push((system.clone(), outcomes));
    }
    let differences = figures::differences(&all, values.run.seed());
    Ok(JudgeReport { judge, systems: reports, differences, usage })
}

fn figures(judged: &JudgedFolder) -> Figures<'_> {
    Figures { folder: &judged.folder, choices: &judged.choices, api: judged.api.as_ref(), agreement: &judged.agreement }
}

/// Checks the judge's name and settings before any pairs exist.
pub(crate) fn check(values: &Values) -> Result<(), Failure> {
    let judge = values.judge.judge();
    let path = Path::new(judge);
    match judge {
        ORACLE | "people" => Ok(()),
        API => ApiSettings::of(values).map(drop),
        _ if JudgeReward::is_folder(path) => Ok(()),
        _ if open_run(path).is_ok() && path.join("model").is_dir() => Ok(()),
        _ => Err(Failure::usage(format!(
            "`judge.judge` takes oracle, people (with `rounds.rounds`), openai, the folder of a reward model \
             (..ForSequenceClassification for texts, CLIPModel for pictures) or of a finished run, not `{judge}`"
        ))),
    }
}

/// Checks that a judge can compare pairs of this kind before any exist; loads a reward model to do so.
pub(crate) fn check_for(values: &Values, modality: Modality) -> Result<(), Failure> {
    check(values)?;
    match values.judge.judge() {
        ORACLE | "people" | API => Ok(()),
        folder if JudgeReward::is_folder(Path::new(folder)) => JudgeReward::load(folder, modality, values).map(drop),
        run => settings_of(run, modality).map(drop),
    }
}

/// Judges a folder of pairs within a run, and counts the choices.
pub(crate) fn counts_of(path: &Path, values: &Values, reporter: &dyn Reporter) -> Result<JudgeCounts, Failure> {
    let values = &without_template(values);
    let judged = judge_folder(path, &path.join(ANSWERS), values, (GoesOn::ByResuming, reporter))?;
    reporter.info(&format!("{} pairs judged by {}", judged.folder.len(), judged.labeller));
    Ok(judged.counts())
}

/// The settings of a run as its judge reads them: `data.chat_template` is the policy's.
pub(crate) fn without_template(values: &Values) -> Values {
    let mut values = values.clone();
    values.reset(&at::data::chat_template);
    values
}

/// How the work goes on that a server's silence interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoesOn {
    /// By the command that was given.
    ByCommand,
    /// By resuming the run or the rounds.
    ByResuming,
    /// By itself.
    Anyway,
}

/// A folder of pairs as its judge left it.
pub(crate) struct JudgedFolder {
    pub(crate) folder: PairFolder,
    pub(crate) labeller: String,
    /// The judge's choice of each pair; `None` where it has none.
    pub(crate) choices: Vec<Option<LabelChoice>>,
    pub(crate) api: Option<ApiFigures>,
    pub(crate) agreement: Vec<eval::statistics::LabellerAgreement>,
}

impl JudgedFolder {
    /// The counts of the choices.
    pub(crate) fn counts(&self) -> JudgeCounts {
        JudgeCounts::of(self.choices.iter().copied())
    }
}

/// Adds a judgement of every pair that this judge has not judged; `answers` is the file of a server's answers unless the
/// settings name one. Of several processes the leader knows the choices.
pub(crate) fn judge_folder(
    path: &Path,
    answers: &Path,
    values: &Values,
    (goes_on, reporter): (GoesOn, &dyn Reporter),
) -> Result<JudgedFolder, Failure> {
    let judge = values.judge.judge();
    let pairs = PairFolder::open(path)?;
    let mut log = reporter.ranks().is_leader().then(|| JudgementLog::open(&pairs)).transpose()?;
    if judge == "people" {
        return Err(Failure::usage(format!("people judge with: `label::Server` `label.pairs` {}", path.display())));
    }
    let (name, api) = if judge == API {
        let mut judged = (judge.to_owned(), None);
        reporter.lead(|| {
            let Some(log) = &mut log else { return Ok(true) };
            let (name, figures) = api::judge(&pairs, log, answers, values, (goes_on, reporter))?;
            judged = (name, Some(figures));
            Ok(true)
        })?;
        judged
    } else {
        (by_numbers(judge, &pairs, log.as_mut(), values, reporter)?, None)
    };
    let of = |index| log.as_ref().and_then(|log| log.labels().choice(index, &name));
    let choices = (0..pairs.len()).map(of).collect();
    let agreement = log.as_ref().map_or_else(Vec::new, |log| agreements(log.labels(), &name));
    Ok(JudgedFolder { folder: pairs, labeller: name, choices, api, agreement })
}

/// Judges by an oracle, a reward model or a run, and returns the labeller's name.
fn by_numbers(
    judge: &str,
    pairs: &PairFolder,
    mut log: Option<&mut JudgementLog>,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<String, Failure> {
    let (name, by) = comparer::labeller_of(judge, values)?;
    let open = |log: &&mut JudgementLog| -> Vec<usize> {
        (0..pairs.len()).filter(|index| log.labels().choice(*index, &name).is_none()).collect()
    };
    let open = divided::told(reporter.ranks(), log.as_ref().map(open).unwrap_or_default())?;
    if open.is_empty() {
        return Ok(name);
    }
    let comparer = Comparer::of(judge, pairs, values, reporter)?;
    let mut by = |ranks: &dyn Ranks| {
        compare(&comparer, (pairs, &open), log.as_deref_mut(), (&name, by), (ranks, reporter)).map(|()| true)
    };
    if comparer.is_divided() {
        by(reporter.ranks())?;
    } else {
        reporter.lead(|| by(&Alone))?;
    }
    Ok(name)
}

/// Has the open pairs compared, by the processes that divide them; what the leader knows goes into the log.
fn compare(
    comparer: &Comparer,
    (pairs, open): (&PairFolder, &[usize]),
    mut log: Option<&mut JudgementLog>,
    (name, by): (&str, Judge),
    (ranks, reporter): (&dyn Ranks, &dyn Reporter),
) -> Result<(), Failure> {
    let bar = reporter.bar("judge", open.len());
    let of = |chunk: usize| &open[divided::places(chunk, AT_ONCE, open.len())];
    let work = |chunk: usize| {
        reporter.go_on()?;
        comparer.margins(pairs, of(chunk))
    };
    divided::in_turns(ranks, divided::chunks(open.len(), AT_ONCE), work, |chunk, margins| {
        let Some(log) = &mut log else { return Ok(()) };
        for (&index, choice) in of(chunk).iter().zip(Comparer::choices(pairs, of(chunk), margins)?) {
            record(log, (index, name, by), choice)?;
        }
        bar.inc(of(chunk).len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

fn record(log: &mut JudgementLog, (index, name, by): (usize, &str, Judge), choice: LabelChoice) -> Result<(), Failure> {
    let change = JudgementChange::Chosen(choice);
    Ok(log.append(&Judgement { index, labeller: name.to_owned(), by, change })?)
}

/// The start of a name as a labeller's name may have it.
fn plain_name(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(32).collect()
}

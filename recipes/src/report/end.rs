//! What training leaves for reports at its end.
use std::path::{Path, PathBuf};

use ::train::{Ending, write_whole};
use serde_json::{Value, json};

use super::{NAME, read, write};
use crate::summary::peak_memory;
use crate::trained::{Trained, TrainingStatus};
use crate::{Failure, Reporter};

/// Writes the page of a run that has ended, or was stopped. A page that can't be written is no reason to lose the run, so
/// that is only said.
pub(crate) fn of_trained(trained: &Trained, reporter: &dyn Reporter) {
    say(summarise(trained).and_then(|()| page(&trained.folder)), reporter);
}

/// The same for rounds, each of which has a page of its own.
pub(crate) fn of_rounds(folder: &Path, reporter: &dyn Reporter) {
    say(page(folder), reporter);
}

fn say(written: Result<(), Failure>, reporter: &dyn Reporter) {
    if let Err(failure) = written {
        reporter.notice(&format!("the report is not written: {failure}"));
    }
}

/// Writes what else is known of a run at its end.
fn summarise(trained: &Trained) -> Result<(), Failure> {
    let steps = trained.outcome.as_ref().map_or(0, |outcome| outcome.steps);
    let finished = trained.status == TrainingStatus::Finished;
    let is_early = trained.outcome.as_ref().is_some_and(|outcome| outcome.ending == Ending::StoppedEarly);
    let summary = json!({
        "finished": finished, "steps": steps, "ended_early": is_early, "peak_memory_mb": peak_memory(), "table": trained.table
    });
    write_summary(&trained.folder, &summary)
}

/// What a run that has finished has said at its end.
pub(crate) struct FinishedBefore {
    pub(crate) steps: usize,
    /// Whether evaluations had stopped improving.
    pub(crate) is_early: bool,
    pub(crate) table: String,
}

/// Whether the run of a folder has finished: all that comes after its last step was done too.
///
/// # Errors
/// The summary of its end is damaged.
pub(crate) fn finished(folder: &Path) -> Result<Option<FinishedBefore>, Failure> {
    let Some(summary) = summary(folder)?.filter(|_| folder.join("model").is_dir()) else { return Ok(None) };
    let is_finished = summary["finished"] == true;
    let table = summary["table"].as_str().unwrap_or_default().to_owned();
    let steps = summary["steps"].as_u64().unwrap_or(0) as usize;
    let is_early = summary["ended_early"] == true;
    Ok(is_finished.then_some(FinishedBefore { steps, is_early, table }))
}

/// Whether a run has its final model; one that was made longer has it only at its new end.
///
/// # Errors
/// The summary of its end is damaged.
pub(crate) fn is_finished(folder: &Path) -> Result<bool, Failure> {
    if !folder.join("model").is_dir() {
        return Ok(false);
    }
    // Runs of earlier versions do not say.
    Ok(summary(folder)?.is_none_or(|summary| summary["finished"] != false))
}

/// Notes that a run goes on although it has finished once.
pub(crate) fn reopen(folder: &Path) -> Result<(), Failure> {
    let report = folder.join("report");
    std::fs::create_dir_all(&report).map_err(Failure::of_file(&report))?;
    write_summary(folder, &json!({ "finished": false }))
}

fn summary(folder: &Path) -> Result<Option<Value>, Failure> {
    let path = summary_of(folder);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(Failure::of_file(&path))?;
    let read = serde_json::from_str(&text).map_err(|e| Failure::from(e).within(&path.display().to_string()));
    read.map(Some)
}

fn write_summary(folder: &Path, summary: &Value) -> Result<(), Failure> {
    let text = format!("{summary:#}\n");
    Ok(write_whole(&summary_of(folder), |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

fn summary_of(folder: &Path) -> PathBuf {
    folder.join("report").join("summary.json")
}

fn page(folder: &Path) -> Result<(), Failure> {
    write(&folder.join(NAME), &read(&[folder.to_owned()], true)?.html)
}

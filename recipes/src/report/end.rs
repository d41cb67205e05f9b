//! What training leaves for reports at its end.
use std::path::Path;

use ::train::write_whole;
use serde_json::json;

use super::{NAME, read, write};
use crate::summary::peak_memory;
use crate::trained::Trained;
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
    let summary = json!({ "peak_memory_mb": peak_memory(), "table": trained.table });
    let path = trained.folder.join("report").join("summary.json");
    Ok(write_whole(&path, |file| std::io::Write::write_all(file, format!("{summary:#}\n").as_bytes()))?)
}

fn page(folder: &Path) -> Result<(), Failure> {
    write(&folder.join(NAME), &read(&[folder.to_owned()], true)?.html)
}

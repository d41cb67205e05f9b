//! `report`: pages about runs.
mod end;

use std::path::{Path, PathBuf};

use ::report::{ReferenceRun, Report, Run, compare};
use ::train::{can_write, write_whole};

use crate::embedded::find;
use crate::settings::ReportSettings;
use crate::{Call, Failure};

pub(crate) use self::end::{finished, is_finished, of_rounds, of_trained, reopen};

/// The page's name in a run's folder.
const NAME: &str = "report.html";

/// Writes a page about a run, or about several beside each other, and returns where it is: `run.out`, else `report.html`
/// in the folder of a single run, else in the current folder.
///
/// # Errors
/// No run is named, or one twice; a folder is not that of a run; a file in it is damaged, or the page can't be written.
/// Nothing is written then.
pub fn report(call: Call<'_, impl ReportSettings>, folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    let call = call.untyped();
    let values = &call.values;
    if folders.is_empty() {
        return Err(Failure::usage("report on what? Name the folder of a run, or several to compare them"));
    }
    let whole: Vec<PathBuf> =
        folders.iter().map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.clone())).collect();
    if let Some(twice) = (0..whole.len()).find(|&at| whole[..at].contains(&whole[at])) {
        return Err(Failure::usage(format!("{} is named twice", folders[twice].display())));
    }
    let out = match (values.run.out(), folders) {
        (Some(out), _) => PathBuf::from(out),
        (None, [folder]) => folder.join(NAME),
        (None, _) => PathBuf::from(NAME),
    };
    if let Some(folder) = values.report.svg().map(Path::new).filter(|folder| folder.is_file()) {
        let text = format!("`report.svg` {} is a file; name a folder for the plots", folder.display());
        return Err(Failure::failed(text));
    }
    let report = read(folders, values.report.overlay())?;
    can_write(&out)?;
    if let Some(folder) = values.report.svg().map(Path::new) {
        std::fs::create_dir_all(folder).map_err(|e| Failure::failed(format!("{}: {e}", folder.display())))?;
        for (name, svg) in &report.plots {
            write(&folder.join(name), svg)?;
        }
    }
    write(&out, &report.html)?;
    Ok(out)
}

/// The report of runs, with the reference run of their embedded problem behind them if that is asked for.
fn read(folders: &[PathBuf], has_overlay: bool) -> Result<Report, Failure> {
    let mut runs = Vec::new();
    for folder in folders {
        runs.extend(Run::read(folder)?);
    }
    name_apart(&mut runs);
    let reference = if has_overlay { reference_run(&runs)? } else { None };
    Ok(compare(&runs, reference.as_ref())?)
}

/// Calls runs by their paths where two have the same name.
fn name_apart(runs: &mut [Run]) {
    let names: Vec<String> = runs.iter().map(|run| run.name().to_owned()).collect();
    for run in runs {
        if names.iter().filter(|name| *name == run.name()).count() > 1 {
            let path = run.folder().display().to_string();
            *run = run.clone().named(path);
        }
    }
}

/// The reference run of the embedded problem that all runs learn.
fn reference_run(runs: &[Run]) -> Result<Option<ReferenceRun>, Failure> {
    let data = |run: &Run| run.setting("data.data").map(|data| data.trim_matches('"').to_owned());
    let Some(name) = runs.first().and_then(data).filter(|name| runs.iter().all(|run| data(run).as_ref() == Some(name)))
    else {
        return Ok(None);
    };
    let Some(problem) = find(&name) else { return Ok(None) };
    Ok(Some(ReferenceRun::parse("reference run", problem.reference_run)?))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(write_whole(path, |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::problems;

    #[test]
    fn every_embedded_problem_has_a_reference_run() {
        for problem in problems() {
            let run = ReferenceRun::parse(problem.name, problem.reference_run).unwrap();
            assert!(run.has_records(), "{}", problem.name);
        }
    }
}

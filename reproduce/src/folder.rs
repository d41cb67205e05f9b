//! The folder of results.
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use recipes::Failure;
use serde::{Deserialize, Serialize};
use train::write_whole;

use crate::{Figure, FigureResult, Result, Setup, page, runs};

/// The file that says what a folder's results were measured with.
const SETUP: &str = "setup.json";

/// The settings of all results of a folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    scale: String,
    seed: u64,
    /// Every size of this version of the program.
    sizes: String,
}

/// Makes the folder, or opens one with the same settings, and locks it until the lock is dropped.
pub(crate) fn open(setup: &Setup<'_>) -> Result<File> {
    let path = setup.out.join(SETUP);
    let kept = Kept { scale: setup.scale.word().to_owned(), seed: setup.seed, sizes: format!("{:?}", setup.sizes()) };
    let shown = setup.out.display();
    if setup.out.is_file() {
        return Err(Failure::failed(format!("`run.out` {shown} is a file; name a folder")));
    }
    if path.is_file() {
        let known: Kept = runs::read(&path)?;
        if known != kept {
            let what = if known.scale != kept.scale {
                format!("its scale is {}, not {}", known.scale, kept.scale)
            } else if known.seed != kept.seed {
                format!("its seed is {}, not {}", known.seed, kept.seed)
            } else {
                "its sizes are those of another version".to_owned()
            };
            let text = format!("{shown} holds results of other settings ({what}); name another folder with `run.out`");
            return Err(Failure::failed(text));
        }
    } else {
        if holds_something(&setup.out)? {
            let text = format!("{shown} exists and is no reproduction's; name another folder with `run.out`");
            return Err(Failure::failed(text));
        }
        let folder = setup.out.join("runs");
        fs::create_dir_all(&folder).map_err(|e| Failure::failed(format!("{}: {e}", folder.display())))?;
        runs::write(&path, &kept)?;
    }
    train::remove_leftovers(&setup.out)?;
    let file = File::open(&path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
            "{shown}: another process works in this folder; wait for it, or stop it first"
        ))),
        Err(TryLockError::Error(error)) => Err(Failure::failed(format!("{}: {error}", path.display()))),
    }
}

fn holds_something(folder: &Path) -> Result<bool> {
    if !folder.exists() {
        return Ok(false);
    }
    let mut entries = fs::read_dir(folder).map_err(|e| Failure::failed(format!("{}: {e}", folder.display())))?;
    Ok(entries.next().is_some())
}

fn file(setup: &Setup<'_>, figure: Figure) -> PathBuf {
    setup.out.join(format!("{figure}.json"))
}

/// The result of a figure, if it is there.
pub(crate) fn read(setup: &Setup<'_>, figure: Figure) -> Result<Option<FigureResult>> {
    let path = file(setup, figure);
    if path.is_file() { runs::read(&path).map(Some) } else { Ok(None) }
}

/// Writes the result of a figure and its charts.
pub(crate) fn write(setup: &Setup<'_>, result: &FigureResult) -> Result<()> {
    for chart in &result.charts {
        let svg = page::chart(chart).to_svg()?;
        let path = setup.out.join(format!("{}.svg", chart.name));
        write_whole(&path, |file| std::io::Write::write_all(file, svg.as_bytes()))?;
    }
    runs::write(&file(setup, result.figure), result)
}

/// Writes the page of all results that there are.
pub(crate) fn write_page(setup: &Setup<'_>) -> Result<PathBuf> {
    let mut results = Vec::new();
    for figure in Figure::ALL {
        results.extend(read(setup, figure)?);
    }
    let (path, text) = (setup.out.join("index.html"), page::page(setup, &results)?);
    write_whole(&path, |file| std::io::Write::write_all(file, text.as_bytes()))?;
    Ok(path)
}

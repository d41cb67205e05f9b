//! Files that are there whole or not at all.
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tensorfile::{settle, settle_name};

use crate::TrainError;

/// Writes a file atomically: to a temporary name beside it, synced, then renamed.
pub fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), TrainError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let temporary = shared(tempfile::Builder::new().prefix(BUILDING), 0o666).tempfile_in(folder)?;
        let (file, name) = temporary.into_parts();
        let mut writer = BufWriter::new(file);
        fill(&mut writer)?;
        writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        name.persist(path).map_err(|e| e.error)
    };
    write().map_err(|e| TrainError::io(path)(plain(e)))?;
    settle_name(path).map_err(TrainError::io(path))
}

/// Writes lines atomically, as [`write_whole`].
pub fn write_lines(path: &Path, lines: impl IntoIterator<Item = impl Display>) -> Result<(), TrainError> {
    write_whole(path, |file| lines.into_iter().try_for_each(|line| writeln!(file, "{line}")))
}

/// Checks that [`write_whole`] can write `path`, before the work whose result it will hold.
///
/// # Errors
/// It is a folder, or its parent does not exist or is not writable.
pub fn can_write(path: &Path) -> Result<(), TrainError> {
    if path.is_dir() {
        return Err(TrainError::IsFolder(path.to_owned()));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = tempfile::Builder::new().prefix(BUILDING).tempfile_in(folder);
    probe.map(drop).map_err(|e| TrainError::io(path)(plain(e)))
}

/// The system's error without the temporary file name that tempfile adds.
fn plain(error: std::io::Error) -> std::io::Error {
    match error.to_string().split_once(" at path \"") {
        Some((reason, _)) => std::io::Error::new(error.kind(), reason),
        None => error,
    }
}

/// Prefix of temporary names; files left by a killed process are removed on resume.
const BUILDING: &str = ".building-";

/// End of the temporary name of a folder that is being replaced.
const OLD: &str = ".old";

pub(crate) fn temporary_folder(parent: &Path) -> Result<tempfile::TempDir, TrainError> {
    shared(tempfile::Builder::new().prefix(BUILDING), 0o777)
        .tempdir_in(parent)
        .map_err(|e| TrainError::io(parent)(plain(e)))
}

/// Applies the user's default permissions: temporary files are private, finished ones should be as readable as other
/// files.
fn shared<'a, 'p, 's>(builder: &'a mut tempfile::Builder<'p, 's>, mode: u32) -> &'a mut tempfile::Builder<'p, 's> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Syncs a finished folder and moves it into place. The old one is kept until then under a temporary name, and is back in its place
/// if the system refuses, nothing else being left, or in [`remove_leftovers`] if the process is killed in between.
pub(crate) fn replace(building: tempfile::TempDir, target: &Path) -> Result<(), TrainError> {
    settle(building.path()).map_err(TrainError::Unsettled)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let old = target.with_file_name(format!("{BUILDING}{name}{OLD}"));
    let replaces = target.exists();
    if replaces {
        if old.exists() {
            fs::remove_dir_all(&old).map_err(TrainError::io(&old))?;
        }
        fs::rename(target, &old).map_err(TrainError::io(target))?;
    }
    if let Err(error) = fs::rename(building.path(), target) {
        if replaces {
            // The first error is the one to report.
            let _ = fs::rename(&old, target);
        }
        return Err(TrainError::io(target)(error));
    }
    // What it would remove has gone to its place.
    let _ = building.keep();
    settle_name(target).map_err(TrainError::io(target))?;
    if replaces { fs::remove_dir_all(&old).map_err(TrainError::io(&old)) } else { Ok(()) }
}

/// Writes a new folder atomically: `fill` writes into a folder of a temporary name beside it, which is then renamed. The
/// folder that it is to be in is made if it is missing.
///
/// # Errors
/// Those of `fill`; the folder can't be made or renamed. Nothing is left then.
pub fn write_folder<E: From<TrainError>>(target: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(TrainError::io(parent))?;
    let building = temporary_folder(parent)?;
    fill(building.path())?;
    Ok(replace(building, target)?)
}

/// Removes unfinished files left by a killed process, under the temporary names of this crate and of `datasets`; a folder that was
/// about to be replaced gets its name back.
///
/// # Errors
/// The folder is unreadable, or something in it can't be removed.
pub fn remove_leftovers(parent: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(parent).map_err(TrainError::io(parent))? {
        let path = entry.map_err(TrainError::io(parent))?.path();
        if let Some(target) = replaced(&path).filter(|target| !target.exists()) {
            fs::rename(&path, &target).map_err(TrainError::io(&path))?;
        } else if is_leftover(&path) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(TrainError::io(&path))?;
        }
    }
    Ok(())
}

/// The name of a folder that was being replaced.
fn replaced(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(name.strip_prefix(BUILDING)?.strip_suffix(OLD)?))
}

/// Whether a path has a temporary name of ours. A writer of folders may put its own unfinished one beside ours, with one more dot.
pub(crate) fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    name.starts_with(BUILDING) || name.strip_prefix('.').is_some_and(|n| n.starts_with(BUILDING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_being_replaced_when_the_process_was_killed_is_back_in_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        for name in [".building-step-3.old", ".building-step-4.old", "step-4", ".building-x1y2"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("weights"), name).unwrap();
        }
        remove_leftovers(parent.path()).unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
        let weights = |name: &str| fs::read_to_string(path(name).join("weights")).unwrap();
        assert_eq!((weights("step-3"), weights("step-4")), (".building-step-3.old".into(), "step-4".into()));
    }

    #[test]
    fn a_folder_that_could_not_be_replaced_is_back_in_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("weights"), "old").unwrap();
        let building = temporary_folder(parent.path()).unwrap();
        // What is not there can't be renamed.
        fs::remove_dir(building.path()).unwrap();
        replace(building, &target).unwrap_err();
        assert_eq!(fs::read_to_string(target.join("weights")).unwrap(), "old");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "nothing temporary is left");
    }
}

//! Folders that outlive a loss of power.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::TensorFileError;

/// Syncs the files and folders of a finished folder, and makes files that only their owner may read as readable as new ones are (some
/// writers keep a temporary file's mode): it may then be renamed to its place. [`settle_name`] is for what comes after that.
///
/// # Errors
/// Something in it can't be read or synced.
pub fn settle(folder: &Path) -> Result<(), TensorFileError> {
    let mode = mode_of_new_files(folder)?;
    settle_inside(folder, mode)
}

fn settle_inside(folder: &Path, mode: Option<u32>) -> Result<(), TensorFileError> {
    let entries = fs::read_dir(folder).map_err(|error| TensorFileError::io(folder, error))?;
    for entry in entries {
        let path = entry.map_err(|error| TensorFileError::io(folder, error))?.path();
        if path.is_dir() && !path.is_symlink() {
            settle_inside(&path, mode)?;
        } else if path.is_file() {
            settle_file(&path, mode).map_err(|error| TensorFileError::io(&path, error))?;
        }
    }
    sync_folder(folder).map_err(|error| TensorFileError::io(folder, error))
}

/// Syncs the folder that a path is in, so that the path stays after a loss of power.
///
/// # Errors
/// The folder can't be synced.
pub fn settle_name(path: &Path) -> io::Result<()> {
    sync_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn settle_file(path: &Path, mode: Option<u32>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = File::open(path)?;
    let found = file.metadata()?.permissions();
    if let Some(mode) = mode.filter(|mode| found.mode() & 0o777 == 0o600 && mode & 0o777 != 0o600) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    file.sync_all()
}

#[cfg(not(unix))]
fn settle_file(path: &Path, _: Option<u32>) -> io::Result<()> {
    // A file that is only read can't be synced here.
    fs::OpenOptions::new().write(true).open(path)?.sync_all()
}

/// The mode that this process gives new files, which it can't ask for otherwise.
#[cfg(unix)]
fn mode_of_new_files(folder: &Path) -> Result<Option<u32>, TensorFileError> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(".mode");
    let mode = || {
        let mode = File::create_new(&path)?.metadata()?.permissions().mode();
        fs::remove_file(&path)?;
        Ok(mode)
    };
    mode().map(Some).map_err(|error| TensorFileError::io(&path, error))
}

#[cfg(not(unix))]
fn mode_of_new_files(_: &Path) -> Result<Option<u32>, TensorFileError> {
    Ok(None)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems have no such thing, and nothing can be done there.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn private_files_become_as_readable_as_others_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("unet");
        fs::create_dir(&inside).unwrap();
        let [weights, config, program] =
            [inside.join("weights"), folder.path().join("config"), folder.path().join("run")];
        for path in [&weights, &config, &program] {
            fs::write(path, "x").unwrap();
        }
        fs::set_permissions(&weights, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        settle(folder.path()).unwrap();
        assert_eq!((mode(&weights), mode(&program)), (mode(&config), 0o700));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        settle_name(&weights).unwrap();
        let missing = folder.path().join("missing");
        assert!(settle(&missing).unwrap_err().to_string().contains("missing"));
    }
}

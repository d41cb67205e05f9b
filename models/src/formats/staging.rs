//! Atomic writes of folders.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::ModelError;

/// A folder under construction beside its target.
///
/// It is removed when dropped before [`Staging::publish`].
#[derive(Debug)]
pub(crate) struct Staging {
    target: PathBuf,
    folder: PathBuf,
}

impl Staging {
    /// Starts a folder that will become `target`.
    pub(crate) fn new(target: &Path) -> Result<Self, ModelError> {
        if target.exists() && !target.is_dir() {
            return Err(ModelError::format(target, "a model folder is to be written here, and this is a file"));
        }
        let folder = beside(target, "partial")?;
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|e| ModelError::io(parent, e))?;
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| ModelError::io(&folder, e))?;
        }
        fs::create_dir(&folder).map_err(|e| ModelError::io(&folder, e))?;
        Ok(Self { target: target.to_path_buf(), folder })
    }

    /// Path of a file in the unfinished folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a whole file; a name with a `/` is in a subfolder.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| ModelError::io(folder, e))?;
        }
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(|e| ModelError::io(&path, e))
    }

    /// Syncs the folder and renames it to its target, replacing an existing one.
    pub(crate) fn publish(self) -> Result<(), ModelError> {
        tensorfile::settle(&self.folder)?;
        let old = beside(&self.target, "old")?;
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &old).map_err(|e| ModelError::io(&self.target, e))?;
        }
        if let Err(e) = fs::rename(&self.folder, &self.target) {
            if replaces {
                // Best effort: the first error is the one to report.
                let _ = fs::rename(&old, &self.target);
            }
            return Err(ModelError::io(&self.target, e));
        }
        tensorfile::settle_name(&self.target).map_err(|e| ModelError::io(&self.target, e))?;
        if replaces { fs::remove_dir_all(&old).map_err(|e| ModelError::io(&old, e)) } else { Ok(()) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `publish` there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A hidden sibling of `target`; the process id separates concurrent writers.
fn beside(target: &Path, purpose: &str) -> Result<PathBuf, ModelError> {
    let Some(name) = target.file_name() else {
        return Err(ModelError::format(target, "a folder name is expected"));
    };
    Ok(target.with_file_name(format!(".{}.{purpose}-{}", name.to_string_lossy(), std::process::id())))
}

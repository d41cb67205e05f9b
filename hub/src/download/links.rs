//! Snapshots and revisions in the cache.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::Place;
use super::listing::Entry;
use crate::HubError;
use crate::name::is_commit;
use crate::whole::LISTS;

/// Makes the files of a commit appear in its snapshot, all at once where there is none yet.
pub(super) fn publish(place: &Place, files: &[Entry]) -> Result<(), HubError> {
    if place.snapshot.is_dir() {
        return files.iter().try_for_each(|entry| link(place, &place.snapshot, entry));
    }
    let staging = place.snapshot.with_file_name(format!(".{}-{}", place.commit, std::process::id()));
    if staging.exists() {
        fs::remove_dir_all(&staging).map_err(|error| HubError::of(&staging, error))?;
    }
    if let Err(error) = files.iter().try_for_each(|entry| link(place, &staging, entry)) {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&staging);
        return Err(error);
    }
    match fs::rename(&staging, &place.snapshot) {
        Ok(()) => Ok(()),
        // Another program has made it meanwhile.
        Err(_) if place.snapshot.is_dir() => {
            let _ = fs::remove_dir_all(&staging);
            files.iter().try_for_each(|entry| link(place, &place.snapshot, entry))
        }
        Err(error) => {
            let _ = fs::remove_dir_all(&staging);
            Err(HubError::of(&place.snapshot, error))
        }
    }
}

/// Links a file of a snapshot to its content, relative to itself so that the cache can be moved.
fn link(place: &Place, snapshot: &Path, entry: &Entry) -> Result<(), HubError> {
    let path = snapshot.join(&entry.path);
    if path.exists() {
        return Ok(());
    }
    let made = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // A link that leads nowhere is left by a blob that was removed.
        if path.is_symlink() {
            fs::remove_file(&path)?;
        }
        let up = "../".repeat(2 + entry.path.matches('/').count());
        join(&PathBuf::from(format!("{up}blobs/{}", entry.checksum)), &place.blobs.join(&entry.checksum), &path)
    };
    match made() {
        Err(_) if path.exists() => Ok(()),
        made => made.map_err(|error| HubError::of(&path, error)),
    }
}

#[cfg(unix)]
fn join(relative: &Path, _: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

#[cfg(not(unix))]
fn join(_: &Path, content: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(content, path).or_else(|_| fs::copy(content, path).map(|_| ()))
}

/// Keeps the paths of a commit's files, which never change. They are in a folder of our own: huggingface_hub takes a copy for
/// broken that has not all files of its list.
pub(super) fn write_list(place: &Place, files: &[Entry]) -> Result<(), HubError> {
    let files: Vec<&str> = files.iter().map(|entry| entry.path.as_str()).collect();
    let path = place.repository.join(LISTS).join(format!("{}.json", place.commit));
    write(place, &path, &serde_json::json!({ "files": files }).to_string())
}

/// Notes the commit of a branch or a tag.
pub(super) fn write_revision(place: &Place, revision: &str) -> Result<(), HubError> {
    if is_commit(revision) {
        return Ok(());
    }
    write(place, &place.repository.join("refs").join(revision), &place.commit)
}

/// Writes a file of the repository's folder, whole or not at all.
fn write(place: &Place, path: &Path, text: &str) -> Result<(), HubError> {
    let staging = place.repository.join(format!(".written-{}", std::process::id()));
    let written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&staging, text)?;
        fs::rename(&staging, path)
    };
    written().map_err(|error| {
        // The first error is the one to report.
        let _ = fs::remove_file(&staging);
        HubError::of(path, error)
    })
}

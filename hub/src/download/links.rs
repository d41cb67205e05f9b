//! Snapshots and revisions in the cache.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::Place;
use super::listing::Entry;
use crate::HubError;
use crate::name::is_commit;

/// Makes the files of a commit appear in its snapshot, all at once where there is none yet.
pub(super) fn publish(place: &Place, files: &[Entry]) -> Result<(), HubError> {
    if place.snapshot.is_dir() {
        return files.iter().try_for_each(|entry| link(place, &place.snapshot, entry));
    }
    let staging = place.snapshot.with_file_name(format!(".{}-{}", place.commit, std::process::id()));
    if staging.exists() {
        fs::remove_dir_all(&staging).map_err(|error| HubError::of(&staging, error))?;
    }
    files.iter().try_for_each(|entry| link(place, &staging, entry))?;
    match fs::rename(&staging, &place.snapshot) {
        Ok(()) => Ok(()),
        // Another program has made it meanwhile.
        Err(_) if place.snapshot.is_dir() => {
            let _ = fs::remove_dir_all(&staging);
            files.iter().try_for_each(|entry| link(place, &place.snapshot, entry))
        }
        Err(error) => Err(HubError::of(&place.snapshot, error)),
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

/// Notes that a commit has no such file, as huggingface_hub does.
pub(super) fn note_absence(place: &Place, file: &str) -> Result<(), HubError> {
    let folder = place.repository.join(".no_exist").join(&place.commit);
    let path = folder.join(file);
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, "")).map_err(|error| HubError::of(&path, error))
}

/// Notes the commit of a branch or a tag.
pub(super) fn write_revision(place: &Place, revision: &str) -> Result<(), HubError> {
    if is_commit(revision) {
        return Ok(());
    }
    let path = place.repository.join("refs").join(revision);
    let staging = place.repository.join(format!(".revision-{}", std::process::id()));
    let written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&staging, &place.commit)?;
        fs::rename(&staging, &path)
    };
    written().map_err(|error| HubError::of(&path, error))
}

//! Downloads into the cache.
//!
//! A branch is asked for its commit, and the commit for its files with their sizes and checksums. What is needed of them arrives
//! in `blobs/CHECKSUM.incomplete`, which a later start goes on with, is checked, and gets its name. When all have theirs, the
//! snapshot of links appears at once, and after it the branch in `refs`: whoever ends the program leaves nothing half done.

mod address;
mod client;
mod digest;
mod file;
mod links;
mod listing;

use std::fs;

use self::client::Client;
use self::file::{Meter, Place, fetch};
use self::listing::{Entry, commit_of, files_of};
use crate::needed::needed;
use crate::{Hub, HubError, Kind, Name, Progress, Snapshot};

/// Downloads what is needed of a repository and is not in the cache.
pub(crate) fn download(hub: &Hub, name: &Name, progress: &mut dyn Progress) -> Result<Snapshot, HubError> {
    let client = Client::new(hub, name)?;
    let commit = match hub.cache.commit(name) {
        Some(commit) => commit,
        None => commit_of(&client)?,
    };
    let all = files_of(&client, &commit)?;
    let chosen = chosen(&client, &all)?;
    let place = Place::new(&hub.cache, name, &commit);
    for folder in [&place.blobs, &place.locks] {
        fs::create_dir_all(folder).map_err(|error| HubError::of(folder, error))?;
    }
    let missing: Vec<&Entry> = chosen.iter().filter(|entry| !place.has(entry)).collect();
    if !missing.is_empty() {
        let arrived = missing.iter().map(|entry| place.arrived(entry)).sum();
        progress.begins(name, client.host(), missing.len(), (arrived, missing.iter().map(|entry| entry.size).sum()));
        let mut meter = Meter::new(arrived, progress);
        let ended = missing.iter().try_for_each(|entry| fetch(&client, &place, entry, &mut meter));
        progress.ends();
        ended?;
    }
    links::publish(&place, &chosen)?;
    links::write_list(&place, &all)?;
    links::write_revision(&place, name.revision_or_main())?;
    Ok(Snapshot { name: name.clone(), commit, folder: place.snapshot })
}

/// The files that are needed; those that hold nothing to read are an error.
fn chosen(client: &Client<'_>, all: &[Entry]) -> Result<Vec<Entry>, HubError> {
    let name = client.name();
    let paths: Vec<&str> = all.iter().map(|entry| entry.path.as_str()).collect();
    let needed = needed(name, &paths);
    let has = |ending: &str| needed.iter().any(|path| path.ends_with(ending));
    let is_readable = match (name.kind, &name.inside) {
        (Kind::Model, None) => has(".safetensors") || has(".gguf"),
        (Kind::Model, Some(_)) | (Kind::Dataset, _) => !needed.is_empty(),
    };
    if is_readable {
        return Ok(all.iter().filter(|entry| needed.contains(&entry.path.as_str())).cloned().collect());
    }
    let n_of = |ending: &str| paths.iter().filter(|path| path.ends_with(ending)).count();
    let wanted = match (&name.inside, name.kind) {
        (Some(inside), _) => format!("{inside} that could be read"),
        (None, Kind::Dataset) => format!(
            "file of records (.jsonl, .json, .csv, .parquet and the like); the hub may have made some, as in \
             {}@refs/convert/parquet",
            name.repository
        ),
        (None, Kind::Model) if n_of(".gguf") > 1 => {
            format!("safetensors, and several GGUF files: name one, as in {}/FILE.gguf", name.repository)
        }
        (None, Kind::Model) if n_of(".safetensors") > 0 => {
            format!(
                "weights of a usual name (model.safetensors and the like): name a file, as in {}/FILE",
                name.repository
            )
        }
        (None, Kind::Model) => "weights as safetensors or GGUF, which alone are read".to_owned(),
    };
    // Weights of other formats tell most about why there is nothing.
    let is_telling =
        |path: &&&str| [".gguf", ".bin", ".pt", ".pth", ".safetensors"].iter().any(|ending| path.ends_with(ending));
    let telling: Vec<String> = paths.iter().filter(is_telling).map(|path| (*path).to_owned()).collect();
    let there = if telling.is_empty() { paths.iter().map(|path| (*path).to_owned()).collect() } else { telling };
    Err(HubError::Nothing { name: name.to_string(), wanted, there })
}

/// The checksum of some bytes, of the form that `like` has.
#[cfg(test)]
pub(crate) fn checksum(like: &str, bytes: &[u8]) -> String {
    let mut digest = digest::Digest::like(like, bytes.len() as u64);
    digest.update(bytes);
    digest.finish()
}

//! What can go wrong.
use std::io;
use std::path::PathBuf;

use crate::Kind;

/// Why something is not here.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub has no such repository, or does not show it.
    #[error("{name}: there is no such path here, and {host} has no {} of that name, or shows it to nobody without the right \
             token{}", kind.word(), listed("; in the cache are", near))]
    Unknown {
        /// The name.
        name: String,
        /// What was sought.
        kind: Kind,
        /// The address of the hub.
        host: String,
        /// Names in the cache that are near.
        near: Vec<String>,
    },
    /// The cache does not have it, and the hub is not asked.
    #[error("{name}: there is no such path here, the cache {} has no {} of that name, and {why}{}", cache.display(),
            kind.word(), listed("; the cache has", there))]
    Uncached {
        /// The name.
        name: String,
        /// What was sought.
        kind: Kind,
        /// The folder of the cache.
        cache: PathBuf,
        /// Why the hub is not asked.
        why: &'static str,
        /// What the cache has of this kind, the nearest names first.
        there: Vec<String>,
    },
    /// The copy in the cache is not whole, and the hub is not asked.
    #[error("{name}: its copy in the cache, {}, lacks {what}, and {why}", folder.display())]
    Lacking {
        /// The name.
        name: String,
        /// The folder of the copy.
        folder: PathBuf,
        /// What it lacks.
        what: String,
        /// Why the hub is not asked.
        why: String,
    },
    /// The hub knows the repository, and the user may not read it.
    #[error("{name}: {reason}")]
    Refused {
        /// The name.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{name}: the {} {repository} on {host} has no revision {revision}", kind.word())]
    NoRevision {
        /// The name.
        name: String,
        /// Its kind.
        kind: Kind,
        /// The repository.
        repository: String,
        /// The revision that it does not have.
        revision: String,
        /// The address of the hub.
        host: String,
    },
    /// The repository has nothing that could be read here.
    #[error("{name}: the repository has no {wanted}{}", listed("; it has", there))]
    Nothing {
        /// The name.
        name: String,
        /// What was sought.
        wanted: String,
        /// Some of its files.
        there: Vec<String>,
    },
    /// The server gives no usable reply.
    #[error("{name}: {address}: {message}")]
    Server {
        /// The name.
        name: String,
        /// What was asked for.
        address: String,
        /// What came back.
        message: String,
    },
    /// What arrived is not the file that the hub lists.
    #[error("{name}: {file} arrived damaged twice: its {digest} is {found}, not {expected}; what arrived is discarded")]
    Damaged {
        /// The name.
        name: String,
        /// The file in the repository.
        file: String,
        /// The kind of checksum.
        digest: &'static str,
        /// The checksum that the hub lists.
        expected: String,
        /// The checksum of what arrived.
        found: String,
    },
    /// The disk is full.
    #[error("{}: the disk is full; what has arrived is kept, and the same command goes on from there (another cache: HF_HOME)",
            path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// A file of the cache can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The settings of the connection can't be used.
    #[error("{0}")]
    Connection(String),
}

/// Some names behind a text, which is left out where there are none.
fn listed(before: &str, names: &[String]) -> String {
    const SHOWN: usize = 6;
    match names {
        [] => String::new(),
        few if few.len() <= SHOWN => format!("{before} {}", few.join(", ")),
        many => format!("{before} {} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

#[cfg(feature = "download")]
impl HubError {
    /// An error of a file of the cache.
    pub(crate) fn of(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, source },
        }
    }
}

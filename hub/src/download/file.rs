//! One file, from the hub into the cache.
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::client::{Client, Trouble, header};
use super::digest::Digest;
use super::listing::Entry;
use crate::{Cache, HubError, Name, Progress};

/// Where the parts of a repository lie in the cache.
pub(super) struct Place {
    /// The folder of the repository.
    pub(super) repository: PathBuf,
    /// The files by their checksums.
    pub(super) blobs: PathBuf,
    /// The locks of those that download.
    pub(super) locks: PathBuf,
    /// The links to the files of a commit.
    pub(super) snapshot: PathBuf,
    /// The commit.
    pub(super) commit: String,
}

impl Place {
    pub(super) fn new(cache: &Cache, name: &Name, commit: &str) -> Self {
        let repository = cache.folder().join(name.folder());
        Self {
            blobs: repository.join("blobs"),
            locks: cache.folder().join(".locks").join(name.folder()),
            snapshot: repository.join("snapshots").join(commit),
            commit: commit.to_owned(),
            repository,
        }
    }

    /// Whether a file is there whole; another program may have another file of this name only if it was cut.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        fs::metadata(self.blobs.join(&entry.checksum)).is_ok_and(|found| found.len() == entry.size)
    }

    /// The bytes of a file that have arrived before.
    pub(super) fn arrived(&self, entry: &Entry) -> u64 {
        fs::metadata(self.incomplete(entry)).map_or(0, |found| found.len()).min(entry.size)
    }

    fn incomplete(&self, entry: &Entry) -> PathBuf {
        self.blobs.join(format!("{}.incomplete", entry.checksum))
    }
}

/// Counts what has arrived of all files.
pub(super) struct Meter<'p> {
    arrived: u64,
    progress: &'p mut dyn Progress,
}

impl<'p> Meter<'p> {
    pub(super) fn new(arrived: u64, progress: &'p mut dyn Progress) -> Self {
        Self { arrived, progress }
    }

    fn add(&mut self, bytes: u64) {
        self.arrived += bytes;
        self.progress.arrived(self.arrived);
    }

    fn take_back(&mut self, bytes: u64) {
        self.arrived = self.arrived.saturating_sub(bytes);
        self.progress.arrived(self.arrived);
    }
}

/// Downloads a file, from where an earlier download of it has ended, and gives it its name once its checksum is right.
///
/// # Errors
/// As [`Hub::get`](crate::Hub::get).
pub(super) fn fetch(client: &Client<'_>, place: &Place, entry: &Entry, meter: &mut Meter<'_>) -> Result<(), HubError> {
    let _lock = locked(place, entry, meter)?;
    if place.has(entry) {
        // Another program has brought it meanwhile.
        meter.add(entry.size.saturating_sub(place.arrived(entry)));
        return Ok(());
    }
    let path = place.incomplete(entry);
    let mut found = String::new();
    for _ in 0..2 {
        let mut part = Part::open(path.clone(), entry)?;
        let address = client.file(&place.commit, &entry.path);
        client.repeat(&address, || part.grow(client, &address, meter))?;
        found = part.finish()?;
        if found.eq_ignore_ascii_case(&entry.checksum) {
            let to = place.blobs.join(&entry.checksum);
            return fs::rename(&path, &to).map_err(|error| HubError::of(&to, error));
        }
        meter.take_back(entry.size);
        fs::remove_file(&path).map_err(|error| HubError::of(&path, error))?;
    }
    Err(HubError::Damaged {
        name: client.name().to_string(),
        file: entry.path.clone(),
        digest: Digest::name(&entry.checksum),
        expected: entry.checksum.clone(),
        found,
    })
}

/// Takes the lock of a file, the one that huggingface_hub takes.
fn locked(place: &Place, entry: &Entry, meter: &mut Meter<'_>) -> Result<File, HubError> {
    let path = place.locks.join(format!("{}.lock", entry.checksum));
    let of = |error| HubError::of(&path, error);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(of)?;
    match lock.try_lock() {
        // A file system without locks: the checksum finds what two programs do to one file.
        Ok(()) | Err(fs::TryLockError::Error(_)) => return Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            meter.progress.notice(&format!("another program is downloading {}; waiting for it", entry.path));
        }
    }
    lock.lock().map_err(of)?;
    Ok(lock)
}

/// What has arrived of a file.
struct Part<'e> {
    path: PathBuf,
    file: File,
    digest: Digest,
    len: u64,
    entry: &'e Entry,
}

/// The bytes that are read and written at once.
const PIECE: usize = 1 << 18;

impl<'e> Part<'e> {
    /// Opens what an earlier download has left, or an empty file.
    fn open(path: PathBuf, entry: &'e Entry) -> Result<Self, HubError> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(|error| HubError::of(&path, error))?;
        let digest = Digest::like(&entry.checksum, entry.size);
        let mut part = Self { path, file, digest, len: 0, entry };
        let mut piece = vec![0; PIECE];
        loop {
            let n = part.file.read(&mut piece).map_err(|error| HubError::of(&part.path, error))?;
            part.len += n as u64;
            if n == 0 {
                break;
            }
            part.digest.update(&piece[..n]);
        }
        if part.len > entry.size {
            part.empty()?;
        }
        Ok(part)
    }

    fn empty(&mut self) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| HubError::of(&self.path, error))?;
        (self.digest, self.len) = (Digest::like(&self.entry.checksum, self.entry.size), 0);
        Ok(())
    }

    /// Asks for what has not arrived yet, until all has.
    fn grow(&mut self, client: &Client<'_>, address: &str, meter: &mut Meter<'_>) -> Result<(), Trouble> {
        if self.len == self.entry.size {
            return Ok(());
        }
        let had = self.len;
        let mut reply = client.get(address, (had > 0).then_some(had))?;
        match reply.response.status().as_u16() {
            // The server sends all of it again.
            200 => {
                if self.len > 0 {
                    meter.take_back(self.len);
                    self.empty()?;
                }
            }
            206 => {
                let range = header(&reply.response, "content-range").unwrap_or_default();
                if !range.starts_with(&format!("bytes {had}-")) {
                    return Err(client
                        .strange(address, &format!("the rest from byte {had} was asked for, not `{range}`"))
                        .into());
                }
            }
            _ => return Err(client.explain(&reply)),
        }
        let before = self.len;
        let broken = self.read(reply.response.body_mut().as_reader(), meter)?;
        if self.len > self.entry.size {
            let text =
                format!("{} arrives with more than the {} bytes that the list says", self.entry.path, self.entry.size);
            self.empty()?;
            return Err(client.strange(address, &text).into());
        }
        if self.len == self.entry.size {
            return Ok(());
        }
        let text = format!("{} of {} bytes arrived{broken}", self.len, self.entry.size);
        Err(Trouble::Temporary { text, wait: None, has_progressed: self.len > before.max(had) })
    }

    /// Writes what arrives, up to a byte more than there may be. Returns how the connection broke.
    fn read(&mut self, mut from: impl Read, meter: &mut Meter<'_>) -> Result<String, HubError> {
        let mut piece = vec![0; PIECE];
        while self.len <= self.entry.size {
            let n = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => return Ok(format!(" ({error})")),
            };
            self.file.write_all(&piece[..n]).map_err(|error| HubError::of(&self.path, error))?;
            self.digest.update(&piece[..n]);
            self.len += n as u64;
            meter.add(n as u64);
        }
        Ok(String::new())
    }

    /// The checksum of the whole file, which is on the disk then.
    fn finish(self) -> Result<String, HubError> {
        self.file.sync_all().map_err(|error| HubError::of(&self.path, error))?;
        Ok(self.digest.finish())
    }
}

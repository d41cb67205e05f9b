//! Tokens of data sets, kept between runs.
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Dataset, Entry};
use crate::audit::Audit;
use crate::disk_buffer::SpoolWriter;
use crate::error::DatasetError;
use crate::holdout::PromptHash;
use crate::reading;
use crate::records::ReadOptions;
use crate::tokenise::Tokenise;

/// The version of the format; another one is another cache.
const MAGIC: &[u8; 8] = b"hdptok02";

/// Data below so many bytes is tokenised in the time that a cache takes.
const WORTH: u64 = 4 << 20;

/// Number of data sets that are kept, the newest.
const KEPT: usize = 16;

/// A folder of tokenised data sets, by the contents of their files, the tokeniser and the settings of reading.
///
/// # Format
/// A file has `hdptok02`, the key (32 bytes), the length of the audit as u64, the audit as JSON, the number of examples as
/// u64, for each its place among the tokens and the hash of its prompt as u64, the length of the tokens as u64 and the
/// tokens as they are in memory; last a BLAKE3 hash of all before it. Little-endian. Damaged files are made anew.
#[derive(Clone, Debug)]
pub struct TokenCache {
    folder: PathBuf,
    program: String,
    worth: u64,
}

impl TokenCache {
    /// A cache in `folder`, which need not exist. `program` names what tokenises, such as a version: other programs have
    /// entries of their own.
    pub fn new(folder: impl Into<PathBuf>, program: impl Into<String>) -> Self {
        Self { folder: folder.into(), program: program.into(), worth: WORTH }
    }

    /// Where the tokens of data are kept; `None` if it is not worth it.
    pub(super) fn entry(
        &self,
        path: &Path,
        options: &ReadOptions,
        tokenise: &Tokenise,
    ) -> Result<Option<CacheEntry>, DatasetError> {
        let shards = reading::shards(path, options.split.as_ref())?;
        let size: u64 = shards.files.iter().map(|file| fs::metadata(file).map_or(0, |found| found.len())).sum();
        if size < self.worth {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        let settings = format!("{} {options:?} {:?} {}", self.program, shards.part, shards.is_named);
        hasher.update(settings.as_bytes()).update(tokenise.identity()?.as_bytes());
        for file in &shards.files {
            let name = file.strip_prefix(path).ok().filter(|name| !name.as_os_str().is_empty()).unwrap_or(file);
            hasher.update(name.to_string_lossy().as_bytes()).update(content(file)?.as_bytes());
        }
        let key = hasher.finalize();
        let name = format!("{}.tokens", &key.to_hex()[..32]);
        Ok(Some(CacheEntry { file: self.folder.join(name), key }))
    }
}

/// A data set's file in the cache.
pub(super) struct CacheEntry {
    file: PathBuf,
    key: blake3::Hash,
}

impl CacheEntry {
    /// Reads the data set; `None` if there is no whole file of this key.
    pub(super) fn load(&self) -> Option<Dataset> {
        let file = File::open(&self.file).ok()?;
        read(file, &self.key).ok()
    }

    /// Writes a data set under a temporary name, renames it, and removes the oldest files beyond the number that is kept.
    pub(super) fn save(&self, data: &Dataset) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let file = tempfile::Builder::new().prefix(".building-").tempfile_in(folder)?;
        let mut writer = Hashing { inner: BufWriter::new(file), hasher: blake3::Hasher::new() };
        write(&mut writer, &self.key, data)?;
        let hash = writer.hasher.finalize();
        let mut file = writer.inner;
        file.write_all(hash.as_bytes())?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.file).map_err(|error| error.error)?;
        remove_oldest(folder)
    }
}

/// A writer that hashes what it writes.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write(to: &mut impl Write, key: &blake3::Hash, data: &Dataset) -> io::Result<()> {
    let audit = serde_json::to_vec(data.audit())?;
    to.write_all(MAGIC)?;
    to.write_all(key.as_bytes())?;
    to.write_all(&(audit.len() as u64).to_le_bytes())?;
    to.write_all(&audit)?;
    to.write_all(&(data.entries.len() as u64).to_le_bytes())?;
    for entry in data.entries.iter() {
        to.write_all(&entry.offset.to_le_bytes())?;
        to.write_all(&entry.prompt.bits().to_le_bytes())?;
    }
    to.write_all(&data.spool.size()?.to_le_bytes())?;
    data.spool.copy_to(to)
}

fn read(mut file: File, key: &blake3::Hash) -> io::Result<Dataset> {
    check(&mut file)?;
    let mut from = BufReader::with_capacity(1 << 20, file);
    let mut found = [0; 40];
    from.read_exact(&mut found)?;
    if &found[..8] != MAGIC || &found[8..] != key.as_bytes() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut audit = vec![0; number(&mut from)? as usize];
    from.read_exact(&mut audit)?;
    let audit: Audit = serde_json::from_slice(&audit)?;
    let n = number(&mut from)?;
    let entry = |_| Ok(Entry { offset: number(&mut from)?, prompt: PromptHash::from_bits(number(&mut from)?) });
    let entries: Vec<Entry> = (0..n).map(entry).collect::<io::Result<_>>()?;
    let mut left = number(&mut from)?;
    let (mut writer, mut bytes) = (SpoolWriter::new(), vec![0; 1 << 20]);
    while left > 0 {
        let n = left.min(bytes.len() as u64) as usize;
        from.read_exact(&mut bytes[..n])?;
        writer.write(&bytes[..n]).map_err(io::Error::other)?;
        left -= n as u64;
    }
    let (spool, fingerprint) = writer.finish().map_err(io::Error::other)?;
    Ok(Dataset { spool: Arc::new(spool), entries: entries.into(), audit: Arc::new(audit), fingerprint })
}

/// Checks the hash at the end of a file, and goes back to its start.
fn check(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let body = length.checked_sub(32).ok_or(io::ErrorKind::InvalidData)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(Read::take(&mut *file, body))?;
    let mut hash = [0; 32];
    file.read_exact(&mut hash)?;
    if *hasher.finalize().as_bytes() != hash {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.seek(SeekFrom::Start(0)).map(drop)
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The hash of a file's contents.
fn content(path: &Path) -> Result<blake3::Hash, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).map_err(io)?).map_err(io)?;
    Ok(hasher.finalize())
}

fn remove_oldest(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ending| ending == "tokens") {
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    files.sort();
    let n_old = files.len().saturating_sub(KEPT);
    files.into_iter().take(n_old).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tokenise;
    use super::super::{Opening, open_with};
    use super::*;

    const LINES: &str = r#"{"prompt":"qa","chosen":"yc","rejected":"ne"}
{"prompt":"qb","chosen":"yc","rejected":"na"}
"#;

    fn opened(path: &Path, cache: &TokenCache, max_length: usize) -> (Dataset, bool) {
        let opening = Opening { cache: Some(cache), ..Opening::default() };
        let opened = open_with(path, ReadOptions::default(), &tokenise(max_length), opening).unwrap();
        (opened.data, opened.is_from_cache)
    }

    #[test]
    fn the_second_start_reads_the_same_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        fs::write(&path, LINES).unwrap();
        let cache = TokenCache { worth: 0, ..TokenCache::new(folder.path().join("cache"), "this") };
        let (first, was_cached) = opened(&path, &cache, 16);
        assert!(!was_cached);
        let (second, was_cached) = opened(&path, &cache, 16);
        assert!(was_cached);
        assert_eq!((first.fingerprint(), first.audit()), (second.fingerprint(), second.audit()));
        let all = |data: &Dataset| data.iter().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(all(&first), all(&second));
        assert_eq!(first.hold_out(0.5, 1).unwrap().1.fingerprint(), second.hold_out(0.5, 1).unwrap().1.fingerprint());
        // Other settings, other contents and another program are other entries.
        assert!(!opened(&path, &cache, 15).1);
        assert!(!opened(&path, &TokenCache { program: "that".to_owned(), ..cache.clone() }, 16).1);
        fs::write(&path, LINES.replace("yc", "ye")).unwrap();
        assert!(!opened(&path, &cache, 16).1);
        let small = TokenCache::new(folder.path().join("cache"), "this");
        assert!(!opened(&path, &small, 16).1, "small files are not worth it");
    }

    #[test]
    fn damaged_files_are_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        fs::write(&path, LINES).unwrap();
        let cache = TokenCache { worth: 0, ..TokenCache::new(folder.path().join("cache"), "this") };
        let first = opened(&path, &cache, 16).0.fingerprint();
        let file = fs::read_dir(folder.path().join("cache")).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(7) {
            fs::write(&file, &whole[..at]).unwrap();
            assert!(!opened(&path, &cache, 16).1, "cut at {at}");
            let mut bent = whole.clone();
            bent[at] ^= 0x20;
            fs::write(&file, &bent).unwrap();
            let (data, was_cached) = opened(&path, &cache, 16);
            assert!(!was_cached && data.fingerprint() == first, "bent at {at}");
            assert!(opened(&path, &cache, 16).1, "made anew");
        }
    }
}

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use mdp::Steps;

use crate::{TrainError, write_whole};

const MAGIC: &[u8; 8] = b"hdporef1";

/// The identity of a cache: the model and data its numbers belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CacheKey {
    /// Fingerprint of the reference.
    pub model: String,
    /// Fingerprint of the data, including everything that affects tokenization.
    pub data: String,
}

impl CacheKey {
    /// Refuses a key of another model or other data; `owner` describes the file at `path`.
    pub(crate) fn check(&self, wanted: &Self, path: &Path, owner: &'static str) -> Result<(), TrainError> {
        for (what, found, wanted) in [("model", &self.model, &wanted.model), ("data", &self.data, &wanted.data)] {
            if found != wanted {
                let (path, found, wanted) = (path.to_owned(), short(found).to_owned(), short(wanted).to_owned());
                return Err(TrainError::OtherKey { path, owner, what, found, wanted });
            }
        }
        Ok(())
    }
}

/// The reference's log-probabilities by example, in memory and on disk.
///
/// # Format
/// `hdporef1`, the length of the key as u32, the key as JSON, the number of examples as u64; then for each example its
/// position as u64, its number of episodes as u32, for each its number of decisions as u32, and all numbers as f64;
/// last a BLAKE3 hash of all before it. Little-endian.
#[derive(Clone, Debug, Default)]
pub struct ReferenceCache {
    rows: BTreeMap<usize, Steps>,
}

impl ReferenceCache {
    /// The numbers of an example, if cached.
    pub fn get(&self, example: usize) -> Option<&Steps> {
        self.rows.get(&example)
    }

    /// Whether the numbers of an example are cached.
    pub fn contains(&self, example: usize) -> bool {
        self.rows.contains_key(&example)
    }

    /// Caches the numbers of an example.
    pub fn insert(&mut self, example: usize, numbers: Steps) {
        self.rows.insert(example, numbers);
    }

    /// Number of cached examples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the file atomically.
    pub fn save(&self, path: &Path, key: &CacheKey) -> Result<(), TrainError> {
        let key = serde_json::to_vec(key).map_err(|e| malformed(path, &e.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend((key.len() as u32).to_le_bytes());
        bytes.extend(key);
        bytes.extend((self.rows.len() as u64).to_le_bytes());
        for (&example, numbers) in &self.rows {
            bytes.extend((example as u64).to_le_bytes());
            bytes.extend((numbers.len() as u32).to_le_bytes());
            numbers.rows().for_each(|row| bytes.extend((row.len() as u32).to_le_bytes()));
            numbers.values().iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
        let hash = blake3::hash(&bytes);
        bytes.extend(hash.as_bytes());
        write_whole(path, |file| file.write_all(&bytes))
    }

    /// Reads a file that [`ReferenceCache::save`] wrote.
    ///
    /// # Errors
    /// The file has another format, is damaged, or belongs to another model or other data; the error names which.
    pub fn load(path: &Path, key: &CacheKey) -> Result<Self, TrainError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(TrainError::io(path))?;
        if bytes.len() < MAGIC.len() + 32 || &bytes[..MAGIC.len()] != MAGIC {
            return Err(malformed(path, "not a reference cache; delete it or name another file"));
        }
        let (body, hash) = bytes.split_at(bytes.len() - 32);
        if blake3::hash(body).as_bytes() != hash {
            return Err(malformed(path, "the reference cache is damaged; delete it to have it computed again"));
        }
        let mut cursor = &body[MAGIC.len()..];
        let damaged = || malformed(path, "the reference cache is damaged; delete it to have it computed again");
        let length = u32::from_le_bytes(take(&mut cursor).ok_or_else(damaged)?) as usize;
        let json = cursor.get(..length).ok_or_else(damaged)?;
        cursor = &cursor[length..];
        let found: CacheKey = serde_json::from_slice(json).map_err(|_| damaged())?;
        found.check(key, path, "reference cache")?;
        read_rows(cursor).map(|rows| Self { rows }).ok_or_else(damaged)
    }
}

fn read_rows(mut cursor: &[u8]) -> Option<BTreeMap<usize, Steps>> {
    let n = u64::from_le_bytes(take(&mut cursor)?);
    let mut rows = BTreeMap::new();
    for _ in 0..n {
        let example = u64::from_le_bytes(take(&mut cursor)?) as usize;
        let episodes = u32::from_le_bytes(take(&mut cursor)?);
        let lengths = (0..episodes).map(|_| take(&mut cursor).map(u32::from_le_bytes)).collect::<Option<Vec<_>>>()?;
        let mut steps = Steps::default();
        for length in lengths {
            let row = (0..length).map(|_| take(&mut cursor).map(f64::from_le_bytes)).collect::<Option<Vec<_>>>()?;
            steps.push(&row);
        }
        rows.insert(example, steps);
    }
    cursor.is_empty().then_some(rows)
}

fn take<const N: usize>(cursor: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = cursor.split_first_chunk::<N>()?;
    *cursor = rest;
    Some(*head)
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

fn malformed(path: &Path, what: &str) -> TrainError {
    TrainError::Malformed { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(model: &str) -> CacheKey {
        CacheKey { model: model.into(), data: "d".into() }
    }

    #[test]
    fn comes_back_to_the_bit_and_refuses_what_does_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut cache = ReferenceCache::default();
        cache.insert(7, [vec![-0.1, -2.0], vec![-1e-300]].iter().collect());
        cache.insert(2, [Vec::<f64>::new()].iter().collect());
        cache.save(&path, &key("a")).unwrap();
        let back = ReferenceCache::load(&path, &key("a")).unwrap();
        assert_eq!(back.rows, cache.rows);
        let other = ReferenceCache::load(&path, &key("b")).unwrap_err().to_string();
        assert!(other.contains("another model"), "{other}");
    }

    #[test]
    fn any_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let mut cache = ReferenceCache::default();
        cache.insert(0, [vec![-0.5; 3]].iter().collect());
        cache.save(&path, &key("a")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for i in 0..whole.len() {
            std::fs::write(&path, &whole[..i]).unwrap();
            assert!(ReferenceCache::load(&path, &key("a")).is_err(), "cut at {i}");
            let mut bent = whole.clone();
            bent[i] ^= 0x40;
            std::fs::write(&path, &bent).unwrap();
            assert!(ReferenceCache::load(&path, &key("a")).is_err(), "bent at {i}");
        }
    }
}

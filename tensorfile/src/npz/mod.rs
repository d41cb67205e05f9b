//! Arrays of numpy's `.npz`: a zip of `.npy` files, stored or deflated.

mod header;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use self::header::Header;
pub use self::write::{NpzValues, write_npz};
use crate::TensorFileError;

/// Maximum unpacked bytes per packed byte; deflate can't reach much more.
const MOST: u64 = 1100;

/// An open `.npz` file, of which names, types and shapes have been read and no numbers yet.
///
/// # References
/// <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
#[derive(Debug)]
pub struct NpzFile {
    path: PathBuf,
    archive: Mutex<ZipArchive<BufReader<File>>>,
    arrays: BTreeMap<String, Member>,
}

/// An array's place in the archive.
#[derive(Clone, Debug)]
struct Member {
    index: usize,
    header: Header,
}

impl NpzFile {
    /// Opens a file and reads the header of every array.
    ///
    /// Arrays of Python objects are listed and refused only when they are read, for a file may hold some that nobody asks for.
    ///
    /// # Errors
    /// Not a zip, an encrypted or otherwise compressed member, a damaged header, an array whose size is not that of its shape.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let file = File::open(path).map_err(|source| TensorFileError::io(path, source))?;
        let damaged = |error: &dyn std::fmt::Display| {
            TensorFileError::file(path, format!("not an .npz file (a zip of numpy's arrays): {error}"))
        };
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(&error))?;
        let mut arrays = BTreeMap::new();
        for index in 0..archive.len() {
            let member = archive.by_index_raw(index).map_err(|error| damaged(&error))?;
            let Some(name) = member.name().ok().and_then(|name| Some(name.strip_suffix(".npy")?.to_owned())) else {
                continue;
            };
            let (size, is_encrypted) = (member.size(), member.encrypted());
            if is_encrypted {
                return Err(TensorFileError::tensor(path, name, "is encrypted"));
            }
            if size > member.compressed_size().saturating_mul(MOST).saturating_add(1 << 20) {
                let reason = format!("claims to unpack to {size} bytes, more than {MOST} times its size");
                return Err(TensorFileError::tensor(path, name, reason));
            }
            let method = member.compression();
            let mut unpacked =
                unpacked(method, member).map_err(|reason| TensorFileError::tensor(path, &name, reason))?;
            let header =
                Header::read(&mut unpacked, size).map_err(|reason| TensorFileError::tensor(path, &name, reason))?;
            arrays.insert(name, Member { index, header });
        }
        Ok(Self { path: path.to_owned(), archive: Mutex::new(archive), arrays })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its arrays, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// Whether it has an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// The shape of an array.
    ///
    /// # Errors
    /// A missing array.
    pub fn shape(&self, name: &str) -> Result<&[usize], TensorFileError> {
        Ok(&self.member(name)?.header.shape)
    }

    /// Reads an array as f32, row-major whatever its order in the file.
    ///
    /// # Errors
    /// A missing array, one of Python objects, texts, complex numbers or records; damaged data.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, TensorFileError> {
        self.read(name, |number| number as f32)
    }

    /// Reads an array as f64, row-major whatever its order in the file.
    ///
    /// # Errors
    /// As [`NpzFile::floats`].
    pub fn doubles(&self, name: &str) -> Result<Vec<f64>, TensorFileError> {
        self.read(name, |number| number)
    }

    fn member(&self, name: &str) -> Result<&Member, TensorFileError> {
        self.arrays.get(name).ok_or_else(|| {
            let found = self.names().collect::<Vec<_>>().join(", ");
            let found = if found.is_empty() { "no array".to_owned() } else { found };
            TensorFileError::tensor(&self.path, name, format!("not in this file, which has {found}"))
        })
    }

    fn read<T: Copy + Default>(&self, name: &str, number: impl Fn(f64) -> T) -> Result<Vec<T>, TensorFileError> {
        let Member { index, header } = self.member(name)?;
        let wrong = |reason: String| TensorFileError::tensor(&self.path, name, reason);
        let kind = header.kind().map_err(wrong)?;
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let member = archive.by_index_raw(*index).map_err(|error| wrong(format!("can't be read: {error}")))?;
        let (method, checksum) = (member.compression(), member.crc32());
        let unpacked = unpacked(method, member).map_err(wrong)?;
        let values = header.values(unpacked, kind, checksum, number).map_err(wrong)?;
        Ok(if header.is_fortran { row_major(&values, &header.shape) } else { values })
    }
}

/// The reader of a member's bytes.
fn unpacked<'r>(method: CompressionMethod, packed: impl Read + 'r) -> Result<Box<dyn Read + 'r>, String> {
    if method == CompressionMethod::STORE {
        Ok(Box::new(packed))
    } else if method == CompressionMethod::DEFLATE {
        Ok(Box::new(DeflateDecoder::new(packed)))
    } else {
        Err(format!("is packed by {method}; numpy writes stored or deflated arrays"))
    }
}

/// Turns numbers whose first index is the fastest into row-major order.
fn row_major<T: Copy + Default>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let (mut turned, mut place, mut at) = (vec![T::default(); values.len()], vec![0; shape.len()], 0);
    for value in values {
        turned[at] = *value;
        for axis in 0..shape.len() {
            place[axis] += 1;
            at += strides[axis];
            if place[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            place[axis] = 0;
        }
    }
    turned
}

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::TensorFileError;

/// An open file and its length, so that no header can ask for more than there is.
///
/// Weights are read piece by piece rather than mapped: a mapped file that shrinks while it is used ends the process,
/// a read one is an error.
#[derive(Debug)]
pub struct SizedFile {
    path: PathBuf,
    len: u64,
    // Reading moves the file's position, and several threads may read.
    file: Mutex<File>,
}

impl SizedFile {
    /// Opens a file and measures it.
    ///
    /// # Errors
    /// Not a file, an empty file, an I/O error.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let io = |source| TensorFileError::io(path, source);
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(TensorFileError::file(path, "not a file"));
        }
        if meta.len() == 0 {
            return Err(TensorFileError::file(path, "the file is empty (0 bytes)"));
        }
        Ok(Self { path: path.to_owned(), len: meta.len(), file: Mutex::new(file) })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes when it was opened; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is refused")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads `buffer.len()` bytes from `offset`.
    ///
    /// # Errors
    /// The file ends before, an I/O error.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TensorFileError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buffer));
        read.map_err(|source| TensorFileError::io(&self.path, source))
    }

    /// Reads `len` bytes from `offset`, after checking that the file has them.
    ///
    /// # Errors
    /// As [`SizedFile::read_at`].
    pub fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, TensorFileError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let reason = format!("truncated: {len} bytes wanted at offset {offset}, the file has {}", self.len);
            return Err(TensorFileError::file(&self.path, reason));
        }
        let mut buffer = vec![0; len as usize];
        self.read_at(offset, &mut buffer)?;
        Ok(buffer)
    }
}

/// A stored floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floats {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `F32`.
    Bf16,
}

impl Floats {
    /// The type of a safetensors dtype string; `None` for integers and narrower floats.
    pub fn of_safetensors(dtype: &str) -> Option<Self> {
        match dtype {
            "F64" => Some(Self::F64),
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes per number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Appends the little-endian numbers of `bytes` to `values` as f32.
    fn widen(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F64 => values.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32)),
            Self::F32 => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Self::F16 => values.extend(bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32())),
            Self::Bf16 => values.extend(bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32())),
        }
    }
}

/// Reads `count` numbers from `offset` and widens them to f32, a megabyte at a time.
///
/// # Errors
/// Numbers beyond the end of the file, an I/O error.
pub fn read_floats(file: &SizedFile, offset: u64, count: usize, kind: Floats) -> Result<Vec<f32>, TensorFileError> {
    const PIECE: usize = 1 << 20;
    let size = count.checked_mul(kind.size()).filter(|&size| {
        let end = offset.checked_add(size as u64);
        end.is_some_and(|end| end <= file.len)
    });
    let Some(size) = size else {
        let reason = format!("truncated: {count} numbers wanted at offset {offset}, the file has {} bytes", file.len);
        return Err(TensorFileError::file(&file.path, reason));
    };
    let mut values = Vec::with_capacity(count);
    let mut buffer = vec![0_u8; PIECE.min(size)];
    let mut done = 0;
    while done < size {
        let len = PIECE.min(size - done);
        file.read_at(offset + done as u64, &mut buffer[..len])?;
        kind.widen(&buffer[..len], &mut values);
        done += len;
    }
    Ok(values)
}

//! Reading parts of a file whose length is known, so that no header can ask for more than there is.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::ModelError;

/// An open file and its length.
///
/// Weights are read piece by piece rather than mapped: a mapped file that shrinks while it is used ends the process,
/// a read one is an error.
#[derive(Debug)]
pub(crate) struct SizedFile {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    file: File,
}

impl SizedFile {
    /// Opens a file and measures it.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|e| ModelError::io(path, e))?;
        let meta = file.metadata().map_err(|e| ModelError::io(path, e))?;
        if !meta.is_file() {
            return Err(ModelError::format(path, "not a file"));
        }
        if meta.len() == 0 {
            return Err(ModelError::format(path, "the file is empty (0 bytes)"));
        }
        Ok(Self { path: path.to_path_buf(), len: meta.len(), file })
    }

    /// Reads `buffer.len()` bytes from `offset`.
    pub(crate) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ModelError> {
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(buffer))
            .map_err(|e| ModelError::io(&self.path, e))
    }

    /// Reads `len` bytes from `offset`, after checking that the file has them.
    pub(crate) fn bytes(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, ModelError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let reason = format!("truncated: {len} bytes wanted at offset {offset}, the file has {}", self.len);
            return Err(ModelError::format(&self.path, reason));
        }
        let mut buffer = vec![0; len as usize];
        self.read_at(offset, &mut buffer)?;
        Ok(buffer)
    }
}

/// How floating-point numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    F64,
    F32,
    F16,
    Bf16,
}

impl Floats {
    /// Bytes a number takes.
    pub(crate) fn size(self) -> usize {
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
/// The caller has checked that the file is long enough.
pub(crate) fn read_floats(
    file: &mut SizedFile,
    offset: u64,
    count: usize,
    kind: Floats,
) -> Result<Vec<f32>, ModelError> {
    const PIECE: usize = 1 << 20;
    let mut values = Vec::with_capacity(count);
    let mut buffer = vec![0_u8; PIECE.min(count * kind.size())];
    let mut done = 0;
    while done < count * kind.size() {
        let len = PIECE.min(count * kind.size() - done);
        file.read_at(offset + done as u64, &mut buffer[..len])?;
        kind.widen(&buffer[..len], &mut values);
        done += len;
    }
    Ok(values)
}

/// Refuses weights that are not numbers.
pub(crate) fn check_finite(path: &Path, tensor: &str, values: &[f32]) -> Result<(), ModelError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let reason = format!("element {at} is {}; every weight must be finite", values[at]);
            Err(ModelError::tensor(path, tensor, reason))
        }
    }
}

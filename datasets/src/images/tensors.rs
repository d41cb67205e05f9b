//! safetensors files, read and written row by row, so that memory does not grow with the file.
//!
//! A tensor's first dimension counts its rows. Numbers are f32 here; f16, bf16 and f64 are converted.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tensorfile::{SafetensorsFile, TensorFileError};

use crate::error::DatasetError;

/// A file to read from.
#[derive(Debug)]
pub(crate) struct TensorFile(SafetensorsFile);

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, DatasetError> {
        let whole = |error| match error {
            TensorFileError::Io { path, source } => DatasetError::Io { path, source },
            TensorFileError::File { path, reason } => {
                malformed(&path, format!("is not a whole safetensors file: {reason}"))
            }
            TensorFileError::Tensor { path, tensor, reason } => {
                malformed(&path, format!("is not a whole safetensors file: tensor `{tensor}`: {reason}"))
            }
        };
        Ok(Self(SafetensorsFile::open(path).map_err(whole)?))
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> DatasetError {
        malformed(self.0.path(), message)
    }

    /// A metadata entry by name.
    pub(crate) fn note(&self, name: &str) -> Option<&str> {
        self.0.metadata().get(name).map(String::as_str)
    }

    /// The names of the tensors, in the order of the file.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.names()
    }

    /// The shape of a tensor, if it exists.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.entries().get(name).map(|entry| &entry.shape[..])
    }

    /// The shape of a required tensor, which must have the dimensions that this text names, none of them 0.
    pub(crate) fn expect(&self, name: &str, dimensions: &str) -> Result<&[usize], DatasetError> {
        let shape = self.shape(name).ok_or_else(|| {
            self.error(format!("has no tensor `{name}` {dimensions}; it has {}", self.names().join(", ")))
        })?;
        if shape.len() != dimensions.split(',').count() || shape.contains(&0) {
            return Err(self.error(format!("is wrong: tensor `{name}` should be {dimensions}, but is {shape:?}")));
        }
        Ok(shape)
    }

    /// One row of a floating-point tensor. A NaN or infinity is an error that names it.
    pub(crate) fn row(&self, name: &str, index: usize) -> Result<Vec<f32>, DatasetError> {
        let values = self.0.float_row(name, index).map_err(wrong)?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(self.error(format!("is wrong: tensor `{name}`, row {index}: value {at} is {}", values[at])));
        }
        Ok(values)
    }

    /// All numbers of an integer tensor, row-major.
    pub(crate) fn integers(&self, name: &str, dimensions: &str) -> Result<Vec<i64>, DatasetError> {
        self.expect(name, dimensions)?;
        let bytes = self.0.bytes(name).map_err(wrong)?;
        match self.0.entry(name).map_err(wrong)?.dtype.as_str() {
            "I64" => Ok(words(&bytes, i64::from_le_bytes)),
            "I32" => Ok(words(&bytes, |word| i64::from(i32::from_le_bytes(word)))),
            other => Err(self.error(format!("is wrong: tensor `{name}` should be i64 or i32, but is {other}"))),
        }
    }

    /// All numbers of a tensor of any kind, row-major; false is 0 and true 1.
    pub(crate) fn numbers(&self, name: &str, dimensions: &str) -> Result<Vec<f64>, DatasetError> {
        self.expect(name, dimensions)?;
        Ok(match self.0.entry(name).map_err(wrong)?.dtype.as_str() {
            "BOOL" | "U8" => self.0.bytes(name).map_err(wrong)?.into_iter().map(f64::from).collect(),
            "I8" => self.0.bytes(name).map_err(wrong)?.into_iter().map(|byte| f64::from(byte as i8)).collect(),
            "I64" | "I32" => self.integers(name, dimensions)?.into_iter().map(|value| value as f64).collect(),
            _ => self.0.floats(name).map_err(wrong)?.into_iter().map(f64::from).collect(),
        })
    }

    /// All entries of a mask, row-major: each is 0 or 1, false or true.
    pub(crate) fn flags(&self, name: &str, dimensions: &str) -> Result<Vec<bool>, DatasetError> {
        let shape = self.expect(name, dimensions)?;
        let numbers = self.numbers(name, dimensions)?;
        let per_row = numbers.len() / shape[0];
        let flag = |(at, &value): (usize, &f64)| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            _ => Err(self.error(format!("is wrong: tensor `{name}`, row {}: {value} is not 0 or 1", at / per_row))),
        };
        numbers.iter().enumerate().map(flag).collect()
    }

    /// Integers that must be indices below `count`.
    pub(crate) fn indices(&self, name: &str, dimensions: &str, count: usize) -> Result<Vec<usize>, DatasetError> {
        let found = self.integers(name, dimensions)?;
        let per_row = found.len() / self.shape(name).map_or(1, |shape| shape[0]);
        let index = |(at, &value): (usize, &i64)| {
            usize::try_from(value).ok().filter(|&index| index < count).ok_or_else(|| {
                self.error(format!(
                    "is wrong: tensor `{name}`, row {}: {value} is not between 0 and {}",
                    at / per_row,
                    count as i64 - 1
                ))
            })
        };
        found.iter().enumerate().map(index).collect()
    }

    /// The hash of all bytes, header included.
    pub(crate) fn hash(&self) -> Result<blake3::Hash, DatasetError> {
        const PIECE: u64 = 1 << 20;
        let (file, mut hasher, mut at) = (self.0.file(), blake3::Hasher::new(), 0);
        while at < file.len() {
            let piece = file.bytes(at, PIECE.min(file.len() - at)).map_err(wrong)?;
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        Ok(hasher.finalize())
    }
}

/// The reason of an error in a file that was valid when it was opened.
fn wrong(error: TensorFileError) -> DatasetError {
    match error {
        TensorFileError::Io { path, source } => DatasetError::Io { path, source },
        TensorFileError::File { path, reason } => malformed(&path, format!("is wrong: {reason}")),
        TensorFileError::Tensor { path, tensor, reason } => {
            malformed(&path, format!("is wrong: tensor `{tensor}`: {reason}"))
        }
    }
}

fn words<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&word| value(word)).collect()
}

fn malformed(path: &Path, message: impl Into<String>) -> DatasetError {
    DatasetError::Tensors { path: path.to_owned(), message: message.into() }
}

/// A file being written, its rows in any order; it is renamed to its final name when complete.
#[derive(Debug)]
pub(crate) struct TensorWriter {
    path: PathBuf,
    body: File,
    tensors: Vec<Declared>,
}

#[derive(Debug)]
struct Declared {
    name: &'static str,
    shape: Vec<usize>,
    start: usize,
    /// Flags of the written rows.
    written: Vec<bool>,
}

impl Declared {
    fn row_size(&self) -> usize {
        self.shape[1..].iter().product::<usize>() * 4
    }
}

impl TensorWriter {
    /// Starts a file of these f32 tensors.
    pub(crate) fn create(path: &Path, shapes: Vec<(&'static str, Vec<usize>)>) -> Result<Self, DatasetError> {
        let io = |source| DatasetError::Io { path: path.to_owned(), source };
        let body = tempfile::tempfile_in(folder_of(path)).map_err(io)?;
        let mut start = 0;
        let declare = |(name, shape): (&'static str, Vec<usize>)| {
            let written = vec![false; shape[0]];
            let declared = Declared { name, shape, start, written };
            start += declared.row_size() * declared.shape[0];
            declared
        };
        Ok(Self { path: path.to_owned(), body, tensors: shapes.into_iter().map(declare).collect() })
    }

    /// The numbers of a row of a tensor, if it is one of the file's.
    pub(crate) fn row_len(&self, name: &str) -> Option<usize> {
        let declared = self.tensors.iter().find(|declared| declared.name == name)?;
        Some(declared.shape[1..].iter().product())
    }

    /// Writes one row.
    pub(crate) fn write(&mut self, name: &str, index: usize, values: &[f32]) -> Result<(), DatasetError> {
        let wrong =
            |what: String| malformed(&self.path, format!("cannot be written: tensor `{name}`, row {index}: {what}"));
        let declared = self.tensors.iter_mut().find(|declared| declared.name == name);
        let Some(declared) = declared.filter(|declared| index < declared.written.len()) else {
            return Err(wrong("there is no such row".to_owned()));
        };
        if values.len() * 4 != declared.row_size() {
            return Err(wrong(format!("{} values instead of {}", values.len(), declared.row_size() / 4)));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(wrong(format!("a value is {value}")));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let at = declared.start + index * declared.row_size();
        declared.written[index] = true;
        let written = self.body.seek(SeekFrom::Start(at as u64)).and_then(|_| self.body.write_all(&bytes));
        written.map_err(|source| DatasetError::Io { path: self.path.clone(), source })
    }

    /// Adds integer tensors and metadata, and renames the file to its final name.
    pub(crate) fn finish(
        mut self,
        integers: &[(&str, Vec<i64>)],
        notes: &[(&str, String)],
    ) -> Result<(), DatasetError> {
        for declared in &self.tensors {
            if let Some(missing) = declared.written.iter().position(|written| !written) {
                return Err(malformed(
                    &self.path,
                    format!("cannot be written: row {missing} of tensor `{}` was not written", declared.name),
                ));
            }
        }
        let header = self.header(integers, notes)?;
        let path = self.path.clone();
        let io = |source| DatasetError::Io { path: path.clone(), source };
        let mut whole = building().tempfile_in(folder_of(&path)).map_err(io)?;
        self.body.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut writer = BufWriter::with_capacity(1 << 20, whole.as_file_mut());
        writer.write_all(&header).map_err(io)?;
        for value in integers.iter().flat_map(|(_, values)| values) {
            writer.write_all(&value.to_le_bytes()).map_err(io)?;
        }
        std::io::copy(&mut self.body, &mut writer).map_err(io)?;
        writer.flush().map_err(io)?;
        drop(writer);
        whole.as_file().sync_all().map_err(io)?;
        whole.persist(&path).map_err(|error| io(error.error))?;
        Ok(())
    }

    /// The header, preceded by its length; integers lie before floats, so that all are aligned.
    fn header(&self, integers: &[(&str, Vec<i64>)], notes: &[(&str, String)]) -> Result<Vec<u8>, DatasetError> {
        let notes: Map<String, Value> = notes.iter().map(|(name, text)| ((*name).into(), json!(text))).collect();
        let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(notes))]);
        let mut at = 0;
        for (name, values) in integers {
            let end = at + values.len() * 8;
            let entry = json!({"dtype": "I64", "shape": [values.len()], "data_offsets": [at, end]});
            header.insert((*name).to_owned(), entry);
            at = end;
        }
        for declared in &self.tensors {
            let end = at + declared.row_size() * declared.shape[0];
            let entry = json!({"dtype": "F32", "shape": declared.shape, "data_offsets": [at, end]});
            header.insert(declared.name.to_owned(), entry);
            at = end;
        }
        let mut text = serde_json::to_vec(&header).map_err(|error| malformed(&self.path, error.to_string()))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text);
        Ok(bytes)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file in the target's folder, with the permissions of ordinary new files (temporary files are private by
/// default).
fn building() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".building-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

/// Transposes channel, row, column to row, column, channel.
pub(crate) fn channels_last(values: &[f32], channels: usize) -> Vec<f32> {
    let pixels = values.len() / channels;
    (0..values.len()).map(|at| values[at % channels * pixels + at / channels]).collect()
}

/// Transposes row, column, channel to channel, row, column.
pub(crate) fn channels_first(values: &[f32], channels: usize) -> Vec<f32> {
    let pixels = values.len() / channels;
    (0..values.len()).map(|at| values[at % pixels * channels + at / pixels]).collect()
}

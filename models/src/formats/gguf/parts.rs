//! PartNumber GGUF models, as written by llama.cpp's `gguf-split`.
//!
//! The files of a model are named `NAME-00001-of-00003.gguf` and so on. The first one has the metadata; each one has
//! its index (`split.no`, from zero), their number (`split.count`), and some of the tensors.

use std::path::{Path, PathBuf};

use super::header::{Header, Info, Meta};
use crate::ModelError;
use tensorfile::SizedFile;

/// The files of a model and their combined header.
#[derive(Debug)]
pub(super) struct SplitFiles {
    files: Vec<SizedFile>,
    /// The metadata of the first file, the tensors of all.
    pub(super) header: Header,
}

impl SplitFiles {
    /// Opens a model; any of its files may be named.
    ///
    /// # Errors
    /// A damaged header, missing files, or files of different models.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = SizedFile::open(path)?;
        let header = Header::read(&file)?;
        let Some(split) = PartNumber::of(path, &header)? else { return Ok(Self { files: vec![file], header }) };
        let (mut files, mut headers) = (Vec::new(), Vec::new());
        for part in 0..split.count {
            let path = split.path_of(path, part)?;
            let file = SizedFile::open(&path)?;
            let header = Header::read(&file)?;
            match PartNumber::of(&path, &header)? {
                Some(own) if own.number == part && own.count == split.count => {}
                _ => return Err(ModelError::format(&path, format!("not {}, as its name says", split.naming(part)))),
            }
            files.push(file);
            headers.push(header);
        }
        let header = joined(&files, headers)?;
        if let Some(Meta::Integer(expected)) = header.metadata.get("split.tensors.count")
            && *expected != header.tensors.len() as i64
        {
            let reason = format!("{} tensors in all parts, and there are to be {expected}", header.tensors.len());
            return Err(ModelError::format(path, reason));
        }
        Ok(Self { files, header })
    }

    /// The file of a tensor.
    pub(super) fn file(&self, part: usize) -> &SizedFile {
        &self.files[part]
    }
}

/// The metadata of the first file with the tensors of all.
fn joined(files: &[SizedFile], headers: Vec<Header>) -> Result<Header, ModelError> {
    let mut headers = headers.into_iter();
    let mut all = headers.next().unwrap_or_default();
    for (part, header) in (1..).zip(headers) {
        for (name, info) in header.tensors {
            if let Some(twin) = all.tensors.insert(name.clone(), Info { part, ..info }) {
                let reason = format!("also in {}", files[twin.part].path().display());
                return Err(ModelError::tensor(files[part].path(), name, reason));
            }
        }
    }
    Ok(all)
}

/// The index of a file and the number of files.
#[derive(Clone, Copy, Debug)]
struct PartNumber {
    number: usize,
    count: usize,
}

impl PartNumber {
    /// `None` for an unsplit model.
    fn of(path: &Path, header: &Header) -> Result<Option<Self>, ModelError> {
        // The names have five digits.
        let number = |key: &str| match header.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Integer(n)) if (0..100_000).contains(n) => Ok(Some(*n as usize)),
            Some(other) => Err(ModelError::format(path, format!("{key} is {other:?}, not a number of parts"))),
        };
        let Some(count) = number("split.count")?.filter(|count| *count > 1) else { return Ok(None) };
        match number("split.no")? {
            Some(number) if number < count => Ok(Some(Self { number, count })),
            found => Err(ModelError::format(path, format!("split.no is {found:?}, and there are {count} parts"))),
        }
    }

    /// The path of another file of the model, derived from this one's name.
    fn path_of(self, own: &Path, part: usize) -> Result<PathBuf, ModelError> {
        let end = |part: usize| format!("-{:05}-of-{:05}.gguf", part + 1, self.count);
        let name = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(&end(self.number)) else {
            let reason = format!(
                "{}; the others are found by their names, which must end in {} and so on, as this one's in {}",
                self.naming(self.number),
                end(0),
                end(self.number)
            );
            return Err(ModelError::format(own, reason));
        };
        let path = own.with_file_name(format!("{stem}{}", end(part)));
        if path.is_file() {
            return Ok(path);
        }
        let reason = format!("{}, and {} is not beside it", self.naming(self.number), path.display());
        Err(ModelError::format(own, reason))
    }

    fn naming(self, part: usize) -> String {
        format!("part {} of {} of a model", part + 1, self.count)
    }
}

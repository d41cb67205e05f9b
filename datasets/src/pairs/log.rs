//! The append-only file of judgements.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::folder::PairFolder;
use super::judgement::Judgement;
use super::labels::Judgements;
use crate::error::DatasetError;

/// The judgements of a folder, locked for appending by one process.
///
/// A judgement is synced to disk before [`JudgementLog::append`] returns. A partial line left by a killed process or a full
/// disk is truncated before the next write.
#[derive(Debug)]
pub struct JudgementLog {
    file: JudgementFile,
    labels: Judgements,
}

/// The file of a [`JudgementLog`], for a writer apart from those who look at the judgements.
#[derive(Debug)]
pub struct JudgementFile {
    path: PathBuf,
    id: String,
    file: Box<dyn Appendable>,
    /// Length of the complete lines, in bytes.
    length: u64,
    /// Whether a partial line may follow.
    is_torn: bool,
}

/// The file operations needed; the tests substitute a full disk.
pub(super) trait Appendable: std::fmt::Debug + Send {
    /// Appends in one write; returns the number of bytes written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Appendable for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl JudgementLog {
    /// Opens the judgement file of a folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// It is not writable, is malformed other than by a truncated last line, belongs to other pairs, or is locked by
    /// another process.
    pub fn open(folder: &PairFolder) -> Result<Self, DatasetError> {
        let path = folder.labels_path();
        let failed = |source| DatasetError::Write { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "is being added to by another process; end that one first".to_owned();
                return Err(DatasetError::Pairs { path, message });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The file itself, which may be new, is to stay after a loss of power, as the judgements in it.
        tensorfile::settle_name(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| DatasetError::Io { path: path.clone(), source })?;
        let labels = Judgements::parse(&Arc::from(path.as_path()), &bytes, folder.id(), folder.len())?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (length, is_torn) = (whole as u64, whole < bytes.len());
        let mut file = JudgementFile { path, id: folder.id().to_owned(), file: Box::new(file), length, is_torn };
        if is_torn && labels.cut().is_none() {
            // Only the end of the line is missing.
            file.length = bytes.len() as u64;
            file.is_torn = false;
            file.write(b"\n")?;
        }
        Ok(Self { file, labels })
    }

    /// The current judgements.
    pub fn labels(&self) -> &Judgements {
        &self.labels
    }

    /// Appends a judgement and syncs it to disk.
    ///
    /// # Errors
    /// The disk is full or broken: [`DatasetError::Write`] has the system's error. The file is unchanged, and the
    /// judgement does not count.
    pub fn append(&mut self, label: &Judgement) -> Result<(), DatasetError> {
        self.file.append(std::slice::from_ref(label))?;
        self.labels.apply(label);
        Ok(())
    }

    /// The judgements and their file, for a writer of its own. What it has appended is to be applied.
    pub fn split(self) -> (Judgements, JudgementFile) {
        (self.labels, self.file)
    }
}

impl JudgementFile {
    /// Appends judgements in one write and syncs them to disk together.
    ///
    /// # Errors
    /// As [`JudgementLog::append`]: none of them is in the file then.
    pub fn append(&mut self, labels: &[Judgement]) -> Result<(), DatasetError> {
        if let Some(label) = labels.iter().find(|label| !Judgement::is_name(&label.labeller)) {
            let hint = "a labeller's name has 1 to 64 characters, and no white space around it";
            return Err(DatasetError::Setting { name: "labeller", value: label.labeller.clone(), hint });
        }
        let lines: String = labels.iter().map(|label| label.to_line(&self.id)).collect();
        if lines.is_empty() { Ok(()) } else { self.write(lines.as_bytes()) }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), DatasetError> {
        self.try_write(lines).map_err(|source| {
            // If this fails too, the next judgement tries again before it is written.
            self.is_torn = self.file.cut(self.length).is_err();
            DatasetError::Write { path: self.path.clone(), source }
        })
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.cut(self.length)?;
            self.is_torn = false;
        }
        let written = self.file.append(lines)?;
        if written < lines.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "only a part of it could be written"));
        }
        self.file.sync()?;
        self.length += lines.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
impl JudgementLog {
    /// Wraps the file, for tests.
    pub(super) fn wrap_file(self, wrap: impl FnOnce(Box<dyn Appendable>) -> Box<dyn Appendable>) -> Self {
        Self { file: JudgementFile { file: wrap(self.file.file), ..self.file }, ..self }
    }
}

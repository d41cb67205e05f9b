//! A stream of records from a file or a folder of shards.
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::DatasetError;
use crate::formats::Format;
use crate::reading::{self, Row, Rows, Split};
use crate::record::PreferenceRecord;

/// What to do about a record that is broken. A file that is broken is always an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBad {
    /// Stop with an error that names it.
    #[default]
    Fail,
    /// Leave it out, and count it.
    Skip,
}

impl FromStr for OnBad {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        match name {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(DatasetError::UnknownName {
                what: "answer to bad records",
                name: name.to_owned(),
                known: "fail, skip".to_owned(),
            }),
        }
    }
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The format; by the fields of the first record if `None`.
    pub format: Option<Format>,
    /// The part of the data that is wanted; all of it if `None`.
    pub split: Option<Split>,
    /// The most records to read, broken ones not counted; what comes after is never looked at. All if `None`.
    pub limit: Option<u64>,
    /// What to do about a broken record.
    pub on_bad: OnBad,
}

/// Records left out because they were broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// What was wrong with the first few.
    pub messages: Vec<String>,
}

impl Skipped {
    const MESSAGES: usize = 5;

    /// Counts a broken record, or hands its error back if it must not be left out.
    pub(crate) fn admit(&mut self, on_bad: OnBad, error: DatasetError) -> Result<(), DatasetError> {
        if on_bad == OnBad::Fail || !error.is_about_one_record() {
            return Err(error);
        }
        self.count += 1;
        if self.messages.len() < Self::MESSAGES {
            self.messages.push(error.to_string());
        }
        Ok(())
    }
}

/// Records, one at a time, in the order of the sorted shards and of the lines or rows in them.
pub struct Records {
    path: PathBuf,
    reading: Reading,
    format: Format,
    shards: VecDeque<PathBuf>,
    rows: Option<Rows>,
    /// The row that told the format.
    first: Option<Row>,
    /// What the last row held that has not been given yet.
    pending: VecDeque<PreferenceRecord>,
    skipped: Skipped,
    not_read: BTreeMap<String, u64>,
    n_given: u64,
    /// Which part of the data is read, where it has several.
    part: Option<String>,
    /// Whether files or folders are named after the part that is read.
    is_named: bool,
    /// Whether a record of another split was passed over.
    has_others: bool,
    is_over: bool,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("path", &self.path).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Opens a file, or a folder of shards.
///
/// # Errors
/// Nothing can be read, or no format has the fields of the first record.
pub fn records(path: &Path, reading: Reading) -> Result<Records, DatasetError> {
    let reading::Shards { files, part, is_named } = reading::shards(path, reading.split.as_ref())?;
    let mut records = Records {
        path: path.to_owned(),
        reading,
        format: Format::Trl,
        shards: files.into(),
        rows: None,
        first: None,
        pending: VecDeque::new(),
        skipped: Skipped::default(),
        not_read: BTreeMap::new(),
        n_given: 0,
        part,
        is_named,
        has_others: false,
        is_over: false,
    };
    let Some(first) = records.next_row()? else { return Err(records.empty()) };
    records.format = match records.reading.format {
        Some(format) => format,
        None => Format::detect(&first.0, &first.1)?,
    };
    records.first = Some(first);
    Ok(records)
}

impl Records {
    /// The format the records have.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What has been left out so far.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The columns that say something and were not read so far, and in how many records each did.
    pub fn not_read(&self) -> &BTreeMap<String, u64> {
        &self.not_read
    }

    /// Which part of the data is read and which there are besides, where it has several and one was chosen.
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// The next row of any shard that could be read.
    fn next_row(&mut self) -> Result<Option<Row>, DatasetError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let Some(rows) = &mut self.rows else {
                let Some(shard) = self.shards.pop_front() else { return Ok(None) };
                self.rows = Some(reading::rows(&shard)?);
                continue;
            };
            match rows.next() {
                None => self.rows = None,
                Some(Ok(row)) => return Ok(Some(row)),
                Some(Err(error)) => self.skipped.admit(self.reading.on_bad, error)?,
            }
        }
    }

    fn next_record(&mut self) -> Result<Option<PreferenceRecord>, DatasetError> {
        if self.reading.limit.is_some_and(|limit| self.n_given >= limit) {
            return Ok(None);
        }
        loop {
            if let Some(record) = self.pending.pop_front() {
                self.n_given += 1;
                return Ok(Some(record));
            }
            let Some((origin, value)) = self.next_row()? else {
                return if self.n_given == 0 { Err(self.empty()) } else { Ok(None) };
            };
            match (&self.reading.split, self.format.split(&value)) {
                (Some(wanted), Some(split)) if !wanted.takes(split) => {
                    self.has_others = true;
                    continue;
                }
                (Some(wanted @ Split::Named(_)), None) if !self.is_named => {
                    let wanted = format!("part `{wanted}`: neither names of files nor records say which part they are");
                    return Err(DatasetError::NoShards { path: self.path.clone(), wanted });
                }
                _ => {}
            }
            match self.format.read(&origin, &value) {
                Ok(read) => {
                    read.not_read.into_iter().for_each(|name| note(&mut self.not_read, name));
                    self.pending.extend(read.records);
                }
                Err(error) => self.skipped.admit(self.reading.on_bad, error)?,
            }
        }
    }

    fn empty(&self) -> DatasetError {
        let path = self.path.clone();
        match self.skipped.messages.first() {
            Some(first) => DatasetError::AllBad { path, count: self.skipped.count, first: first.clone() },
            None => match self.reading.split.as_ref().filter(|_| self.has_others) {
                Some(split) => DatasetError::NoShards { path, wanted: format!("record of the split `{split}`") },
                None => DatasetError::Empty { path },
            },
        }
    }
}

/// The most names of columns that are kept: a table may have a million.
const NAMES: usize = 256;

/// Counts a column that is not read.
pub(crate) fn note(not_read: &mut BTreeMap<String, u64>, name: String) {
    if let Some(count) = not_read.get_mut(&name) {
        *count += 1;
    } else if not_read.len() < NAMES {
        not_read.insert(name, 1);
    }
}

impl Iterator for Records {
    type Item = Result<PreferenceRecord, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let found = self.next_record().transpose();
        self.is_over = !matches!(found, Some(Ok(_)));
        found
    }
}

//! A stream of records from a file or a folder of shards.
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use crate::column_map::ColumnMap;
use crate::error::DatasetError;
use crate::formats::flat_tree::{FlatTrees, is_flat};
use crate::formats::weights::WeighingColumns;
use crate::formats::{Format, ReadingChoices};
use crate::reading::{self, Row, Rows, SplitChoice};
use crate::record::PreferenceRecord;
use crate::skipped::{OnBad, Skipped};

/// Options for reading records.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The format; detected from the first record if `None`.
    pub format: Option<Format>,
    /// The split to read; everything if `None`.
    pub split: Option<SplitChoice>,
    /// Maximum number of records, not counting skipped ones; the rest of the file is not read. All if `None`.
    pub limit: Option<u64>,
    /// The treatment of malformed records.
    pub on_bad: OnBad,
    /// Other names of the file's columns.
    pub columns: ColumnMap,
    /// How records are read that can be read in several ways.
    pub choices: ReadingChoices,
}

/// An iterator of records, in the order of the sorted shards and their rows.
pub struct Records {
    path: PathBuf,
    reading: ReadOptions,
    format: Format,
    shards: VecDeque<PathBuf>,
    rows: Option<Rows>,
    /// The row that the format was detected from.
    first: Option<Row>,
    /// Its columns.
    columns: Vec<String>,
    wholes: Wholes,
    /// Remaining records of the last row.
    pending: VecDeque<PreferenceRecord>,
    skipped: Skipped,
    not_read: BTreeMap<String, u64>,
    weighing: WeighingColumns,
    n_given: u64,
    /// The split that is read, if one was selected.
    part: Option<String>,
    /// Whether file or folder names mark the split.
    is_named: bool,
    /// Whether a record of another split was skipped.
    has_others: bool,
    is_over: bool,
    n_rows: u64,
}

/// Where the next whole row comes from.
enum Wholes {
    /// From the file: each row is one.
    Rows,
    /// From all rows of the file, each of which is one message of a tree.
    Messages,
    /// From these trees, which the rows made.
    Trees(std::vec::IntoIter<Row>),
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
pub fn records(path: &Path, reading: ReadOptions) -> Result<Records, DatasetError> {
    let reading::Shards { files, part, is_named } = reading::shards(path, reading.split.as_ref())?;
    let mut records = Records {
        path: path.to_owned(),
        reading,
        format: Format::Trl,
        shards: files.into(),
        rows: None,
        first: None,
        columns: Vec::new(),
        wholes: Wholes::Rows,
        pending: VecDeque::new(),
        skipped: Skipped::default(),
        not_read: BTreeMap::new(),
        weighing: WeighingColumns::default(),
        n_given: 0,
        part,
        is_named,
        has_others: false,
        is_over: false,
        n_rows: 0,
    };
    let Some(first) = records.next_row()? else { return Err(records.empty()) };
    records.format = match records.reading.format {
        Some(format) => format,
        None => Format::detect(&first.0, &first.1)?,
    };
    records.columns = first.1.as_object().map(|row| row.keys().cloned().collect()).unwrap_or_default();
    if records.format == Format::Tree && is_flat(&first.1) {
        records.wholes = Wholes::Messages;
    }
    records.first = Some(first);
    Ok(records)
}

impl Records {
    /// The format of the records.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The columns of the first record.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Malformed records skipped so far.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Non-empty columns not read so far, and the number of records with each.
    pub fn not_read(&self) -> &BTreeMap<String, u64> {
        &self.not_read
    }

    /// The split that is read and the splits available, if one was selected.
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// The next readable row of any shard.
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
                Some(Ok(row)) => return self.renamed(row).map(Some),
                Some(Err(error)) => self.skipped.admit(self.reading.on_bad, error)?,
            }
        }
    }

    /// Renames the columns of a row; the first must have those that are mapped, later ones may leave them out.
    fn renamed(&mut self, row: Row) -> Result<Row, DatasetError> {
        self.n_rows += 1;
        self.reading.columns.renamed(row, self.n_rows == 1)
    }

    /// The next row, or the next tree where a row is one message of it.
    fn next_whole(&mut self) -> Result<Option<Row>, DatasetError> {
        match &mut self.wholes {
            Wholes::Rows => self.next_row(),
            Wholes::Trees(trees) => Ok(trees.next()),
            Wholes::Messages => {
                let mut trees = self.trees()?.into_iter();
                let first = trees.next();
                self.wholes = Wholes::Trees(trees);
                Ok(first)
            }
        }
    }

    /// The trees that all rows make.
    fn trees(&mut self) -> Result<Vec<Row>, DatasetError> {
        let mut trees = FlatTrees::default();
        while let Some(row) = self.next_row()? {
            match trees.add(row) {
                Ok(not_read) => not_read.into_iter().for_each(|name| note(&mut self.not_read, name)),
                Err(error) => self.skipped.admit(self.reading.on_bad, error)?,
            }
        }
        trees.rows(|error| self.skipped.admit(self.reading.on_bad, error))
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
            let Some((origin, value)) = self.next_whole()? else {
                return if self.n_given == 0 { Err(self.empty()) } else { Ok(None) };
            };
            match (&self.reading.split, self.format.split(&value)) {
                (Some(wanted), Some(split)) if !wanted.takes(split) => {
                    self.has_others = true;
                    continue;
                }
                (Some(wanted @ SplitChoice::Named(_)), None) if !self.is_named => {
                    let wanted = format!("part `{wanted}`: neither names of files nor records say which part they are");
                    return Err(DatasetError::NoShards { path: self.path.clone(), wanted });
                }
                _ => {}
            }
            let read = self.weighing.check(&origin, &value);
            match read.and_then(|()| self.format.read_with(&origin, &value, self.reading.choices)) {
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
                None => DatasetError::of_nothing(path, &self.not_read),
            },
        }
    }
}

/// Maximum number of column names kept: a table may have a million.
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

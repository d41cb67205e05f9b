//! Reads files as rows of JSON: lines, arrays, comma-separated values, each also in gzip or zstd, Parquet, Arrow streams,
//! folders of shards. One row is in memory at a time, or one batch for Arrow.
//!
//! The file type is detected from the first bytes, a table of comma-separated values from its name; a file name that implies
//! gzip, zstd or Parquet must be right.
mod arrow;
mod csv;
mod footer;
mod guard;
mod parquet;
pub(crate) mod python;
mod save_to_disk;
mod shards;
mod sized;
mod text;
mod unpacked;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use self::unpacked::{Members, Unpacked, most_lines};
use crate::error::DatasetError;
use crate::record::Origin;

pub use shards::{Shards, SplitChoice, SplitKind, is_named_records, shards};

/// Maximum size of a record, in bytes.
pub const RECORD_LIMIT: usize = 64 << 20;

/// A row: its location and its value.
pub type Row = (Origin, Value);

/// An iterator of a file's rows. It ends after an error that does not concern a single row.
pub type Rows = Box<dyn Iterator<Item = Result<Row, DatasetError>> + Send>;

/// A row whose columns may be bytes: its location and its columns.
pub(crate) type CellRow = (Origin, Vec<(String, Cell)>);

/// An iterator like [`Rows`] over rows with bytes.
pub(crate) type CellRows = Box<dyn Iterator<Item = Result<CellRow, DatasetError>> + Send>;

/// The value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// A JSON value.
    Json(Value),
    /// Binary data, in tables only.
    Bytes(Vec<u8>),
    /// Nested columns, in tables only.
    Group(Vec<(String, Cell)>),
}

/// Opens one file.
///
/// # Errors
/// The file can't be read, or its name implies another type.
pub fn rows(path: &Path) -> Result<Rows, DatasetError> {
    let origin: Arc<Path> = Arc::from(path);
    match source(path)? {
        Source::Parquet(file) => parquet::rows(file, origin),
        Source::Arrow(file) => Ok(arrow::rows(file, origin)),
        Source::Packed { text, packing, .. } if csv::is_named(path) => csv::rows(text, origin, Some(packing)),
        Source::Text(text) if csv::is_named(path) => csv::rows(text, origin, None),
        Source::Packed { text, packed, packing } => Ok(text::rows(text, origin, Some((packing, most_lines(packed))))),
        Source::Text(text) => Ok(text::rows(text, origin, None)),
    }
}

/// Opens one file whose columns may be bytes.
///
/// # Errors
/// The file can't be read, or its name implies another type.
pub(crate) fn cell_rows(path: &Path) -> Result<CellRows, DatasetError> {
    let rows = match source(path)? {
        Source::Parquet(file) => return parquet::cell_rows(file, Arc::from(path)),
        Source::Arrow(file) => return Ok(arrow::cell_rows(file, Arc::from(path))),
        Source::Packed { .. } | Source::Text(_) => rows(path)?,
    };
    Ok(Box::new(rows.map(|row| {
        let (origin, value) = row?;
        match value {
            Value::Object(map) => {
                Ok((origin, map.into_iter().map(|(name, value)| (name, Cell::Json(value))).collect()))
            }
            other => Err(DatasetError::WrongType {
                origin,
                field: "(the record)".to_owned(),
                expected: "an object",
                got: other.to_string(),
            }),
        }
    })))
}

/// Whether a path holds records rather than lines of text: it is a folder, or its name or first bytes say so. A `.txt`
/// file that begins with a bracket holds records only if an object with a field follows.
///
/// # Errors
/// The file can't be read.
pub fn holds_records(path: &Path) -> Result<bool, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(io)?;
    let name = path.to_string_lossy().to_ascii_lowercase();
    if found.is_dir() || shards::is_named_records(&name) {
        return Ok(true);
    }
    // What is no file can be read once only.
    if !found.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path).map_err(io)?.take(4096).read_to_end(&mut start).map_err(io)?;
    let is_table =
        [b"PAR1".as_slice(), b"ARRO", &[0xff; 4], &[0x1f, 0x8b], &ZSTD].into_iter().any(|mark| start.starts_with(mark));
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    let within =
        |bytes: &[u8], bracket: u8| bytes.strip_prefix(&[bracket]).map(|rest| rest.trim_ascii_start().to_vec());
    let is_json = if path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("txt")) {
        let object = within(text, b'[').unwrap_or_else(|| text.to_vec());
        within(&object, b'{').is_some_and(|inside| inside.starts_with(b"\""))
    } else {
        text.starts_with(b"{") || text.starts_with(b"[")
    };
    Ok(is_table || is_json)
}

/// The first bytes of a zstd frame.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A way of compressing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// The error of a file that can't be unpacked.
    fn error(self, path: &Path, message: String) -> DatasetError {
        let path = path.to_owned();
        match self {
            Self::Gzip => DatasetError::Gzip { path, message },
            Self::Zstd => DatasetError::Zstd { path, message },
        }
    }
}

/// A file by its type.
enum Source {
    Parquet(File),
    Arrow(File),
    /// A compressed file, and its compressed size.
    Packed {
        text: Box<dyn BufRead + Send>,
        packed: u64,
        packing: Packing,
    },
    Text(Box<dyn BufRead + Send>),
}

fn source(path: &Path) -> Result<Source, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    if magic.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    let promises = |extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    if magic == b"PAR1" || promises("parquet") {
        return Ok(Source::Parquet(file));
    }
    if magic == b"ARRO" {
        let message = "it is a file of Arrow's (Feather), not a stream: write Parquet of it".to_owned();
        return Err(DatasetError::Arrow { path: path.to_owned(), message });
    }
    // A stream of Arrow batches begins with the mark of a message.
    if magic == [0xff; 4] || promises("arrow") {
        return Ok(Source::Arrow(file));
    }
    if magic.starts_with(&[0x1f, 0x8b]) {
        let packed = file.metadata().map_err(io)?.len();
        let unpacked = Unpacked::new(Members::new(BufReader::new(file)), packed);
        let text = Box::new(BufReader::with_capacity(1 << 16, unpacked));
        return Ok(Source::Packed { text, packed, packing: Packing::Gzip });
    }
    if magic == ZSTD {
        let packed = file.metadata().map_err(io)?.len();
        let unpacked = Unpacked::new(zstd::Decoder::new(file).map_err(io)?, packed);
        let text = Box::new(BufReader::with_capacity(1 << 16, unpacked));
        return Ok(Source::Packed { text, packed, packing: Packing::Zstd });
    }
    for (extension, packing) in [("gz", Packing::Gzip), ("zst", Packing::Zstd)] {
        if promises(extension) {
            return Err(packing.error(path, "it does not start as one".to_owned()));
        }
    }
    Ok(Source::Text(Box::new(BufReader::with_capacity(1 << 16, file))))
}

#[cfg(test)]
mod part_tests;
#[cfg(test)]
mod tests;

//! Errors of data files, each with its location.
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::record::Origin;

/// An error in data, and its location.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A pair folder, or one of its files, is malformed.
    #[error("{} {message}", path.display())]
    Pairs {
        /// The folder or file.
        path: PathBuf,
        /// The fault, as the end of a sentence.
        message: String,
    },
    /// A file or folder holds no record.
    #[error("{} holds no record", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// Every record of a file was skipped as broken.
    #[error("{}: all {count} records are broken; the first: {first}", path.display())]
    AllBad {
        /// The file or folder.
        path: PathBuf,
        /// Number of records.
        count: u64,
        /// The fault of the first.
        first: String,
    },
    /// The records of a file are fine, and none of them says what is better.
    #[error("{} holds no record to learn from: {what}, {count} of them", path.display())]
    Nothing {
        /// The file or folder.
        path: PathBuf,
        /// What it holds instead.
        what: String,
        /// Number of these.
        count: u64,
    },
    /// A folder has no file of a known kind, or none of the wanted split.
    #[error("{} holds no {wanted}", path.display())]
    NoShards {
        /// The file or folder.
        path: PathBuf,
        /// The expected files.
        wanted: String,
    },
    /// A compressed file is damaged or not compressed.
    #[error("{}: a gzip file that can't be read: {message}", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The fault.
        message: String,
    },
    /// A compressed file is damaged or not compressed.
    #[error("{}: a zstd file that can't be read: {message}", path.display())]
    Zstd {
        /// The file.
        path: PathBuf,
        /// The fault.
        message: String,
    },
    /// A table of comma-separated values is malformed.
    #[error("{}: a table that can't be read: {message}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The fault and its line.
        message: String,
    },
    /// Names of columns can't be mapped.
    #[error("{message}")]
    ColumnMap {
        /// The fault, and what there is.
        message: String,
    },
    /// A Parquet file is damaged or not Parquet.
    #[error("{} is not a readable Parquet file: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The fault.
        message: String,
    },
    /// A file is not an Arrow stream, or has columns of an unsupported type.
    #[error("{} is not a readable Arrow stream: {message}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// The fault.
        message: String,
    },
    /// A line is not JSON.
    #[error("{origin}, column {column}: broken JSON: {message}")]
    Json {
        /// The location.
        origin: Origin,
        /// The column in the line, from 1.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// An array of records does not end at the end of its file.
    #[error("{origin}: broken JSON: {message}")]
    Array {
        /// The location.
        origin: Origin,
        /// The fault.
        message: String,
    },
    /// A line is not UTF-8.
    #[error("{origin}: not UTF-8 at byte {byte} of the record")]
    Utf8 {
        /// The location.
        origin: Origin,
        /// Offset of the first invalid byte, from 0.
        byte: usize,
    },
    /// A record exceeds the size limit.
    #[error("{origin}: the record is longer than {limit} bytes; is this one record a line?")]
    TooLong {
        /// The start of the record.
        origin: Origin,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A record has too many answers for a batch.
    #[error("{origin}: {found} answers to one prompt, more than {limit}: leave those of the middle ranks out")]
    ManyAnswers {
        /// The record.
        origin: Origin,
        /// Number of answers.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A text exceeds the size limit.
    #[error("{origin}: a text is longer than {limit} bytes, more than any model reads")]
    LongText {
        /// The location.
        origin: Origin,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A field is missing.
    #[error("{origin}: field `{field}` is missing (found: {found})")]
    MissingField {
        /// The location.
        origin: Origin,
        /// The field.
        field: String,
        /// The fields of the record.
        found: String,
    },
    /// A field has the wrong type or an invalid value.
    #[error("{origin}: field `{field}` should be {expected}, but is {got}")]
    WrongType {
        /// The location.
        origin: Origin,
        /// The field.
        field: String,
        /// The expected type or value.
        expected: &'static str,
        /// The actual one.
        got: String,
    },
    /// A field changes the meaning of a record and is not supported.
    #[error("{origin}: field `{field}` {message}")]
    Column {
        /// The location.
        origin: Origin,
        /// The field.
        field: String,
        /// The reason it can't be ignored, and what to do, as the end of a sentence.
        message: String,
    },
    /// An answer has no text.
    #[error("{origin}: the answer in `{field}` is empty")]
    EmptyAnswer {
        /// The location.
        origin: Origin,
        /// The field.
        field: String,
    },
    /// The sides of a pair have different prompts.
    #[error("{origin}: `chosen` and `rejected` do not share a prompt: {detail}")]
    PromptMismatch {
        /// The location.
        origin: Origin,
        /// The difference.
        detail: String,
    },
    /// A record has no known format.
    #[error("{origin}: no known format has the fields {found}; known are {known}")]
    UnknownFormat {
        /// The location.
        origin: Origin,
        /// The fields of the record.
        found: String,
        /// The known formats and their fields.
        known: String,
    },
    /// A name is not one of a fixed set.
    #[error("unknown {what} `{name}`; known are {known}")]
    UnknownName {
        /// The kind of name.
        what: &'static str,
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// A chat template is invalid, or raised an exception.
    #[error("chat template: {message}")]
    Template {
        /// The message.
        message: String,
    },
    /// A chat record could not be turned into text.
    #[error("{origin}: {message}")]
    Chat {
        /// The location.
        origin: Origin,
        /// The reason.
        message: String,
    },
    /// A tokeniser failed on a text.
    #[error("{origin}: the tokeniser failed: {message}")]
    Tokenizer {
        /// The location.
        origin: Origin,
        /// The tokeniser's message.
        message: String,
    },
    /// The weight of a data set in a mixture is invalid.
    #[error("the weight {weight} of data set {}: {hint}", position + 1)]
    Weight {
        /// Index of the data set.
        position: usize,
        /// Its weight.
        weight: f64,
        /// The requirement.
        hint: &'static str,
    },
    /// A setting is invalid.
    #[error("{name} is {value}: {hint}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The requirement.
        hint: &'static str,
    },
    /// A tensor file is damaged or malformed.
    #[error("{} {message}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// The fault, as the end of a sentence about the file.
        message: String,
    },
    /// An image can't be read.
    #[error("{origin}: the picture {name} {message}")]
    Image {
        /// The location.
        origin: Origin,
        /// The field, or the file it names.
        name: String,
        /// The fault.
        message: String,
    },
    /// The number of pixel values does not match the image's size.
    #[error("a picture of {height} x {width} pixels has {} values, not {got}", height * width * 3)]
    PixelCount {
        /// Height.
        height: usize,
        /// Width.
        width: usize,
        /// Number of values.
        got: usize,
    },
    /// An index is out of range.
    #[error("there is no example {index}: the data set has {len}")]
    OutOfRange {
        /// The index.
        index: usize,
        /// Number of examples.
        len: usize,
    },
    /// The temporary file of tokens or images could not be written or read.
    #[error("the temporary file of examples, in the system's folder of temporary files (TMPDIR), failed")]
    Spool(#[source] std::io::Error),
}

impl DatasetError {
    /// The error of a file without a record to learn from. `not_read` counts columns, and in brackets what was left out.
    pub(crate) fn of_nothing(path: PathBuf, not_read: &BTreeMap<String, u64>) -> Self {
        match not_read.iter().find(|(what, _)| what.starts_with('(')) {
            Some((what, &count)) => Self::Nothing { path, what: what.trim_matches(['(', ')']).to_owned(), count },
            None => Self::Empty { path },
        }
    }

    /// Whether the error concerns one record, so that the others remain usable.
    pub fn is_about_one_record(&self) -> bool {
        matches!(
            self,
            Self::Json { .. }
                | Self::Utf8 { .. }
                | Self::MissingField { .. }
                | Self::WrongType { .. }
                | Self::Column { .. }
                | Self::EmptyAnswer { .. }
                | Self::PromptMismatch { .. }
                | Self::Chat { .. }
                | Self::Image { .. }
                | Self::LongText { .. }
        )
    }
}

//! Everything that can be wrong with data, each with the place where it is wrong.
use std::path::PathBuf;

use crate::record::Origin;

/// What was wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder of pairs, or one of its files, is not what it should be.
    #[error("{} {message}", path.display())]
    Pairs {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence about it.
        message: String,
    },
    /// A file or folder holds no record.
    #[error("{} holds no record", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// Every record of a file was left out because it was broken.
    #[error("{}: all {count} records are broken; the first: {first}", path.display())]
    AllBad {
        /// The file or folder.
        path: PathBuf,
        /// How many.
        count: u64,
        /// What was wrong with the first.
        first: String,
    },
    /// A folder holds no file of a known kind, or nothing of the wanted split.
    #[error("{} holds no {wanted}", path.display())]
    NoShards {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
    },
    /// A compressed file is damaged or not compressed at all.
    #[error("{}: a gzip file that can't be read: {message}", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A Parquet file is damaged or not Parquet at all.
    #[error("{} is not a readable Parquet file: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file is no stream of Arrow batches, or of columns that no record has.
    #[error("{} is not a readable Arrow stream: {message}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A line is not JSON.
    #[error("{origin}, column {column}: broken JSON: {message}")]
    Json {
        /// Where.
        origin: Origin,
        /// The column in that line, from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// An array of records does not end where its file does.
    #[error("{origin}: broken JSON: {message}")]
    Array {
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },
    /// A line is not UTF-8.
    #[error("{origin}: not UTF-8 at byte {byte} of the record")]
    Utf8 {
        /// Where.
        origin: Origin,
        /// The first bad byte, from 0.
        byte: usize,
    },
    /// A record is too long to be one.
    #[error("{origin}: the record is longer than {limit} bytes; is this one record a line?")]
    TooLong {
        /// Where it starts.
        origin: Origin,
        /// The most bytes a record may have.
        limit: usize,
    },
    /// A record has more answers than a batch can hold.
    #[error("{origin}: {found} answers to one prompt, more than {limit}: leave those of the middle ranks out")]
    ManyAnswers {
        /// The record.
        origin: Origin,
        /// How many it has.
        found: usize,
        /// The most a record may have.
        limit: usize,
    },
    /// A text is longer than any that a model reads.
    #[error("{origin}: a text is longer than {limit} bytes, more than any model reads")]
    LongText {
        /// Where.
        origin: Origin,
        /// The most bytes a text may have.
        limit: usize,
    },
    /// A field is missing.
    #[error("{origin}: field `{field}` is missing (found: {found})")]
    MissingField {
        /// Where.
        origin: Origin,
        /// The field.
        field: String,
        /// The fields that are there.
        found: String,
    },
    /// A field has the wrong type or an impossible value.
    #[error("{origin}: field `{field}` should be {expected}, but is {got}")]
    WrongType {
        /// Where.
        origin: Origin,
        /// The field.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// A field changes what a record means, and is of no use here.
    #[error("{origin}: field `{field}` {message}")]
    Column {
        /// Where.
        origin: Origin,
        /// The field.
        field: String,
        /// Why it can't be passed over, and what to do, as the end of a sentence about it.
        message: String,
    },
    /// An answer has no text.
    #[error("{origin}: the answer in `{field}` is empty")]
    EmptyAnswer {
        /// Where.
        origin: Origin,
        /// The field.
        field: String,
    },
    /// The two sides of a pair do not answer the same prompt.
    #[error("{origin}: `chosen` and `rejected` do not share a prompt: {detail}")]
    PromptMismatch {
        /// Where.
        origin: Origin,
        /// How they differ.
        detail: String,
    },
    /// A record is not of any known format.
    #[error("{origin}: no known format has the fields {found}; known are {known}")]
    UnknownFormat {
        /// Where.
        origin: Origin,
        /// The fields that are there.
        found: String,
        /// The formats there are and their fields.
        known: String,
    },
    /// A name is not one of a fixed set.
    #[error("unknown {what} `{name}`; known are {known}")]
    UnknownName {
        /// What was being named.
        what: &'static str,
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A chat template is broken, or refused the messages.
    #[error("chat template: {message}")]
    Template {
        /// What it said.
        message: String,
    },
    /// A chat record could not be turned into text.
    #[error("{origin}: {message}")]
    Chat {
        /// Where.
        origin: Origin,
        /// Why not.
        message: String,
    },
    /// A tokeniser failed on a text.
    #[error("{origin}: the tokeniser failed: {message}")]
    Tokenizer {
        /// Where.
        origin: Origin,
        /// What it said.
        message: String,
    },
    /// A setting is impossible.
    #[error("{name} is {value}: {hint}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        hint: &'static str,
    },
    /// A file of tensors is broken, or not what it should be.
    #[error("{} {message}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence about the file.
        message: String,
    },
    /// A picture cannot be read.
    #[error("{origin}: the picture {name} {message}")]
    Image {
        /// Where.
        origin: Origin,
        /// The field, or the file that it names.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A picture's values do not fill it.
    #[error("a picture of {height} x {width} pixels has {} values, not {got}", height * width * 3)]
    PixelCount {
        /// Its rows.
        height: usize,
        /// Its columns.
        width: usize,
        /// How many values were given.
        got: usize,
    },
    /// An example was asked for that is not there.
    #[error("there is no example {index}: the data set has {len}")]
    OutOfRange {
        /// What was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The temporary file that holds tokens or pictures could not be written or read.
    #[error("the temporary file of examples failed")]
    Spool(#[source] std::io::Error),
}

impl DatasetError {
    /// Whether it is about one record, so that the others can still be used.
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

//! Parses file rows to captions and encoded images.
//!
//! Two layouts are known, by their columns:
//! * Pick-a-Pic: `caption`, `jpg_0`, `jpg_1`, `label_0` (1: the first is better, 0: the second, 0.5: a tie), and
//!   optionally `has_label`;
//! * `prompt`, `caption` or `text`, and `chosen` and `rejected`, or `image`; instead of `image` an imagefolder's `file_name`,
//!   and `chosen_file_name` and `rejected_file_name` for the sides.
//!
//! An image is a path relative to the file's folder, bytes, or a group of `bytes` and `path`.

use std::path::Path;

use serde_json::Value;

use super::decode::read_file;
use super::kind::ImageKind;
use crate::error::DatasetError;
use crate::reading::Cell;
use crate::record::Origin;

/// The names of columns that something reads.
pub const COLUMNS: [&str; 13] = [
    "caption",
    "prompt",
    "text",
    "chosen",
    "rejected",
    "image",
    "file_name",
    "chosen_file_name",
    "rejected_file_name",
    "jpg_0",
    "jpg_1",
    "label_0",
    "has_label",
];

/// An encoded image.
pub(super) struct Encoded {
    /// The column or file, for messages.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// A caption with one image, or with a better and a worse one.
pub(super) struct RawImages {
    pub(super) origin: Origin,
    pub(super) caption: String,
    pub(super) best: Encoded,
    pub(super) worst: Option<Encoded>,
}

impl RawImages {
    /// Size of its images, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.best.bytes.len() + self.worst.as_ref().map_or(0, |worst| worst.bytes.len())
    }
}

/// The result of parsing a row.
pub(super) enum RawRow {
    Images(Box<RawImages>),
    /// The images are tied.
    Tied,
    /// There is no label.
    Unlabelled,
    /// An image has no bytes.
    Missing,
}

/// The columns of one row.
pub(super) struct Columns<'a> {
    pub(super) origin: &'a Origin,
    pub(super) cells: &'a [(String, Cell)],
}

impl Columns<'_> {
    /// Parses the row to the requested kind.
    pub(super) fn parse(&self, kind: ImageKind) -> Result<RawRow, DatasetError> {
        if self.cells.iter().any(|(name, _)| name == "jpg_0" || name == "jpg_1") {
            return self.parse_pick_a_pic(kind);
        }
        if !["chosen", "rejected", "image"].iter().any(|name| self.get(name).is_some()) {
            let known = "prompt, caption or text with chosen and rejected, or with image or file_name; caption, jpg_0, jpg_1, label_0";
            let (origin, found) = (self.origin.clone(), self.names());
            return Err(DatasetError::UnknownFormat { origin, found, known: known.to_owned() });
        }
        let best = match kind {
            ImageKind::Captioned if self.get("image").is_some() => "image",
            ImageKind::Captioned | ImageKind::Pairs => "chosen",
        };
        let (caption, best) = (self.caption()?, self.picture(best)?);
        let worst = if kind == ImageKind::Pairs { Some(self.picture("rejected")?) } else { None };
        Ok(self.images(caption, best, worst))
    }

    fn parse_pick_a_pic(&self, kind: ImageKind) -> Result<RawRow, DatasetError> {
        if matches!(self.get("has_label"), Some(Cell::Json(Value::Bool(false)))) || self.get("label_0").is_none() {
            return Ok(RawRow::Unlabelled);
        }
        let label = match self.get("label_0") {
            Some(Cell::Json(value)) => value.as_f64(),
            _ => None,
        };
        let (best, worst) = match label {
            Some(1.0) => ("jpg_0", "jpg_1"),
            Some(0.0) => ("jpg_1", "jpg_0"),
            Some(0.5) => return Ok(RawRow::Tied),
            _ => return Err(self.wrong("label_0", "1, 0 or 0.5")),
        };
        let wanted = if kind == ImageKind::Pairs { &[best, worst][..] } else { &[best][..] };
        if wanted.iter().any(|name| self.is_without_bytes(name)) {
            return Ok(RawRow::Missing);
        }
        let (caption, best) = (self.caption()?, self.picture(best)?);
        let worst = if kind == ImageKind::Pairs { Some(self.picture(worst)?) } else { None };
        Ok(self.images(caption, best, worst))
    }

    fn images(&self, caption: String, best: Encoded, worst: Option<Encoded>) -> RawRow {
        RawRow::Images(Box::new(RawImages { origin: self.origin.clone(), caption, best, worst }))
    }

    /// A non-empty column.
    /// A column by its name, or by that of an imagefolder's metadata.
    fn get(&self, name: &str) -> Option<&Cell> {
        let named = |name: &str| self.named(name);
        named(name).or_else(|| match name {
            "image" => named("file_name"),
            "chosen" => named("chosen_file_name"),
            "rejected" => named("rejected_file_name"),
            _ => None,
        })
    }

    fn named(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|(found, _)| found == name).map(|(_, cell)| cell).filter(|cell| !is_null(cell))
    }

    fn required(&self, name: &str) -> Result<&Cell, DatasetError> {
        self.get(name).ok_or_else(|| DatasetError::MissingField {
            origin: self.origin.clone(),
            field: name.to_owned(),
            found: self.names(),
        })
    }

    fn caption(&self) -> Result<String, DatasetError> {
        let name = ["caption", "prompt", "text"].into_iter().find(|name| self.get(name).is_some()).unwrap_or("prompt");
        let text = match self.required(name)? {
            Cell::Json(Value::String(text)) => Some(text.clone()),
            // Old writers leave out the note that a column of bytes is text.
            Cell::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            Cell::Json(_) | Cell::Group(_) => None,
        };
        text.ok_or_else(|| self.wrong(name, "a text"))
    }

    fn is_without_bytes(&self, name: &str) -> bool {
        match self.get(name) {
            None => true,
            Some(Cell::Bytes(bytes)) => bytes.is_empty(),
            Some(Cell::Group(cells)) => !cells.iter().any(|(_, cell)| !is_null(cell)),
            Some(Cell::Json(_)) => false,
        }
    }

    fn picture(&self, name: &str) -> Result<Encoded, DatasetError> {
        let embedded = |bytes: &[u8]| Encoded { name: format!("in `{name}`"), bytes: bytes.to_vec() };
        match self.required(name)? {
            Cell::Bytes(bytes) => Ok(embedded(bytes)),
            Cell::Json(Value::String(path)) => self.file(path),
            Cell::Group(cells) => {
                let of = |name: &str| cells.iter().find(|(found, _)| found == name).map(|(_, cell)| cell);
                match (of("bytes"), of("path")) {
                    (Some(Cell::Bytes(bytes)), _) => Ok(embedded(bytes)),
                    (_, Some(Cell::Json(Value::String(path)))) => self.file(path),
                    _ => Err(self.wrong(name, "a picture with `bytes` or `path`")),
                }
            }
            Cell::Json(_) => Err(self.wrong(name, "a picture (a path, or bytes)")),
        }
    }

    /// Reads a file relative to the data file.
    fn file(&self, path: &str) -> Result<Encoded, DatasetError> {
        let whole = self.origin.file.parent().unwrap_or(Path::new("")).join(path);
        let name = whole.display().to_string();
        let bytes = read_file(&whole).map_err(|message| DatasetError::Image {
            origin: self.origin.clone(),
            name: name.clone(),
            message,
        })?;
        Ok(Encoded { name, bytes })
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.cells.iter().filter(|(_, cell)| !is_null(cell)).map(|(name, _)| &**name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn wrong(&self, field: &str, expected: &'static str) -> DatasetError {
        let got = match self.get(field) {
            None => "absent".to_owned(),
            Some(Cell::Json(value)) => value.to_string().chars().take(40).collect(),
            Some(Cell::Bytes(bytes)) => format!("{} bytes", bytes.len()),
            Some(Cell::Group(_)) => "a group".to_owned(),
        };
        DatasetError::WrongType { origin: self.origin.clone(), field: field.to_owned(), expected, got }
    }
}

fn is_null(cell: &Cell) -> bool {
    matches!(cell, Cell::Json(Value::Null))
}

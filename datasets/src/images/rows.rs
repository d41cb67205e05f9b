//! Parses file rows to captions and encoded images.
//!
//! Two layouts are known, by their columns:
//! * Pick-a-Pic: `caption`, `jpg_0`, `jpg_1`, `label_0` (1: the first is better, 0: the second, 0.5: a tie), and
//!   optionally `has_label`;
//! * `prompt`, `caption` or `text`, and `chosen` and `rejected`, or `image`; instead of `image` an imagefolder's `file_name`,
//!   and `chosen_file_name` and `rejected_file_name` for the sides;
//! * the same with `images`, a list of paths, best first or with `ranks` (1 is best) or `scores` (the largest is best);
//! * the same with `image` and `label` (true, false, 1, 0): one image, liked or not.
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

/// A caption with images, best first.
pub(super) struct RawImages {
    pub(super) origin: Origin,
    pub(super) caption: String,
    pub(super) images: Vec<Encoded>,
    /// Whether a single image is liked.
    pub(super) is_liked: bool,
}

impl RawImages {
    /// Size of its images, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.images.iter().map(|image| image.bytes.len()).sum()
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
        if !["chosen", "rejected", "image", "images"].iter().any(|name| self.get(name).is_some()) {
            let known = "prompt, caption or text with chosen and rejected, with images, or with image or file_name; caption, jpg_0, \
                         jpg_1, label_0";
            let (origin, found) = (self.origin.clone(), self.names());
            return Err(DatasetError::UnknownFormat { origin, found, known: known.to_owned() });
        }
        let caption = self.caption()?;
        if self.get("images").is_some() && self.get("chosen").is_none() {
            return self.ranked(caption, kind);
        }
        let is_single = self.get("image").is_some();
        match kind {
            ImageKind::Captioned => {
                let image = self.picture(if is_single { "image" } else { "chosen" })?;
                Ok(self.images(caption, vec![image], true))
            }
            ImageKind::Judged if is_single && self.get("chosen").is_none() => {
                let Some(is_liked) = self.label()? else { return Ok(RawRow::Unlabelled) };
                Ok(self.images(caption, vec![self.picture("image")?], is_liked))
            }
            ImageKind::Pairs | ImageKind::Judged => {
                Ok(self.images(caption, vec![self.picture("chosen")?, self.picture("rejected")?], true))
            }
        }
    }

    /// Whether a single image is liked; `None` without a label.
    fn label(&self) -> Result<Option<bool>, DatasetError> {
        let wrong = || self.wrong("label", "true, false, 1 or 0");
        match self.get("label") {
            None => Ok(None),
            Some(Cell::Json(Value::Bool(is_liked))) => Ok(Some(*is_liked)),
            Some(Cell::Json(value)) => match value.as_f64() {
                Some(1.0) => Ok(Some(true)),
                Some(0.0) => Ok(Some(false)),
                Some(_) | None => Err(wrong()),
            },
            Some(Cell::Bytes(_) | Cell::Group(_)) => Err(wrong()),
        }
    }

    /// A list of images; two with the same rank are tied.
    fn ranked(&self, caption: String, kind: ImageKind) -> Result<RawRow, DatasetError> {
        let wrong = || self.wrong("images", "a list of two or more paths");
        let Some(Cell::Json(Value::Array(paths))) = self.get("images") else { return Err(wrong()) };
        if paths.len() < 2 {
            return Err(wrong());
        }
        let images =
            paths.iter().map(|path| self.file(path.as_str().ok_or_else(wrong)?)).collect::<Result<Vec<_>, _>>()?;
        let keys = match (self.numbers("ranks", images.len())?, self.numbers("scores", images.len())?) {
            (Some(ranks), _) => ranks,
            (None, Some(scores)) => scores.iter().map(|score| -score).collect(),
            (None, None) => (0..images.len()).map(|place| place as f64).collect(),
        };
        let mut ordered: Vec<(f64, Encoded)> = keys.into_iter().zip(images).collect();
        ordered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        if kind != ImageKind::Captioned && ordered.windows(2).any(|two| two[0].0 == two[1].0) {
            return Ok(RawRow::Tied);
        }
        let n = if kind == ImageKind::Captioned { 1 } else { ordered.len() };
        Ok(self.images(caption, ordered.into_iter().take(n).map(|(_, image)| image).collect(), true))
    }

    /// A column of so many numbers, if it is there.
    fn numbers(&self, name: &str, n: usize) -> Result<Option<Vec<f64>>, DatasetError> {
        let Some(cell) = self.get(name) else { return Ok(None) };
        let numbers = match cell {
            Cell::Json(Value::Array(values)) => values.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>(),
            Cell::Json(_) | Cell::Bytes(_) | Cell::Group(_) => None,
        };
        let numbers = numbers.filter(|numbers| numbers.len() == n && numbers.iter().all(|number| number.is_finite()));
        numbers.map(Some).ok_or_else(|| self.wrong(name, "a number for each of `images`"))
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
        let wanted = if kind == ImageKind::Captioned { &[best][..] } else { &[best, worst][..] };
        if wanted.iter().any(|name| self.is_without_bytes(name)) {
            return Ok(RawRow::Missing);
        }
        let images = wanted.iter().map(|name| self.picture(name)).collect::<Result<_, _>>()?;
        Ok(self.images(self.caption()?, images, true))
    }

    fn images(&self, caption: String, images: Vec<Encoded>, is_liked: bool) -> RawRow {
        RawRow::Images(Box::new(RawImages { origin: self.origin.clone(), caption, images, is_liked }))
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

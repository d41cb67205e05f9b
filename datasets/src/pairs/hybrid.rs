//! Judged hybrid pairs from other programs: `data.format` hybrid.
//!
//! One record per line (JSON lines, a JSON array, either gzipped, or Parquet):
//!
//! ```json
//! {"version": 1, "request": "a pet",
//!  "chosen":   {"refined": "a small dog, oil painting", "image": "images/0-w.png"},
//!  "rejected": {"refined": "a cat", "image": "images/0-l.png"}}
//! ```
//!
//! * `version` is optional; the default is 1.
//! * `refined` is absent or null if no refiner was used; the generator's prompt is then the request.
//! * `image` is a path relative to the file's folder; PNG, JPEG and WebP are read.
//! * a side may repeat the `request`; one that differs from the record's is an error, because the values of the first
//!   states would not cancel in the loss.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::VERSION;
use crate::error::DatasetError;
use crate::formats::fields::Fields;
use crate::images::decode::{decode, read_file};
use crate::images::{Pixels, Preparation};
use crate::reading;
use crate::record::Origin;

/// A request with a preferred and a rejected result.
#[derive(Clone, Debug, PartialEq)]
pub struct HybridRecord {
    /// The location in the file, for messages.
    pub origin: Origin,
    /// The request.
    pub request: String,
    /// The better side.
    pub chosen: HybridSide,
    /// The worse side.
    pub rejected: HybridSide,
}

/// A refined prompt and the image generated from it.
#[derive(Clone, Debug, PartialEq)]
pub struct HybridSide {
    /// The generator's prompt; `None` if it is the request.
    pub refined: Option<String>,
    /// The image file.
    pub image: PathBuf,
    origin: Origin,
}

impl HybridSide {
    /// The image, resized and cropped to a square of this size.
    ///
    /// # Errors
    /// The file is missing or not an image.
    pub fn pixels(&self, size: usize) -> Result<Pixels, DatasetError> {
        let wrong = |message| {
            let name = self.image.display().to_string();
            DatasetError::Image { origin: self.origin.clone(), name, message }
        };
        let bytes = read_file(&self.image).map_err(wrong)?;
        Ok(decode(&bytes, Preparation::default()).map_err(wrong)?.square(size))
    }
}

/// Reads all records of a file; image files are located now and decoded on access.
///
/// # Errors
/// The file can't be read or is empty, or a record is malformed: the error names line and field, or the image.
pub fn read(path: &Path) -> Result<Vec<HybridRecord>, DatasetError> {
    let records = reading::rows(path)?.map(|row| row.and_then(|(origin, value)| parse(&origin, &value)));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    if records.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    Ok(records)
}

fn parse(origin: &Origin, value: &Value) -> Result<HybridRecord, DatasetError> {
    let fields = Fields::new(origin, value)?;
    if fields.has("version") && fields.count("version")? != VERSION {
        return Err(fields.wrong("version", "1, the only one there is", fields.required("version")?));
    }
    let request = fields.string("request")?.to_owned();
    let side = |name, path| {
        let side = fields.object(name, path)?;
        if side.has("request") && side.string("request")? != request {
            let detail = format!("`{path}request` is another one than the record's");
            return Err(DatasetError::PromptMismatch { origin: origin.clone(), detail });
        }
        let refined = if side.has("refined") { Some(side.string("refined")?.to_owned()) } else { None };
        if refined.as_ref().is_some_and(|refined| refined.trim().is_empty()) {
            return Err(DatasetError::EmptyAnswer { origin: origin.clone(), field: format!("{path}refined") });
        }
        let image = origin.file.parent().unwrap_or(Path::new("")).join(side.string("image")?);
        if !image.is_file() {
            let (name, message) = (image.display().to_string(), "is not there".to_owned());
            return Err(DatasetError::Image { origin: origin.clone(), name, message });
        }
        Ok(HybridSide { refined, image, origin: origin.clone() })
    };
    let (chosen, rejected) = (side("chosen", "chosen.")?, side("rejected", "rejected.")?);
    Ok(HybridRecord { origin: origin.clone(), request, chosen, rejected })
}

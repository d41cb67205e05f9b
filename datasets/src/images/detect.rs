//! Detects the kind of an image data file without reading all of it.

use std::path::Path;

use serde_json::Value;

use super::kind::ImageKind;
use super::tensors::TensorFile;
use crate::error::DatasetError;
use crate::reading::{self, Cell};
use crate::record::Origin;

/// File name extensions of images.
const PICTURES: [&str; 4] = [".png", ".jpg", ".jpeg", ".webp"];

/// The contents of a tensor file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// [`super::Latents`] with pairs or single images.
    Latents(ImageKind),
    /// [`super::DrawFile`].
    Draws,
    /// [`super::TrajectoryFile`].
    Trajectories,
    /// Unknown contents.
    Other,
}

/// Detects the contents of a safetensors file by its tensor names.
///
/// # Errors
/// It can't be read, or is not a complete safetensors file.
pub fn tensor_kind(path: &Path) -> Result<TensorKind, DatasetError> {
    let file = TensorFile::open(path)?;
    let has = |name: &str| file.shape(name).is_some();
    Ok(if has("latents") && has("timesteps") {
        TensorKind::Trajectories
    } else if has("chosen") {
        TensorKind::Latents(if has("rejected") { ImageKind::Pairs } else { ImageKind::Captioned })
    } else if has("noise") && has("timesteps") {
        TensorKind::Draws
    } else {
        TensorKind::Other
    })
}

/// Detects the kind of images in the first record of a file or a folder of shards; `None` without images.
///
/// # Errors
/// The file does not exist, or its first record is malformed.
pub fn picture_kind(path: &Path) -> Result<Option<ImageKind>, DatasetError> {
    let Some(shard) = reading::shards(path, None)?.files.into_iter().next() else { return Ok(None) };
    let Some(row) = reading::cell_rows(&shard)?.next() else { return Ok(None) };
    let (_, cells) = row?;
    let is = |name: &str| cells.iter().any(|(found, cell)| found == name && is_picture(cell));
    let has = |name: &str| cells.iter().any(|(found, _)| found == name);
    if has("images")
        || is("chosen") && is("rejected")
        || has("jpg_0")
        || has("chosen_file_name") && has("rejected_file_name")
    {
        return Ok(Some(ImageKind::Pairs));
    }
    let is_captioned = is("chosen") || ["image", "file_name", "chosen_file_name"].into_iter().any(has);
    Ok(is_captioned.then_some(ImageKind::Captioned))
}

/// The names of the first record's columns in a file or a folder of shards, with its place; `None` without records.
///
/// # Errors
/// As [`picture_kind`].
pub fn column_names(path: &Path) -> Result<Option<(Origin, Vec<String>)>, DatasetError> {
    let Some(shard) = reading::shards(path, None)?.files.into_iter().next() else { return Ok(None) };
    let Some(row) = reading::cell_rows(&shard)?.next() else { return Ok(None) };
    let (origin, cells) = row?;
    Ok(Some((origin, cells.into_iter().map(|(name, _)| name).collect())))
}

fn is_picture(cell: &Cell) -> bool {
    match cell {
        Cell::Bytes(_) | Cell::Group(_) => true,
        Cell::Json(Value::String(path)) => PICTURES.iter().any(|end| path.to_lowercase().ends_with(end)),
        Cell::Json(_) => false,
    }
}

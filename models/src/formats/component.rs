//! Components of diffusers folders: a `config.json` and weights with convolution kernels `[out, in, height, width]`.
//!
//! In memory a kernel is `[out, height, width, in]`, the engine's layout; every four-dimensional tensor is a kernel and
//! is transposed when read and written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use serde_json::Value;

use super::SaveOptions;
use super::extras::read_object;
use super::huggingface::{compare, sharded};
use super::save::write_weights;
use super::staging::Staging;
use super::stored_types;
use crate::ModelError;
use crate::weights_file::WeightsFile;

/// The required weights of a component.
pub(crate) struct Expected<'a> {
    /// Its class in diffusers or transformers, for messages.
    pub(crate) class: &'a str,
    /// The name of the file without `.safetensors`: `diffusion_pytorch_model`, `model`.
    pub(crate) stem: &'a str,
    /// Every tensor with its shape in memory.
    pub(crate) shapes: &'a BTreeMap<String, Vec<usize>>,
    /// The canonical name of a tensor of the file; `None` for an unused one.
    pub(crate) canonical: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads and validates the `config.json` of a component; errors name the file.
///
/// # Errors
/// A missing or damaged file, and errors of `parse`.
pub(crate) fn read_config<T>(
    folder: &Path,
    parse: impl FnOnce(&Value) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    let path = folder.join("config.json");
    parse(&read_object(&path)?).map_err(|e| match e {
        ModelError::Config { .. } | ModelError::Architecture { .. } => ModelError::format(path, e.to_string()),
        other => other,
    })
}

/// Reads the weights of a component as f32, with kernels transposed.
///
/// # Errors
/// No weights in the folder, damaged files, tensors that are missing, unknown, of the wrong shape or not finite.
pub(crate) fn read_tensors(
    folder: &Path,
    expected: &Expected<'_>,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let paths = weight_files(folder, expected.stem)?;
    let files = paths.iter().map(|path| WeightsFile::open(path)).collect::<Result<Vec<_>, _>>()?;
    let (mut places, mut found) = (BTreeMap::new(), BTreeMap::new());
    for (index, file) in files.iter().enumerate() {
        for (stored, entry) in file.entries() {
            let Some(name) = (expected.canonical)(stored) else { continue };
            found.insert(name.clone(), turned_shape(&entry.shape));
            if places.insert(name, (index, stored.clone())).is_some() {
                return Err(ModelError::tensor(file.path(), stored, "is there twice"));
            }
        }
    }
    let path = if let [only] = paths.as_slice() { only } else { folder };
    compare(path, expected.class, expected.shapes, &found)?;
    let read = |(name, (file, stored)): (String, (usize, String))| {
        let tensor: Tensor = files[file].read(&stored, device)?;
        Ok((name, from_file(tensor)?))
    };
    places.into_iter().map(read).collect()
}

/// The type that most numbers of a component are stored in.
///
/// # Errors
/// No weights in the folder, damaged files.
pub(crate) fn stored_type(folder: &Path, stem: &str) -> Result<DType, ModelError> {
    let files =
        weight_files(folder, stem)?.iter().map(|path| WeightsFile::open(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(stored_types::of_files(&files))
}

/// Writes weights into a staging folder, with kernels transposed back.
///
/// # Errors
/// An I/O error, or a tensor can't be copied to the host.
pub(crate) fn write_tensors(
    staging: &Staging,
    stem: &str,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    let turned = tensors.iter().map(|(name, tensor)| Ok((name.clone(), to_file(tensor)?)));
    let turned = turned.collect::<Result<BTreeMap<_, _>, ModelError>>()?;
    write_weights(staging, stem, &turned, options)
}

/// Transposes a kernel to the engine's layout; other tensors are unchanged.
pub(crate) fn from_file(tensor: Tensor) -> Result<Tensor, ModelError> {
    if tensor.rank() != 4 {
        return Ok(tensor);
    }
    Ok(tensor.permute((0, 2, 3, 1))?.contiguous()?)
}

/// Transposes a kernel to the file's layout; other tensors are unchanged.
pub(crate) fn to_file(tensor: &Tensor) -> Result<Tensor, ModelError> {
    if tensor.rank() != 4 {
        return Ok(tensor.clone());
    }
    Ok(tensor.permute((0, 3, 1, 2))?.contiguous()?)
}

fn turned_shape(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [n_out, n_in, height, width] => vec![n_out, height, width, n_in],
        _ => shape.to_vec(),
    }
}

/// The weight files: full precision before half, one file before shards.
fn weight_files(folder: &Path, stem: &str) -> Result<Vec<PathBuf>, ModelError> {
    for (single, index) in [
        (format!("{stem}.safetensors"), format!("{stem}.safetensors.index.json")),
        (format!("{stem}.fp16.safetensors"), format!("{stem}.safetensors.index.fp16.json")),
    ] {
        let (single, index) = (folder.join(single), folder.join(index));
        if single.is_file() {
            return Ok(vec![single]);
        }
        if index.is_file() {
            return sharded(folder, &index);
        }
    }
    let pickles = [format!("{stem}.bin"), format!("{stem}.fp16.bin"), "pytorch_model.bin".to_owned()];
    let reason = if let Some(pickle) = pickles.iter().find(|name| folder.join(name).is_file()) {
        format!(
            "only {pickle} weights, which are Python pickles and are not read; save the model again with \
             save_pretrained(.., safe_serialization=True)"
        )
    } else {
        format!("no weights: {stem}.safetensors, {stem}.fp16.safetensors or an index of shards is expected")
    };
    Err(ModelError::format(folder, reason))
}

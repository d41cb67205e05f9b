//! Writes Hugging Face model folders.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use engine::transfer::to_host;
use serde_json::{Map, Value, json};

use super::Extras;
use super::huggingface::check_tensors;
use super::staging::Staging;
use crate::ModelError;
use crate::causal::CausalConfig;
use crate::tensors::shapes;

/// Options of written weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// The dtype: F32, F16 or BF16.
    pub dtype: DType,
    /// The maximum size of a weight file in bytes; a larger tensor gets its own file.
    pub max_shard_bytes: u64,
}

impl Default for SaveOptions {
    /// f32, in files of up to 5 GB, as transformers does.
    fn default() -> Self {
        Self { dtype: DType::F32, max_shard_bytes: 5_000_000_000 }
    }
}

/// Writes a folder that transformers loads: config, weights, and byte-identical copies of the extra files.
///
/// The write is atomic: a staging folder beside the target is renamed and replaces an existing one. Tensors have their
/// Hugging Face names.
///
/// # Errors
/// Tensors that do not match `config`, a dtype that is not floating-point, an I/O error.
pub fn save_huggingface(
    folder: &Path,
    config: &CausalConfig,
    tensors: &BTreeMap<String, Tensor>,
    extras: &Extras,
    options: SaveOptions,
) -> Result<(), ModelError> {
    check_tensors(folder, config, &shapes(tensors))?;
    let staging = Staging::new(folder)?;
    staging.write("config.json", format!("{:#}\n", written_config(config, options)?).as_bytes())?;
    write_weights(&staging, "model", tensors, options)?;
    for (name, bytes) in extras.iter() {
        staging.write(name, bytes)?;
    }
    staging.publish()
}

/// The source config with the written dtype and class.
fn written_config(config: &CausalConfig, options: SaveOptions) -> Result<Value, ModelError> {
    let mut value = config.source.clone();
    let name = match options.dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        other => return Err(wrong_dtype(other)),
    };
    // Both spellings may exist, and transformers reads the newer one.
    let has_older = value.get("torch_dtype").is_some();
    for key in ["torch_dtype", "dtype"] {
        if value.get(key).is_some() || (key == "dtype" && !has_older) {
            value[key] = json!(name);
        }
    }
    if value.get("architectures").is_none_or(Value::is_null) {
        value["architectures"] = json!([config.family.class]);
    }
    Ok(value)
}

fn wrong_dtype(found: DType) -> ModelError {
    let expected = "F32, F16 or BF16".to_owned();
    ModelError::Argument { what: "type of saved weights".to_owned(), expected, got: format!("{found:?}") }
}

/// Writes weights as `STEM.safetensors`, or as shards with their index if they exceed the maximum file size.
///
/// # Errors
/// An I/O error, or a tensor can't be copied to the host.
pub(super) fn write_weights(
    staging: &Staging,
    stem: &str,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    let shards = shards(tensors, options);
    if let [all] = shards.as_slice() {
        return write_safetensors(&staging.path(&format!("{stem}.safetensors")), all, options.dtype);
    }
    let mut map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = format!("{stem}-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        write_safetensors(&staging.path(&name), shard, options.dtype)?;
        map.extend(shard.iter().map(|(tensor, _)| ((*tensor).to_owned(), json!(name))));
    }
    let elements: usize = tensors.values().map(Tensor::elem_count).sum();
    let metadata = json!({ "total_parameters": elements, "total_size": elements * options.dtype.size_in_bytes() });
    let index = json!({ "metadata": metadata, "weight_map": map });
    staging.write(&format!("{stem}.safetensors.index.json"), format!("{index:#}\n").as_bytes())
}

/// Fills files in turn, in name order.
fn shards(tensors: &BTreeMap<String, Tensor>, options: SaveOptions) -> Vec<Vec<(&str, &Tensor)>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for (name, tensor) in tensors {
        let bytes = (tensor.elem_count() * options.dtype.size_in_bytes()) as u64;
        if size > 0 && size + bytes > options.max_shard_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push((name.as_str(), tensor));
        }
    }
    shards
}

/// Writes tensors as one safetensors file, one tensor in memory at a time.
///
/// # Errors
/// An I/O error, or a tensor can't be copied to the host.
pub(super) fn write_safetensors(path: &Path, tensors: &[(&str, &Tensor)], dtype: DType) -> Result<(), ModelError> {
    write_described(path, tensors, dtype, &[])
}

/// [`write_safetensors`] with more entries in the header's metadata.
///
/// # Errors
/// An I/O error, or a tensor can't be copied to the host.
pub(super) fn write_described(
    path: &Path,
    tensors: &[(&str, &Tensor)],
    dtype: DType,
    metadata: &[(&str, String)],
) -> Result<(), ModelError> {
    let io = |e| ModelError::io(path, e);
    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    let header = header(tensors, dtype, metadata)?;
    out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(io)?;
    for (_, tensor) in tensors {
        let written = match dtype {
            DType::F32 => to_host::<f32>(tensor)?.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            DType::F16 => to_host::<half::f16>(tensor)?.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            DType::BF16 => to_host::<half::bf16>(tensor)?.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            other => return Err(wrong_dtype(other)),
        };
        written.map_err(io)?;
    }
    out.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)
}

/// The header with every tensor's type, shape and offsets, padded to a multiple of eight bytes.
fn header(tensors: &[(&str, &Tensor)], dtype: DType, metadata: &[(&str, String)]) -> Result<Vec<u8>, ModelError> {
    let name = match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        other => return Err(wrong_dtype(other)),
    };
    let mut entries = Map::new();
    // transformers refuses a file that does not name its framework.
    let mut described = json!({ "format": "pt" });
    for (key, text) in metadata {
        described[*key] = json!(text);
    }
    entries.insert("__metadata__".to_owned(), described);
    let mut begin = 0;
    for (tensor, values) in tensors {
        let end = begin + values.elem_count() * dtype.size_in_bytes();
        let entry = json!({ "dtype": name, "shape": values.dims(), "data_offsets": [begin, end] });
        entries.insert((*tensor).to_owned(), entry);
        begin = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

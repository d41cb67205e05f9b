//! Writing Hugging Face model folders.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::Extras;
use super::huggingface::check_tensors;
use super::staging::Staging;
use crate::ModelError;
use crate::causal::{Architecture, CausalConfig};
use crate::tensors::shapes;

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// Type of the numbers: F32, F16 or BF16.
    pub dtype: DType,
    /// Bytes of weights a file holds at most; a tensor larger than this has a file of its own.
    pub max_shard_bytes: u64,
}

impl Default for SaveOptions {
    /// f32, in files of up to 5 GB, as transformers does.
    fn default() -> Self {
        Self { dtype: DType::F32, max_shard_bytes: 5_000_000_000 }
    }
}

/// Writes a folder that transformers loads: configuration, weights, and the files carried over byte for byte.
///
/// The folder is written beside its place and renamed, so it is there whole or not at all; one that was there before is
/// replaced. Tensors go by their Hugging Face names.
///
/// # Errors
/// Tensors that are not those of `config`, a type that isn't a floating-point one, or the system refuses to write.
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

/// The configuration as it was, with the type of the numbers and the class that loads them.
fn written_config(config: &CausalConfig, options: SaveOptions) -> Result<Value, ModelError> {
    let mut value = config.source.clone();
    let name = match options.dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        other => return Err(wrong_dtype(other)),
    };
    // Both spellings may be there, and transformers takes the newer.
    let has_older = value.get("torch_dtype").is_some();
    for key in ["torch_dtype", "dtype"] {
        if value.get(key).is_some() || (key == "dtype" && !has_older) {
            value[key] = json!(name);
        }
    }
    if value.get("architectures").is_none_or(Value::is_null) {
        let class = match config.architecture {
            Architecture::GptNeoX => "GPTNeoXForCausalLM",
            Architecture::Gpt2 => "GPT2LMHeadModel",
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
        };
        value["architectures"] = json!([class]);
    }
    Ok(value)
}

fn wrong_dtype(found: DType) -> ModelError {
    let expected = "F32, F16 or BF16".to_owned();
    ModelError::Argument { what: "type of saved weights".to_owned(), expected, got: format!("{found:?}") }
}

/// Writes weights as `STEM.safetensors`, or as shards with their index where they are too large for one file.
///
/// # Errors
/// The system refuses to write, or a tensor can't be brought to the host.
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

/// Fills one file after the other, in the order of the names.
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
/// The system refuses to write, or a tensor can't be brought to the host.
pub(super) fn write_safetensors(path: &Path, tensors: &[(&str, &Tensor)], dtype: DType) -> Result<(), ModelError> {
    write_described(path, tensors, dtype, &[])
}

/// [`write_safetensors`] with more entries in the header's metadata.
///
/// # Errors
/// The system refuses to write, or a tensor can't be brought to the host.
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
        let flat = tensor.to_device(&Device::Cpu)?.to_dtype(dtype)?.flatten_all()?;
        let written = match dtype {
            DType::F32 => flat.to_vec1::<f32>()?.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            DType::F16 => flat.to_vec1::<half::f16>()?.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            DType::BF16 => flat.to_vec1::<half::bf16>()?.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            other => return Err(wrong_dtype(other)),
        };
        written.map_err(io)?;
    }
    out.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)
}

/// The header: every tensor's type, shape and place, padded so that the numbers begin at a multiple of eight.
fn header(tensors: &[(&str, &Tensor)], dtype: DType, metadata: &[(&str, String)]) -> Result<Vec<u8>, ModelError> {
    let name = match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        other => return Err(wrong_dtype(other)),
    };
    let mut entries = Map::new();
    // transformers refuses a file that doesn't say which library's tensors it holds.
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

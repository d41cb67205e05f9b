//! The types that weights are stored in, and files of weights in another type.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::DType;
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use tensorfile::Floats;

use super::extras::read_object;
use crate::ModelError;
use crate::weights_file::WeightsFile;

/// The type that most numbers are stored in: F32, F16 or BF16. Others, quantised ones too, count as F32, which holds them
/// all but F64 exactly.
pub(super) fn most_common(stored: impl Iterator<Item = (Option<Floats>, usize)>) -> DType {
    let mut counts = [(DType::F32, 0), (DType::F16, 0), (DType::BF16, 0)];
    for (kind, count) in stored {
        let place = match kind {
            Some(Floats::F16) => 1,
            Some(Floats::Bf16) => 2,
            Some(Floats::F32 | Floats::F64) | None => 0,
        };
        counts[place].1 += count;
    }
    // The first of equals: F32, where nothing is stored at all.
    counts.into_iter().reduce(|most, next| if next.1 > most.1 { next } else { most }).map_or(DType::F32, |most| most.0)
}

/// The type that most numbers of some files are stored in.
pub(super) fn of_files(files: &[WeightsFile]) -> DType {
    let entries = files.iter().flat_map(|file| file.entries().values());
    most_common(entries.map(|entry| (Floats::of_safetensors(&entry.dtype), entry.shape.iter().product())))
}

/// The name of a type in safetensors, and its size in bytes.
fn written(dtype: DType) -> Result<(&'static str, usize), ModelError> {
    match dtype {
        DType::F32 => Ok(("F32", 4)),
        DType::F16 => Ok(("F16", 2)),
        DType::BF16 => Ok(("BF16", 2)),
        other => {
            let (what, expected) = ("type of saved weights".to_owned(), "F32, F16 or BF16".to_owned());
            Err(ModelError::Argument { what, expected, got: format!("{other:?}") })
        }
    }
}

/// Rewrites a component of a pipeline in place, such as an autoencoder: all floating-point tensors of its safetensors files
/// in another type, integers as they are, and the type that its `config.json` names.
///
/// # Errors
/// Damaged files, an I/O error, a type that is not F32, F16 or BF16.
pub fn convert_component(folder: &Path, dtype: DType) -> Result<(), ModelError> {
    let io = |e| ModelError::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|kind| kind == "safetensors") {
            convert(&path, dtype)?;
        }
    }
    let path = folder.join("config.json");
    if !path.is_file() {
        return Ok(());
    }
    let mut config = read_object(&path)?;
    let name = match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    };
    for key in ["torch_dtype", "dtype"] {
        if config.get(key).is_some_and(Value::is_string) {
            config[key] = json!(name);
        }
    }
    std::fs::write(&path, format!("{config:#}\n")).map_err(|e| ModelError::io(&path, e))
}

/// Rewrites one file, a tensor in memory at a time, to a temporary name beside it, and renames that.
fn convert(path: &Path, dtype: DType) -> Result<(), ModelError> {
    let (name, size) = written(dtype)?;
    let file = WeightsFile::open(path)?;
    let mut header = Map::new();
    let mut metadata: BTreeMap<String, String> = file.metadata().clone();
    metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut begin = 0;
    for (tensor, entry) in file.entries() {
        let is_float = Floats::of_safetensors(&entry.dtype).is_some();
        let count: usize = entry.shape.iter().product();
        let bytes = if is_float { count * size } else { file.bytes(tensor)?.len() };
        let stored = if is_float { name } else { &entry.dtype };
        let place = [begin, begin + bytes];
        header.insert(tensor.clone(), json!({ "dtype": stored, "shape": entry.shape, "data_offsets": place }));
        begin += bytes;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let building = path.with_extension("converting");
    let io = |e| ModelError::io(&building, e);
    let mut out = BufWriter::new(File::create(&building).map_err(io)?);
    out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(io)?;
    for (tensor, entry) in file.entries() {
        let written = if Floats::of_safetensors(&entry.dtype).is_some() {
            write_floats(&mut out, &file.floats(tensor)?, dtype)
        } else {
            out.write_all(&file.bytes(tensor)?)
        };
        written.map_err(io)?;
    }
    out.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)?;
    std::fs::rename(&building, path).map_err(io)
}

fn write_floats(out: &mut impl Write, values: &[f32], dtype: DType) -> std::io::Result<()> {
    match dtype {
        DType::F16 => values.iter().try_for_each(|v| out.write_all(&f16::from_f32(*v).to_le_bytes())),
        DType::BF16 => values.iter().try_for_each(|v| out.write_all(&bf16::from_f32(*v).to_le_bytes())),
        _ => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

    use super::*;

    #[test]
    fn the_type_of_most_numbers_counts() {
        let of = |stored: &[(Option<Floats>, usize)]| most_common(stored.iter().copied());
        assert_eq!(of(&[(Some(Floats::Bf16), 100), (Some(Floats::F32), 8)]), DType::BF16);
        assert_eq!(of(&[(Some(Floats::F16), 100), (None, 800)]), DType::F32);
        assert_eq!(of(&[]), DType::F32);
    }

    #[test]
    fn a_component_changes_its_type_and_keeps_its_integers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let floats: Vec<u8> = [1.0f32, -0.5, 1e-3, 65_504.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let ids: Vec<u8> = [0i64, 1, 2].iter().flat_map(|v| v.to_le_bytes()).collect();
        let views = [
            ("weight", TensorView::new(Dtype::F32, vec![2, 2], &floats).unwrap()),
            ("position_ids", TensorView::new(Dtype::I64, vec![3], &ids).unwrap()),
        ];
        std::fs::write(&path, serialize(views, None).unwrap()).unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"torch_dtype": "float32", "hidden": 4}"#).unwrap();
        convert_component(folder.path(), DType::BF16).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let weight = file.tensor("weight").unwrap();
        assert_eq!((weight.dtype(), weight.shape()), (Dtype::BF16, &[2, 2][..]));
        let read: Vec<f32> = weight.data().chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(read[..2], [1.0, -0.5]);
        assert_eq!(file.tensor("position_ids").unwrap().data(), ids);
        let config = read_object(&folder.path().join("config.json")).unwrap();
        assert_eq!((&config["torch_dtype"], &config["hidden"]), (&json!("bfloat16"), &json!(4)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

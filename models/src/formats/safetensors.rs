//! Reading safetensors files, header first and suspicious of it.
//!
//! The header is checked against the file before anything is allocated: its length, its JSON, every tensor's name,
//! type, shape and place. The format is that of <https://github.com/huggingface/safetensors>: eight bytes of
//! little-endian header length, the header, then the tensors' bytes without holes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::file::{Floats, SizedFile, check_finite, read_floats};
use crate::ModelError;

/// The longest header that is read; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file whose header has been found sound.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    file: SizedFile,
    data_start: u64,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

/// One tensor as the header describes it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    dtype: String,
    pub(crate) shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl SafetensorsFile {
    /// Opens a file and checks its whole header.
    ///
    /// # Errors
    /// A truncated file, a header longer than the file, broken JSON, a tensor named twice, unknown types, shapes that
    /// don't fit their bytes, tensors that overlap, leave holes or lie outside the file.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let mut file = SizedFile::open(path)?;
        let header = read_header(&mut file)?;
        let data_start = 8 + header.len() as u64;
        let (entries, metadata) = parse_header(path, &header)?;
        for (name, entry) in &entries {
            check_entry(path, name, entry)?;
        }
        check_places(path, &entries, file.len - data_start)?;
        Ok(Self { file, data_start, entries, metadata })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The tensors, by name.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// What the header says of the file as a whole.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads one tensor as f32.
    ///
    /// # Errors
    /// A tensor that isn't there, isn't of floating point, or holds NaN or an infinity.
    pub(crate) fn read(&mut self, name: &str, device: &Device) -> Result<Tensor, ModelError> {
        let entry = self.entry(name)?;
        let Some(kind) = floats(&entry.dtype) else {
            let reason = format!("stored as {}; weights must be F32, F16, BF16 or F64", entry.dtype);
            return Err(ModelError::tensor(&self.file.path, name, reason));
        };
        let count = entry.shape.iter().product();
        let values = read_floats(&mut self.file, self.data_start + entry.data_offsets.0, count, kind)?;
        check_finite(&self.file.path, name, &values)?;
        Ok(Tensor::from_vec(values, entry.shape.as_slice(), device)?)
    }

    /// Reads one tensor of whatever numbers it is stored as.
    ///
    /// # Errors
    /// A tensor that isn't there, or of a type that no tensor here has.
    pub(crate) fn read_as_stored(&mut self, name: &str) -> Result<Tensor, ModelError> {
        let entry = self.entry(name)?;
        let dtype = match entry.dtype.as_str() {
            "F64" => DType::F64,
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "I64" => DType::I64,
            "U32" => DType::U32,
            "U8" => DType::U8,
            other => return Err(ModelError::tensor(&self.file.path, name, format!("stored as {other}"))),
        };
        let (begin, end) = entry.data_offsets;
        let bytes = self.file.bytes(self.data_start + begin, end - begin)?;
        Ok(Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, &Device::Cpu)?)
    }

    fn entry(&self, name: &str) -> Result<Entry, ModelError> {
        let entry = self.entries.get(name).cloned();
        entry.ok_or_else(|| ModelError::tensor(&self.file.path, name, "not in this file"))
    }
}

fn read_header(file: &mut SizedFile) -> Result<Vec<u8>, ModelError> {
    if file.len < 8 {
        let reason =
            format!("truncated: a safetensors file begins with 8 bytes of header length, this has {}", file.len);
        return Err(ModelError::format(&file.path, reason));
    }
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let room = file.len - 8;
    if length > MAX_HEADER || length > room {
        let reason = format!(
            "its header claims {length} bytes and the file has {room} after the length; truncated, or not a safetensors file"
        );
        return Err(ModelError::format(&file.path, reason));
    }
    file.bytes(8, length)
}

type Header = (BTreeMap<String, Entry>, BTreeMap<String, String>);

fn parse_header(path: &Path, header: &[u8]) -> Result<Header, ModelError> {
    let damaged = |e: &serde_json::Error| ModelError::format(path, format!("broken safetensors header: {e}"));
    let Pairs(pairs) = serde_json::from_slice(header).map_err(|e| damaged(&e))?;
    let (mut entries, mut metadata) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in pairs {
        if name == "__metadata__" {
            // Of use to some formats only, so whatever isn't text is passed over.
            let texts = value.as_object().into_iter().flatten();
            metadata.extend(texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))));
            continue;
        }
        let entry = serde_json::from_value(value).map_err(|e| {
            ModelError::tensor(path, &name, format!("its header entry needs dtype, shape and data_offsets: {e}"))
        })?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(ModelError::tensor(path, name, "named twice in the header"));
        }
    }
    Ok((entries, metadata))
}

/// A JSON object with its keys as they came, so that one that comes twice is seen.
struct Pairs(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

fn floats(dtype: &str) -> Option<Floats> {
    match dtype {
        "F64" => Some(Floats::F64),
        "F32" => Some(Floats::F32),
        "F16" => Some(Floats::F16),
        "BF16" => Some(Floats::Bf16),
        _ => None,
    }
}

/// Bytes an element takes, for the types a file of weights and buffers may hold.
fn element_size(dtype: &str) -> Option<u64> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" | "C64" => Some(8),
        _ => None,
    }
}

fn check_entry(path: &Path, name: &str, entry: &Entry) -> Result<(), ModelError> {
    let wrong = |reason: String| Err(ModelError::tensor(path, name, reason));
    let Some(size) = element_size(&entry.dtype) else {
        return wrong(format!("unknown type {}", entry.dtype));
    };
    let bytes = entry.shape.iter().try_fold(size, |n, &d| n.checked_mul(d as u64));
    let (begin, end) = entry.data_offsets;
    match (bytes, end.checked_sub(begin)) {
        (Some(bytes), Some(room)) if bytes == room => Ok(()),
        (Some(bytes), Some(room)) => {
            wrong(format!("{} of shape {:?} takes {bytes} bytes, its place is {room} long", entry.dtype, entry.shape))
        }
        (None, _) => wrong(format!("its shape {:?} is beyond any file", entry.shape)),
        (_, None) => wrong(format!("it ends at {end}, before its start at {begin}")),
    }
}

/// Checks that the tensors follow one another from the first byte to the last.
fn check_places(path: &Path, entries: &BTreeMap<String, Entry>, room: u64) -> Result<(), ModelError> {
    let mut order: Vec<_> = entries.iter().collect();
    order.sort_by_key(|(_, e)| e.data_offsets);
    let mut at = 0;
    for (name, entry) in order {
        let (begin, end) = entry.data_offsets;
        if end > room {
            let reason =
                format!("it ends at byte {end}, and the file holds {room} after its header; is the file truncated?");
            return Err(ModelError::tensor(path, name, reason));
        }
        if begin != at {
            let what = if begin < at { "overlaps the tensor before it" } else { "leaves a hole before it" };
            return Err(ModelError::tensor(path, name, format!("it starts at byte {begin} and {what} (ends at {at})")));
        }
        at = end;
    }
    if at == room {
        Ok(())
    } else {
        Err(ModelError::format(path, format!("{} bytes after the last tensor belong to nothing", room - at)))
    }
}

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::{Floats, SizedFile, TensorFileError, read_floats};

/// The longest header that is read; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file with a validated header.
///
/// The header is checked against the file before anything is allocated: its length, its JSON, every tensor's name, type, shape
/// and place. The format is that of <https://github.com/huggingface/safetensors>: eight bytes of little-endian header length, the
/// header, then the tensors' bytes without holes.
#[derive(Debug)]
pub struct SafetensorsFile {
    file: SizedFile,
    data_start: u64,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

/// One tensor as the header describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// The stored type in the format's spelling: `F32`, `BF16`, `I64`.
    pub dtype: String,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Begin and end in bytes, from the end of the header.
    data_offsets: (u64, u64),
}

impl SafetensorsFile {
    /// Opens a file and checks its whole header.
    ///
    /// # Errors
    /// A truncated file, a header longer than the file, broken JSON, a tensor named twice, unknown types, shapes that
    /// don't fit their bytes, tensors that overlap, leave holes or lie outside the file.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let file = SizedFile::open(path)?;
        let header = read_header(&file)?;
        let data_start = 8 + header.len() as u64;
        let (entries, metadata) = parse_header(path, &header)?;
        for (name, entry) in &entries {
            check_entry(path, name, entry)?;
        }
        check_places(path, &entries, file.len() - data_start)?;
        Ok(Self { file, data_start, entries, metadata })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file itself, header included.
    pub fn file(&self) -> &SizedFile {
        &self.file
    }

    /// The tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The tensors' names in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        let mut order: Vec<_> = self.entries.iter().collect();
        order.sort_by_key(|(_, entry)| entry.data_offsets);
        order.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The file's `__metadata__`; entries that are not strings are dropped.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The entry of a tensor.
    ///
    /// # Errors
    /// A missing tensor.
    pub fn entry(&self, name: &str) -> Result<&Entry, TensorFileError> {
        self.entries.get(name).ok_or_else(|| self.wrong(name, "not in this file"))
    }

    /// Reads all numbers of a floating-point tensor, row-major.
    ///
    /// # Errors
    /// A missing tensor, a tensor of integers, an I/O error.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, TensorFileError> {
        let (entry, kind) = self.float_entry(name)?;
        read_floats(&self.file, self.data_start + entry.data_offsets.0, entry.shape.iter().product(), kind)
    }

    /// Reads one row, `[i, ..]`, of a floating-point tensor.
    ///
    /// # Errors
    /// As [`SafetensorsFile::floats`]; a row out of range.
    pub fn float_row(&self, name: &str, index: usize) -> Result<Vec<f32>, TensorFileError> {
        let (entry, kind) = self.float_entry(name)?;
        let (begin, len) = self.row_place(name, entry, index)?;
        read_floats(&self.file, begin, len as usize / kind.size(), kind)
    }

    /// Reads the bytes of a tensor as they are stored, row-major and little-endian.
    ///
    /// # Errors
    /// A missing tensor, an I/O error.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, TensorFileError> {
        let (begin, end) = self.entry(name)?.data_offsets;
        self.file.bytes(self.data_start + begin, end - begin)
    }

    fn float_entry(&self, name: &str) -> Result<(&Entry, Floats), TensorFileError> {
        let entry = self.entry(name)?;
        let kind = Floats::of_safetensors(&entry.dtype)
            .ok_or_else(|| self.wrong(name, format!("stored as {}; it must be F32, F16, BF16 or F64", entry.dtype)))?;
        Ok((entry, kind))
    }

    /// The offset of a row in the file and its length in bytes.
    fn row_place(&self, name: &str, entry: &Entry, index: usize) -> Result<(u64, u64), TensorFileError> {
        let rows = entry.shape.first().copied().unwrap_or_default();
        if index >= rows {
            return Err(self.wrong(name, format!("no row {index}, it has {rows}")));
        }
        let (begin, end) = entry.data_offsets;
        let len = (end - begin) / rows as u64;
        Ok((self.data_start + begin + index as u64 * len, len))
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> TensorFileError {
        TensorFileError::tensor(self.path(), name, reason)
    }
}

fn read_header(file: &SizedFile) -> Result<Vec<u8>, TensorFileError> {
    if file.len() < 8 {
        let reason =
            format!("truncated: a safetensors file begins with 8 bytes of header length, this has {}", file.len());
        return Err(TensorFileError::file(file.path(), reason));
    }
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let room = file.len() - 8;
    if length > MAX_HEADER || length > room {
        let reason = format!(
            "its header claims {length} bytes and the file has {room} after the length; truncated, or not a safetensors file"
        );
        return Err(TensorFileError::file(file.path(), reason));
    }
    file.bytes(8, length)
}

type Header = (BTreeMap<String, Entry>, BTreeMap<String, String>);

fn parse_header(path: &Path, header: &[u8]) -> Result<Header, TensorFileError> {
    let damaged = |e: &serde_json::Error| TensorFileError::file(path, format!("broken safetensors header: {e}"));
    let Pairs(pairs) = serde_json::from_slice(header).map_err(|e| damaged(&e))?;
    let (mut entries, mut metadata) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in pairs {
        if name == "__metadata__" {
            // Metadata matters to some formats only, so entries that are not strings are skipped.
            let texts = value.as_object().into_iter().flatten();
            metadata.extend(texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))));
            continue;
        }
        let entry = serde_json::from_value(value).map_err(|e| {
            TensorFileError::tensor(path, &name, format!("its header entry needs dtype, shape and data_offsets: {e}"))
        })?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(TensorFileError::tensor(path, name, "named twice in the header"));
        }
    }
    Ok((entries, metadata))
}

/// A JSON object's entries in file order, so that duplicate keys are found.
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

/// Bytes per element of the types that a file of weights and buffers may hold.
fn element_size(dtype: &str) -> Option<u64> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" | "C64" => Some(8),
        _ => None,
    }
}

fn check_entry(path: &Path, name: &str, entry: &Entry) -> Result<(), TensorFileError> {
    let wrong = |reason: String| Err(TensorFileError::tensor(path, name, reason));
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

/// Checks that the tensors are contiguous from the first byte to the last.
fn check_places(path: &Path, entries: &BTreeMap<String, Entry>, room: u64) -> Result<(), TensorFileError> {
    let mut order: Vec<_> = entries.iter().collect();
    order.sort_by_key(|(_, e)| e.data_offsets);
    let mut at = 0;
    for (name, entry) in order {
        let (begin, end) = entry.data_offsets;
        if end > room {
            let reason =
                format!("it ends at byte {end}, and the file holds {room} after its header; is the file truncated?");
            return Err(TensorFileError::tensor(path, name, reason));
        }
        if begin != at {
            let what = if begin < at { "overlaps the tensor before it" } else { "leaves a hole before it" };
            return Err(TensorFileError::tensor(
                path,
                name,
                format!("it starts at byte {begin} and {what} (ends at {at})"),
            ));
        }
        at = end;
    }
    if at == room {
        Ok(())
    } else {
        Err(TensorFileError::file(path, format!("{} bytes after the last tensor belong to nothing", room - at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header followed by `data`.
    fn written(header: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn refusal(header: &str, data: &[u8]) -> String {
        let file = written(header, data);
        SafetensorsFile::open(file.path()).unwrap_err().to_string()
    }

    #[test]
    fn tensors_and_their_rows_are_read_in_the_order_of_the_header() {
        let header = r#"{"__metadata__":{"format":"pt","odd":1},
            "b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"a":{"dtype":"F64","shape":[],"data_offsets":[8,16]}}"#;
        let data = [&1_f32.to_le_bytes()[..], &(-2_f32).to_le_bytes(), &0.5_f64.to_le_bytes()].concat();
        let file = written(header, &data);
        let file = SafetensorsFile::open(file.path()).unwrap();
        assert_eq!((file.names(), file.metadata().len()), (vec!["b", "a"], 1));
        assert_eq!((file.floats("b").unwrap(), file.floats("a").unwrap()), (vec![1.0, -2.0], vec![0.5]));
        assert_eq!((file.float_row("b", 1).unwrap(), file.bytes("b").unwrap()), (vec![-2.0], data[..8].to_vec()));
        assert!(file.float_row("b", 2).unwrap_err().to_string().ends_with("tensor `b`: no row 2, it has 2"));
        assert!(file.float_row("a", 0).is_err() && file.floats("c").is_err());
    }

    #[test]
    fn headers_that_do_not_fit_their_file_are_refused() {
        let one = |entry: &str| format!(r#"{{"a":{entry}}}"#);
        let f32s =
            |shape: &str, place: &str| one(&format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":{place}}}"#));
        for (header, expected) in [
            (f32s("[2]", "[0,4]"), "takes 8 bytes, its place is 4 long"),
            (f32s("[1]", "[0,4]"), "it ends at byte 4, and the file holds 3"),
            (f32s("[0]", "[4,0]"), "before its start"),
            (f32s("[4611686018427387904,4]", "[0,4]"), "beyond any file"),
            (f32s("[0]", "[0,0]"), "3 bytes after the last tensor"),
            (one(r#"{"dtype":"Q4","shape":[1],"data_offsets":[0,3]}"#), "unknown type Q4"),
            (one("3"), "needs dtype, shape and data_offsets"),
            ("{".to_owned(), "broken safetensors header"),
            ("[]".to_owned(), "broken safetensors header"),
        ] {
            let message = refusal(&header, &[0; 3]);
            assert!(message.contains(expected), "{header}: {message}");
        }
        let entry = r#"{"dtype":"U8","shape":[3],"data_offsets":[0,3]}"#;
        assert!(refusal(&format!(r#"{{"a":{entry},"a":{entry}}}"#), &[0; 3]).contains("named twice"));
        assert!(refusal(&format!(r#"{{"a":{entry},"b":{entry}}}"#), &[0; 3]).contains("overlaps"));
        let late = r#"{"dtype":"U8","shape":[2],"data_offsets":[1,3]}"#;
        assert!(refusal(&one(late), &[0; 3]).contains("leaves a hole"));
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for bytes in [vec![], vec![1, 2, 3], u64::MAX.to_le_bytes().to_vec(), 3_u64.to_le_bytes().to_vec()] {
            std::fs::write(file.path(), &bytes).unwrap();
            assert!(matches!(SafetensorsFile::open(file.path()), Err(TensorFileError::File { .. })), "{bytes:?}");
        }
    }
}

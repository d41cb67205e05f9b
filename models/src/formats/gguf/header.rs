//! Parser of the GGUF header; every length is checked against the file's size.
//!
//! The format is that of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

use std::collections::BTreeMap;
use std::path::Path;

use engine::quantised::BlockFormat;

use crate::ModelError;
use tensorfile::{Floats, SizedFile};

/// The maximum list length, above any vocabulary size.
const MAX_LIST: u64 = 1 << 24;
/// The maximum string length; chat templates and licences are far shorter.
const MAX_STRING: u64 = 1 << 26;

/// A metadata value; integers and floats of all widths are one variant each.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meta {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

/// The storage type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Plain(Floats),
    Blocks(BlockFormat),
}

impl Stored {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Plain(Floats::F32),
            1 => Self::Plain(Floats::F16),
            2 => Self::Blocks(BlockFormat::Q4_0),
            3 => Self::Blocks(BlockFormat::Q4_1),
            6 => Self::Blocks(BlockFormat::Q5_0),
            7 => Self::Blocks(BlockFormat::Q5_1),
            8 => Self::Blocks(BlockFormat::Q8_0),
            10 => Self::Blocks(BlockFormat::Q2K),
            11 => Self::Blocks(BlockFormat::Q3K),
            12 => Self::Blocks(BlockFormat::Q4K),
            13 => Self::Blocks(BlockFormat::Q5K),
            14 => Self::Blocks(BlockFormat::Q6K),
            20 => Self::Blocks(BlockFormat::Iq4Nl),
            23 => Self::Blocks(BlockFormat::Iq4Xs),
            28 => Self::Plain(Floats::F64),
            30 => Self::Plain(Floats::Bf16),
            34 => Self::Blocks(BlockFormat::Tq1),
            35 => Self::Blocks(BlockFormat::Tq2),
            39 => Self::Blocks(BlockFormat::Mxfp4),
            _ => return None,
        })
    }

    /// Elements and bytes per block.
    fn unit(self) -> (u64, u64) {
        match self {
            Self::Plain(kind) => (1, kind.size() as u64),
            Self::Blocks(format) => (format.block_size() as u64, format.block_bytes() as u64),
        }
    }
}

/// A tensor's storage type, row-major shape (outermost dimension first) and offset in the file.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) stored: Stored,
    pub(super) shape: Vec<usize>,
    pub(super) begin: u64,
    pub(super) bytes: u64,
    /// The index of its file, for a split model.
    pub(super) part: usize,
}

/// A GGUF file with a validated header.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Meta>,
    pub(super) tensors: BTreeMap<String, Info>,
}

impl Header {
    /// Reads and validates the header.
    ///
    /// # Errors
    /// Another format or version, a length beyond the file, unknown types, duplicate names, tensors that overlap or lie
    /// outside the file.
    pub(super) fn read(file: &SizedFile) -> Result<Self, ModelError> {
        let mut reader = Reader { file, at: 0, window: Vec::new(), window_start: 0 };
        let (n_tensors, n_metadata) = reader.preamble()?;
        let mut metadata = BTreeMap::new();
        for _ in 0..n_metadata {
            let key = reader.string()?;
            let kind = reader.u32()?;
            let value = reader.value(&key, kind)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(reader.damaged(format!("metadata `{key}` comes twice")));
            }
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..n_tensors {
            let (name, info) = reader.tensor()?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(ModelError::tensor(reader.file.path(), name, "named twice in the header"));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Meta::Integer(a)) if *a > 0 && *a <= 1 << 20 && (*a as u64).is_power_of_two() => *a as u64,
            Some(other) => return Err(reader.damaged(format!("general.alignment is {other:?}, not a power of two"))),
        };
        let start = reader.at.next_multiple_of(alignment);
        place(reader.file.path(), reader.file.len(), start, &mut tensors)?;
        Ok(Self { metadata, tensors })
    }
}

/// Converts offsets to positions in the file and checks them.
fn place(path: &Path, len: u64, start: u64, tensors: &mut BTreeMap<String, Info>) -> Result<(), ModelError> {
    for (name, info) in tensors.iter_mut() {
        let begin = info.begin.checked_add(start);
        match begin.and_then(|b| Some((b, b.checked_add(info.bytes)?))) {
            Some((begin, end)) if end <= len => info.begin = begin,
            _ => {
                let reason = format!(
                    "{} bytes at offset {} of the data, and the file ends at {len} with the data starting at {start}; \
                     is the file truncated?",
                    info.bytes, info.begin
                );
                return Err(ModelError::tensor(path, name, reason));
            }
        }
    }
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, info)| info.begin);
    for pair in order.windows(2) {
        if pair[0].1.begin + pair[0].1.bytes > pair[1].1.begin {
            return Err(ModelError::tensor(path, pair[1].0, format!("overlaps tensor `{}`", pair[0].0)));
        }
    }
    Ok(())
}

/// A sequential reader of the header.
struct Reader<'a> {
    file: &'a SizedFile,
    at: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl Reader<'_> {
    fn damaged(&self, reason: impl Into<String>) -> ModelError {
        ModelError::format(self.file.path(), reason)
    }

    /// Refuses to read beyond the end of the file.
    fn check_room(&self, bytes: u64, what: &str) -> Result<(), ModelError> {
        let room = self.file.len() - self.at;
        if bytes <= room {
            return Ok(());
        }
        Err(self.damaged(format!("truncated or damaged header: {what} of {bytes} bytes at {}, {room} left", self.at)))
    }

    /// Fills `out` from the current position, through a buffer that makes small reads cheap.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), ModelError> {
        const WINDOW: u64 = 1 << 16;
        self.check_room(out.len() as u64, "a value")?;
        if out.len() as u64 > WINDOW {
            self.file.read_at(self.at, out)?;
        } else if !out.is_empty() {
            let end = self.at + out.len() as u64;
            if self.at < self.window_start || end > self.window_start + self.window.len() as u64 {
                self.window = self.file.bytes(self.at, WINDOW.min(self.file.len() - self.at))?;
                self.window_start = self.at;
            }
            let from = (self.at - self.window_start) as usize;
            out.copy_from_slice(&self.window[from..from + out.len()]);
        }
        self.at += out.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ModelError> {
        self.array().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Result<String, ModelError> {
        let len = self.u64()?;
        self.check_room(len, "a string")?;
        if len > MAX_STRING {
            return Err(self.damaged(format!("a string of {len} bytes in the header; at most {MAX_STRING} are read")));
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.damaged("a string in the header is not UTF-8"))
    }

    /// Reads magic, version and counts: tensors, then metadata.
    fn preamble(&mut self) -> Result<(u64, u64), ModelError> {
        if &self.array::<4>()? != b"GGUF" {
            return Err(self.damaged("not a GGUF file (it doesn't begin with `GGUF`)"));
        }
        match self.u32()? {
            2 | 3 => {}
            version if version.swap_bytes() < 16 => return Err(self.damaged("big-endian GGUF is not supported")),
            version => return Err(self.damaged(format!("GGUF version {version}; versions 2 and 3 are supported"))),
        }
        let (n_tensors, n_metadata) = (self.u64()?, self.u64()?);
        // The minimum size of an entry: 24 bytes for a tensor, 13 for metadata.
        let least = n_tensors.checked_mul(24).and_then(|t| t.checked_add(n_metadata.checked_mul(13)?));
        match least {
            Some(least) => self.check_room(least, &format!("{n_tensors} tensors and {n_metadata} metadata entries"))?,
            None => return Err(self.damaged(format!("claims {n_tensors} tensors and {n_metadata} metadata entries"))),
        }
        Ok((n_tensors, n_metadata))
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Meta, ModelError> {
        Ok(match kind {
            0..=5 | 10 | 11 => Meta::Integer(self.integer(kind)?),
            6 | 12 => Meta::Float(self.float(kind)?),
            7 => Meta::Bool(self.boolean()?),
            8 => Meta::Text(self.string()?),
            9 => self.list(key)?,
            other => return Err(self.damaged(format!("metadata `{key}` has the unknown type {other}"))),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i64, ModelError> {
        Ok(match kind {
            0 => i64::from(u8::from_le_bytes(self.array()?)),
            1 => i64::from(i8::from_le_bytes(self.array()?)),
            2 => i64::from(u16::from_le_bytes(self.array()?)),
            3 => i64::from(i16::from_le_bytes(self.array()?)),
            4 => i64::from(self.u32()?),
            5 => i64::from(i32::from_le_bytes(self.array()?)),
            // No value comes near 2^63; a larger number is as invalid as a negative one.
            _ => i64::from_le_bytes(self.array()?),
        })
    }

    fn float(&mut self, kind: u32) -> Result<f64, ModelError> {
        if kind == 12 {
            return self.array().map(f64::from_le_bytes);
        }
        // The intended decimal number: an epsilon of 1e-5, not of 9.999999747378752e-6.
        let value = f32::from_le_bytes(self.array()?);
        Ok(value.to_string().parse().unwrap_or(f64::from(value)))
    }

    fn boolean(&mut self) -> Result<bool, ModelError> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.damaged(format!("a truth value of {other} in the header"))),
        }
    }

    fn list(&mut self, key: &str) -> Result<Meta, ModelError> {
        let kind = self.u32()?;
        let len = self.u64()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => return Err(self.damaged(format!("metadata `{key}` is a list of the unsupported type {other}"))),
        };
        if len > MAX_LIST {
            return Err(self.damaged(format!("metadata `{key}` is a list of {len}; at most {MAX_LIST} are read")));
        }
        self.check_room(len * least, &format!("list `{key}`"))?;
        Ok(match kind {
            6 | 12 => Meta::Floats((0..len).map(|_| Ok(self.float(kind)? as f32)).collect::<Result<_, ModelError>>()?),
            7 => Meta::Integers((0..len).map(|_| self.boolean().map(i64::from)).collect::<Result<_, _>>()?),
            8 => Meta::Texts((0..len).map(|_| self.string()).collect::<Result<_, _>>()?),
            _ => Meta::Integers((0..len).map(|_| self.integer(kind)).collect::<Result<_, _>>()?),
        })
    }

    fn tensor(&mut self) -> Result<(String, Info), ModelError> {
        let name = self.string()?;
        let n_dims = self.u32()?;
        let wrong = |path: &Path, reason: String| Err(ModelError::tensor(path, &name, reason));
        if !(1..=4).contains(&n_dims) {
            return wrong(self.file.path(), format!("{n_dims} dimensions; 1 to 4 are possible"));
        }
        let dims = (0..n_dims).map(|_| self.u64()).collect::<Result<Vec<u64>, _>>()?;
        let code = self.u32()?;
        let begin = self.u64()?;
        let Some(stored) = Stored::from_code(code) else {
            let supported = "F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, \
                             IQ4_XS, MXFP4, TQ1_0, TQ2_0";
            return wrong(self.file.path(), format!("storage type {code} is not supported; supported: {supported}"));
        };
        let (elements, size) = stored.unit();
        let count = dims.iter().try_fold(1_u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= 1 << 40 && *n > 0);
        let Some(count) = count.filter(|_| dims[0].is_multiple_of(elements)) else {
            return wrong(self.file.path(), format!("its shape {dims:?} is impossible for {stored:?}"));
        };
        // GGUF lists the innermost dimension first.
        let shape = dims.iter().rev().map(|d| *d as usize).collect();
        let bytes = count / elements * size;
        Ok((name, Info { stored, shape, begin, bytes, part: 0 }))
    }
}

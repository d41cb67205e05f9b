//! The header of an `.npy` file, and the numbers behind it.

use std::io::Read;

use flate2::Crc;

/// The longest header that is read; numpy's own are some hundred bytes.
const MAX_HEADER: usize = 1 << 16;

/// The mark at the beginning of an `.npy` file.
const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// A type of numbers that arrays are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NpyType {
    /// Floating-point numbers of 2, 4 or 8 bytes.
    Float(usize),
    /// Signed integers of 1 to 8 bytes.
    Signed(usize),
    /// Unsigned integers of 1 to 8 bytes, and truth values of 1.
    Unsigned(usize),
}

impl NpyType {
    fn size(self) -> usize {
        match self {
            Self::Float(size) | Self::Signed(size) | Self::Unsigned(size) => size,
        }
    }

    /// A number of its little-endian bytes.
    fn number(self, bytes: [u8; 8]) -> f64 {
        let size = self.size();
        match self {
            Self::Float(2) => f64::from(half::f16::from_le_bytes([bytes[0], bytes[1]])),
            Self::Float(4) => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            Self::Float(_) => f64::from_le_bytes(bytes),
            Self::Unsigned(_) => u64::from_le_bytes(bytes) as f64,
            Self::Signed(_) => {
                // The sign is that of the highest byte there is.
                let unused = 8 * (8 - size as u32);
                ((i64::from_le_bytes(bytes) << unused) >> unused) as f64
            }
        }
    }
}

/// What an `.npy` header says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// The type as numpy spells it.
    descr: String,
    /// Whether the first index is the fastest.
    pub(super) is_fortran: bool,
    pub(super) shape: Vec<usize>,
    /// The bytes before the numbers.
    begin: usize,
}

impl Header {
    /// Reads a header from the beginning of a file of so many bytes.
    pub(super) fn read(file: &mut impl Read, size: u64) -> Result<Self, String> {
        let cut = |_| "is cut off within its header".to_owned();
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(cut)?;
        if start[..6] != MAGIC {
            return Err("does not begin as an .npy file".to_owned());
        }
        let wide = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(format!("is of version {version} of the .npy format; 1 to 3 are read")),
        };
        let mut length = [0; 4];
        file.read_exact(&mut length[..wide]).map_err(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(format!("has a header of {length} bytes; at most {MAX_HEADER} are read"));
        }
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(cut)?;
        let text = String::from_utf8_lossy(&text);
        let header = Self::parse(&text, 8 + wide + length)?;
        header.check(size)?;
        Ok(header)
    }

    /// Parses the dictionary that numpy writes as Python prints it.
    fn parse(text: &str, begin: usize) -> Result<Self, String> {
        let value = |key: &str| {
            let at = text.find(&format!("'{key}'")).map(|at| at + key.len() + 2);
            let rest = at.and_then(|at| text[at..].trim_start().strip_prefix(':')).map(str::trim_start);
            rest.ok_or_else(|| format!("has a header without `{key}`: {}", text.trim()))
        };
        let descr = value("descr")?;
        let descr = match descr.strip_prefix('\'') {
            Some(quoted) => quoted.split('\'').next().unwrap_or_default().to_owned(),
            // A list of fields.
            None => descr.split(']').next().unwrap_or_default().to_owned() + "]",
        };
        let broken = |what: &str| format!("has a header whose {what} can't be read: {}", text.trim());
        let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split(')').next());
        let sizes = shape.ok_or_else(|| broken("shape"))?.split(',').map(str::trim).filter(|size| !size.is_empty());
        let sizes = sizes.map(|size| size.trim_end_matches('L').parse::<usize>());
        let shape = sizes.collect::<Result<Vec<usize>, _>>().map_err(|_| broken("shape"))?;
        let is_fortran = match value("fortran_order")? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err(broken("order")),
        };
        Ok(Self { descr, is_fortran, shape, begin })
    }

    /// Checks the shape against the bytes there are, where the type is one of numbers.
    fn check(&self, size: u64) -> Result<(), String> {
        let Ok((kind, _)) = self.kind() else { return Ok(()) };
        let numbers = self.shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size as u64));
        let bytes = numbers.and_then(|n| n.checked_mul(kind.size() as u64)?.checked_add(self.begin as u64));
        if bytes == Some(size) {
            return Ok(());
        }
        let expected = bytes.map_or("more than any file has".to_owned(), |bytes| bytes.to_string());
        Err(format!("of type {} and shape {:?} takes {expected} bytes, but has {size}", self.descr, self.shape))
    }

    /// The type of numbers, and whether their bytes are big-endian.
    pub(super) fn kind(&self) -> Result<(NpyType, bool), String> {
        let (order, rest) = self.descr.split_at_checked(1).unwrap_or_default();
        let (letter, size) = rest.split_at_checked(1).unwrap_or_default();
        let kind = match (letter, size.parse::<usize>()) {
            ("f", Ok(size @ (2 | 4 | 8))) => Some(NpyType::Float(size)),
            ("i", Ok(size @ (1 | 2 | 4 | 8))) => Some(NpyType::Signed(size)),
            ("u", Ok(size @ (1 | 2 | 4 | 8))) => Some(NpyType::Unsigned(size)),
            ("b", Ok(1)) => Some(NpyType::Unsigned(1)),
            _ => None,
        };
        match (kind, order) {
            (Some(kind), "<" | "|" | "=") => Ok((kind, false)),
            (Some(kind), ">") => Ok((kind, true)),
            _ if self.descr.contains('O') => Err(format!(
                "is an array of Python objects (type {}), which are pickled and can run code; save it as numbers, as in \
                 `np.savez(file, name=np.asarray(values, dtype=np.float32))`",
                self.descr
            )),
            _ => Err(format!("is of type {}; numbers are expected: floats, integers or truth values", self.descr)),
        }
    }

    /// Reads the numbers, and checks the bytes against their checksum.
    pub(super) fn values<T>(
        &self,
        mut file: impl Read,
        (kind, is_big): (NpyType, bool),
        checksum: u32,
        number: impl Fn(f64) -> T,
    ) -> Result<Vec<T>, String> {
        let broken = |error: std::io::Error| format!("can't be unpacked: {error}");
        let (mut crc, mut head) = (Crc::new(), vec![0; self.begin]);
        file.read_exact(&mut head).map_err(broken)?;
        crc.update(&head);
        let (n, size) = (self.shape.iter().product::<usize>(), kind.size());
        // Grown with what is really there: a header may claim anything.
        let (mut values, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        while values.len() < n {
            let take = buffer.len().min((n - values.len()) * size);
            file.read_exact(&mut buffer[..take]).map_err(broken)?;
            crc.update(&buffer[..take]);
            values.extend(buffer[..take].chunks_exact(size).map(|bytes| {
                let mut all = [0; 8];
                all[..size].copy_from_slice(bytes);
                if is_big {
                    all[..size].reverse();
                }
                number(kind.number(all))
            }));
        }
        if crc.sum() == checksum {
            return Ok(values);
        }
        Err("does not have its checksum: the file is damaged".to_owned())
    }
}

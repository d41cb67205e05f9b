//! Writes `.npz` files as `np.savez` does.

use std::io::{self, Seek, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The numbers of an array to write, row-major.
#[derive(Clone, Copy, Debug)]
pub enum NpzValues<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Double precision.
    F64(&'a [f64]),
}

impl NpzValues<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::F64(_) => 8,
        }
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::F32(values) => values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes())),
            Self::F64(values) => values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes())),
        }
    }
}

/// Writes arrays under their names, uncompressed. Equal arrays give equal bytes: no time of day is written.
///
/// # Errors
/// Numbers of another count than the shape's; what the system refuses to write.
pub fn write_npz<W: Write + Seek>(to: W, arrays: &[(&str, &[usize], NpzValues<'_>)]) -> io::Result<()> {
    let mut archive = ZipWriter::new(to);
    for (name, shape, values) in arrays {
        if shape.iter().product::<usize>() != values.len() {
            let text = format!("the array {name} of shape {shape:?} has {} numbers", values.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let bytes = (values.len() as u64).saturating_mul(values.size() as u64);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
        archive.start_file(format!("{name}.npy"), options.large_file(bytes >= 1 << 31))?;
        let mut buffered = io::BufWriter::with_capacity(1 << 16, &mut archive);
        buffered.write_all(&header(shape, values))?;
        values.write(&mut buffered)?;
        buffered.flush()?;
    }
    archive.finish()?.flush()
}

/// A header of version 1, padded to whole blocks of 64 bytes as numpy pads it.
fn header(shape: &[usize], values: &NpzValues<'_>) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut text =
        format!("{{'descr': '<f{}', 'fortran_order': False, 'shape': ({}{comma}), }}", values.size(), sizes.join(", "));
    let begin = 10;
    text.push_str(&" ".repeat(63 - (begin + text.len()) % 64));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&(text.len() as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header
}

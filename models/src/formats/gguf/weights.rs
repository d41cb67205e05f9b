//! GGUF tensors as f32 or in their blocks, reordered from llama.cpp's row order to Hugging Face's.

use candle_core::{Device, Tensor};
use engine::quantised::{BlockFormat, QuantisedMatrix};
use engine::transfer::from_host;

use super::super::rows;
use super::header::{Info, Stored};
use crate::ModelError;
use crate::weights_file::{check_finite, not_finite};
use tensorfile::{SizedFile, read_floats};

/// The layout of a tensor in the file, relative to Hugging Face's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The same.
    Same,
    /// `[out, in]` where GPT-2's Conv1D has `[in, out]`.
    Transposed,
    /// Rows of each head permuted for interleaved rotary pairs.
    Interleaved { heads: usize },
    /// One more than the weight.
    PlusOne,
    /// GPT-NeoX's queries, keys and values in blocks, where Hugging Face has them per head.
    Blocks { heads: usize },
}

impl Layout {
    /// The shape in Hugging Face's layout.
    pub(super) fn shape(self, stored: &[usize]) -> Vec<usize> {
        let mut shape = stored.to_vec();
        if self == Self::Transposed {
            shape.reverse();
        }
        shape
    }
}

/// Reads a tensor as f32 in Hugging Face's layout.
///
/// # Errors
/// An I/O error, or a non-finite number.
pub(super) fn read(
    file: &SizedFile,
    name: &str,
    info: &Info,
    layout: Layout,
    device: &Device,
) -> Result<Tensor, ModelError> {
    let count = info.shape.iter().product();
    let values = match info.stored {
        Stored::Plain(kind) => read_floats(file, info.begin, count, kind)?,
        Stored::Blocks(format) => blocks(file, info, format)?.values(),
    };
    check_finite(file.path(), name, &values)?;
    let n_rows = info.shape[0];
    let values = match layout {
        Layout::Same | Layout::Transposed => values,
        Layout::PlusOne => values.into_iter().map(|value| value - 1.0).collect(),
        Layout::Interleaved { heads } => rows::reorder(&values, n_rows, rows::halves(n_rows, heads)),
        Layout::Blocks { heads } => rows::reorder(&values, n_rows, rows::per_head(n_rows, heads)),
    };
    let tensor = from_host(values, info.shape.as_slice(), device)?;
    if layout == Layout::Transposed { Ok(tensor.t()?.contiguous()?) } else { Ok(tensor) }
}

/// Reads a matrix that is stored in blocks without dequantising it; `None` for any other tensor.
///
/// # Errors
/// As [`read`].
pub(super) fn read_blocks(
    file: &SizedFile,
    name: &str,
    info: &Info,
    layout: Layout,
) -> Result<Option<QuantisedMatrix>, ModelError> {
    let (Stored::Blocks(format), &[n_rows, _]) = (info.stored, info.shape.as_slice()) else { return Ok(None) };
    let matrix = match layout {
        // What is added to a number can't be said in blocks.
        Layout::PlusOne => return Ok(None),
        Layout::Same => blocks(file, info, format)?,
        Layout::Transposed => blocks(file, info, format)?.turned(),
        Layout::Interleaved { heads } => blocks(file, info, format)?.reordered(rows::halves(n_rows, heads)),
        Layout::Blocks { heads } => blocks(file, info, format)?.reordered(rows::per_head(n_rows, heads)),
    };
    match matrix.first_not_finite() {
        None => Ok(Some(matrix)),
        Some((at, value)) => Err(ModelError::tensor(file.path(), name, not_finite(at, value))),
    }
}

fn blocks(file: &SizedFile, info: &Info, format: BlockFormat) -> Result<QuantisedMatrix, ModelError> {
    let width = info.shape.last().copied().unwrap_or(0);
    let n_rows = info.shape.iter().rev().skip(1).product();
    Ok(QuantisedMatrix::new(format, n_rows, width, file.bytes(info.begin, info.bytes)?)?)
}

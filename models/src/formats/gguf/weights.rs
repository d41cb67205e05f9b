//! GGUF tensors as f32, reordered from llama.cpp's row order to Hugging Face's.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result as CandleResult, Tensor};
use rayon::prelude::*;

use super::super::rows;
use super::header::{Info, Stored};
use crate::ModelError;
use crate::weights_file::check_finite;
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
        Stored::Blocks(kind) => dequantize(&file.bytes(info.begin, info.bytes)?, kind, count)?,
        Stored::Own(kind) => {
            let mut values = vec![0_f32; count];
            let pieces = file.bytes(info.begin, info.bytes)?;
            let pieces = pieces.par_chunks(BLOCKS * kind.type_size());
            let places = values.par_chunks_mut(BLOCKS * kind.block_size());
            pieces.zip(places).for_each(|(piece, place)| kind.dequantize(piece, place));
            values
        }
    };
    check_finite(file.path(), name, &values)?;
    let n_rows = info.shape[0];
    let values = match layout {
        Layout::Same | Layout::Transposed => values,
        Layout::PlusOne => values.into_iter().map(|value| value - 1.0).collect(),
        Layout::Interleaved { heads } => rows::reorder(&values, n_rows, rows::halves(n_rows, heads)),
        Layout::Blocks { heads } => rows::reorder(&values, n_rows, rows::per_head(n_rows, heads)),
    };
    let tensor = Tensor::from_vec(values, info.shape.as_slice(), device)?;
    if layout == Layout::Transposed { Ok(tensor.t()?.contiguous()?) } else { Ok(tensor) }
}

/// Blocks per task.
const BLOCKS: usize = 1 << 12;

/// Dequantises blocks, a few thousand per task.
fn dequantize(bytes: &[u8], kind: GgmlDType, count: usize) -> CandleResult<Vec<f32>> {
    let mut values = vec![0_f32; count];
    let pieces = bytes.par_chunks(BLOCKS * kind.type_size());
    let places = values.par_chunks_mut(BLOCKS * kind.block_size());
    pieces.zip(places).try_for_each(|(piece, place)| {
        // Blocks start with 16-bit numbers; candle requires their alignment, which a byte buffer does not guarantee.
        let mut aligned = vec![0_u8; piece.len() + 16];
        let skip = aligned.as_ptr().align_offset(16).min(16);
        aligned[skip..skip + piece.len()].copy_from_slice(piece);
        let storage = QStorage::from_data(Cow::Borrowed(&aligned[skip..skip + piece.len()]), &Device::Cpu, kind)?;
        let tensor = QTensor::new(storage, place.len())?.dequantize(&Device::Cpu)?;
        place.copy_from_slice(&tensor.to_vec1::<f32>()?);
        Ok::<(), candle_core::Error>(())
    })?;
    Ok(values)
}

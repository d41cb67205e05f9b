//! A matrix that is held in blocks.

use std::fmt;
use std::ops::Range;

use crate::transfer::from_host;
use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::BlockFormat;
use crate::kernels::Real;
use crate::kernels::parallel::simd;

/// Numbers per task: rows of blocks worth a task, and small against a cache.
const PIECE: usize = 1 << 15;

/// A frozen matrix in a block format, `[rows, width]`: a linear layer's weight `[out, in]`, or an embedding.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use engine::quantised::{BlockFormat, QuantisedMatrix};
///
/// # fn main() -> candle_core::Result<()> {
/// // Blocks of 32 signed bytes with a scale in half precision: 2, then the numbers 1.
/// let block = [&[0x00, 0x40][..], &[1; 32]].concat();
/// let matrix = QuantisedMatrix::new(BlockFormat::Q8_0, 3, 32, block.repeat(3))?;
/// assert_eq!(matrix.to_tensor(&Device::Cpu)?.to_vec2::<f32>()?, vec![vec![2.; 32]; 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct QuantisedMatrix {
    format: BlockFormat,
    n_rows: usize,
    width: usize,
    bytes: Vec<u8>,
    is_turned: bool,
}

impl QuantisedMatrix {
    /// Makes a matrix of its blocks, row by row.
    ///
    /// # Errors
    /// A width that is not a whole number of blocks, or another number of bytes than the rows have.
    pub fn new(format: BlockFormat, n_rows: usize, width: usize, bytes: Vec<u8>) -> Result<Self> {
        let n_bytes =
            (width / format.block_size()).checked_mul(format.block_bytes()).and_then(|n| n.checked_mul(n_rows));
        if width == 0 || !width.is_multiple_of(format.block_size()) || n_bytes != Some(bytes.len()) {
            bail!("{} bytes are no matrix of {n_rows} rows of {width} in {format:?}", bytes.len());
        }
        Ok(Self { format, n_rows, width, bytes, is_turned: false })
    }

    /// Its block format.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// The same blocks as those of a model whose tensor is the transpose, `[in, out]`.
    #[must_use]
    pub fn turned(self) -> Self {
        Self { is_turned: true, ..self }
    }

    /// Whether the model's tensor is the transpose of the blocks' matrix.
    pub fn is_turned(&self) -> bool {
        self.is_turned
    }

    /// The shape of the model's tensor.
    pub fn shape(&self) -> [usize; 2] {
        if self.is_turned { [self.width, self.n_rows] } else { [self.n_rows, self.width] }
    }

    /// Rows and width of the blocks' matrix.
    pub fn dims(&self) -> [usize; 2] {
        [self.n_rows, self.width]
    }

    /// The bytes it takes.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The same rows in another order: row `i` of the result is row `source(i)`.
    ///
    /// # Panics
    /// If `source` names a row that is not there.
    #[must_use]
    pub fn reordered(&self, source: impl Fn(usize) -> usize) -> Self {
        let row = |row: usize| &self.bytes[row * self.row_bytes()..][..self.row_bytes()];
        let mut bytes = Vec::with_capacity(self.bytes.len());
        (0..self.n_rows).for_each(|place| bytes.extend_from_slice(row(source(place))));
        Self { bytes, ..*self }
    }

    /// The model's tensor, dequantised.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        let tensor = from_host(self.values(), (self.n_rows, self.width), device)?;
        if self.is_turned { tensor.t()?.contiguous() } else { Ok(tensor) }
    }

    /// All numbers, row by row of the blocks' matrix.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0_f32; self.n_rows * self.width];
        self.read(0..self.n_rows, 0..self.width, &mut values);
        values
    }

    /// Calls `action` with the numbers of some rows at a time, in order.
    pub fn for_rows(&self, mut action: impl FnMut(&[f32])) {
        let n = (16 * PIECE / self.width).clamp(1, self.n_rows.max(1));
        let mut values = vec![0_f32; n * self.width];
        for first in (0..self.n_rows).step_by(n) {
            let last = (first + n).min(self.n_rows);
            let values = &mut values[..(last - first) * self.width];
            self.read(first..last, 0..self.width, values);
            action(values);
        }
    }

    /// The place of the first number that is not finite, and that number.
    pub fn first_not_finite(&self) -> Option<(usize, f32)> {
        let (mut first, mut found) = (0, None);
        self.for_rows(|values| {
            if found.is_none() {
                let at = values.iter().position(|value| !value.is_finite());
                found = at.map(|at| (first + at, values[at]));
            }
            first += values.len();
        });
        found
    }

    /// The squared norm of each row, `[rows]`.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn row_squares(&self, device: &Device) -> Result<Tensor> {
        let mut squares = Vec::with_capacity(self.n_rows);
        self.for_rows(|values| {
            squares.extend(values.chunks_exact(self.width).map(|row| {
                let sum: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                sum as f32
            }));
        });
        from_host(squares, self.n_rows, device)
    }

    fn row_bytes(&self) -> usize {
        self.width / self.format.block_size() * self.format.block_bytes()
    }

    /// Dequantises a part into `values`; `columns` must be whole blocks.
    pub(crate) fn read<T: Real>(&self, rows: Range<usize>, columns: Range<usize>, values: &mut [T]) {
        let width = columns.len();
        let (size, bytes) = (self.format.block_size(), self.format.block_bytes());
        debug_assert!(columns.start.is_multiple_of(size) && width.is_multiple_of(size), "no whole blocks");
        let n = (PIECE / width.max(1)).max(1);
        values.par_chunks_mut(n * width).enumerate().for_each(|(piece, values)| {
            let mut row_values = vec![0_f32; width];
            for (row, values) in values.chunks_exact_mut(width).enumerate() {
                let row = rows.start + piece * n + row;
                let blocks =
                    &self.bytes[row * self.row_bytes() + columns.start / size * bytes..][..width / size * bytes];
                simd(
                    #[inline(always)]
                    || {
                        self.format.dequantise(blocks, &mut row_values);
                        for (value, &number) in values.iter_mut().zip(&row_values) {
                            *value = T::of(f64::from(number));
                        }
                    },
                );
            }
        });
    }

    /// Rows by their indices.
    pub(crate) fn gather<T: Real>(&self, indices: &[u32]) -> Vec<T> {
        let mut values = vec![T::zero(); indices.len() * self.width];
        for (&index, values) in indices.iter().zip(values.chunks_exact_mut(self.width)) {
            self.read(index as usize..index as usize + 1, 0..self.width, values);
        }
        values
    }
}

/// Its format and shape, without the bytes.
impl fmt::Debug for QuantisedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}, {}]", self.format, self.n_rows, self.width)
    }
}

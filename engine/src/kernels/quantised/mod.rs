//! Matrices in block formats of GGUF: whole rows of blocks, dequantised part by part where their numbers are needed.
//!
//! Every number is a small integer times a scale, in some formats plus an offset, computed in `f32` in the order of the
//! `gguf` package.

mod either;
mod k_quants;
mod matrix;
mod plain;
mod product;
mod tables;

pub use either::Matrix;
pub use matrix::QuantisedMatrix;
pub(crate) use product::{MatrixRows, product, to_input};

use half::f16;

/// A block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFormat {
    /// 32 numbers of four bits, one scale.
    Q4_0,
    /// 32 numbers of four bits, a scale and an offset.
    Q4_1,
    /// 32 numbers of five bits, one scale.
    Q5_0,
    /// 32 numbers of five bits, a scale and an offset.
    Q5_1,
    /// 32 numbers of eight bits, one scale.
    Q8_0,
    /// 256 numbers of two bits, a scale and an offset of four bits for each 16.
    Q2K,
    /// 256 numbers of three bits, a scale of six bits for each 16.
    Q3K,
    /// 256 numbers of four bits, a scale and an offset of six bits for each 32.
    Q4K,
    /// 256 numbers of five bits, a scale and an offset of six bits for each 32.
    Q5K,
    /// 256 numbers of six bits, a scale of eight bits for each 16.
    Q6K,
    /// 32 indices into a table of unequal steps, one scale.
    Iq4Nl,
    /// 256 of them, a scale of six bits for each 32.
    Iq4Xs,
    /// 32 numbers of four bits (two of the exponent), a power of two as their scale.
    Mxfp4,
    /// 256 ternary digits, five in a byte.
    Tq1,
    /// 256 ternary digits, four in a byte.
    Tq2,
}

impl BlockFormat {
    /// Numbers per block.
    pub fn block_size(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4Nl | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Iq4Xs | Self::Tq1 | Self::Tq2 => 256,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Iq4Xs => 136,
            Self::Mxfp4 => 17,
            Self::Tq1 => 54,
            Self::Tq2 => 66,
        }
    }

    /// Dequantises whole blocks.
    #[inline(always)]
    fn dequantise(self, bytes: &[u8], values: &mut [f32]) {
        let blocks = bytes.chunks_exact(self.block_bytes()).zip(values.chunks_exact_mut(self.block_size()));
        match self {
            Self::Q4_0 => blocks.for_each(|(bytes, values)| plain::q4_0(bytes, values)),
            Self::Q4_1 => blocks.for_each(|(bytes, values)| plain::q4_1(bytes, values)),
            Self::Q5_0 => blocks.for_each(|(bytes, values)| plain::q5_0(bytes, values)),
            Self::Q5_1 => blocks.for_each(|(bytes, values)| plain::q5_1(bytes, values)),
            Self::Q8_0 => blocks.for_each(|(bytes, values)| plain::q8_0(bytes, values)),
            Self::Q2K => blocks.for_each(|(bytes, values)| k_quants::q2(bytes, values)),
            Self::Q3K => blocks.for_each(|(bytes, values)| k_quants::q3(bytes, values)),
            Self::Q4K => blocks.for_each(|(bytes, values)| k_quants::q4(bytes, values)),
            Self::Q5K => blocks.for_each(|(bytes, values)| k_quants::q5(bytes, values)),
            Self::Q6K => blocks.for_each(|(bytes, values)| k_quants::q6(bytes, values)),
            Self::Iq4Nl => blocks.for_each(|(bytes, values)| tables::iq4_nl(bytes, values)),
            Self::Iq4Xs => blocks.for_each(|(bytes, values)| tables::iq4_xs(bytes, values)),
            Self::Mxfp4 => blocks.for_each(|(bytes, values)| tables::mxfp4(bytes, values)),
            Self::Tq1 => blocks.for_each(|(bytes, values)| tables::tq1(bytes, values)),
            Self::Tq2 => blocks.for_each(|(bytes, values)| tables::tq2(bytes, values)),
        }
    }
}

/// The half-precision number at a place of a block.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests;

//! Four-bit tables, microscaling, ternary digits.

use super::half;

/// The steps of IQ4.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the numbers of MXFP4.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[inline(always)]
pub(super) fn iq4_nl(block: &[u8], values: &mut [f32]) {
    nibbles(&block[2..], &IQ4, half(block, 0), values);
}

#[inline(always)]
pub(super) fn mxfp4(block: &[u8], values: &mut [f32]) {
    nibbles(&block[1..], &FP4, power(block[0]), values);
}

/// Half of a power of two by its biased exponent.
#[inline(always)]
fn power(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { u32::from(exponent - 1) << 23 })
}

/// Entries of a table: those of the low halves of bytes, then of the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8], table: &[i8; 16], scale: f32, values: &mut [f32]) {
    let n = bytes.len();
    for (index, byte) in bytes.iter().enumerate() {
        values[index] = scale * f32::from(table[usize::from(byte & 15)]);
        values[n + index] = scale * f32::from(table[usize::from(byte >> 4)]);
    }
}

#[inline(always)]
pub(super) fn iq4_xs(block: &[u8], values: &mut [f32]) {
    let (scale, high) = (half(block, 0), u16::from_le_bytes([block[2], block[3]]));
    for (index, values) in values.chunks_exact_mut(32).enumerate() {
        let low = block[4 + index / 2] >> (4 * (index % 2)) & 15;
        let high = (high >> (2 * index) & 3) as u8;
        let own = scale * f32::from((low | high << 4) as i8 - 32);
        nibbles(&block[8 + 16 * index..][..16], &IQ4, own, values);
    }
}

/// Digits of base three, each the carry of a multiplication of the fraction that is left.
#[inline(always)]
pub(super) fn tq1(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 52);
    let mut values = values.iter_mut();
    for (bytes, n_digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for digit in 0..n_digits {
            let place = 3_u8.pow(digit);
            for (byte, value) in bytes.iter().zip(values.by_ref()) {
                let digit = (u16::from(byte.wrapping_mul(place)) * 3) >> 8;
                *value = scale * (f32::from(digit) - 1.);
            }
        }
    }
}

#[inline(always)]
pub(super) fn tq2(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 64);
    let mut values = values.iter_mut();
    for bytes in block[..64].chunks_exact(32) {
        for shift in [0, 2, 4, 6] {
            for (byte, value) in bytes.iter().zip(values.by_ref()) {
                *value = scale * (f32::from(byte >> shift & 3) - 1.);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::BlockFormat;
    use super::power;

    fn dequantised(format: BlockFormat, block: &[u8]) -> Vec<f32> {
        let mut values = vec![0.; format.block_size()];
        format.dequantise(block, &mut values);
        values
    }

    #[test]
    fn four_bits_are_indices_of_a_table() {
        // A scale of 0.5; the first byte has the entries 1 and 15.
        let mut block = [0_u8; 18];
        block[..3].copy_from_slice(&[0x00, 0x38, 0xf1]);
        let values = dequantised(BlockFormat::Iq4Nl, &block);
        assert_eq!((values[0], values[16], values[1]), (-52., 56.5, -63.5));
        // 2^(128 - 128) of the doubled numbers 1.5 and -6.
        let mut block = [0_u8; 17];
        block[..2].copy_from_slice(&[127, 0xf3]);
        let values = dequantised(BlockFormat::Mxfp4, &block);
        assert_eq!((values[0], values[16], values[1]), (1.5, -6., 0.));
        assert_eq!([power(0), power(1), power(2)], [2f32.powi(-128), 2f32.powi(-127), 2f32.powi(-126)]);
    }

    #[test]
    fn ternary_digits_are_one_less_than_stored() {
        // The digits 2, 1, 0, 1, 2 as a fraction of 243: 2 * 81 + 27 + 3 + 2 = 194; rounded up in 256ths 205.
        let mut block = [0_u8; 54];
        block[0] = 205;
        block[52..].copy_from_slice(&[0x00, 0x3c]);
        let values = dequantised(BlockFormat::Tq1, &block);
        assert_eq!([0, 32, 64, 96, 128].map(|at| values[at]), [1., 0., -1., 0., 1.]);
        let mut block = [0_u8; 66];
        block[0] = 0b10_01_00_10;
        block[64..].copy_from_slice(&[0x00, 0x3c]);
        let values = dequantised(BlockFormat::Tq2, &block);
        assert_eq!([0, 32, 64, 96].map(|at| values[at]), [1., -1., 0., 1.]);
    }
}

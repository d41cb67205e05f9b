//! Blocks of 32 numbers with one scale, in some formats with an offset.

use super::half;

/// Four bits of each byte: the low ones of all bytes, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8], values: &mut [f32], number: impl Fn(u8) -> f32) {
    let (low, high) = values.split_at_mut(16);
    for ((byte, low), high) in bytes[..16].iter().zip(low).zip(high) {
        *low = number(byte & 15);
        *high = number(byte >> 4);
    }
}

/// As [`nibbles`], with a fifth bit of each number from a word.
#[inline(always)]
fn fives(word: &[u8], bytes: &[u8], values: &mut [f32], number: impl Fn(u8) -> f32) {
    let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    let fifth = |index: usize| ((word >> index & 1) << 4) as u8;
    let (low, high) = values.split_at_mut(16);
    for (index, ((byte, low), high)) in bytes[..16].iter().zip(low).zip(high).enumerate() {
        *low = number(byte & 15 | fifth(index));
        *high = number(byte >> 4 | fifth(index + 16));
    }
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    nibbles(&block[2..], values, |n| f32::from(n as i8 - 8) * scale);
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8], values: &mut [f32]) {
    let (scale, offset) = (half(block, 0), half(block, 2));
    nibbles(&block[4..], values, |n| f32::from(n) * scale + offset);
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    fives(&block[2..6], &block[6..], values, |n| f32::from(n as i8 - 16) * scale);
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8], values: &mut [f32]) {
    let (scale, offset) = (half(block, 0), half(block, 2));
    fives(&block[4..8], &block[8..], values, |n| f32::from(n) * scale + offset);
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    for (value, &byte) in values.iter_mut().zip(&block[2..34]) {
        *value = f32::from(byte as i8) * scale;
    }
}

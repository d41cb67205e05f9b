//! Blocks of 256 numbers in groups, whose scales are quantised too.

use super::half;

/// The scale and offset of a group of 32, six bits each, of twelve bytes.
#[inline(always)]
fn six_bits(bytes: &[u8], group: usize) -> (f32, f32) {
    let (scale, offset) = if group < 4 {
        (bytes[group] & 63, bytes[group + 4] & 63)
    } else {
        let (low, high) = (bytes[group + 4], [bytes[group - 4] >> 6, bytes[group] >> 6]);
        (low & 15 | high[0] << 4, low >> 4 | high[1] << 4)
    };
    (f32::from(scale), f32::from(offset))
}

#[inline(always)]
pub(super) fn q2(block: &[u8], values: &mut [f32]) {
    let (scales, bits) = (&block[..16], &block[16..80]);
    let (scale, offset) = (half(block, 80), half(block, 82));
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        // Of 128 numbers the first 32 have the lowest two bits of 32 bytes.
        let (part, shift, start) = (group / 8, 2 * (group % 8 / 2), group % 2 * 16);
        let own = (scale * f32::from(scales[group] & 15), offset * f32::from(scales[group] >> 4));
        for (value, byte) in values.iter_mut().zip(&bits[32 * part + start..][..16]) {
            *value = own.0 * f32::from(byte >> shift & 3) - own.1;
        }
    }
}

#[inline(always)]
pub(super) fn q3(block: &[u8], values: &mut [f32]) {
    let (high, bits, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half(block, 108);
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        let (part, shift, start) = (group / 8, 2 * (group % 8 / 2), group % 2 * 16);
        let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
        let six = low | (scales[8 + group % 4] >> (2 * (group / 4)) & 3) << 4;
        let own = scale * f32::from(six as i8 - 32);
        let bytes = bits[32 * part + start..][..16].iter().zip(&high[start..][..16]);
        for (value, (byte, high)) in values.iter_mut().zip(bytes) {
            let third = high >> (group / 2) & 1;
            *value = own * f32::from((byte >> shift & 3 | third << 2) as i8 - 4);
        }
    }
}

#[inline(always)]
pub(super) fn q4(block: &[u8], values: &mut [f32]) {
    let (scale, offset, scales) = (half(block, 0), half(block, 2), &block[4..16]);
    for (pair, (bytes, values)) in block[16..144].chunks_exact(32).zip(values.chunks_exact_mut(64)).enumerate() {
        let (low, high) = values.split_at_mut(32);
        let own = [2 * pair, 2 * pair + 1].map(|group| {
            let (own_scale, own_offset) = six_bits(scales, group);
            (scale * own_scale, offset * own_offset)
        });
        for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
            *low = own[0].0 * f32::from(byte & 15) - own[0].1;
            *high = own[1].0 * f32::from(byte >> 4) - own[1].1;
        }
    }
}

#[inline(always)]
pub(super) fn q5(block: &[u8], values: &mut [f32]) {
    let (scale, offset, scales, fifths) = (half(block, 0), half(block, 2), &block[4..16], &block[16..48]);
    for (pair, (bytes, values)) in block[48..176].chunks_exact(32).zip(values.chunks_exact_mut(64)).enumerate() {
        let (low, high) = values.split_at_mut(32);
        let own = [2 * pair, 2 * pair + 1].map(|group| {
            let (own_scale, own_offset) = six_bits(scales, group);
            (scale * own_scale, offset * own_offset)
        });
        for (((byte, fifth), low), high) in bytes.iter().zip(fifths).zip(low).zip(high) {
            *low = own[0].0 * f32::from(byte & 15 | (fifth >> (2 * pair) & 1) << 4) - own[0].1;
            *high = own[1].0 * f32::from(byte >> 4 | (fifth >> (2 * pair + 1) & 1) << 4) - own[1].1;
        }
    }
}

#[inline(always)]
pub(super) fn q6(block: &[u8], values: &mut [f32]) {
    let (low, high, scales, scale) = (&block[..128], &block[128..192], &block[192..208], half(block, 208));
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        let (part, quarter, start) = (group / 8, group % 8 / 2, group % 2 * 16);
        let own = scale * f32::from(scales[group] as i8);
        // Quarters 0 and 2 of 128 numbers are the halves of the first 32 bytes, 1 and 3 those of the others.
        let low = &low[64 * part + 32 * (quarter % 2) + start..][..16];
        let high = &high[32 * part + start..][..16];
        for (value, (low, high)) in values.iter_mut().zip(low.iter().zip(high)) {
            let four = if quarter < 2 { low & 15 } else { low >> 4 };
            let six = four | (high >> (2 * quarter) & 3) << 4;
            *value = own * f32::from(six as i8 - 32);
        }
    }
}

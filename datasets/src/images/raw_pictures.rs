//! Lossless encoding of generated images.

use super::pixels::Pixels;

/// Magic number; no image format begins with it.
const MAGIC: &[u8; 4] = b"f32\0";

/// Encodes an image without loss.
pub(super) fn raw(pixels: &Pixels) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([pixels.height(), pixels.width()].into_iter().flat_map(|side| (side as u32).to_le_bytes()));
    bytes.extend(pixels.values().iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Decodes the bytes of [`raw`].
pub(super) fn from_raw(bytes: &[u8]) -> Option<Pixels> {
    let (words, []) = bytes.strip_prefix(MAGIC)?.as_chunks::<4>() else { return None };
    let (&[height, width], values) = words.split_first_chunk::<2>()?;
    let values: Vec<f32> = values.iter().map(|&word| f32::from_le_bytes(word)).collect();
    Pixels::new(u32::from_le_bytes(height) as usize, u32::from_le_bytes(width) as usize, values).ok()
}

//! The conditioning of a denoiser: text states, pooled text, size and crop.

use std::sync::Arc;

/// The shared conditioning of a sample.
///
/// Equal contexts are the same `Arc`, or equal by value, so the keys and values of one that several samples share are
/// projected once.
pub type Condition = Arc<Conditioning>;

/// The conditioning inputs of a denoiser; an unconditional denoiser has none of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditioning {
    /// Hidden states of a text encoder, one row per token, read by cross-attention.
    pub hidden: Option<Hidden>,
    /// Pooled embedding of the whole text (SDXL).
    pub pooled: Option<Vec<f32>>,
    /// SDXL's `time_ids` (of PixArt-alpha the last two): original height and width, top and left of the crop, target height and width, in pixels.
    pub time_ids: Option<[f32; 6]>,
    /// The class of the image (DiT).
    pub class: Option<u32>,
}

/// Hidden states in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// `length * width` numbers, token after token.
    pub values: Vec<f32>,
    /// Number of tokens, padding included where the model was trained to read it.
    pub length: usize,
    /// Width of a token's state.
    pub width: usize,
}

/// Original size, crop and target size of a sample, in pixels: SDXL's micro-conditioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    /// Height and width of the original image.
    pub original: (usize, usize),
    /// Top and left edge of the crop.
    pub crop: (usize, usize),
    /// Height and width of the sample.
    pub target: (usize, usize),
}

impl Framing {
    /// The framing of an uncropped image of this size.
    pub fn whole(height: usize, width: usize) -> Self {
        Self { original: (height, width), crop: (0, 0), target: (height, width) }
    }

    /// The numbers in SDXL's order.
    pub fn time_ids(&self) -> [f32; 6] {
        let Self { original, crop, target } = *self;
        [original.0, original.1, crop.0, crop.1, target.0, target.1].map(|pixels| pixels as f32)
    }
}

impl Conditioning {
    /// Empty conditioning, for an unconditional denoiser.
    pub fn none() -> Self {
        Self::default()
    }

    /// A class alone (DiT).
    pub fn of_class(class: u32) -> Self {
        Self { class: Some(class), ..Self::default() }
    }

    /// Hidden states alone (SD 1 and 2, latents with a `context`).
    ///
    /// # Panics
    /// If `values` are not `length` rows of one width.
    pub fn of_hidden(values: Vec<f32>, length: usize) -> Self {
        assert!(length > 0 && values.len().is_multiple_of(length), "{} numbers in {length} rows", values.len());
        let width = values.len() / length;
        Self { hidden: Some(Hidden { values, length, width }), ..Self::default() }
    }
}

impl Hidden {
    /// The state of one token.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn row(&self, token: usize) -> &[f32] {
        &self.values[token * self.width..][..self.width]
    }
}

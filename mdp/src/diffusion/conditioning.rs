//! What a denoiser is told about the image it makes.

use std::sync::Arc;

/// A text as a denoiser reads it, and whatever else it is told.
///
/// Equal contexts are the same `Arc`, or equal by value, so one that several samples share is projected once.
pub type Condition = Arc<Conditioning>;

/// What a denoiser is told about the image it makes; all of it absent for one that makes images unasked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditioning {
    /// The states of a text encoder, token by token, which cross-attention reads.
    pub hidden: Option<Hidden>,
    /// One vector for the whole text (SDXL).
    pub pooled: Option<Vec<f32>>,
    /// Original height and width, top and left of the crop, target height and width, in pixels (SDXL).
    pub time_ids: Option<[f32; 6]>,
}

/// Hidden states, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// `length * width` numbers, token after token.
    pub values: Vec<f32>,
    /// Number of tokens, padding included where the model was trained to read it.
    pub length: usize,
    /// Numbers of a token.
    pub width: usize,
}

/// Which part of which image a sample shows, in pixels: what SDXL is told beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    /// Height and width of the image as it was found.
    pub original: (usize, usize),
    /// Top and left edge of the part that was cut out.
    pub crop: (usize, usize),
    /// Height and width of the sample.
    pub target: (usize, usize),
}

impl Framing {
    /// A whole image that was found at this size.
    pub fn whole(height: usize, width: usize) -> Self {
        Self { original: (height, width), crop: (0, 0), target: (height, width) }
    }

    /// The numbers as SDXL reads them.
    pub fn time_ids(&self) -> [f32; 6] {
        let Self { original, crop, target } = *self;
        [original.0, original.1, crop.0, crop.1, target.0, target.1].map(|pixels| pixels as f32)
    }
}

impl Conditioning {
    /// Nothing is told: what an unconditional denoiser gets.
    pub fn none() -> Self {
        Self::default()
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
    /// The numbers of one token.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn row(&self, token: usize) -> &[f32] {
        &self.values[token * self.width..][..self.width]
    }
}

//! Text encoders of other kinds, with tokenizers of their own.

use std::fmt;

use crate::ModelError;

/// An encoder of texts with its tokenizer, whose hidden states are all that a denoiser reads: one for each token, in any
/// number.
pub trait TextEncoder: fmt::Debug + Send + Sync {
    /// The width of a token's state.
    fn width(&self) -> usize;

    /// The maximum number of tokens of a text.
    fn max_length(&self) -> usize;

    /// Encodes texts.
    ///
    /// # Errors
    /// A tokenizer or encoder error.
    fn encode(&self, texts: &[&str]) -> Result<Vec<EncodedText>, ModelError>;

    /// The number of tokens that are read of each text, and whether it is longer; encodes none.
    ///
    /// # Errors
    /// A tokenizer error.
    fn lengths(&self, texts: &[&str]) -> Result<Vec<(usize, bool)>, ModelError>;
}

/// The states of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedText {
    /// `[tokens, width]`, row-major.
    pub states: Vec<f32>,
    /// Whether it was truncated.
    pub truncated: bool,
}

//! What a language model that another library computes reads, and its sizes.

/// What an external language model reads in a pass: sequences of one length, and the places whose logits are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBatch {
    /// The tokens of all sequences.
    pub tokens: Vec<u32>,
    /// The length of each sequence.
    pub length: usize,
    /// The wanted places: sequence and position in it. Their logits, as many as the vocabulary each, are the output.
    pub wanted: Vec<(usize, usize)>,
}

impl TokenBatch {
    /// The number of sequences.
    pub fn n(&self) -> usize {
        self.tokens.len() / self.length.max(1)
    }
}

/// The sizes of an external language model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSizes {
    /// The number of logits.
    pub vocabulary: usize,
    /// The most tokens that it reads.
    pub max_positions: usize,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
}

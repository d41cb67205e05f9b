//! What a model sees of a record: token ids.
use std::sync::Arc;

/// A tokenised record: one prompt, its answers, and what is known about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its position in the data, from 0; the same whatever order or split it is read in.
    pub index: u64,
    /// The prompt's tokens, shared by all answers. Never empty, so that the first answer token has a predictor.
    pub prompt: Arc<[u32]>,
    /// The answers' tokens, EOS included unless truncation cut it; none is empty. Their order is given by `kind`.
    pub responses: Vec<Vec<u32>>,
    /// What is known about the answers.
    pub kind: ExampleKind,
    /// For a pair: the probability that the first answer is the better one (1 unless the data is unsure). 1 otherwise.
    pub preference: f64,
}

/// What is known about an example's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExampleKind {
    /// Two answers, the chosen one first.
    Pair,
    /// Two or more answers in strict order, best first.
    Ranked,
    /// One answer that was liked, or not.
    Labelled {
        /// Whether it was liked.
        desirable: bool,
    },
    /// One answer to imitate.
    Demonstration,
}

impl Example {
    /// How many tokens prompt and answers have together; the prompt counts once.
    pub fn n_tokens(&self) -> usize {
        self.prompt.len() + self.n_response_tokens()
    }

    /// How many answer tokens there are, all of them scored.
    pub fn n_response_tokens(&self) -> usize {
        self.responses.iter().map(Vec::len).sum()
    }
}

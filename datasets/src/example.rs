//! Tokenised examples.
use std::sync::Arc;

/// A tokenised record: one prompt, its answers, and the feedback on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The position in the data, from 0, independent of order and split.
    pub index: u64,
    /// The prompt's tokens, shared by all answers. Never empty, so that the first answer token has a context.
    pub prompt: Arc<[u32]>,
    /// The tokens of each answer, EOS included unless truncated; none is empty. `kind` gives their order.
    pub responses: Vec<Vec<u32>>,
    /// The kind of feedback.
    pub kind: ExampleKind,
    /// For a pair: the probability that the first answer is better (1 for hard labels). 1 otherwise.
    pub preference: f64,
}

/// The kind of feedback on an example's answers.
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
    /// Number of tokens of prompt and answers; the prompt counts once.
    pub fn n_tokens(&self) -> usize {
        self.prompt.len() + self.n_response_tokens()
    }

    /// Number of answer tokens, all of which are scored.
    pub fn n_response_tokens(&self) -> usize {
        self.responses.iter().map(Vec::len).sum()
    }
}

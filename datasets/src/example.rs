//! Tokenised examples.
use std::sync::Arc;

use crate::response::Response;

/// A tokenised record: one prompt, its answers, and the feedback on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The position in the data, from 0, independent of order and split.
    pub index: u64,
    /// The prompt's tokens, shared by all answers. Never empty, so that the first answer token has a context.
    pub prompt: Arc<[u32]>,
    /// The tokens of each answer, EOS included unless truncated, and which of them are scored; none is empty. `kind`
    /// gives their order.
    pub responses: Vec<Response>,
    /// The kind of feedback.
    pub kind: ExampleKind,
    /// For a pair: the probability that the first answer is better (1 for hard labels). 1 otherwise.
    pub preference: f64,
    /// The weight of its feedback in the loss; 1 unless the data says otherwise.
    pub weight: f64,
    /// For a pair: by how much the better answer's reward should be the higher one, as the data says. 0 otherwise.
    pub margin: f64,
    /// For a forest: pairs of answers, the better one first. Empty otherwise.
    pub comparisons: Vec<(usize, usize)>,
}

/// The kind of feedback on an example's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExampleKind {
    /// Two answers, the chosen one first.
    Pair,
    /// Two or more answers in strict order, best first.
    Ranked,
    /// The answers of a whole conversation tree, which share their beginnings, and comparisons of some of them.
    Forest,
    /// One answer that was liked, or not.
    Labelled {
        /// Whether it was liked.
        desirable: bool,
    },
    /// One answer to imitate.
    Demonstration,
}

impl Example {
    /// An example of weight 1 with certain feedback.
    pub fn new(index: u64, prompt: Arc<[u32]>, responses: Vec<Response>, kind: ExampleKind) -> Self {
        Self { index, prompt, responses, kind, preference: 1.0, weight: 1.0, margin: 0.0, comparisons: Vec::new() }
    }

    /// Number of tokens of prompt and answers; the prompt counts once.
    pub fn n_tokens(&self) -> usize {
        self.prompt.len() + self.n_response_tokens()
    }

    /// Number of answer tokens, given and scored.
    pub fn n_response_tokens(&self) -> usize {
        self.responses.iter().map(|response| response.len()).sum()
    }
}

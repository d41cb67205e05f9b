//! The way from products of vectors to scores: attention's, and the logits of a vocabulary.

/// The form of attention's scores, and the tokens that each token sees.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AttentionForm {
    /// The factor of the products of queries and keys; `None` for `1 / sqrt(size)`.
    pub scale: Option<f64>,
    /// The soft bound of a score s: it becomes `cap tanh(s / cap)`.
    pub cap: Option<f64>,
    /// The number of last tokens that a token sees, itself included (a sliding window, at least 1); `None` for all.
    pub window: Option<usize>,
}

/// The form of the logits of a vocabulary: `cap tanh(scale product / cap)`, or `scale product` without a cap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitForm {
    /// The factor of the products of hidden states and words.
    pub scale: f64,
    /// The soft bound.
    pub cap: Option<f64>,
}

impl LogitForm {
    /// The products themselves.
    pub const PLAIN: Self = Self { scale: 1., cap: None };
}

//! Log-probabilities of given tokens without the logits of all others.

use super::composed;
use candle_core::{Result, Tensor, bail};

/// Which tokens to score, and against what.
#[derive(Debug, Clone, Copy)]
pub struct VocabularyQuery<'a> {
    /// Row of `hidden` that predicts each target.
    pub rows: &'a [u32],
    /// The tokens to score, as many as `rows`.
    pub targets: &'a [u32],
    /// Hidden states `[T, width']` and vocabulary matrix `[V, width']` of a reference model.
    pub reference: Option<(&'a Tensor, &'a Tensor)>,
    /// Whether to compute entropies.
    pub entropy: bool,
}

impl VocabularyQuery<'_> {
    /// Number of targets, once shapes and ranges are known to fit.
    pub(crate) fn check(&self, hidden: &Tensor, matrix: &Tensor) -> Result<usize> {
        let (n_rows, width) = hidden.dims2()?;
        let (vocabulary, matrix_width) = matrix.dims2()?;
        let n = self.targets.len();
        if n != self.rows.len() {
            bail!("{} rows for {n} targets", self.rows.len());
        }
        if width != matrix_width {
            bail!("hidden states of width {width} meet a vocabulary matrix of width {matrix_width}");
        }
        if let Some(row) = self.rows.iter().find(|&&row| row as usize >= n_rows) {
            bail!("row {row} of {n_rows} hidden states");
        }
        if let Some(target) = self.targets.iter().find(|&&target| target as usize >= vocabulary) {
            bail!("token {target} of a vocabulary of {vocabulary}");
        }
        if let Some((hidden, matrix)) = self.reference {
            let same_width = hidden.dim(1)? == matrix.dim(1)?;
            if hidden.dim(0)? != n_rows || matrix.dim(0)? != vocabulary || !same_width {
                bail!("reference of shapes {:?} and {:?} does not fit", hidden.dims(), matrix.dims());
            }
        }
        Ok(n)
    }
}

/// Log-probability of each target under `softmax(hidden[row] matrix^T)`, in nats.
///
/// # Shapes
///
/// `hidden` `[T, width]`, `matrix` `[V, width]`, result `[N, 3]` for N targets: log-probability, KL(reference || policy)
/// over the whole vocabulary (0 without a reference), entropy (0 unless asked for). Gradients flow through the first two
/// columns, to `hidden` and `matrix`.
///
/// # Errors
///
/// Rows or targets out of range, or of different numbers.
pub fn vocabulary_log_prob(hidden: &Tensor, matrix: &Tensor, query: VocabularyQuery<'_>) -> Result<Tensor> {
    composed::vocabulary_log_prob(hidden, matrix, query)
}

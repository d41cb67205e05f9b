//! Token log-probabilities in plain candle ops.

use crate::ops::VocabularyQuery;
use candle_core::{D, Result, Tensor};

/// See [`crate::ops::vocabulary_log_prob`].
pub fn vocabulary_log_prob(hidden: &Tensor, matrix: &Tensor, query: VocabularyQuery<'_>) -> Result<Tensor> {
    let n = query.check(hidden, matrix)?;
    let device = hidden.device();
    let rows = Tensor::from_slice(query.rows, n, device)?;
    let targets = Tensor::from_slice(query.targets, (n, 1), device)?;
    let log_probs = log_softmax(hidden, matrix, &rows)?;
    let zeros = Tensor::zeros((n, 1), hidden.dtype(), device)?;
    let divergence = match query.reference {
        Some((hidden, matrix)) => {
            let reference = log_softmax(&hidden.detach(), &matrix.detach(), &rows)?;
            (reference.exp()? * (reference - &log_probs)?)?.sum_keepdim(1)?
        }
        None => zeros.clone(),
    };
    let entropy = if query.entropy {
        let log_probs = log_probs.detach();
        (log_probs.exp()? * log_probs)?.sum_keepdim(1)?.neg()?
    } else {
        zeros
    };
    Tensor::cat(&[log_probs.gather(&targets, 1)?, divergence, entropy], 1)
}

fn log_softmax(hidden: &Tensor, matrix: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let logits = hidden.index_select(rows, 0)?.matmul(&matrix.t()?)?;
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    logits.broadcast_sub(&logits.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

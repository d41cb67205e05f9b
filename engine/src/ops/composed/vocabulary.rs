//! Token log-probabilities in plain candle ops.

use super::attention::soft_cap;
use crate::kernels::quantised::Matrix;
use crate::ops::{LogitForm, VocabularyQuery};
use candle_core::{D, Result, Tensor};

/// See [`crate::ops::vocabulary_log_prob`].
pub fn vocabulary_log_prob(hidden: &Tensor, matrix: &Tensor, query: VocabularyQuery<'_>) -> Result<Tensor> {
    let n = query.check(hidden, &Matrix::from(matrix))?;
    let device = hidden.device();
    let rows = Tensor::from_slice(query.rows, n, device)?;
    let targets = Tensor::from_slice(query.targets, (n, 1), device)?;
    let logits_of = |hidden: &Tensor, matrix: &Tensor, form: LogitForm| {
        soft_cap(&(hidden.index_select(&rows, 0)?.matmul(&matrix.t()?)? * form.scale)?, form.cap)
    };
    let logits = logits_of(hidden, matrix, query.forms[0])?;
    let log_probs = log_softmax(&logits)?;
    let zeros = Tensor::zeros((n, 1), hidden.dtype(), device)?;
    let divergence = match query.reference {
        Some((hidden, matrix)) => {
            let matrix = matrix.dense(hidden)?.detach();
            let reference = log_softmax(&logits_of(&hidden.detach(), &matrix, query.forms[1])?)?;
            (reference.exp()? * (reference - &log_probs)?)?.sum_keepdim(1)?
        }
        None => zeros.clone(),
    };
    let [entropy, mean, likeliest] = if query.diagnostics {
        let (logits, log_probs) = (logits.detach(), log_probs.detach());
        let entropy = (log_probs.exp()? * log_probs)?.sum_keepdim(1)?.neg()?;
        let likeliest = logits.gather(&targets, 1)?.ge(&logits.max_keepdim(1)?)?.to_dtype(logits.dtype())?;
        [entropy, logits.mean_keepdim(1)?, likeliest]
    } else {
        [zeros.clone(), zeros.clone(), zeros.clone()]
    };
    let collision = if query.collision { (log_probs.detach() * 2.)?.exp()?.sum_keepdim(1)?.log()? } else { zeros };
    Tensor::cat(&[log_probs.gather(&targets, 1)?, divergence, entropy, mean, likeliest, collision], 1)
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    logits.broadcast_sub(&logits.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

//! Token log-probabilities in plain candle ops.

use super::{columns_at, in_precision, rows_at, soft_cap};
use crate::kernels::quantised::Matrix;
use crate::ops::{LogitForm, LogitQuery, VocabularyQuery};
use crate::transfer::from_host;
use candle_core::{D, Result, Tensor};

/// See [`crate::ops::vocabulary_log_prob`].
pub fn vocabulary_log_prob(hidden: &Tensor, matrix: &Tensor, query: VocabularyQuery<'_>) -> Result<Tensor> {
    let n = query.check(hidden, &Matrix::from(matrix))?;
    let device = hidden.device();
    let rows = from_host(query.rows.to_vec(), n, device)?;
    let targets = from_host(query.targets.to_vec(), (n, 1), device)?;
    let logits_of = |hidden: &Tensor, matrix: &Tensor, form: LogitForm| {
        soft_cap(&(in_precision(&rows_at(hidden, &rows)?, &matrix.t()?)? * form.scale)?, form.cap)
    };
    let logits = logits_of(hidden, matrix, query.forms[0])?;
    let reference = match query.reference {
        Some((hidden, matrix)) => {
            let matrix = matrix.dense(hidden)?.detach();
            Some(logits_of(&hidden.detach(), &matrix, query.forms[1])?)
        }
        None => None,
    };
    numbers(&logits, reference.as_ref(), &targets, [query.diagnostics, query.collision])
}

/// See [`crate::ops::logit_log_prob`].
pub fn logit_log_prob(logits: &Tensor, query: LogitQuery<'_>) -> Result<Tensor> {
    let n = query.check(logits)?;
    let rows = from_host(query.rows.to_vec(), n, logits.device())?;
    let targets = from_host(query.targets.to_vec(), (n, 1), logits.device())?;
    let reference = query.reference.map(|reference| rows_at(&reference.detach(), &rows)).transpose()?;
    let asked = [query.diagnostics, query.collision];
    numbers(&rows_at(logits, &rows)?, reference.as_ref(), &targets, asked)
}

/// The numbers of a target for each row of logits; `asked` are diagnostics and collision.
fn numbers(
    logits: &Tensor,
    reference: Option<&Tensor>,
    targets: &Tensor,
    [diagnostics, collision]: [bool; 2],
) -> Result<Tensor> {
    let log_probs = log_softmax(logits)?;
    let zeros = Tensor::zeros((logits.dim(0)?, 1), logits.dtype(), logits.device())?;
    let divergence = match reference {
        Some(logits) => {
            let reference = log_softmax(logits)?;
            (reference.exp()? * (reference - &log_probs)?)?.sum_keepdim(1)?
        }
        None => zeros.clone(),
    };
    let [entropy, mean, likeliest] = if diagnostics {
        let (logits, log_probs) = (logits.detach(), log_probs.detach());
        let entropy = (log_probs.exp()? * log_probs)?.sum_keepdim(1)?.neg()?;
        let likeliest = columns_at(&logits, targets)?.ge(&logits.max_keepdim(1)?)?.to_dtype(logits.dtype())?;
        [entropy, logits.mean_keepdim(1)?, likeliest]
    } else {
        [zeros.clone(), zeros.clone(), zeros.clone()]
    };
    let collision = if collision { (log_probs.detach() * 2.)?.exp()?.sum_keepdim(1)?.log()? } else { zeros };
    Tensor::cat(&[columns_at(&log_probs, targets)?, divergence, entropy, mean, likeliest, collision], 1)
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    logits.broadcast_sub(&logits.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;
    use crate::noise::normal;
    use candle_core::Device;

    #[test]
    fn given_logits_have_the_numbers_of_products_that_give_them() {
        let drawn = |name, n| normal(&mut Noise::new(1).stream(name, 0), (n, 5), 1.5, &Device::Cpu).unwrap();
        let (logits, reference) = (drawn("policy", 4), drawn("reference", 4));
        let identity = Matrix::from(&Tensor::eye(5, candle_core::DType::F32, &Device::Cpu).unwrap());
        let (rows, targets) = ([0, 3, 3, 1], [4, 0, 2, 2]);
        let (diagnostics, collision) = (true, true);
        let by_products = VocabularyQuery {
            rows: &rows,
            targets: &targets,
            reference: Some((&reference, &identity)),
            forms: [LogitForm::PLAIN; 2],
            diagnostics,
            collision,
        };
        let given = LogitQuery { rows: &rows, targets: &targets, reference: Some(&reference), diagnostics, collision };
        let numbers = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = numbers(crate::ops::vocabulary_log_prob(&logits, &identity, by_products).unwrap());
        let found = numbers(crate::ops::logit_log_prob(&logits, given).unwrap());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, expected {expected:?}");
        for wrong in [LogitQuery { targets: &[5, 0, 2, 2], ..given }, LogitQuery { rows: &[4, 3, 3, 1], ..given }] {
            assert!(crate::ops::logit_log_prob(&logits, wrong).is_err());
        }
    }
}

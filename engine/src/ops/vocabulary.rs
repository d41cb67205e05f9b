//! Log-probabilities of given tokens without materialising all logits.

use super::fused::{Backward, Fused, Gradient, Input, Saved, binary, unary};
use super::slices::{fused_or, read};
use super::{LogitForm, composed};
use crate::kernels::quantised::{Matrix, MatrixRows, QuantisedMatrix};
use crate::kernels::vocabulary::{COLUMNS, LogitOperands, Normalisers, Scoring};
use crate::kernels::{Real, rows};
use candle_core::{Result, Shape, Tensor, bail};
use std::sync::Arc;

/// The target tokens to score, and a reference model to compare with.
#[derive(Debug, Clone, Copy)]
pub struct VocabularyQuery<'a> {
    /// Row of `hidden` that predicts each target.
    pub rows: &'a [u32],
    /// The tokens to score, as many as `rows`.
    pub targets: &'a [u32],
    /// Hidden states `[T, width']` and vocabulary matrix `[V, width']` of a reference model.
    pub reference: Option<(&'a Tensor, &'a Matrix)>,
    /// The forms of the policy's and of the reference's logits.
    pub forms: [LogitForm; 2],
    /// Whether to compute the diagnostics, which have no gradient: entropy, mean logit, argmax.
    pub diagnostics: bool,
    /// Whether to compute the collision, which has no gradient.
    pub collision: bool,
}

impl VocabularyQuery<'_> {
    /// The number of targets, after checking shapes and ranges.
    pub(crate) fn check(&self, hidden: &Tensor, matrix: &Matrix) -> Result<usize> {
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
            let (other_vocabulary, other_width) = matrix.dims2()?;
            if hidden.dims() != [n_rows, other_width] || other_vocabulary != vocabulary {
                let matrix = [other_vocabulary, other_width];
                bail!("reference of shapes {:?} and {matrix:?} does not fit", hidden.dims());
            }
        }
        Ok(n)
    }
}

/// The target tokens to score by logits that are there already, and a reference's logits to compare with.
#[derive(Debug, Clone, Copy)]
pub struct LogitQuery<'a> {
    /// Row of the logits that predicts each target.
    pub rows: &'a [u32],
    /// The tokens to score, as many as `rows`.
    pub targets: &'a [u32],
    /// The logits of a reference model, `[T, V]`.
    pub reference: Option<&'a Tensor>,
    /// Whether to compute the diagnostics: see [`VocabularyQuery`].
    pub diagnostics: bool,
    /// Whether to compute the collision.
    pub collision: bool,
}

impl LogitQuery<'_> {
    /// The number of targets, after checking shapes and ranges.
    pub(crate) fn check(&self, logits: &Tensor) -> Result<usize> {
        let (n_rows, vocabulary) = logits.dims2()?;
        let n = self.targets.len();
        if n != self.rows.len() {
            bail!("{} rows for {n} targets", self.rows.len());
        }
        if let Some(row) = self.rows.iter().find(|&&row| row as usize >= n_rows) {
            bail!("row {row} of {n_rows} rows of logits");
        }
        if let Some(target) = self.targets.iter().find(|&&target| target as usize >= vocabulary) {
            bail!("token {target} of a vocabulary of {vocabulary}");
        }
        match self.reference {
            Some(reference) if reference.dims() != logits.dims() => {
                bail!("a reference's logits of shape {:?} beside {:?}", reference.dims(), logits.dims())
            }
            _ => Ok(n),
        }
    }
}

/// As [`vocabulary_log_prob`], by logits that are there already, `[T, V]`; the first two columns are differentiable, with a
/// gradient for `logits`.
///
/// # Errors
///
/// Rows or targets out of range, or of different numbers; a reference of another shape.
pub fn logit_log_prob(logits: &Tensor, query: LogitQuery<'_>) -> Result<Tensor> {
    composed::logit_log_prob(logits, query)
}

/// The number of columns that [`vocabulary_log_prob`] gives for each target.
pub const VOCABULARY_NUMBERS: usize = COLUMNS;

/// Log-probability of each target under `softmax(hidden[row] matrix^T)`, in nats; [`LogitForm`] scales and bounds the
/// products.
///
/// # Shapes
///
/// `hidden` `[T, width]`, `matrix` `[V, width]`, result `[N, VOCABULARY_NUMBERS]` for N targets: log-probability,
/// KL(reference || policy) over the whole vocabulary (0 without a reference), and, with diagnostics (else 0), the
/// entropy, the mean of the V logits, and 1 if the target is the argmax; last, where it is asked for (else 0), the collision,
/// the logarithm of the sum of squared probabilities. The first two columns are differentiable, with gradients for `hidden`
/// and `matrix`.
///
/// # Errors
///
/// Rows or targets out of range, or of different numbers.
pub fn vocabulary_log_prob(hidden: &Tensor, matrix: &Matrix, query: VocabularyQuery<'_>) -> Result<Tensor> {
    query.check(hidden, matrix)?;
    let matrices = [Some(matrix), query.reference.map(|(_, matrix)| matrix)].into_iter().flatten();
    let plain = matrices.filter_map(|matrix| match matrix {
        Matrix::Dense(tensor) => Some(tensor),
        Matrix::Quantised(_) => None,
    });
    let tensors: Vec<&Tensor> =
        [Some(hidden), query.reference.map(|(hidden, _)| hidden)].into_iter().flatten().chain(plain).collect();
    fused_or!(&tensors, T => apply::<T>(hidden, matrix, query), {
        composed::vocabulary_log_prob(hidden, &matrix.dense(hidden)?, query)
    })
}

fn apply<T: Real>(hidden: &Tensor, matrix: &Matrix, query: VocabularyQuery<'_>) -> Result<Tensor> {
    let reference = match query.reference {
        Some((hidden, matrix)) => {
            let width = hidden.dim(1)?;
            let scored = rows::gather::<T>(&read(&hidden.contiguous()?)?, width, query.rows);
            let matrix = match matrix {
                Matrix::Dense(tensor) => Matrix::Dense(tensor.detach().contiguous()?),
                Matrix::Quantised(matrix) => Matrix::Quantised(Arc::clone(matrix)),
            };
            Some(Reference { scored, matrix, width, form: query.forms[1] })
        }
        None => None,
    };
    let (rows, targets) = (query.rows.to_vec(), query.targets.to_vec());
    let (form, diagnostics, collision) = (query.forms[0], query.diagnostics, query.collision);
    let quantised = match matrix {
        Matrix::Dense(_) => None,
        Matrix::Quantised(matrix) => Some(Arc::clone(matrix)),
    };
    let op = LogProb { rows, targets, quantised, reference, form, diagnostics, collision, normalisers: Saved::new() };
    match matrix {
        Matrix::Dense(matrix) => binary::<T, _, _>(op, hidden, matrix),
        Matrix::Quantised(_) => unary::<T, _, _>(op, hidden),
    }
}

struct Reference<T> {
    /// Hidden states of the scored rows.
    scored: Vec<T>,
    matrix: Matrix,
    width: usize,
    form: LogitForm,
}

struct LogProb<T> {
    rows: Vec<u32>,
    targets: Vec<u32>,
    /// The policy's matrix, if it is not an input.
    quantised: Option<Arc<QuantisedMatrix>>,
    reference: Option<Reference<T>>,
    form: LogitForm,
    diagnostics: bool,
    collision: bool,
    normalisers: Saved<Normalisers>,
}

impl<T: Real> LogProb<T> {
    /// Calls `action` with the kernel's operands; `policy` holds the hidden states of the scored rows.
    fn with<R>(&self, policy: LogitOperands<'_, T>, action: impl FnOnce(Scoring<'_, T>) -> R) -> Result<R> {
        let numbers = match self.reference.as_ref().map(|reference| &reference.matrix) {
            Some(Matrix::Dense(tensor)) => Some(read(tensor)?),
            Some(Matrix::Quantised(_)) | None => None,
        };
        let reference = self.reference.as_ref().map(|Reference { scored, matrix, width, form }| {
            let matrix = match (matrix, &numbers) {
                (Matrix::Quantised(matrix), _) => MatrixRows::Quantised(matrix),
                (Matrix::Dense(_), numbers) => MatrixRows::Dense(numbers.as_deref().unwrap_or_default()),
            };
            LogitOperands { hidden: &scored[..], matrix, width: *width, form: *form }
        });
        let vocabulary = policy.matrix.n_rows(policy.width);
        let (diagnostics, collision) = (self.diagnostics, self.collision);
        Ok(action(Scoring { policy, reference, targets: &self.targets, vocabulary, diagnostics, collision }))
    }

    /// The policy's matrix: the second input, if there is one.
    fn matrix<'a>(&'a self, second: Option<&Input<'a, T>>) -> MatrixRows<'a, T> {
        match &self.quantised {
            Some(matrix) => MatrixRows::Quantised(matrix),
            None => MatrixRows::Dense(second.map_or(&[], |input| input.data)),
        }
    }
}

impl<T: Real, const N: usize> Fused<T, N> for LogProb<T> {
    const NAME: &'static str = "vocabulary-log-prob";

    fn shape(&self, _inputs: [&[usize]; N]) -> Shape {
        (self.targets.len(), COLUMNS).into()
    }

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        let width = inputs[0].dims[1];
        let scored = rows::gather(inputs[0].data, width, &self.rows);
        let matrix = self.matrix(inputs.get(1));
        let policy = LogitOperands { hidden: &scored, matrix, width, form: self.form };
        let (columns, normalisers) = self.with(policy, |scoring| scoring.forward())?;
        self.normalisers.set(normalisers);
        Ok(columns)
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        let hidden = pass.inputs[0];
        let (n_rows, width) = (hidden.dims[0], hidden.dims[1]);
        let normalisers = self.normalisers.get()?;
        let scored = rows::gather(hidden.data, width, &self.rows);
        let matrix = self.matrix(pass.inputs.get(1));
        let policy = LogitOperands { hidden: &scored, matrix, width, form: self.form };
        let wants_matrix = pass.requires_grad.get(1).copied().unwrap_or(false);
        let (to_scored, to_matrix) =
            self.with(policy, |scoring| scoring.backward(pass.gradient, normalisers, wants_matrix))?;
        let mut to_matrix = Some(to_matrix);
        Ok(std::array::from_fn(|index| match index {
            0 => pass.if_required(0, || rows::scatter_add(&to_scored, width, &self.rows, n_rows)),
            _ => pass.if_required(1, || to_matrix.take().unwrap_or_default()),
        }))
    }
}

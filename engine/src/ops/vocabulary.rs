//! Log-probabilities of given tokens without materialising all logits.

use super::fused::{Backward, Fused, Gradient, Input, Saved, binary};
use super::slices::{fused_or, read};
use super::{LogitForm, composed};
use crate::kernels::vocabulary::{COLUMNS, LogitOperands, Normalisers, Scoring};
use crate::kernels::{Real, rows};
use candle_core::{Result, Shape, Tensor, bail};

/// The target tokens to score, and a reference model to compare with.
#[derive(Debug, Clone, Copy)]
pub struct VocabularyQuery<'a> {
    /// Row of `hidden` that predicts each target.
    pub rows: &'a [u32],
    /// The tokens to score, as many as `rows`.
    pub targets: &'a [u32],
    /// Hidden states `[T, width']` and vocabulary matrix `[V, width']` of a reference model.
    pub reference: Option<(&'a Tensor, &'a Tensor)>,
    /// The forms of the policy's and of the reference's logits.
    pub forms: [LogitForm; 2],
    /// Whether to compute the diagnostics, which have no gradient: entropy, mean logit, argmax.
    pub diagnostics: bool,
    /// Whether to compute the collision, which has no gradient.
    pub collision: bool,
}

impl VocabularyQuery<'_> {
    /// The number of targets, after checking shapes and ranges.
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
pub fn vocabulary_log_prob(hidden: &Tensor, matrix: &Tensor, query: VocabularyQuery<'_>) -> Result<Tensor> {
    query.check(hidden, matrix)?;
    let (other_hidden, other_matrix) = query.reference.unwrap_or((hidden, matrix));
    fused_or!(
        &[hidden, matrix, other_hidden, other_matrix],
        T => apply::<T>(hidden, matrix, query),
        composed::vocabulary_log_prob(hidden, matrix, query)
    )
}

fn apply<T: Real>(hidden: &Tensor, matrix: &Tensor, query: VocabularyQuery<'_>) -> Result<Tensor> {
    let reference = match query.reference {
        Some((hidden, matrix)) => {
            let width = hidden.dim(1)?;
            let scored = rows::gather::<T>(&read(&hidden.contiguous()?)?, width, query.rows);
            Some(Reference { scored, matrix: matrix.detach().contiguous()?, width, form: query.forms[1] })
        }
        None => None,
    };
    let (rows, targets) = (query.rows.to_vec(), query.targets.to_vec());
    let (form, diagnostics, collision) = (query.forms[0], query.diagnostics, query.collision);
    let op = LogProb { rows, targets, reference, form, diagnostics, collision, normalisers: Saved::new() };
    binary::<T, _, _>(op, hidden, matrix)
}

struct Reference<T> {
    /// Hidden states of the scored rows.
    scored: Vec<T>,
    matrix: Tensor,
    width: usize,
    form: LogitForm,
}

struct LogProb<T> {
    rows: Vec<u32>,
    targets: Vec<u32>,
    reference: Option<Reference<T>>,
    form: LogitForm,
    diagnostics: bool,
    collision: bool,
    normalisers: Saved<Normalisers>,
}

impl<T: Real> LogProb<T> {
    /// Calls `action` with the kernel's operands; `policy` holds the hidden states of the scored rows.
    fn with<R>(&self, policy: LogitOperands<'_, T>, action: impl FnOnce(Scoring<'_, T>) -> R) -> Result<R> {
        let matrix = self.reference.as_ref().map(|r| read(&r.matrix)).transpose()?;
        let reference = self.reference.as_ref().zip(matrix.as_ref());
        let reference = reference.map(|(r, matrix)| {
            let Reference { scored, width, form, .. } = r;
            LogitOperands { hidden: &scored[..], matrix, width: *width, form: *form }
        });
        let vocabulary = policy.matrix.len() / policy.width.max(1);
        let (diagnostics, collision) = (self.diagnostics, self.collision);
        Ok(action(Scoring { policy, reference, targets: &self.targets, vocabulary, diagnostics, collision }))
    }
}

impl<T: Real> Fused<T, 2> for LogProb<T> {
    const NAME: &'static str = "vocabulary-log-prob";

    fn shape(&self, _inputs: [&[usize]; 2]) -> Shape {
        (self.targets.len(), COLUMNS).into()
    }

    fn forward(&self, [hidden, matrix]: [Input<'_, T>; 2]) -> Result<Vec<T>> {
        let width = hidden.dims[1];
        let scored = rows::gather(hidden.data, width, &self.rows);
        let policy = LogitOperands { hidden: &scored, matrix: matrix.data, width, form: self.form };
        let (columns, normalisers) = self.with(policy, |scoring| scoring.forward())?;
        self.normalisers.set(normalisers);
        Ok(columns)
    }

    fn backward(&self, pass: &Backward<'_, T, 2>) -> Result<[Gradient<T>; 2]> {
        let [hidden, matrix] = pass.inputs;
        let (n_rows, width) = (hidden.dims[0], hidden.dims[1]);
        let normalisers = self.normalisers.get()?;
        let scored = rows::gather(hidden.data, width, &self.rows);
        let policy = LogitOperands { hidden: &scored, matrix: matrix.data, width, form: self.form };
        let (to_scored, to_matrix) =
            self.with(policy, |scoring| scoring.backward(pass.gradient, normalisers, pass.requires_grad[1]))?;
        let to_hidden = pass.if_required(0, || rows::scatter_add(&to_scored, width, &self.rows, n_rows));
        Ok([to_hidden, Gradient::Values(to_matrix)])
    }
}

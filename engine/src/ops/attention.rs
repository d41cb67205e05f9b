//! Causal attention over prefix forests.

use super::fused::{Backward, Fused, Gradient, Input, Saved, ternary, unary};
use super::slices::fused_or;
use super::{AttentionForm, Block, Forest, Heads, QkvLayout, composed};
use crate::kernels::attention::{Attention, Columns, Normalisers, Operand, Plan, Target};
use crate::kernels::gemm::Shared;
use crate::kernels::{Vectorised, zeros};
use candle_core::{Result, Shape, Tensor};
use std::array;
use std::sync::Arc;

/// Scaled dot-product attention in which each token sees itself, earlier tokens of its segment and all tokens of the
/// segment's ancestors, or the last of these in a window.
///
/// # Shapes
///
/// `q` and the result `[T, query * size]`, `k` and `v` `[T, key_value * size]`, T = `forest.n_rows()`.
pub fn forest_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    form: AttentionForm,
    forest: &Arc<Forest>,
) -> Result<Tensor> {
    heads.check(forest, q, k, v)?;
    fused_or!(
        &[q, k, v],
        T => ternary(Op::<T>::new(heads, form, None, Plan::of_forest(forest, form.window)), q, k, v),
        composed::forest_attention(q, k, v, heads, form, forest)
    )
}

/// [`forest_attention`] on one packed projection, without splitting it.
///
/// # Shapes
///
/// `qkv` `[T, (query + 2 key_value) * size]`, result `[T, query * size]`.
pub fn forest_attention_packed(
    qkv: &Tensor,
    heads: Heads,
    form: AttentionForm,
    layout: QkvLayout,
    forest: &Arc<Forest>,
) -> Result<Tensor> {
    heads.check_packed(forest.n_rows(), qkv, layout)?;
    heads.check_groups()?;
    forest.check()?;
    fused_or!(
        &[qkv],
        T => unary(Op::<T>::new(heads, form, Some(layout), Plan::of_forest(forest, form.window)), qkv),
        composed::forest_attention_packed(qkv, heads, form, layout, forest)
    )
}

/// The fused form of [`super::block_attention`].
pub(super) fn attend_blocks<T: Vectorised>(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    blocks: &[Block],
) -> Result<Tensor> {
    ternary(Op::<T>::new(heads, AttentionForm::default(), None, Plan::of_blocks(blocks)), q, k, v)
}

struct Op<T> {
    heads: Heads,
    form: AttentionForm,
    /// `None` for three separate tensors.
    packed: Option<QkvLayout>,
    plan: Plan,
    normalisers: Saved<Normalisers<T>>,
}

impl<T: Vectorised> Op<T> {
    fn new(heads: Heads, form: AttentionForm, packed: Option<QkvLayout>, plan: Plan) -> Self {
        Self { heads, form, packed, plan, normalisers: Saved::new() }
    }

    /// Columns of queries, keys and values.
    fn columns(&self) -> [Columns; 3] {
        let Heads { query, key_value, size } = self.heads;
        let (head_stride, row_stride) = match self.packed {
            None => (size, 0),
            Some(QkvLayout::PerHead) => (3 * size, 3 * query * size),
            Some(QkvLayout::Blocks) => (size, (query + 2 * key_value) * size),
        };
        let column = |offset| Columns { offset, head_stride, row_stride };
        match self.packed {
            None => [query, key_value, key_value].map(|n| Columns { row_stride: n * size, ..column(0) }),
            Some(QkvLayout::PerHead) => [column(0), column(size), column(2 * size)],
            Some(QkvLayout::Blocks) => [column(0), column(query * size), column((query + key_value) * size)],
        }
    }

    /// The kernel, with separate inputs for queries, keys and values or one packed input.
    fn attention<'a, const N: usize>(&'a self, inputs: [Input<'a, T>; N]) -> Attention<'a, T> {
        let columns = self.columns();
        let operand = |which: usize| Operand { data: inputs[which.min(N - 1)].data, columns: columns[which] };
        let [queries, keys, values] = [0, 1, 2].map(operand);
        Attention { queries, keys, values, heads: self.heads, form: self.form, plan: &self.plan }
    }
}

impl<T: Vectorised, const N: usize> Fused<T, N> for Op<T> {
    const NAME: &'static str = "attention";

    const READS_RESULT: bool = true;

    fn shape(&self, _inputs: [&[usize]; N]) -> Shape {
        (self.plan.n_queries, self.heads.query * self.heads.size).into()
    }

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        let (output, normalisers) = self.attention(inputs).forward();
        self.normalisers.set(normalisers);
        Ok(output)
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        let len = |index: usize| if pass.requires_grad[index] { pass.inputs[index].data.len() } else { 0 };
        let mut gradients: [Vec<T>; N] = array::from_fn(|index| zeros(len(index)));
        let buffers = gradients.each_mut().map(|gradient| Shared::new(gradient));
        let columns = self.columns();
        let targets = [0, 1, 2].map(|which: usize| {
            let index = which.min(N - 1);
            pass.requires_grad[index].then(|| Target { data: buffers[index], columns: columns[which] })
        });
        self.attention(pass.inputs).backward(pass.result, self.normalisers.get()?, pass.gradient, targets);
        Ok(gradients.map(Gradient::Values))
    }
}

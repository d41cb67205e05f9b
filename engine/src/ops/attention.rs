//! Causal attention over prefix forests.

use super::slices::{fused_or, like, read, slice, stored, wanted};
use super::{Block, Forest, composed};
use crate::kernels::Real;
use crate::kernels::attention::{Attention, Columns, Normalisers, Operand, Plan, Target};
use crate::kernels::gemm::Shared;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::{Arc, OnceLock};

/// Numbers of attention heads and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; query head `h` reads head `h / (query / key_value)`.
    pub key_value: usize,
    /// Coordinates per head.
    pub size: usize,
}

/// How queries, keys and values share the columns of one projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvLayout {
    /// GPT-NeoX: for each head its query, its key, its value. Needs as many key as query heads.
    PerHead,
    /// GPT-2: all queries, then all keys, then all values.
    Blocks,
}

impl Heads {
    pub(crate) fn check(self, forest: &Forest, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<()> {
        self.check_groups()?;
        let (n_rows, query, keys) = (forest.n_rows(), self.query * self.size, self.key_value * self.size);
        if q.dims() != [n_rows, query] || k.dims() != [n_rows, keys] || v.dims() != [n_rows, keys] {
            let (q, k, v) = (q.dims(), k.dims(), v.dims());
            bail!("attention over {n_rows} rows and {self:?} got q {q:?}, k {k:?}, v {v:?}");
        }
        forest.check()
    }

    pub(crate) fn check_groups(self) -> Result<()> {
        if self.size == 0 || self.key_value == 0 || !self.query.is_multiple_of(self.key_value) {
            bail!("{} query heads cannot share {} key heads of {}", self.query, self.key_value, self.size);
        }
        Ok(())
    }

    pub(crate) fn check_packed(self, forest_rows: usize, qkv: &Tensor, layout: QkvLayout) -> Result<()> {
        let width = (self.query + 2 * self.key_value) * self.size;
        if qkv.dims() != [forest_rows, width] {
            bail!("packed projection over {forest_rows} rows and {self:?} is {:?}", qkv.dims());
        }
        if layout == QkvLayout::PerHead && self.query != self.key_value {
            bail!("packing by head needs a key head for each of {} query heads", self.query);
        }
        Ok(())
    }
}

/// Scaled dot-product attention in which each token sees itself, the tokens before it in its segment and all tokens of
/// the segment's ancestors; the scale is `1 / sqrt(size)`.
///
/// # Shapes
///
/// `q` and the result `[T, query * size]`, `k` and `v` `[T, key_value * size]`, T = `forest.n_rows()`.
pub fn forest_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, forest: &Arc<Forest>) -> Result<Tensor> {
    heads.check(forest, q, k, v)?;
    fused_or!(
        &[q, k, v],
        T => q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Op::<T>::new(heads, None, Plan::of_forest(forest))),
        composed::forest_attention(q, k, v, heads, forest)
    )
}

/// [`forest_attention`] on one packed projection, without splitting it.
///
/// # Shapes
///
/// `qkv` `[T, (query + 2 key_value) * size]`, result `[T, query * size]`.
pub fn forest_attention_packed(qkv: &Tensor, heads: Heads, layout: QkvLayout, forest: &Arc<Forest>) -> Result<Tensor> {
    heads.check_packed(forest.n_rows(), qkv, layout)?;
    heads.check_groups()?;
    forest.check()?;
    fused_or!(
        &[qkv],
        T => qkv.contiguous()?.apply_op1(Op::<T>::new(heads, Some(layout), Plan::of_forest(forest))),
        composed::forest_attention_packed(qkv, heads, layout, forest)
    )
}

/// The fused form of [`super::block_attention`].
pub(super) fn attend_blocks<T: Real>(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    blocks: &[Block],
) -> Result<Tensor> {
    let op = Op::<T>::new(heads, None, Plan::of_blocks(blocks));
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

struct Op<T> {
    heads: Heads,
    /// `None` for three separate tensors.
    packed: Option<QkvLayout>,
    plan: Plan,
    /// What the forward pass leaves for the backward pass.
    normalisers: OnceLock<Normalisers<T>>,
}

impl<T: Real> Op<T> {
    fn new(heads: Heads, packed: Option<QkvLayout>, plan: Plan) -> Self {
        Self { heads, packed, plan, normalisers: OnceLock::new() }
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

    fn attention<'a>(&'a self, data: [&'a [T]; 3]) -> Attention<'a, T> {
        let [q, k, v] = self.columns();
        let operand = |data, columns| Operand { data, columns };
        Attention {
            queries: operand(data[0], q),
            keys: operand(data[1], k),
            values: operand(data[2], v),
            heads: self.heads,
            plan: &self.plan,
        }
    }

    fn forward(&self, data: [&[T]; 3]) -> (CpuStorage, Shape) {
        let (output, normalisers) = self.attention(data).forward();
        // Ops run forward once; a second time would leave the same numbers.
        let _ = self.normalisers.set(normalisers);
        let width = self.heads.query * self.heads.size;
        stored(output, (self.plan.n_queries, width))
    }

    fn backward(
        &self,
        data: [&[T]; 3],
        result: &Tensor,
        gradient: &Tensor,
        to: [Option<Shared<'_, T>>; 3],
    ) -> Result<()> {
        let Some(normalisers) = self.normalisers.get() else { bail!("a backward pass without a forward pass") };
        let gradient = gradient.contiguous()?;
        let [q, k, v] = self.columns();
        let target = |data: Option<_>, columns| data.map(|data| Target { data, columns });
        let targets = [target(to[0], q), target(to[1], k), target(to[2], v)];
        self.attention(data).backward(&read(result)?, normalisers, &read(&gradient)?, targets);
        Ok(())
    }
}

impl<T: Real> CustomOp1 for Op<T> {
    fn name(&self) -> &'static str {
        "attention-packed"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward([slice(storage, layout)?; 3]))
    }

    fn bwd(&self, qkv: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut to_qkv = vec![T::zero(); qkv.elem_count()];
        let shared = Shared::new(&mut to_qkv);
        self.backward([&read(qkv)?; 3], result, gradient, [Some(shared); 3])?;
        like(to_qkv, qkv)
    }
}

impl<T: Real> CustomOp3 for Op<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward([slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?]))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let zeros = |like: &Tensor| vec![T::zero(); if like.track_op() { like.elem_count() } else { 0 }];
        let (mut to_q, mut to_k, mut to_v) = (zeros(q), zeros(k), zeros(v));
        let target = |of: &Tensor, data| of.track_op().then(|| Shared::new(data));
        let targets = [target(q, &mut to_q), target(k, &mut to_k), target(v, &mut to_v)];
        self.backward([&read(q)?, &read(k)?, &read(v)?], result, gradient, targets)?;
        Ok((wanted(to_q, q)?, wanted(to_k, k)?, wanted(to_v, v)?))
    }
}

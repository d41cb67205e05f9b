//! Table look-up.

use super::composed;
use super::slices::{fused_or, like, read, slice, stored};
use crate::kernels::{Real, rows};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// Rows `ids` of `table`.
///
/// # Shapes
///
/// `table` `[V, width]`, result `[T, width]` for T ids.
///
/// # Errors
///
/// An id outside the table.
pub fn embedding(ids: &[u32], table: &Tensor) -> Result<Tensor> {
    let (n_rows, _) = table.dims2()?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= n_rows) {
        bail!("token {id} of a table of {n_rows}");
    }
    fused_or!(
        &[table],
        T => table.contiguous()?.apply_op1(Embedding::<T> { ids: ids.to_vec(), number: PhantomData }),
        composed::embedding(ids, table)
    )
}

struct Embedding<T> {
    ids: Vec<u32>,
    number: PhantomData<T>,
}

impl<T: Real> CustomOp1 for Embedding<T> {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.dims()[1];
        let rows = rows::gather::<T>(slice(storage, layout)?, width, &self.ids);
        Ok(stored(rows, (self.ids.len(), width)))
    }

    fn bwd(&self, table: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (n_rows, width) = table.dims2()?;
        let gradient = gradient.contiguous()?;
        like(rows::scatter_add::<T>(&read(&gradient)?, width, &self.ids, n_rows), table)
    }
}

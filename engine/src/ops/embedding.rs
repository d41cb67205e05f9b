//! Embedding lookup.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, unary};
use super::slices::fused_or;
use crate::kernels::{Real, rows};
use candle_core::{Result, Shape, Tensor, bail};

/// Looks up embeddings: rows `ids` of `table`.
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
        T => unary::<T, _, _>(Embedding { ids: ids.to_vec() }, table),
        composed::embedding(ids, table)
    )
}

struct Embedding {
    ids: Vec<u32>,
}

impl<T: Real> Fused<T, 1> for Embedding {
    const NAME: &'static str = "embedding";

    fn shape(&self, [table]: [&[usize]; 1]) -> Shape {
        (self.ids.len(), table[1]).into()
    }

    fn forward(&self, [table]: [Input<'_, T>; 1]) -> Result<Vec<T>> {
        Ok(rows::gather(table.data, table.dims[1], &self.ids))
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, pass: &Backward<'_, T, 1>) -> Result<[Gradient<T>; 1]> {
        let [table] = pass.inputs;
        let to_table = rows::scatter_add(pass.gradient, table.dims[1], &self.ids, table.dims[0]);
        Ok([Gradient::Values(to_table)])
    }
}

//! Table look-up.

use super::composed;
use candle_core::{Result, Tensor};

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
    composed::embedding(ids, table)
}

//! Attention heads, and their places in a fused projection.

use candle_core::{Result, Tensor, bail};

use super::Forest;

/// The number and size of attention heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; query head `h` reads head `h / (query / key_value)`.
    pub key_value: usize,
    /// Coordinates per head.
    pub size: usize,
}

/// The layout of queries, keys and values in the columns of one fused QKV projection.
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

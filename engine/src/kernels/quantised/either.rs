//! Weight matrices, plain or in blocks.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::QuantisedMatrix;

/// A matrix that linear layers, embeddings and vocabularies are computed with.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// Plain numbers.
    Dense(Tensor),
    /// Blocks, `[out, in]` whatever the layout of a model's other matrices; frozen.
    Quantised(Arc<QuantisedMatrix>),
}

impl From<&Tensor> for Matrix {
    fn from(tensor: &Tensor) -> Self {
        Self::Dense(tensor.clone())
    }
}

impl Matrix {
    /// Its rows and columns.
    ///
    /// # Errors
    ///
    /// A tensor that is no matrix.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(tensor) => tensor.dims2(),
            Self::Quantised(matrix) => Ok(matrix.dims().into()),
        }
    }

    /// The same as plain numbers, of the type and on the device of `like`.
    pub(crate) fn dense(&self, like: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(tensor) => Ok(tensor.clone()),
            Self::Quantised(matrix) => matrix.to_tensor(like.device())?.to_dtype(like.dtype()),
        }
    }
}

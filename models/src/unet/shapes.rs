//! Names and shapes of tensors, collected layer by layer.

use std::collections::BTreeMap;

/// Every tensor of a model with its shape in memory: kernels are `[out, height, width, in]`.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    pub(super) tensors: BTreeMap<String, Vec<usize>>,
}

impl Shapes {
    pub(super) fn linear(&mut self, name: &str, n_out: usize, n_in: usize) {
        self.matrix(name, n_out, n_in);
        self.tensors.insert(format!("{name}.bias"), vec![n_out]);
    }

    /// A linear layer without a bias.
    pub(super) fn matrix(&mut self, name: &str, n_out: usize, n_in: usize) {
        self.tensors.insert(format!("{name}.weight"), vec![n_out, n_in]);
    }

    pub(super) fn convolution(&mut self, name: &str, n_out: usize, kernel: usize, n_in: usize) {
        self.tensors.insert(format!("{name}.weight"), vec![n_out, kernel, kernel, n_in]);
        self.tensors.insert(format!("{name}.bias"), vec![n_out]);
    }

    pub(super) fn norm(&mut self, name: &str, width: usize) {
        for part in ["weight", "bias"] {
            self.tensors.insert(format!("{name}.{part}"), vec![width]);
        }
    }
}

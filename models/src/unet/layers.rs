//! Named layers: the parameters of a model, applied.

use candle_core::Tensor;
use engine::lora::{Adapter, LoraConfig, lora_conv2d, lora_linear};
use engine::ops::{self, Convolution, Grid, NormActivation, WeightLayout};
use engine::{EngineError, Parameters};

/// Whether a pass is to be learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Records what a backward pass needs.
    Learning,
    /// Records nothing.
    Scoring,
    /// Records nothing and leaves the adapters out: the model as it was before adapters learned.
    Base,
}

/// The parameters of a model during a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) lora: Option<&'a LoraConfig>,
    pub(super) pass: Pass,
}

/// The norm before a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub(super) n_groups: usize,
    pub(super) epsilon: f64,
}

impl Layers<'_> {
    pub(super) fn weight(&self, name: &str) -> Result<Tensor, EngineError> {
        Ok(self.of_pass(self.parameters.get(&format!("{name}.weight"))?))
    }

    pub(super) fn bias(&self, name: &str) -> Option<Tensor> {
        self.parameters.find(&format!("{name}.bias")).map(|bias| self.of_pass(bias))
    }

    fn of_pass(&self, tensor: &Tensor) -> Tensor {
        if self.pass == Pass::Learning { tensor.clone() } else { tensor.detach() }
    }

    /// The two halves of a layer's adapter and its scale, where it has one in this pass.
    fn adapter(&self, name: &str) -> Option<(Tensor, Tensor, f64)> {
        let lora = self.lora.filter(|_| self.pass != Pass::Base)?;
        let Adapter { a, b, scale } = lora.adapter(self.parameters, name)?;
        Some((self.of_pass(a), self.of_pass(b), scale))
    }

    /// An affine map of each row.
    pub(super) fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, EngineError> {
        let (weight, bias, layout) = (self.weight(name)?, self.bias(name), WeightLayout::OutIn);
        Ok(match self.adapter(name) {
            None => ops::linear(x, &weight, bias.as_ref(), layout)?,
            Some((a, b, scale)) => lora_linear(x, &weight, bias.as_ref(), layout, Adapter { a: &a, b: &b, scale })?,
        })
    }

    /// A convolution of each image.
    pub(super) fn convolution(
        &self,
        x: &Tensor,
        name: &str,
        grid: Grid,
        convolution: Convolution,
    ) -> Result<Tensor, EngineError> {
        let (weight, bias) = (self.weight(name)?, self.bias(name));
        Ok(match self.adapter(name) {
            None => ops::conv2d(x, &weight, bias.as_ref(), grid, convolution)?,
            Some((a, b, scale)) => {
                lora_conv2d(x, &weight, bias.as_ref(), grid, convolution, Adapter { a: &a, b: &b, scale })?
            }
        })
    }

    /// A norm over the pixels and a group of channels of each image.
    pub(super) fn group_norm(
        &self,
        x: &Tensor,
        name: &str,
        norm: Norm,
        grid: Grid,
        activation: NormActivation,
    ) -> Result<Tensor, EngineError> {
        let (weight, bias) = (self.weight(name)?, self.parameters.get(&format!("{name}.bias"))?);
        Ok(ops::group_norm(x, &weight, &self.of_pass(bias), norm.n_groups, norm.epsilon, grid, activation)?)
    }

    /// A norm of each row.
    pub(super) fn layer_norm(&self, x: &Tensor, name: &str) -> Result<Tensor, EngineError> {
        // The one value that diffusers gives it.
        const EPSILON: f64 = 1e-5;
        Ok(ops::layer_norm(x, &self.weight(name)?, self.bias(name).as_ref(), EPSILON)?)
    }
}

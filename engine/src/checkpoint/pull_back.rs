//! Vector-Jacobian products: backward passes that start at given gradients.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType};

use crate::device::has_kernels;
use crate::{EngineError, ops};

/// The vector-Jacobian product: gradients of everything the outputs depend on, given those of the outputs; a tensor
/// behind several outputs gets the sum.
///
/// Candle starts a backward pass only from ones, so it is started at a scalar whose gradients with respect to the
/// outputs are the given ones.
///
/// # Errors
/// Shapes differ, or an op behind an output has no backward pass.
pub(super) fn pull_back(outputs: &[(Tensor, Tensor)]) -> Result<GradStore, EngineError> {
    let mut total = Tensor::zeros((), DType::F32, &candle_core::Device::Cpu)?;
    for (index, (output, gradient)) in outputs.iter().enumerate() {
        let seed = seed(output, gradient)?;
        total = if index == 0 { seed } else { (total + seed)? };
    }
    Ok(ops::backward(&total)?)
}

/// A scalar, in `f32`, whose gradient with respect to `output` is the given one.
fn seed(output: &Tensor, gradient: &Tensor) -> Result<Tensor, EngineError> {
    let gradient = gradient.detach();
    if gradient.dims() != output.dims() {
        let (expected, got) = (output.dims().to_vec(), gradient.dims().to_vec());
        return Err(EngineError::Shape { name: "gradient of the output".to_owned(), expected, got });
    }
    let gradient = gradient.to_dtype(output.dtype())?;
    if has_kernels(output.device()) {
        return Ok(output.apply_op1(Seed { gradient })?);
    }
    Ok((output * gradient)?.sum_all()?.to_dtype(DType::F32)?)
}

/// A zero with a given gradient: the scalar product without its computation.
struct Seed {
    gradient: Tensor,
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _storage: &CpuStorage, _layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((f32::to_cpu_storage(&[0.]), Shape::from(())))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, _grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}

//! Vector-Jacobian products: backward passes that start at given gradients.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType};

use crate::{EngineError, ops};

/// The gradients of everything behind the outputs, given those of the outputs (a vector-Jacobian product): a tensor behind
/// several outputs gets the sum.
///
/// Candle starts a backward pass at ones only, so it is started at a number whose gradients with respect to the outputs
/// are those given.
///
/// # Errors
/// When shapes differ or an op behind an output has no backward pass.
pub(super) fn pull_back(outputs: &[(Tensor, Tensor)]) -> Result<GradStore, EngineError> {
    let mut total = Tensor::zeros((), DType::F32, &candle_core::Device::Cpu)?;
    for (index, (output, gradient)) in outputs.iter().enumerate() {
        let seed = seed(output, gradient)?;
        total = if index == 0 { seed } else { (total + seed)? };
    }
    Ok(ops::backward(&total)?)
}

/// A number, in `f32`, whose gradient with respect to `output` is the one given.
fn seed(output: &Tensor, gradient: &Tensor) -> Result<Tensor, EngineError> {
    let gradient = gradient.detach();
    if gradient.dims() != output.dims() {
        let (expected, got) = (output.dims().to_vec(), gradient.dims().to_vec());
        return Err(EngineError::Shape { name: "gradient of the output".to_owned(), expected, got });
    }
    let gradient = gradient.to_dtype(output.dtype())?;
    if output.device().is_cpu() {
        return Ok(output.apply_op1(Seed { gradient })?);
    }
    Ok((output * gradient)?.sum_all()?.to_dtype(DType::F32)?)
}

/// A zero whose gradient with respect to its argument is given: a product and a sum that need not be computed.
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

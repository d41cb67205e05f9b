//! Optimisers that do what torch's do, with state that can be saved.
//!
//! On the CPU an update is one pass over the numbers, in place and on all cores: weight, gradient and moments are read
//! once and written once. Elsewhere, and for types other than `f32`, the same rule is composed of tensor operations. A
//! weight in half precision gets a copy in `f32` that the updates gather in, for a rate of 1e-6 would not move it.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use engine::optim::{Optimizer, Sgd};
//! use engine::{Gradients, Parameters};
//!
//! # fn main() -> Result<(), engine::EngineError> {
//! let mut parameters = Parameters::default();
//! parameters.insert_trainable("x", Tensor::new(&[3f32], &Device::Cpu)?)?;
//! let mut optimizer = Sgd::new(0.)?;
//! for _ in 0..50 {
//!     let mut gradients = Gradients::default();
//!     gradients.add_from(&parameters.get("x")?.sqr()?.sum_all()?.backward()?, &parameters)?;
//!     optimizer.step(&parameters, &gradients, 0.1)?;
//! }
//! assert!(parameters.get("x")?.to_vec1::<f32>()?[0].abs() < 1e-3);
//! # Ok(())
//! # }
//! ```

/// Implements [`Optimizer`] for a struct with a `rule` and `slots`.
macro_rules! impl_optimizer {
    ($optimizer:ty, $rule:ty) => {
        impl Optimizer for $optimizer {
            fn name(&self) -> &'static str {
                <$rule>::NAME
            }

            fn step(&mut self, parameters: &Parameters, gradients: &Gradients, rate: f64) -> Result<(), EngineError> {
                self.slots.step(&self.rule, parameters, gradients, rate, Form::FusedWherePossible)
            }

            fn state(&self) -> Result<BTreeMap<String, Tensor>, EngineError> {
                self.slots.state::<$rule>()
            }

            fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<(), EngineError> {
                self.slots = Slots::load::<$rule>(state)?;
                Ok(())
            }
        }
    };
}

mod adamw;
mod rms_prop;
mod sgd;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Debug;

use candle_core::Tensor;

use crate::{EngineError, Gradients, Parameters};

pub use adamw::AdamW;
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

/// Moves parameters along their gradients.
///
/// # Laws
/// A step changes the trainable parameters that have a gradient, and no others. `load_state` of another optimiser's
/// `state` makes the two take the same steps from there on, to the bit.
pub trait Optimizer: Debug + Send + Sync {
    /// The rule's name, as settings spell it.
    fn name(&self) -> &'static str;

    /// Takes one step of size `rate`, in place. A rate of zero moves no parameter but still updates the moments.
    ///
    /// # Errors
    /// A rate that is negative or not finite, a gradient or a loaded state that does not have its parameter's shape.
    fn step(&mut self, parameters: &Parameters, gradients: &Gradients, rate: f64) -> Result<(), EngineError>;

    /// A copy of everything that the next step depends on, as named tensors: `MOMENT.PARAMETER` in the parameter's
    /// shape and `step.PARAMETER`, a scalar.
    ///
    /// # Errors
    /// When the device has no room for the copy.
    fn state(&self) -> Result<BTreeMap<String, Tensor>, EngineError>;

    /// Loads a saved state in place of the present one.
    ///
    /// # Errors
    /// Tensors that are missing, or that this optimiser does not know.
    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<(), EngineError>;
}

//! Optimisers with the arithmetic of torch's, and state that can be saved.
//!
//! On the CPU an update is one pass over the numbers, in place and on all cores: weight, gradient and moments are read
//! and written once. Elsewhere, and for dtypes other than `f32`, the same rule is composed of tensor operations.
//! Half-precision weights keep an `f32` master copy, because an update of 1e-6 would round to nothing.
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

            fn step_own(
                &mut self,
                parameters: &Parameters,
                gradients: &Gradients,
                rate: f64,
                own: &super::OwnShare<'_>,
            ) -> Result<(), EngineError> {
                self.slots.step_own(&self.rule, parameters, gradients, rate, own)
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
use std::ops::Range;

use candle_core::Tensor;

use crate::{EngineError, Gradients, Parameters};

pub use adamw::AdamW;
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

/// Which of so many numbers of a parameter, in the order of its memory, are a process's own to update.
pub type OwnShare<'o> = dyn Fn(usize) -> Range<usize> + 'o;

/// Updates parameters from their gradients.
///
/// # Laws
/// A step changes exactly the trainable parameters that have a gradient. Two optimisers with the same `state`, after
/// `load_state`, take the same steps from there on, bit for bit.
pub trait Optimizer: Debug + Send + Sync {
    /// The rule's name, as settings spell it.
    fn name(&self) -> &'static str;

    /// Takes one step of size `rate`, in place. A rate of zero changes no parameter but still updates the moments.
    ///
    /// # Errors
    /// A rate that is negative or not finite, a gradient or a loaded state that does not have its parameter's shape.
    fn step(&mut self, parameters: &Parameters, gradients: &Gradients, rate: f64) -> Result<(), EngineError>;

    /// As [`step`](Self::step), of an own share of every parameter alone: its numbers are those of a whole step, to the bit, and the
    /// others stay as they were. State is kept of this share only, in one dimension; that of whole parameters, such as a loaded one,
    /// is cut to it.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn step_own(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
        own: &OwnShare<'_>,
    ) -> Result<(), EngineError>;

    /// A copy of all state that the next step depends on, as named tensors: `MOMENT.PARAMETER` in the parameter's shape
    /// and `step.PARAMETER`, a scalar.
    ///
    /// # Errors
    /// The device is out of memory.
    fn state(&self) -> Result<BTreeMap<String, Tensor>, EngineError>;

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// Tensors that are missing, or that this optimiser does not know.
    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<(), EngineError>;
}

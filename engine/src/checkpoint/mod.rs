//! Backward passes segment by segment, and activation checkpointing.
//!
//! A deep model is a chain: an embedding, block after block on the residual stream, a head. A [`Tape`] runs such a
//! chain as separate segments: candle's graph never crosses a segment boundary. That bounds candle's recursion by the
//! size of one segment, frees a segment's activations right after its backward pass, and lets one setting
//! ([`Recompute`]) decide whether activations are stored or recomputed in the backward pass (activation checkpointing:
//! time for memory).
//!
//! A boundary carries one tensor or several: a U-Net has skip connections and a time embedding that every block reads.
//! A segment passes a tensor on unchanged by returning it; that costs neither time nor memory.
//!
//! A segment may use any number of parameters (variables); their gradients are added to [`Gradients`]. It must not use
//! activations other than its inputs, which are detached.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use engine::checkpoint::{Recompute, Tape};
//! use engine::{Gradients, Parameters};
//!
//! # fn main() -> Result<(), engine::EngineError> {
//! let mut parameters = Parameters::default();
//! parameters.insert_trainable("weight", Tensor::new(&[2f32], &Device::Cpu)?)?;
//! let weight = parameters.get("weight")?.clone();
//!
//! let mut tape = Tape::from_input(&Tensor::new(&[3f32], &Device::Cpu)?, Recompute::Blocks)?;
//! tape.run_all(move |x| Ok(vec![(&x[0] * &weight)?, x[0].clone()]))?; // 3 w, and 3 for later
//! tape.run_all(|x| Ok(vec![(&x[0] * &x[1])?]))?; // 9 w
//! let mut gradients = Gradients::default();
//! let of_input = tape.backward(&Tensor::new(&[1f32], &Device::Cpu)?, &parameters, &mut gradients)?;
//! assert_eq!(gradients.get("weight").map(|g| g.to_vec1()).transpose()?, Some(vec![9f32]));
//! assert_eq!(of_input.map(|g| g.to_vec1()).transpose()?, Some(vec![12f32])); // of x^2 w
//! # Ok(())
//! # }
//! ```

mod carried;
mod pull_back;
#[cfg(test)]
mod tests;

use std::fmt;

use candle_core::Tensor;

use crate::{EngineError, Gradients, Parameters};
use carried::{Carried, Slopes, TapeSegment, TrackedOutput};

/// Selects the activations that a tape recomputes in the backward pass (activation checkpointing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// Nothing but what [`crate::ops::remade`] makes again: all other activations of a segment are kept.
    Nothing,
    /// Every segment: only inputs are stored. A step takes about a third more time, and the activation memory is that
    /// of one segment.
    Blocks,
}

/// A chain of segments that has been run forward; it can be run backward once.
///
/// Boundaries carry one tensor or several. Methods for one tensor fail on a tape that carries several.
///
/// Gradients are those of one graph over the whole chain, bit for bit, whatever is recomputed. A segment's function
/// must be deterministic.
pub struct Tape<'f> {
    recompute: Recompute,
    inputs: Vec<Carried>,
    /// The outputs of the last segment; never empty.
    outputs: Vec<Carried>,
    segments: Vec<TapeSegment<'f>>,
}

impl<'f> Tape<'f> {
    /// Starts a chain at `input`. [`Tape::backward`] will return its gradient.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn from_input(input: &Tensor, recompute: Recompute) -> Result<Self, EngineError> {
        Self::from_inputs(std::slice::from_ref(input), recompute)
    }

    /// Starts a chain at `inputs`. [`Tape::backward_all`] will return their gradients.
    ///
    /// # Errors
    /// No inputs, or the device is out of memory.
    pub fn from_inputs(inputs: &[Tensor], recompute: Recompute) -> Result<Self, EngineError> {
        let inputs = inputs.iter().map(|input| Carried::tracked(&input.detach())).collect::<Result<Vec<_>, _>>()?;
        check_some(&inputs)?;
        Ok(Self { recompute, outputs: inputs.clone(), inputs, segments: Vec::new() })
    }

    /// Starts a chain at a tensor that `function` computes from parameters alone, such as an embedding of token ids.
    ///
    /// # Errors
    /// The function's own.
    pub fn from_source(
        function: impl FnOnce() -> Result<Tensor, EngineError>,
        recompute: Recompute,
    ) -> Result<Self, EngineError> {
        Self::from_sources(|| Ok(vec![function()?]), recompute)
    }

    /// Starts a chain at several tensors, computed from parameters and constants.
    ///
    /// # Errors
    /// The function's own, or no tensor.
    pub fn from_sources(
        function: impl FnOnce() -> Result<Vec<Tensor>, EngineError>,
        recompute: Recompute,
    ) -> Result<Self, EngineError> {
        let mut tape = Self { recompute, inputs: Vec::new(), outputs: Vec::new(), segments: Vec::new() };
        tape.run_all_kept(|_| function())?;
        Ok(tape)
    }

    /// The last segment's output, detached; the first one of several.
    pub fn output(&self) -> &Tensor {
        self.outputs[0].detached()
    }

    /// The last segment's outputs, detached.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.outputs.iter().map(Carried::detached)
    }

    /// Runs one more segment on the last output and returns its output, detached. The tape's [`Recompute`] decides
    /// whether its activations are stored.
    ///
    /// # Errors
    /// The function's own.
    pub fn run(
        &mut self,
        function: impl Fn(&Tensor) -> Result<Tensor, EngineError> + Send + Sync + 'f,
    ) -> Result<&Tensor, EngineError> {
        self.check_one()?;
        self.run_all(move |x| Ok(vec![function(&x[0])?]))?;
        Ok(self.output())
    }

    /// Runs one more segment on the last outputs. The tape's [`Recompute`] decides whether its activations are stored.
    ///
    /// # Errors
    /// The function's own, or no output.
    pub fn run_all(
        &mut self,
        function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>, EngineError> + Send + Sync + 'f,
    ) -> Result<(), EngineError> {
        match self.recompute {
            Recompute::Nothing => self.run_all_kept(function),
            Recompute::Blocks => {
                let (outputs, made) = carried::run(&self.outputs, &function)?;
                let made = made.into_iter().map(TrackedOutput::into_place).collect();
                self.push(outputs, |inputs| TapeSegment::again(inputs, made, Box::new(function)))
            }
        }
    }

    /// Runs one more segment and always stores its activations: for a head, which is expensive to compute and comes
    /// first in the backward pass.
    ///
    /// # Errors
    /// The function's own.
    pub fn run_kept(
        &mut self,
        function: impl FnOnce(&Tensor) -> Result<Tensor, EngineError>,
    ) -> Result<&Tensor, EngineError> {
        self.check_one()?;
        self.run_all_kept(|x| Ok(vec![function(&x[0])?]))?;
        Ok(self.output())
    }

    /// [`Tape::run_kept`] on all outputs of the last segment.
    ///
    /// # Errors
    /// The function's own, or no output.
    pub fn run_all_kept(
        &mut self,
        function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, EngineError>,
    ) -> Result<(), EngineError> {
        let (outputs, made) = carried::run(&self.outputs, function)?;
        self.push(outputs, |inputs| TapeSegment::kept(inputs, made))
    }

    fn push(
        &mut self,
        outputs: Vec<Carried>,
        segment: impl FnOnce(Vec<Carried>) -> TapeSegment<'f>,
    ) -> Result<(), EngineError> {
        check_some(&outputs)?;
        let inputs = std::mem::replace(&mut self.outputs, outputs);
        self.segments.push(segment(inputs));
        Ok(())
    }

    /// Runs the backward pass: adds the gradients of the trainable `parameters` to `gradients` and returns that of the
    /// input, if the tape was made from one and the output depends on it.
    ///
    /// # Shapes
    /// `gradient` has the shape of the last output.
    ///
    /// # Errors
    /// A gradient of another shape, and the errors of the segments.
    pub fn backward(
        self,
        gradient: &Tensor,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>, EngineError> {
        self.check_one()?;
        let of_inputs = self.backward_all(std::slice::from_ref(gradient), parameters, gradients)?;
        Ok(of_inputs.into_iter().next().flatten())
    }

    /// [`Tape::backward`] from all outputs of the last segment to all inputs of the first.
    ///
    /// # Shapes
    /// One gradient per output, in its shape; the result has an entry for each of [`Tape::from_inputs`]' tensors.
    ///
    /// # Errors
    /// Gradients of another number or shape, and the errors of the segments.
    pub fn backward_all(
        self,
        of_outputs: &[Tensor],
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Result<Vec<Option<Tensor>>, EngineError> {
        if of_outputs.len() != self.outputs.len() {
            return Err(EngineError::Carried { expected: self.outputs.len(), got: of_outputs.len() });
        }
        let mut slopes = Slopes::default();
        for (output, gradient) in self.outputs.iter().zip(of_outputs) {
            check_gradient(output.detached(), gradient)?;
            slopes.add(output, gradient.detach())?;
        }
        // Only the segments may hold the tensors they carry, so that they are freed during the backward pass.
        drop(self.outputs);
        for segment in self.segments.into_iter().rev() {
            segment.backward(&mut slopes, parameters, gradients)?;
        }
        Ok(self.inputs.iter().map(|input| slopes.get(input)).collect())
    }

    fn check_one(&self) -> Result<(), EngineError> {
        match self.outputs.len() {
            1 => Ok(()),
            got => Err(EngineError::Carried { expected: 1, got }),
        }
    }
}

fn check_some(carried: &[Carried]) -> Result<(), EngineError> {
    if carried.is_empty() { Err(EngineError::Carried { expected: 1, got: 0 }) } else { Ok(()) }
}

fn check_gradient(output: &Tensor, gradient: &Tensor) -> Result<(), EngineError> {
    if gradient.dims() == output.dims() {
        return Ok(());
    }
    let (expected, got) = (output.dims().to_vec(), gradient.dims().to_vec());
    Err(EngineError::Shape { name: "gradient of the output".to_owned(), expected, got })
}

impl fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape")
            .field("recompute", &self.recompute)
            .field("n_segments", &self.segments.len())
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

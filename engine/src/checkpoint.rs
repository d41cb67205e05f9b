//! Backward passes segment by segment, and activation checkpointing.
//!
//! A deep model is a chain: an embedding, block after block on the residual stream, a head. A [`Tape`] runs such a chain
//! and keeps its segments apart: candle's graph never reaches across a border. That bounds candle's recursion by the
//! size of one segment, frees a segment's activations as soon as its backward pass is done, and makes it a matter of one
//! setting ([`Keep`]) whether activations are kept at all or computed a second time on the way back, which is activation
//! checkpointing: time for memory.
//!
//! A segment may use any number of parameters (variables); their gradients go straight into [`Gradients`]. What it must
//! not use is another segment's activations other than the last one's, for these are cut off.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use engine::checkpoint::{Keep, Tape};
//! use engine::{Gradients, Parameters};
//!
//! # fn main() -> Result<(), engine::EngineError> {
//! let mut parameters = Parameters::default();
//! parameters.insert_trainable("weight", Tensor::new(&[2f32], &Device::Cpu)?)?;
//! let weight = parameters.get("weight")?.clone();
//!
//! let mut tape = Tape::from_input(&Tensor::new(&[3f32], &Device::Cpu)?, Keep::Borders);
//! for _ in 0..2 {
//!     let weight = weight.clone();
//!     tape.run(move |x| Ok((x * &weight)?))?; // 3 w, then 3 w^2
//! }
//! let mut gradients = Gradients::default();
//! let of_input = tape.backward(&Tensor::new(&[1f32], &Device::Cpu)?, &parameters, &mut gradients)?;
//! assert_eq!(gradients.get("weight").map(|g| g.to_vec1()).transpose()?, Some(vec![12f32])); // 6 w
//! assert_eq!(of_input.map(|g| g.to_vec1()).transpose()?, Some(vec![4f32])); // w^2
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod tests;

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, Var, WithDType};

use crate::{EngineError, Gradients, Parameters, ops};

/// What a tape keeps of a segment for the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The segment's input and all activations in it: nothing is computed twice.
    Activations,
    /// Only the segment's input. The segment is run again on the way back, so a step takes about a third more time, and
    /// the memory for activations is that of one segment.
    Borders,
}

type Function<'f> = Box<dyn Fn(&Tensor) -> Result<Tensor, EngineError> + Send + Sync + 'f>;

/// A chain of segments that has been run, and can be gone through backward once.
///
/// # Laws
/// The gradients are those of one graph over the whole chain, whatever is kept. A segment's function, run again, gives
/// the same numbers.
pub struct Tape<'f> {
    keep: Keep,
    output: Tensor,
    /// Whether the gradient of `output` is of use: it is a caller's input, or there are parameters behind it.
    is_output_tracked: bool,
    segments: Vec<Segment<'f>>,
}

enum Segment<'f> {
    /// A first segment that has parameters but no input.
    Source { output: Tensor },
    /// Run with its graph kept. Without an `input`, only the parameters' gradients are wanted.
    Kept { input: Option<Var>, output: Tensor },
    /// To be run again.
    Again { input: Tensor, is_input_tracked: bool, function: Function<'f> },
    /// Neither its input nor its parameters learn, so the way back ends here.
    Untracked,
}

impl<'f> Tape<'f> {
    /// Starts a chain at `input`. [`Tape::backward`] will return its gradient.
    pub fn from_input(input: &Tensor, keep: Keep) -> Self {
        Self { keep, output: input.detach(), is_output_tracked: true, segments: Vec::new() }
    }

    /// Starts a chain at what `function` makes of parameters alone, such as an embedding of token ids.
    ///
    /// # Errors
    /// The function's own.
    pub fn from_source(
        function: impl FnOnce() -> Result<Tensor, EngineError>,
        keep: Keep,
    ) -> Result<Self, EngineError> {
        let output = function()?;
        let (detached, is_output_tracked) = (output.detach(), output.track_op());
        let first = if is_output_tracked { Segment::Source { output } } else { Segment::Untracked };
        Ok(Self { keep, output: detached, is_output_tracked, segments: vec![first] })
    }

    /// The last segment's output, detached.
    pub fn output(&self) -> &Tensor {
        &self.output
    }

    /// Runs one more segment on the last one's output, keeping of it what the tape keeps, and returns its output,
    /// detached.
    ///
    /// # Errors
    /// The function's own.
    pub fn run(
        &mut self,
        function: impl Fn(&Tensor) -> Result<Tensor, EngineError> + Send + Sync + 'f,
    ) -> Result<&Tensor, EngineError> {
        match self.keep {
            Keep::Activations => self.run_kept(function),
            Keep::Borders => self.run_again_later(Box::new(function)),
        }
    }

    /// Runs one more segment and keeps its activations whatever the tape keeps: for a head, which is large to compute
    /// and is the first thing on the way back.
    ///
    /// # Errors
    /// The function's own.
    pub fn run_kept(
        &mut self,
        function: impl FnOnce(&Tensor) -> Result<Tensor, EngineError>,
    ) -> Result<&Tensor, EngineError> {
        let input = if self.is_output_tracked { Some(Var::from_tensor(&self.output)?) } else { None };
        let output = function(input.as_ref().map_or(&self.output, |var| var.as_tensor()))?;
        let detached = output.detach();
        let segment = if output.track_op() { Segment::Kept { input, output } } else { Segment::Untracked };
        Ok(self.push(segment, detached))
    }

    fn run_again_later(&mut self, function: Function<'f>) -> Result<&Tensor, EngineError> {
        let input = self.output.clone();
        // The graph of this run, which trainable parameters bring about, ends with `output`.
        let output = function(&input)?;
        let (detached, is_input_tracked) = (output.detach(), self.is_output_tracked);
        let is_tracked = is_input_tracked || output.track_op();
        let segment =
            if is_tracked { Segment::Again { input, is_input_tracked, function } } else { Segment::Untracked };
        Ok(self.push(segment, detached))
    }

    fn push(&mut self, segment: Segment<'f>, output: Tensor) -> &Tensor {
        self.is_output_tracked = !matches!(segment, Segment::Untracked);
        self.segments.push(segment);
        self.output = output;
        &self.output
    }

    /// Goes backward through the chain: adds the gradients of the trainable `parameters` to `gradients` and returns that
    /// of the input, if the tape was made from one and the output depends on it.
    ///
    /// # Shapes
    /// `gradient` has the shape of the last output.
    ///
    /// # Errors
    /// A gradient of another shape, and what the segments themselves fail with.
    pub fn backward(
        self,
        gradient: &Tensor,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>, EngineError> {
        if gradient.dims() != self.output.dims() {
            let (expected, got) = (self.output.dims().to_vec(), gradient.dims().to_vec());
            return Err(EngineError::Shape { name: "gradient of the output".to_owned(), expected, got });
        }
        let mut gradient = gradient.detach();
        for segment in self.segments.into_iter().rev() {
            let Some((input, output)) = segment.graph()? else { return Ok(None) };
            let mut store = pull_back(&output, &gradient)?;
            // The graph goes before the gradients are added, to keep the peak of memory low.
            drop(output);
            let of_input = input.and_then(|input| store.remove(&input));
            gradients.absorb(store, parameters)?;
            match of_input {
                Some(of_input) => gradient = of_input,
                None => return Ok(None),
            }
        }
        Ok(Some(gradient))
    }
}

impl Segment<'_> {
    /// The segment's input, where its gradient is wanted, and its output with the graph behind it.
    fn graph(self) -> Result<Option<(Option<Var>, Tensor)>, EngineError> {
        match self {
            Self::Source { output } => Ok(Some((None, output))),
            Self::Kept { input, output } => Ok(Some((input, output))),
            Self::Again { input, is_input_tracked, function } => {
                let var = if is_input_tracked { Some(Var::from_tensor(&input)?) } else { None };
                let output = function(var.as_ref().map_or(&input, |var| var.as_tensor()))?;
                Ok(output.track_op().then_some((var, output)))
            }
            Self::Untracked => Ok(None),
        }
    }
}

impl fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape")
            .field("keep", &self.keep)
            .field("n_segments", &self.segments.len())
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

/// The gradients of everything behind `output`, given the gradient of `output` itself.
///
/// Candle starts a backward pass at ones only, so it is started at a number whose gradient with respect to `output` is
/// the one given.
///
/// # Errors
/// When the shapes differ or an op behind `output` has no backward pass.
pub fn pull_back(output: &Tensor, gradient: &Tensor) -> Result<GradStore, EngineError> {
    let gradient = gradient.detach();
    if !output.device().is_cpu() {
        return Ok((output * gradient)?.sum_all()?.backward()?);
    }
    if gradient.dims() != output.dims() || gradient.dtype() != output.dtype() {
        return Ok((output * gradient.to_dtype(output.dtype())?)?.sum_all()?.backward()?);
    }
    Ok(ops::backward(&output.apply_op1(Seed { gradient })?)?)
}

/// A zero whose gradient with respect to its argument is given: a product and a sum that need not be computed.
struct Seed {
    gradient: Tensor,
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let zero = match storage {
            CpuStorage::F64(_) => f64::to_cpu_storage(&[0.]),
            _ => f32::to_cpu_storage(&[0.]),
        };
        Ok((zero, Shape::from(())))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, _grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}

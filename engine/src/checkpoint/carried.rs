//! Tensors carried across segment boundaries, and the backward pass of one segment.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var};

use super::pull_back::pull_back;
use crate::{EngineError, Gradients, Parameters, ops};

/// A tensor that is carried from segment to segment.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// The tensor as segment input: a variable, if a gradient is required; the same one until a segment replaces it.
    tensor: Tensor,
    detached: Tensor,
}

impl Carried {
    /// A tensor whose gradient is required.
    pub(super) fn tracked(detached: &Tensor) -> Result<Self, EngineError> {
        let tensor = Var::from_tensor(detached)?.into_inner();
        Ok(Self { detached: tensor.detach(), tensor })
    }

    /// An output of a segment, detached from its graph.
    fn of(output: &Tensor) -> Result<Self, EngineError> {
        let detached = output.detach();
        if output.track_op() { Self::tracked(&detached) } else { Ok(Self { tensor: detached.clone(), detached }) }
    }

    pub(super) fn detached(&self) -> &Tensor {
        &self.detached
    }
}

/// A tracked tensor that a segment computed.
pub(super) struct TrackedOutput {
    place: OutputSlot,
    /// The output with its graph.
    output: Tensor,
}

/// The index of a tensor among a segment's outputs, and the id under which it is carried.
pub(super) struct OutputSlot {
    index: usize,
    carried: TensorId,
}

impl TrackedOutput {
    /// Drops the graph.
    pub(super) fn into_place(self) -> OutputSlot {
        self.place
    }
}

/// Runs a segment's function; returns all outputs, and those that are new and tracked.
pub(super) fn run(
    inputs: &[Carried],
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, EngineError>,
) -> Result<(Vec<Carried>, Vec<TrackedOutput>), EngineError> {
    let tensors: Vec<Tensor> = inputs.iter().map(|input| input.tensor.clone()).collect();
    let results = function(&tensors)?;
    let (mut outputs, mut made) = (Vec::<Carried>::with_capacity(results.len()), Vec::new());
    for (index, output) in results.iter().enumerate() {
        let same = inputs.iter().find(|input| input.tensor.id() == output.id());
        let again = || results[..index].iter().position(|earlier| earlier.id() == output.id());
        let carried = match same {
            Some(input) => input.clone(),
            None => match again() {
                Some(earlier) => outputs[earlier].clone(),
                None => Carried::of(output)?,
            },
        };
        let is_new = same.is_none() && outputs.iter().all(|other| other.tensor.id() != carried.tensor.id());
        if is_new && output.track_op() {
            made.push(TrackedOutput {
                place: OutputSlot { index, carried: carried.tensor.id() },
                output: output.clone(),
            });
        }
        outputs.push(carried);
    }
    Ok((outputs, made))
}

type Function<'f> = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>, EngineError> + Send + Sync + 'f>;

/// A segment that has run, for its backward pass.
pub(super) struct TapeSegment<'f> {
    inputs: Vec<Carried>,
    way: Way<'f>,
}

enum Way<'f> {
    /// Backward through the stored graph.
    Kept(Vec<TrackedOutput>),
    /// Backward through the graph of a recomputation.
    Again(Vec<OutputSlot>, Function<'f>),
}

impl<'f> TapeSegment<'f> {
    pub(super) fn kept(inputs: Vec<Carried>, made: Vec<TrackedOutput>) -> Self {
        Self { inputs, way: Way::Kept(made) }
    }

    pub(super) fn again(inputs: Vec<Carried>, made: Vec<OutputSlot>, function: Function<'f>) -> Self {
        Self { inputs, way: Way::Again(made, function) }
    }

    /// Replaces the slopes of the segment's outputs by those of its inputs, and accumulates the parameters' gradients.
    pub(super) fn backward(
        self,
        slopes: &mut Slopes,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Result<(), EngineError> {
        let Self { inputs, way } = self;
        let pairs = outputs_with_slopes(way, &inputs, slopes)?;
        if pairs.is_empty() {
            return Ok(());
        }
        let mut store = pull_back(&pairs)?;
        // The graph is dropped before the gradients are added, to lower the memory peak.
        drop(pairs);
        for input in &inputs {
            if let Some(slope) = store.remove(&input.tensor) {
                slopes.add(input, slope)?;
            }
        }
        gradients.absorb(store, parameters)
    }
}

/// The outputs of a segment with their graphs and slopes; outputs without a slope are left out.
fn outputs_with_slopes(
    way: Way<'_>,
    inputs: &[Carried],
    slopes: &mut Slopes,
) -> Result<Vec<(Tensor, Tensor)>, EngineError> {
    match way {
        Way::Kept(made) => {
            let pair = |made: TrackedOutput| Some((made.output, slopes.take(made.place.carried)?));
            Ok(made.into_iter().filter_map(pair).collect())
        }
        Way::Again(places, function) => {
            let wanted = |place: OutputSlot| Some((place.index, slopes.take(place.carried)?));
            let wanted: Vec<(usize, Tensor)> = places.into_iter().filter_map(wanted).collect();
            if wanted.is_empty() {
                return Ok(Vec::new());
            }
            let tensors: Vec<Tensor> = inputs.iter().map(|input| input.tensor.clone()).collect();
            let outputs = function(&tensors)?;
            let pair = |(index, slope)| Some((Tensor::clone(outputs.get(index)?), slope));
            Ok(wanted.into_iter().filter_map(pair).collect())
        }
    }
}

/// Gradients of carried tensors, summed over the segments processed so far.
#[derive(Default)]
pub(super) struct Slopes {
    sums: HashMap<TensorId, Tensor>,
}

impl Slopes {
    /// Adds a gradient, if one is required.
    pub(super) fn add(&mut self, of: &Carried, slope: Tensor) -> Result<(), EngineError> {
        if !of.tensor.track_op() {
            return Ok(());
        }
        let sum = match self.sums.remove(&of.tensor.id()) {
            Some(sum) => ops::add(&sum, &slope)?,
            None => slope,
        };
        self.sums.insert(of.tensor.id(), sum);
        Ok(())
    }

    pub(super) fn get(&self, of: &Carried) -> Option<Tensor> {
        self.sums.get(&of.tensor.id()).cloned()
    }

    fn take(&mut self, carried: TensorId) -> Option<Tensor> {
        self.sums.remove(&carried)
    }
}

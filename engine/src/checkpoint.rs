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

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, Var, WithDType};

use crate::{EngineError, Gradients, Parameters};

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
    Ok(output.apply_op1(Seed { gradient })?.backward()?)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, Weak};

    use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};

    use super::{Keep, Tape, pull_back};
    use crate::noise::{self, Noise};
    use crate::ops::{WeightLayout, embedding, gelu, linear};
    use crate::{EngineError, Gradients, Parameters};

    const WIDTH: usize = 8;
    const IDS: [u32; 5] = [3, 1, 4, 1, 5];

    fn random(purpose: &str, index: u64, shape: (usize, usize)) -> Tensor {
        noise::normal(&mut Noise::new(4).stream(purpose, index), shape, 0.5, &Device::Cpu).unwrap()
    }

    /// A table, tied with the head, and blocks x + gelu(x W).
    fn model(n_blocks: u64, is_frozen: impl Fn(&str) -> bool) -> Parameters {
        let mut parameters = Parameters::default();
        let mut insert = |name: String, tensor| {
            if is_frozen(&name) {
                parameters.insert_frozen(name, tensor).unwrap();
            } else {
                parameters.insert_trainable(name, tensor).unwrap();
            }
        };
        insert("table".into(), random("table", 0, (6, WIDTH)));
        (0..n_blocks).for_each(|i| insert(format!("block.{i}"), random("block", i, (WIDTH, WIDTH))));
        parameters
    }

    fn block(parameters: &Parameters, i: u64, x: &Tensor) -> Result<Tensor, EngineError> {
        let weight = parameters.get(&format!("block.{i}"))?;
        Ok((x + gelu(&linear(x, weight, None, WeightLayout::OutIn)?)?)?)
    }

    fn head(parameters: &Parameters, x: &Tensor) -> Result<Tensor, EngineError> {
        Ok(linear(x, parameters.get("table")?, None, WeightLayout::OutIn)?)
    }

    fn slopes() -> Tensor {
        random("slopes", 0, (IDS.len(), 6))
    }

    fn by_tape(parameters: &Parameters, n_blocks: u64, keep: Keep) -> (Tensor, Gradients) {
        let mut tape = Tape::from_source(|| Ok(embedding(&IDS, parameters.get("table")?)?), keep).unwrap();
        for i in 0..n_blocks {
            tape.run(move |x| block(parameters, i, x)).unwrap();
        }
        let output = tape.run_kept(|x| head(parameters, x)).unwrap().clone();
        let mut gradients = Gradients::default();
        assert!(tape.backward(&slopes(), parameters, &mut gradients).unwrap().is_none());
        (output, gradients)
    }

    fn by_one_graph(parameters: &Parameters, n_blocks: u64) -> (Tensor, Gradients) {
        let mut x = embedding(&IDS, parameters.get("table").unwrap()).unwrap();
        for i in 0..n_blocks {
            x = block(parameters, i, &x).unwrap();
        }
        let output = head(parameters, &x).unwrap();
        let store = (&output * slopes()).unwrap().sum_all().unwrap().backward().unwrap();
        let mut gradients = Gradients::default();
        gradients.add_from(&store, parameters).unwrap();
        (output.detach(), gradients)
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    fn assert_same(got: &(Tensor, Gradients), expected: &(Tensor, Gradients)) {
        assert!(largest_difference(&got.0, &expected.0) < 1e-6);
        let names = |gradients: &Gradients| gradients.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&got.1), names(&expected.1));
        for (name, gradient) in expected.1.iter() {
            assert!(largest_difference(got.1.get(name).unwrap(), gradient) < 1e-6, "{name}");
        }
    }

    #[test]
    fn gradients_are_those_of_one_graph() {
        let parameters = model(3, |_| false);
        let expected = by_one_graph(&parameters, 3);
        assert!(expected.1.missing(&parameters).is_empty());
        for keep in [Keep::Activations, Keep::Borders] {
            assert_same(&by_tape(&parameters, 3, keep), &expected);
        }
    }

    #[test]
    fn frozen_parts_get_no_gradient() {
        for learns in ["block.0", "block.1", "block.2", "table"] {
            let parameters = model(3, |name| name != learns);
            let expected = by_one_graph(&parameters, 3);
            for keep in [Keep::Activations, Keep::Borders] {
                assert_same(&by_tape(&parameters, 3, keep), &expected);
            }
        }
        let frozen = model(2, |_| true);
        assert!(by_tape(&frozen, 2, Keep::Borders).1.is_empty());
    }

    #[test]
    fn a_given_input_gets_its_gradient() {
        let parameters = model(2, |_| false);
        let x = Var::from_tensor(&random("x", 0, (5, WIDTH))).unwrap();
        let output = block(&parameters, 1, &block(&parameters, 0, &x).unwrap()).unwrap();
        let gradient = random("gradient", 0, (5, WIDTH));
        let expected = (&output * &gradient).unwrap().sum_all().unwrap().backward().unwrap();
        for keep in [Keep::Activations, Keep::Borders] {
            let mut tape = Tape::from_input(&x, keep);
            for i in 0..2 {
                let parameters = &parameters;
                tape.run(move |x| block(parameters, i, x)).unwrap();
            }
            let of_input = tape.backward(&gradient, &parameters, &mut Gradients::default()).unwrap().unwrap();
            assert!(largest_difference(&of_input, expected.get(&x).unwrap()) < 1e-6);
        }
    }

    type Op = Box<dyn CustomOp1 + Send + Sync>;

    /// An op lives as long as the graph that it is part of; each segment has three of its own.
    #[test]
    fn only_one_segment_is_alive_at_a_time() {
        let n_runs = AtomicUsize::new(0);
        let parameters = model(1, |_| false);
        let alive: Mutex<Vec<Weak<Op>>> = Mutex::default();
        let n_alive = || alive.lock().unwrap().iter().filter(|op| op.strong_count() > 0).count();
        let peak = AtomicUsize::new(0);
        let segment = |x: &Tensor| {
            n_runs.fetch_add(1, Ordering::Relaxed);
            let mut x = block(&parameters, 0, x)?;
            for _ in 0..3 {
                let op: Arc<Op> = Arc::new(Box::new(Same));
                alive.lock().unwrap().push(Arc::downgrade(&op));
                x = x.apply_op1_arc(op)?;
            }
            peak.fetch_max(n_alive(), Ordering::Relaxed);
            Ok(x)
        };
        let mut tape = Tape::from_input(&random("x", 0, (5, WIDTH)), Keep::Borders);
        for _ in 0..10 {
            tape.run(segment).unwrap();
        }
        assert_eq!(n_alive(), 0, "a forward pass must keep nothing but the borders");
        let gradient = random("gradient", 0, (5, WIDTH));
        tape.backward(&gradient, &parameters, &mut Gradients::default()).unwrap();
        assert_eq!((peak.into_inner(), n_runs.into_inner()), (3, 20));
    }

    struct Same;

    impl CustomOp1 for Same {
        fn name(&self) -> &'static str {
            "same"
        }

        fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
            Ok((storage.clone(), layout.shape().clone()))
        }

        fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
            Ok(Some(gradient.clone()))
        }
    }

    #[test]
    fn a_thousand_segments_need_no_deep_stack() {
        let run = || {
            for keep in [Keep::Activations, Keep::Borders] {
                let mut parameters = Parameters::default();
                parameters.insert_trainable("shift", Tensor::ones(1, DType::F32, &Device::Cpu).unwrap()).unwrap();
                let mut tape = Tape::from_input(&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap(), keep);
                for _ in 0..1000 {
                    tape.run(|x| Ok((x + parameters.get("shift")?)?)).unwrap();
                }
                assert_eq!(tape.output().to_vec1::<f32>().unwrap(), [1000.]);
                let (one, mut gradients) = (Tensor::ones(1, DType::F32, &Device::Cpu).unwrap(), Gradients::default());
                tape.backward(&one, &parameters, &mut gradients).unwrap();
                assert_eq!(gradients.get("shift").unwrap().to_vec1::<f32>().unwrap(), [1000.]);
            }
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn a_gradient_of_another_shape_is_refused() {
        let parameters = model(0, |_| false);
        let tape = Tape::from_input(&random("x", 0, (5, WIDTH)), Keep::Activations);
        let error = tape.backward(&random("x", 0, (4, WIDTH)), &parameters, &mut Gradients::default()).unwrap_err();
        assert!(matches!(error, EngineError::Shape { .. }), "{error}");
    }

    #[test]
    fn pulling_back_is_the_product_with_the_jacobian() {
        let x = Var::new(&[1f64, 2., 3.], &Device::Cpu).unwrap();
        let gradient = Tensor::new(&[1f64, 10., 100.], &Device::Cpu).unwrap();
        let store = pull_back(&x.sqr().unwrap(), &gradient).unwrap();
        assert_eq!(store.get(&x).unwrap().to_vec1::<f64>().unwrap(), [2., 40., 600.]);
        // A gradient in another type goes the long way round.
        let store = pull_back(&x.sqr().unwrap(), &gradient.to_dtype(DType::F32).unwrap()).unwrap();
        assert_eq!(store.get(&x).unwrap().to_vec1::<f64>().unwrap(), [2., 40., 600.]);
    }
}

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};

use super::pull_back::pull_back;
use super::{Recompute, Tape};
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

fn by_tape(parameters: &Parameters, n_blocks: u64, recompute: Recompute) -> (Tensor, Gradients) {
    let mut tape = Tape::from_source(|| Ok(embedding(&IDS, parameters.get("table")?)?), recompute).unwrap();
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
    for recompute in [Recompute::Nothing, Recompute::Blocks] {
        assert_same(&by_tape(&parameters, 3, recompute), &expected);
    }
}

#[test]
fn frozen_parts_get_no_gradient() {
    for learns in ["block.0", "block.1", "block.2", "table"] {
        let parameters = model(3, |name| name != learns);
        let expected = by_one_graph(&parameters, 3);
        for recompute in [Recompute::Nothing, Recompute::Blocks] {
            assert_same(&by_tape(&parameters, 3, recompute), &expected);
        }
    }
    let frozen = model(2, |_| true);
    assert!(by_tape(&frozen, 2, Recompute::Blocks).1.is_empty());
}

#[test]
fn a_given_input_gets_its_gradient() {
    let parameters = model(2, |_| false);
    let x = Var::from_tensor(&random("x", 0, (5, WIDTH))).unwrap();
    let output = block(&parameters, 1, &block(&parameters, 0, &x).unwrap()).unwrap();
    let gradient = random("gradient", 0, (5, WIDTH));
    let expected = (&output * &gradient).unwrap().sum_all().unwrap().backward().unwrap();
    for recompute in [Recompute::Nothing, Recompute::Blocks] {
        let mut tape = Tape::from_input(&x, recompute).unwrap();
        for i in 0..2 {
            let parameters = &parameters;
            tape.run(move |x| block(parameters, i, x)).unwrap();
        }
        let of_input = tape.backward(&gradient, &parameters, &mut Gradients::default()).unwrap().unwrap();
        assert!(largest_difference(&of_input, expected.get(&x).unwrap()) < 1e-6);
    }
}

type Many = Result<Vec<Tensor>, EngineError>;
type Function<'f> = Box<dyn Fn(&[Tensor]) -> Many + Send + Sync + 'f>;

/// Down, down, up, up; carried are the hidden rows, the term that every block adds, and a stack of skip connections.
fn segments(parameters: &Parameters) -> Vec<Function<'_>> {
    let down = |i: u64| {
        move |x: &[Tensor]| -> Many {
            let y = block(parameters, i, &(&x[0] + &x[1])?)?;
            let mut all = vec![y.clone(), x[1].clone()];
            all.extend_from_slice(&x[2..]);
            all.push(y); // the same tensor twice
            Ok(all)
        }
    };
    let up = |i: u64| {
        move |x: &[Tensor]| -> Many {
            let skip = x.last().expect("as many pops as pushes");
            let y = block(parameters, i, &((&x[0] * skip)? + &x[1])?)?;
            let mut all = vec![y, x[1].clone()];
            all.extend_from_slice(&x[2..x.len() - 1]);
            Ok(all)
        }
    };
    let last = |x: &[Tensor]| -> Many { Ok(vec![(&x[0] - &x[1])?]) };
    vec![Box::new(down(0)), Box::new(down(1)), Box::new(up(2)), Box::new(up(3)), Box::new(last)]
}

#[test]
fn several_tensors_are_carried() {
    let learns: [fn(&str) -> bool; 4] = [|_| true, |name| name == "block.1", |name| name == "table", |_| false];
    for learns in learns {
        let parameters = model(4, |name| !learns(name));
        let added = |parameters: &Parameters| Ok::<_, EngineError>(embedding(&IDS, parameters.get("table")?)?);
        let x = Var::from_tensor(&random("x", 0, (IDS.len(), WIDTH))).unwrap();
        let gradient = random("gradient", 0, (IDS.len(), WIDTH));

        let mut carried = vec![x.as_tensor().clone(), added(&parameters).unwrap()];
        for segment in segments(&parameters) {
            carried = segment(&carried).unwrap();
        }
        let store = (&carried[0] * &gradient).unwrap().sum_all().unwrap().backward().unwrap();
        let mut expected = Gradients::default();
        expected.add_from(&store, &parameters).unwrap();
        let expected = (carried[0].detach(), expected);

        let runs = [Recompute::Nothing, Recompute::Blocks].map(|recompute| {
            let mut tape = Tape::from_inputs(&[x.as_tensor().clone()], recompute).unwrap();
            tape.run_all(|x| Ok(vec![x[0].clone(), added(&parameters)?])).unwrap();
            for segment in segments(&parameters) {
                tape.run_all(segment).unwrap();
            }
            let (output, mut gradients) = (tape.output().clone(), Gradients::default());
            let of_input = tape.backward(&gradient, &parameters, &mut gradients).unwrap().unwrap();
            assert_same(&(output.clone(), gradients), &expected);
            assert!(largest_difference(&of_input, store.get(&x).unwrap()) < 1e-6);
            of_input.to_vec2::<f32>().unwrap()
        });
        assert_eq!(runs[0], runs[1], "bits differ with what is kept");
    }
}

#[test]
fn what_is_handed_on_is_not_copied() {
    let parameters = model(1, |_| false);
    for recompute in [Recompute::Nothing, Recompute::Blocks] {
        let mut tape = Tape::from_inputs(&[random("x", 0, (5, WIDTH)), random("x", 1, (5, WIDTH))], recompute).unwrap();
        let before = tape.outputs().nth(1).unwrap().id();
        tape.run_all(|x| Ok(vec![block(&parameters, 0, &x[0])?, x[1].clone()])).unwrap();
        assert_eq!(tape.outputs().nth(1).unwrap().id(), before);
        // A segment that the output does not depend on is not recomputed and gets no gradient.
        tape.run_all(|x| Ok(vec![x[1].clone()])).unwrap();
        let one = random("gradient", 0, (5, WIDTH));
        let mut gradients = Gradients::default();
        let of_inputs = tape.backward_all(std::slice::from_ref(&one), &parameters, &mut gradients).unwrap();
        assert!(of_inputs[0].is_none() && gradients.is_empty());
        assert_eq!(largest_difference(of_inputs[1].as_ref().unwrap(), &one), 0.);
    }
}

#[test]
fn one_tensor_is_not_several() {
    let inputs = [random("x", 0, (5, WIDTH)), random("x", 1, (5, WIDTH))];
    let mut tape = Tape::from_inputs(&inputs, Recompute::Blocks).unwrap();
    assert!(matches!(tape.run(|x| Ok(x.clone())), Err(EngineError::Carried { expected: 1, got: 2 })));
    assert!(matches!(tape.run_all(|_| Ok(vec![])), Err(EngineError::Carried { .. })));
    assert!(Tape::from_inputs(&[], Recompute::Blocks).is_err());
    let (none, mut gradients) = (Parameters::default(), Gradients::default());
    assert!(tape.backward_all(&inputs[..1], &none, &mut gradients).is_err());
}

type Op = Box<dyn CustomOp1 + Send + Sync>;

/// An op lives as long as its graph; each segment has three of its own.
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
    let mut tape = Tape::from_input(&random("x", 0, (5, WIDTH)), Recompute::Blocks).unwrap();
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
        for recompute in [Recompute::Nothing, Recompute::Blocks] {
            let mut parameters = Parameters::default();
            parameters.insert_trainable("shift", Tensor::ones(1, DType::F32, &Device::Cpu).unwrap()).unwrap();
            let mut tape = Tape::from_input(&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap(), recompute).unwrap();
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
    let tape = Tape::from_input(&random("x", 0, (5, WIDTH)), Recompute::Nothing).unwrap();
    let error = tape.backward(&random("x", 0, (4, WIDTH)), &parameters, &mut Gradients::default()).unwrap_err();
    assert!(matches!(error, EngineError::Shape { .. }), "{error}");
}

#[test]
fn pulling_back_is_the_product_with_the_jacobian() {
    let x = Var::new(&[1f64, 2., 3.], &Device::Cpu).unwrap();
    let gradient = Tensor::new(&[1f64, 10., 100.], &Device::Cpu).unwrap();
    let store = pull_back(&[(x.sqr().unwrap(), gradient.clone())]).unwrap();
    assert_eq!(store.get(&x).unwrap().to_vec1::<f64>().unwrap(), [2., 40., 600.]);
    // A gradient of another dtype takes the composed path.
    let store = pull_back(&[(x.sqr().unwrap(), gradient.to_dtype(DType::F32).unwrap())]).unwrap();
    assert_eq!(store.get(&x).unwrap().to_vec1::<f64>().unwrap(), [2., 40., 600.]);
}

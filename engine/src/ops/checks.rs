//! Tests that every op must pass: against its composed form, finite differences and strided inputs.

use super::backward;
use crate::device::WithoutKernels;
use crate::{Precision, WithPrecision};
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::test_runner::{Config, RngSeed};

type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// The same random cases each time; fewer under Miri, which is a thousand times slower.
pub(crate) fn config() -> Config {
    let cases = if cfg!(miri) { 16 } else { 256 };
    Config { cases, rng_seed: RngSeed::Fixed(64), failure_persistence: None, ..Config::default() }
}

/// Pseudo-random numbers: a hash of seed and index, spread over (-1, 1).
pub(crate) fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let number = |index: u64| {
        let mut z = (seed << 32).wrapping_add(index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.
    };
    (0..n as u64).map(number).collect()
}

pub(super) fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    let data = numbers(seed, shape.iter().product());
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// Checks a fused op against its composed form and against finite differences, at inputs of the given shapes.
pub(super) fn check(shapes: &[&[usize]], fused: Op<'_>, composed: Op<'_>) {
    let inputs: Vec<Tensor> = shapes.iter().enumerate().map(|(i, s)| tensor(i as u64 + 1, s)).collect();
    check_at(&inputs, fused, composed);
}

/// [`check`] at given `f64` inputs.
pub(super) fn check_at(inputs: &[Tensor], fused: Op<'_>, composed: Op<'_>) {
    let trainable = vec![true; inputs.len()];
    let ours = evaluate(inputs, fused, &trainable);
    assert_close("f64", &ours, &evaluate(inputs, composed, &trainable), 1e-10);
    let single: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
    let ours_single = evaluate(&single, fused, &trainable);
    assert_close("f32", &ours_single, &ours, 2e-5);
    assert_eq!(ours_single, evaluate(&single, fused, &trainable), "two runs differ");
    finite_differences(inputs, fused, &ours);
    strided_inputs(inputs, fused, &ours);
    for frozen in 0..inputs.len() {
        let mut trainable = trainable.clone();
        trainable[frozen] = false;
        if trainable.iter().any(|&t| t) {
            let part = evaluate(inputs, fused, &trainable);
            assert!(part.gradients[frozen].is_none(), "frozen input {frozen} got a gradient");
            for index in (0..inputs.len()).filter(|&index| index != frozen) {
                assert_eq!(part.gradients[index], ours.gradients[index], "gradient {index} with {frozen} frozen");
            }
        }
    }
}

/// Checks that an op and its gradients are near each other in both forms in bf16, at inputs of the given shapes: they round the
/// same operands. The composed form rounds results as well, which moves a number by a 256th of itself, and a sum of `parts` rounded ones by as
/// much of each. Inputs of one dimension are biases, added to a result once it is rounded. Orders of sums differ besides.
pub(super) fn check_rounding(shapes: &[&[usize]], parts: usize, op: Op<'_>) {
    let inputs = shapes.iter().enumerate().map(|(i, shape)| tensor(i as u64 + 1, shape).to_dtype(DType::F32).unwrap());
    let (inputs, trainable) = (inputs.collect::<Vec<Tensor>>(), vec![true; shapes.len()]);
    let _guard = WithPrecision::begin(Precision::Bf16);
    let fused = evaluate(&inputs, op, &trainable);
    let _guard = WithoutKernels::begin();
    let composed = evaluate(&inputs, op, &trainable);
    let biases = inputs.iter().filter(|input| input.rank() == 1).flat_map(flat);
    let bias = biases.fold(0f64, |largest, x| largest.max(x.abs()));
    for (which, (fused, composed)) in fused.all().zip(composed.all()).enumerate() {
        assert_eq!(fused.len(), composed.len(), "{shapes:?}");
        let largest = fused.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        for (a, b) in fused.iter().zip(composed) {
            let of_results = if parts == 1 {
                a.abs().max(b.abs()) + if which == 0 { bias } else { 0. }
            } else {
                largest * (parts as f64).sqrt()
            };
            let bound = of_results / 256. + 1e-5 * largest;
            assert!(
                (a - b).abs() <= bound,
                "{shapes:?}: {b} of {which} where the kernel has {a}, the largest {largest}"
            );
        }
    }
}

/// Checks that the composed form of an op computes in f32 in bf16 too, and that its kernel, which rounds operands where the CPU has
/// instructions for their products, is near it: by a 64th of the largest number, where operands are rounded by a 512th of themselves each,
/// a gradient has five products behind it.
pub(super) fn check_rounding_by_kernels(shapes: &[&[usize]], op: Op<'_>) {
    let inputs = shapes.iter().enumerate().map(|(i, shape)| tensor(i as u64 + 1, shape).to_dtype(DType::F32).unwrap());
    let (inputs, trainable) = (inputs.collect::<Vec<Tensor>>(), vec![true; shapes.len()]);
    let composed = || {
        let _guard = WithoutKernels::begin();
        evaluate(&inputs, op, &trainable)
    };
    let full = composed();
    let _guard = WithPrecision::begin(Precision::Bf16);
    assert_eq!(full, composed(), "{shapes:?}");
    let fused = evaluate(&inputs, op, &trainable);
    for (which, (fused, full)) in fused.all().zip(full.all()).enumerate() {
        let largest = full.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        for (a, b) in fused.iter().zip(full) {
            assert!((a - b).abs() <= largest / 64., "{shapes:?}: {a} of {which} instead of {b}, the largest {largest}");
        }
    }
}

#[derive(Debug, PartialEq)]
struct Evaluation {
    value: Vec<f64>,
    gradients: Vec<Option<Vec<f64>>>,
}

impl Evaluation {
    /// The value and all gradients.
    fn all(&self) -> impl Iterator<Item = &Vec<f64>> {
        std::iter::once(&self.value).chain(self.gradients.iter().flatten())
    }
}

fn flat(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A fixed weighted sum of the result: a scalar whose gradient has a different weight for each element.
fn loss(result: &Tensor) -> Tensor {
    let weights = tensor(99, result.dims()).to_dtype(result.dtype()).unwrap();
    (result * weights).unwrap().sum_all().unwrap()
}

fn evaluate(inputs: &[Tensor], op: Op<'_>, trainable: &[bool]) -> Evaluation {
    let inputs: Vec<Tensor> = inputs
        .iter()
        .zip(trainable)
        .map(|(x, &trainable)| if trainable { Var::from_tensor(x).unwrap().as_tensor().clone() } else { x.clone() })
        .collect();
    let result = op(&inputs).unwrap();
    let gradients = loss(&result).backward().unwrap();
    let kept = backward(&loss(&result)).unwrap();
    for input in &inputs {
        assert_eq!(gradients.get(input).map(flat), kept.get(input).map(flat), "gradients that bypass candle's sums");
    }
    Evaluation { value: flat(&result), gradients: inputs.iter().map(|x| gradients.get(x).map(flat)).collect() }
}

fn assert_close(what: &str, ours: &Evaluation, theirs: &Evaluation, tolerance: f64) {
    let compare = |name: &str, ours: &[f64], theirs: &[f64]| {
        assert_eq!(ours.len(), theirs.len(), "{what} {name}");
        for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
            let bound = tolerance * (1. + b.abs());
            assert!((a - b).abs() <= bound, "{what} {name}[{index}]: {a} instead of {b}");
        }
    };
    compare("value", &ours.value, &theirs.value);
    for (index, (ours, theirs)) in ours.gradients.iter().zip(&theirs.gradients).enumerate() {
        compare(&format!("gradient {index}"), ours.as_ref().unwrap(), theirs.as_ref().unwrap());
    }
}

/// Central differences at up to 25 places of each input.
fn finite_differences(inputs: &[Tensor], op: Op<'_>, ours: &Evaluation) {
    const STEP: f64 = 1e-5;
    for (which, input) in inputs.iter().enumerate() {
        let data = flat(input);
        let Some(gradient) = &ours.gradients[which] else { continue };
        for place in (0..data.len()).step_by(data.len().div_ceil(25).max(1)) {
            let loss_at = |offset: f64| {
                let mut moved = data.clone();
                moved[place] += offset;
                let mut inputs = inputs.to_vec();
                inputs[which] = Tensor::from_vec(moved, input.dims(), &Device::Cpu).unwrap();
                loss(&op(&inputs).unwrap()).to_scalar::<f64>().unwrap()
            };
            let slope = (loss_at(STEP) - loss_at(-STEP)) / (2. * STEP);
            let bound = 1e-7 * (1. + slope.abs());
            assert!((gradient[place] - slope).abs() < bound, "input {which}[{place}]: {} for {slope}", gradient[place]);
        }
    }
}

/// Inputs that are views into larger tensors give the same numbers.
fn strided_inputs(inputs: &[Tensor], op: Op<'_>, ours: &Evaluation) {
    let views: Vec<Tensor> = inputs
        .iter()
        .map(|x| {
            let wide = Tensor::cat(&[x.zeros_like().unwrap(), x.clone()], x.rank() - 1).unwrap();
            let view = wide.narrow(x.rank() - 1, x.dims()[x.rank() - 1], x.dims()[x.rank() - 1]).unwrap();
            // A transpose of a transpose in memory: strided in both dimensions.
            if x.rank() == 2 { view.t().unwrap().contiguous().unwrap().t().unwrap() } else { view }
        })
        .collect();
    assert_eq!(flat(&op(&views).unwrap()), ours.value, "strided inputs");
}

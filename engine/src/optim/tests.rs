//! Tests of the laws of all optimisers.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::slots::{Form, Rule, Slots};
use super::{AdamW, Optimizer, RmsProp, Sgd};
use crate::noise::{self, Noise};
use crate::{EngineError, Gradients, Parameters};

/// More than one chunk, and no multiple of a vector.
const N: usize = 2 * crate::host::CHUNK + 77;

fn all() -> Vec<Box<dyn Optimizer>> {
    vec![Box::<RmsProp>::default(), Box::<AdamW>::default(), Box::new(Sgd::new(0.9).unwrap())]
}

fn random(purpose: &str, index: u64, n: usize) -> Tensor {
    noise::normal(&mut Noise::new(11).stream(purpose, index), n, 1., &Device::Cpu).unwrap()
}

fn two_parameters(dtype: DType) -> Parameters {
    let mut parameters = Parameters::default();
    for (index, name) in ["large.weight", "small.bias"].into_iter().enumerate() {
        let start = random("weight", index as u64, if index == 0 { N } else { 3 });
        parameters.insert_trainable(name, start.to_dtype(dtype).unwrap()).unwrap();
    }
    parameters
}

fn gradients_of(parameters: &Parameters, step: u64) -> Gradients {
    let mut gradients = Gradients::default();
    for (name, var) in parameters.trainable() {
        let gradient = random(&format!("gradient of {name}"), step, var.elem_count());
        gradients.add(name, &gradient.to_dtype(var.dtype()).unwrap()).unwrap();
    }
    gradients
}

fn numbers(parameters: &Parameters) -> Vec<f32> {
    let read = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    parameters.iter().flat_map(|(_, tensor)| read(tensor)).collect()
}

fn take_steps(optimizer: &mut dyn Optimizer, parameters: &Parameters, steps: std::ops::Range<u64>) {
    for step in steps {
        optimizer.step(parameters, &gradients_of(parameters, step), 1e-3).unwrap();
    }
}

pub(super) fn check_forms_agree<R: Rule<M>, const M: usize>(rule: &R) {
    let run = |form| {
        let (parameters, mut slots) = (two_parameters(DType::F32), Slots::new());
        for step in 0..3 {
            slots.step(rule, &parameters, &gradients_of(&parameters, step), 1e-2, form).unwrap();
        }
        numbers(&parameters)
    };
    let (fused, composed) = (run(Form::FusedWherePossible), run(Form::Composed));
    assert_ne!(fused, numbers(&two_parameters(DType::F32)));
    assert!(fused == composed, "{}: the forms differ", R::NAME);
}

#[derive(serde::Deserialize)]
struct Golden {
    rates: Vec<f64>,
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    weights: Vec<Vec<f32>>,
}

/// Torch's numbers, from `tests/golden/optimizers.py`. The bound is a few `f32` roundings of a number of the weight's
/// size.
#[test]
fn ten_steps_are_torchs() {
    let cases: [(&str, Box<dyn Optimizer>); 6] = [
        ("rmsprop", Box::<RmsProp>::default()),
        ("rmsprop_short_memory", Box::new(RmsProp::new(0.9, 1e-4).unwrap())),
        ("adamw", Box::<AdamW>::default()),
        ("adamw_strong_decay", Box::new(AdamW::new((0.8, 0.95), 1e-6, 0.5).unwrap())),
        ("sgd", Box::new(Sgd::new(0.).unwrap())),
        ("sgd_momentum", Box::new(Sgd::new(0.9).unwrap())),
    ];
    for (name, mut optimizer) in cases {
        let file = format!("../tests/golden/optimizers/{name}.json");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let golden: Golden = serde_json::from_str(&text).unwrap();
        let mut parameters = Parameters::default();
        parameters.insert_trainable("weight", Tensor::new(golden.start.as_slice(), &Device::Cpu).unwrap()).unwrap();
        let mut reach = vec![0.1f32; golden.start.len()];
        let n_steps = golden.weights.len();
        assert!(n_steps > 0 && (golden.gradients.len(), golden.rates.len()) == (n_steps, n_steps), "{name}");
        for ((gradient, rate), expected) in golden.gradients.iter().zip(&golden.rates).zip(&golden.weights) {
            let mut gradients = Gradients::default();
            gradients.add("weight", &Tensor::new(gradient.as_slice(), &Device::Cpu).unwrap()).unwrap();
            optimizer.step(&parameters, &gradients, *rate).unwrap();
            assert_eq!(numbers(&parameters).len(), expected.len(), "{name}");
            for ((got, expected), reach) in numbers(&parameters).iter().zip(expected).zip(&mut reach) {
                *reach = reach.max(expected.abs());
                assert!((got - expected).abs() <= 2e-7 * *reach, "{name}: {got} for {expected}");
            }
        }
    }
}

#[test]
fn a_saved_state_resumes_to_the_bit() {
    for (mut straight, mut resumed) in all().into_iter().zip(all()) {
        let parameters = two_parameters(DType::F32);
        take_steps(straight.as_mut(), &parameters, 0..4);
        let saved = straight.state().unwrap();
        let mut copy = Parameters::default();
        for (name, tensor) in parameters.iter() {
            copy.insert_trainable(name, tensor.clone()).unwrap();
        }
        take_steps(straight.as_mut(), &parameters, 4..8);
        // Later steps must not have touched the saved state.
        resumed.load_state(saved).unwrap();
        take_steps(resumed.as_mut(), &copy, 4..8);
        assert!(numbers(&parameters) == numbers(&copy), "{}", straight.name());
        let (left, right) = (straight.state().unwrap(), resumed.state().unwrap());
        assert!(left.keys().eq(right.keys()) && left.contains_key("step.large.weight"));
        assert_eq!(left["step.small.bias"].to_scalar::<i64>().unwrap(), 8);
    }
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let run = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let parameters = two_parameters(DType::F32);
        pool.install(|| take_steps(&mut AdamW::default(), &parameters, 0..3));
        numbers(&parameters)
    };
    assert!(run(1) == run(3));
}

/// Each of several processes updates its share, from the state of the whole on; the small parameter leaves some without any.
#[test]
fn shares_together_are_the_whole_to_the_bit() {
    for (dtype, size) in [(DType::F32, 2), (DType::F32, 5), (DType::BF16, 2)] {
        for (mut whole, mut before) in all().into_iter().zip(all()) {
            let (expected, parameters) = (two_parameters(dtype), two_parameters(dtype));
            take_steps(&mut *whole, &expected, 0..4);
            take_steps(&mut *before, &parameters, 0..2);
            let mut shares = (0..size)
                .map(|_| all().into_iter().find(|other| other.name() == before.name()).unwrap())
                .collect::<Vec<_>>();
            for share in &mut shares {
                share.load_state(before.state().unwrap()).unwrap();
            }
            for step in 2..4 {
                let gradients = gradients_of(&parameters, step);
                for (rank, share) in shares.iter_mut().enumerate() {
                    let own = |len: usize| (len * rank / size)..(len * (rank + 1) / size);
                    share.step_own(&parameters, &gradients, 1e-3, &own).unwrap();
                }
            }
            assert!(numbers(&parameters) == numbers(&expected), "{dtype:?}, {size} shares of {}", before.name());
            let kept = shares.iter().flat_map(|share| share.state().unwrap());
            let kept: usize = kept.map(|(_, tensor)| tensor.elem_count()).filter(|len| *len > 1).sum();
            let of_whole: usize = whole.state().unwrap().values().map(Tensor::elem_count).filter(|len| *len > 3).sum();
            assert!(kept >= of_whole && kept <= of_whole + 9, "{kept} numbers of state for {of_whole}");
        }
    }
}

#[test]
fn only_parameters_with_a_gradient_move() {
    for mut optimizer in all() {
        let parameters = two_parameters(DType::F32);
        let before = parameters.get("large.weight").unwrap().copy().unwrap().to_vec1::<f32>().unwrap();
        let mut gradients = Gradients::default();
        gradients.add("small.bias", &random("gradient", 0, 3)).unwrap();
        gradients.add("unknown", &random("gradient", 0, 3)).unwrap();
        optimizer.step(&parameters, &gradients, 0.1).unwrap();
        assert_eq!(parameters.get("large.weight").unwrap().to_vec1::<f32>().unwrap(), before);
        let state = optimizer.state().unwrap();
        assert!(state.keys().all(|key| key.ends_with(".small.bias")), "{:?}", state.keys());
    }
}

#[test]
fn other_types_follow_the_same_path() {
    for dtype in [DType::F64, DType::BF16] {
        for (mut optimizer, mut reference) in all().into_iter().zip(all()) {
            let parameters = two_parameters(dtype);
            // The reference starts from the rounded weights and gets the rounded gradients.
            let mut start = Parameters::default();
            for (name, tensor) in parameters.iter() {
                start.insert_trainable(name, tensor.to_dtype(DType::F32).unwrap()).unwrap();
            }
            for step in 0..5 {
                let gradients = gradients_of(&parameters, step);
                let mut rounded = Gradients::default();
                for (name, gradient) in gradients.iter() {
                    rounded.add(name, &gradient.to_dtype(DType::F32).unwrap()).unwrap();
                }
                optimizer.step(&parameters, &gradients, 1e-5).unwrap();
                reference.step(&start, &rounded, 1e-5).unwrap();
            }
            let rounded = |x: f32| if dtype == DType::BF16 { half::bf16::from_f32(x).to_f32() } else { x };
            assert_eq!(numbers(&parameters).len(), numbers(&start).len());
            for (got, expected) in numbers(&parameters).into_iter().zip(numbers(&start)) {
                assert!(
                    (got - rounded(expected)).abs() <= 1e-6 * expected.abs().max(1.),
                    "{dtype:?}: {got} for {expected}"
                );
            }
        }
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name() {
    let parameters = two_parameters(DType::F32);
    let mut adamw = AdamW::default();
    take_steps(&mut adamw, &parameters, 0..1);
    let saved = adamw.state().unwrap();

    let error = RmsProp::default().load_state(saved.clone()).unwrap_err();
    assert!(matches!(&error, EngineError::MissingState { name, .. } if name == "square_avg.large.weight"), "{error}");

    let mut incomplete = saved.clone();
    incomplete.remove("step.small.bias").unwrap();
    let error = AdamW::default().load_state(incomplete).unwrap_err().to_string();
    assert_eq!(error, "adamw: the saved state has no `step.small.bias`");

    let mut unknown = saved.clone();
    unknown.insert("velocity.small.bias".into(), random("x", 0, 3));
    let error = AdamW::default().load_state(unknown).unwrap_err().to_string();
    assert!(error.contains("`velocity.small.bias`"), "{error}");

    let mut misshapen = saved;
    misshapen.insert("exp_avg.small.bias".into(), random("x", 0, 4));
    let mut adamw = AdamW::default();
    adamw.load_state(misshapen).unwrap();
    let error = adamw.step(&parameters, &gradients_of(&parameters, 1), 0.1).unwrap_err().to_string();
    assert_eq!(error, "`exp_avg.small.bias` has shape [4], expected [3]");
}

#[test]
fn bad_settings_are_refused_by_name() {
    let refused = |result: Result<(), EngineError>, setting: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(setting), "{message}");
    };
    for bad in [f64::NAN, -0.1, 1., f64::INFINITY] {
        refused(RmsProp::new(bad, 1e-8).map(drop), "alpha");
        refused(AdamW::new((bad, 0.9), 1e-8, 0.).map(drop), "first beta");
        refused(AdamW::new((0.9, bad), 1e-8, 0.).map(drop), "second beta");
        refused(Sgd::new(bad).map(drop), "momentum");
    }
    for bad in [f64::NAN, 0., -1e-8, f64::INFINITY] {
        refused(RmsProp::new(0.99, bad).map(drop), "eps");
        refused(AdamW::new((0.9, 0.9), bad, 0.).map(drop), "eps");
    }
    for bad in [f64::NAN, -0.1, f64::INFINITY] {
        refused(AdamW::new((0.9, 0.9), 1e-8, bad).map(drop), "weight decay");
        let parameters = two_parameters(DType::F32);
        for mut optimizer in all() {
            refused(optimizer.step(&parameters, &Gradients::default(), bad), "the rate");
        }
    }
}

#[test]
fn a_gradient_that_does_not_fit_is_refused_by_name() {
    let parameters = two_parameters(DType::F32);
    let mut gradients = Gradients::default();
    gradients.add("small.bias", &random("gradient", 0, 4)).unwrap();
    let error = RmsProp::default().step(&parameters, &gradients, 0.1).unwrap_err().to_string();
    assert_eq!(error, "`gradient of small.bias` has shape [4], expected [3]");
}

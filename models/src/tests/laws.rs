//! What holds of every network.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use engine::checkpoint::Recompute;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};
use engine::ops::{WeightLayout, backward};
use engine::{Gradients, Noise, noise};

use super::files::{Golden, assert_close, batch, flat, numbers, rows};
use crate::denoiser::DenoiserNetwork;
use crate::image_batch::ImageBatch;
use crate::network::Network as _;

fn slopes(output: &Tensor) -> Tensor {
    noise::normal(&mut Noise::new(3).stream("slopes", 0), output.shape(), 1., &Device::Cpu).unwrap()
}

/// The output of a tape, and the gradients of its trainable parameters for random slopes.
pub(super) fn tape_gradients(
    network: &DenoiserNetwork,
    batch: &Arc<ImageBatch>,
    recompute: Recompute,
) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let tape = network.run_tape(Arc::clone(batch), recompute).unwrap();
    let (output, parameters) = (tape.output().clone(), &network.weights().parameters);
    let mut gradients = Gradients::default();
    tape.backward(&slopes(&output), parameters, &mut gradients).unwrap();
    let of = |(name, _): (&str, _)| Some((name.to_owned(), flat(gradients.get(name)?)));
    (flat(&output), parameters.trainable().filter_map(of).collect())
}

/// Outputs and gradients of every case are those of diffusers and torch.
pub(crate) fn check_golden(golden: &Golden) {
    for case in golden.cases {
        let (config, tensors) = golden.files(case);
        let network = DenoiserNetwork::trainable(config.clone(), tensors, None).unwrap();
        for call in golden.expected(case)["calls"].as_array().unwrap() {
            let mut batch = batch(&config, call);
            let x = Var::from_tensor(&batch.x).unwrap();
            batch.x = x.as_tensor().clone();
            let output = network.forward(&batch).unwrap();
            assert_close(&format!("{case}: output"), &flat(&output), &flat(&rows(&call["output"], batch.grid)));
            let slopes = rows(&call["slopes"], batch.grid);
            let gradients = backward(&(output * slopes).unwrap().sum_all().unwrap()).unwrap();
            let of_input = rows(&call["input_gradient"], batch.grid);
            assert_close(&format!("{case}: input"), &flat(gradients.get(&x).unwrap()), &flat(&of_input));
            let parameters = &network.weights().parameters;
            let theirs = call["gradient_norms"].as_object().unwrap();
            assert_eq!(parameters.trainable().count(), theirs.len(), "{case}: other parameters learn");
            for (name, parameter) in parameters.trainable() {
                let gradient = gradients.get(parameter).unwrap_or_else(|| panic!("{case}: {name}"));
                let gradient = as_torch(gradient);
                let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                let theirs = theirs[name].as_f64().unwrap();
                let bound = 2e-4 * theirs + if (golden.is_idle)(&config, name) { 1e-5 } else { 0. };
                assert!((norm - theirs).abs() <= bound, "{case}: {name}: {norm}, torch has {theirs}");
                if let Some(theirs) = call["gradients"].get(name) {
                    assert_close(&format!("{case}: {name}"), &gradient, &numbers(theirs));
                }
            }
        }
    }
}

/// A gradient in torch's layout.
fn as_torch(gradient: &Tensor) -> Vec<f32> {
    flat(&if gradient.rank() == 4 { gradient.permute((0, 3, 1, 2)).unwrap() } else { gradient.clone() })
}

/// A tape is the graph in pieces, whatever it keeps, and every parameter learns.
pub(crate) fn check_tape(golden: &Golden) {
    for case in golden.cases {
        let (network, batch) = golden.learner(case, None);
        let output = network.forward(&batch).unwrap();
        let store = backward(&(&output * slopes(&output)).unwrap().sum_all().unwrap()).unwrap();
        let (kept_output, kept) = tape_gradients(&network, &batch, Recompute::Nothing);
        let (again_output, again) = tape_gradients(&network, &batch, Recompute::Blocks);
        assert_eq!(flat(&output), kept_output, "{case}");
        assert_eq!(flat(&network.score(&batch).unwrap()), kept_output, "{case}");
        assert_eq!(kept_output, again_output, "{case}");
        assert!(kept == again, "{case}: gradients depend on what is kept");
        let config = golden.files(case).0;
        for (name, parameter) in network.weights().parameters.trainable() {
            let of_graph = flat(store.get(parameter).unwrap());
            let largest = of_graph.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let is_idle = (golden.is_idle)(&config, name);
            assert!(largest > 0. || is_idle, "{case}: {name} does not learn");
            assert_eq!(kept[name].len(), of_graph.len(), "{case}: {name}");
            for (a, b) in kept[name].iter().zip(&of_graph) {
                let bound = if is_idle { 1e-5 } else { 1e-4 * largest };
                assert!((a - b).abs() <= bound, "{case}: {name}: {a} in pieces, {b} in one graph");
            }
        }
    }
}

/// The prediction for an image does not depend on the others.
pub(crate) fn check_alone(golden: &Golden) {
    for case in golden.cases {
        let (network, batch) = golden.learner(case, None);
        let pixels = batch.grid.pixels();
        let all = flat(&network.score(&batch).unwrap());
        for image in 0..batch.grid.images {
            let mut one = ImageBatch::clone(&batch);
            one.grid.images = 1;
            one.x = batch.x.narrow(0, image * pixels, pixels).unwrap();
            one.times = vec![batch.times[image]];
            if let Some(contexts) = &mut one.contexts {
                contexts.of_image = vec![contexts.of_image[image].clone()];
            }
            one.pooled = batch.pooled.as_ref().map(|pooled| pooled.narrow(0, image, 1).unwrap());
            one.time_ids = batch.time_ids.as_ref().map(|ids| vec![ids[image]]);
            one.classes = batch.classes.as_ref().map(|classes| vec![classes[image]]);
            let alone = flat(&network.score(&one).unwrap());
            assert_eq!(all.len(), batch.grid.images * alone.len(), "{case}");
            for (a, b) in alone.iter().zip(&all[image * alone.len()..][..alone.len()]) {
                assert!((a - b).abs() < 1e-4, "{case}: image {image} is {a} alone, {b} among others");
            }
        }
    }
}

/// Moves a network's adapters from their initial values, which have no effect.
pub(crate) fn move_adapters(network: &DenoiserNetwork) {
    let moved = |(name, tensor): (String, Tensor)| {
        let mut rng = Noise::new(5).stream(&name, 0);
        (name, noise::normal(&mut rng, tensor.shape(), 0.2, &Device::Cpu).unwrap())
    };
    let weights = network.weights();
    weights.start_from(&weights.adapter_tensors().into_iter().map(moved).collect()).unwrap();
}

/// Adapters of these layers change nothing at first, learn, and nothing else does; they can be taken off and merged.
pub(crate) fn check_adapters(golden: &Golden, case: &str, targets: &[&str]) {
    let targets = LoraTargets::Named(targets.iter().map(ToString::to_string).collect());
    let lora = LoraConfig { rank: 2, alpha: 3., rslora: false, targets, extra: LoraExtra::None };
    let (config, tensors) = golden.files(case);
    let (network, batch) = golden.learner(case, Some(lora));
    let before = flat(&DenoiserNetwork::frozen(config.clone(), tensors).unwrap().score(&batch).unwrap());
    assert_eq!(flat(&network.score(&batch).unwrap()), before);
    move_adapters(&network);
    let after = flat(&network.score(&batch).unwrap());
    assert_ne!(after, before);
    let base = network.with_weights(network.weights().base().unwrap());
    assert_eq!(flat(&base.score(&batch).unwrap()), before);
    let merged = network.weights().merged_tensors(WeightLayout::OutIn).unwrap();
    let merged = flat(&DenoiserNetwork::frozen(config, merged).unwrap().score(&batch).unwrap());
    assert_close("merged", &merged, &after);
    let (output, kept) = tape_gradients(&network, &batch, Recompute::Nothing);
    let (_, again) = tape_gradients(&network, &batch, Recompute::Blocks);
    assert_eq!(output, after);
    assert!(kept == again);
    let adapters = network.weights().adapter_tensors();
    assert_eq!(kept.keys().collect::<Vec<_>>(), adapters.keys().collect::<Vec<_>>());
    for (name, gradient) in &kept {
        assert!(gradient.iter().any(|g| *g != 0.), "{name} does not learn");
    }
}

/// Gradients of every `step`th parameter are those of finite differences, in double precision.
pub(crate) fn check_finite_differences(golden: &Golden, case: &str, step: usize) {
    let (config, tensors) = golden.files(case);
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors.iter().map(|(name, t)| (name.clone(), double(t))).collect();
    let mut batch = ImageBatch::clone(&golden.learner(case, None).1);
    (batch.x, batch.pooled) = (double(&batch.x), batch.pooled.as_ref().map(double));
    if let Some(contexts) = &mut batch.contexts {
        contexts.rows = double(&contexts.rows);
    }
    let loss = |output: Tensor| {
        let slopes = double(&slopes(&output));
        (output * slopes).unwrap().sum_all().unwrap()
    };
    let network = DenoiserNetwork::trainable(config.clone(), tensors.clone(), None).unwrap();
    let store = backward(&loss(network.forward(&batch).unwrap())).unwrap();
    for (name, parameter) in network.weights().parameters.trainable().step_by(step) {
        let slope = store.get(parameter).unwrap().flatten_all().unwrap().get(0).unwrap().to_scalar::<f64>().unwrap();
        let at = |offset: f64| {
            let mut values = tensors[name].flatten_all().unwrap().to_vec1::<f64>().unwrap();
            values[0] += offset;
            let value = Tensor::from_vec(values, tensors[name].shape(), &Device::Cpu).unwrap();
            let mut moved = tensors.clone();
            moved.insert(name.to_owned(), value);
            let network = DenoiserNetwork::frozen(config.clone(), moved).unwrap();
            loss(network.score(&batch).unwrap()).to_scalar::<f64>().unwrap()
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((difference - slope).abs() < 1e-6 * (1. + slope.abs()), "{name}: {slope} for {difference}");
    }
}

/// The prediction of fresh tensors, and its gradients.
pub(crate) fn fresh(golden: &Golden, case: &str) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let (config, batch) = (golden.files(case).0, golden.learner(case, None).1);
    let tensors = config.initial_tensors(&Noise::new(1), &Device::Cpu).unwrap();
    let network = DenoiserNetwork::trainable(config, tensors, None).unwrap();
    let (prediction, gradients) = tape_gradients(&network, &batch, Recompute::Nothing);
    assert_eq!(flat(&network.score(&batch).unwrap()), prediction, "{case}");
    (prediction, gradients)
}

/// Fresh tensors predict zero, and `last` learns from there.
pub(crate) fn check_fresh(golden: &Golden, last: impl Fn(&str) -> &'static str) {
    for case in golden.cases {
        let (prediction, gradients) = fresh(golden, case);
        assert!(prediction.iter().all(|value| *value == 0.), "{case}");
        assert!(gradients[last(case)].iter().any(|g| *g != 0.), "{case}");
    }
}

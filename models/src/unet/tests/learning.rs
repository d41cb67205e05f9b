//! Tapes and adapters, and gradients of every trainable tensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::Recompute;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};
use engine::ops::backward;
use engine::{Gradients, Noise, noise};

use super::golden::{CASES, batch, expected, files, flat};
use crate::unet::{ImageBatch, UNet};

fn learner(case: &str, lora: Option<LoraConfig>) -> (Arc<UNet>, Arc<ImageBatch>) {
    let files = files(case);
    let batch = batch(&files.config, &expected(case)["calls"][0]);
    let model = UNet::trainable(files.config, files.tensors, lora.map(|lora| (lora, 7))).unwrap();
    (Arc::new(model), Arc::new(batch))
}

fn slopes(output: &Tensor) -> Tensor {
    noise::normal(&mut Noise::new(3).stream("slopes", 0), output.shape(), 1., &Device::Cpu).unwrap()
}

fn tape_gradients(
    model: &Arc<UNet>,
    batch: &Arc<ImageBatch>,
    recompute: Recompute,
) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let tape = model.run_tape(Arc::clone(batch), recompute).unwrap();
    let output = tape.output().clone();
    let mut gradients = Gradients::default();
    tape.backward(&slopes(&output), &model.weights.parameters, &mut gradients).unwrap();
    let of = |(name, _): (&str, _)| Some((name.to_owned(), flat(gradients.get(name)?)));
    (flat(&output), model.weights.parameters.trainable().filter_map(of).collect())
}

#[test]
fn a_tape_is_the_graph_in_pieces() {
    for case in CASES {
        let (model, batch) = learner(case, None);
        let output = model.forward(&batch).unwrap();
        let store = backward(&(&output * slopes(&output)).unwrap().sum_all().unwrap()).unwrap();
        let (kept_output, kept) = tape_gradients(&model, &batch, Recompute::Nothing);
        let (again_output, again) = tape_gradients(&model, &batch, Recompute::Blocks);
        assert_eq!(flat(&output), kept_output, "{case}");
        assert_eq!(flat(&model.score(&batch).unwrap()), kept_output, "{case}");
        assert_eq!(kept_output, again_output, "{case}");
        assert!(kept == again, "{case}: gradients depend on what is kept");
        for (name, parameter) in model.weights.parameters.trainable() {
            let of_graph = flat(store.get(parameter).unwrap());
            let largest = of_graph.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            assert!(largest > 0., "{case}: {name} does not learn");
            assert_eq!(kept[name].len(), of_graph.len(), "{case}: {name}");
            for (a, b) in kept[name].iter().zip(&of_graph) {
                // A bias of keys has no effect beyond rounding: softmax is invariant to it.
                let bound = if name.ends_with("to_k.bias") { 1e-5 } else { 1e-4 * largest };
                assert!((a - b).abs() <= bound, "{case}: {name}: {a} in pieces, {b} in one graph");
            }
        }
    }
}

#[test]
fn images_do_not_see_each_other() {
    for case in CASES {
        let (model, batch) = learner(case, None);
        let pixels = batch.grid.pixels();
        let all = flat(&model.score(&batch).unwrap());
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
            let alone = flat(&model.score(&one).unwrap());
            assert_eq!(all.len(), batch.grid.images * alone.len(), "{case}");
            for (a, b) in alone.iter().zip(&all[image * alone.len()..][..alone.len()]) {
                assert!((a - b).abs() < 1e-4, "{case}: image {image} is {a} alone, {b} among others");
            }
        }
    }
}

fn lora(targets: &[&str]) -> LoraConfig {
    let targets = LoraTargets::Named(targets.iter().map(ToString::to_string).collect());
    LoraConfig { rank: 2, alpha: 3., rslora: false, targets, extra: LoraExtra::None }
}

/// The model with its adapters moved from their initial values, which have no effect.
fn moved(mut model: UNet) -> UNet {
    let names: Vec<String> = model.adapter_tensors().into_keys().collect();
    for name in names {
        let shape = model.weights.parameters.get(&name).unwrap().dims().to_vec();
        let value = noise::normal(&mut Noise::new(5).stream(&name, 0), shape, 0.2, &Device::Cpu).unwrap();
        model.weights.parameters.set(&name, &value).unwrap();
    }
    model
}

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["to_q", "to_v", "conv1", "conv_shortcut", "proj_in", "downsamplers.0.conv", "linear_1"];
    let files = files("sd1");
    let batch = Arc::new(batch(&files.config, &expected("sd1")["calls"][0]));
    let plain = UNet::frozen(files.config.clone(), files.tensors.clone()).unwrap();
    let fresh = UNet::trainable(files.config.clone(), files.tensors, Some((lora(&targets), 7))).unwrap();
    let before = flat(&plain.score(&batch).unwrap());
    assert_eq!(flat(&fresh.score(&batch).unwrap()), before);
    let model = Arc::new(moved(fresh));
    let after = flat(&model.score(&batch).unwrap());
    assert_ne!(after, before);
    assert_eq!(flat(&model.base().unwrap().score(&batch).unwrap()), before);
    let merged = UNet::frozen(files.config, model.merged_tensors().unwrap()).unwrap();
    let merged = flat(&merged.score(&batch).unwrap());
    assert_eq!(merged.len(), after.len());
    for (a, b) in merged.iter().zip(&after) {
        assert!((a - b).abs() < 1e-4, "{a} merged, {b} adapted");
    }
    let (output, kept) = tape_gradients(&model, &batch, Recompute::Nothing);
    let (_, again) = tape_gradients(&model, &batch, Recompute::Blocks);
    assert_eq!(output, after);
    assert!(kept == again);
    let adapters = model.adapter_tensors();
    assert_eq!(kept.keys().collect::<Vec<_>>(), adapters.keys().collect::<Vec<_>>());
    for (name, gradient) in &kept {
        assert!(gradient.iter().any(|g| *g != 0.), "{name} does not learn");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (_, batch) = learner("sd1", None);
    let files = files("sd1");
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let tensors: BTreeMap<String, Tensor> = files.tensors.iter().map(|(n, t)| (n.clone(), double(t))).collect();
    let mut batch = ImageBatch::clone(&batch);
    batch.x = double(&batch.x);
    let contexts = batch.contexts.as_mut().unwrap();
    contexts.rows = double(&contexts.rows);
    let mut model = UNet::trainable(files.config, tensors, None).unwrap();
    let loss = |model: &UNet| {
        let output = model.forward(&batch).unwrap();
        let slopes = double(&slopes(&output));
        (output * slopes).unwrap().sum_all().unwrap()
    };
    let store = backward(&loss(&model)).unwrap();
    let names: Vec<String> = model.weights.parameters.trainable().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().step_by(7) {
        let parameter = model.weights.parameters.get(name).unwrap();
        let slope = store.get(parameter).unwrap().flatten_all().unwrap().get(0).unwrap().to_scalar::<f64>().unwrap();
        let (shape, start) = (parameter.dims().to_vec(), parameter.flatten_all().unwrap().to_vec1::<f64>().unwrap());
        let mut at = |offset: f64| {
            let mut moved = start.clone();
            moved[0] += offset;
            model
                .weights
                .parameters
                .set(name, &Tensor::from_vec(moved, shape.as_slice(), &Device::Cpu).unwrap())
                .unwrap();
            loss(&model).to_scalar::<f64>().unwrap()
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        at(0.);
        assert!((difference - slope).abs() < 1e-6 * (1. + slope.abs()), "{name}: {slope} for {difference}");
    }
}

//! Tapes, adapters, and gradients of every trainable tensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::Recompute;
use engine::lora::{LoraConfig, LoraTargets};
use engine::ops::backward;
use engine::{Gradients, Noise, noise};
use serde_json::{Value, json};

use super::golden::{CASES, batch, expected, files, flat};
use crate::image_batch::ImageBatch;
use crate::zimage::{ZImageConfig, ZImageTransformer};

fn learner(case: &str, lora: Option<LoraConfig>) -> (Arc<ZImageTransformer>, Arc<ImageBatch>) {
    let (config, tensors) = files(case);
    let batch = batch(&config, &expected(case)["calls"][0]);
    let model = ZImageTransformer::trainable(config, tensors, lora.map(|lora| (lora, 7))).unwrap();
    (Arc::new(model), Arc::new(batch))
}

fn slopes(output: &Tensor) -> Tensor {
    noise::normal(&mut Noise::new(3).stream("slopes", 0), output.shape(), 1., &Device::Cpu).unwrap()
}

fn tape_gradients(
    model: &Arc<ZImageTransformer>,
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
                assert!((a - b).abs() <= 1e-4 * largest, "{case}: {name}: {a} in pieces, {b} in one graph");
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
            let contexts = one.contexts.as_mut().unwrap();
            contexts.of_image = vec![contexts.of_image[image].clone()];
            let alone = flat(&model.score(&one).unwrap());
            assert_eq!(all.len(), batch.grid.images * alone.len(), "{case}");
            for (a, b) in alone.iter().zip(&all[image * alone.len()..][..alone.len()]) {
                assert!((a - b).abs() < 1e-4, "{case}: image {image} is {a} alone, {b} among others");
            }
        }
    }
}

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["to_q", "feed_forward.w3", "adaLN_modulation.0", "all_x_embedder.2-1", "t_embedder.mlp.2"];
    let targets = LoraTargets::Named(targets.map(str::to_owned).to_vec());
    let lora = LoraConfig { rank: 2, alpha: 3., rslora: false, targets };
    let (model, batch) = learner("zimage", Some(lora));
    let mut model = Arc::into_inner(model).unwrap();
    let plain = flat(&model.score(&batch).unwrap());
    for name in model.weights.adapter_tensors().into_keys() {
        let shape = model.weights.parameters.get(&name).unwrap().dims().to_vec();
        let value = noise::normal(&mut Noise::new(5).stream(&name, 0), shape, 0.2, &Device::Cpu).unwrap();
        model.weights.parameters.set(&name, &value).unwrap();
    }
    let model = Arc::new(model);
    assert_ne!(flat(&model.score(&batch).unwrap()), plain);
    let (output, kept) = tape_gradients(&model, &batch, Recompute::Blocks);
    assert_eq!(output, flat(&model.score(&batch).unwrap()));
    let adapters = model.weights.adapter_tensors();
    assert_eq!(kept.keys().collect::<Vec<_>>(), adapters.keys().collect::<Vec<_>>());
    assert!(kept.iter().all(|(_, gradient)| gradient.iter().any(|g| *g != 0.)));
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (config, tensors) = files("zimage");
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors.iter().map(|(name, t)| (name.clone(), double(t))).collect();
    let mut batch = batch(&config, &expected("zimage")["calls"][0]);
    batch.x = double(&batch.x);
    let contexts = batch.contexts.as_mut().unwrap();
    contexts.rows = double(&contexts.rows);
    let mut model = ZImageTransformer::trainable(config, tensors, None).unwrap();
    let loss = |model: &ZImageTransformer| {
        let output = model.forward(&batch).unwrap();
        let slopes = double(&slopes(&output));
        (output * slopes).unwrap().sum_all().unwrap()
    };
    let store = backward(&loss(&model)).unwrap();
    let names: Vec<String> = model.weights.parameters.trainable().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().step_by(5) {
        let parameter = model.weights.parameters.get(name).unwrap();
        let slope = store.get(parameter).unwrap().flatten_all().unwrap().get(0).unwrap().to_scalar::<f64>().unwrap();
        let (shape, start) = (parameter.dims().to_vec(), parameter.flatten_all().unwrap().to_vec1::<f64>().unwrap());
        let mut at = |offset: f64| {
            let mut moved = start.clone();
            moved[0] += offset;
            let moved = Tensor::from_vec(moved, shape.as_slice(), &Device::Cpu).unwrap();
            model.weights.parameters.set(name, &moved).unwrap();
            loss(&model).to_scalar::<f64>().unwrap()
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        at(0.);
        assert!((difference - slope).abs() < 1e-6 * (1. + slope.abs()), "{name}: {slope} for {difference}");
    }
}

#[test]
fn fresh_tensors_predict_something_and_learn() {
    for case in CASES {
        let (config, _) = files(case);
        let batch = Arc::new(batch(&config, &expected(case)["calls"][0]));
        let tensors = config.initial_tensors(&Noise::new(1), &Device::Cpu).unwrap();
        let model = Arc::new(ZImageTransformer::trainable(config, tensors, None).unwrap());
        assert!(flat(&model.score(&batch).unwrap()).iter().all(|value| value.is_finite() && *value != 0.), "{case}");
        let (_, gradients) = tape_gradients(&model, &batch, Recompute::Nothing);
        assert!(gradients.values().all(|gradient| gradient.iter().any(|g| *g != 0.)), "{case}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, good) = learner("zimage", None);
    let refuse = |change: &dyn Fn(&mut ImageBatch), expected: &str| {
        let mut batch = ImageBatch::clone(&good);
        change(&mut batch);
        let message = model.score(&batch).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refuse(&|batch| batch.contexts = None, "hidden states of width 10");
    let long = |batch: &mut ImageBatch| {
        let contexts = batch.contexts.as_mut().unwrap();
        contexts.rows = Tensor::zeros((225, 10), DType::F32, &Device::Cpu).unwrap();
        contexts.of_image[1] = 0..225;
    };
    refuse(&long, "the captions: expected at most 224 tokens, got 225");
    let sized = |batch: &mut ImageBatch, height: usize, width: usize| {
        (batch.grid.height, batch.grid.width) = (height, width);
        batch.x = Tensor::zeros((3 * height * width, 4), DType::F32, &Device::Cpu).unwrap();
    };
    refuse(&|batch| sized(batch, 3, 4), "multiples of 2 up to 16 by 16, got 3 by 4");
    refuse(&|batch| sized(batch, 4, 18), "multiples of 2 up to 16 by 16, got 4 by 18");
}

#[test]
fn settings_that_are_not_built_are_refused() {
    let (model, _) = learner("zimage", None);
    let config = |key: &str, value: Value| {
        let mut source = model.config.source.clone();
        source[key] = value;
        ZImageConfig::from_json(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    };
    assert_eq!(config("n_kv_heads", json!(1)), "accepted");
    for (key, value, expected) in [
        ("all_patch_size", json!([2, 4]), "[2,4] is not supported; supported: [2]"),
        ("all_f_patch_size", json!([2]), "[2] is not supported; supported: [1]"),
        ("siglip_feat_dim", json!(1152), "1152 is not supported; supported: null"),
        ("dim", json!(15), "15 is not 2 heads of the 8 coordinates of all axes"),
        ("axes_dims", json!([3, 3, 2]), "3 coordinates of an axis are no pairs"),
        ("axes_dims", json!([4, 4]), "must be three positive whole numbers"),
        ("axes_lens", json!("128"), "must be three positive whole numbers"),
        ("n_layers", json!(0), "`n_layers`"),
        ("rope_theta", json!("256"), "`rope_theta`"),
        ("cap_feat_dim", json!(null), "`cap_feat_dim`"),
        ("_class_name", json!("LuminaTransformer2DModel"), "LuminaTransformer2DModel"),
    ] {
        assert!(config(key, value.clone()).contains(expected), "{key}: {}", config(key, value));
    }
}

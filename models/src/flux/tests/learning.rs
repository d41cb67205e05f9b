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
use crate::flux::{FluxConfig, FluxTransformer};
use crate::image_batch::ImageBatch;

fn learner(case: &str, lora: Option<LoraConfig>) -> (Arc<FluxTransformer>, Arc<ImageBatch>) {
    let (config, tensors) = files(case);
    let batch = batch(&config, &expected(case)["calls"][0]);
    let model = FluxTransformer::trainable(config, tensors, lora.map(|lora| (lora, 7))).unwrap();
    (Arc::new(model), Arc::new(batch))
}

fn slopes(output: &Tensor) -> Tensor {
    noise::normal(&mut Noise::new(3).stream("slopes", 0), output.shape(), 1., &Device::Cpu).unwrap()
}

fn tape_gradients(
    model: &Arc<FluxTransformer>,
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
            one.pooled = batch.pooled.as_ref().map(|pooled| pooled.narrow(0, image, 1).unwrap());
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
    let targets = ["attn.to_q", "attn.add_v_proj", "ff_context.net.2", "norm1.linear", "proj_mlp", "x_embedder"];
    let targets = LoraTargets::Named(targets.map(str::to_owned).to_vec());
    let lora = LoraConfig { rank: 2, alpha: 3., rslora: false, targets };
    let (model, batch) = learner("dev", Some(lora));
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
    let (config, tensors) = files("dev");
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors.iter().map(|(name, t)| (name.clone(), double(t))).collect();
    let mut batch = batch(&config, &expected("dev")["calls"][0]);
    (batch.x, batch.pooled) = (double(&batch.x), batch.pooled.as_ref().map(double));
    let contexts = batch.contexts.as_mut().unwrap();
    contexts.rows = double(&contexts.rows);
    let mut model = FluxTransformer::trainable(config, tensors, None).unwrap();
    let loss = |model: &FluxTransformer| {
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
fn fresh_tensors_predict_nothing_and_learn() {
    for case in CASES {
        let (config, _) = files(case);
        let batch = Arc::new(batch(&config, &expected(case)["calls"][0]));
        let tensors = config.initial_tensors(&Noise::new(1), &Device::Cpu).unwrap();
        let model = Arc::new(FluxTransformer::trainable(config, tensors, None).unwrap());
        assert!(flat(&model.score(&batch).unwrap()).iter().all(|value| *value == 0.), "{case}");
        let (_, gradients) = tape_gradients(&model, &batch, Recompute::Nothing);
        assert!(gradients["proj_out.weight"].iter().any(|g| *g != 0.), "{case}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, good) = learner("schnell", None);
    let refuse = |change: &dyn Fn(&mut ImageBatch), expected: &str| {
        let mut batch = ImageBatch::clone(&good);
        change(&mut batch);
        let message = model.score(&batch).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refuse(&|batch| batch.pooled = None, "the pooled captions: expected 3 of width 7, got none");
    refuse(&|batch| batch.contexts = None, "hidden states of width 10");
    let sized = |batch: &mut ImageBatch, height: usize, width: usize| {
        (batch.grid.height, batch.grid.width) = (height, width);
        batch.x = Tensor::zeros((3 * height * width, 4), DType::F32, &Device::Cpu).unwrap();
    };
    refuse(&|batch| sized(batch, 3, 4), "multiples of 2, got 3 by 4");
    refuse(&|batch| sized(batch, 4, 0), "multiples of 2, got 4 by 0");
    let config = |key: &str, value: Value| {
        let mut source = model.config.source.clone();
        source[key] = value;
        FluxConfig::from_json(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    };
    assert_eq!(config("patch_size", json!(1)), "accepted");
    for (key, value, expected) in [
        ("patch_size", json!(2), "2 is not supported; supported: 1"),
        ("in_channels", json!(10), "10 channels are no squares of 2 by 2"),
        ("out_channels", json!(6), "6 channels are no squares of 2 by 2"),
        ("axes_dims_rope", json!([2, 4]), "must be three even numbers, which share the 8 coordinates of a head"),
        ("axes_dims_rope", json!([1, 4, 3]), "must be three even numbers"),
        ("axes_dims_rope", json!([2, 4, 4]), "must be three even numbers"),
        ("axes_dims_rope", json!("2"), "must be a whole number from 0 up, or a list of them"),
        ("axes_dims_rope", Value::Null, "`axes_dims_rope`"),
        ("guidance_embeds", json!(3.5), "must be true or false"),
        ("num_layers", json!(0), "`num_layers`"),
        ("num_single_layers", json!(513), "513 is more than any model has"),
        ("attention_head_dim", json!(7), "share the 7 coordinates of a head"),
        ("_class_name", json!("SD3Transformer2DModel"), "SD3Transformer2DModel"),
    ] {
        assert!(config(key, value.clone()).contains(expected), "{key}: {}", config(key, value));
    }
}

#[test]
fn only_a_guided_network_is_told_of_guidance() {
    let message = |guidance: f64| files("dev").0.with_guidance(guidance).unwrap_err().to_string();
    assert!(message(-1.).contains("expected a number from 0 up, got -1") && message(f64::NAN).contains("got NaN"));
    for (case, differs) in [("schnell", false), ("dev", true)] {
        let (config, tensors) = files(case);
        let batch = batch(&config, &expected(case)["calls"][0]);
        let told = |guidance: f64| {
            let config = config.clone().with_guidance(guidance).unwrap();
            let settings = config.settings();
            (settings, flat(&FluxTransformer::frozen(config, tensors.clone()).unwrap().score(&batch).unwrap()))
        };
        let (little, much) = (told(1.), told(4.));
        assert_eq!((little.0 != much.0, little.1 != much.1), (differs, differs), "{case}");
    }
    let mut source = files("dev").0.source;
    source["attention_head_dim"] = json!(128);
    source.as_object_mut().unwrap().remove("axes_dims_rope");
    let config = FluxConfig::from_json(source).unwrap();
    assert_eq!((config.axes, config.guidance), (vec![16, 56, 56], Some(3.5)));
}

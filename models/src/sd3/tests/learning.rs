//! Tapes, adapters, and gradients of every trainable tensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::Recompute;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};
use engine::ops::backward;
use engine::{Gradients, Noise, noise};
use serde_json::{Value, json};

use super::golden::{CASES, batch, expected, files, flat, is_idle};
use crate::image_batch::ImageBatch;
use crate::sd3::{Sd3Config, Sd3Transformer};

fn learner(case: &str, lora: Option<LoraConfig>) -> (Arc<Sd3Transformer>, Arc<ImageBatch>) {
    let (config, tensors) = files(case);
    let batch = batch(&config, &expected(case)["calls"][0]);
    let model = Sd3Transformer::trainable(config, tensors, lora.map(|lora| (lora, 7))).unwrap();
    (Arc::new(model), Arc::new(batch))
}

fn slopes(output: &Tensor) -> Tensor {
    noise::normal(&mut Noise::new(3).stream("slopes", 0), output.shape(), 1., &Device::Cpu).unwrap()
}

fn tape_gradients(
    model: &Arc<Sd3Transformer>,
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
            let is_idle = is_idle(&model.config, name);
            assert!(largest > 0. || is_idle, "{case}: {name} does not learn");
            assert_eq!(kept[name].len(), of_graph.len(), "{case}: {name}");
            for (a, b) in kept[name].iter().zip(&of_graph) {
                let bound = if is_idle { 1e-5 } else { 1e-4 * largest };
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
    let targets = ["attn.to_q", "attn.add_v_proj", "ff_context.net.2", "norm1.linear", "pos_embed.proj"];
    let targets = LoraTargets::Named(targets.map(str::to_owned).to_vec());
    let lora = LoraConfig { rank: 2, alpha: 3., rslora: false, targets, extra: LoraExtra::None };
    let (model, batch) = learner("sd35", Some(lora));
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
    let (config, tensors) = files("sd35");
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors.iter().map(|(name, t)| (name.clone(), double(t))).collect();
    let mut batch = batch(&config, &expected("sd35")["calls"][0]);
    (batch.x, batch.pooled) = (double(&batch.x), batch.pooled.as_ref().map(double));
    let contexts = batch.contexts.as_mut().unwrap();
    contexts.rows = double(&contexts.rows);
    let mut model = Sd3Transformer::trainable(config, tensors, None).unwrap();
    let loss = |model: &Sd3Transformer| {
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
        let model = Arc::new(Sd3Transformer::trainable(config, tensors, None).unwrap());
        assert!(flat(&model.score(&batch).unwrap()).iter().all(|value| *value == 0.), "{case}");
        let (_, gradients) = tape_gradients(&model, &batch, Recompute::Nothing);
        assert!(gradients["proj_out.weight"].iter().any(|g| *g != 0.), "{case}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, good) = learner("sd3", None);
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
    refuse(&|batch| sized(batch, 3, 4), "multiples of 2 up to 12, got 3 by 4");
    refuse(&|batch| sized(batch, 4, 14), "multiples of 2 up to 12, got 4 by 14");
    let config = |key: &str, value: Value| {
        let mut source = model.config.source.clone();
        source[key] = value;
        Sd3Config::from_json(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    };
    assert_eq!(config("qk_norm", json!("rms_norm")), "accepted");
    for (key, value, expected) in [
        ("qk_norm", json!("layer_norm"), "\"layer_norm\" is not supported; supported: rms_norm"),
        ("caption_projection_dim", json!(13), "13 is not the width of the blocks, 12"),
        ("dual_attention_layers", json!([0, 2]), "names layer 2 of 2"),
        ("dual_attention_layers", json!("0"), "must be a whole number from 0 up, or a list of them"),
        ("num_layers", json!(0), "`num_layers`"),
        ("attention_head_dim", json!(7), "12 is not the width of the blocks, 14"),
        ("patch_size", json!(null), "`patch_size`"),
        ("_class_name", json!("FluxTransformer2DModel"), "FluxTransformer2DModel"),
    ] {
        assert!(config(key, value.clone()).contains(expected), "{key}: {}", config(key, value));
    }
}

//! Batches and settings that do not fit, and guidance.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::GOLDEN;
use crate::denoiser::DenoiserNetwork;
use crate::flux::FluxConfig;
use crate::image_batch::ImageBatch;
use crate::tests::flat;

#[test]
fn what_does_not_fit_is_refused() {
    let (model, good) = GOLDEN.learner("schnell", None);
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
        let mut source = GOLDEN.files("schnell").0.to_json();
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
    let message = |guidance: f64| GOLDEN.files("dev").0.with_guidance(guidance).unwrap_err().to_string();
    assert!(message(-1.).contains("expected a number from 0 up, got -1") && message(f64::NAN).contains("got NaN"));
    for (case, differs) in [("schnell", false), ("dev", true)] {
        let (config, tensors) = GOLDEN.files(case);
        let batch = GOLDEN.learner(case, None).1;
        let told = |guidance: f64| {
            let config = config.clone().with_guidance(guidance).unwrap();
            let settings = config.settings();
            (settings, flat(&DenoiserNetwork::frozen(config, tensors.clone()).unwrap().score(&batch).unwrap()))
        };
        let (little, much) = (told(1.), told(4.));
        assert_eq!((little.0 != much.0, little.1 != much.1), (differs, differs), "{case}");
    }
    let mut source = GOLDEN.files("dev").0.to_json();
    source["attention_head_dim"] = json!(128);
    source.as_object_mut().unwrap().remove("axes_dims_rope");
    let config = FluxConfig::from_json(source).unwrap();
    assert_eq!((config.axes, config.guidance), (vec![16, 56, 56], Some(3.5)));
}

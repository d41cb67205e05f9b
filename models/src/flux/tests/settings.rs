//! Batches and settings that do not fit, and guidance.

use serde_json::{Value, json};

use super::GOLDEN;
use crate::denoiser::DenoiserNetwork;
use crate::flux::FluxConfig;
use crate::image_batch::ImageBatch;
use crate::tests::{check_refused, check_setting, flat, resize};

#[test]
fn what_does_not_fit_is_refused() {
    let refuse = |change: &dyn Fn(&mut ImageBatch), expected: &str| check_refused(&GOLDEN, "schnell", change, expected);
    refuse(&|batch| batch.pooled = None, "the pooled captions: expected 3 of width 7, got none");
    refuse(&|batch| batch.contexts = None, "hidden states of width 10");
    refuse(&|batch| resize(batch, 3, 4), "multiples of 2, got 3 by 4");
    refuse(&|batch| resize(batch, 4, 0), "multiples of 2, got 4 by 0");
    for setting in [
        ("patch_size", json!(1), "accepted"),
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
        check_setting(&GOLDEN, "schnell", FluxConfig::from_json, setting);
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

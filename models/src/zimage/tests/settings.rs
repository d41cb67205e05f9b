//! Batches and settings that do not fit.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::GOLDEN;
use crate::image_batch::ImageBatch;
use crate::zimage::ZImageConfig;

#[test]
fn what_does_not_fit_is_refused() {
    let (model, good) = GOLDEN.learner("zimage", None);
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
    let config = |key: &str, value: Value| {
        let mut source = GOLDEN.files("zimage").0.to_json();
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

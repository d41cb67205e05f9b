//! Batches and settings that do not fit.

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::GOLDEN;
use crate::image_batch::ImageBatch;
use crate::tests::{check_refused, check_setting, resize};
use crate::zimage::ZImageConfig;

#[test]
fn what_does_not_fit_is_refused() {
    let refuse = |change: &dyn Fn(&mut ImageBatch), expected: &str| check_refused(&GOLDEN, "zimage", change, expected);
    refuse(&|batch| batch.contexts = None, "hidden states of width 10");
    let long = |batch: &mut ImageBatch| {
        let contexts = batch.contexts.as_mut().unwrap();
        contexts.rows = Tensor::zeros((225, 10), DType::F32, &Device::Cpu).unwrap();
        contexts.of_image[1] = 0..225;
    };
    refuse(&long, "the captions: expected at most 224 tokens, got 225");
    refuse(&|batch| resize(batch, 3, 4), "multiples of 2 up to 16 by 16, got 3 by 4");
    refuse(&|batch| resize(batch, 4, 18), "multiples of 2 up to 16 by 16, got 4 by 18");
}

#[test]
fn settings_that_are_not_built_are_refused() {
    for setting in [
        ("n_kv_heads", json!(1), "accepted"),
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
        check_setting(&GOLDEN, "zimage", ZImageConfig::from_json, setting);
    }
}

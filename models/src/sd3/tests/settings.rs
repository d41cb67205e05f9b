//! Batches, settings and classes that do not fit.

use candle_core::Device;
use serde_json::json;

use super::GOLDEN;
use crate::formats::{DiffusersFolder, load_denoiser};
use crate::image_batch::ImageBatch;
use crate::sd3::Sd3Config;
use crate::tests::{check_refused, check_setting, resize};

#[test]
fn what_does_not_fit_is_refused() {
    let refuse = |change: &dyn Fn(&mut ImageBatch), expected: &str| check_refused(&GOLDEN, "sd3", change, expected);
    refuse(&|batch| batch.pooled = None, "the pooled captions: expected 3 of width 7, got none");
    refuse(&|batch| batch.contexts = None, "hidden states of width 10");
    refuse(&|batch| resize(batch, 3, 4), "multiples of 2 up to 12, got 3 by 4");
    refuse(&|batch| resize(batch, 4, 14), "multiples of 2 up to 12, got 4 by 14");
    for setting in [
        ("qk_norm", json!("rms_norm"), "accepted"),
        ("qk_norm", json!("layer_norm"), "\"layer_norm\" is not supported; supported: rms_norm"),
        ("caption_projection_dim", json!(13), "13 is not the width of the blocks, 12"),
        ("dual_attention_layers", json!([0, 2]), "names layer 2 of 2"),
        ("dual_attention_layers", json!("0"), "must be a whole number from 0 up, or a list of them"),
        ("num_layers", json!(0), "`num_layers`"),
        ("attention_head_dim", json!(7), "12 is not the width of the blocks, 14"),
        ("patch_size", json!(null), "`patch_size`"),
        ("_class_name", json!("FluxTransformer2DModel"), "FluxTransformer2DModel"),
    ] {
        check_setting(&GOLDEN, "sd3", Sd3Config::from_json, setting);
    }
}

#[test]
fn a_class_that_is_not_built_is_named_with_the_nearest() {
    let place = tempfile::tempdir().unwrap();
    let config = r#"{"_class_name": "AuraFlowTransformer2DModel", "_diffusers_version": "0.42.1"}"#;
    std::fs::write(place.path().join("config.json"), config).unwrap();
    assert!(DiffusersFolder::is_one(place.path()));
    for message in [
        DiffusersFolder::open(place.path()).unwrap_err().to_string(),
        load_denoiser(place.path(), &Device::Cpu).unwrap_err().to_string(),
    ] {
        assert!(message.contains("AuraFlowTransformer2DModel"), "{message}");
        assert!(message.contains("SD3Transformer2DModel") && message.contains("(nearest), UNet2DModel"), "{message}");
    }
}

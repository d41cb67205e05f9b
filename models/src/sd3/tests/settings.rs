//! Batches, settings and classes that do not fit.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::GOLDEN;
use crate::formats::{DiffusersFolder, load_denoiser};
use crate::image_batch::ImageBatch;
use crate::sd3::Sd3Config;

#[test]
fn what_does_not_fit_is_refused() {
    let (model, good) = GOLDEN.learner("sd3", None);
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
        let mut source = GOLDEN.files("sd3").0.to_json();
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

//! Batches and settings that do not fit.

use serde_json::{Value, json};

use super::GOLDEN;
use crate::denoiser::DenoiserConfig;
use crate::dit::{DitConditioning, DitConfig};
use crate::image_batch::ImageBatch;
use crate::tests::{check_refused, check_setting, resize};

fn refused(case: &str, change: &dyn Fn(&mut ImageBatch), expected: &str) {
    check_refused(&GOLDEN, case, change, expected);
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    refused("pixart", &|batch| batch.contexts = None, "hidden states of width 44");
    refused("sizes", &|batch| batch.time_ids = None, "the sizes of the images: expected 3 times six, got none");
    refused("sizes", &|batch| batch.time_ids = Some(vec![[0.; 6]; 3]), "each with a height and width to make above 0");
    refused("dit", &|batch| batch.classes = None, "expected 3 numbers from 0 to 5, which is no class, got none");
    refused("dit", &|batch| batch.classes = Some(vec![0, 6, 1]), "got [0, 6, 1]");
    refused("pixart", &|batch| resize(batch, 3, 4), "multiples of 2 up to 8192, got 3 by 4");
    refused("dit", &|batch| resize(batch, 4, 6), "squares, which a DiTTransformer2DModel makes, got 4 by 6");
}

fn source(case: &str) -> Value {
    GOLDEN.files(case).0.to_json()
}

#[test]
fn settings_that_are_not_built_are_named() {
    for (case, key, value, expected) in [
        (
            "pixart",
            "norm_type",
            json!("ada_norm_zero"),
            "\"ada_norm_zero\" is not supported; supported: ada_norm_single",
        ),
        ("pixart", "attention_type", json!("gated"), "supported: default"),
        ("pixart", "activation_fn", json!("geglu"), "supported: gelu-approximate, gelu"),
        ("pixart", "norm_elementwise_affine", json!(true), "supported: false"),
        ("pixart", "cross_attention_dim", json!(null), "a model without attention to captions is not built"),
        ("pixart", "cross_attention_dim", json!(14), "projected to the width of the blocks, 12, not 14"),
        ("pixart", "attention_head_dim", json!(7), "14 channels in all; positions need a multiple of 4"),
        ("sizes", "attention_head_dim", json!(4), "need a multiple of 3 channels, not 8"),
        ("pixart", "interpolation_scale", json!(0), "`interpolation_scale`"),
        ("pixart", "use_additional_conditions", json!("no"), "`use_additional_conditions`"),
        ("dit", "num_layers", json!(513), "513 is more than any model has"),
        ("dit", "patch_size", json!(9), "8 is less than `patch_size`, 9"),
        ("dit", "num_embeds_ada_norm", json!(null), "`num_embeds_ada_norm`"),
        ("dit", "quantization_config", json!({"bits": 4}), "`quantization_config`"),
        (
            "dit",
            "_class_name",
            json!("FluxTransformer2DModel"),
            "FluxTransformer2DModel of `norm_type` \"ada_norm_zero\"",
        ),
    ] {
        check_setting(&GOLDEN, case, DitConfig::from_json, (key, value, expected));
    }
}

#[test]
fn released_files_name_a_class_that_either_has() {
    for case in GOLDEN.cases {
        let (DenoiserConfig::Dit(config), _) = GOLDEN.files(case) else { panic!("{case} is another network") };
        let mut either = source(case);
        either["_class_name"] = json!(DitConfig::EITHER);
        let again = DenoiserConfig::from_json(either.clone()).unwrap();
        assert_eq!((again.class(), again.settings()), (config.class(), config.settings()));
        // It is written as it was read.
        assert_eq!(again.to_json(), either);
        either["norm_type"] = json!("layer_norm");
        let message = DenoiserConfig::from_json(either).unwrap_err().to_string();
        assert!(message.contains("`Transformer2DModel of `norm_type` \"layer_norm\"` is not supported"), "{message}");
    }
    let told = |sample_size: usize| {
        let source = json!({"_class_name": DitConfig::PIXART, "sample_size": sample_size, "caption_channels": 4096});
        let config = DitConfig::from_json(source).unwrap();
        assert_eq!((config.out_channels, config.predicted(), config.predicts_variance()), (8, 4, true));
        config.told
    };
    let captions = |has_sizes, interpolation| DitConditioning::Captions {
        width: 4096,
        read: 1152,
        is_projected: true,
        has_sizes,
        interpolation,
    };
    assert_eq!([told(64), told(128), told(256)], [captions(false, 1.), captions(true, 2.), captions(false, 4.)]);
}

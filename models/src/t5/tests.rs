//! The encoder against transformers (`tests/golden/companions.py` made the numbers).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::T5Config;
use crate::formats::{load_t5, load_t5_tokenizer};
use crate::tests::in_both_forms;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/companions").join(name)
}

#[test]
fn tokens_and_states_are_those_of_transformers() {
    in_both_forms(check_tokens_and_states);
}

fn check_tokens_and_states() {
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("expected.json")).unwrap()).unwrap();
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(golden("expected.safetensors"), &Device::Cpu).unwrap();
    let texts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let mut tokenizer = load_t5_tokenizer(&golden("t5/tokenizer_3")).unwrap();
    tokenizer.limit(20).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(expected["t5"]["ids"].clone()).unwrap();
    let found = tokenizer.encode(&texts).unwrap();
    assert_eq!(found.ids, ids);
    for name in ["t5/text_encoder_3", "t5/first_version"] {
        let encoder = load_t5(&golden(name), &Device::Cpu).unwrap();
        // One text alone, longer than single distances reach, and several together.
        for texts in [&ids[5..6], &ids[..11]] {
            let states = encoder.encode(texts).unwrap();
            let theirs = tensors[name].to_vec3::<f32>().unwrap();
            let first = if texts.len() == 1 { 5 } else { 0 };
            for (index, state) in states.iter().enumerate() {
                let theirs = theirs[first + index].concat();
                assert_eq!(state.len(), theirs.len());
                let largest = theirs.iter().fold(1f32, |most, x| most.max(x.abs()));
                let worst = state.iter().zip(&theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
                assert!(worst <= 1e-4 * largest, "{name}: off by {worst} of {largest}");
            }
        }
    }
}

#[test]
fn other_models_are_refused_by_name() {
    let source = json!({"architectures": ["T5EncoderModel"], "d_model": 8, "feed_forward_proj": "gated-gelu"});
    let error = |key: &str, value: Value| {
        let mut source = source.clone();
        source[key] = value;
        T5Config::from_json(&source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    };
    assert_eq!(error("dense_act_fn", json!("gelu_new")), "accepted");
    for (key, value, expected) in [
        ("architectures", json!(["UMT5EncoderModel"]), "UMT5EncoderModel"),
        ("feed_forward_proj", json!("gelu"), "`gelu` is not supported; supported: relu, gated-gelu, gated-silu"),
        ("is_decoder", json!(true), "`is_decoder`: true is not supported"),
        ("num_layers", json!("6"), "`num_layers`"),
        ("num_layers", json!(4000), "beyond any encoder"),
        ("relative_attention_num_buckets", json!(3), "leave none"),
        ("relative_attention_max_distance", json!(8), "leave none"),
    ] {
        assert!(error(key, value.clone()).contains(expected), "{key}: {}", error(key, value));
    }
}

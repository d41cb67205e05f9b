//! A pipeline's folder around a transformer: the language model as text encoder, and parts that don't fit.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use mdp::diffusion::Framing;
use serde_json::{Value, json};

use super::GOLDEN;
use crate::clip::TextConditioner;
use crate::formats::DiffusersFolder;
use crate::tests::{assert_close, in_both_forms, numbers};

/// The pipeline of `tests/golden/zimage/pipeline` with its transformer.
fn pipeline(place: &Path) {
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
    };
    let source = GOLDEN.folder("pipeline");
    copy(&source, place);
    for part in ["vae", "text_encoder", "tokenizer", "scheduler"] {
        copy(&source.join(part), &place.join(part));
    }
    copy(&GOLDEN.folder("zimage"), &place.join("transformer"));
}

#[test]
fn prompts_are_encoded_as_the_pipeline_does() {
    in_both_forms(check_prompts);
}

fn check_prompts() {
    let place = tempfile::tempdir().unwrap();
    pipeline(place.path());
    let (folder, expected) = (DiffusersFolder::open(place.path()).unwrap(), GOLDEN.expected("pipeline"));
    assert!(folder.conditioner(&Device::Cpu).unwrap().is_none());
    let texts = |key: &str| -> Vec<String> { serde_json::from_value(expected[key].clone()).unwrap() };
    let framed: BTreeMap<String, String> = texts("prompts").into_iter().zip(texts("framed")).collect();
    let encoder = folder.language_encoder(&Device::Cpu).unwrap().unwrap();
    assert!(encoder.tokenizer().chat_template(false).unwrap().contains("enable_thinking"));
    let conditioner = TextConditioner::of_encoder(encoder.with_framing(move |prompt| Ok(framed[prompt].clone())));
    assert_eq!((conditioner.width(), conditioner.pooled_width(), conditioner.max_length()), (10, None, Some(512)));
    let prompts = texts("prompts");
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let encoded = conditioner.encode(&prompts, Framing::whole(8, 8)).unwrap();
    assert_eq!((encoded.truncated, conditioner.longest(&prompts).unwrap()), (0, Some(31)));
    for (index, (prompt, condition)) in prompts.iter().zip(&encoded.conditions).enumerate() {
        let hidden = condition.hidden.as_ref().unwrap();
        assert_close(prompt, &hidden.values, &numbers(&expected["states"][index]));
        assert_eq!((hidden.width, hidden.length * 10), (10, hidden.values.len()));
    }
    // Alone as among others, to rounding.
    let hidden = |condition: &mdp::diffusion::Conditioning| condition.hidden.clone().unwrap();
    let (none, third) = (conditioner.none(Framing::whole(8, 8)).unwrap(), hidden(&encoded.conditions[2]));
    assert_close("no prompt", &hidden(&none).values, &third.values);
    assert_eq!((hidden(&none).length, hidden(&none).width), (third.length, third.width));
}

#[test]
fn long_prompts_are_truncated() {
    let place = tempfile::tempdir().unwrap();
    pipeline(place.path());
    let encoder = DiffusersFolder::open(place.path()).unwrap().language_encoder(&Device::Cpu).unwrap().unwrap();
    let conditioner = TextConditioner::of_encoder(encoder);
    let long = "x".repeat(600);
    let encoded = conditioner.encode(&[&long, &long[..512]], Framing::whole(8, 8)).unwrap();
    assert_eq!(encoded.truncated, 1);
    assert_eq!(*encoded.conditions[0], *encoded.conditions[1]);
}

#[test]
fn parts_that_do_not_fit_name_both_sizes() {
    let place = tempfile::tempdir().unwrap();
    pipeline(place.path());
    let path = place.path().join("transformer/config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value, expected) in [
        ("cap_feat_dim", json!(11), "`cap_feat_dim` is 11, text_encoder `hidden_size` is 10"),
        ("in_channels", json!(5), "`in_channels` is 5, vae `latent_channels` is 4"),
    ] {
        let before = config[key].clone();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let message = DiffusersFolder::open(place.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        config[key] = before;
    }
}

//! Reward models against transformers, and the way pictures reach them against PIL (`tests/golden/rewards.py` made the
//! numbers).
use std::path::{Path, PathBuf};

use candle_core::Device;
use datasets::images::Pixels;
use models::causal::RewardModel;
use models::formats::{load_clip_score, load_reward};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rewards").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn check_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{what}, {i}: {found}, not {expected}");
    }
}

fn reward(case: &str) -> RewardModel {
    let files = load_reward(&golden(case), &Device::Cpu).unwrap();
    RewardModel::new(files.config, files.tensors).unwrap()
}

fn pixels(height: usize, width: usize, bytes: &Value) -> Pixels {
    let values: Vec<f32> = numbers(bytes).iter().map(|byte| (byte / 127.5 - 1.0) as f32).collect();
    Pixels::new(height, width, values).unwrap()
}

#[test]
fn texts_are_rewarded_as_in_transformers() {
    for case in ["gpt_neox", "gpt2", "llama", "qwen2"] {
        let expected = read(&format!("{case}/expected.json"));
        let texts: Vec<Vec<u32>> = serde_json::from_value(expected["texts"].clone()).unwrap();
        let model = reward(case);
        check_close(case, &model.score(&texts).unwrap(), &numbers(&expected["rewards"]));
        let alone: Vec<f64> = texts.iter().flat_map(|text| model.score(std::slice::from_ref(text)).unwrap()).collect();
        check_close(&format!("{case}, one by one"), &alone, &numbers(&expected["rewards"]));
    }
}

#[test]
fn a_reward_model_is_made_of_the_tensors_of_its_configuration() {
    let files = load_reward(&golden("llama"), &Device::Cpu).unwrap();
    let mut tensors = files.tensors;
    tensors.remove("score.weight");
    let error = RewardModel::new(files.config, tensors).unwrap_err().to_string();
    assert!(error.contains("llama reward model") && error.ends_with("1 missing tensor: score.weight"), "{error}");
}

#[test]
fn texts_that_a_reward_model_can_not_read_are_named() {
    let model = reward("llama");
    for (text, says) in
        [(vec![], "at least one token"), (vec![3; 65], "at most the 64"), (vec![3, 96], "vocabulary of 96")]
    {
        let message = model.score(&[text]).unwrap_err().to_string();
        assert!(message.contains(says), "`{message}` does not say {says}");
    }
}

#[test]
fn pictures_are_rewarded_as_in_transformers() {
    let expected = read("clip/expected.json");
    let requests: Vec<String> = serde_json::from_value(expected["requests"].clone()).unwrap();
    let model = load_clip_score(&golden("clip"), &Device::Cpu).unwrap();
    let size = model.image_size();
    for (i, bytes) in expected["images"].as_array().unwrap().iter().enumerate() {
        let image = pixels(size, size, bytes).clip_square(size);
        let pictures: Vec<(&str, &[f32])> =
            requests.iter().map(|request| (request.as_str(), &image.values()[..])).collect();
        check_close(&format!("picture {i}"), &model.score(&pictures).unwrap(), &numbers(&expected["rewards"][i]));
    }
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    assert_eq!(model.n_truncated(&requests).unwrap(), 2);
    assert!(model.score(&[("a red circle", &[0.0; 12])]).unwrap_err().to_string().contains("3072"));
}

#[test]
fn what_old_files_say_twice_is_believed_as_transformers_does() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden("clip")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let score = || {
        let model = load_clip_score(folder.path(), &Device::Cpu).unwrap();
        let size = model.image_size();
        model
            .score(&[("a red circle", &pixels(size, size, &read("clip/expected.json")["images"][0]).values()[..])])
            .unwrap()
    };
    let expected = score();
    let mut config = read("clip/config.json");
    for half in ["text_config", "vision_config"] {
        config[format!("{half}_dict")] = config[half].take();
        config[half] = serde_json::json!({ "hidden_act": "gelu", "hidden_size": 8 });
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    assert_eq!(score(), expected);
}

#[test]
fn pictures_are_scaled_as_pil_scales_them() {
    let expected = read("pictures.json");
    let size = expected["size"].as_u64().unwrap() as usize;
    for case in expected["pictures"].as_array().unwrap() {
        let [height, width] = ["height", "width"].map(|side| case[side].as_u64().unwrap() as usize);
        let found = pixels(height, width, &case["bytes"]).clip_square(size);
        let square = pixels(size, size, &case["square"]);
        let off = |(found, expected): (&f32, &f32)| ((found - expected) * 127.5).abs().round() as usize;
        assert_eq!(found.values().len(), square.values().len());
        let off = found.values().iter().zip(square.values().iter()).map(off).max();
        assert_eq!(off, Some(0), "{height} x {width}");
    }
}

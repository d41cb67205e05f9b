//! Models that are broken: the file and the tensor are named.
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::{MODEL, Scene, training};

type Weights = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A tiny model whose configuration and weights transformers made.
fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/causal/llama_tied").join(name)).unwrap()
}

/// A scene with the tiny model in `m`, its configuration and weights changed.
fn with_model(config: impl Fn(&mut serde_json::Value), weights: impl Fn(&mut Weights)) -> Scene {
    let scene = Scene::new();
    let mut json: serde_json::Value = serde_json::from_slice(&golden("config.json")).unwrap();
    config(&mut json);
    scene.write("m/config.json", json.to_string());
    let bytes = golden("model.safetensors");
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let own = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut tensors: Weights = stored.tensors().into_iter().map(|(name, view)| (name, own(view))).collect();
    weights(&mut tensors);
    let views: Vec<(&String, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()))
        .collect();
    scene.write("m/model.safetensors", serialize(views, None).unwrap());
    scene
}

/// Asserts that every verb that loads a model refuses `m`.
fn check(scene: &Scene, says: &[&str]) {
    scene.refused(&training("new", "--model m"), 1, says);
    scene.refused("inspect m", 1, says);
    assert!(!scene.path("new").exists());
}

const NORM: &str = "model.norm.weight";

#[test]
fn the_tiny_model_is_whole_but_for_a_tokenizer() {
    let scene = with_model(|_| (), |_| ());
    scene.done("inspect m");
    scene.refused(&training("new", "--model m"), 1, &["m: no tokenizer.json"]);
    scene.refused("score --model m --data pairs.jsonl", 1, &["no tokenizer.json"]);
    scene.refused("sample --model m", 1, &["no tokenizer.json"]);
}

#[test]
fn tensors_that_are_missing_unknown_misshapen_or_not_finite() {
    check(&with_model(|_| (), |w| drop(w.remove(NORM))), &["m/model.safetensors", "missing", NORM]);
    let more = |w: &mut Weights| drop(w.insert("model.extra.weight".into(), w[NORM].clone()));
    check(&with_model(|_| (), more), &["m/model.safetensors", "unknown", "model.extra.weight"]);
    let shorter = |w: &mut Weights| {
        let norm = w.get_mut(NORM).unwrap();
        norm.1[0] -= 1;
        norm.2.truncate(norm.2.len() - 4);
    };
    check(&with_model(|_| (), shorter), &["m/model.safetensors", "misshapen", NORM]);
    for bad in [f32::NAN, f32::INFINITY] {
        let bad = |w: &mut Weights| w.get_mut(NORM).unwrap().2[4..8].copy_from_slice(&bad.to_le_bytes());
        check(&with_model(|_| (), bad), &["m/model.safetensors", NORM]);
    }
    let integers = |w: &mut Weights| w.get_mut(NORM).unwrap().0 = Dtype::I32;
    check(&with_model(|_| (), integers), &["m/model.safetensors", NORM, "I32"]);
}

#[test]
fn configurations_that_make_no_sense() {
    let scene = with_model(|c| c["model_type"] = "mamba".into(), |_| ());
    check(&scene, &["m/config.json", "`mamba`", "supported: "]);
    check(&with_model(|c| c["num_hidden_layers"] = 1_000_000_000.into(), |_| ()), &["m/", "layers"]);
    check(&with_model(|c| c["hidden_size"] = (-4).into(), |_| ()), &["m/config.json", "hidden_size"]);
    check(&with_model(|c| c["num_attention_heads"] = 0.into(), |_| ()), &["m/config.json", "num_attention_heads"]);
    let scene = with_model(|c| drop(c.as_object_mut().unwrap().remove("hidden_size")), |_| ());
    check(&scene, &["m/config.json", "hidden_size"]);
    scene.write("m/config.json", "{\n  \"model_type\": \"llama\",\n  \"hidden_size\": }");
    check(&scene, &["m/config.json:3", "broken JSON"]);
    scene.write("m/config.json", "[]");
    check(&scene, &["m/config.json"]);
}

#[test]
fn safetensors_files_that_are_damaged() {
    let scene = with_model(|_| (), |_| ());
    let whole = scene.bytes("m/model.safetensors");
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 5, 8, 8 + header / 2, 8 + header, whole.len() - 1] {
        scene.write("m/model.safetensors", &whole[..length]);
        check(&scene, &["m/model.safetensors"]);
    }
    for claim in [u64::MAX, 1 << 40, whole.len() as u64, 3] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        scene.write("m/model.safetensors", bytes);
        check(&scene, &["m/model.safetensors"]);
    }
    scene.write("m/model.safetensors", [whole.as_slice(), b"more"].concat());
    check(&scene, &["m/model.safetensors", "4 bytes"]);
    scene.write("m/model.safetensors", b"PK\x03\x04 a pickle in a zip archive");
    check(&scene, &["m/model.safetensors"]);
    std::fs::remove_file(scene.path("m/model.safetensors")).unwrap();
    check(&scene, &["m", "no weights"]);
}

#[test]
fn things_that_are_no_model() {
    let scene = Scene::new();
    scene.write("empty.gguf", "");
    scene.write("garbage.gguf", "GGUF but then nothing of the kind");
    scene.write("short.bin", [7, 0, 0, 0]);
    scene.write("pickle.bin", b"PK\x03\x04 archive");
    scene.write("folder/notes.txt", "x");
    scene.write("tokens/tokenizer.json", "{");
    for name in ["empty.gguf", "garbage.gguf", "short.bin", "pickle.bin", "folder", "tokens", "pairs.jsonl", "nowhere"]
    {
        scene.refused(&training("new", &format!("--model {name}")), 1, &[name]);
        assert!(!scene.path("new").exists());
    }
    let with_reference = |name: &str| training("new", &format!("--reference {name}"));
    scene.refused(&with_reference("nowhere"), 1, &["nowhere"]);
    let tiny = with_model(|_| (), |_| ());
    tiny.refused(&training("new", "--reference m"), 1, &["vocabulary"]);
    assert!(!tiny.path("new").exists());
}

#[test]
fn tokenizers_that_are_broken() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 1"));
    let whole = scene.bytes("run/model/tokenizer.json");
    for content in [b"{\"version\":".to_vec(), b"{}".to_vec(), whole[..whole.len() / 2].to_vec()] {
        scene.write("run/model/tokenizer.json", content);
        scene.refused(&training("new", "--model run/model"), 1, &["tokenizer.json"]);
    }
    scene.write("run/model/tokenizer.json", whole);
    scene.write("run/model/tokenizer_config.json", "{\n\"eos_token\": }");
    scene.refused(&training("new", "--model run/model"), 1, &["tokenizer_config.json:2"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn adapters_that_do_not_fit() {
    let scene = Scene::new();
    scene.done(&training("run", "--lora-rank 2 --max-steps 1"));
    let score = |model: &str| format!("score --data pairs.jsonl --model {model}");
    scene.refused(&score(&format!("{MODEL}+nowhere")), 1, &["nowhere"]);
    let whole = scene.bytes("run/model/adapter_model.safetensors");
    scene.write("run/model/adapter_model.safetensors", &whole[..whole.len() / 2]);
    scene.refused(&score(&format!("{MODEL}+run/model")), 1, &["adapter_model.safetensors"]);
    scene.write("run/model/adapter_model.safetensors", whole);
    scene.write("run/model/adapter_config.json", "{");
    scene.refused(&score("run"), 1, &["adapter_config.json:1"]);
}

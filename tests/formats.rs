//! Models that transformers, peft and gguf wrote, against the numbers they hold (`golden/formats.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use models::formats::{ModelFiles, SaveOptions, load, save_huggingface};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats").join(name)
}

fn read(path: &Path) -> ModelFiles {
    load(path, &Device::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

/// Compares numbers that are equal but for the order of sums.
fn assert_close(what: &str, found: f64, expected: f64, scale: f64) {
    assert!((found - expected).abs() <= 2e-6 * scale.max(1.0), "{what}: found {found}, expected {expected}");
}

fn check_tensor(name: &str, tensor: &Tensor, expected: &Value) {
    let shape: Vec<usize> =
        expected["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    assert_eq!(tensor.dims(), shape, "{name}");
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let first = expected["first"].as_array().unwrap();
    assert!(!first.is_empty() && first.len() <= values.len(), "{name}");
    for (found, expected) in values.iter().zip(first) {
        assert_close(name, f64::from(*found), number(expected), 0.1);
    }
    assert_close(name, f64::from(*values.last().unwrap()), number(&expected["last"]), 0.1);
    let scale = values.iter().map(|v| f64::from(v.abs())).sum::<f64>();
    assert_close(name, scale, number(&expected["absolute_sum"]), scale);
    let weighted = values.iter().enumerate().map(|(i, v)| f64::from(*v) * ((i % 97) as f64 - 48.0)).sum();
    assert_close(name, weighted, number(&expected["weighted_sum"]), scale * 48.0);
}

/// Loads a golden model and compares every tensor.
fn check(path: &str, expected: &str) {
    let all: Value = serde_json::from_str(include_str!("golden/formats/expected.json")).unwrap();
    let expected: BTreeMap<String, Value> = serde_json::from_value(all[expected].clone()).unwrap();
    let files = read(&golden(path));
    let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(names(files.tensors.keys().collect()), names(expected.keys().collect()));
    for (name, expected) in &expected {
        check_tensor(name, &files.tensors[name], expected);
    }
}

#[test]
fn hugging_face_folders_hold_what_transformers_wrote() {
    check("llama-bf16-sharded", "llama-bf16-sharded");
    check("gpt2-f16", "gpt2-f16");
}

#[test]
fn adapters_merge_as_peft_merges_them() {
    // Ranks and alphas by pattern, scaling by the root of the rank, a head saved whole.
    let llama = format!("llama-base+{}", golden("llama-adapter").display());
    check(&llama, "llama-adapter");
    // Weights stored [in, out].
    let gpt2 = format!("gpt2-base+{}", golden("gpt2-adapter").display());
    check(&gpt2, "gpt2-adapter");
    // Tied bases: factors for both ends, each with its own strength; an embedding saved whole.
    for name in ["tied-llama", "tied-gpt2"] {
        let path = format!("{name}-base+{}", golden(&format!("{name}-adapter")).display());
        check(&path, &format!("{name}-adapter"));
    }
}

#[test]
fn quantised_blocks_hold_what_gguf_says() {
    check("llama-mixed.gguf", "llama-mixed.gguf");
}

#[test]
fn gguf_tensors_go_back_to_their_hugging_face_places() {
    check("gptneox.gguf", "gptneox.gguf");
    check("gpt2.gguf", "gpt2.gguf");
    check("qwen2.gguf", "qwen2.gguf");
}

#[test]
fn a_gguf_file_brings_its_tokenizer() {
    let files = read(&golden("llama-mixed.gguf"));
    let tokenizer = files.tokenizer().unwrap();
    // The 256 bytes, then ` t`, `he`, ` the`, `12`, `<|end|>`, `<|start|>`; SmolLM's splitting keeps digits apart.
    assert_eq!(tokenizer.encode(" the 12").unwrap(), [258, 32, 49, 50]);
    assert_eq!(tokenizer.encode("he<|end|>").unwrap(), [257, 260]);
    assert_eq!((tokenizer.eos.as_slice(), tokenizer.bos, tokenizer.prefix.len()), (&[260][..], Some(261), 0));
    assert_eq!(tokenizer.chat_template(false), Some("{{ messages }}"));
    assert_eq!(tokenizer.decode(&[258, 32, 49, 50, 260]).unwrap(), " the 12");
    let rotary = files.config.rotary.unwrap();
    assert_eq!((rotary.base, rotary.rotated, files.config.head_size, files.config.tied), (5e5, 32, 32, false));
}

#[test]
fn saving_what_was_loaded_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama-bf16-sharded", "gpt2-f16", "gptneox.gguf", "llama-mixed.gguf"] {
        let files = read(&golden(name));
        for (dtype, max_shard_bytes) in [(DType::F32, 10_000), (DType::F32, u64::MAX)] {
            let target = folder.path().join(name);
            let options = SaveOptions { dtype, max_shard_bytes };
            save_huggingface(&target, &files.config, &files.tensors, &files.extras, options).unwrap();
            let back = read(&target);
            assert_eq!(back.extras, files.extras, "{name}");
            assert_eq!(back.config.source["model_type"], files.config.source["model_type"], "{name}");
            for (tensor, values) in &files.tensors {
                let difference = (&back.tensors[tensor] - values).unwrap().abs().unwrap().sum_all().unwrap();
                assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0, "{name}: {tensor}");
            }
        }
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "only the folder itself is left after saving {name}");
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
}

//! Hugging Face folders: accepted ones, and the errors of refused ones.

use std::fs;
use std::path::Path;

use candle_core::Device;
use serde_json::{Value, json};

use super::super::{Extras, SaveOptions, load, save_huggingface};
use super::write::{folder, llama_config, llama_folder, llama_tensors, safetensors, with_header};
use super::{check_refused, read};

/// A folder whose weight file has this header and this many bytes of data.
fn with_weights(at: &Path, header: &str, data: usize) {
    folder(at, &llama_config(), &with_header(header, &vec![0; data]));
}

#[test]
fn names_may_lack_the_prefix_and_buffers_are_ignored() {
    let at = tempfile::tempdir().unwrap();
    let mut tensors: Vec<_> =
        llama_tensors().into_iter().map(|(name, shape)| (name.replacen("model.", "", 1), shape)).collect();
    tensors.push(("layers.0.self_attn.rotary_emb.inv_freq".to_owned(), vec![2]));
    // An output matrix equal to the embedding is tied.
    tensors.push(("lm_head.weight".to_owned(), vec![10, 8]));
    let path = folder(at.path(), &llama_config(), &safetensors(&tensors));
    let names: Vec<String> = read(&path).tensors.into_keys().collect();
    let mut expected: Vec<String> = llama_tensors().into_iter().map(|(name, _)| name).collect();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn tensors_that_do_not_fit_are_listed() {
    let at = tempfile::tempdir().unwrap();
    let mut tensors = llama_tensors();
    tensors[0].0 = "model.embedding.weight".to_owned();
    tensors[2].1 = vec![4, 16];
    let path = folder(at.path(), &llama_config(), &safetensors(&tensors));
    check_refused(
        &path,
        &[
            "model.safetensors",
            "1 missing tensor: model.embed_tokens.weight",
            "1 unknown tensor: model.embedding.weight",
            "q_proj.weight (expected [8, 8], found [4, 16])",
        ],
    );
}

#[test]
fn a_config_that_lies_about_its_size_is_refused_at_once() {
    let at = tempfile::tempdir().unwrap();
    let mut config = llama_config();
    config["num_hidden_layers"] = json!(4_000_000_000_u64);
    check_refused(&folder(at.path(), &config, &safetensors(&llama_tensors())), &["4000000000 layers"]);
    config["num_hidden_layers"] = json!(1);
    config["model_type"] = json!("mamba");
    check_refused(&folder(at.path(), &config, &safetensors(&llama_tensors())), &["config.json", "mamba", "gpt_neox"]);
    fs::write(at.path().join("config.json"), "{\n \"model_type\": llama }").unwrap();
    check_refused(at.path(), &["config.json:2:", "broken JSON"]);
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let at = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut weights = safetensors(&llama_tensors());
        let end = weights.len();
        weights[end - 4..].copy_from_slice(&bad.to_le_bytes());
        let path = folder(at.path(), &llama_config(), &weights);
        check_refused(&path, &["model.safetensors", "`model.norm.weight`", "element 7", "finite"]);
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path();
    folder(path, &llama_config(), &[]);
    check_refused(path, &["model.safetensors", "0 bytes"]);
    folder(path, &llama_config(), &[1, 2, 3]);
    check_refused(path, &["truncated"]);
    folder(path, &llama_config(), &[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    check_refused(path, &["claims 18446744073709551615 bytes"]);
    let entry = |begin: u64, end: u64| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{begin},{end}]}}"#);
    let table: [(String, usize, &[&str]); 9] = [
        (format!(r#"{{"a":{},"a":{}}}"#, entry(0, 8), entry(8, 16)), 16, &["`a`", "twice"]),
        (format!(r#"{{"a":{},"b":{}}}"#, entry(0, 8), entry(4, 12)), 12, &["`b`", "overlaps"]),
        (format!(r#"{{"a":{},"b":{}}}"#, entry(0, 8), entry(12, 20)), 20, &["`b`", "hole"]),
        (format!(r#"{{"a":{}}}"#, entry(8, 0)), 8, &["`a`", "before its start"]),
        (format!(r#"{{"a":{}}}"#, entry(0, 8)), 4, &["`a`", "truncated"]),
        (format!(r#"{{"a":{}}}"#, entry(0, 8)), 12, &["4 bytes after the last tensor"]),
        (format!(r#"{{"a":{}}}"#, entry(0, 12)), 12, &["`a`", "takes 8 bytes"]),
        (r#"{"a":{"dtype":"F7","shape":[2],"data_offsets":[0,8]}}"#.to_owned(), 8, &["`a`", "unknown type F7"]),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#.to_owned(),
            8,
            &["`a`", "beyond any file"],
        ),
    ];
    for (header, data, expected) in table {
        with_weights(path, &header, data);
        check_refused(path, expected);
    }
}

#[test]
fn a_folder_without_its_weights_says_what_is_missing() {
    let at = tempfile::tempdir().unwrap();
    let path = llama_folder(at.path());
    fs::rename(path.join("model.safetensors"), path.join("model-00001-of-00002.safetensors")).unwrap();
    check_refused(&path, &["model.safetensors.index.json", "model-00001-of-00002.safetensors"]);
    let index = path.join("model.safetensors.index.json");
    let map =
        json!({ "weight_map": { "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors" } });
    fs::write(&index, map.to_string()).unwrap();
    check_refused(&path, &["index.json", "not there: model-00002-of-00002.safetensors"]);
    fs::write(&index, json!({ "weight_map": { "a": "../secret.safetensors" } }).to_string()).unwrap();
    check_refused(&path, &["not a file name"]);
    fs::remove_file(&index).unwrap();
    fs::remove_file(path.join("model-00001-of-00002.safetensors")).unwrap();
    check_refused(&path, &["no weights"]);
    fs::write(path.join("pytorch_model.bin"), "PK").unwrap();
    check_refused(&path, &["pytorch_model.bin", "convert"]);
}

#[test]
fn unknown_paths_list_what_is_accepted() {
    let at = tempfile::tempdir().unwrap();
    check_refused(&at.path().join("nowhere"), &["not found", "GGUF".to_lowercase().as_str(), "Hugging Face"]);
    check_refused(at.path(), &["no config.json", "accepted"]);
    fs::write(at.path().join("notes.txt"), "hello, this is not a model").unwrap();
    check_refused(&at.path().join("notes.txt"), &["not a model", "accepted"]);
}

#[test]
fn a_run_folder_stands_for_its_model() {
    let at = tempfile::tempdir().unwrap();
    llama_folder(&at.path().join("model"));
    fs::write(at.path().join("config.toml"), "").unwrap();
    assert_eq!(read(at.path()).tensors.len(), llama_tensors().len());
}

#[test]
fn saving_replaces_the_whole_folder_and_keeps_the_config() {
    let at = tempfile::tempdir().unwrap();
    let mut config = llama_config();
    config["torch_dtype"] = json!("bfloat16");
    config["something_of_its_own"] = json!([1, 2]);
    let files = read(&folder(&at.path().join("in"), &config, &safetensors(&llama_tensors())));
    let out = at.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("left over"), "").unwrap();
    let mut extras = Extras::default();
    extras.insert("merges.txt", b"\xFFnot text".to_vec());
    save_huggingface(&out, &files.config, &files.tensors, &extras, SaveOptions::default()).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "merges.txt", "model.safetensors"]);
    let written: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["torch_dtype"], "float32");
    assert_eq!(written["something_of_its_own"], json!([1, 2]));
    assert_eq!(read(&out).extras, extras);
    // A failed save keeps the existing folder.
    let mut broken = files.tensors.clone();
    broken.pop_first();
    save_huggingface(&out, &files.config, &broken, &extras, SaveOptions::default()).unwrap_err();
    assert_eq!(read(&out).tensors.len(), files.tensors.len());
    assert_eq!(fs::read_dir(at.path()).unwrap().count(), 2, "nothing half-written is left");
}

#[test]
fn a_missing_tokenizer_matters_only_when_it_is_asked_for() {
    let at = tempfile::tempdir().unwrap();
    let files = load(&llama_folder(at.path()), &Device::Cpu).unwrap();
    assert_eq!(files.eos(), [2]);
    let message = files.tokenizer().unwrap_err().to_string();
    assert!(message.contains("no tokenizer.json"), "{message}");
}

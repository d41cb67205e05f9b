//! Every truncated file and every damaged header byte gives an error or is harmless, and never panics.

use std::fs;
use std::path::Path;

use candle_core::Device;

use super::super::{load, load_peft};
use super::write::{Meta, gguf, llama_config, llama_folder, llama_tensors, llama2c, llama2c_tokenizer, safetensors};
use crate::causal::CausalConfig;

/// Loads `model` with `file` truncated at many lengths, which must all fail, and with each of its first `header` bytes
/// changed, which must not panic.
fn torture(model: &Path, file: &Path, header: usize) {
    let sound = fs::read(file).unwrap();
    load(model, &Device::Cpu).unwrap();
    let header = header.min(sound.len());
    let mut lengths: Vec<usize> = (0..header.min(64)).collect();
    lengths.extend((64..header).step_by(5));
    lengths.extend((header..sound.len()).step_by(61));
    lengths.push(sound.len() - 1);
    for length in lengths {
        fs::write(file, &sound[..length]).unwrap();
        assert!(load(model, &Device::Cpu).is_err(), "{} cut to {length} bytes is accepted", file.display());
    }
    for at in 0..header {
        let mut damaged = sound.clone();
        damaged[at] ^= [0x01, 0x80, 0xFF][at % 3];
        fs::write(file, &damaged).unwrap();
        // Some changes are harmless, as in a comment; none may panic.
        let _ = load(model, &Device::Cpu);
    }
    fs::write(file, &sound).unwrap();
}

#[test]
fn safetensors_files() {
    let folder = tempfile::tempdir().unwrap();
    let model = llama_folder(folder.path());
    let bytes = safetensors(&llama_tensors());
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    torture(&model, &model.join("model.safetensors"), header);
}

#[test]
fn config_json_files() {
    let folder = tempfile::tempdir().unwrap();
    let model = llama_folder(folder.path());
    torture(&model, &model.join("config.json"), llama_config().to_string().len());
}

#[test]
fn gguf_with_its_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let pieces: Vec<String> = ["<end>", "a", "b", "ab", "c"].map(str::to_owned).to_vec();
    let bytes = gguf(&[
        ("tokenizer.ggml.model", Meta::Text("gpt2")),
        ("tokenizer.ggml.pre", Meta::Text("gpt-2")),
        ("tokenizer.ggml.tokens", Meta::Texts(pieces)),
        ("tokenizer.ggml.token_type", Meta::Numbers(vec![3, 1, 1, 1, 1])),
        ("tokenizer.ggml.merges", Meta::Texts(vec!["a b".to_owned()])),
        ("tokenizer.ggml.eos_token_id", Meta::Number(0)),
    ]);
    fs::write(&path, &bytes).unwrap();
    // All before the data, which takes 2,528 bytes.
    let data = (10 * 8 + 3 * 8 + 2 * 64 + 2 * 32 + 3 * 96) * 4;
    torture(&path, &path, bytes.len() - data);
}

#[test]
fn llama2c_and_its_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let (path, tokenizer) = (folder.path().join("model.bin"), folder.path().join("tok262.bin"));
    fs::write(&path, llama2c(true)).unwrap();
    fs::write(&tokenizer, llama2c_tokenizer()).unwrap();
    torture(&path, &path, 28);
    torture(&path, &tokenizer, 64);
    fs::write(&path, llama2c(false)).unwrap();
    torture(&path, &path, 28);
}

#[test]
fn peft_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let config = CausalConfig::from_json(llama_config()).unwrap();
    let name = "base_model.model.model.layers.0.self_attn.q_proj";
    let tensors = [(format!("{name}.lora_A.weight"), vec![2, 8]), (format!("{name}.lora_B.weight"), vec![8, 2])];
    let (settings, weights) = (r#"{"peft_type": "LORA", "r": 2}"#, safetensors(&tensors));
    let files = [("adapter_config.json", settings.as_bytes()), ("adapter_model.safetensors", weights.as_slice())];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let load = || load_peft(folder.path(), &config, &Device::Cpu);
    load().unwrap();
    for (name, sound) in files {
        let path = folder.path().join(name);
        for length in 0..sound.len() {
            fs::write(&path, &sound[..length]).unwrap();
            assert!(load().is_err(), "{name} cut to {length} bytes is accepted");
            let mut damaged = sound.to_vec();
            damaged[length] ^= 0x80;
            fs::write(&path, &damaged).unwrap();
            let _ = load();
        }
        fs::write(&path, sound).unwrap();
    }
}

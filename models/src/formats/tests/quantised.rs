//! GGUF matrices that stay in blocks, and adapters beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};
use engine::{Noise, noise};

use super::super::{Extras, Holding, ModelFiles, SaveOptions, load, load_held, merge_peft, save_peft};
use super::read;
use super::write::{gguf, llama_folder};
use crate::causal::CausalConfig;

/// A Llama with blocks of many formats, written by the `gguf` package.
fn mixed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/formats/llama-mixed.gguf")
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Random adapters of a model's linear layers.
fn adapters(config: &CausalConfig, extra: LoraExtra) -> (LoraConfig, BTreeMap<String, Tensor>) {
    let lora = LoraConfig { rank: 2, alpha: 3., rslora: false, targets: LoraTargets::AllLinear, extra };
    let mut tensors = BTreeMap::new();
    for layer in config.adaptable_layers() {
        let mut add = |end: &str, shape: &[usize]| {
            let name = format!("{}.{end}", layer.name);
            let rng = &mut Noise::new(3).stream(&name, 0);
            tensors.insert(name, noise::normal(rng, shape, 0.1, &Device::Cpu).unwrap());
        };
        add("lora_A.weight", &[2, layer.n_in]);
        add("lora_B.weight", &[layer.n_out, 2]);
        match extra {
            LoraExtra::None => {}
            LoraExtra::Bias => add("lora_B.bias", &[layer.n_out]),
            LoraExtra::Magnitude => add("lora_magnitude_vector", &[layer.n_out]),
        }
    }
    (lora, tensors)
}

fn save(folder: &Path, config: &CausalConfig, base: &str, extra: LoraExtra) -> BTreeMap<String, Tensor> {
    let (lora, tensors) = adapters(config, extra);
    save_peft(folder, config, base, &lora, &tensors, &Extras::default(), SaveOptions::default()).unwrap();
    tensors
}

#[test]
fn blocks_stand_for_the_numbers_that_are_read_without_them() {
    let (plain, held) = (read(&mixed()), load_held(&mixed(), &Device::Cpu, Holding::Quantised).unwrap());
    assert!(held.quantised.len() > 5 && held.tensors.len() + held.quantised.len() == plain.tensors.len());
    assert_eq!(held.n_parameters(), plain.n_parameters());
    for (name, matrix) in &held.quantised {
        let expected = &plain.tensors[name];
        assert_eq!(matrix.shape().to_vec(), expected.dims(), "{name}");
        assert_eq!(numbers(&matrix.to_tensor(&Device::Cpu).unwrap()), numbers(expected), "{name}");
    }
    let merged = held.merged().unwrap();
    assert!(plain.tensors.iter().all(|(name, tensor)| numbers(&merged.tensors[name]) == numbers(tensor)));
    // A file without blocks is read as always.
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("plain.gguf");
    fs::write(&path, gguf(&[])).unwrap();
    assert!(load_held(&path, &Device::Cpu, Holding::Quantised).unwrap().quantised.is_empty());
}

#[test]
fn adapters_stay_beside_blocks_and_merge_with_their_numbers() {
    let at = tempfile::tempdir().unwrap();
    let folder = at.path().join("adapter");
    let config = read(&mixed()).config;
    for extra in [LoraExtra::None, LoraExtra::Magnitude] {
        let tensors = save(&folder, &config, "base", extra);
        let path = PathBuf::from(format!("{}+{}", mixed().display(), folder.display()));
        let held = load_held(&path, &Device::Cpu, Holding::Quantised).unwrap();
        let beside = held.adapters.clone().unwrap();
        assert!(!held.quantised.is_empty() && beside.config.extra == extra && beside.tensors.len() == tensors.len());
        let (merged, plain): (ModelFiles, ModelFiles) = (held.merged().unwrap(), read(&path));
        assert!(plain.adapters.is_none());
        for (name, tensor) in &plain.tensors {
            let pairs: Vec<_> = numbers(tensor).into_iter().zip(numbers(&merged.tensors[name])).collect();
            assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
        }
    }
}

#[test]
fn a_bias_that_no_layer_can_take_stays_with_its_adapter() {
    let at = tempfile::tempdir().unwrap();
    let (base, folder) = (llama_folder(&at.path().join("base")), at.path().join("adapter"));
    let files = read(&base);
    save(&folder, &files.config, "base", LoraExtra::Bias);
    let path = PathBuf::from(format!("{}+{}", base.display(), folder.display()));
    let apart = load(&path, &Device::Cpu).unwrap();
    assert_eq!(apart.adapters.clone().unwrap().config.extra, LoraExtra::Bias);
    apart.clone().frozen().unwrap();
    let message = apart.merged().unwrap_err().to_string();
    assert!(message.contains("lora_bias"), "{message}");
    let lora = super::super::load_peft(&folder, &files.config, &Device::Cpu).unwrap();
    let message = merge_peft(&lora, &mut files.config.clone(), &mut files.tensors.clone()).unwrap_err().to_string();
    assert!(message.contains("lora_bias"), "{message}");
}

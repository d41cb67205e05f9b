//! Dropout rates in model configs. Training here never applies dropout; a run reports configured rates once, since
//! other trainers differ (TRL's preference trainers turn it off, its others do not).
use std::path::{Path, PathBuf};

use models::formats::split_adapter;
use serde_json::Value;

use crate::Reporter;

/// Names of dropout settings in config files.
const KEYS: &[&str] = &[
    "attention_dropout",
    "attn_pdrop",
    "attention_probs_dropout_prob",
    "resid_pdrop",
    "embd_pdrop",
    "hidden_dropout",
    "hidden_dropout_prob",
    "activation_dropout",
    "dropout",
    "lora_dropout",
];

/// The settings that are 0.1 by default in GPT-2's code.
const OF_GPT2: [&str; 3] = ["attn_pdrop", "resid_pdrop", "embd_pdrop"];

/// Reports the dropout rates that a model's config sets.
pub(crate) fn note(path: &Path, reporter: &dyn Reporter) {
    let shares = dropout_shares(path);
    if !shares.is_empty() {
        reporter.info(&format!(
            "no dropout is applied: {} asks for {}, and training here goes without",
            path.display(),
            shares.join(", ")
        ));
    }
}

/// Every rate above 0, as `name rate`.
fn dropout_shares(path: &Path) -> Vec<String> {
    let folders = match split_adapter(path).filter(|_| !path.exists()) {
        Some((base, adapter)) => vec![base, adapter],
        None => vec![path.to_owned()],
    };
    folders.iter().map(|folder| of_run(folder)).flat_map(|folder| of_folder(&folder)).collect()
}

/// The model folder of a run folder; any other folder unchanged.
fn of_run(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    if folder.join("config.toml").is_file() && model.is_dir() { model } else { folder.to_owned() }
}

fn of_folder(folder: &Path) -> Vec<String> {
    let mut shares = Vec::new();
    for file in ["config.json", "adapter_config.json"] {
        // Unreadable files are refused by the model loader.
        let Some(config) = std::fs::read(folder.join(file)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
        else {
            continue;
        };
        shares.extend(KEYS.iter().filter_map(|key| Some(format!("{key} {}", share(&config, key)?))));
    }
    shares
}

fn share(config: &Value, key: &str) -> Option<f64> {
    let is_gpt2 = config["model_type"] == "gpt2" && OF_GPT2.contains(&key);
    let share = match &config[key] {
        Value::Null if is_gpt2 => Some(0.1),
        value => value.as_f64(),
    };
    share.filter(|share| *share > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(file: &str, content: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), content).unwrap();
        folder
    }

    #[test]
    fn every_share_above_zero_is_named() {
        let of = |file: &str, content: &str| dropout_shares(folder(file, content).path());
        let llama = r#"{"model_type": "llama", "attention_dropout": 0.1, "hidden_dropout": 0.0, "dropout": null}"#;
        assert_eq!(of("config.json", llama), ["attention_dropout 0.1"]);
        assert_eq!(of("adapter_config.json", r#"{"r": 4, "lora_dropout": 0.05}"#), ["lora_dropout 0.05"]);
        assert_eq!(of("config.json", r#"{"model_type": "llama"}"#), [""; 0]);
        let gpt2 = r#"{"model_type": "gpt2", "resid_pdrop": 0, "embd_pdrop": 0.2}"#;
        assert_eq!(of("config.json", gpt2), ["attn_pdrop 0.1", "embd_pdrop 0.2"]);
        assert_eq!(of("other.json", "{}"), [""; 0]);
    }

    #[test]
    fn a_base_and_its_adapter_are_both_asked() {
        let base = folder("config.json", r#"{"attention_dropout": 0.1}"#);
        let adapter = folder("adapter_config.json", r#"{"lora_dropout": 0.2}"#);
        let name = format!("{}+{}", base.path().display(), adapter.path().display());
        assert_eq!(dropout_shares(Path::new(&name)), ["attention_dropout 0.1", "lora_dropout 0.2"]);
    }
}

//! The chat templates of a model's folder.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::formats::Extras;
use crate::formats::extras::ADDITIONAL_TEMPLATES;

/// Collects the templates by name; the one used unless another is selected is called `default`.
///
/// As in transformers, template files replace all templates of `tokenizer_config.json`, whatever their names.
pub(super) fn collect(extras: &Extras, settings: &Value) -> BTreeMap<String, String> {
    let in_files: BTreeMap<String, String> = extras.iter().filter_map(|(name, bytes)| in_file(name, bytes)).collect();
    if !in_files.is_empty() {
        return in_files;
    }
    match &settings["chat_template"] {
        Value::String(template) => BTreeMap::from([("default".to_owned(), template.clone())]),
        Value::Array(list) => list
            .iter()
            .filter_map(|entry| Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned())))
            .collect(),
        Value::Object(map) => {
            map.iter().filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn in_file(name: &str, bytes: &[u8]) -> Option<(String, String)> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    if name == "chat_template.jinja" {
        return Some(("default".to_owned(), text()));
    }
    let name = name.strip_prefix(ADDITIONAL_TEMPLATES)?.strip_prefix('/')?.strip_suffix(".jinja")?;
    Some((name.to_owned(), text()))
}

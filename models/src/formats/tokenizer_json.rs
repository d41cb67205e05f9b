//! `tokenizer.json`, checked for conditions under which the tokenizers crate panics.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::tokenizer_patterns;
use crate::ModelError;

/// Builds a tokenizer without truncation and padding; also returns its JSON.
///
/// # Errors
/// Broken JSON, an invalid tokenizer, a template that names an undefined token.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<(Tokenizer, Value), ModelError> {
    let error = |reason: String| ModelError::Tokenizer { path: path.to_path_buf(), reason };
    let value: Value = serde_json::from_slice(bytes).map_err(|e| ModelError::json(path, &e))?;
    check_merges(&value["model"]).map_err(error)?;
    check_templates(&value["post_processor"]).map_err(error)?;
    tokenizer_patterns::check(&value).map_err(error)?;
    if value["model"]["dropout"].as_f64().is_some_and(|dropout| dropout > 0.0) {
        let reason = "its merges are dropped at random (`dropout` of the model), so that texts have other tokens each time; \
                      set it to null";
        return Err(error(reason.to_owned()));
    }
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| error(e.to_string()))?;
    // Limits left from a training run would truncate texts silently.
    tokenizer.with_truncation(None).map_err(|e| error(e.to_string()))?;
    tokenizer.with_padding(None);
    Ok((tokenizer, value))
}

/// A merged piece must not be longer than the longest piece: the crate joins pieces in a buffer of that size.
fn check_merges(model: &Value) -> Result<(), String> {
    let longest = model["vocab"].as_object().and_then(|pieces| pieces.keys().map(String::len).max()).unwrap_or(0);
    let prefix = model["continuing_subword_prefix"].as_str().map_or(0, str::len);
    for merge in model["merges"].as_array().into_iter().flatten() {
        let halves = match merge {
            Value::String(line) => line.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        // The crate itself refuses entries that are no pair of pieces.
        let Some((first, second)) = halves else { continue };
        if second.get(prefix..).is_none_or(|rest| first.len() + rest.len() > longest) {
            return Err(format!("its merge of `{first}` and `{second}` makes no piece of its vocabulary"));
        }
    }
    Ok(())
}

/// A template's special tokens must be defined beside it, and a single template has one text.
fn check_templates(processor: &Value) -> Result<(), String> {
    for step in processor["processors"].as_array().into_iter().flatten() {
        check_templates(step)?;
    }
    if processor["type"] != "TemplateProcessing" {
        return Ok(());
    }
    for name in ["single", "pair"] {
        for piece in processor[name].as_array().into_iter().flatten() {
            if name == "single" && piece["Sequence"]["id"] == "B" {
                return Err("its post_processor puts a second text where there is one".to_owned());
            }
            let token = piece["SpecialToken"]["id"].as_str();
            if let Some(token) = token.filter(|token| processor["special_tokens"].get(token).is_none()) {
                return Err(format!(
                    "its post_processor names `{token}`, and special_tokens there does not say what it is"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(text: &str) -> String {
        parse(Path::new("tokenizer.json"), text.as_bytes()).unwrap_err().to_string()
    }

    fn with(processor: &Value) -> String {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "decoder": null, "post_processor": processor,
            "model": {"type": "WordLevel", "vocab": {"a": 0, "<s>": 1}, "unk_token": "a"},
        })
        .to_string()
    }

    fn template(single: &Value) -> Value {
        json!({
            "type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        })
    }

    #[test]
    fn templates_name_only_what_there_is() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let good = with(&template(&json!([token("<s>"), text])));
        let (tokenizer, _) = parse(Path::new("tokenizer.json"), good.as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("a", true).unwrap().get_ids(), [1, 0]);
        let unknown = template(&json!([token("</s>"), text]));
        let nested = json!({"type": "Sequence", "processors": [unknown]});
        for processor in [unknown, nested] {
            assert!(refusal(&with(&processor)).contains("names `</s>`"), "{processor}");
        }
        let second = template(&json!([text, {"Sequence": {"id": "B", "type_id": 0}}]));
        assert!(refusal(&with(&second)).contains("a second text"));
    }

    #[test]
    fn merges_make_pieces() {
        let model = |merges: &Value, prefix: &Value| {
            let vocabulary = json!({"a": 0, "b": 1, "ab": 2, "##b": 3, "##": 4});
            let model = json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": prefix,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": merges,
            });
            let mut value: Value = serde_json::from_str(&with(&Value::Null)).unwrap();
            value["model"] = model;
            value.to_string()
        };
        for (merges, prefix) in
            [(json!([["a", "b"]]), Value::Null), (json!(["a b"]), Value::Null), (json!([["a", "##b"]]), json!("##"))]
        {
            parse(Path::new("tokenizer.json"), model(&merges, &prefix).as_bytes()).unwrap();
        }
        let too_long = refusal(&model(&json!([["ab", "ab"]]), &Value::Null));
        assert!(too_long.contains("merge of `ab` and `ab`"), "{too_long}");
        let no_prefix = refusal(&model(&json!([["a", "b"]]), &json!("##")));
        assert!(no_prefix.contains("merge of `a` and `b`"), "{no_prefix}");
    }

    #[test]
    fn broken_json_within_a_decoder_is_an_error() {
        let whole = with(&Value::Null);
        let broken = whole.replace("\"decoder\":null", "\"decoder\":{\"type\":nope}");
        assert_ne!(broken, whole);
        assert!(refusal(&broken).contains("broken JSON"), "{}", refusal(&broken));
    }
}

//! Tokenizers: special tokens and templates in all their spellings, and how text is split.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::{Extras, ModelTokenizer};
use super::read;
use super::write::{Meta, gguf};

/// A tokenizer of words.
fn extras(files: &[(&str, Value)]) -> Extras {
    let added = json!([{ "id": 3, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true }]);
    let model = json!({ "type": "WordLevel", "unk_token": "?", "vocab": { "?": 0, "a": 1, "b": 2, "<end>": 3 } });
    let tokenizer = json!({ "version": "1.0", "truncation": { "direction": "Right", "max_length": 1,
        "strategy": "LongestFirst", "stride": 0 }, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null, "model": model });
    let mut extras = Extras::default();
    for (name, value) in [("tokenizer.json", tokenizer)].iter().chain(files) {
        let bytes = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        extras.insert(*name, bytes.into_bytes());
    }
    extras
}

fn build(files: &[(&str, Value)]) -> ModelTokenizer {
    ModelTokenizer::from_extras(Path::new("model"), &extras(files), &[7]).unwrap().unwrap()
}

#[test]
fn end_tokens_are_found_wherever_they_are() {
    let eos = |files: &[(&str, Value)]| build(files).eos;
    assert_eq!(eos(&[]), [7]);
    assert_eq!(eos(&[("generation_config.json", json!({ "eos_token_id": 2 }))]), [2]);
    let settings = ("tokenizer_config.json", json!({ "eos_token": "<end>" }));
    assert_eq!(eos(std::slice::from_ref(&settings)), [3]);
    // The tokenizer's own comes first: it is the one that ends a response.
    assert_eq!(eos(&[settings, ("generation_config.json", json!({ "eos_token_id": [2, 3] }))]), [3, 2]);
    let object =
        json!({ "eos_token": { "content": "<end>", "special": true }, "bos_token": "a", "add_bos_token": true });
    let tokenizer = build(&[("tokenizer_config.json", object)]);
    assert_eq!((tokenizer.eos, tokenizer.bos, tokenizer.add_bos), (vec![3], Some(1), true));
    assert_eq!(tokenizer.eos_token.as_deref(), Some("<end>"));
}

#[test]
fn an_unknown_end_token_is_an_error() {
    let files = extras(&[("tokenizer_config.json", json!({ "eos_token": "<stop>" }))]);
    let message = ModelTokenizer::from_extras(Path::new("model"), &files, &[]).unwrap_err().to_string();
    assert!(message.contains("eos_token `<stop>`"), "{message}");
    let files = extras(&[("tokenizer_config.json", json!("{ broken"))]);
    let message = ModelTokenizer::from_extras(Path::new("model"), &files, &[]).unwrap_err().to_string();
    assert!(message.contains("tokenizer_config.json:1:"), "{message}");
}

#[test]
fn stored_limits_do_not_cut_texts() {
    assert_eq!(build(&[]).encode("a b a").unwrap(), [1, 2, 1]);
}

#[test]
fn chat_templates_come_in_three_forms() {
    let template = |files: &[(&str, Value)]| build(files).chat_template;
    assert_eq!(template(&[]), None);
    let plain = ("tokenizer_config.json", json!({ "chat_template": "plain" }));
    assert_eq!(template(std::slice::from_ref(&plain)).as_deref(), Some("plain"));
    let named =
        json!({ "chat_template": [{ "name": "tool_use", "template": "t" }, { "name": "default", "template": "d" }] });
    let tokenizer = build(&[("tokenizer_config.json", named)]);
    assert_eq!((tokenizer.chat_template.as_deref(), tokenizer.chat_templates.len()), (Some("d"), 2));
    assert_eq!(template(&[plain, ("chat_template.jinja", json!("file"))]).as_deref(), Some("file"));
}

/// Encodes through a GGUF file whose tokenizer splits text in this way, and returns the pieces.
fn pieces(pre: &str, text: &str) -> Vec<String> {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.gguf");
    let list = |texts: &[&str]| Meta::Texts(texts.iter().map(|t| (*t).to_owned()).collect());
    let bytes = gguf(&[
        ("tokenizer.ggml.model", Meta::Text("gpt2")),
        ("tokenizer.ggml.pre", Meta::Text(pre)),
        ("tokenizer.ggml.tokens", list(&["1", "2", "12", "1212", "Ġ", "Ċ", "ĊĊ", "!", "!Ċ", "."])),
        ("tokenizer.ggml.merges", list(&["1 2", "12 12", "Ċ Ċ", "! Ċ"])),
    ]);
    fs::write(&path, bytes).unwrap();
    let files = read(&path);
    let tokenizer = files.tokenizer().unwrap();
    tokenizer.encode(text).unwrap().iter().map(|id| tokenizer.piece(*id).unwrap()).collect()
}

#[test]
fn each_way_of_splitting_keeps_its_own_digits_and_line_ends() {
    // GPT-2: runs of digits and of marks are words; line ends are apart from marks.
    assert_eq!(pieces("gpt-2", "1212!\n"), ["1212", "!", "Ċ"]);
    assert_eq!(pieces("olmo", "1212"), ["1212"]);
    // SmolLM: every digit is a word.
    assert_eq!(pieces("smollm", "1212!\n"), ["1", "2", "1", "2", "!", "Ċ"]);
    // Llama 3: three digits at a time, and line ends stay with the marks before them.
    assert_eq!(pieces("llama-bpe", "1212!\n"), ["12", "1", "2", "!Ċ"]);
    // Qwen2: every digit is a word, line ends as in Llama 3.
    assert_eq!(pieces("qwen2", "12!\n"), ["1", "2", "!Ċ"]);
}

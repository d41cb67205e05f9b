//! Tokenizers for a grammar: one token per word, and bytes for other text.

use serde_json::{Map, Value, json};

/// The token that ends a response; its id is 0.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The id of the first word: the end of the text and every byte come first.
pub(super) const FIRST_WORD: u32 = 1 + 256;

/// A byte-level tokenizer without merges, as the text of a `tokenizer.json`.
///
/// `pattern` splits a text into candidate tokens; every character must be part of a match. Each of `words`, written
/// with its leading space, is a token; other text falls back to bytes.
pub(super) fn tokenizer_json(pattern: &str, words: impl Iterator<Item = String>) -> String {
    let mut vocabulary = Map::new();
    let bytes = (0..=u8::MAX).map(|byte| byte_char(byte).to_string());
    let words = words.map(|word| word.bytes().map(byte_char).collect());
    for token in std::iter::once(END_OF_TEXT.to_owned()).chain(bytes).chain(words) {
        let next = vocabulary.len();
        vocabulary.entry(token).or_insert_with(|| next.into());
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let end_of_text = json!({
        "id": 0, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
        "vocab": Value::Object(vocabulary), "merges": []
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end_of_text], "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level.clone()]},
        "post_processor": null, "decoder": byte_level, "model": model
    })
    .to_string()
}

/// The printable character of a byte in byte-level vocabularies.
///
/// Printable Latin-1 stands for itself; the other 68 bytes take the characters from U+0100 on, in order.
fn byte_char(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !is_printable(other)).count();
    char::from_u32(0x100 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

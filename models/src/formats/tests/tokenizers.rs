//! Tokenizers: special tokens and templates in all their spellings, and pre-tokenisation.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::{Extras, ModelTokenizer};
use super::read;
use super::write::{Meta, gguf, gguf_qwen2};
use crate::causal::CausalConfig;

/// A word-level tokenizer.
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

/// A model whose class has EOS 2 and whose file has none.
fn config() -> CausalConfig {
    CausalConfig::from_json(json!({ "model_type": "llama", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 1, "intermediate_size": 4 }))
    .unwrap()
}

fn build(files: &[(&str, Value)]) -> ModelTokenizer {
    ModelTokenizer::from_extras(Path::new("model"), &extras(files), Some(&config())).unwrap().unwrap()
}

#[test]
fn end_tokens_are_found_wherever_they_are() {
    let eos = |files: &[(&str, Value)]| build(files).eos;
    assert_eq!(eos(&[]), [2]);
    assert_eq!(eos(&[("generation_config.json", json!({ "eos_token_id": 1 }))]), [1]);
    let settings = ("tokenizer_config.json", json!({ "eos_token": "<end>" }));
    assert_eq!(eos(std::slice::from_ref(&settings)), [3]);
    // The tokenizer's EOS comes first: it ends a response.
    assert_eq!(eos(&[settings, ("generation_config.json", json!({ "eos_token_id": [2, 3] }))]), [3, 2]);
    let object =
        json!({ "eos_token": { "content": "<end>", "special": true }, "bos_token": "a", "add_bos_token": true });
    let tokenizer = build(&[("tokenizer_config.json", object)]);
    // `add_bos_token` has no effect with a tokenizer.json: its post-processor decides.
    assert_eq!((tokenizer.eos, tokenizer.bos, tokenizer.prefix), (vec![3], Some(1), vec![]));
    assert_eq!(tokenizer.named_tokens["eos_token"], "<end>");
    // The model's own settings count too, last.
    let stated = CausalConfig::from_json({
        let mut source = config().source;
        source["eos_token_id"] = json!([5, 3]);
        source
    });
    let files = extras(&[("generation_config.json", json!({ "eos_token_id": 1 }))]);
    let tokenizer = ModelTokenizer::from_extras(Path::new("model"), &files, Some(&stated.unwrap())).unwrap().unwrap();
    assert_eq!(tokenizer.eos, [1, 5, 3]);
}

#[test]
fn older_folders_keep_their_special_tokens_in_a_map() {
    let settings = ("tokenizer_config.json", json!({ "eos_token": "<end>" }));
    let map = ("special_tokens_map.json", json!({ "eos_token": { "content": "b", "lstrip": false } }));
    assert_eq!(build(&[settings.clone(), map.clone()]).eos, [2]);
    // Settings that list added tokens are newer, and the map is ignored.
    let newer =
        json!({ "eos_token": "<end>", "added_tokens_decoder": { "3": { "content": "<end>", "special": true } } });
    assert_eq!(build(&[("tokenizer_config.json", newer), map]).eos, [3]);
}

#[test]
fn added_tokens_are_found_in_all_their_places() {
    let ids = |files: &[(&str, Value)]| build(files).encode("<end> <x> <y> <z>").unwrap();
    assert_eq!(ids(&[]), [3, 0, 0, 0, 0, 0, 0, 0, 0, 0], "words and marks are apart");
    let older = ("added_tokens.json", json!({ "<x>": 4 }));
    let extra = ("tokenizer_config.json", json!({ "additional_special_tokens": ["<y>"], "image_token": "<z>" }));
    let tokenizer = build(&[older, extra]);
    assert_eq!(tokenizer.encode("<end><x><z><y>").unwrap(), [3, 4, 5, 6]);
    assert_eq!(tokenizer.named_tokens["image_token"], "<z>");
    let split = json!({ "split_special_tokens": true });
    assert_eq!(build(&[("tokenizer_config.json", split)]).encode("<end>").unwrap(), [0, 0, 0]);
}

/// A tokenizer of letters and spaces, with or without a token `<x>` of these properties.
fn letters(stored: Option<Value>, settings: &Value, map: Option<Value>) -> [Vec<u32>; 2] {
    let mut vocabulary = json!({ " ": 0, "a": 1, "b": 2 });
    let added: Vec<Value> = stored.into_iter().map(|stored| token("<x>", 3, &stored)).collect();
    if !added.is_empty() {
        vocabulary["<x>"] = json!(3);
    }
    let file = json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] } });
    let map = map.map(|map| ("special_tokens_map.json", map));
    let files: Vec<_> =
        [("tokenizer.json", file), ("tokenizer_config.json", settings.clone())].into_iter().chain(map).collect();
    let tokenizer = build(&files);
    ["a <x> b", "a<x>b"].map(|text| tokenizer.encode(text).unwrap())
}

/// An entry of `tokenizer.json`'s added tokens.
fn token(content: &str, id: u32, properties: &Value) -> Value {
    let mut token = json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true });
    for (key, value) in properties.as_object().unwrap() {
        token[key.as_str()] = value.clone();
    }
    token
}

/// Every line as `AutoTokenizer` of transformers 5.23.0 (tokenizers 0.23.3) reads the same files.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_stored_token_is_found_as_it_is_stored_whatever_names_it() {
    let named = |properties: &[&str]| {
        let mut token = json!({ "__type": "AddedToken", "content": "<x>", "normalized": false });
        for property in properties {
            token[*property] = json!(true);
        }
        token
    };
    let both = json!({ "lstrip": true, "rstrip": true });
    for (stored, settings, spaced, joined) in [
        (Some(both), json!({ "pad_token": "<x>" }), vec![1, 3, 2], vec![1, 3, 2]),
        (Some(json!({ "rstrip": true })), json!({ "pad_token": named(&["lstrip"]) }), vec![1, 0, 3, 2], vec![1, 3, 2]),
        (
            Some(json!({ "single_word": true })),
            json!({ "additional_special_tokens": ["<x>"] }),
            vec![1, 0, 3, 0, 2],
            vec![1, 2],
        ),
        (
            Some(json!({ "rstrip": true })),
            json!({ "pad_token": named(&["rstrip"]), "added_tokens_decoder": { "3": token("<x>", 3, &json!({ "lstrip": true })) } }),
            vec![1, 3, 0, 2],
            vec![1, 3, 2],
        ),
        (None, json!({ "pad_token": named(&["lstrip", "rstrip"]) }), vec![1, 3, 2], vec![1, 3, 2]),
        // Two names for a token without a stored entry: the last one decides.
        (
            None,
            json!({ "pad_token": named(&["lstrip"]), "mask_token": named(&["rstrip"]) }),
            vec![1, 0, 3, 2],
            vec![1, 3, 2],
        ),
        (
            None,
            json!({ "pad_token": named(&["lstrip", "rstrip"]), "mask_token": "<x>" }),
            vec![1, 0, 3, 0, 2],
            vec![1, 3, 2],
        ),
        // A custom name is a token if it is declared as one.
        (None, json!({ "x_token": named(&["lstrip"]) }), vec![1, 3, 0, 2], vec![1, 3, 2]),
        (None, json!({ "x_token": { "content": "<x>", "lstrip": true } }), vec![1, 0, 0, 2], vec![1, 2]),
    ] {
        let name = format!("{stored:?} {settings}");
        assert_eq!(letters(stored, &settings, None), [spaced, joined], "{name}");
    }
    let map = |name: &str, properties: Value| Some(json!({ name: token("<x>", 3, &properties) }));
    let of = |stored, map| letters(stored, &json!({}), map)[0].clone();
    assert_eq!(of(None, map("pad_token", json!({ "lstrip": true }))), [1, 3, 0, 2]);
    assert_eq!(of(None, map("x_token", json!({ "rstrip": true }))), [1, 0, 3, 2]);
    let stored = json!({ "lstrip": true, "rstrip": true });
    assert_eq!(of(Some(stored), map("pad_token", json!({ "lstrip": false }))), [1, 3, 2]);
}

/// An adapter's folder has no `config.json`, and transformers 5.23 uses no other for the class.
#[test]
fn the_class_in_a_models_settings_says_nothing_of_an_adapters_tokenizer() {
    let mut source = config().source;
    source["tokenizer_class"] = json!("RobertaTokenizer");
    let config = CausalConfig::from_json(source).unwrap();
    let (folder, files) = (Path::new("model"), extras(&[]));
    let of_model = ModelTokenizer::from_extras(folder, &files, Some(&config)).unwrap().unwrap();
    assert!(of_model.notes[0].contains("RobertaTokenizer"), "{:?}", of_model.notes);
    let of_adapter = ModelTokenizer::of_its_own(folder, &files, Some(&config)).unwrap().unwrap();
    assert!(of_adapter.notes.is_empty(), "{:?}", of_adapter.notes);
}

#[test]
fn an_end_token_that_no_vocabulary_has_is_added() {
    let tokenizer = build(&[("tokenizer_config.json", json!({ "eos_token": "<stop>" }))]);
    assert_eq!((tokenizer.eos[0], tokenizer.n_tokens()), (4, 5));
    for (settings, says) in
        [(json!("{ broken"), "tokenizer_config.json:1:"), (json!({ "eos_token": 7 }), "`eos_token` is 7")]
    {
        let files = extras(&[("tokenizer_config.json", settings)]);
        let error = ModelTokenizer::from_extras(Path::new("model"), &files, None).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn the_post_processor_says_what_begins_a_text() {
    let mut files = extras(&[]);
    let mut file: Value = serde_json::from_slice(files.get("tokenizer.json").unwrap()).unwrap();
    file["post_processor"] = json!({ "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "<end>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
            { "SpecialToken": { "id": "b", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { "<end>": { "id": "<end>", "ids": [3], "tokens": ["<end>"] },
            "b": { "id": "b", "ids": [2], "tokens": ["b"] } } });
    files.insert("tokenizer.json", file.to_string().into_bytes());
    let tokenizer = ModelTokenizer::from_extras(Path::new("model"), &files, None).unwrap().unwrap();
    assert_eq!(tokenizer.prefix, [3]);
}

#[test]
fn saved_settings_stop_at_the_token_that_answers_end_with() {
    let tokenizer = build(&[("tokenizer_config.json", json!({ "eos_token": "<end>" }))]);
    let agreed = |eos: Value, generation: Option<Value>| {
        let mut config = config();
        config.source["eos_token_id"] = eos;
        let mut files = Extras::default();
        if let Some(generation) = generation {
            files.insert_json("generation_config.json", &generation);
        }
        tokenizer.agree(Path::new("model"), &mut config, &mut files).unwrap();
        let generation =
            files.get("generation_config.json").map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap());
        (config.source["eos_token_id"].clone(), generation.map(|generation| generation["eos_token_id"].clone()))
    };
    assert_eq!(agreed(json!([1, 3]), None), (json!([1, 3]), None));
    assert_eq!(agreed(json!(1), None), (json!(3), Some(json!([3, 1]))));
    assert_eq!(agreed(json!(1), Some(json!({ "eos_token_id": 2 }))), (json!(3), Some(json!([3, 2]))));
    assert_eq!(agreed(json!(3), Some(json!({ "eos_token_id": [2, 3] }))), (json!(3), Some(json!([2, 3]))));
}

#[test]
fn stored_limits_do_not_cut_texts() {
    assert_eq!(build(&[]).encode("a b a").unwrap(), [1, 2, 1]);
}

#[test]
fn chat_templates_come_in_three_forms() {
    let template = |files: &[(&str, Value)]| build(files).chat_template(false).map(str::to_owned);
    assert_eq!(template(&[]), None);
    let plain = ("tokenizer_config.json", json!({ "chat_template": "plain" }));
    assert_eq!(template(std::slice::from_ref(&plain)).as_deref(), Some("plain"));
    let named =
        json!({ "chat_template": [{ "name": "tool_use", "template": "t" }, { "name": "default", "template": "d" }] });
    let tokenizer = build(&[("tokenizer_config.json", named)]);
    assert_eq!((tokenizer.chat_template(false), tokenizer.chat_template(true)), (Some("d"), Some("t")));
    assert_eq!(
        template(&[("tokenizer_config.json", json!({ "chat_template": { "default": "m" } }))]).as_deref(),
        Some("m")
    );
    assert_eq!(template(&[plain.clone(), ("chat_template.jinja", json!("file"))]).as_deref(), Some("file"));
    let more = ("additional_chat_templates/tool_use.jinja", json!("tools"));
    let tokenizer = build(&[plain, ("chat_template.jinja", json!("file")), more]);
    assert_eq!((tokenizer.chat_template(false), tokenizer.chat_template(true)), (Some("file"), Some("tools")));
}

/// Encodes through a GGUF file with this pre-tokenisation, and returns the pieces. The file's setting applies to any
/// architecture.
fn pieces(pre: &str, text: &str) -> Vec<String> {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.gguf");
    let list = |texts: &[&str]| Meta::Texts(texts.iter().map(|t| (*t).to_owned()).collect());
    let entries = [
        ("tokenizer.ggml.model", Meta::Text("gpt2")),
        ("tokenizer.ggml.pre", Meta::Text(pre)),
        ("tokenizer.ggml.tokens", list(&["1", "2", "12", "1212", "Ċ", "!", "!Ċ", "a", "A", "aA"])),
        ("tokenizer.ggml.merges", list(&["1 2", "12 12", "! Ċ", "a A"])),
    ];
    let found = [gguf(&entries), gguf_qwen2(&entries)].map(|bytes| {
        fs::write(&path, bytes).unwrap();
        let files = read(&path);
        let tokenizer = files.tokenizer().unwrap();
        assert!(tokenizer.notes.is_empty(), "{:?}", tokenizer.notes);
        tokenizer.encode(text).unwrap().iter().map(|id| tokenizer.piece(*id).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(found[0], found[1], "{pre}");
    let [pieces, _] = found;
    pieces
}

#[test]
fn each_way_of_splitting_keeps_its_own_digits_and_line_ends() {
    // GPT-2: runs of digits and of punctuation are words; line ends are separate from punctuation.
    assert_eq!(pieces("gpt-2", "1212!\n"), ["1212", "!", "Ċ"]);
    assert_eq!(pieces("olmo", "1212"), ["1212"]);
    // SmolLM: every digit is a word.
    assert_eq!(pieces("smollm", "1212!\n"), ["1", "2", "1", "2", "!", "Ċ"]);
    // Llama 3: up to three digits per word, and line ends join the punctuation before them.
    assert_eq!(pieces("llama-bpe", "1212!\n"), ["12", "1", "2", "!Ċ"]);
    // Qwen2: every digit is a word, line ends as in Llama 3.
    assert_eq!(pieces("qwen2", "12!\n"), ["1", "2", "!Ċ"]);
    // Mistral Nemo and GPT-4o: a word ends where lower case is followed by upper case; one digit to a word, or three.
    assert_eq!(pieces("qwen2", "aA"), ["aA"]);
    assert_eq!(pieces("tekken", "aA12!\n"), ["a", "A", "1", "2", "!Ċ"]);
    assert_eq!(pieces("gpt-4o", "aA1212!\n"), ["a", "A", "12", "1", "2", "!Ċ"]);
}

/// As transformers 5.23 reads them: an object names tokens, and the list keeps its older name.
#[test]
fn an_object_of_special_tokens_leaves_the_list_to_its_older_name() {
    let ids = |settings: Value| build(&[("tokenizer_config.json", settings)]).encode("a <more>").unwrap().len();
    assert_eq!(ids(json!({ "additional_special_tokens": ["<more>"] })), 2);
    assert_eq!(ids(json!({ "additional_special_tokens": ["<more>"], "extra_special_tokens": {} })), 2);
    let both = json!({ "additional_special_tokens": ["<more>"], "extra_special_tokens": { "image_token": "<image>" } });
    assert_eq!(ids(both), 2);
    assert!(ids(json!({ "additional_special_tokens": ["<more>"], "extra_special_tokens": ["<image>"] })) > 2);
}

#[test]
fn merges_that_are_dropped_at_random_are_refused() {
    let bpe = json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": { "type": "BPE", "dropout": 0.1, "vocab": { "a": 0 }, "merges": [] } });
    let files = extras(&[("tokenizer.json", bpe)]);
    let error = ModelTokenizer::from_extras(Path::new("model"), &files, None).unwrap_err().to_string();
    assert!(error.contains("dropped at random"), "{error}");
}

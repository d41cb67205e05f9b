//! Embeddings and output matrices: tied, stored once, stored twice, adapted.

use std::fs;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::super::{ModelFiles, SaveOptions, save_huggingface};
use super::write::{folder, llama_config, llama_folder, llama_tensors, safetensors};
use super::{check_refused, read};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The tied model's file with additional tensors, and without its embedding if `alone`.
fn tied(at: &Path, more: &[&str], alone: bool) -> ModelFiles {
    let mut tensors: Vec<_> = llama_tensors().into_iter().filter(|(name, _)| !(alone && name == EMBEDDING)).collect();
    tensors.extend(more.iter().map(|name| ((*name).to_owned(), vec![10, 8])));
    read(&folder(at, &llama_config(), &safetensors(&tensors)))
}

/// Changes the first number of a stored tensor in place.
fn change_first_number(at: &Path, name: &str) {
    let path = at.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let begin = 8 + length + header[name]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[begin..begin + 4].copy_from_slice(&7_f32.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_head_of_its_own_is_used_whatever_the_configuration_says() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("in");
    // Equal matrices are tied.
    assert!(tied(&path, &[HEAD], false).config.tied);
    change_first_number(&path, HEAD);
    let files = read(&path);
    assert!(!files.config.tied);
    assert_eq!((values(&files.tensors[HEAD])[0], values(&files.tensors[EMBEDDING])[0]), (7.0, -0.3));
    // The saved config agrees with the saved tensors.
    let out = at.path().join("out");
    save_huggingface(&out, &files.config, &files.tensors, &files.extras, SaveOptions::default()).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["tie_word_embeddings"], false);
    assert_eq!(values(&read(&out).tensors[HEAD]), values(&files.tensors[HEAD]));
}

#[test]
fn a_tied_matrix_may_be_stored_under_the_heads_name() {
    let at = tempfile::tempdir().unwrap();
    let files = tied(at.path(), &[HEAD], true);
    assert!(files.config.tied && !files.tensors.contains_key(HEAD));
    assert_eq!(files.tensors[EMBEDDING].dims(), [10, 8]);
    let mut config = llama_config();
    config["tie_word_embeddings"] = json!(false);
    fs::write(at.path().join("config.json"), config.to_string()).unwrap();
    check_refused(at.path(), &["1 missing tensor: model.embed_tokens.weight"]);
}

#[test]
fn quantised_weights_are_called_so() {
    let at = tempfile::tempdir().unwrap();
    for part in ["qweight", "weight.absmax", "weight_packed"] {
        let mut tensors = llama_tensors();
        tensors.push((format!("model.layers.0.self_attn.q_proj.{part}"), vec![2]));
        check_refused(&folder(at.path(), &llama_config(), &safetensors(&tensors)), &[part, "quantised"]);
    }
}

/// The tied base with an adapter of these settings and tensors, under peft's names.
fn adapted(at: &Path, settings: &Value, tensors: &[(&str, [usize; 2])]) -> std::path::PathBuf {
    let (base, adapter) = (llama_folder(&at.join("base")), at.join("adapter"));
    let mut all = json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 2 });
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    fs::create_dir_all(&adapter).unwrap();
    fs::write(adapter.join("adapter_config.json"), all.to_string()).unwrap();
    let tensors: Vec<_> =
        tensors.iter().map(|(name, shape)| (format!("base_model.model.{name}"), shape.to_vec())).collect();
    fs::write(adapter.join("adapter_model.safetensors"), safetensors(&tensors)).unwrap();
    format!("{}+{}", base.display(), adapter.display()).into()
}

const LAYER: [(&str, [usize; 2]); 2] = [
    ("model.layers.0.self_attn.q_proj.lora_A.weight", [2, 8]),
    ("model.layers.0.self_attn.q_proj.lora_B.weight", [8, 2]),
];

/// Names of tensors and their shapes.
type Shapes<'a> = &'a [(&'static str, [usize; 2])];

#[test]
fn adapters_of_one_end_of_a_tied_model_leave_the_other_alone() {
    let at = tempfile::tempdir().unwrap();
    let base = values(&read(&llama_folder(&at.path().join("base"))).tensors[EMBEDDING]);
    let embedding = [("model.embed_tokens.lora_embedding_A", [2, 10]), ("model.embed_tokens.lora_embedding_B", [8, 2])];
    let head = [("lm_head.lora_A.weight", [2, 8]), ("lm_head.lora_B.weight", [10, 2])];
    let both: Vec<_> = embedding.iter().chain(&head).copied().collect();
    let whole = [("model.embed_tokens.weight", [10, 8])];
    let table: [(Value, Shapes<'_>, [bool; 2]); 4] = [
        (json!({ "target_modules": ["embed_tokens"] }), &embedding, [true, false]),
        (json!({ "target_modules": ["lm_head"] }), &head, [false, true]),
        (json!({ "target_modules": ["embed_tokens", "lm_head"] }), &both, [true, true]),
        // Factors on their own layer only: the base's weights are saved beside them by peft.
        (json!({ "target_modules": ["q_proj"] }), &whole, [false, false]),
    ];
    for (settings, tensors, changed) in table {
        let tensors: Vec<_> =
            if changed == [false; 2] { LAYER.iter().chain(tensors).copied().collect() } else { tensors.to_vec() };
        let files = read(&adapted(at.path(), &settings, &tensors));
        let head = if files.config.tied { EMBEDDING } else { HEAD };
        assert_eq!(files.config.tied, changed == [false; 2]);
        assert_eq!(files.config.source["tie_word_embeddings"], files.config.tied);
        let is_changed = [EMBEDDING, head].map(|name| values(&files.tensors[name]) != base);
        assert_eq!(is_changed, changed, "{settings}");
    }
}

#[test]
fn a_module_saved_whole_takes_the_place_of_one_end() {
    let at = tempfile::tempdir().unwrap();
    let settings = json!({ "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"] });
    let tensors: Vec<_> = LAYER.iter().copied().chain([("model.embed_tokens.weight", [10, 8])]).collect();
    let path = adapted(at.path(), &settings, &tensors);
    change_first_number(&llama_folder(&at.path().join("base")), EMBEDDING);
    let files = read(&path);
    assert_eq!((values(&files.tensors[EMBEDDING])[0], values(&files.tensors[HEAD])[0]), (-0.3, 7.0));
    // The same tensor as the base's own applies to both.
    let path = adapted(at.path(), &json!({ "target_modules": ["q_proj"] }), &tensors);
    change_first_number(&llama_folder(&at.path().join("base")), EMBEDDING);
    let files = read(&path);
    assert!(files.config.tied);
    assert_eq!(values(&files.tensors[EMBEDDING])[0], -0.3);
}

#[test]
fn weights_under_an_adapter_come_before_it() {
    let at = tempfile::tempdir().unwrap();
    let head = [("lm_head.lora_A.weight", [2, 8]), ("lm_head.lora_B.weight", [10, 2])];
    let settings = json!({ "target_modules": ["lm_head"] });
    let plain = read(&adapted(at.path(), &settings, &head));
    let more: Vec<_> = head.iter().copied().chain([("lm_head.base_layer.weight", [10, 8])]).collect();
    let with_base = read(&adapted(at.path(), &settings, &more));
    assert_eq!(values(&plain.tensors[HEAD]), values(&with_base.tensors[HEAD]));
    assert_ne!(values(&plain.tensors[HEAD]), values(&plain.tensors[EMBEDDING]));
}

#[test]
fn what_peft_would_do_otherwise_is_refused() {
    let at = tempfile::tempdir().unwrap();
    let head = [("lm_head.lora_A.weight", [2, 8]), ("lm_head.lora_B.weight", [10, 2])];
    let tying = json!({ "target_modules": ["lm_head"], "ensure_weight_tying": true });
    check_refused(&adapted(at.path(), &tying, &head), &["adapter_config.json", "ensure_weight_tying"]);
    // peft adapts the tied twin as well, which is no target.
    let embedding = json!({ "target_modules": ["embed_tokens"], "ensure_weight_tying": true });
    check_refused(&adapted(at.path(), &embedding, &head), &["adapter_config.json", "ensure_weight_tying"]);
    let other = json!({ "target_modules": ["q_proj"] });
    check_refused(&adapted(at.path(), &other, &head), &["lm_head", "target_modules", "leave it out"]);
    let twice: Vec<_> = LAYER.iter().copied().chain([("layers.0.self_attn.q_proj.lora_A.weight", [2, 8])]).collect();
    check_refused(&adapted(at.path(), &other, &twice), &["twice"]);
}

/// As `AutoPeftModelForCausalLM` of peft 0.21.2 loads the output of `resize_token_embeddings` and `save_pretrained`:
/// all rows are the adapter's. A fully trained module has all three names.
#[test]
fn adapters_with_new_tokens_bring_their_rows() {
    let at = tempfile::tempdir().unwrap();
    let (plain, whole) = (json!({ "target_modules": ["q_proj"] }), ["embed_tokens", "lm_head"]);
    let saved = json!({ "target_modules": ["q_proj"], "modules_to_save": whole });
    let ends = [("model.embed_tokens.weight", [12, 8]), ("lm_head.weight", [12, 8])];
    let more = [
        ("model.embed_tokens.modules_to_save.weight", [12, 8]),
        ("model.embed_tokens.original_module.weight", [12, 8]),
        ("lm_head.modules_to_save.weight", [12, 8]),
        ("lm_head.original_module.weight", [12, 8]),
    ];
    let all: Vec<_> = ends.iter().chain(&more).copied().collect();
    for (settings, tensors, tied) in [(&plain, &ends[..], true), (&saved, &all, false)] {
        let tensors: Vec<_> = LAYER.iter().chain(tensors).copied().collect();
        let files = read(&adapted(at.path(), settings, &tensors));
        assert_eq!((files.config.vocabulary, files.config.tied), (12, tied));
        assert_eq!(files.config.source["vocab_size"], 12);
        let head = if tied { EMBEDDING } else { HEAD };
        for name in [EMBEDDING, head] {
            let numbers = values(&files.tensors[name]);
            assert_eq!((numbers.len(), numbers[95]), (96, 95.0 * 0.01 - 0.3), "{name}");
        }
    }
    // The other matrix would have no data.
    let one: Vec<_> = LAYER.iter().copied().chain([more[0]]).collect();
    check_refused(
        &adapted(at.path(), &saved, &one),
        &["adapter_model.safetensors", "new tokens (12 where its base has 10)"],
    );
}

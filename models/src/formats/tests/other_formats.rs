//! GGUF, llama2.c and PEFT: accepted files, and the errors of refused ones.

use std::fs;

use candle_core::Device;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};
use serde_json::{Value, json};

use super::super::{Extras, SaveOptions, load_peft, merge_peft, save_peft};
use super::write::{Meta, gguf, gguf_gemma2, llama_config, llama_folder, llama2c, llama2c_tokenizer, safetensors};
use super::{check_refused, read};
use crate::causal::CausalConfig;

/// Metadata added to a valid file's, and the expected message.
type Case<'a> = (Vec<(&'a str, Meta<'a>)>, &'a [&'a str]);

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn gguf_variants_that_are_not_built_are_refused_by_name() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.gguf");
    let list = |texts: &[&str]| Meta::Texts(texts.iter().map(|t| (*t).to_owned()).collect());
    let pieces = || list(&["a", "b", "ab"]);
    let table: Vec<Case<'_>> = vec![
        (vec![("llama.expert_count", Meta::Number(8))], &["experts"]),
        (
            vec![("llama.rope.scaling.type", Meta::Text("longrope")), ("llama.rope.scaling.factor", Meta::Float(4.0))],
            &["longrope"],
        ),
        (vec![("general.alignment", Meta::Number(12))], &["alignment"]),
        (
            vec![("tokenizer.ggml.model", Meta::Text("bert")), ("tokenizer.ggml.tokens", pieces())],
            &["`bert`", "gpt2, llama"],
        ),
        (
            vec![
                ("tokenizer.ggml.model", Meta::Text("gpt2")),
                ("tokenizer.ggml.pre", Meta::Text("martian")),
                ("tokenizer.ggml.tokens", pieces()),
                ("tokenizer.ggml.merges", list(&["a b"])),
            ],
            &["`martian`", "smollm"],
        ),
        (
            vec![
                ("tokenizer.ggml.model", Meta::Text("gpt2")),
                ("tokenizer.ggml.tokens", pieces()),
                ("tokenizer.ggml.merges", list(&["a x"])),
            ],
            &["`a x`"],
        ),
        (
            vec![
                ("tokenizer.ggml.model", Meta::Text("llama")),
                ("tokenizer.ggml.tokens", pieces()),
                ("tokenizer.ggml.scores", Meta::Floats(vec![0.0])),
            ],
            &["scores", "3"],
        ),
        (
            vec![
                ("tokenizer.ggml.model", Meta::Text("llama")),
                ("tokenizer.ggml.tokens", pieces()),
                ("tokenizer.ggml.eos_token_id", Meta::Number(3)),
            ],
            &["scores"],
        ),
    ];
    for (extra, expected) in table {
        fs::write(&path, gguf(&extra)).unwrap();
        check_refused(&path, expected);
    }
    fs::write(&path, "GGUX").unwrap();
    check_refused(&path, &["not a GGUF file"]);
}

#[test]
fn gguf_rows_are_turned_and_settings_read() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.gguf");
    fs::write(
        &path,
        gguf(&[("llama.rope.freq_base", Meta::Float(5e4)), ("tokenizer.ggml.add_bos_token", Meta::Flag(true))]),
    )
    .unwrap();
    let files = read(&path);
    assert!(files.tokenizer.is_none() && files.config.tied);
    assert_eq!((files.config.norm_epsilon, files.config.rotary.unwrap().base), (1e-5, 5e4));
    // Row i begins with 0.08 i - 0.3; heads of four: rows 0 2 1 3.
    let query: Vec<f32> = files.tensors["model.layers.0.self_attn.q_proj.weight"]
        .to_vec2::<f32>()
        .unwrap()
        .iter()
        .map(|r| r[0])
        .collect();
    let row = |i: f32| i * 8.0 * 0.01 - 0.3;
    assert_eq!(query, [row(0.), row(2.), row(1.), row(3.), row(4.), row(6.), row(5.), row(7.)]);
}

#[test]
fn gguf_norms_of_gemma_hold_one_more_and_its_keys_are_read() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.gguf");
    let keys = [
        ("gemma2.attention.sliding_window", Meta::Number(5)),
        ("gemma2.attn_logit_softcapping", Meta::Float(20.0)),
        ("gemma2.final_logit_softcapping", Meta::Float(10.0)),
    ];
    fs::write(&path, gguf_gemma2(&keys)).unwrap();
    let files = read(&path);
    let norm: Vec<f32> = files.tensors["model.layers.0.post_feedforward_layernorm.weight"].to_vec1().unwrap();
    assert_eq!(norm[..2], [-0.3 - 1.0, (0.01 - 0.3) - 1.0]);
    let scales = files.config.scales;
    assert_eq!((scales.attention_cap, scales.logits.cap, scales.attention), (Some(20.0), Some(10.0), Some(0.5)));
    assert_eq!([0, 1].map(|layer| files.config.layers.at(layer).window), [Some(5), None]);
    // The keys of one family are not another's.
    fs::write(&path, gguf(&[("llama.attn_logit_softcapping", Meta::Float(20.0))])).unwrap();
    check_refused(&path, &["attn_logit_softcapping"]);
}

#[test]
fn llama2c_models_bring_their_head_and_their_tokenizer() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.bin");
    fs::write(&path, llama2c(false)).unwrap();
    let files = read(&path);
    assert!(files.tensors.contains_key("lm_head.weight") && files.tokenizer.is_none());
    assert_eq!(files.eos(), [2]);
    fs::write(at.path().join("tok262.bin"), llama2c_tokenizer()).unwrap();
    fs::write(&path, llama2c(true)).unwrap();
    let files = read(&path);
    assert!(!files.tensors.contains_key("lm_head.weight") && files.config.tied);
    let tokenizer = files.tokenizer().unwrap();
    // A space is prepended to the text; ` a` is one piece; `b` has none and is spelled in bytes, with an offset of
    // three.
    assert_eq!(tokenizer.encode("ab").unwrap(), [261, 101]);
    assert_eq!(tokenizer.encode("").unwrap(), [0_u32; 0]);
    assert_eq!(tokenizer.decode(&[1, 261, 101, 2]).unwrap(), "ab");
    assert_eq!(tokenizer.decode_bytes(&[1, 261, 3 + 0xFF]).unwrap(), b"a\xFF");
    fs::write(at.path().join("tok9.bin"), "").unwrap();
    check_refused(&path, &["Keep one beside it of", "tok262.bin", "tok9.bin"]);
}

#[test]
fn llama2c_files_must_be_as_long_as_they_say() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("model.bin");
    fs::write(&path, [llama2c(true), vec![0]].concat()).unwrap();
    check_refused(&path, &["bytes long"]);
    fs::write(&path, [0xFF; 28]).unwrap();
    check_refused(&path, &["aren't positive"]);
    fs::write(&path, [i32::MAX.to_le_bytes(); 7].concat()).unwrap();
    check_refused(&path, &["not a llama2.c model"]);
    fs::write(&path, b"PK\x03\x04 and so on, a zip archive").unwrap();
    check_refused(&path, &["pickle"]);
}

#[test]
fn adapters_come_back_as_they_were_saved() {
    let at = tempfile::tempdir().unwrap();
    let base = read(&llama_folder(&at.path().join("base")));
    let name = "model.layers.0.self_attn.q_proj";
    let ramp = |shape: &[usize]| {
        let n: usize = shape.iter().product();
        candle_core::Tensor::from_vec((0..n).map(|i| i as f32).collect(), shape, &Device::Cpu).unwrap()
    };
    let tensors = [(format!("{name}.lora_A.weight"), ramp(&[2, 8])), (format!("{name}.lora_B.weight"), ramp(&[8, 2]))];
    let lora =
        LoraConfig { rank: 2, alpha: 6.0, rslora: false, targets: LoraTargets::AllLinear, extra: LoraExtra::None };
    let folder = at.path().join("a+b");
    save_peft(&folder, &base.config, "somewhere", &lora, &tensors.into(), &Extras::default(), SaveOptions::default())
        .unwrap();
    let settings: Value = serde_json::from_slice(&fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(settings["target_modules"], json!(["q_proj"]));
    assert_eq!((&settings["r"], &settings["fan_in_fan_out"]), (&json!(2), &json!(false)));
    let adapter = load_peft(&folder, &base.config, &Device::Cpu).unwrap();
    assert_eq!((adapter.base.as_deref(), adapter.layers[name].scale), (Some("somewhere"), 3.0));
    let mut merged = base.tensors.clone();
    merge_peft(&adapter, &mut base.config.clone(), &mut merged).unwrap();
    let change = (&merged[&format!("{name}.weight")] - &base.tensors[&format!("{name}.weight")]).unwrap();
    // B's second row is (2, 3), A's first column (0, 8): 3 (2 x 0 + 3 x 8) = 72.
    assert!((change.to_vec2::<f32>().unwrap()[1][0] - 72.0).abs() < 1e-4);
    let both = at.path().join(format!("base+{}", folder.display()));
    let loaded = read(&both).tensors[&format!("{name}.weight")].to_vec2::<f32>().unwrap();
    assert_eq!(loaded, merged[&format!("{name}.weight")].to_vec2::<f32>().unwrap());
    check_refused(&folder, &["`somewhere`", "BASE+ADAPTER"]);
    check_refused(&at.path().join("base+base"), &["base", "adapter_config.json"]);
}

#[test]
fn adapters_of_other_kinds_are_refused_by_name() {
    let at = tempfile::tempdir().unwrap();
    let config = CausalConfig::from_json(llama_config()).unwrap();
    let name = "base_model.model.model.layers.0.self_attn.q_proj";
    let pair = |a: [usize; 2], b: [usize; 2]| {
        vec![(format!("{name}.lora_A.weight"), a.to_vec()), (format!("{name}.lora_B.weight"), b.to_vec())]
    };
    let good = || pair([2, 8], [8, 2]);
    let lonely = vec![(format!("{name}.lora_A.weight"), vec![2, 8])];
    let dora = |n| [good(), vec![(format!("{name}.lora_magnitude_vector"), vec![n])]].concat();
    let table = [
        (json!({ "peft_type": "IA3" }), good(), "IA3"),
        (json!({ "r": 2 }), good(), "peft_type"),
        (json!({ "peft_type": "LORA", "r": 2, "use_dora": true }), good(), "ask for a magnitude"),
        (json!({ "peft_type": "LORA", "r": 2, "lora_bias": true }), good(), "ask for a bias"),
        (json!({ "peft_type": "LORA", "r": 2, "lora_bias": true, "use_dora": true }), good(), "together"),
        (json!({ "peft_type": "LORA", "r": 2, "init_lora_weights": "pissa_niter_4" }), good(), "pissa"),
        (json!({ "peft_type": "LORA", "r": 2, "layer_replication": [[0, 1]] }), good(), "layer_replication"),
        (json!({ "peft_type": "LORA", "r": 2, "target_modules": "(" }), good(), "target_modules"),
        (json!({ "peft_type": "LORA", "r": -2 }), good(), "`r`"),
        (json!({ "peft_type": "LORA", "r": 2 }), dora(8), "it has a magnitude"),
        (json!({ "peft_type": "LORA", "r": 2, "use_dora": true }), dora(3), "its magnitude is [3]"),
        (json!({ "peft_type": "LORA", "r": 2 }), lonely, "one of lora_A and lora_B"),
        (json!({ "peft_type": "LORA", "r": 3 }), good(), "rank 3"),
        (json!({ "peft_type": "LORA", "r": 2 }), vec![], "no LoRA tensors"),
    ];
    for (settings, tensors, expected) in table {
        fs::write(at.path().join("adapter_config.json"), settings.to_string()).unwrap();
        fs::write(at.path().join("adapter_model.safetensors"), safetensors(&tensors)).unwrap();
        let message = load_peft(at.path(), &config, &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    }
}

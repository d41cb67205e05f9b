//! Encoders and tokenizers against transformers and diffusers (`tests/golden/companions.py` made the numbers).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use mdp::diffusion::{Condition, Framing};
use serde_json::Value;

use super::{ClipNormalisation, ClipScore, ClipTokenizer, T5Texts, TextConditioner, TextFeatures};
use crate::ModelError;
use crate::formats::{
    load_clip_score, load_clip_text, load_clip_tokenizer, load_clip_tokenizer_as, load_t5, load_t5_tokenizer,
};
use crate::tests::in_both_forms;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/companions").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(golden("expected.json")).unwrap()).unwrap()
}

fn tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden("expected.safetensors"), &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn ids(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn check_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(expected).fold(0f32, |worst, (f, e)| worst.max((f - e).abs()));
    assert!(worst <= 1e-4 * largest, "{what}: off by {worst} at a largest value of {largest}");
}

fn check_texts(what: &str, found: impl Iterator<Item = Vec<f32>>, expected: &Tensor) {
    let found: Vec<f32> = found.flatten().collect();
    check_close(what, &found, &numbers(expected));
}

#[test]
fn encoders_agree_with_transformers() {
    in_both_forms(check_encoders);
}

fn check_encoders() {
    let (expected, tensors) = (expected(), tensors());
    for name in ["sd/text_encoder", "sdxl/text_encoder", "sdxl/text_encoder_2"] {
        let encoder = load_clip_text(&golden(name), &Device::Cpu).unwrap();
        let outputs = encoder.encode(&ids(&expected["encoders"][name]["ids"])).unwrap();
        let tensor = |part: &str| &tensors[&format!("{name}.{part}")];
        check_texts(name, outputs.iter().map(|o| o.last.clone()), tensor("last"));
        check_texts(name, outputs.iter().map(|o| o.penultimate.clone()), tensor("penultimate"));
        match encoder.config().projection {
            None => check_texts(name, outputs.iter().map(|o| o.pooled.clone()), tensor("pooled")),
            Some(_) => {
                check_texts(name, outputs.iter().map(|o| o.projected.clone().unwrap()), tensor("projected"));
            }
        }
    }
}

#[test]
fn texts_of_other_lengths_change_nothing() {
    let encoder = load_clip_text(&golden("sd/text_encoder"), &Device::Cpu).unwrap();
    let texts: Vec<Vec<u32>> = (1..40).map(|n| (0..=n % 16).map(|i| (n * 31 + i * 7) as u32 % 604).collect()).collect();
    let together = encoder.encode(&texts).unwrap();
    assert_eq!(together.len(), texts.len());
    for (text, output) in texts.iter().zip(&together) {
        let alone = &encoder.encode(std::slice::from_ref(text)).unwrap()[0];
        check_close("alone and together", &alone.last, &output.last);
        check_close("alone and together", &alone.pooled, &output.pooled);
    }
}

#[test]
fn texts_that_do_not_fit_are_refused() {
    let encoder = load_clip_text(&golden("sd/text_encoder"), &Device::Cpu).unwrap();
    for (text, expected) in [(vec![], "at least one token"), (vec![5; 17], "got 17"), (vec![604], "vocabulary of 604")]
    {
        let message = encoder.encode(&[text]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn tokenizers_agree_with_transformers() {
    let expected = expected();
    let texts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for name in ["sd/tokenizer", "sdxl/tokenizer", "sdxl/tokenizer_2"] {
        let tokenized = load_clip_tokenizer(&golden(name)).unwrap().encode(&texts).unwrap();
        let golden = &expected["tokens"][name];
        assert_eq!((tokenized.ids.len(), &tokenized.ids), (texts.len(), &ids(&golden["ids"])), "{name}: {texts:?}");
        assert_eq!(tokenized.n_truncated() as u64, golden["truncated"].as_u64().unwrap(), "{name}");
    }
}

fn conditioner(folder: &str, parts: &[&str], reading: TextFeatures) -> TextConditioner {
    let load = |part: &&str| {
        let tokenizer = load_clip_tokenizer(&golden(&format!("{folder}/tokenizer{part}"))).unwrap();
        let encoder = load_clip_text(&golden(&format!("{folder}/text_encoder{part}")), &Device::Cpu).unwrap();
        (tokenizer, encoder)
    };
    TextConditioner::new(parts.iter().map(load).collect(), reading).unwrap()
}

fn hidden(condition: &Condition) -> Vec<f32> {
    condition.hidden.as_ref().unwrap().values.clone()
}

#[test]
fn prompts_become_what_pipelines_make_of_them() {
    in_both_forms(check_prompts);
}

fn check_prompts() {
    let (expected, tensors) = (expected(), tensors());
    let prompts: Vec<&str> =
        expected["prompts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let framing = Framing { original: (20, 30), crop: (2, 3), target: (16, 24) };
    let plain = conditioner("sd", &[""], TextFeatures::Last);
    let texts = plain.encode(&prompts, framing).unwrap();
    check_texts("sd", texts.conditions.iter().map(hidden), &tensors["sd.hidden"]);
    assert_eq!((texts.truncated, plain.width(), plain.pooled_width()), (2, 16, None));
    let none = plain.none(framing).unwrap();
    check_texts("sd, nothing", prompts.iter().map(|_| hidden(&none)), &tensors["sd.negative"]);

    let double = conditioner("sdxl", &["", "_2"], TextFeatures::Penultimate { zeros_for_none: true });
    let texts = double.encode(&prompts, framing).unwrap();
    check_texts("sdxl", texts.conditions.iter().map(hidden), &tensors["sdxl.hidden"]);
    check_texts("sdxl", texts.conditions.iter().map(|c| c.pooled.clone().unwrap()), &tensors["sdxl.pooled"]);
    assert_eq!(texts.conditions[0].time_ids, Some([20., 30., 2., 3., 16., 24.]));
    assert_eq!((double.width(), double.pooled_width()), (40, Some(12)));
    let none = double.none(framing).unwrap();
    check_texts("sdxl, nothing", prompts.iter().map(|_| hidden(&none)), &tensors["sdxl.negative"]);
    check_texts(
        "sdxl, nothing",
        prompts.iter().map(|_| none.pooled.clone().unwrap()),
        &tensors["sdxl.negative_pooled"],
    );
}

#[test]
fn prompts_of_stable_diffusion_3_are_joint_and_end_in_zeros() {
    let (expected, tensors) = (expected(), tensors());
    let prompts: Vec<&str> =
        expected["prompts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let joint = conditioner("sd3", &["", "_2"], TextFeatures::Joint { width: 44, more_rows: 256 });
    assert_eq!((joint.width(), joint.pooled_width()), (44, Some(28)));
    let framing = Framing::whole(16, 16);
    let texts = joint.encode(&prompts, framing).unwrap().conditions;
    let none = vec![joint.none(framing).unwrap(); prompts.len()];
    for (conditions, hidden_name, pooled_name) in
        [(&texts, "sd3.hidden", "sd3.pooled"), (&none, "sd3.negative", "sd3.negative_pooled")]
    {
        check_texts(hidden_name, conditions.iter().map(|c| hidden(c)[..16 * 44].to_vec()), &tensors[hidden_name]);
        check_texts(pooled_name, conditions.iter().map(|c| c.pooled.clone().unwrap()), &tensors[pooled_name]);
        for condition in conditions {
            let hidden = condition.hidden.as_ref().unwrap();
            assert_eq!((hidden.length, hidden.values.len()), (16 + 256, 272 * 44));
            assert!(hidden.values[16 * 44..].iter().all(|value| *value == 0.) && condition.time_ids.is_none());
        }
    }
}

#[test]
fn prompts_of_pixart_are_as_long_as_they_are() {
    let path = golden("../dit/prompts.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let prompts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let (tokenizer, encoder) = (golden("t5/tokenizer_3"), golden("t5/text_encoder_3"));
    let encoder = load_t5(&encoder, &Device::Cpu).unwrap();
    let texts = T5Texts::new(load_t5_tokenizer(&tokenizer).unwrap(), encoder, 120).unwrap();
    let texts = TextConditioner::of_encoder(texts).with_sizes();
    assert_eq!((texts.width(), texts.pooled_width(), texts.max_length()), (44, None, Some(120)));
    let encoded = texts.encode(&prompts, Framing::whole(16, 24)).unwrap();
    assert_eq!(
        (encoded.truncated, texts.longest(&prompts[..3]).unwrap()),
        (1, expected["lengths"][2].as_u64().map(|n| n as usize))
    );
    assert_eq!(texts.truncated(&prompts).unwrap(), [false, false, false, true]);
    for (index, condition) in encoded.conditions.iter().enumerate() {
        assert_eq!(condition.time_ids, Some([16., 24., 0., 0., 16., 24.]));
        let (found, length) = (condition.hidden.as_ref().unwrap(), expected["lengths"][index].as_u64().unwrap());
        assert_eq!(found.length as u64, length);
        let theirs: Vec<f32> = serde_json::from_value(expected["states"][index].clone()).unwrap();
        let ours = &found.values[found.values.len() - theirs.len()..];
        check_close(prompts[index], ours, &theirs);
    }
    assert_eq!(texts.none(Framing::whole(16, 24)).unwrap(), encoded.conditions[0]);
}

#[test]
fn equal_texts_share_one_condition() {
    let conditioner = conditioner("sd", &[""], TextFeatures::Last);
    let texts = conditioner.encode(&["a cat", "a dog", "a cat"], Framing::whole(8, 8)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&texts.conditions[0], &texts.conditions[2]));
    assert_ne!(texts.conditions[0], texts.conditions[1]);
}

fn words(folder: &Path, settings: &str) -> Result<ClipTokenizer, ModelError> {
    let model = r#"{"version": "1.0", "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "<pad>": 1, "red": 2, "circle": 3}}}"#;
    fs::write(folder.join("tokenizer.json"), model).unwrap();
    fs::write(folder.join("tokenizer_config.json"), settings).unwrap();
    load_clip_tokenizer(folder)
}

#[test]
fn whole_words_are_padded_only_with_a_padding_token() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["Red circle", "a red red circle circle"];
    let ragged = words(folder.path(), r#"{"model_max_length": 4}"#).unwrap().encode(&texts).unwrap();
    assert_eq!(ragged.ids, [vec![2, 3], vec![0, 2, 2, 3]]);
    assert_eq!(ragged.truncated, [false, true]);
    let padded = words(folder.path(), r#"{"model_max_length": 4, "pad_token": "<pad>"}"#).unwrap();
    assert_eq!(padded.encode(&texts).unwrap().ids, [[2, 3, 1, 1], [0, 2, 2, 3]]);
    let endless = words(folder.path(), r#"{"model_max_length": 1000000000000000019884624838656}"#).unwrap();
    assert_eq!(endless.max_length(), None);
    assert!(words(folder.path(), r#"{"pad_token": "<gap>"}"#).unwrap_err().to_string().contains("<gap>"));
    assert!(words(folder.path(), r#"{"model_max_length": 0}"#).unwrap_err().to_string().contains("no room"));
}

/// As `CLIPTokenizer` of transformers 5.23: in folders of older releases the map overrides the settings, tokens are
/// listed in several files, and the class's own padding and splitting replace those of `tokenizer.json`.
#[test]
fn every_file_of_a_text_encoders_tokenizer_counts() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["vocab.json", "merges.txt"] {
        fs::copy(golden("sd/tokenizer").join(name), folder.path().join(name)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let encode = |text: &str| {
        load_clip_tokenizer(folder.path()).map(|tokenizer| tokenizer.encode(&[text]).unwrap().ids.remove(0))
    };
    write("tokenizer_config.json", r#"{"model_max_length": 8, "pad_token": "<|endoftext|>"}"#);
    let plain = encode("a").unwrap();
    assert_eq!(plain[plain.len() - 1], plain[2]);
    write("special_tokens_map.json", r#"{"pad_token": "!"}"#);
    let filled = encode("a").unwrap();
    assert_eq!((&filled[..3], &filled[3..]), (&plain[..3], &[0; 5][..]));
    let size = load_clip_tokenizer(folder.path()).unwrap().n_tokens() as u32;
    write("added_tokens.json", &format!(r#"{{"<cat-toy>": {size}}}"#));
    assert_eq!(encode("a <cat-toy>").unwrap()[1..3], [plain[1], size]);
    write("tokenizer_config.json", r#"{"model_max_length": 8, "padding_side": "left", "truncation_side": "left"}"#);
    assert_eq!(encode("a").unwrap()[5..], plain[..3]);
    let long = encode("a a a a a a a <cat-toy>").unwrap();
    assert_eq!((long.len(), long[6]), (8, size));
    // The class's own padding and splitting.
    fs::remove_file(folder.path().join("special_tokens_map.json")).unwrap();
    write("tokenizer_config.json", r#"{"model_max_length": 8}"#);
    assert_eq!(encode("a").unwrap(), plain);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let merges: Vec<String> =
        read("merges.txt").lines().skip(1).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let vocabulary: serde_json::Value = serde_json::from_str(&read("vocab.json")).unwrap();
    let bare = serde_json::json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null, "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}});
    write("tokenizer.json", &bare.to_string());
    assert_eq!(encode("A").unwrap(), plain);
    // Another class that the files declare, and the class that a pipeline names anyway, as diffusers 0.42 loads it.
    write("tokenizer_config.json", r#"{"model_max_length": 8, "tokenizer_class": "PreTrainedTokenizerFast"}"#);
    let named = load_clip_tokenizer_as("CLIPTokenizer", folder.path()).unwrap();
    assert_eq!(named.encode(&["A"]).unwrap().ids[0], plain);
    assert!(encode("A").is_ok_and(|declared| declared != plain));
}

#[test]
fn a_reward_of_pictures_has_one_space_for_both_halves() {
    in_both_forms(check_reward_of_pictures);
}

fn check_reward_of_pictures() {
    let (rewards, cpu) = (golden("../rewards/clip"), Device::Cpu);
    let whole = load_clip_score(&rewards, &cpu).unwrap();
    let (text, words) =
        (load_clip_text(&golden("sd/text_encoder"), &cpu), load_clip_tokenizer(&golden("sd/tokenizer")));
    let made = ClipScore::new(words.unwrap(), text.unwrap(), whole.vision, ClipNormalisation::default(), 1.0);
    let error = made.unwrap_err().to_string();
    assert!(error.starts_with("the projection of the text encoder") && error.ends_with("got none"), "{error}");
}

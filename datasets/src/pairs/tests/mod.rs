//! Folders of pairs and their damage, judgements and theirs.
mod labels;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, json};
use tempfile::TempDir;

use super::*;
use crate::error::DatasetError;
use crate::images::Pixels;
use mdp::diffusion::LatentShape;

const SHAPE: LatentShape = LatentShape { channels: 2, height: 1, width: 3 };

fn settings() -> Map<String, serde_json::Value> {
    json!({"refiner": "tiny", "temperature": 0.7, "seed": 3}).as_object().unwrap().clone()
}

fn candidate<Y>(made: Y, refined: Option<&str>, seed: u64) -> GeneratedResult<Y> {
    let refined = refined.map(|text| Refined { text: text.to_owned(), tokens: vec![5, 0], is_null: false });
    GeneratedResult { refined, made, seed, log_probs: Some(vec![-0.1, -1.0 / 3.0]) }
}

/// A folder of `n` hybrid pairs whose pictures and latents say which they are.
fn hybrid(n: usize) -> (TempDir, PathBuf, String) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("new/pairs");
    let mut writer = PairWriter::create(&path, Modality::Hybrid, settings(), Some(SHAPE)).unwrap();
    for index in 0..n {
        let picture = |side: usize| Pixels::from_fn(4, 5, |_, _, channel| if channel == side { 1.0 } else { -1.0 });
        let latent = |side: usize| (0..6).map(|at| (index * 100 + side * 10 + at) as f32).collect::<Vec<f32>>();
        let (pictures, latents) = ([picture(0), picture(1)], [latent(0), latent(1)]);
        let side = |at: usize, text| {
            candidate(NewResult::Image { picture: &pictures[at], latent: &latents[at] }, Some(text), at as u64)
        };
        let pair = GeneratedPair { request: format!("a pet \"{index}\"\n"), a: side(0, "a small dog"), b: side(1, "") };
        writer.push(&pair).unwrap();
    }
    let id = writer.finish().unwrap();
    (parent, path, id)
}

fn token(n: usize) -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("pairs");
    let mut writer = PairWriter::create(&path, Modality::Token, Map::new(), None).unwrap();
    for index in 0..n {
        let side = |text, seed| candidate(NewResult::Response(text), None, seed);
        writer
            .push(&GeneratedPair { request: format!("say {index}"), a: side("yes", u64::MAX), b: side("", 2) })
            .unwrap();
    }
    writer.finish().unwrap();
    (parent, path)
}

fn message(error: &DatasetError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// The error of a folder one of whose files was changed; the id is taken as it is, so that the change itself is met.
fn damaged(make: impl Fn() -> PathBuf, file: &str, change: impl Fn(String) -> String) -> String {
    let path = make();
    let header = fs::read_to_string(path.join("pairs.json")).unwrap();
    fs::write(path.join("pairs.json"), header.replace(HASHED, "mine:")).unwrap();
    let text = fs::read_to_string(path.join(file)).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "nothing was changed in {file}");
    fs::write(path.join(file), changed).unwrap();
    message(&PairFolder::open(&path).unwrap_err())
}

#[test]
fn what_is_written_is_read() {
    let (parent, path, id) = hybrid(2);
    let folder = PairFolder::open(&path).unwrap();
    assert_eq!((folder.id(), folder.len(), folder.modality()), (&*id, 2, Modality::Hybrid));
    assert_eq!((folder.settings(), folder.latent_shape()), (&settings(), Some(SHAPE)));
    let pair = folder.get(1).unwrap();
    assert_eq!(pair.request, "a pet \"1\"\n");
    assert_eq!(pair.b, candidate(StoredResult::Image("images/00001-b.png".to_owned()), Some(""), 1));
    assert_eq!(folder.latent(1, Side::B).unwrap().unwrap(), [110.0, 111.0, 112.0, 113.0, 114.0, 115.0]);
    let pixels = folder.pixels(0, Side::A).unwrap().unwrap();
    assert_eq!((pixels.height(), pixels.width(), &pixels.values()[..3]), (4, 5, &[1.0, -1.0, -1.0][..]));
    assert!(matches!(folder.latent(2, Side::A), Err(DatasetError::OutOfRange { index: 2, len: 2 })));
    let beside: Vec<_> = fs::read_dir(parent.path().join("new")).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing else is left: {beside:?}");

    let (_parent, path) = token(3);
    let folder = PairFolder::open(&path).unwrap();
    assert_eq!(folder.pairs()[2].a, candidate(StoredResult::Response("yes".to_owned()), None, u64::MAX));
    assert_eq!((folder.latent(0, Side::A).unwrap(), folder.pixels(0, Side::A).unwrap()), (None, None));
    assert!(!path.join("images").exists());
}

#[test]
fn the_id_is_a_function_of_the_content() {
    let ids: Vec<String> = [2, 2, 1].into_iter().map(|n| hybrid(n).2).collect();
    assert!(ids[0] == ids[1] && ids[0] != ids[2] && ids[0].starts_with("blake3:"));
}

#[test]
fn a_folder_appears_whole_or_not_at_all() {
    let (parent, path, _) = hybrid(1);
    let error = PairWriter::create(&path, Modality::Token, Map::new(), None).unwrap_err();
    assert!(message(&error).contains("is there already"), "{error}");
    let other = parent.path().join("new/other");
    drop(PairWriter::create(&other, Modality::Token, Map::new(), None).unwrap());
    let empty = PairWriter::create(&other, Modality::Token, Map::new(), None).unwrap().finish();
    assert!(matches!(empty, Err(DatasetError::Empty { .. })));
    assert_eq!(fs::read_dir(parent.path().join("new")).unwrap().count(), 1);
}

#[test]
fn what_does_not_fit_is_not_taken_and_the_writer_goes_on() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("pairs");
    assert!(PairWriter::create(&path, Modality::Diffusion, Map::new(), None).is_err());
    let mut writer = PairWriter::create(&path, Modality::Diffusion, Map::new(), Some(SHAPE)).unwrap();
    let picture = Pixels::from_fn(1, 1, |_, _, _| 0.0);
    let mut with = |latent: &[f32], refined: Option<&str>, log_probs: Option<Vec<f64>>| {
        let side = |latent| {
            let made = NewResult::Image { picture: &picture, latent };
            GeneratedResult { log_probs: log_probs.clone(), ..candidate(made, refined, 0) }
        };
        message(
            &writer.push(&GeneratedPair { request: String::new(), a: side(&[0.0; 6]), b: side(latent) }).unwrap_err(),
        )
    };
    assert!(with(&[0.0; 5], None, None).contains("pair 0, side b: a latent of 5 numbers instead of 6"));
    assert!(with(&[0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN], None, None).contains("NaN"));
    assert!(with(&[0.0; 6], Some("x"), None).contains("a refined prompt in diffusion pairs"));
    assert!(with(&[0.0; 6], None, Some(vec![f64::NEG_INFINITY])).contains("log-probability is -inf"));
    let text = |text| candidate(NewResult::Response(text), None, 0);
    let error = writer.push(&GeneratedPair { request: String::new(), a: text("x"), b: text("y") }).unwrap_err();
    assert!(message(&error).contains("a text in diffusion pairs"), "{error}");
    assert!(writer.is_empty() && !path.exists());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn damage_is_named_by_file_line_and_field() {
    let keep = |(parent, path): (TempDir, PathBuf)| {
        let _ = parent.keep();
        path
    };
    let texts = || keep(token(3));
    for (from, to, says) in [
        (
            "\"index\":1",
            "\"index\":2",
            "pairs.jsonl, line 2: field `index` should be the number of its line, from 0, but is 2",
        ),
        ("\"request\":\"say 2\",", "", "pairs.jsonl, line 3: field `request` is missing"),
        ("\"request\":\"say 2\"", "\"request\":2", "line 3: field `request` should be a string, but is"),
        ("{\"response\":\"yes\",", "{", "line 1: field `a.response` is missing"),
        ("\"seed\":2", "\"seed\":-2", "line 1: field `b.seed` should be a whole number"),
        ("\"seed\":2", "\"refined\":\"x\",\"seed\":2", "field `b.refined` should be absent"),
        ("\"seed\":2", "\"image\":\"x\",\"seed\":2", "field `b.image` should be absent"),
        ("[-0.1,", "[\"x\",", "field `a.log_probs` should be a list of numbers"),
        ("\"say 0\"", "\"say 0", "pairs.jsonl, line 1, column"),
        ("{\"index\":2", "{\"index\":2}\n{\"index\":3", "line 3: field `request` is missing"),
    ] {
        let found = damaged(texts, "pairs.jsonl", |text| text.replacen(from, to, 1));
        assert!(found.contains(says), "{from} -> {to}: {found}");
    }
    let found = damaged(texts, "pairs.jsonl", |text| text.split_inclusive('\n').take(2).collect());
    assert!(found.contains("has 2 pairs, and pairs.json says 3"), "{found}");
    for (from, to, says) in [
        ("\"hybrid-dpo pairs\"", "\"pears\"", "pairs.json, line 1: field `format`"),
        ("\"version\": 1", "\"version\": 2", "field `version` should be 1"),
        ("\"modality\": \"token\"", "\"modality\": \"video\"", "field `modality` should be token, diffusion or hybrid"),
        ("\"pairs\": 3", "\"pairs\": 2", "has more than the 2 pairs"),
        ("\"settings\": {}", "\"settings\": 1", "field `settings` should be an object"),
        ("}\n", "", "pairs.json, line"),
    ] {
        let found = damaged(texts, "pairs.json", |text| text.replacen(from, to, 1));
        assert!(found.contains(says), "{from} -> {to}: {found}");
    }
    let pictures = || {
        let (parent, path, _) = hybrid(2);
        keep((parent, path))
    };
    for (from, to, says) in [
        ("images/00001-a.png", "images/gone.png", "line 2: the picture images/gone.png cannot be read"),
        ("images/00001-a.png", "images/../pairs.json", "field `a.image` should be images/NAME.png"),
        ("images/00001-a.png", "/etc/passwd.png", "field `a.image` should be images/NAME.png"),
        ("\"refined\":\"a small dog\",", "", "field `a.refined` is missing"),
        ("\"refined_tokens\":[5,0]", "\"refined_tokens\":[5,-1]", "field `a.refined_tokens` should be a list of token"),
        ("\"refined_tokens\":[5,0]", "\"refined_tokens\":[]", "field `a.refined_tokens` should be at least one token"),
        ("\"null_refiner\":false", "\"null_refiner\":true", "field `a.refined` should be the request"),
    ] {
        let found = damaged(pictures, "pairs.jsonl", |text| text.replacen(from, to, 1));
        assert!(found.contains(says), "{from} -> {to}: {found}");
    }
}

#[test]
fn missing_files_and_changed_content_are_found() {
    for name in ["pairs.json", "pairs.jsonl", "latents.safetensors", "images/00001-b.png"] {
        let (_parent, path, _) = hybrid(2);
        fs::remove_file(path.join(name)).unwrap();
        let found = message(&PairFolder::open(&path).unwrap_err());
        assert!(found.contains(name), "{name}: {found}");
    }
    let copies = [("images/00000-a.png", "images/00000-b.png"), ("images/00000-b.png", "images/00001-a.png")];
    for (from, to) in copies {
        let (_parent, path, _) = hybrid(2);
        fs::copy(path.join(from), path.join(to)).unwrap();
        assert!(message(&PairFolder::open(&path).unwrap_err()).contains("was changed after it was written"));
    }
    let (_parent, path, _) = hybrid(2);
    let png = fs::read(path.join("images/00000-a.png")).unwrap();
    fs::write(path.join("images/00000-a.png"), &png[..png.len() / 2]).unwrap();
    assert!(
        message(&PairFolder::open(&path).unwrap_err()).contains("line 1: the picture images/00000-a.png is cut off")
    );
    let (_parent, other, _) = hybrid(3);
    let (_parent, path, _) = hybrid(2);
    fs::copy(other.join("latents.safetensors"), path.join("latents.safetensors")).unwrap();
    assert!(message(&PairFolder::open(&path).unwrap_err()).contains("has latents of 3 pairs, and pairs.json says 2"));
    assert!(PairFolder::open(Path::new("no such folder")).is_err());
}

#[test]
fn hybrid_records_of_other_programs_are_read_and_checked() {
    let (parent, path, _) = hybrid(1);
    let file = parent.path().join("new/records.jsonl");
    let good = r#"{"version":1,"request":"a pet","chosen":{"refined":"a dog","image":"pairs/images/00000-a.png"},"rejected":{"request":"a pet","image":"pairs/images/00000-b.png"}}"#;
    fs::write(&file, good).unwrap();
    let records = hybrid::read(&file).unwrap();
    assert_eq!((records.len(), &*records[0].request, records[0].rejected.refined.as_deref()), (1, "a pet", None));
    assert_eq!(records[0].chosen.refined.as_deref(), Some("a dog"));
    assert_eq!(records[0].chosen.image, path.join("images/00000-a.png"));
    assert_eq!(records[0].chosen.pixels(2).unwrap().height(), 2);
    for (from, to, says) in [
        ("\"version\":1", "\"version\":2", "field `version` should be 1"),
        ("\"request\":\"a pet\",\"chosen\"", "\"chosen\"", "field `request` is missing"),
        (
            "\"request\":\"a pet\",\"image\"",
            "\"request\":\"a car\",\"image\"",
            "do not share a prompt: `rejected.request`",
        ),
        ("\"a dog\"", "\" \"", "the answer in `chosen.refined` is empty"),
        ("00000-b", "00009-b", "00009-b.png is not there"),
        ("\"rejected\"", "\"other\"", "field `rejected` is missing"),
        ("\"image\":\"pairs/images/00000-a.png\"", "\"image\":1", "field `chosen.image` should be a string"),
    ] {
        fs::write(&file, format!("{good}\n{}\n", good.replacen(from, to, 1))).unwrap();
        let found = message(&hybrid::read(&file).unwrap_err());
        assert!(found.contains("records.jsonl, line 2") && found.contains(says), "{from} -> {to}: {found}");
    }
}

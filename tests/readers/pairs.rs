//! Folders of pairs and their judgements.

use std::path::Path;

use datasets::pairs::{
    GeneratedPair, GeneratedResult, Judge, Judgement, JudgementChange, LabelChoice, Modality, NewResult, Side,
    StoredResult,
};
use datasets::{JudgementLog, PairFolder, PairWriter};

use super::{scene, told};

const HEADER: &[u8] =
    br#"{"format": "hybrid-dpo pairs", "version": 1, "id": "given", "modality": "token", "pairs": 2, "settings": {}}"#;
const PAIRS: &[u8] = br#"{"version": 1, "index": 0, "request": "a pet", "a": {"response": "a dog", "seed": 1}, "b": {"response": "a cat", "seed": 2}}
{"version": 1, "index": 1, "request": "a tree", "a": {"response": "an oak", "seed": 3}, "b": {"response": "", "seed": 4}}
"#;

/// A folder of pairs: it is the same when it is written again, and a judgement that was appended is read back.
pub(crate) fn folder(input: &[u8]) -> Result<(), String> {
    let names = [
        "pairs.json",
        "pairs.jsonl",
        "labels.jsonl",
        "latents.safetensors",
        "images/00000-a.png",
        "images/00000-b.png",
    ];
    let folder = scene::folder(input, &[("pairs.json", HEADER), ("pairs.jsonl", PAIRS)], &names);
    let pairs = PairFolder::open(folder.path()).map_err(told)?;
    if pairs.modality() == Modality::Token {
        written_again(&pairs);
    } else {
        for side in Side::BOTH {
            pairs.latent(0, side).expect("latents were checked");
            pairs.pixels(0, side).expect("pictures were checked");
        }
    }
    let labels = pairs.labels().map_err(told)?;
    let _ = (labels.agreement(), labels.labellers(), labels.last("anna"), labels.only(Judge::Person).preferences());
    if pairs.modality() == Modality::Token {
        let _ = pairs.records(&labels.preferences());
    }
    judged(&pairs);
    Ok(())
}

fn written_again(pairs: &PairFolder) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("again");
    let mut writer = PairWriter::create(&path, pairs.modality(), pairs.settings().clone(), None).expect("a writer");
    for pair in pairs.pairs() {
        let (a, b) = (new(&pair.a), new(&pair.b));
        writer.push(&GeneratedPair { request: pair.request.clone(), a, b }).expect("a pair that was read is written");
    }
    let id = writer.finish().expect("the pairs are written");
    let again = PairFolder::open(&path).expect("what was written is read");
    assert_eq!((again.id(), again.pairs(), again.settings()), (id.as_str(), pairs.pairs(), pairs.settings()));
}

fn new(result: &GeneratedResult<StoredResult>) -> GeneratedResult<NewResult<'_>> {
    let StoredResult::Response(text) = &result.made else { panic!("texts have no picture") };
    let (refined, log_probs) = (result.refined.clone(), result.log_probs.clone());
    GeneratedResult { refined, made: NewResult::Response(text), seed: result.seed, log_probs }
}

/// Appends a judgement to a log that could be read; it is there afterwards, behind all that was there before.
fn judged(pairs: &PairFolder) {
    let path: &Path = pairs.path();
    let before = pairs.labels().expect("labels that were read");
    let mut log = JudgementLog::open(pairs).expect("labels that were read are opened");
    assert_eq!(log.labels().preferences(), before.preferences());
    let change = JudgementChange::Chosen(LabelChoice::ALL[0]);
    let judgement = Judgement { index: 0, labeller: "newcomer".to_owned(), by: Judge::Person, change };
    log.append(&judgement).expect("there is room");
    drop(log);
    let after = PairFolder::open(path).and_then(|pairs| pairs.labels()).expect("the log is still whole");
    assert_eq!(after.choice(0, "newcomer"), Some(LabelChoice::ALL[0]));
    assert!(after.cut().is_none(), "the end that was cut off is gone");
    for labeller in before.labellers().into_iter().filter(|labeller| *labeller != "newcomer") {
        assert_eq!((after.count(labeller), after.last(labeller)), (before.count(labeller), before.last(labeller)));
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::Format;
use crate::chat::{ChatTemplate, Date};
use crate::example::ExampleKind;
use crate::test_data::{EOS, gzip, parquet_pairs, tokenizer};
use crate::tokenise::{TokenSettings, Tokenization};

pub(super) fn tokenise(max_length: usize) -> Tokenise {
    let settings = TokenSettings { max_length, max_prompt_length: Some(max_length / 2), ..TokenSettings::new(EOS) };
    Tokenise::new(&tokenizer(), None, settings).unwrap()
}

fn lines(records: impl IntoIterator<Item = serde_json::Value>) -> String {
    records.into_iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
}

/// Three pairs about each of `n_prompts` prompts, one after the other.
fn pairs(n_prompts: usize) -> String {
    let name =
        |number: usize| number.to_string().bytes().map(|digit| char::from(b'c' + digit - b'0')).collect::<String>();
    lines((0..3 * n_prompts).map(|number| {
        let prompt = format!("q{}", name(number % n_prompts));
        json!({"prompt": prompt, "chosen": format!("y{}", name(number)), "rejected": format!("n{}", name(number))})
    }))
}

fn open_text(name: &str, bytes: impl AsRef<[u8]>, tokenise: &Tokenise) -> Result<Dataset, DatasetError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    open(&path, ReadOptions::default(), tokenise)
}

#[test]
fn a_data_set_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Dataset>();
    check::<Tokenise>();
    check::<crate::ChatTemplate>();
    check::<DatasetError>();
}

#[test]
fn any_example_can_be_had_at_any_time() {
    let data = open_text("a.jsonl", pairs(300), &tokenise(64)).unwrap();
    assert_eq!((data.len(), data.audit().examples, data.audit().kinds["pairs"]), (900, 900, 900));
    let all: Vec<Example> = data.iter().map(Result::unwrap).collect();
    for index in [0, 899, 450, 1] {
        assert_eq!(data.get(index).unwrap(), all[index]);
        assert_eq!(all[index].index, index as u64);
        assert_eq!(all[index].kind, ExampleKind::Pair);
    }
    let error = data.get(900).unwrap_err().to_string();
    assert_eq!(error, "there is no example 900: the data set has 900");
}

#[test]
fn the_fingerprint_is_of_what_the_model_sees() {
    let text = pairs(4);
    let print =
        |name: &str, bytes: &[u8], max_length| open_text(name, bytes, &tokenise(max_length)).unwrap().fingerprint();
    let first = print("a.jsonl", text.as_bytes(), 64);
    assert_eq!(first, print("b.jsonl.gz", &gzip(text.as_bytes()), 64));
    assert_eq!(first, print("a.jsonl", text.as_bytes(), 128));
    assert_ne!(first, print("a.jsonl", text.as_bytes(), 4));
    assert_ne!(first, print("a.jsonl", pairs(5).as_bytes(), 64));
    let data = open_text("a.jsonl", &text, &tokenise(64)).unwrap();
    assert_ne!(data.select(&[0, 1]).unwrap().fingerprint(), data.select(&[1, 0]).unwrap().fingerprint());
}

#[test]
fn a_prompt_is_held_out_with_all_its_pairs() {
    let data = open_text("a.jsonl", pairs(100), &tokenise(64)).unwrap();
    let (rest, held_out) = data.hold_out(0.2, 1).unwrap();
    assert_eq!((rest.len(), held_out.len()), (240, 60));
    let prompts = |data: &Dataset| data.iter().map(|example| example.unwrap().prompt).collect::<BTreeSet<_>>();
    assert!(prompts(&rest).is_disjoint(&prompts(&held_out)));
    let indices: Vec<u64> = held_out.iter().map(|example| example.unwrap().index).collect();
    assert!(indices.is_sorted());
    assert_eq!(data.hold_out(0.2, 1).unwrap().1.fingerprint(), held_out.fingerprint());
    assert_ne!(data.hold_out(0.2, 2).unwrap().1.fingerprint(), held_out.fingerprint());
    let lengths = |share| data.hold_out(share, 1).map(|(rest, held_out)| (rest.len(), held_out.len())).unwrap();
    assert_eq!((lengths(0.0), lengths(1.0)), ((300, 0), (0, 300)));
    assert!(data.hold_out(f64::NAN, 1).is_err());
}

/// However long its answers, and so however short the prompt is cut.
#[test]
fn a_prompt_that_is_cut_in_many_ways_is_held_out_whole() {
    let n_prompts = 20;
    let records = lines((0..3 * n_prompts).map(|number| {
        let letter = char::from(b'c' + (number % n_prompts) as u8);
        let answer = ["ab", "b ", "ccc"][number / n_prompts];
        json!({"prompt": format!("{letter}abcdefghijklma"), "chosen": answer, "rejected": "b"})
    }));
    for tokenization in [Tokenization::Separate, Tokenization::Joint] {
        // 16 tokens: some answers fit with the whole prompt, others do not; joint, `a` and `b` merge at the border.
        let settings =
            TokenSettings { max_length: 16, max_prompt_length: Some(8), tokenization, ..TokenSettings::new(EOS) };
        let data = open_text("a.jsonl", &records, &Tokenise::new(&tokenizer(), None, settings).unwrap()).unwrap();
        let cut: BTreeSet<_> = (0..3).map(|turn| data.get(turn * n_prompts).unwrap().prompt).collect();
        assert!(cut.len() > 1, "the prompt is the same thrice");
        let prompts = |data: &Dataset| -> BTreeSet<usize> {
            data.iter().map(|example| example.unwrap().index as usize % n_prompts).collect()
        };
        for seed in 0..5 {
            let (rest, held_out) = data.hold_out(0.3, seed).unwrap();
            assert_eq!((rest.len(), held_out.len()), (42, 18));
            assert!(prompts(&rest).is_disjoint(&prompts(&held_out)));
            // What is held out of a part is held out by whole prompts too.
            let (rest, held_out) = rest.hold_out(0.5, seed).unwrap();
            assert!(prompts(&rest).is_disjoint(&prompts(&held_out)));
        }
    }
}

#[test]
fn a_limit_reads_tokenises_and_audits_no_more() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, format!("{}{{broken", pairs(100))).unwrap();
    assert!(open(&path, ReadOptions::default(), &tokenise(64)).is_err());
    let data = open(&path, ReadOptions { limit: Some(290), ..ReadOptions::default() }, &tokenise(64)).unwrap();
    assert_eq!((data.len(), data.audit().examples, data.audit().skipped.count), (290, 290, 0));
}

#[test]
fn parquet_and_folders_of_shards() {
    let data = open_text("a.parquet", parquet_pairs(7), &tokenise(64)).unwrap();
    assert_eq!(data.len(), 7);
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("b.jsonl"), pairs(2)).unwrap();
    fs::write(folder.path().join("a.parquet"), parquet_pairs(7)).unwrap();
    let both = open(folder.path(), ReadOptions::default(), &tokenise(64)).unwrap();
    assert_eq!(both.len(), 13);
    assert_eq!(both.get(6).unwrap(), data.get(6).unwrap());
}

#[test]
fn dialogues_keep_the_end_unless_told_otherwise() {
    let start = "\n\nHuman: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\nAssistant:";
    let record = lines([json!({"chosen": format!("{start} x"), "rejected": format!("{start} y")})]);
    let end = |truncation| {
        let settings =
            TokenSettings { max_length: 24, max_prompt_length: Some(12), truncation, ..TokenSettings::new(EOS) };
        let data = open_text("a.jsonl", &record, &Tokenise::new(&tokenizer(), None, settings).unwrap()).unwrap();
        tokenizer().decode(&data.get(0).unwrap().prompt, false).unwrap().replace(' ', "")
    };
    assert!(end(None).ends_with("ssistant:"));
    assert!(end(Some(Truncation::KeepStart)).starts_with("\n\n"));
}

#[test]
fn the_audit_says_what_happened() {
    let records = lines([
        json!({"prompt": "cdefghij", "chosen": "x", "rejected": "y"}),
        json!({"prompt": "c", "chosen": "xxxxxxxx", "rejected": "y"}),
        json!({"prompt": "ca", "chosen": "bb", "rejected": "bb"}),
    ]);
    let data = open_text("a.jsonl", records, &tokenise(8)).unwrap();
    let audit = data.audit();
    let counts = [audit.cut_prompts, audit.cut_responses, audit.eos_lost, audit.boundary_merges, audit.identical_pairs];
    assert_eq!(counts, [1, 1, 1, 2, 1]);
    let lengths: Vec<(usize, u64)> = audit.prompt.iter().collect();
    assert_eq!(lengths, [(1, 1), (2, 1), (8, 1)]);
    let text = audit.to_string();
    for part in
        ["3 examples: 3 pairs", "prompt + longest", "limits: 8 tokens together", "1 prompts cut", "lost their EOS"]
    {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let back: Audit = serde_json::from_str(&serde_json::to_string(audit).unwrap()).unwrap();
    assert_eq!(&back, audit);
    assert!(Audit::default().to_string().contains("nothing odd"));
}

#[test]
fn broken_records_are_counted_when_skipped() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, format!("{}{{\"prompt\": 3}}\n", pairs(1))).unwrap();
    let reading = ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() };
    let data = open(&path, reading, &tokenise(64)).unwrap();
    assert_eq!((data.len(), data.audit().skipped.count), (3, 1));
    assert!(data.audit().to_string().contains("left out: "));
    assert!(open(&path, ReadOptions::default(), &tokenise(64)).unwrap_err().to_string().contains("line 4"));
}

#[test]
fn every_kind_of_feedback_arrives() {
    let kinds = |records| {
        let data = open_text("a.jsonl", lines(records), &tokenise(64)).unwrap();
        let mut kinds = BTreeMap::new();
        data.iter().for_each(|example| *kinds.entry(format!("{:?}", example.unwrap().kind)).or_insert(0) += 1);
        (kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>(), data)
    };
    let label = |label| json!({"prompt": "p", "completion": "c", "label": label});
    let (found, data) = kinds(vec![label(true), label(false), label(true)]);
    assert_eq!(found, ["1 Labelled { desirable: false }", "2 Labelled { desirable: true }"]);
    assert_eq!((data.audit().chosen.count(), data.audit().rejected.count()), (2, 1));
    let (found, data) = kinds(vec![json!({"prompt": "p", "responses": ["x", "yy", "zzz"]})]);
    assert_eq!(found, ["1 Ranked"]);
    assert_eq!(data.get(0).unwrap().responses.iter().map(|response| response.len()).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(kinds(vec![json!({"prompt": "p", "completion": "c"})]).0, ["1 Demonstration"]);
}

#[test]
fn made_records_are_tokenised_alike() {
    let value: serde_json::Value = serde_json::from_str(pairs(1).lines().next().unwrap()).unwrap();
    let record = Format::Trl.parse(&crate::Origin::generated("made", 1), &value).unwrap();
    let made = Dataset::from_records("made", record, &tokenise(64), OnBad::Fail).unwrap();
    let read = open_text("a.jsonl", pairs(1), &tokenise(64)).unwrap();
    assert_eq!(made.get(0).unwrap(), read.get(0).unwrap());
    assert!(
        Dataset::from_records("made", [], &tokenise(64), OnBad::Fail)
            .unwrap_err()
            .to_string()
            .contains("made holds no record")
    );
}

#[test]
fn a_file_of_which_nothing_can_be_learned_says_what_it_holds() {
    let reply = |text: &str, rank: Option<f64>| json!({"role": "assistant", "text": text, "rank": rank, "replies": []});
    let tree =
        json!({"prompt": {"role": "prompter", "text": "q", "replies": [reply("a", Some(0.0)), reply("b", None)]}});
    let error = open_text("a.jsonl", lines([tree.clone(), tree]), &tokenise(64)).unwrap_err().to_string();
    assert!(error.contains("a.jsonl holds no record to learn from: "), "{error}");
    assert!(error.ends_with("replies without a rank beside others, 2 of them"), "{error}");
}

#[test]
fn trees_of_one_message_a_row_are_put_together() {
    let row = |name: &str, parent: Option<&str>, rank: Option<f64>| {
        let role = if name.starts_with('q') { "prompter" } else { "assistant" };
        json!({"message_id": name, "parent_id": parent, "text": name, "role": role, "rank": rank, "lang": "en"})
    };
    let (asked, second, first) = (row("q", None, None), row("b", Some("q"), Some(1.0)), row("a", Some("q"), Some(0.0)));
    let template = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}";
    let template = ChatTemplate::new(template, &[], Date::default()).unwrap();
    let chat = Tokenise::new(&tokenizer(), Some(template), TokenSettings::new(EOS)).unwrap();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train-0.jsonl"), lines([second.clone(), row("c", Some("gone"), None)])).unwrap();
    fs::write(folder.path().join("train-1.jsonl"), lines([first.clone(), asked.clone()])).unwrap();
    let error = open(folder.path(), ReadOptions::default(), &chat).unwrap_err().to_string();
    assert!(
        error.ends_with("line 2: field `parent_id` of the message `c` is `gone`, which is the `message_id` of no row")
    );
    let skipping = ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() };
    let data = open(folder.path(), skipping, &chat).unwrap();
    assert_eq!((data.len(), data.audit().skipped.count, data.audit().not_read["lang"]), (1, 1, 4));
    let replies = json!([
        {"text": "b", "role": "assistant", "rank": 1.0}, {"text": "a", "role": "assistant", "rank": 0.0},
    ]);
    let nested = json!({"prompt": {"text": "q", "role": "prompter", "replies": replies}});
    let nested = open_text("nested.jsonl", lines([nested]), &chat).unwrap();
    assert_eq!(data.get(0).unwrap(), nested.get(0).unwrap());
    let table = "message_id,parent_id,text,role,rank\nq,,q,prompter,\nb,q,b,assistant,1.0\na,q,a,assistant,0.0\n";
    let table = open_text("flat.csv", table, &chat).unwrap();
    assert_eq!(table.get(0).unwrap(), nested.get(0).unwrap());
}

#[test]
fn a_text_that_is_longer_than_any_model_reads_is_a_broken_record() {
    let long = json!({"prompt": "q", "chosen": "y".repeat((2 << 20) + 1), "rejected": "n"});
    let error = open_text("a.jsonl", lines([long.clone()]), &tokenise(64)).unwrap_err().to_string();
    assert!(error.contains("a.jsonl, line 1") && error.contains("longer than 2097152 bytes"), "{error}");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("b.jsonl");
    fs::write(&path, lines([long, json!({"prompt": "q", "chosen": "y", "rejected": "n"})])).unwrap();
    let found = open(&path, ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() }, &tokenise(64)).unwrap();
    assert_eq!((found.len(), found.audit().skipped.count), (1, 1));
}

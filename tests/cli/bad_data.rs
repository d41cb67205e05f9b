//! Data that is broken: the file, the line and the field are named.
use std::io::Write;

use super::{MODEL, PAIRS, Scene, training};

const GOOD: &str = "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n";

#[test]
fn broken_records_are_named_by_file_and_line() {
    let scene = Scene::new();
    let chat = r#"{"prompt":[{"role":"user","content":"x"}],"chosen":[{"role":"assistant","content":"y"}],"rejected":[{"role":"assistant","content":"z"}]}"#;
    let other = r#"{"chosen":"\n\nHuman: a\n\nAssistant: b","rejected":"\n\nHuman: c\n\nAssistant: d"}"#;
    for (name, content, says) in [
        ("cut.jsonl", format!("{GOOD}{{\"prompt\":\"a\",\"cho"), &["cut.jsonl, line 2", "broken JSON"] as &[&str]),
        ("comma.json", "[\n{\"prompt\":\"a\",\"chosen\":\"b\",}]".into(), &["comma.json, line 2", "broken JSON"]),
        (
            "missing.jsonl",
            format!("{GOOD}{{\"prompt\":\"a\",\"chosen\":\"x\"}}\n"),
            &["missing.jsonl, line 2", "`rejected`"],
        ),
        (
            "empty.jsonl",
            format!("{GOOD}{GOOD}").replacen("\"c\"", "\"\"", 1),
            &["empty.jsonl, line 1", "`rejected` is empty"],
        ),
        ("kind.jsonl", GOOD.replace("\"b\"", "3"), &["kind.jsonl, line 1", "`chosen`", "3"]),
        ("fields.jsonl", "{\"foo\":1,\"bar\":2}\n".into(), &["fields.jsonl, line 1", "foo, bar", "prompt"]),
        ("chat.jsonl", chat.into(), &["chat.jsonl, line 1", "chat template"]),
        ("mismatch.jsonl", other.into(), &["mismatch.jsonl, line 1", "do not share a prompt"]),
        ("none.jsonl", String::new(), &["none.jsonl", "no record"]),
        ("none.json", "[]".into(), &["none.json", "no record"]),
        ("none.parquet", String::new(), &["none.parquet"]),
        ("none.jsonl.gz", String::new(), &["none.jsonl.gz"]),
        ("garbage.parquet", "PAR1 this is no parquet PAR1".into(), &["garbage.parquet", "Parquet"]),
        ("garbage.jsonl.gz", "this is no gzip".into(), &["garbage.jsonl.gz", "gzip"]),
        ("prose.txt", "hello\n".into(), &["prose.txt, line 1"]),
    ] {
        scene.write(name, content);
        scene.refused(&training("new", &format!("--data {name}")), 1, says);
        scene.refused(&format!("score --model {MODEL} --data {name} --out new.jsonl"), 1, says);
        assert!(!scene.path("new").exists() && !scene.path("new.jsonl").exists());
    }
}

#[test]
fn files_cut_short_and_bytes_that_are_no_text() {
    let scene = Scene::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(PAIRS.repeat(50).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    scene.write("whole.jsonl.gz", &packed);
    scene.done(&training("run", "--data whole.jsonl.gz --max-steps 1"));
    scene.write("cut.jsonl.gz", &packed[..packed.len() - 9]);
    scene.refused(&training("new", "--data cut.jsonl.gz"), 1, &["cut.jsonl.gz", "gzip"]);
    scene.write("latin.jsonl", b"{\"prompt\":\"caf\xe9\",\"chosen\":\"b\",\"rejected\":\"c\"}\n");
    scene.refused(&training("new", "--data latin.jsonl"), 1, &["latin.jsonl, line 1", "UTF-8"]);
    std::fs::create_dir(scene.path("folder")).unwrap();
    scene.refused(&training("new", "--data folder"), 1, &["folder", ".jsonl"]);
    scene.refused(&training("new", "--data nowhere.jsonl"), 1, &["nowhere.jsonl"]);
    scene.refused(&training("new", "--eval-data nowhere.jsonl"), 1, &["nowhere.jsonl"]);
}

#[test]
fn bad_records_can_be_skipped_and_are_counted() {
    let scene = Scene::new();
    scene.write("some.jsonl", format!("{PAIRS}{{\"prompt\":\"a\",\"chosen\":\"x\"}}\n"));
    let more = "--data some.jsonl --on-bad skip --max-steps 1";
    let ran = scene.done(&training("run", more).replace("--quiet", ""));
    assert!(ran.err.contains("8 examples") && ran.err.contains('1'), "{}", ran.err);
    scene.write("all.jsonl", "{\"prompt\":\"a\",\"chosen\":\"x\"}\n");
    scene.refused(&training("new", "--data all.jsonl --on-bad skip"), 1, &["all.jsonl"]);
}

#[test]
fn feedback_of_another_kind_names_the_objective_that_fits() {
    let scene = Scene::new();
    scene.write("kto.jsonl", "{\"prompt\":\"a\",\"completion\":\" b\",\"label\":true}\n");
    let ran = scene.run(&training("new", "--data kto.jsonl --objective dpo"));
    assert!(ran.code == Some(1) && ran.err.contains("--objective kto"), "{ran:?}");
    assert!(!scene.path("new").exists(), "a second try may use the same name");
    scene.refused(&training("new", "--eval-data kto.jsonl"), 1, &["example 0 of the held-out data"]);
    assert!(!scene.path("new").exists());
    scene.write("pairs.jsonl", GOOD);
    scene.done(&training("run", "--objective kto --batch-size 1"));
}

#[test]
fn prompts_that_are_wrong_are_named() {
    let scene = Scene::new();
    let sample = |name: &str| format!("sample --model {MODEL} --prompts {name} --max-length 40");
    scene.refused(&sample("nowhere.txt"), 1, &["nowhere.txt"]);
    for (name, content, says) in [
        ("none.txt", "\n\n".to_owned(), "there are no prompts in it"),
        ("cut.jsonl", "{\"prompt\":\"a\"}\n{\"pro".to_owned(), "cut.jsonl, line 2"),
        (
            "field.jsonl",
            "{\"text\":\"a\"}\n".to_owned(),
            "field.jsonl, line 1: field `prompt` is missing (found: text)",
        ),
        ("long.txt", "word ".repeat(60), "long.txt, prompt 1"),
    ] {
        scene.write(name, content);
        scene.refused(&sample(name), 1, &[says]);
    }
}

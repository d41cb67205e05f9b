use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::record::Place;
use crate::records::{ReadOptions, records};
use crate::skipped::OnBad;
use crate::test_data::{gzip, parquet_chats, parquet_pairs};

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Row>, DatasetError> {
    let folder = TempDir::new().unwrap();
    rows(&write(&folder, name, bytes))?.collect()
}

fn values(name: &str, bytes: impl AsRef<[u8]>) -> Vec<Value> {
    read(name, bytes).unwrap().into_iter().map(|(_, value)| value).collect()
}

fn message(name: &str, bytes: impl AsRef<[u8]>) -> String {
    read(name, bytes).unwrap_err().to_string()
}

#[test]
fn lines_arrays_and_gzip_hold_the_same_rows() {
    let expected = vec![json!({"a": "x]\",{["}), json!({"a": [1, {"b": "\\"}]}), json!(3)];
    let lines = "{\"a\":\"x]\\\",{[\"}\n\n  {\"a\":[1,{\"b\":\"\\\\\"}]}\r\n3";
    let array = "\n [{\"a\":\"x]\\\",{[\"},\n\n{\"a\":[1,\n{\"b\":\"\\\\\"}]} ,3\n]\n";
    for (name, text) in [("a.jsonl", lines), ("a.json", lines), ("a.json", array), ("a.jsonl", array)] {
        assert_eq!(values(name, text), expected, "{name}");
        assert_eq!(values(&format!("{name}.gz"), gzip(text.as_bytes())), expected, "{name}.gz");
        assert_eq!(values(name, format!("\u{feff}{text}")), expected, "{name} with a mark");
    }
    let lines_of = |text| read("a.json", text).unwrap().into_iter().map(|row| row.0.place).collect::<Vec<_>>();
    assert_eq!(lines_of(lines), [1, 3, 4].map(Place::Line));
    assert_eq!(lines_of(array), [2, 4, 5].map(Place::Line));
    assert_eq!(values("empty.json", "[]"), Vec::<Value>::new());
}

#[test]
fn a_gzip_of_several_members_is_read_whole() {
    let two = [gzip(b"1\n2\n"), gzip(b"3\n")].concat();
    assert_eq!(values("a.jsonl.gz", two), [json!(1), json!(2), json!(3)]);
}

#[test]
fn broken_json_names_file_line_and_column() {
    let text = message("a.jsonl", "{}\n{\"a\": tru}\n");
    assert!(text.contains("a.jsonl, line 2, column 10: broken JSON: expected ident"), "{text}");
    let text = message("a.json", "[{},\n{\"a\":\n 1 2}]");
    assert!(text.contains("a.json, line 3, column 4: broken JSON"), "{text}");
    let text = message("a.json", "[{},\n{\"a\": 1");
    assert!(text.contains("line 2") && text.contains("the file ends before the array does"), "{text}");
    let text = message("a.jsonl", b"{}\n{\"a\": \"\xff\"}\n");
    assert!(text.contains("a.jsonl, line 2: not UTF-8 at byte 7"), "{text}");
    assert!(message("a.json", "[1,,2]").contains("broken JSON"));
    // What follows an array would be lost without a word: a line of JSON lines that is an array, or two files in one.
    let text = message("a.json", "[{}]\n[{}]\n");
    assert!(text.contains("a.json, line 2") && text.contains("the file goes on after its array"), "{text}");
}

#[test]
fn a_file_that_is_not_what_it_says_is_an_error() {
    assert!(message("a.jsonl", "").contains("holds no record"));
    assert!(message("a.jsonl", " \n\n ").contains("holds no record"));
    assert!(message("a.jsonl.gz", "{}").contains("a gzip file that can't be read"));
    assert!(message("a.parquet", "{}").contains("is not a readable Parquet file"));
    let whole = gzip(&b"{\"a\": 1}\n".repeat(1000));
    assert!(message("a.jsonl.gz", &whole[..whole.len() - 9]).contains("a gzip file that can't be read"));
    assert!(rows(Path::new("/nowhere/a.jsonl")).err().unwrap().to_string().contains("cannot read /nowhere/a.jsonl"));
}

#[test]
fn parquet_gives_strings_lists_and_structs() {
    let pairs = values("a.parquet", parquet_pairs(5));
    assert_eq!(pairs.len(), 5);
    assert_eq!(pairs[3], json!({"prompt": "prompt 3", "chosen": " good 3", "rejected": " bad 3"}));
    let chats = values("a.parquet", parquet_chats());
    let side = |answer| json!([{"content": "q", "role": "user"}, {"content": answer, "role": "assistant"}]);
    let expected = json!({"chosen": side("yes"), "rejected": side("no"), "score_chosen": 4.5, "score_rejected": 1.0});
    assert_eq!(chats, [expected]);
}

#[test]
fn strings_that_are_said_to_hold_json_do() {
    let schema = "message tools { optional binary tools (JSON); optional binary text (UTF8); \
                  optional group list (LIST) { repeated group list { optional binary element (JSON); } } }";
    let json = "{\"a\": [1, null]}";
    let bytes = crate::test_data::write(schema, |writer| {
        let mut group = writer.next_row_group().unwrap();
        for (text, level) in [(json, 1), (json, 1), ("2", 3)] {
            let mut column = group.next_column().unwrap().unwrap();
            let repeated = (level == 3).then_some(&[0_i16][..]);
            let text = ::parquet::data_type::ByteArray::from(text);
            column
                .typed::<::parquet::data_type::ByteArrayType>()
                .write_batch(&[text], Some(&[level]), repeated)
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    });
    assert_eq!(values("a.parquet", bytes), [json!({"tools": {"a": [1, null]}, "text": json, "list": [2]})]);
}

#[test]
fn numbers_that_only_python_writes_are_null() {
    let text = "{\"a\": NaN, \"b\": [1, -Infinity], \"c\": \"NaN\", \"d\": 1e999}\n";
    let expected = json!({"a": null, "b": [1, null], "c": "NaN", "d": null});
    assert_eq!(values("a.jsonl", text), std::slice::from_ref(&expected));
    assert_eq!(values("a.json", format!("[{}]", text.trim())), [expected]);
    assert!(message("a.jsonl", "{\"a\": nan}").contains("broken JSON"));
    // The last of two keys counts, as in Python.
    assert_eq!(values("a.jsonl", "{\"a\": 1, \"a\": 2}"), [json!({"a": 2})]);
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let line = "{\"prompt\": \"p\", \"chosen\": [{\"role\": \"user\", \"content\": \"é\"}], \"rejected\": \"b\"}\n";
    let array = format!("[{},{}]", line.trim(), line.trim());
    let sources = [
        ("a.jsonl", line.repeat(3).into_bytes()),
        ("a.json", array.into_bytes()),
        ("a.jsonl.gz", gzip(line.repeat(20).as_bytes())),
        ("a.parquet", parquet_pairs(20)),
        ("a.parquet", parquet_chats()),
    ];
    let folder = TempDir::new().unwrap();
    let mut state = 1_u64;
    let mut draw = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for (name, whole) in &sources {
        for round in 0..150 {
            let mut bytes = whole.clone();
            match round % 3 {
                0 => bytes.truncate(draw(whole.len())),
                1 => (0..=draw(4)).for_each(|_| bytes[draw(whole.len())] = draw(256) as u8),
                _ => {
                    let start = draw(whole.len());
                    let end = (start + draw(40)).min(whole.len());
                    bytes.drain(start..end);
                }
            }
            let path = write(&folder, name, &bytes);
            let reading = ReadOptions {
                on_bad: if round % 2 == 0 { OnBad::Skip } else { OnBad::Fail },
                ..ReadOptions::default()
            };
            if let Ok(records) = records(&path, reading) {
                // Ends whatever happens: every damaged row is given once.
                assert!(records.count() <= 100);
            }
        }
    }
}

fn test() -> SplitChoice {
    SplitChoice::Named("test".to_owned())
}

fn validation() -> SplitChoice {
    SplitChoice::Named("validation".to_owned())
}

#[test]
fn folders_are_read_in_order_and_by_split() {
    let folder = TempDir::new().unwrap();
    let record = |name: &str| json!({"prompt": name, "chosen": "a", "rejected": "b"}).to_string();
    for name in
        ["data/train-00001-of-00002.jsonl", "data/train-00000-of-00002.jsonl", "data/test.json", "valid1/0.jsonl"]
    {
        write(&folder, name, record(name));
    }
    write(&folder, "data/train-00002.jsonl.gz", gzip(record("gz").as_bytes()));
    write(&folder, "README.md", "not data");
    write(&folder, "dataset_info.json", "{}");
    write(&folder, ".cache/x.jsonl", "{}");
    let prompts = |split| -> Vec<String> {
        let reading = ReadOptions { split, ..ReadOptions::default() };
        let text = |prompt| match prompt {
            crate::Text::Plain(text) => text,
            crate::Text::Chat(_) => unreachable!("all are strings"),
        };
        records(folder.path(), reading).unwrap().map(|record| text(record.unwrap().prompt)).collect()
    };
    let train = ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "gz"];
    assert_eq!(prompts(Some(SplitChoice::Train)), train);
    assert_eq!(prompts(Some(validation())), ["valid1/0.jsonl"]);
    assert_eq!(prompts(Some(test())), ["data/test.json"]);
    assert_eq!(prompts(None).len(), 5);
    let empty = TempDir::new().unwrap();
    let error = records(empty.path(), ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("holds no file of records (.jsonl"), "{error}");
    write(&empty, "train.jsonl", record("x"));
    let reading = ReadOptions { split: Some(test()), ..ReadOptions::default() };
    assert!(records(empty.path(), reading).unwrap_err().to_string().contains("file of the split `test`"));
}

#[test]
fn records_name_their_split_themselves_in_openai_comparisons() {
    let folder = TempDir::new().unwrap();
    let record = |split: &str| {
        let info = json!({"post": split, "title": "t", "subreddit": "s"});
        json!({"info": info, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0, "split": split}).to_string()
    };
    let path = write(&folder, "batch3.json", ["train", "valid1", "valid2", "train"].map(record).join("\n"));
    let count = |split| records(&path, ReadOptions { split, ..ReadOptions::default() }).unwrap().count();
    assert_eq!((count(None), count(Some(SplitChoice::Train)), count(Some(validation()))), (4, 2, 2));
    let reading = ReadOptions { split: Some(test()), ..ReadOptions::default() };
    let error = records(&path, reading).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("holds no record of the split `test`"), "{error}");
}

#[test]
fn data_that_names_no_split_is_read_whole_whatever_split_is_wanted() {
    let folder = TempDir::new().unwrap();
    let record = "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}";
    let file = write(&folder, "a.jsonl", [record, record].join("\n"));
    write(&folder, "b.jsonl", record);
    let reading = ReadOptions { split: Some(SplitChoice::Train), ..ReadOptions::default() };
    let count = |path: &Path| records(path, reading.clone()).unwrap().map(Result::unwrap).count();
    assert_eq!((count(&file), count(folder.path())), (2, 3));
}

#[test]
fn a_part_that_is_named_must_be_said_to_be_it() {
    let folder = TempDir::new().unwrap();
    let record = "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}";
    let read = |name: &str, split: SplitChoice| {
        let path = write(&folder, name, record);
        let error = |error: DatasetError| error.to_string();
        let mut found = records(&path, ReadOptions { split: Some(split), ..ReadOptions::default() }).map_err(error)?;
        found.next().unwrap().map(|record| record.origin.to_string()).map_err(error)
    };
    let said = "neither names of files nor records say which part they are";
    assert!(read("a.jsonl", test()).unwrap_err().contains(said));
    assert!(read("b.jsonl", SplitChoice::HeldOut).is_ok());
    assert!(read("test-00000-of-00001.jsonl", test()).is_ok());
    assert!(read("my_test.jsonl", test()).is_ok());
    assert!(read("train.jsonl", test()).unwrap_err().contains(said));
}

#[test]
fn nothing_past_the_limit_is_looked_at() {
    let folder = TempDir::new().unwrap();
    let good = "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}";
    let path = write(&folder, "a.jsonl", [good, good, "{broken", good].join("\n"));
    let read = |limit, on_bad| {
        let mut read = records(&path, ReadOptions { limit, on_bad, ..ReadOptions::default() }).unwrap();
        (read.by_ref().map_while(Result::ok).count(), read.skipped().count)
    };
    assert_eq!(read(Some(2), OnBad::Fail), (2, 0));
    assert_eq!(read(Some(2), OnBad::Skip), (2, 0));
    assert_eq!(read(Some(3), OnBad::Skip), (3, 1));
    assert_eq!(read(Some(9), OnBad::Skip), (3, 1));
    let mut broken = records(&path, ReadOptions { limit: Some(3), ..ReadOptions::default() }).unwrap();
    assert!(broken.nth(2).unwrap().unwrap_err().to_string().contains("line 3"));
}

#[test]
fn broken_records_stop_or_are_counted() {
    let folder = TempDir::new().unwrap();
    let good = "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}";
    let empty_answer = "{\"prompt\": \"p\", \"chosen\": \"\", \"rejected\": \"b\"}";
    let path = write(&folder, "a.jsonl", [good, "{broken", empty_answer, good, "{\"prompt\": \"p\"}"].join("\n"));
    let mut failing = records(&path, ReadOptions::default()).unwrap();
    assert!(failing.next().unwrap().is_ok());
    assert!(failing.next().unwrap().unwrap_err().to_string().contains("line 2"));
    assert!(failing.next().is_none());
    let mut skipping = records(&path, ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() }).unwrap();
    let kept: Vec<String> = skipping.by_ref().map(|record| record.unwrap().origin.to_string()).collect();
    assert!(kept.len() == 2 && kept[0].ends_with("line 1") && kept[1].ends_with("line 4"), "{kept:?}");
    assert_eq!(skipping.skipped().count, 3);
    assert!(skipping.skipped().messages[1].contains("line 3: the answer in `chosen` is empty"));
    let path = write(&folder, "b.jsonl", "{broken\n{\"a\": 1");
    let error = records(&path, ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() }).unwrap_err().to_string();
    assert!(error.contains("all 2 records are broken; the first:"), "{error}");
    // A broken array is a broken file: what is lost with it can't be counted.
    for (rest, says) in [("", "line 1: broken JSON: the file ends before the array does"), ("]\n{}", "line 2: broken")]
    {
        let path = write(&folder, "c.json", format!("[{good},{good},{good}{rest}"));
        let mut read = records(&path, ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() }).unwrap();
        let error = read.find_map(Result::err).unwrap().to_string();
        assert!(error.contains("c.json") && error.contains(says), "{error}");
    }
}

/// A line that never ends must not fill the memory.
#[test]
fn an_endless_record_is_refused() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let block = vec![b'a'; 1 << 20];
    packed.write_all(b"\"").unwrap();
    (0..=RECORD_LIMIT >> 20).for_each(|_| packed.write_all(&block).unwrap());
    let text = message("a.jsonl.gz", packed.finish().unwrap());
    assert!(text.contains("line 1: the record is longer than"), "{text}");
}

#[test]
fn records_are_told_from_lines_by_name_and_content() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, expected) in [
        ("a.jsonl", "hello", true),
        ("a.ndjson", "\u{feff} {\"prompt\": \"q\"}", true),
        ("a", "[{\"prompt\": \"q\"}]", true),
        ("a.csv", "prompt\nhello", true),
        ("a.log", "prompt\nhello", false),
        ("a.md", "PAR1", true),
        ("a.txt", "[INST] hello", false),
        ("b.txt", "{braces} hello", false),
        ("c.txt", "{ \"prompt\": \"q\"}", true),
        ("d.TXT", "[ {\"prompt\": \"q\"}]", true),
        ("e.txt", "", false),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert_eq!(holds_records(&path).unwrap(), expected, "{name} {content}");
    }
    std::fs::write(folder.path().join("a.unknown"), [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(holds_records(&folder.path().join("a.unknown")).unwrap());
    assert!(holds_records(folder.path()).unwrap());
    assert!(holds_records(&folder.path().join("missing")).is_err());
}

#[test]
fn a_saved_folder_without_rows_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), r#"{"_data_files": []}"#).unwrap();
    std::fs::write(folder.path().join("dataset_info.json"), "{}").unwrap();
    let error = shards(folder.path(), None).unwrap_err().to_string();
    assert!(error.ends_with("holds no record"), "{error}");
}

#[test]
fn what_is_unpacked_has_bounds_on_its_lines() {
    let read = |text: &'static str, most: u64| -> Result<usize, String> {
        let rows =
            text::rows(Box::new(text.as_bytes()), Arc::from(Path::new("data.jsonl.gz")), Some((Packing::Gzip, most)));
        rows.collect::<Result<Vec<_>, _>>().map(|rows| rows.len()).map_err(|error| error.to_string())
    };
    for text in ["{}\n{}\n", "[{},\n{}]"] {
        assert_eq!(read(text, 8), Ok(2), "{text}");
    }
    for text in ["{}\n\n\n\n\n\n\n\n\n\n", "\n\n\n\n\n\n\n\n\n\n", "[0,0,0,0,0,0,0,0,0,0]", "[           0]"] {
        let error = read(text, 8).unwrap_err();
        assert!(error.contains("far more lines"), "{text}: {error}");
    }
}

#[test]
fn records_in_zstd_are_those_of_the_plain_file_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n";
    let packed = zstd::encode_all(line.repeat(3).as_bytes(), 3).unwrap();
    // Frames follow one another, as `zstd` and `cat` write them.
    let path = folder.path().join("a.jsonl.zst");
    fs::write(&path, [packed.clone(), packed.clone()].concat()).unwrap();
    assert_eq!(rows(&path).unwrap().map(Result::unwrap).count(), 6);
    fs::write(&path, &packed[..packed.len() - 3]).unwrap();
    let error = rows(&path).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("a.jsonl.zst: a zstd file that can't be read"), "{error}");
    fs::write(&path, line).unwrap();
    let error = rows(&path).err().unwrap().to_string();
    assert!(error.contains("it does not start as one"), "{error}");
}

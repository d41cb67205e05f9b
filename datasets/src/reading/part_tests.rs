//! Which files of a folder are read.
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn folder(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    folder
}

fn named(name: &str) -> SplitChoice {
    SplitChoice::Named(name.to_owned())
}

/// The files that are read of a folder, without the folder.
fn read(folder: &Path, split: &SplitChoice) -> Vec<String> {
    let shards = shards(folder, Some(split)).unwrap();
    shards.files.iter().map(|file| file.strip_prefix(folder).unwrap().display().to_string()).collect()
}

fn error(folder: &Path, split: &SplitChoice) -> String {
    shards(folder, Some(split)).unwrap_err().to_string()
}

#[test]
fn of_splits_that_begin_alike_the_one_for_preferences_is_read() {
    let all = ["train_prefs", "train_sft", "train_gen", "test_prefs", "test_sft"];
    let names: Vec<String> = all.iter().map(|name| format!("data/{name}-00000-of-00001.parquet")).collect();
    let folder = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(read(folder.path(), &SplitChoice::Train), [names[0].clone()]);
    assert_eq!(read(folder.path(), &SplitChoice::HeldOut), [names[3].clone()]);
    assert_eq!(read(folder.path(), &named("test")), [names[3].clone()]);
    assert_eq!(read(folder.path(), &named("train_sft")), [names[1].clone()]);
    let part = shards(folder.path(), Some(&SplitChoice::Train)).unwrap().part.unwrap();
    assert_eq!(part, "train_prefs; not read: test_prefs, test_sft, train_gen, train_sft");
    assert_eq!(shards(folder.path(), None).unwrap().files.len(), 5);
    let wrong = error(folder.path(), &named("train_rm"));
    assert!(wrong.contains("file of the split `train_rm`, but test_prefs, test_sft, train_gen"), "{wrong}");
}

#[test]
fn splits_that_are_as_good_as_each_other_are_listed() {
    let folder = folder(&["train_a.jsonl", "train_b.jsonl"]);
    let wrong = error(folder.path(), &SplitChoice::Train);
    assert!(wrong.contains("holds no single split `train`: there are train_a, train_b; name one"), "{wrong}");
    assert_eq!(read(folder.path(), &named("train_b")), ["train_b.jsonl"]);
}

#[test]
fn shards_of_one_split_belong_together() {
    let names = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "train_sft-00000-of-00001.parquet"];
    let shards = folder(&names);
    assert_eq!(read(shards.path(), &SplitChoice::Train), names[..2]);
    let numbered = folder(&["train_1.jsonl", "train_2.jsonl", "valid1.jsonl", "valid2.jsonl"]);
    assert_eq!(read(numbered.path(), &SplitChoice::Train), ["train_1.jsonl", "train_2.jsonl"]);
    assert_eq!(read(numbered.path(), &named("validation")), ["valid1.jsonl", "valid2.jsonl"]);
    let folders = folder(&["helpful/train.jsonl.gz", "harmless/train.jsonl.gz", "helpful/test.jsonl.gz"]);
    assert_eq!(read(folders.path(), &SplitChoice::Train), ["harmless/train.jsonl.gz", "helpful/train.jsonl.gz"]);
}

#[test]
fn a_part_may_have_any_name() {
    let any = folder(&["good.jsonl", "other.jsonl"]);
    assert_eq!(read(any.path(), &named("good")), ["good.jsonl"]);
    assert_eq!(read(any.path(), &SplitChoice::Train).len(), 2);
    assert!(error(any.path(), &named("best")).contains("file of the split `best`"));
    assert!(error(&any.path().join("good.jsonl"), &named("best")).contains("file of the split `best`"));
    // Held-out data that is only called `train` was named by the user, and is read.
    let train = folder(&["train.jsonl"]);
    assert_eq!(read(train.path(), &SplitChoice::HeldOut), ["train.jsonl"]);
}

#[test]
fn folders_that_datasets_saved_are_read_by_their_description() {
    let saved = folder(&["train/cache-1.arrow", "train/data-00000-of-00001.arrow", "gen/data-00000-of-00001.arrow"]);
    let write = |name: &str, text: &str| fs::write(saved.path().join(name), text).unwrap();
    write("dataset_dict.json", r#"{"splits": ["train", "gen"]}"#);
    for split in ["train", "gen"] {
        write(&format!("{split}/state.json"), r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}"#);
    }
    assert_eq!(read(saved.path(), &SplitChoice::Train), ["train/data-00000-of-00001.arrow"]);
    assert_eq!(read(saved.path(), &named("gen")), ["gen/data-00000-of-00001.arrow"]);
    write("train/dataset_info.json", "{}");
    assert_eq!(read(&saved.path().join("train"), &SplitChoice::Train), ["data-00000-of-00001.arrow"]);
    write("train/dataset_info.json", r#"{"features": {"prompt": {}, "system": {}}}"#);
    for (text, says) in [
        (r#"{"_data_files": [], "_format_columns": ["prompt"]}"#, "hides system (`set_format`)"),
        (r#"{"_data_files": [{"filename": "../gen/data-00000-of-00001.arrow"}]}"#, "not in its folder"),
        ("{}", "names no `_data_files`"),
        ("{", "broken JSON"),
    ] {
        write("train/state.json", text);
        assert!(error(saved.path(), &SplitChoice::Train).contains(says), "{text}");
    }
    write("gen/data-00000-of-00001.arrow", "ARROW1\0\0 and more");
    let wrong = rows(&saved.path().join("gen/data-00000-of-00001.arrow")).err().unwrap().to_string();
    assert!(wrong.contains("Feather") && wrong.contains("write Parquet"), "{wrong}");
}

//! Preference records in texts and tables.

use std::path::Path;

use datasets::reading::holds_records;
use datasets::skipped::OnBad;
use datasets::{ReadOptions, records};

use super::{images, scene, told};

/// The kinds of files, by the first byte of an input.
const ENDINGS: [&str; 10] =
    ["jsonl", "json", "csv", "tsv", "jsonl.gz", "jsonl.zst", "csv.gz", "txt", "arrow", "json.gz"];

/// Records as text, packed or plain, or a stream of Arrow; the first byte of an input chooses the name.
pub(crate) fn text(input: &[u8]) -> Result<(), String> {
    let (first, rest) = input.split_first().ok_or("no bytes")?;
    let (_folder, path) = scene::file(&format!("x.{}", ENDINGS[usize::from(*first) % ENDINGS.len()]), rest);
    all(&path)
}

/// A table of Parquet, as records and as pictures.
pub(crate) fn parquet(input: &[u8]) -> Result<(), String> {
    let (_folder, path) = scene::file("x.parquet", input);
    let read = all(&path);
    let pictures = datasets::images::open(&path, options(OnBad::Fail), images::settings());
    read.or(pictures.map(drop).map_err(told))
}

fn options(on_bad: OnBad) -> ReadOptions {
    ReadOptions { on_bad, ..ReadOptions::default() }
}

/// All records: fewer of them are the first ones, and leaving bad ones out leaves out no good one.
fn all(path: &Path) -> Result<(), String> {
    holds_records(path).map_err(told)?;
    let _ = datasets::pairs::hybrid::read(path);
    let read = |options| records(path, options).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let lenient = read(options(OnBad::Skip));
    let found = read(options(OnBad::Fail)).map_err(told)?;
    let first = read(ReadOptions { limit: Some(1), ..options(OnBad::Fail) }).map_err(told)?;
    assert_eq!(
        format!("{:?}", found.iter().take(1).collect::<Vec<_>>()),
        format!("{:?}", first.iter().collect::<Vec<_>>())
    );
    assert_eq!(format!("{:?}", lenient.map_err(told)?), format!("{found:?}"));
    Ok(())
}

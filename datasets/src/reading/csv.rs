//! Tables of comma-separated values with a header, one record at a time.
//!
//! Values are texts; a blank one is null, and a list of objects is read as JSON, since that is how tables hold messages.
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::csv::{Reader, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::{Packing, RECORD_LIMIT, Row, Rows, python};
use crate::error::DatasetError;
use crate::record::Origin;

/// Whether a file's name is that of such a table, compressed or not.
pub(super) fn is_named(path: &Path) -> bool {
    ["csv", "tsv"].iter().any(|kind| has_kind(path, kind))
}

/// Whether a file's name ends so, without the ending of a compressed file.
fn has_kind(path: &Path, kind: &str) -> bool {
    let ends = |path: &Path, kind: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(kind));
    let is_packed = ["gz", "zst"].iter().any(|kind| ends(path, kind));
    ends(if is_packed { Path::new(path.file_stem().unwrap_or_default()) } else { path }, kind)
}

/// The rows of a table; tabs separate the values of a `.tsv`.
pub(super) fn rows(
    text: Box<dyn BufRead + Send>,
    file: Arc<Path>,
    packing: Option<Packing>,
) -> Result<Rows, DatasetError> {
    let delimiter = if has_kind(&file, "tsv") { b'\t' } else { b',' };
    let read = Arc::new(AtomicUsize::new(0));
    let limited = Limited { inner: text, read: read.clone() };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(limited);
    let failed = move |file: &Path, error: &::csv::Error| failure(file, packing, error);
    let names: Vec<String> =
        reader.headers().map_err(|error| failed(&file, &error))?.iter().map(str::to_owned).collect();
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        let message = format!("line 1: two columns are called `{}`", twice.1);
        return Err(DatasetError::Csv { path: file.to_path_buf(), message });
    }
    if names.iter().all(|name| name.trim().is_empty()) {
        return Err(DatasetError::Empty { path: file.to_path_buf() });
    }
    let mut is_over = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        read.store(0, Ordering::Relaxed);
        let row = next(&mut reader, &names, &file).map_err(|error| failed(&file, &error)).transpose();
        is_over = !matches!(row, Some(Ok(_)));
        row
    })))
}

fn next(reader: &mut Reader<Limited>, names: &[String], file: &Arc<Path>) -> Result<Option<Row>, ::csv::Error> {
    let mut record = StringRecord::new();
    if !reader.read_record(&mut record)? {
        return Ok(None);
    }
    let line = record.position().map_or(0, ::csv::Position::line);
    let values: Map<String, Value> = names.iter().cloned().zip(record.iter().map(value)).collect();
    Ok(Some((Origin::line(file, line), Value::Object(values))))
}

fn value(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Null;
    }
    let is_list = text.trim_start().starts_with('[') && text.trim_end().ends_with(']');
    let list = is_list.then(|| python::from_str(text).ok()).flatten();
    let is_of_objects = |list: &Value| list.as_array().is_some_and(|list| list.iter().all(Value::is_object));
    list.filter(is_of_objects).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn failure(file: &Path, packing: Option<Packing>, error: &::csv::Error) -> DatasetError {
    let line = error.position().map(|position| format!("line {}: ", position.line())).unwrap_or_default();
    let what = match error.kind() {
        ::csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => error.to_string(),
        ::csv::ErrorKind::Io(error) => match packing {
            Some(packing) => return packing.error(file, error.to_string()),
            None => error.to_string(),
        },
        ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} values, and the header names {expected_len} columns")
        }
        ::csv::ErrorKind::Utf8 { .. } => "it is no UTF-8".to_owned(),
        _ => error.to_string(),
    };
    DatasetError::Csv { path: file.to_owned(), message: format!("{line}{what}") }
}

/// A reader that ends a record that is too long, such as one whose quotes are never closed.
struct Limited {
    inner: Box<dyn BufRead + Send>,
    read: Arc<AtomicUsize>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if self.read.fetch_add(length, Ordering::Relaxed) > RECORD_LIMIT {
            let message = format!("a record is longer than {RECORD_LIMIT} bytes: is a quote never closed?");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(name: &str, text: &'static str) -> Vec<Result<Value, String>> {
        let file: Arc<Path> = Arc::from(Path::new(name));
        let rows = rows(Box::new(text.as_bytes()), file, None);
        let rows = match rows {
            Ok(rows) => rows.collect(),
            Err(error) => vec![Err(error)],
        };
        rows.into_iter().map(|row| row.map(|row| row.1).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn values_are_texts_and_lists_of_objects_are_json() {
        let text = "\u{feff}prompt,chosen,rejected,label\n\"a, b\",\"two\nlines\", ,1\n\"[{\"\"role\"\":\"\"user\"\"}]\",[1],x,\n";
        let wanted = [
            json!({"prompt": "a, b", "chosen": "two\nlines", "rejected": null, "label": "1"}),
            json!({"prompt": [{"role": "user"}], "chosen": "[1]", "rejected": "x", "label": null}),
        ];
        assert_eq!(read("a.csv", text).into_iter().collect::<Result<Vec<_>, _>>().unwrap(), wanted);
        assert_eq!(read("a.TSV", "a\tb\n1,2\t3\n")[0], Ok(json!({"a": "1,2", "b": "3"})));
    }

    #[test]
    fn faults_name_their_line() {
        for (text, says) in [
            ("a,b\n1,2\n1\n", "a.csv: a table that can't be read: line 3: 1 values, and the header names 2 columns"),
            ("a,b,a\n1,2,3\n", "line 1: two columns are called `a`"),
            ("", "a.csv"),
        ] {
            let error = read("a.csv", text).into_iter().find_map(Result::err).unwrap();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn names_say_what_a_table_is() {
        for (name, is_table) in [("a.csv", true), ("a.CSV.gz", true), ("b/a.tsv.zst", true), ("a.csv.jsonl", false)] {
            assert_eq!(is_named(Path::new(name)), is_table, "{name}");
        }
    }
}

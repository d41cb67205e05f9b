//! `samples/step-N.jsonl`, and `samples/step-N.png` with `step-N.pictures.jsonl`: what the policy made at an evaluation.
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::lines::{self, damaged};
use super::sheets::Sheet;
use crate::Error;

/// The samples of the first and of the last evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    /// Answers by step, the first and the last.
    pub(crate) texts: Vec<(usize, Vec<TextSample>)>,
    /// Sheets of pictures by step, likewise.
    pub(crate) pictures: Vec<(usize, Sheet)>,
}

/// An answer to a prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextSample {
    pub(crate) prompt: String,
    pub(crate) response: String,
}

impl Samples {
    /// Reads the folder; there are none where it does not exist.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let mut samples = Self::default();
        for step in ends(&steps(folder, "jsonl")?) {
            samples.texts.push((step, texts(&folder.join(format!("step-{step}.jsonl")))?));
        }
        for step in ends(&steps(folder, "png")?) {
            samples.pictures.push((step, Sheet::read(folder, step)?));
        }
        Ok(samples)
    }
}

/// The first and the last, once where they are the same.
fn ends(steps: &[usize]) -> Vec<usize> {
    match steps {
        [] => Vec::new(),
        [only] => vec![*only],
        [first, .., last] => vec![*first, *last],
    }
}

/// The steps with a file of this kind, in order.
fn steps(folder: &Path, extension: &str) -> Result<Vec<usize>, Error> {
    let mut steps = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let name = entry.map_err(Error::io(folder))?.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.strip_suffix(extension));
            steps.extend(step.and_then(|step| step.strip_suffix('.')?.parse::<usize>().ok()));
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

fn texts(path: &Path) -> Result<Vec<TextSample>, Error> {
    let (lines, _) = lines::read(path)?.unwrap_or_default();
    let sample = |(number, fields): lines::Line| {
        let text = |name: &str| {
            let text = fields.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| damaged(path, number, format!("`{name}` is not a text")))
        };
        Ok(TextSample { prompt: text("prompt")?, response: text("response")? })
    };
    lines.into_iter().map(sample).collect()
}

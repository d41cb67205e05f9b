//! Files of samples as a folder of pairs.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datasets::images::{LatentShape, Pixels};
use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairWriter};
use datasets::{DatasetError, Format, Message, Origin, Text};
use serde_json::{Map, Value};

use crate::{Failure, Reporter};

/// The answers in a file, by prompt, in the order in which the prompts come.
pub(super) struct Samples {
    path: PathBuf,
    prompts: Vec<String>,
    answers: BTreeMap<String, Vec<Answer>>,
}

/// One answer.
enum Answer {
    Text(String),
    Picture(PathBuf),
}

/// The columns that hold a text's answer; the first that a record has counts.
const TEXTS: [&str; 4] = ["response", "completion", "output", "chosen"];
/// The columns that hold what was asked.
const PROMPTS: [&str; 3] = ["prompt", "instruction", "caption"];

impl Samples {
    /// Reads a file that `sample` or another program wrote: `prompt` with `response`, `completion`, `output`, or `image`; of
    /// preference data, `chosen`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let mut samples = Self { path: path.to_owned(), prompts: Vec::new(), answers: BTreeMap::new() };
        for row in datasets::reading::rows(path)? {
            let (origin, value) = row?;
            let wrong = |why: String| Failure::failed(format!("{origin}: {why}"));
            let column =
                |names: &[&str]| names.iter().find_map(|name| value.get(name).filter(|found| !found.is_null()));
            let (prompt, said) = asked(&origin, &value)?;
            let answer = match (column(&["image"]), said, column(&TEXTS)) {
                (Some(Value::String(name)), _, _) => Answer::Picture(path.parent().unwrap_or(Path::new("")).join(name)),
                (None, Some(text), _) => Answer::Text(said_by(text)),
                (None, None, Some(text)) => Answer::Text(words(&origin, text)?),
                _ => return Err(wrong(format!("there is neither an `image` nor one of {}", TEXTS.join(", ")))),
            };
            let answers = samples.answers.entry(prompt.clone()).or_default();
            if answers.is_empty() {
                samples.prompts.push(prompt);
            }
            answers.push(answer);
        }
        if samples.prompts.is_empty() {
            return Err(DatasetError::Empty { path: path.to_owned() }.into());
        }
        Ok(samples)
    }

    /// Writes the pairs of these answers with others to the same prompts. Where one side has more answers to a prompt, the
    /// other's come again.
    pub(super) fn against(&self, others: &Self, folder: &Path, reporter: &dyn Reporter) -> Result<(), Failure> {
        let (name, other_name) = (self.path.display(), others.path.display());
        let mut pairs: Vec<(&str, &Answer, &Answer)> = Vec::new();
        for prompt in &self.prompts {
            let (Some(own), Some(other)) = (self.answers.get(prompt), others.answers.get(prompt)) else { continue };
            let n = own.len().max(other.len());
            pairs.extend((0..n).map(|i| (&prompt[..], &own[i % own.len()], &other[i % other.len()])));
        }
        let shared = self.prompts.iter().filter(|prompt| others.answers.contains_key(*prompt)).count();
        if shared == 0 {
            let text = format!("{name} and {other_name} have no prompt in common: they must answer the same ones");
            return Err(Failure::failed(text));
        }
        for (name, left) in [(&name, self.prompts.len() - shared), (&other_name, others.prompts.len() - shared)] {
            if left > 0 {
                reporter.notice(&format!("{left} prompts of {name} are left out: the other file does not answer them"));
            }
        }
        match pairs[0].1 {
            Answer::Text(_) => write_texts(&pairs, folder),
            Answer::Picture(_) => write_pictures(&pairs, folder),
        }
    }
}

/// The prompt of a record, the same string for the same prompt however it is written; and the better answer, where the
/// record's columns hold the prompt and the answer as one.
fn asked(origin: &Origin, value: &Value) -> Result<(String, Option<Text>), Failure> {
    let named = PROMPTS.iter().find_map(|name| value.get(name).filter(|found| !found.is_null()));
    // An instruction may have an input, a system prompt or a history beside it.
    let prompt = match (datasets::formats::prompt(origin, value).map(|parsed| parsed.prompt.text), named) {
        (Ok(Text::Plain(whole)), _) => whole,
        (Ok(Text::Chat(messages)), _) => written(&messages)?,
        (Err(_), Some(Value::String(text))) => text.clone(),
        (Err(_), Some(chat)) => chat.to_string(),
        (Err(error), None) => return Err(error.into()),
    };
    if named.is_some() {
        return Ok((prompt, None));
    }
    let records = Format::detect(origin, value)?.parse(origin, value)?;
    let answer = records.first().and_then(|record| record.answers.texts().first().map(|&answer| answer.clone()));
    Ok((prompt, answer))
}

/// What an answer says, for a reader.
fn said_by(answer: Text) -> String {
    match answer {
        Text::Plain(text) => text,
        Text::Chat(messages) => spoken(&messages),
    }
}

/// The text of an answer: a string, or what the messages of a chat say.
fn words(origin: &Origin, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => {
            let messages: Vec<Message> = serde_json::from_value(other.clone()).map_err(|error| {
                Failure::failed(format!("{origin}: the answer is neither a text nor messages: {error}"))
            })?;
            Ok(spoken(&messages))
        }
    }
}

/// A chat as JSON, as a request of a folder of pairs: keys in one order, without those that say nothing.
fn written(messages: &[Message]) -> Result<String, Failure> {
    let message = |message: &Message| {
        let mut fields = Map::from(message.clone());
        let first = ["role", "content"].map(|name| fields.shift_remove_entry(name));
        fields.retain(|_, value| !value.is_null());
        fields.sort_keys();
        Value::Object(first.into_iter().flatten().chain(fields).collect())
    };
    let messages: Vec<Value> = messages.iter().map(message).collect();
    serde_json::to_string(&messages).map_err(|error| Failure::failed(error.to_string()))
}

/// What messages say, for a reader: a single text alone, else each with its role and the tools that it calls.
pub(super) fn spoken(messages: &[Message]) -> String {
    let calls =
        |message: &Message| message.fields.get("tool_calls").filter(|calls| !calls.is_null()).map(Value::to_string);
    if let [only] = messages
        && calls(only).is_none()
    {
        return only.content.words().trim().to_owned();
    }
    let parts = messages.iter().map(|message| {
        let words = [Some(message.content.words().trim().to_owned()), calls(message)];
        let words: Vec<String> = words.into_iter().flatten().filter(|words| !words.is_empty()).collect();
        format!("[{}]\n{}", message.role, words.join("\n"))
    });
    parts.collect::<Vec<_>>().join("\n\n")
}

fn mixed() -> Failure {
    Failure::failed("one file holds texts and the other pictures, or both hold both")
}

fn write_texts(pairs: &[(&str, &Answer, &Answer)], folder: &Path) -> Result<(), Failure> {
    let mut writer = PairWriter::create(folder, Modality::Token, Map::new(), None)?;
    for (prompt, a, b) in pairs {
        let (Answer::Text(a), Answer::Text(b)) = (a, b) else { return Err(mixed()) };
        writer.push(&GeneratedPair {
            request: (*prompt).to_owned(),
            a: side(NewResult::Response(a)),
            b: side(NewResult::Response(b)),
        })?;
    }
    Ok(writer.finish().map(drop)?)
}

/// Pictures without the latents that they were made of: their pixels stand in for these.
fn write_pictures(pairs: &[(&str, &Answer, &Answer)], folder: &Path) -> Result<(), Failure> {
    let mut writer: Option<PairWriter> = None;
    for (prompt, a, b) in pairs {
        let (Answer::Picture(a), Answer::Picture(b)) = (a, b) else { return Err(mixed()) };
        let ((a, of_a), (b, of_b)) = (open(a)?, open(b)?);
        let shape = LatentShape { height: a.height(), width: a.width(), channels: Pixels::CHANNELS };
        if writer.is_none() {
            writer = Some(PairWriter::create(folder, Modality::Diffusion, Map::new(), Some(shape))?);
        }
        let Some(writer) = &mut writer else { continue };
        writer.push(&GeneratedPair {
            request: (*prompt).to_owned(),
            a: side(NewResult::Image { picture: &a, latent: &of_a }),
            b: side(NewResult::Image { picture: &b, latent: &of_b }),
        })?;
    }
    writer.map_or(Ok(()), |writer| Ok(writer.finish().map(drop)?))
}

/// A picture, and its pixels as a latent.
fn open(path: &Path) -> Result<(Pixels, Vec<f32>), Failure> {
    let failed = |error: image::ImageError| Failure::failed(format!("{}: {error}", path.display()));
    let pixels = Pixels::from_rgb8(&image::open(path).map_err(failed)?.to_rgb8());
    let latent = pixels.values().to_vec();
    Ok((pixels, latent))
}

fn side(made: NewResult<'_>) -> GeneratedResult<NewResult<'_>> {
    GeneratedResult { refined: None, made, seed: 0, log_probs: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_shown_with_their_roles_and_calls() {
        let said = |list: Value| spoken(&serde_json::from_value::<Vec<Message>>(list).unwrap());
        assert_eq!(said(json!([{"role": "user", "content": " one alone \n"}])), "one alone");
        let call = json!([{"function": {"name": "f"}}]);
        let calls = said(json!([{"role": "assistant", "content": "", "tool_calls": call}]));
        assert_eq!(calls, "[assistant]\n[{\"function\":{\"name\":\"f\"}}]");
        let talk = json!([{"role": "assistant", "content": "a", "tool_calls": call}, {"role": "tool", "content": "3"}]);
        assert_eq!(said(talk), format!("[assistant]\na\n{}\n\n[tool]\n3", &calls["[assistant]\n".len()..]));
        let none = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "tool_calls": null}]);
        assert_eq!(said(none), "[user]\nq\n\n[assistant]\na");
    }
}

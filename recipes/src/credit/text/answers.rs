//! Answers whose credit is asked for: of records, or of an embedded problem.
use std::ops::Range;
use std::path::Path;

use datasets::synthetic::Split;
use datasets::{Answers, Format, Message, Origin, PreferenceRecord, Text};
use serde_json::{Map, Value};

use super::told::{MessageSpan, is_scored};
use crate::Failure;
use crate::embedded::{EmbeddedTexts, is_embedded, listed};
use crate::settings::Values;

/// Embedded records unless `data.limit` says otherwise.
const BUILTIN_RECORDS: usize = 256;

/// A prompt and the answers to it.
#[derive(Debug)]
pub(super) struct CreditRecord {
    pub(super) origin: Origin,
    pub(super) prompt: String,
    pub(super) answers: Vec<RecordAnswer>,
    /// The conversation whose answers those are, without their texts.
    pub(super) chat: Option<ChatRecord>,
}

/// A record of a conversation.
#[derive(Debug)]
pub(super) struct ChatRecord {
    pub(super) record: PreferenceRecord,
    /// The wrong spans of its last answer, the response or the rejected side, where they are known.
    spans: Option<Vec<MessageSpan>>,
}

impl ChatRecord {
    /// The wrong spans of an answer, where they are known.
    pub(super) fn spans_of(&self, answer: usize) -> Option<&[MessageSpan]> {
        let is_last = answer + 1 == self.record.answers.texts().len();
        self.spans.as_deref().filter(|_| is_last)
    }
}

/// An answer, and which of its characters are wrong, where that is known.
#[derive(Debug, PartialEq)]
pub(super) struct RecordAnswer {
    /// The field that it is in.
    pub(super) side: &'static str,
    pub(super) text: String,
    pub(super) spans: Option<Vec<Range<usize>>>,
}

/// The answers that `data.data` names.
pub(super) fn read(name: &str, values: &Values) -> Result<Vec<CreditRecord>, Failure> {
    let limit = values.data.limit();
    if limit == Some(0) {
        return Err(Failure::usage("`data.limit` takes at least 1"));
    }
    if is_embedded(name) {
        return embedded(name, limit.unwrap_or(BUILTIN_RECORDS), values);
    }
    let shards = datasets::reading::shards(Path::new(name), None)?;
    let mut asked = Vec::new();
    for file in shards.files {
        for row in datasets::reading::rows(&file)?.take(limit.unwrap_or(usize::MAX) - asked.len()) {
            let (origin, record) = row?;
            asked.push(of_row(origin, &record)?);
        }
    }
    if asked.is_empty() {
        return Err(Failure::failed(format!("{name}: there are no records in it")));
    }
    Ok(asked)
}

/// Posts of the test split, which no run has learned from.
fn embedded(name: &str, n: usize, values: &Values) -> Result<Vec<CreditRecord>, Failure> {
    let Some(texts) = EmbeddedTexts::all().find(|texts| texts.name == name) else {
        let known = listed(EmbeddedTexts::all().map(|texts| texts.name));
        return Err(Failure::usage(format!("there is no embedded data `{name}`; there are {known}")));
    };
    let records = (texts.records)(values.run.seed(), Split::Test, n as u64);
    records.map(|record| of_record(record, texts)).collect()
}

fn of_record(record: PreferenceRecord, texts: &EmbeddedTexts) -> Result<CreditRecord, Failure> {
    let plain = |text: &Text| match text {
        Text::Plain(text) => Ok(text.clone()),
        Text::Chat(_) => Err(Failure::failed(format!("{}: {CHAT}", record.origin))),
    };
    let prompt = plain(&record.prompt)?;
    let sides: &[&'static str] =
        if matches!(record.answers, Answers::Pair { .. }) { &["chosen", "rejected"] } else { &["response"] };
    let given = |(text, side): (&Text, &&'static str)| {
        let text = plain(text)?;
        let spans = texts.wrong_spans.and_then(|spans| spans(&prompt, &text));
        Ok(RecordAnswer { side, text, spans })
    };
    let answers = record.answers.texts().into_iter().zip(sides).map(given).collect::<Result<_, Failure>>()?;
    Ok(CreditRecord { origin: record.origin, prompt, answers, chat: None })
}

/// Fields that may be messages.
const TEXTS: [&str; 6] = ["prompt", "chosen", "rejected", "completion", "response", "messages"];

/// The refusal of conversations where only texts are read.
const CHAT: &str = "this is a conversation, and not a plain text";

/// A record of messages: a pair, or one answer.
fn of_chat(origin: Origin, record: &Value) -> Result<CreditRecord, Failure> {
    let refused = |text: &str| Failure::failed(format!("{origin}: {text}"));
    let parsed = Format::detect(&origin, record)?.parse(&origin, record)?;
    let [chat] = &parsed[..] else { return Err(refused("of a conversation tree credit reads the pairs, as records")) };
    let sides: &[&'static str] = match &chat.answers {
        Answers::Pair { .. } => &["chosen", "rejected"],
        Answers::Labelled { .. } | Answers::Demonstration(_) => &["response"],
        Answers::Ranked(_) | Answers::Forest { .. } => return Err(refused("credit reads pairs, or one answer")),
    };
    let answers = sides.iter().map(|side| RecordAnswer { side, text: String::new(), spans: None }).collect();
    let told = record.get("spans").filter(|spans| !spans.is_null());
    let last = chat.answers.texts().last().map(|text| (*text).clone());
    let spans = told.zip(last).map(|(spans, last)| spans_of_chat(&origin, spans, &last)).transpose()?;
    let chat = ChatRecord { record: chat.clone(), spans };
    Ok(CreditRecord { origin, prompt: String::new(), answers, chat: Some(chat) })
}

/// Checks spans of a conversation's answer: `[start, end]` in its one scored message, or `[message, start, end]`.
fn spans_of_chat(origin: &Origin, spans: &Value, answer: &Text) -> Result<Vec<MessageSpan>, Failure> {
    let messages = match answer {
        Text::Plain(text) => vec![Message::new("assistant", text.as_str())],
        Text::Chat(messages) => messages.clone(),
    };
    let takes = "spans of a conversation are a list of [message, start, end], with the number of a message of the answer, or of \
                 [start, end], if one message of it is scored";
    let wrong =
        |place: &str, found: &Value, why: &str| Failure::failed(format!("{origin}: `{place}` is {found}: {why}"));
    let Value::Array(list) = spans else { return Err(wrong("spans", spans, takes)) };
    let scored: Vec<usize> = (0..messages.len()).filter(|at| is_scored(&messages[*at])).collect();
    let span = |(index, span): (usize, &Value)| {
        let place = format!("spans[{index}]");
        let numbers = span.as_array().map(|ends| ends.iter().map(Value::as_u64).collect::<Vec<_>>());
        let (message, start, end) = match (numbers.as_deref(), &scored[..]) {
            (Some([Some(start), Some(end)]), [only]) => (*only, *start as usize, *end as usize),
            (Some([Some(message), Some(start), Some(end)]), _) => (*message as usize, *start as usize, *end as usize),
            _ => return Err(wrong(&place, span, takes)),
        };
        let n = messages.get(message).map_or(0, |message| message.content.words().chars().count());
        if start >= end || end > n {
            let why = format!("message {message} of the answer has {n} characters, and a span begins before its end");
            return Err(wrong(&place, span, &why));
        }
        Ok(MessageSpan { message, span: start..end })
    };
    list.iter().enumerate().map(span).collect()
}

/// A record: `prompt`, and `response` (or `completion`) or a pair of `chosen` and `rejected`. `spans` are those of
/// `response` or of `rejected`.
fn of_row(origin: Origin, record: &Value) -> Result<CreditRecord, Failure> {
    let Value::Object(fields) = record else {
        return Err(Failure::failed(format!("{origin}: a record is an object with a `prompt`, not {record}")));
    };
    let is_chat = |name: &&str| fields.get(*name).is_some_and(|value| value.is_array() || value.is_object());
    if TEXTS.iter().any(is_chat) {
        return of_chat(origin, record);
    }
    let prompt = text(&origin, fields, "prompt")?;
    let answer = |side: &'static str, spans: Option<&Value>| {
        let text = text(&origin, fields, side)?;
        if text.is_empty() {
            return Err(Failure::failed(format!("{origin}: `{side}` is empty")));
        }
        let n = text.chars().count();
        let spans = spans.map(|spans| spans_of(&origin, spans, side, n)).transpose()?;
        Ok(RecordAnswer { side, text, spans })
    };
    let spans = fields.get("spans").filter(|spans| !spans.is_null());
    let answers = if let Some(side) = ["response", "completion"].into_iter().find(|name| fields.contains_key(*name)) {
        vec![answer(side, spans)?]
    } else if fields.contains_key("chosen") && fields.contains_key("rejected") {
        vec![answer("chosen", None)?, answer("rejected", spans)?]
    } else {
        let found: Vec<&str> = fields.keys().map(String::as_str).collect();
        let text = "a record has `response`, or `chosen` and `rejected`";
        return Err(Failure::failed(format!("{origin}: {text}; this has {}", found.join(", "))));
    };
    Ok(CreditRecord { origin, prompt, answers, chat: None })
}

fn text(origin: &Origin, fields: &Map<String, Value>, name: &str) -> Result<String, Failure> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(Failure::failed(format!("{origin}: `{name}` is a text, not {other}"))),
        None => Err(Failure::failed(format!("{origin}: `{name}` is not there"))),
    }
}

/// Checks spans of an answer of `n` characters.
fn spans_of(origin: &Origin, spans: &Value, side: &str, n: usize) -> Result<Vec<Range<usize>>, Failure> {
    let wrong =
        |place: String, found: &Value, why: &str| Failure::failed(format!("{origin}: `{place}` is {found}: {why}"));
    let takes = "spans are a list of [start, end], in characters of the answer";
    let Value::Array(list) = spans else { return Err(wrong("spans".to_owned(), spans, takes)) };
    let span = |(index, span): (usize, &Value)| {
        let ends = span.as_array().map(|ends| ends.iter().map(Value::as_u64).collect::<Vec<_>>());
        let Some([Some(start), Some(end)]) = ends.as_deref() else {
            return Err(wrong(format!("spans[{index}]"), span, takes));
        };
        if start >= end || *end > n as u64 {
            let why = format!("`{side}` has {n} characters, and a span begins before its end");
            return Err(wrong(format!("spans[{index}]"), span, &why));
        }
        Ok(*start as usize..*end as usize)
    };
    list.iter().enumerate().map(span).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn read_row(record: &Value) -> Result<CreditRecord, Failure> {
        of_row(Origin::line(&Arc::from(Path::new("a.jsonl")), 3), record)
    }

    #[test]
    fn spans_are_those_of_the_response_or_of_the_rejected_side() {
        let one = read_row(&json!({"prompt": "p", "response": " née", "spans": [[1, 4]]})).unwrap();
        let given = |side, text: &str, spans| RecordAnswer { side, text: text.to_owned(), spans };
        assert_eq!(one.answers, [given("response", " née", Some(std::iter::once(1..4).collect()))]);
        let pair = read_row(&json!({"prompt": "p", "chosen": "a", "rejected": "bc", "spans": []})).unwrap();
        assert_eq!(pair.answers, [given("chosen", "a", None), given("rejected", "bc", Some(vec![]))]);
        let unknown = read_row(&json!({"prompt": "p", "completion": "a", "spans": null})).unwrap();
        assert_eq!(unknown.answers, [given("completion", "a", None)]);
    }

    #[test]
    fn spans_of_a_conversation_are_in_its_messages() {
        let user = json!({"role": "user", "content": "q"});
        let row = |answer: Value, spans: Value| {
            read_row(&json!({"prompt": [user], "response": answer, "spans": spans})).map(|read| {
                let spans = read.chat.unwrap().spans.unwrap();
                spans.into_iter().map(|MessageSpan { message, span }| (message, span)).collect::<Vec<_>>()
            })
        };
        assert_eq!(row(json!("née"), json!([[1, 2]])).unwrap(), [(0, 1..2)]);
        let assistant = |content: &str| json!({"role": "assistant", "content": content});
        let talk = json!([assistant("ab"), user, assistant("cd")]);
        assert_eq!(row(talk.clone(), json!([[2, 0, 2]])).unwrap(), [(2, 0..2)]);
        let said = row(talk, json!([[0, 2]])).unwrap_err().to_string();
        assert!(said.contains("if one message of it is scored"), "{said}");
    }

    #[test]
    fn bad_records_are_named_with_their_line() {
        for (record, says) in [
            (json!([]), "a record is an object"),
            (json!({"response": "a"}), "`prompt` is not there"),
            (json!({"prompt": "p"}), "`response`, or `chosen` and `rejected`; this has prompt"),
            (json!({"prompt": "p", "response": 3}), "`response` is a text, not 3"),
            (json!({"prompt": "p", "response": ""}), "`response` is empty"),
            (json!({"prompt": [{"role": "user"}], "response": "a"}), "`prompt[0].content` is missing"),
            (
                json!({"prompt": [{"role": "user", "content": "q"}], "response": "a", "spans": [[0, 2]]}),
                "message 0 of the answer has 1 characters",
            ),
            (
                json!({"prompt": [{"role": "user", "content": "q"}], "response": "a", "spans": [[1]]}),
                "spans of a conversation are a list of [message, start, end]",
            ),
            (json!({"prompt": "p", "response": "née", "spans": [[0, 1], [1, 4]]}), "`spans[1]` is [1,4]"),
            (json!({"prompt": "p", "response": "abc", "spans": [[2, 2]]}), "`spans[0]` is [2,2]"),
            (json!({"prompt": "p", "response": "abc", "spans": [[-1, 2]]}), "list of [start, end]"),
            (json!({"prompt": "p", "response": "abc", "spans": [[0, 1, 2]]}), "list of [start, end]"),
            (json!({"prompt": "p", "response": "abc", "spans": [["0", 1]]}), "list of [start, end]"),
            (json!({"prompt": "p", "response": "abc", "spans": "abc"}), "`spans` is \"abc\""),
        ] {
            let said = read_row(&record).unwrap_err().to_string();
            assert!(said.starts_with("a.jsonl, line 3: ") && said.contains(says), "{record}: {said}");
        }
    }
}

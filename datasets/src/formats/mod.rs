//! Preference file formats: one parser per format, selected by the fields of the first record.
mod choices;
mod column_names;
mod columns;
pub(crate) mod fields;
pub(crate) mod flat_tree;
mod hh;
mod join;
mod meanings;
pub(crate) mod messages;
mod pairs;
mod prompt_columns;
mod ranked;
mod single;
pub mod tldr;
mod tree;
pub(crate) mod weights;
mod winner;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::DatasetError;
use crate::reading::SplitKind;
use crate::record::{Answers, Origin, PreferenceRecord, Prompt, Text};
use crate::truncation::Truncation;
use fields::{Fields, Seen};

pub use choices::{ReadingChoices, TreePairs};
pub use column_names::column_names;

/// A record format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `prompt` (optional), `chosen`, `rejected`: strings or messages.
    Trl,
    /// OpenAI's summary comparisons; records in TRL's format are accepted too.
    Tldr,
    /// Two whole dialogues, `chosen` and `rejected`.
    Hh,
    /// `chosen`, `rejected` as messages that repeat the prompt, with scores.
    Ultrafeedback,
    /// `prompt`, `completion`, `label`.
    Kto,
    /// `prompt`, `responses` best first, or with `ranks` or `scores`.
    Ranked,
    /// Conversation trees with ranked replies: one a row, or one message a row.
    Tree,
    /// `prompt`, `completion`; or `messages`.
    Demonstration,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 8] = [
        Self::Trl,
        Self::Tldr,
        Self::Hh,
        Self::Ultrafeedback,
        Self::Kto,
        Self::Ranked,
        Self::Tree,
        Self::Demonstration,
    ];

    /// The name in `data.format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trl => "trl",
            Self::Tldr => "tldr",
            Self::Hh => "hh",
            Self::Ultrafeedback => "ultrafeedback",
            Self::Kto => "kto",
            Self::Ranked => "ranked",
            Self::Tree => "tree",
            Self::Demonstration => "demonstration",
        }
    }

    /// The fields of a record, for messages.
    pub fn fields(self) -> &'static str {
        match self {
            Self::Trl => "prompt (may be absent), chosen, rejected",
            Self::Tldr => "info, summaries, choice",
            Self::Hh => "chosen, rejected (dialogues with \"\\n\\nAssistant:\")",
            Self::Ultrafeedback => "chosen, rejected (messages), score_chosen, score_rejected",
            Self::Kto => "prompt, completion, label",
            Self::Ranked => "prompt, responses",
            Self::Tree => "prompt{text, role, replies} or message_id, parent_id, text, role",
            Self::Demonstration => "prompt, completion or messages",
        }
    }

    /// The default truncation of a plain prompt: dialogues keep their end, other texts keep start and end, where the
    /// question is.
    pub fn truncation(self) -> Truncation {
        if self == Self::Hh { Truncation::KeepEnd } else { Truncation::KeepBoth }
    }

    /// Detects the format of a record by its fields.
    ///
    /// # Errors
    /// No format has these fields; the message lists the fields found and the known formats.
    pub fn detect(origin: &Origin, record: &Value) -> Result<Self, DatasetError> {
        let fields = Fields::new(origin, record)?;
        let has = |names: &[&str]| names.iter().all(|name| fields.has(name));
        let is = |name: &str, kind: fn(&Value) -> bool| fields.optional(name).is_some_and(kind);
        if has(&["info", "summaries"]) {
            return Ok(Self::Tldr);
        }
        if is("prompt", |prompt| prompt.get("replies").is_some()) || has(&["text", "role", "replies"]) {
            return Ok(Self::Tree);
        }
        if pairs::is_pair(&fields) {
            let is_dialogue = |side: &Value| side.as_str().is_some_and(|side| side.contains(hh::TURN));
            if !fields.has("prompt") && is("chosen", is_dialogue) && is("rejected", is_dialogue) {
                return Ok(Self::Hh);
            }
            let is_scored = has(&["score_chosen"]) || is("prompt", Value::is_string);
            let is_ultrafeedback = is("chosen", Value::is_array) && is_scored;
            return Ok(if is_ultrafeedback { Self::Ultrafeedback } else { Self::Trl });
        }
        if has(&["responses"]) {
            return Ok(Self::Ranked);
        }
        if single::is_single(&fields) {
            return Ok(if single::is_labelled(&fields) { Self::Kto } else { Self::Demonstration });
        }
        if flat_tree::is_flat(record) {
            return Ok(Self::Tree);
        }
        if has(&["parent_id", "text", "role"]) {
            let message =
                "says that each row is one message of a tree, and there is no `message_id` that says of which";
            return Err(fields.refused("parent_id", message));
        }
        let known: Vec<String> = Self::ALL.iter().map(|format| format!("{format} ({})", format.fields())).collect();
        Err(DatasetError::UnknownFormat { origin: origin.clone(), found: fields.names(), known: known.join("; ") })
    }

    /// Parses the records of one row: one, or for a tree as many as it has ranked lists.
    ///
    /// # Errors
    /// A field is missing or wrong, an answer is empty, the sides have different prompts, or a column changes the
    /// record's meaning and is not supported.
    pub fn parse(self, origin: &Origin, record: &Value) -> Result<Vec<PreferenceRecord>, DatasetError> {
        self.read(origin, record).map(|read| read.records)
    }

    /// Parses the records of one row, and lists the columns not read.
    pub(crate) fn read(self, origin: &Origin, record: &Value) -> Result<Read, DatasetError> {
        self.read_with(origin, record, ReadingChoices::default())
    }

    /// As [`Format::read`], where records can be read in several ways.
    pub(crate) fn read_with(
        self,
        origin: &Origin,
        record: &Value,
        choices: ReadingChoices,
    ) -> Result<Read, DatasetError> {
        let seen = Seen::default();
        let fields = Fields::noting(origin, record, &seen)?;
        let is_pair = matches!(self, Self::Trl | Self::Ultrafeedback | Self::Tldr);
        if is_pair && !pairs::is_named(&fields) && winner::is_skipped(&fields) {
            return Ok(Read { records: Vec::new(), not_read: ["(pairs without a choice)".to_owned()].into() });
        }
        let mut records = match self {
            Self::Tldr if fields.has("info") || !fields.has("chosen") => vec![tldr::parse(&fields)?],
            Self::Trl | Self::Ultrafeedback | Self::Tldr => vec![pairs::parse(&fields)?],
            Self::Hh => vec![hh::parse(&fields)?],
            Self::Kto => vec![single::parse_labelled(&fields, choices)?],
            Self::Ranked => vec![ranked::parse(&fields)?],
            Self::Tree => tree::parse(&fields, record, choices.tree_pairs)?,
            Self::Demonstration => vec![single::parse_demonstration(&fields, choices)?],
        };
        let is_one_text = matches!(self, Self::Hh | Self::Tree) || self == Self::Tldr && fields.has("info");
        for record in &mut records {
            if !is_one_text {
                prompt_columns::join_context(&fields, record)?;
            }
            weights::read(&fields, record)?;
            columns::complete(&fields, record)?;
            messages::check_tool_results(origin, record)?;
            messages::pass_over_training(&fields, record);
            let found = record.answers.texts().len();
            if found > MOST_ANSWERS {
                return Err(DatasetError::ManyAnswers { origin: origin.clone(), found, limit: MOST_ANSWERS });
            }
        }
        Ok(Read { records, not_read: fields.not_read() })
    }

    /// The split named in a record; only OpenAI's comparisons have one.
    pub fn split(self, record: &Value) -> Option<SplitKind> {
        let split = record.get("split").filter(|_| self == Self::Tldr);
        split.and_then(Value::as_str).and_then(SplitKind::from_word)
    }
}

/// Whether one of the columns is a whole conversation.
pub(crate) fn has_conversations(columns: &[String]) -> bool {
    columns.iter().any(|column| prompt_columns::CONVERSATIONS.contains(&column.as_str()))
}

/// Maximum number of answers of a record, which share one batch.
pub const MOST_ANSWERS: usize = 1024;

/// The parsed content of a row.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) records: Vec<PreferenceRecord>,
    /// The non-empty columns and nested fields that were not read.
    pub(crate) not_read: BTreeSet<String>,
}

/// The prompt of a row, and the columns not read.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedPrompt {
    /// The prompt.
    pub prompt: Prompt,
    /// The non-empty columns that were not read.
    pub not_read: BTreeSet<String>,
}

/// Parses the prompt of a row, answered or not: `prompt`, a string or messages, or the question in another column;
/// otherwise a conversation without its last answer, or the common part of a pair's sides.
///
/// # Errors
/// The row has no prompt, or a column that changes the prompt and is not supported.
pub fn prompt(origin: &Origin, record: &Value) -> Result<ParsedPrompt, DatasetError> {
    let seen = Seen::default();
    let fields = Fields::noting(origin, record, &seen)?;
    let text = match (prompt_columns::prompt(&fields)?, prompt_columns::conversation_name(&fields)) {
        (Some(text), _) => text,
        (None, Some(name)) => asked_by(fields.text(name)?),
        (None, None) => {
            let read = Format::detect(origin, record).and_then(|format| format.read(origin, record));
            let Some(first) = read.ok().and_then(|read| read.records.into_iter().next()) else {
                return Err(fields.text("prompt").err().unwrap_or_else(|| fields.refused("prompt", "is not there")));
            };
            first.prompt
        }
    };
    // A conversation beside the prompt is the prompt with an answer, and nobody asks for that here.
    for name in prompt_columns::CONVERSATIONS {
        _ = fields.optional(name);
    }
    // What is asked goes through the same joins and checks as a record's.
    let mut record = PreferenceRecord::new(origin.clone(), text, Answers::Demonstration("".into()));
    prompt_columns::join_context(&fields, &mut record)?;
    columns::complete(&fields, &mut record)?;
    let prompt = Prompt { text: record.prompt, variables: record.variables };
    Ok(ParsedPrompt { prompt, not_read: fields.not_read() })
}

/// Parses the prompt of an image row: as [`prompt`], or else a `caption`. Images are ignored.
///
/// # Errors
/// As [`prompt`].
pub fn caption(origin: &Origin, record: &Value) -> Result<ParsedPrompt, DatasetError> {
    let Value::Object(map) = record else { return prompt(origin, record) };
    let mut map = map.clone();
    let media = meanings::COLUMNS.iter().filter(|(_, meaning)| *meaning == meanings::Meaning::Media);
    let is_told = |name: &&str| map.remove(*name).is_some_and(|value| !fields::is_empty(&value));
    let pictures: Vec<String> = media.map(|(name, _)| *name).filter(is_told).map(str::to_owned).collect();
    if map.get("prompt").is_none_or(Value::is_null)
        && let Some(caption) = map.remove("caption")
    {
        map.insert("prompt".to_owned(), caption);
    }
    let mut asked = prompt(origin, &Value::Object(map))?;
    asked.not_read.extend(pictures);
    Ok(asked)
}

/// A conversation without its final answer.
fn asked_by(conversation: Text) -> Text {
    match conversation {
        Text::Chat(mut messages) => {
            messages.pop_if(|last| last.role == "assistant");
            Text::Chat(messages)
        }
        plain @ Text::Plain(_) => plain,
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| DatasetError::UnknownName {
            what: "format",
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod column_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;

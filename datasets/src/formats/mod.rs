//! How files say what was preferred: one parser per format, and the choice by the fields of the first record.
pub(crate) mod fields;
mod hh;
mod pairs;
mod ranked;
mod single;
pub mod tldr;
mod tree;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::DatasetError;
use crate::reading::Split;
use crate::record::{Origin, PreferenceRecord};
use crate::tokenise::Truncation;
use fields::Fields;

/// A format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `prompt` (may be absent), `chosen`, `rejected`: strings or messages.
    Trl,
    /// OpenAI's comparisons of summaries; records in TRL's form are taken too.
    Tldr,
    /// Two whole dialogues, `chosen` and `rejected`.
    Hh,
    /// `chosen`, `rejected` as messages that repeat the prompt, with scores.
    Ultrafeedback,
    /// `prompt`, `completion`, `label`.
    Kto,
    /// `prompt`, `responses` best first, or with `ranks`.
    Ranked,
    /// Conversation trees with ranked replies.
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

    /// The name, as in `--format`.
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
            Self::Tree => "prompt{text, role, replies}",
            Self::Demonstration => "prompt, completion or messages",
        }
    }

    /// What of a long plain prompt is kept unless the user says otherwise: of a dialogue the end, of anything else the
    /// start and the end, where the question is asked.
    pub fn truncation(self) -> Truncation {
        if self == Self::Hh { Truncation::KeepEnd } else { Truncation::KeepBoth }
    }

    /// The format of a record, by its fields.
    ///
    /// # Errors
    /// No format has them; the message lists what was found and what is known.
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
        if has(&["chosen", "rejected"]) {
            let is_dialogue = |side: &Value| side.as_str().is_some_and(|side| side.contains(hh::TURN));
            if !fields.has("prompt") && is("chosen", is_dialogue) && is("rejected", is_dialogue) {
                return Ok(Self::Hh);
            }
            let is_scored = has(&["score_chosen"]) || is("prompt", Value::is_string);
            let is_ultrafeedback = is("chosen", Value::is_array) && is_scored;
            return Ok(if is_ultrafeedback { Self::Ultrafeedback } else { Self::Trl });
        }
        if has(&["prompt", "responses"]) {
            return Ok(Self::Ranked);
        }
        if has(&["prompt", "completion"]) {
            return Ok(if fields.has("label") { Self::Kto } else { Self::Demonstration });
        }
        if has(&["messages"]) {
            return Ok(Self::Demonstration);
        }
        let known: Vec<String> = Self::ALL.iter().map(|format| format!("{format} ({})", format.fields())).collect();
        Err(DatasetError::UnknownFormat { origin: origin.clone(), found: fields.names(), known: known.join("; ") })
    }

    /// The records in one row: one, but a tree has as many as it has ranked lists.
    ///
    /// # Errors
    /// A field is missing or wrong, an answer is empty, the sides do not share a prompt.
    pub fn parse(self, origin: &Origin, record: &Value) -> Result<Vec<PreferenceRecord>, DatasetError> {
        let fields = Fields::new(origin, record)?;
        match self {
            Self::Tldr if !fields.has("info") && fields.has("chosen") => pairs::parse(&fields),
            Self::Trl | Self::Ultrafeedback => pairs::parse(&fields),
            Self::Tldr => tldr::parse(&fields),
            Self::Hh => hh::parse(&fields),
            Self::Kto => single::parse_labelled(&fields),
            Self::Ranked => ranked::parse(&fields),
            Self::Tree => return tree::parse(origin, record),
            Self::Demonstration => single::parse_demonstration(&fields),
        }
        .map(|record| vec![record])
    }

    /// The split a record says it belongs to; only OpenAI's comparisons do.
    pub fn split(self, record: &Value) -> Option<Split> {
        match self {
            Self::Tldr => record.get("split").and_then(Value::as_str).and_then(Split::from_word),
            _ => None,
        }
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
mod tests;

//! One judgement: a line of `labels.jsonl`.

use serde_json::{Map, Value, json};

use super::VERSION;
use super::choice::LabelChoice;
use crate::error::DatasetError;
use crate::formats::fields::Fields;
use crate::record::Origin;

/// The kind of judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judge {
    /// A human labeller.
    Person,
    /// A rule with the ground truth.
    Oracle,
    /// A model.
    Model,
}

impl Judge {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Person, Self::Oracle, Self::Model];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Oracle => "oracle",
            Self::Model => "model",
        }
    }
}

/// The effect of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JudgementChange {
    /// Sets the labeller's choice for the pair, in place of an earlier one.
    Chosen(LabelChoice),
    /// Retracts the labeller's choice for the pair.
    Undone,
}

/// One judgement: a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The pair's index.
    pub index: usize,
    /// The labeller's name; see [`Judgement::is_name`].
    pub labeller: String,
    /// The kind of judge.
    pub by: Judge,
    /// The effect.
    pub change: JudgementChange,
}

impl Judgement {
    /// Whether a name is valid for a labeller: 1 to 64 characters, no control characters, no surrounding white space.
    pub fn is_name(name: &str) -> bool {
        (1..=64).contains(&name.chars().count()) && name.trim() == name && !name.chars().any(char::is_control)
    }

    /// The line, with its line break.
    pub(super) fn to_line(&self, id: &str) -> String {
        let mut map = Map::new();
        map.insert("version".into(), json!(VERSION));
        map.insert("pairs".into(), json!(id));
        map.insert("index".into(), json!(self.index));
        match self.change {
            JudgementChange::Chosen(choice) => map.insert("choice".into(), json!(choice.name())),
            JudgementChange::Undone => map.insert("undo".into(), json!(true)),
        };
        map.insert("labeller".into(), json!(self.labeller));
        map.insert("by".into(), json!(self.by.name()));
        format!("{}\n", Value::Object(map))
    }

    pub(super) fn parse(origin: &Origin, value: &Value, id: &str, pairs: usize) -> Result<Self, DatasetError> {
        let fields = Fields::new(origin, value)?;
        let wrong = |field, expected| Err(fields.wrong(field, expected, fields.required(field)?));
        if fields.count("version")? != VERSION {
            return wrong("version", "1, the only one there is");
        }
        if fields.string("pairs")? != id {
            return wrong("pairs", "the id of this folder's pairs; these judgements belong to other pairs");
        }
        let index = fields.count("index")? as usize;
        if index >= pairs {
            return wrong("index", "the number of a pair in this folder");
        }
        let labeller = fields.string("labeller")?;
        if !Self::is_name(labeller) {
            return wrong("labeller", "a name of 1 to 64 characters");
        }
        let by = fields.string("by")?;
        let Some(by) = Judge::ALL.into_iter().find(|judge| judge.name() == by) else {
            return wrong("by", "person, oracle or model");
        };
        let change = if fields.switch("undo")? {
            JudgementChange::Undone
        } else {
            let name = fields.string("choice")?;
            match LabelChoice::ALL.into_iter().find(|choice| choice.name() == name) {
                Some(choice) => JudgementChange::Chosen(choice),
                None => return wrong("choice", "a, b, tie or skip"),
            }
        };
        Ok(Self { index, labeller: labeller.to_owned(), by, change })
    }
}

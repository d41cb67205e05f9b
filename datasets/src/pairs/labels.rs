//! Judgements: the lines of `labels.jsonl`, and their current state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::choice::LabelChoice;
use super::types::Side;
use super::{VERSION, agreement, wire};
use crate::error::DatasetError;
use crate::formats::fields::Fields;
use crate::pairs::Agreement;
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

    fn parse(origin: &Origin, value: &Value, id: &str, pairs: usize) -> Result<Self, DatasetError> {
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

/// The aggregated judgements of one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    /// The pair's index.
    pub index: usize,
    /// P(`a` is better): the mean over labellers, with 0.5 for a tie.
    pub a_is_better: f64,
    /// Number of labellers in the mean.
    pub labellers: usize,
}

impl Preference {
    /// The two sides, the better one first; ties keep their order.
    pub fn order(&self) -> [Side; 2] {
        if self.a_is_better >= 0.5 { [Side::A, Side::B] } else { [Side::B, Side::A] }
    }

    /// P(the first of [`order`](Self::order) is better), from 0.5 to 1.
    pub fn strength(&self) -> f64 {
        self.a_is_better.max(1.0 - self.a_is_better)
    }
}

/// The current judgements of one folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgements {
    /// By pair and labeller.
    standing: BTreeMap<usize, BTreeMap<String, Standing>>,
    /// Number of lines read.
    lines: u64,
    /// The location of a truncated last line.
    cut: Option<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    choice: LabelChoice,
    by: Judge,
    /// The line of the choice.
    line: u64,
}

impl Judgements {
    /// Reads the judgements of a folder with this id and number of pairs; a missing file is empty.
    ///
    /// A truncated last line is ignored and recorded ([`Judgements::cut`]).
    ///
    /// # Errors
    /// Another line is malformed, or a judgement refers to other pairs: the error names line and field.
    pub fn read(path: &Path, id: &str, pairs: usize) -> Result<Self, DatasetError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&Arc::from(path), &bytes, id, pairs),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(DatasetError::Io { path: path.to_owned(), source }),
        }
    }

    pub(super) fn parse(file: &Arc<Path>, bytes: &[u8], id: &str, pairs: usize) -> Result<Self, DatasetError> {
        let mut labels = Self::default();
        let is_ended = bytes.ends_with(b"\n");
        let mut lines = wire::lines(file, bytes).peekable();
        while let Some((origin, line)) = lines.next() {
            match wire::parse_line(&origin, line) {
                Ok(value) => labels.apply(&Judgement::parse(&origin, &value, id, pairs)?),
                Err(_) if lines.peek().is_none() && !is_ended => labels.cut = Some(origin),
                Err(error) => return Err(error),
            }
        }
        Ok(labels)
    }

    /// Applies one more judgement.
    pub(super) fn apply(&mut self, label: &Judgement) {
        self.lines += 1;
        let of_pair = self.standing.entry(label.index).or_default();
        match label.change {
            JudgementChange::Chosen(choice) => {
                let standing = Standing { choice, by: label.by, line: self.lines };
                of_pair.insert(label.labeller.clone(), standing);
            }
            JudgementChange::Undone => {
                of_pair.remove(&label.labeller);
                if of_pair.is_empty() {
                    self.standing.remove(&label.index);
                }
            }
        }
    }

    /// The location of a truncated last line, if there is one.
    pub fn cut(&self) -> Option<&Origin> {
        self.cut.as_ref()
    }

    /// A labeller's current choice for a pair.
    pub fn choice(&self, index: usize, labeller: &str) -> Option<LabelChoice> {
        self.standing.get(&index)?.get(labeller).map(|standing| standing.choice)
    }

    /// Number of pairs a labeller has judged or skipped.
    pub fn count(&self, labeller: &str) -> usize {
        self.standing.values().filter(|of_pair| of_pair.contains_key(labeller)).count()
    }

    /// The pair of a labeller's latest current judgement.
    pub fn last(&self, labeller: &str) -> Option<usize> {
        let of_labeller = self.standing.iter().filter_map(|(index, of_pair)| Some((index, of_pair.get(labeller)?)));
        of_labeller.max_by_key(|(_, standing)| standing.line).map(|(index, _)| *index)
    }

    /// All labellers with current judgements, in alphabetical order.
    pub fn labellers(&self) -> BTreeSet<&str> {
        self.standing.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// The judgements of one kind of judge.
    #[must_use]
    pub fn only(&self, by: Judge) -> Self {
        let mut kept = self.clone();
        kept.standing.retain(|_, of_pair| {
            of_pair.retain(|_, standing| standing.by == by);
            !of_pair.is_empty()
        });
        kept
    }

    /// The judged pairs with P(`a` is better), without skipped ones.
    pub fn preferences(&self) -> Vec<Preference> {
        let preference = |(index, of_pair): (&usize, &BTreeMap<String, Standing>)| {
            let shares: Vec<f64> = of_pair.values().filter_map(|standing| standing.choice.share_of_a()).collect();
            let a_is_better = shares.iter().sum::<f64>() / shares.len() as f64;
            (!shares.is_empty()).then_some(Preference { index: *index, a_is_better, labellers: shares.len() })
        };
        self.standing.iter().filter_map(preference).collect()
    }

    /// The agreement of two labellers over the pairs that both judged; `None` if there are none.
    pub fn agreement_of(&self, first: &str, second: &str) -> Option<Agreement> {
        let judged =
            |index: &usize, labeller| self.choice(*index, labeller).filter(|choice| *choice != LabelChoice::Skip);
        let both = self.standing.keys().filter_map(|index| Some((judged(index, first)?, judged(index, second)?)));
        Agreement::between(both)
    }

    /// The agreement of labellers; `None` if no pair was judged by two.
    pub fn agreement(&self) -> Option<Agreement> {
        let judged = |of_pair: &BTreeMap<String, Standing>| {
            let judged = of_pair.iter().filter(|(_, standing)| standing.choice != LabelChoice::Skip);
            judged.map(|(labeller, standing)| (labeller.clone(), standing.choice)).collect()
        };
        agreement::of(self.standing.values().map(judged))
    }
}

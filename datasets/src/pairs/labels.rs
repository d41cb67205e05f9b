//! Judgements: lines of `labels.jsonl`, and what stands after all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::types::Side;
use super::{VERSION, agreement, wire};
use crate::error::DatasetError;
use crate::formats::fields::Fields;
use crate::pairs::Agreement;
use crate::record::Origin;

/// What somebody said of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// The first is better.
    A,
    /// The second is better.
    B,
    /// They are equally good.
    Tie,
    /// It can't be said; counts as not judged.
    Skip,
}

impl Choice {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::Tie, Self::Skip];

    /// The name, as in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
            Self::Skip => "skip",
        }
    }

    /// That this side is better.
    pub fn of(side: Side) -> Self {
        match side {
            Side::A => Self::A,
            Side::B => Self::B,
        }
    }

    /// How much it says for `a`, from 0 to 1; nothing where nothing was said.
    pub fn share_of_a(self) -> Option<f64> {
        match self {
            Self::A => Some(1.0),
            Self::B => Some(0.0),
            Self::Tie => Some(0.5),
            Self::Skip => None,
        }
    }
}

/// What kind of judge it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judge {
    /// Somebody who looked.
    Person,
    /// A rule that knows the answer.
    Oracle,
    /// A model.
    Model,
}

impl Judge {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Person, Self::Oracle, Self::Model];

    /// The name, as in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Oracle => "oracle",
            Self::Model => "model",
        }
    }
}

/// What a line of the file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It says this, in place of what the same labeller said of the same pair before.
    Chosen(Choice),
    /// It takes back what the same labeller said of the same pair.
    Undone,
}

/// One judgement: a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// The pair's number.
    pub index: usize,
    /// Who judges; see [`Label::is_name`].
    pub labeller: String,
    /// What kind of judge that is.
    pub by: Judge,
    /// What is said.
    pub verdict: Verdict,
}

impl Label {
    /// Whether this can be a labeller's name: 1 to 64 characters, no control characters, no white space around it.
    pub fn is_name(name: &str) -> bool {
        (1..=64).contains(&name.chars().count()) && name.trim() == name && !name.chars().any(char::is_control)
    }

    /// The line, with its end.
    pub(super) fn to_line(&self, id: &str) -> String {
        let mut map = Map::new();
        map.insert("version".into(), json!(VERSION));
        map.insert("pairs".into(), json!(id));
        map.insert("index".into(), json!(self.index));
        match self.verdict {
            Verdict::Chosen(choice) => map.insert("choice".into(), json!(choice.name())),
            Verdict::Undone => map.insert("undo".into(), json!(true)),
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
        let verdict = if fields.switch("undo")? {
            Verdict::Undone
        } else {
            let name = fields.string("choice")?;
            match Choice::ALL.into_iter().find(|choice| choice.name() == name) {
                Some(choice) => Verdict::Chosen(choice),
                None => return wrong("choice", "a, b, tie or skip"),
            }
        };
        Ok(Self { index, labeller: labeller.to_owned(), by, verdict })
    }
}

/// What labellers together say of one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    /// The pair's number.
    pub index: usize,
    /// P(`a` is better): the mean over labellers, a tie being 0.5.
    pub a_is_better: f64,
    /// How many labellers it is the mean of.
    pub labellers: usize,
}

impl Preference {
    /// The two sides, the better one first; a tie leaves them as they are.
    pub fn order(&self) -> [Side; 2] {
        if self.a_is_better >= 0.5 { [Side::A, Side::B] } else { [Side::B, Side::A] }
    }

    /// P(the first of [`order`](Self::order) is better), from 0.5 to 1.
    pub fn strength(&self) -> f64 {
        self.a_is_better.max(1.0 - self.a_is_better)
    }
}

/// What stands of the judgements of one folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// By pair and labeller.
    standing: BTreeMap<usize, BTreeMap<String, Standing>>,
    /// How many lines were taken.
    lines: u64,
    /// The place of a last line that was cut off.
    cut: Option<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    choice: Choice,
    by: Judge,
    /// Which line said it.
    line: u64,
}

impl Labels {
    /// Reads a file of judgements of the pairs of this id, of which there are so many; no file is no judgement.
    ///
    /// A last line that was cut off while it was written is left out and noted ([`Labels::cut`]).
    ///
    /// # Errors
    /// Another line is broken, or a judgement is of other pairs: line and field are named.
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
                Ok(value) => labels.apply(&Label::parse(&origin, &value, id, pairs)?),
                Err(_) if lines.peek().is_none() && !is_ended => labels.cut = Some(origin),
                Err(error) => return Err(error),
            }
        }
        Ok(labels)
    }

    /// Lets one more judgement stand.
    pub(super) fn apply(&mut self, label: &Label) {
        self.lines += 1;
        let of_pair = self.standing.entry(label.index).or_default();
        match label.verdict {
            Verdict::Chosen(choice) => {
                let standing = Standing { choice, by: label.by, line: self.lines };
                of_pair.insert(label.labeller.clone(), standing);
            }
            Verdict::Undone => {
                of_pair.remove(&label.labeller);
                if of_pair.is_empty() {
                    self.standing.remove(&label.index);
                }
            }
        }
    }

    /// Where a last line was cut off, if one was.
    pub fn cut(&self) -> Option<&Origin> {
        self.cut.as_ref()
    }

    /// What a labeller says of a pair.
    pub fn choice(&self, index: usize, labeller: &str) -> Option<Choice> {
        self.standing.get(&index)?.get(labeller).map(|standing| standing.choice)
    }

    /// How many pairs a labeller has judged or skipped.
    pub fn count(&self, labeller: &str) -> usize {
        self.standing.values().filter(|of_pair| of_pair.contains_key(labeller)).count()
    }

    /// The pair of a labeller's last judgement that stands.
    pub fn last(&self, labeller: &str) -> Option<usize> {
        let of_labeller = self.standing.iter().filter_map(|(index, of_pair)| Some((index, of_pair.get(labeller)?)));
        of_labeller.max_by_key(|(_, standing)| standing.line).map(|(index, _)| *index)
    }

    /// Everyone of whom a judgement stands, in the order of the alphabet.
    pub fn labellers(&self) -> BTreeSet<&str> {
        self.standing.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// The judgements of one kind of judge alone.
    #[must_use]
    pub fn only(&self, by: Judge) -> Self {
        let mut kept = self.clone();
        kept.standing.retain(|_, of_pair| {
            of_pair.retain(|_, standing| standing.by == by);
            !of_pair.is_empty()
        });
        kept
    }

    /// The pairs of which somebody has said something, with P(`a` is better); skipped ones are not among them.
    pub fn preferences(&self) -> Vec<Preference> {
        let preference = |(index, of_pair): (&usize, &BTreeMap<String, Standing>)| {
            let shares: Vec<f64> = of_pair.values().filter_map(|standing| standing.choice.share_of_a()).collect();
            let a_is_better = shares.iter().sum::<f64>() / shares.len() as f64;
            (!shares.is_empty()).then_some(Preference { index: *index, a_is_better, labellers: shares.len() })
        };
        self.standing.iter().filter_map(preference).collect()
    }

    /// How much the labellers agree; nothing if no pair was judged by two.
    pub fn agreement(&self) -> Option<Agreement> {
        let judged = |of_pair: &BTreeMap<String, Standing>| {
            let judged = of_pair.iter().filter(|(_, standing)| standing.choice != Choice::Skip);
            judged.map(|(labeller, standing)| (labeller.clone(), standing.choice)).collect()
        };
        agreement::of(self.standing.values().map(judged))
    }
}

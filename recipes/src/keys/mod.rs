//! Which verb reads which setting, and what else must hold for it.
//!
//! Names, types and defaults of settings are in [`crate::settings`]. Flags, the contents of a run's config file and the
//! refusal of unread settings derive from this table.

mod credit;
mod diffusion;
mod hybrid;
pub mod idle;
mod label;
mod report;
mod requirements;
mod rounds;
mod search;
mod shared;
mod subject;
mod token;

use ::train::tensorboard::Hyperparameter;
use toml::Value;

use crate::settings::{Field, Modality, Values};

use self::requirements::Condition;
pub(crate) use self::requirements::WITHOUT_REFERENCE;
pub(crate) use self::subject::Subject;

/// A verb, as bits, so that a setting can belong to several.
pub type Verbs = u16;
/// Training.
pub const TRAIN: Verbs = 1;
/// Scoring.
pub const SCORE: Verbs = 2;
/// Sampling.
pub const SAMPLE: Verbs = 4;
/// Describing.
pub const INSPECT: Verbs = 8;
/// Comparing by people.
pub const LABEL: Verbs = 16;
/// Comparing by a judge.
pub const JUDGE: Verbs = 32;
/// Searching.
pub const SEARCH: Verbs = 64;
/// Laying the reward on decisions.
pub const CREDIT: Verbs = 128;
/// Pages about runs.
pub const REPORT: Verbs = 256;
/// Measuring the paper's claims.
pub const REPRODUCE: Verbs = 512;
/// Measuring a model on a preference file.
pub const EVAL: Verbs = 1024;
/// Writing a model as a folder.
pub const EXPORT: Verbs = 2048;
/// Merging an adapter into its base.
pub const MERGE: Verbs = 4096;
/// Computing the numbers of a run's reference. It reads what they depend on, of what the run reads, under the run's conditions.
pub const PRECOMPUTE: Verbs = 8192;

/// Where a setting is read.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Which setting.
    pub field: &'static Field,
    /// The verbs that read it.
    pub verbs: Verbs,
    /// The kind of problem it is for, where it is for one alone.
    pub only: Option<Modality>,
    /// Whether a hybrid reads it as well, for the half of that kind.
    pub in_hybrid: bool,
    /// The value without effect, if there is one: it may always be given.
    pub off: &'static str,
    /// Conditions on other settings for it to be read: all must hold.
    pub when: &'static [Condition],
}

/// A setting of every kind of problem.
const fn key(field: &'static Field, verbs: Verbs) -> Key {
    Key { field, verbs, only: None, in_hybrid: false, off: "", when: &[] }
}

impl Key {
    /// Restricts it to one modality.
    const fn only(self, mdp: Modality) -> Self {
        Self { only: Some(mdp), ..self }
    }

    /// Lets a hybrid's half of that modality read it too.
    const fn in_hybrid(self) -> Self {
        Self { in_hybrid: true, ..self }
    }

    /// Sets the value without effect.
    const fn off(self, off: &'static str) -> Self {
        Self { off, ..self }
    }

    /// Sets the conditions, all of which must hold.
    const fn when(self, when: &'static [Condition]) -> Self {
        Self { when, ..self }
    }

    /// Whether a verb may read it of a kind of problem, whatever the other settings say.
    pub fn may_be_read(&self, verb: Verbs, mdp: Option<Modality>) -> bool {
        self.verbs & verb != 0 && self.is_for(mdp) && !self.when.iter().any(|when| when.is_impossible(verb, mdp))
    }

    /// Whether problems of this kind read it.
    pub fn is_for(&self, mdp: Option<Modality>) -> bool {
        self.only.is_none_or(|only| mdp == Some(only) || self.in_hybrid && mdp == Some(Modality::Hybrid))
    }
}

/// Those that score examples.
const SCORES: Verbs = SCORE | EVAL;
/// Those that write a model.
const EXPORTS: Verbs = EXPORT | MERGE;
/// Those that need the reference of a run.
const REFERS: Verbs = TRAIN | PRECOMPUTE;
const ALL: Verbs = REFERS | SCORES | SAMPLE | INSPECT;
const DATA: Verbs = REFERS | SCORES | INSPECT;

/// The table.
pub fn all() -> impl Iterator<Item = &'static Key> {
    shared::KEYS
        .iter()
        .chain(token::KEYS)
        .chain(diffusion::KEYS)
        .chain(hybrid::KEYS)
        .chain(label::KEYS)
        .chain(rounds::KEYS)
        .chain(search::KEYS)
        .chain(credit::KEYS)
        .chain(report::KEYS)
}

/// The values of the settings that a verb reads, as a config file.
pub fn to_toml(values: &Values, verb: Verbs) -> String {
    let mdp = Some(values.run.mdp());
    let read = all().filter(|key| key.verbs & verb != 0 && key.is_for(mdp));
    values.to_toml(read.map(|key| key.field))
}

/// The values of the settings that a verb reads, for tables of hyperparameters.
pub(crate) fn hyperparameters(values: &Values, verb: Verbs) -> Vec<(String, Hyperparameter)> {
    let mdp = Some(values.run.mdp());
    let read = all().filter(|key| key.verbs & verb != 0 && key.is_for(mdp));
    let value = |key: &Key| {
        Some(match key.field.value(values)? {
            Value::Integer(n) => Hyperparameter::Number(n as f64),
            Value::Float(x) => Hyperparameter::Number(x),
            Value::Boolean(on) => Hyperparameter::Switch(on),
            Value::String(text) => Hyperparameter::Text(text),
            other => Hyperparameter::Text(other.to_string()),
        })
    };
    read.filter_map(|key| Some((key.field.path.to_owned(), value(key)?))).collect()
}

#[cfg(test)]
mod tests {
    use crate::settings::{Kind, fields};

    use super::requirements::Requirement;
    use super::*;

    #[test]
    fn every_setting_is_in_the_table_once() {
        for field in fields() {
            assert_eq!(all().filter(|key| key.field == field).count(), 1, "{}", field.path);
        }
    }

    #[test]
    fn conditions_speak_of_words_that_there_are() {
        for need in all().flat_map(|key| key.when).map(|when| when.2) {
            if let Requirement::OneOf(field, words) | Requirement::NoneOf(field, words) = need
                && let Kind::Choice(known) = field.kind
            {
                assert!(words.iter().all(|word| known.contains(word)), "{}: {words:?}", field.path);
            }
        }
    }
}

//! Every setting once: its place in a config file, its flag, its default, what it takes.
//!
//! Flags, `--set`, config files, defaults, the messages about unknown keys and what is refused because nothing would read it
//! are all read off this table.

mod diffusion;
mod hybrid;
pub(crate) mod idle;
mod label;
mod needs;
mod rounds;
mod shared;
mod token;

use self::needs::When;
#[cfg(test)]
pub(crate) use shared::OBJECTIVES;

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A count.
    Count,
    /// A real number.
    Number,
    /// A text; a path where it names a file.
    Text,
    /// `true` or `false`; the flag alone means true.
    Switch,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Words with commas between.
    List,
}

/// A verb, as bits, so that a setting can belong to several.
pub(crate) type Verbs = u8;
pub(crate) const TRAIN: Verbs = 1;
pub(crate) const SCORE: Verbs = 2;
pub(crate) const SAMPLE: Verbs = 4;
pub(crate) const INSPECT: Verbs = 8;
pub(crate) const LABEL: Verbs = 16;
pub(crate) const JUDGE: Verbs = 32;

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// `section.name` in a config file.
    pub(crate) path: &'static str,
    /// The flag without its dashes.
    pub(crate) flag: &'static str,
    pub(crate) kind: Kind,
    /// As a config file would have it; empty: none.
    pub(crate) default: &'static str,
    pub(crate) verbs: Verbs,
    /// The kind of problem it is for, where it is for one alone.
    pub(crate) only: Option<&'static str>,
    /// Whether a hybrid reads it as well, for the half of that kind.
    pub(crate) in_hybrid: bool,
    /// The value that asks for nothing, where there is one: it may always be given.
    pub(crate) off: &'static str,
    /// What else must hold for it to be read: all of it.
    pub(crate) when: &'static [When],
    pub(crate) help: &'static str,
}

/// A setting of every kind of problem.
const fn key(
    path: &'static str,
    flag: &'static str,
    kind: Kind,
    default: &'static str,
    verbs: Verbs,
    help: &'static str,
) -> Key {
    Key { path, flag, kind, default, verbs, only: None, in_hybrid: false, off: "", when: &[], help }
}

impl Key {
    /// The same for one kind of problem alone.
    const fn only(self, mdp: &'static str) -> Self {
        Self { only: Some(mdp), ..self }
    }

    /// The same, which a hybrid's half of that kind reads too.
    const fn in_hybrid(self) -> Self {
        Self { in_hybrid: true, ..self }
    }

    /// The same, where this value asks for nothing.
    const fn off(self, off: &'static str) -> Self {
        Self { off, ..self }
    }

    /// The same, read only when all of this holds.
    const fn when(self, when: &'static [When]) -> Self {
        Self { when, ..self }
    }

    /// Whether problems of this kind read it.
    pub(crate) fn is_for(&self, mdp: &str) -> bool {
        self.only.is_none_or(|only| only == mdp || self.in_hybrid && mdp == "hybrid")
    }
}

const ALL: Verbs = TRAIN | SCORE | SAMPLE | INSPECT;
const DATA: Verbs = TRAIN | SCORE | INSPECT;

/// Where the settings name a model, and what it is compared with.
pub(crate) const MODELS: [(&str, &str); 3] = [
    ("model.model", "model.reference"),
    ("hybrid.refiner", "hybrid.refiner_reference"),
    ("hybrid.generator", "hybrid.generator_reference"),
];

/// The table.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    shared::KEYS
        .iter()
        .chain(token::KEYS)
        .chain(diffusion::KEYS)
        .chain(hybrid::KEYS)
        .chain(label::KEYS)
        .chain(rounds::KEYS)
}

/// The setting at `section.name`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_flags_are_named_once() {
        let keys: Vec<&Key> = all().collect();
        for (i, key) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|k| k.path != key.path), "{}", key.path);
            assert!(keys[i + 1..].iter().all(|k| k.flag != key.flag), "{}", key.flag);
            assert_eq!(key.path.split('.').count(), 2, "{}", key.path);
        }
    }
}

//! Settings as plain values.
//!
//! [`Settings`] is made of sections, as config files are. One definition of each section gives its struct, its defaults,
//! what config files may say, and the list of [`Field`]s from which a command line makes flags and help.

#[cfg(test)]
mod choice_tests;
#[macro_use]
mod choices;
mod credit;
mod data;
mod data_choices;
mod diffusion;
mod hybrid;
mod judge;
mod kinds;
mod label;
mod loss_choices;
mod model;
mod objective;
mod optimizer;
mod report;
mod rounds;
mod run;
mod sample;
mod search;
mod setting;
mod sources;
mod train;
mod values;
#[cfg(test)]
mod values_tests;
mod words;

use serde::{Deserialize, Serialize};
use toml::Value;

pub use self::choices::*;
pub use self::credit::Credit;
pub use self::data::Data;
pub use self::data_choices::*;
pub(crate) use self::diffusion::DRAWS_PER_PAIR;
pub use self::diffusion::Diffusion;
pub use self::hybrid::Hybrid;
pub use self::judge::Judge;
pub use self::kinds::*;
pub use self::label::Label;
pub use self::loss_choices::*;
pub use self::model::Model;
pub use self::objective::Objective;
pub use self::optimizer::Optimizer;
pub use self::report::Report;
pub use self::rounds::Rounds;
pub use self::run::Run;
pub use self::sample::Sample;
pub use self::search::Search;
pub use self::setting::{Setting, Texts};
pub use self::sources::Sources;
pub use self::train::Train;
pub use self::values::Values;
pub use ::train::Decay;
pub use datasets::pairs::Modality;

/// All settings there are, by section; each is read where it applies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The kind of problem, device, output and seed of a run.
    pub run: Run,
    /// The trained or sampled model.
    pub model: Model,
    /// The data set.
    pub data: Data,
    /// The loss.
    pub objective: Objective,
    /// The optimiser and its learning rate.
    pub optimizer: Optimizer,
    /// The length of a run, its evaluations and its checkpoints.
    pub train: Train,
    /// The scored decisions of finished images.
    pub diffusion: Diffusion,
    /// Sampling of answers and pictures.
    pub sample: Sample,
    /// Search over a policy's decisions.
    pub search: Search,
    /// A refiner and a generator as one problem.
    pub hybrid: Hybrid,
    /// Pairs to compare, and the page where people do.
    pub label: Label,
    /// Rounds of sampling, judging and training.
    pub rounds: Rounds,
    /// The judge of pairs.
    pub judge: Judge,
    /// Which decisions the reward is laid on.
    pub credit: Credit,
    /// Pages about runs.
    pub report: Report,
}

/// The fields of all sections by name: `at::objective::beta`.
pub mod at {
    pub use crate::settings::credit::at as credit;
    pub use crate::settings::data::at as data;
    pub use crate::settings::diffusion::at as diffusion;
    pub use crate::settings::hybrid::at as hybrid;
    pub use crate::settings::judge::at as judge;
    pub use crate::settings::label::at as label;
    pub use crate::settings::model::at as model;
    pub use crate::settings::objective::at as objective;
    pub use crate::settings::optimizer::at as optimizer;
    pub use crate::settings::report::at as report;
    pub use crate::settings::rounds::at as rounds;
    pub use crate::settings::run::at as run;
    pub use crate::settings::sample::at as sample;
    pub use crate::settings::search::at as search;
    pub use crate::settings::train::at as train;
}

/// Every field of every section, in their order.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    let sections = [
        at::run::ALL,
        at::model::ALL,
        at::data::ALL,
        at::objective::ALL,
        at::optimizer::ALL,
        at::train::ALL,
        at::diffusion::ALL,
        at::sample::ALL,
        at::search::ALL,
        at::hybrid::ALL,
        at::label::ALL,
        at::rounds::ALL,
        at::judge::ALL,
        at::credit::ALL,
        at::report::ALL,
    ];
    sections.into_iter().flatten().copied()
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count.
    Count,
    /// A real number.
    Number,
    /// A text; a path where it names a file.
    Text,
    /// `true` or `false`.
    Switch,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Words with commas between.
    List,
    /// Texts, each given by itself.
    Texts,
}

/// A setting: its path, name, type, and accessors in [`Settings`].
#[derive(Clone, Copy)]
pub struct Field {
    /// `section.name` in a config file.
    pub path: &'static str,
    /// The name alone: a flag without its dashes.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    help: &'static str,
    get: fn(&Settings) -> Option<Value>,
    set: fn(&mut Settings, &Value) -> bool,
    reset: fn(&mut Settings),
}

impl Field {
    /// The documentation of the setting, in a sentence.
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// Its value; nothing where it has none.
    pub fn value(&self, settings: &Settings) -> Option<Value> {
        (self.get)(settings)
    }

    /// Sets a text.
    pub(crate) fn put(&self, settings: &mut Settings, text: &str) {
        (self.set)(settings, &Value::String(text.to_owned()));
    }

    /// Its default as a flag would have it; nothing where it has none.
    pub fn default_text(&self) -> Option<String> {
        self.text(&Settings::default())
    }

    /// Its value as a flag would have it; nothing where it has none, or a list.
    pub fn text(&self, settings: &Settings) -> Option<String> {
        Some(match self.value(settings)? {
            Value::String(text) => text,
            Value::Float(number) => format!("{number:?}").trim_end_matches(".0").to_owned(),
            Value::Array(_) => return None,
            other => other.to_string(),
        })
    }
}

/// The place in config files, as messages have it.
impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.path)
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Field").field(&self.path).finish()
    }
}

/// Defines a section: its struct with the defaults, and the fields.
///
/// Each field is read through the method of its name, which records reads for tests.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $($(#[doc = $help:literal])+ $field:ident: $type:ty = $default:expr, $name:literal;)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Section {
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $Section {
            $(
                #[doc = concat!("What [`Self::", stringify!($field), "`] says.")]
                pub fn $field(&self) -> <$type as crate::settings::Setting>::Read<'_> {
                    crate::settings::note(at::$field.path);
                    crate::settings::Setting::read(&self.$field)
                }
            )+
        }

        #[doc = concat!("The fields of [`", stringify!($Section), "`].")]
        #[allow(non_upper_case_globals, reason = "they are named like the fields they stand for")]
        pub mod at {
            use crate::settings::{Field, Setting};
            #[allow(unused_imports, reason = "not every section has types of its own")]
            use super::*;

            $(
                #[doc = concat!("[`", stringify!($Section), "::", stringify!($field), "`](field@super::", stringify!($Section), "::", stringify!($field), ").")]
                pub const $field: Field = Field {
                    path: concat!(stringify!($section), ".", stringify!($field)),
                    name: $name,
                    kind: <$type as Setting>::KIND,
                    help: concat!($($help),+),
                    get: |settings| settings.$section.$field.to_value(),
                    set: |settings, value| match Setting::from_value(value) {
                        Some(value) => {
                            settings.$section.$field = value;
                            true
                        }
                        None => false,
                    },
                    reset: |settings| settings.$section.$field = $Section::default().$field,
                };
            )+

            /// All of them.
            pub const ALL: &[&Field] = &[$(&$field),+];
        }
    };
}

use section;

/// Remembers that a setting was read, in tests.
#[cfg(any(test, feature = "reads"))]
fn note(path: &'static str) {
    reads::note(path);
}

#[cfg(not(any(test, feature = "reads")))]
fn note(_: &'static str) {}

/// Which settings have been read on this thread.
#[cfg(any(test, feature = "reads"))]
pub mod reads {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static READ: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(path: &'static str) {
        READ.with_borrow_mut(|read| read.insert(path));
    }

    /// Takes the reads since the last call.
    pub fn take() -> BTreeSet<&'static str> {
        READ.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_said_once() {
        let all: Vec<&Field> = fields().collect();
        for (i, field) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other.path != field.path), "{}", field.path);
            assert!(all[i + 1..].iter().all(|other| other.name != field.name), "{}", field.name);
            assert!(!field.help().is_empty() && field.path.split('.').count() == 2, "{}", field.path);
        }
    }

    #[test]
    fn defaults_are_said_as_people_write_them() {
        let texts = [at::optimizer::lr, at::model::lora_alpha, at::data::eval_share, at::train::batch_size];
        let texts = texts.map(|field| field.default_text().unwrap());
        assert_eq!(texts, ["5e-7", "16", "0.05", "64"]);
        assert_eq!(at::run::out.default_text(), None);
    }

    #[test]
    fn a_config_file_is_the_settings() {
        let settings: Settings =
            toml::from_str("[objective]\nname = \"ipo\"\nbeta = 1\n[run]\nmdp = \"hybrid\"").unwrap();
        assert_eq!((settings.objective.name, settings.objective.beta), (Loss::Ipo, 1.0));
        assert_eq!(settings.run.mdp, Modality::Hybrid);
        assert!(toml::from_str::<Settings>("[objective]\nbetta = 1").is_err());
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }
}

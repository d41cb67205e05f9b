//! Conditions on other settings for a setting to be read.
//!
//! Each setting of the table states its own: `.when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))])`.
//! [`super::idle`] walks the table and refuses given settings that would not be read.
use crate::denoiser::embeds_guidance;
use crate::embedded::is_embedded;
use crate::origin::origin_of;
use crate::settings::{DRAWS_PER_PAIR, Field, Modality, Scheme, SearchMethod, SearchScore, TimestepsName, Values, at};

use super::{SEARCH, Verbs};

/// Conditions of every kind of problem.
pub(super) const ANY: Option<Modality> = None;
/// Conditions of language models.
pub(super) const TOKEN: Option<Modality> = Some(Modality::Token);
/// Conditions of denoisers.
pub(super) const DIFFUSION: Option<Modality> = Some(Modality::Diffusion);
/// Conditions of a refiner and a generator.
pub(super) const HYBRID: Option<Modality> = Some(Modality::Hybrid);

/// Where examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// There are no examples.
    Absent,
    /// Made by the program: `builtin:NAME`.
    Embedded,
    /// A file of records or pictures, or a folder of such files.
    Files,
    /// A folder of pairs, or the pairs that rounds make.
    Pairs,
    Latents,
    Trajectories,
}

impl Data {
    fn name(self) -> &'static str {
        match self {
            Self::Absent => "no data",
            Self::Embedded => "embedded data",
            Self::Files => "a file or a folder of files in `data.data`",
            Self::Pairs => "a folder of pairs",
            Self::Latents => "`data.latents`",
            Self::Trajectories => "`diffusion.trajectories`",
        }
    }
}

/// The facts that decide which settings a verb reads.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    pub verb: Verbs,
    /// The modality; `None` when a run's folder is inspected.
    pub mdp: Option<Modality>,
    pub data: Data,
    /// Whether a model's weights are loaded.
    pub loads: bool,
    pub values: &'a Values,
}

/// A condition, for some verbs and one kind of problem (none: for all).
#[derive(Clone, Copy, Debug)]
pub struct Condition(pub Verbs, pub Option<Modality>, pub Requirement);

impl Condition {
    /// The reason why a setting is not read; `None` if it is.
    pub(super) fn refusal(&self, here: &Usage<'_>) -> Option<String> {
        if self.concerns(here.verb, here.mdp) { self.2.refusal(here) } else { None }
    }

    /// Whether no other setting can satisfy it for a verb and a modality.
    pub(super) fn is_impossible(&self, verb: Verbs, mdp: Option<Modality>) -> bool {
        let cannot_hold = match self.2 {
            Requirement::Never(_) => true,
            Requirement::OneOf(field, words) if *field == at::run::mdp => {
                mdp.is_some_and(|mdp| !words.contains(&mdp.name()))
            }
            Requirement::OneOf(..)
            | Requirement::NoneOf(..)
            | Requirement::AnyGiven(_)
            | Requirement::NotGiven(..)
            | Requirement::DataFrom(_)
            | Requirement::Predicate(..)
            | Requirement::WordPredicate(..) => false,
        };
        cannot_hold && self.concerns(verb, mdp)
    }

    fn concerns(&self, verb: Verbs, mdp: Option<Modality>) -> bool {
        self.0 & verb != 0 && (self.1.is_none() || self.1 == mdp)
    }
}

/// A condition on other settings.
#[derive(Clone, Copy, Debug)]
pub enum Requirement {
    /// Another setting is one of these words.
    OneOf(&'static Field, &'static [&'static str]),
    /// Another setting is none of these words.
    NoneOf(&'static Field, &'static [&'static str]),
    /// One of some other settings has a value.
    AnyGiven(&'static [&'static Field]),
    /// Another setting has no value, and why it matters.
    NotGiven(&'static Field, &'static str),
    /// Examples come from there.
    DataFrom(&'static [Data]),
    /// Any other condition, with its text.
    Predicate(fn(&Usage<'_>) -> bool, &'static str),
    /// A condition that a word of another setting decides, with the text that follows that word.
    WordPredicate(fn(&Usage<'_>) -> bool, &'static Field, &'static str),
    /// Never read; the text names the replacement.
    Never(&'static str),
}

impl Requirement {
    fn refusal(self, here: &Usage<'_>) -> Option<String> {
        let word = |field: &Field| here.words(field).concat();
        let (holds, text) = match self {
            // Of several losses one that reads it is enough.
            Self::OneOf(field, words) => {
                let found = here.words(field);
                let text = format!("is for {field} {}, {}", either(words), do_not_read(&found));
                (found.iter().any(|found| words.contains(&&**found)), text)
            }
            Self::NoneOf(field, words) => {
                let found = here.words(field);
                let text = format!("would do nothing: {field} {}: {}", do_not_read(&found), all_but(words));
                (found.iter().any(|found| !words.contains(&&**found)), text)
            }
            Self::AnyGiven(fields) => {
                let names: Vec<String> = fields.iter().map(ToString::to_string).collect();
                let text = format!("goes with {}, and nothing reads it without", names.join(" or "));
                (fields.iter().any(|field| field.value(here.values).is_some()), text)
            }
            Self::NotGiven(field, why) => {
                let text = format!("is not for {field}: {why}");
                (field.value(here.values).is_none(), text)
            }
            Self::DataFrom(kinds) => {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let text = if here.data == Data::Absent {
                    format!("is for {}, and there is no data here", either(&names))
                } else {
                    format!("is for {}, {} does not read it", either(&names), here.data.name())
                };
                (kinds.contains(&here.data), text)
            }
            Self::Predicate(holds, text) => (holds(here), text.to_owned()),
            Self::WordPredicate(holds, field, text) => {
                (holds(here), format!("would do nothing: {field} {} {text}", word(field)))
            }
            Self::Never(text) => (false, text.to_owned()),
        };
        (!holds).then_some(text)
    }
}

/// Joins words: `a, b or c`.
fn either(words: &[&str]) -> String {
    listed(words, "or")
}

/// Joins words, with another word before the last.
fn listed(words: &[&str], between: &str) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [more @ .., last] => format!("{} {between} {last}", more.join(", ")),
    }
}

/// Says that nothing reads it with the words of a setting: `dpo does not read it`, `dpo and bco do not read it`.
fn do_not_read(found: &[String]) -> String {
    let verb = if found.len() > 1 { "do" } else { "does" };
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    format!("{} {verb} not read it", listed(&found, "and"))
}

/// Says that the others do: `all but sft, kto and plackett-luce do`. `none` turns something off.
fn all_but(words: &[&str]) -> String {
    if words == ["none"] { "any other does".to_owned() } else { format!("all but {} do", listed(words, "and")) }
}

/// Losses that read no reference.
pub(crate) const WITHOUT_REFERENCE: &[&str] = &["sft", "simpo", "orpo", "cpl"];

/// Losses that can't follow a reference that moves: those that read none, and one whose divergence is that from a fixed one.
pub(super) const WITHOUT_FOLLOWING: &[&str] = &["sft", "simpo", "orpo", "cpl", "tdpo"];

/// Losses of the margin of log-ratios, which any divergence fits.
pub(super) const OF_MARGINS: &[&str] = &["dpo", "dpo-norm", "cdpo", "robust", "ipo", "hinge", "exo", "discopop"];

/// Losses of pairs of log-ratios.
pub(super) const OF_RATIOS: &[&str] = &[
    "dpo", "dpo-norm", "cdpo", "robust", "ipo", "hinge", "exo", "discopop", "dpop", "nca", "bco", "apo-zero",
    "apo-down", "sppo",
];

/// Losses that compare no pair.
pub(super) const WITHOUT_PAIRS: &[&str] = &["sft", "kto", "plackett-luce"];

/// What compares with a reference is read where there is one.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path to a method is not general enough for `Predicate`"
)]
pub(super) const COMPARES: Requirement = Requirement::Predicate(
    |here| here.has_reference(),
    "goes with a reference, and nothing reads it without: name one, or a run or an adapter as the model",
);

/// The refusal of another model where `sample` has no use for it.
pub(super) const NO_OTHER: &str = "goes with `label.pairs`, and nothing reads it without; with `sample.search` it goes with \
                                   `search.score` implicit";

/// The refusal of a reference where rounds move it.
pub(super) const FIXED: &str = "is for all rounds alike: it goes with `rounds.reference` fixed";

// Conditions read fields directly: the methods of the same names record reads of a run.
impl Usage<'_> {
    /// The words of a setting: one, or those of all losses of a sum.
    fn words(&self, field: &Field) -> Vec<String> {
        let losses = &self.values.objective.losses;
        if *field == at::objective::name && !losses.is_empty() {
            let word = |text: &String| text.split(':').next().unwrap_or_default().trim().to_owned();
            return losses.iter().map(word).collect();
        }
        match field.value(self.values) {
            Some(toml::Value::String(word)) => vec![word],
            _ => vec![String::new()],
        }
    }

    fn is_rounds(&self) -> bool {
        self.values.rounds.rounds.is_some()
    }

    /// Whether anything is held out of training.
    pub(super) fn holds_out(&self) -> bool {
        let is_made = self.data == Data::Embedded && self.mdp != TOKEN && !self.is_on_trajectories();
        is_made
            || self.values.data.eval_data.is_some()
            || self.is_rounds() && self.prompts_are_embedded()
            || self.values.data.eval_share != 0.0
    }

    /// Whether a share is held out of the data: in rounds, of each round's pairs.
    pub(super) fn splits(&self) -> bool {
        self.data != Data::Embedded || self.mdp == TOKEN || self.is_on_trajectories()
    }

    /// Whether rounds use the prompts of an embedded model's problem.
    fn prompts_are_embedded(&self) -> bool {
        let sample = &self.values.sample;
        sample.prompt.0.is_empty() && sample.prompts.as_ref().is_none_or(|prompts| is_embedded(prompts))
    }

    fn is_on_trajectories(&self) -> bool {
        self.values.diffusion.scheme == Scheme::Trajectory && self.mdp == DIFFUSION
    }

    /// Whether samples are shown at evaluations.
    pub(super) fn shows_samples(&self) -> bool {
        self.values.train.n_samples != 0 && self.data != Data::Latents
    }

    /// Whether training generates pictures: to show them, to judge them, or as trajectories.
    pub(super) fn draws_pictures(&self) -> bool {
        self.shows_samples() || self.data == Data::Embedded || self.is_on_trajectories() || self.is_rounds()
    }

    /// Whether scored decisions depend on guidance.
    pub(super) fn is_guided(&self) -> bool {
        self.draws_pictures() || self.values.diffusion.scheme == Scheme::Half
    }

    /// Whether the denoiser is told of guidance as a number.
    pub(super) fn embeds_guidance(&self) -> bool {
        let names = [&self.values.model.model, &self.values.hybrid.generator];
        names.into_iter().flatten().any(|name| embeds_guidance(name))
    }

    /// Whether a denoiser's reference is used.
    pub(super) fn compares_denoisers(&self) -> bool {
        let reads = |loss: &String| !WITHOUT_REFERENCE.contains(&&**loss);
        self.words(&at::objective::name).iter().any(reads) || self.values.diffusion.scheme != Scheme::Forward
    }

    /// Whether a language model or its data is random.
    pub(super) fn is_by_chance(&self) -> bool {
        let is_drawn = |model: &Option<String>| model.as_ref().is_some_and(|name| name.ends_with("-untrained"));
        let model = &self.values.model;
        self.data == Data::Embedded || is_drawn(&model.model) || is_drawn(&model.reference)
    }

    /// Whether pictures are encoded to latents; a run or an adapter is assumed to have its base's autoencoder.
    pub(super) fn encodes(&self) -> bool {
        let model = std::path::Path::new(self.values.model.model.as_deref().unwrap_or_default());
        let is_plain = model.is_dir() && !model.join("config.toml").is_file();
        !is_plain || model.join("vae").is_dir()
    }

    /// Whether there is a reference: named, or what the model came from.
    pub(super) fn has_reference(&self) -> bool {
        let (model, hybrid) = (&self.values.model, &self.values.hybrid);
        if self.mdp == HYBRID {
            let is_named = hybrid.refiner_reference.is_some() || hybrid.generator_reference.is_some();
            return is_named || (model.model.is_some() && !self.names_both_halves());
        }
        let origin = || origin_of(model.model.as_deref().unwrap_or_default(), self.mdp.unwrap_or_default());
        model.reference.is_some() || matches!(origin(), Ok(Some(_)))
    }

    /// Whether both halves of a hybrid are named, so that no run defines them.
    pub(super) fn names_both_halves(&self) -> bool {
        self.values.hybrid.refiner.is_some() && self.values.hybrid.generator.is_some()
    }

    /// Whether the run makes pairs.
    pub(super) fn makes_pairs(&self) -> bool {
        self.is_rounds() || self.data == Data::Embedded
    }

    /// Whether timesteps are stratified with a single stratum.
    pub(super) fn has_one_stratum(&self) -> bool {
        let diffusion = &self.values.diffusion;
        diffusion.timesteps == TimestepsName::Stratified && diffusion.draws_per_pair.unwrap_or(DRAWS_PER_PAIR) < 2
    }

    /// Whether its prompts are in a file.
    pub(super) fn asks_of_file(&self) -> bool {
        self.values.sample.prompt().is_empty() && self.values.sample.prompts().is_some_and(|name| !is_embedded(name))
    }

    /// Whether answers, their model or their prompts depend on the seed.
    pub(super) fn samples_by_chance(&self) -> bool {
        self.searches_by_chance() || self.values.label.pairs.is_some()
    }

    /// The method of a search, if the verb searches.
    pub(super) fn search_method(&self) -> Option<SearchMethod> {
        if self.verb == SEARCH { Some(self.values.search.method) } else { self.values.sample.search }
    }

    /// Whether tokens are drawn by chance, by a search or without one.
    pub(super) fn draws_words(&self) -> bool {
        self.search_method().is_none_or(SearchMethod::draws)
    }

    /// Whether the tokens that are found, or the prompts that ask for them, depend on the seed.
    pub(super) fn searches_by_chance(&self) -> bool {
        let is_drawn = self.draws_words() && !self.is_greedy();
        is_drawn || self.is_by_chance() || self.prompts_are_embedded()
    }

    /// Whether the number of answers or pairs is read: greedy search finds one answer, particles are as many as the width.
    pub(super) fn reads_n(&self) -> bool {
        let has_its_own = matches!(self.search_method(), Some(SearchMethod::Greedy | SearchMethod::Smc));
        !has_its_own || self.values.label.pairs.is_some()
    }

    /// Whether `sample` has a use for another model: as side b of pairs, or behind the score of a search.
    pub(super) fn samples_beside_another(&self) -> bool {
        let is_of_score = self.values.search.score == SearchScore::Implicit;
        if self.values.sample.search.is_some() { is_of_score } else { self.values.label.pairs.is_some() }
    }

    /// Whether sampling is deterministic.
    pub(super) fn is_greedy(&self) -> bool {
        self.values.sample.temperature == 0.0
    }

    /// Whether rounds keep a fixed reference.
    pub(super) fn reference_is_fixed(&self) -> bool {
        !self.is_rounds() || self.values.rounds.reference == crate::settings::RoundReference::Fixed
    }
}

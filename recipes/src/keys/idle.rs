//! Refuses settings that are given but would not be read, for every verb.
use std::path::Path;

use crate::settings::{Kind, Modality, Values, at};

use super::requirements::{Data, Usage};
use super::{
    CREDIT, EVAL, EXPORT, INSPECT, JUDGE, Key, LABEL, MERGE, PRECOMPUTE, REPORT, REPRODUCE, SAMPLE, SCORE, SEARCH,
    Subject, TRAIN, Verbs, all,
};
use crate::Failure;
use crate::embedded::is_embedded;
use crate::judged_pairs::is_pair_folder;

/// Refuses the first given setting that nothing reads, once all settings are known: wrong usage, with the condition
/// under which it is read. Config files, such as a run's own, may hold inapplicable settings.
pub fn refuse(values: &Values, verb: Verbs) -> Result<(), Failure> {
    let data = data(values, verb);
    refuse_here(&Usage { verb, mdp: Some(values.run.mdp), data, loads: true, values })
}

/// Refuses what `precompute` was given and the numbers of a run's reference do not depend on.
pub(crate) fn refuse_beside_reference(values: &Values) -> Result<(), Failure> {
    let typed = all().filter(|key| values.is_typed(key.field) && key.verbs & PRECOMPUTE == 0 && !is_off(key, values));
    match typed.map(|key| key.field).next() {
        Some(field) => Err(Failure::usage(format!(
            "{field} is not read by precompute: the reference's numbers do not depend on it (a config file may have it)"
        ))),
        None => Ok(()),
    }
}

/// The same for `inspect`, whose modality is that of the inspected subject.
pub(crate) fn refuse_beside(subject: &Subject, values: &Values) -> Result<(), Failure> {
    let (mdp, data, loads) = match subject {
        Subject::Model => (Some(Modality::Token), Data::Absent, true),
        Subject::Denoiser => (Some(Modality::Diffusion), Data::Absent, true),
        Subject::Texts(name, _) => (Some(Modality::Token), kind_of(name), true),
        Subject::Pictures(name, model) => (Some(Modality::Diffusion), kind_of(name), model.is_some()),
        Subject::Run | Subject::Pairs | Subject::Tensors => (None, Data::Absent, false),
    };
    refuse_here(&Usage { verb: INSPECT, mdp, data, loads, values })
}

/// Refuses several sources where they are not mixed, also those of a config file: only one of them would be read.
fn refuse_several(here: &Usage<'_>) -> Result<(), Failure> {
    let reads_data = all().any(|key| *key.field == at::data::data && key.verbs & here.verb != 0);
    let mixes = here.verb == TRAIN && here.mdp == Some(Modality::Token);
    if mixes || !reads_data || !here.values.data.data.are_several() {
        return Ok(());
    }
    let text =
        format!("{} takes one source here: several are mixed by `train` of `run.mdp` token alone", at::data::data);
    Err(Failure::usage(text))
}

fn refuse_here(here: &Usage<'_>) -> Result<(), Failure> {
    refuse_several(here)?;
    #[cfg(feature = "reads")]
    reads::note(here);
    let typed = all().filter(|key| here.values.is_typed(key.field));
    match typed.filter(|key| !is_off(key, here.values)).find_map(|key| Some((key, refusal(key, here)?))) {
        Some((key, why)) => Err(Failure::usage(format!("{} {why}", key.field))),
        None => Ok(()),
    }
}

/// Whether its value has no effect: a switch at its default, a share of 0.
fn is_off(key: &Key, values: &Values) -> bool {
    match key.field.kind {
        Kind::Switch => key.field.default_text().is_some_and(|usual| values.is(key.field, &usual)),
        Kind::Count | Kind::Number | Kind::Text | Kind::Choice(_) | Kind::List | Kind::Texts => {
            !key.off.is_empty() && values.is(key.field, key.off)
        }
    }
}

/// The reason why a setting is not read; `None` if it is.
pub(super) fn refusal(key: &Key, here: &Usage<'_>) -> Option<String> {
    if key.verbs & here.verb == 0 {
        return Some(format!("is not read by {}", name(here.verb)));
    }
    if !key.is_for(here.mdp) {
        return Some(of_another_problem(key, here));
    }
    key.when.iter().find_map(|when| when.refusal(here))
}

fn name(verb: Verbs) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == verb).map_or("judge", |(_, name)| name)
}

/// The names of several verbs.
pub fn names(verbs: Verbs) -> Vec<&'static str> {
    NAMES.iter().filter(|(verb, _)| verb & verbs != 0).map(|(_, name)| *name).collect()
}

const NAMES: &[(Verbs, &str)] = &[
    (TRAIN, "train"),
    (PRECOMPUTE, "precompute"),
    (SCORE, "score"),
    (EVAL, "eval"),
    (EXPORT, "export"),
    (MERGE, "merge"),
    (SAMPLE, "sample"),
    (SEARCH, "search"),
    (INSPECT, "inspect"),
    (LABEL, "label"),
    (CREDIT, "credit"),
    (REPORT, "report"),
    (REPRODUCE, "reproduce"),
    (JUDGE, "judge"),
];

fn of_another_problem(key: &Key, here: &Usage<'_>) -> String {
    let only = key.only.unwrap_or_default();
    if let (true, Some(mdp)) = (here.verb != INSPECT, here.mdp) {
        return format!("is for `run.mdp` {}, {} does not read it", only.name(), mdp.name());
    }
    let of = if only == Modality::Token { "texts and language models" } else { "pictures and denoisers" };
    format!("is for {of}, and this is something else")
}

/// Where the examples of training or scoring come from.
fn data(values: &Values, verb: Verbs) -> Data {
    let is_diffusion = values.run.mdp == Modality::Diffusion;
    if verb == TRAIN && values.rounds.rounds.is_some() {
        return Data::Pairs;
    }
    if verb & (TRAIN | SCORE | EVAL | CREDIT) != 0 && is_diffusion && values.data.latents.is_some() {
        return Data::Latents;
    }
    if verb == TRAIN && is_diffusion && values.diffusion.trajectories.is_some() {
        return Data::Trajectories;
    }
    let kinds: Vec<Data> = values.data.data.all().iter().map(|text| kind_of(text)).collect();
    // Of several sources: what is for files is read if one of them is a file.
    kinds.iter().copied().find(|kind| *kind != Data::Pairs).or(kinds.first().copied()).unwrap_or(Data::Absent)
}

fn kind_of(name: &str) -> Data {
    match name {
        "" => Data::Absent,
        name if is_embedded(name) => Data::Embedded,
        name if is_pair_folder(Path::new(name)) => Data::Pairs,
        _ => Data::Files,
    }
}

/// The settings that the table says are read, for the last command checked on this thread.
#[cfg(feature = "reads")]
pub mod reads {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::{Key, Usage, Verbs, all, refusal};

    thread_local! {
        static TABLE: RefCell<Option<(Verbs, BTreeSet<&'static str>)>> = const { RefCell::new(None) };
    }

    pub(super) fn note(here: &Usage<'_>) {
        let is_read = |key: &&'static Key| key.verbs & here.verb != 0 && refusal(key, here).is_none();
        TABLE.set(Some((here.verb, all().filter(is_read).map(|key| key.field.path).collect())));
    }

    /// Takes the verb and the settings.
    pub fn take() -> Option<(Verbs, BTreeSet<&'static str>)> {
        TABLE.take()
    }
}

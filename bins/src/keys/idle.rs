//! What is typed and would not be read is refused, for every verb in one place.
use std::path::Path;

use super::needs::{Data, Here};
use super::{INSPECT, Key, LABEL, SAMPLE, SCORE, TRAIN, Verbs, all};
use crate::Failure;
use crate::inspect::Subject;
use crate::judged::is_pair_folder;
use crate::values::Values;

/// Refuses the first setting that was typed and that nothing reads, once all settings are known: wrong usage, with what
/// would read it. A config file, such as a run's own, may hold what does not apply.
pub(crate) fn refuse(values: &Values, verb: Verbs) -> Result<(), Failure> {
    let data = data(values, verb);
    refuse_here(&Here { verb, mdp: values.peek_word("run.mdp"), data, loads: true, values })
}

/// The same for `inspect`, whose problem is that of what it looks at.
pub(crate) fn refuse_beside(subject: &Subject, values: &Values) -> Result<(), Failure> {
    let (mdp, data, loads) = match subject {
        Subject::Model => ("token", Data::Absent, true),
        Subject::Denoiser => ("diffusion", Data::Absent, true),
        Subject::Texts(name, _) => ("token", kind_of(name), true),
        Subject::Pictures(name, model) => ("diffusion", kind_of(name), model.is_some()),
        Subject::Run | Subject::Pairs | Subject::Tensors => ("", Data::Absent, false),
    };
    refuse_here(&Here { verb: INSPECT, mdp, data, loads, values })
}

fn refuse_here(here: &Here<'_>) -> Result<(), Failure> {
    #[cfg(test)]
    tests::note(here);
    let typed = all().filter(|key| here.values.is_typed(key.path));
    match typed.filter(|key| !here.values.is_off(key)).find_map(|key| Some((key, refusal(key, here)?))) {
        Some((key, why)) => Err(Failure::usage(format!("--{} {why}", key.flag))),
        None => Ok(()),
    }
}

/// Why a setting is not read; nothing where it is.
pub(super) fn refusal(key: &Key, here: &Here<'_>) -> Option<String> {
    if key.verbs & here.verb == 0 {
        return Some(format!("is not read by {}", name(here.verb)));
    }
    if !key.is_for(here.mdp) {
        return Some(of_another_problem(key, here));
    }
    key.when.iter().find_map(|when| when.refusal(here))
}

fn name(verb: Verbs) -> &'static str {
    let names = [(TRAIN, "train"), (SCORE, "score"), (SAMPLE, "sample"), (INSPECT, "inspect"), (LABEL, "label")];
    names.into_iter().find(|(known, _)| *known == verb).map_or("judge", |(_, name)| name)
}

fn of_another_problem(key: &Key, here: &Here<'_>) -> String {
    let only = key.only.unwrap_or_default();
    if here.verb != INSPECT {
        return format!("is for --mdp {only}, {} does not read it", here.mdp);
    }
    let of = if only == "token" { "texts and language models" } else { "pictures and denoisers" };
    format!("is for {of}, and this is something else")
}

/// Where the examples of training or scoring come from.
fn data(values: &Values, verb: Verbs) -> Data {
    let is_diffusion = values.peek_word("run.mdp") == "diffusion";
    if verb == TRAIN && values.has("rounds.rounds") {
        return Data::Pairs;
    }
    if verb & (TRAIN | SCORE) != 0 && is_diffusion && values.has("data.latents") {
        return Data::Latents;
    }
    if verb == TRAIN && is_diffusion && values.has("diffusion.trajectories") {
        return Data::Trajectories;
    }
    kind_of(values.peek_word("data.data"))
}

fn kind_of(name: &str) -> Data {
    match name {
        "" => Data::Absent,
        name if name.starts_with("builtin:") => Data::Embedded,
        name if is_pair_folder(Path::new(name)) => Data::Pairs,
        _ => Data::Files,
    }
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;

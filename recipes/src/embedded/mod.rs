//! The embedded problems of the program, one value in one file each.
//!
//! An [`EmbeddedProblem`] holds everything specific to one problem: models, data, prompts, an oracle, the settings of
//! its run. The rest of the crate looks problems up here by the name in the settings and knows none by name. A new
//! problem is a file with a `PROBLEM` in it and a word in the list below.
mod data;
mod model;
mod oracle;

use datasets::synthetic::Split;

use crate::settings::{Field, Modality, Settings, Values, at};

pub(crate) use data::{EmbeddedHybrid, EmbeddedImages, EmbeddedTexts, ImageExample, RefinedPair, WrongPixels};
pub(crate) use model::{EmbeddedModel, ModelKind, find_model, is_model};
pub use oracle::JudgedPolicy;
pub(crate) use oracle::{AnyOracle, Oracle, PROMPTS, PictureOracle, WinRate};

/// Lists the problems.
macro_rules! problems {
    ($($problem:ident),+) => {
        $(mod $problem;)+

        /// All problems; the first of a modality is its default.
        const ALL: &[&EmbeddedProblem] = &[$(&$problem::PROBLEM),+];
    };
}

problems!(tldr, shapes, chimera);

/// The prefix of names of embedded models, data and prompts.
const PREFIX: &str = "builtin:";

/// A problem with known optimal answers, and models that are deliberately imperfect at it.
pub(crate) struct EmbeddedProblem {
    /// The name of its prompts and of its hybrid pairs.
    pub(crate) name: &'static str,
    /// The kind of decision problem that it is.
    pub(crate) modality: Modality,
    /// Its models; a hybrid has one of each kind.
    pub(crate) models: &'static [EmbeddedModel],
    /// Data for language models.
    pub(crate) texts: &'static [EmbeddedTexts],
    /// Data for denoisers.
    pub(crate) images: &'static [EmbeddedImages],
    /// The refiner's template and the pairs of a hybrid.
    pub(crate) hybrid: Option<EmbeddedHybrid>,
    /// The prompt of an index in a split, by seed.
    pub(crate) prompt: fn(u64, Split, u64) -> String,
    /// The records of its run, for others to be compared with: `metrics.jsonl` as training with nothing
    /// else makes it, without the numbers of the clock and rounded to six digits.
    pub(crate) reference_run: &'static str,
    /// The oracle that judges answers.
    pub(crate) oracle: AnyOracle,
    /// The defaults of its run, applied after loss and scheme are known.
    pub(crate) preset: fn(&mut Values),
}

impl EmbeddedProblem {
    /// The name of its model of a kind: of a hybrid the refiner or the generator.
    pub(crate) fn model_name(&self, kind: ModelKind) -> &'static str {
        self.models.iter().find(|model| model.kind == kind).map_or("", |model| model.name)
    }

    /// The first `n` prompts of a split.
    pub(crate) fn prompts(&self, seed: u64, split: Split, n: u64) -> Vec<String> {
        (0..n).map(|index| (self.prompt)(seed, split, index)).collect()
    }
}

/// All problems, in the order in which messages name them.
pub(crate) fn problems() -> impl Iterator<Item = &'static EmbeddedProblem> {
    ALL.iter().copied()
}

/// Finds a problem by the name of its prompts or pairs.
pub(crate) fn find(name: &str) -> Option<&'static EmbeddedProblem> {
    problems().find(|problem| problem.name == name)
}

/// The default problem of a modality.
pub(crate) fn usual(modality: Modality) -> &'static EmbeddedProblem {
    problems().find(|problem| problem.modality == modality).unwrap_or(ALL[0])
}

/// The problem that owns a name of a model or of data.
pub(crate) fn owner(name: &str, modality: Modality) -> Option<&'static EmbeddedProblem> {
    problems().find(|problem| problem.modality == modality && name.starts_with(problem.name))
}

/// The hybrid problem of an embedded refiner.
pub(crate) fn of_refiner(name: &str) -> Option<&'static EmbeddedHybrid> {
    let is_own = |problem: &&EmbeddedProblem| name.starts_with(problem.model_name(ModelKind::Language));
    problems().filter(|problem| problem.hybrid.is_some()).find(is_own)?.hybrid.as_ref()
}

/// Whether a name has the embedded prefix, known or not.
pub fn is_embedded(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The embedded names that a setting takes.
pub fn names_for(field: &Field) -> Vec<&'static str> {
    let models = || problems().flat_map(|problem| problem.models.iter().map(|model| model.name));
    let fits = |field: &Field, fields: &[Field]| fields.contains(field);
    if fits(field, &[at::data::data, at::data::eval_data]) {
        let texts = problems().flat_map(|problem| problem.texts.iter().map(|texts| texts.name));
        let images = problems().flat_map(|problem| problem.images.iter().map(|images| images.name));
        let hybrids = problems().filter(|problem| problem.hybrid.is_some()).map(|problem| problem.name);
        texts.chain(images).chain(hybrids).collect()
    } else if *field == at::sample::prompts {
        problems().map(|problem| problem.name).collect()
    } else if fits(field, &[at::model::model, at::model::reference])
        || field.path.starts_with("hybrid.") && (field.path.contains("refiner") || field.path.contains("generator"))
    {
        models().collect()
    } else {
        Vec::new()
    }
}

/// `a, b and c`.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match &names[..] {
        [more @ .., last] if !more.is_empty() => format!("{} and {last}", more.join(", ")),
        names => names.concat(),
    }
}

/// Defaults for sampling answers to an embedded hybrid's requests.
pub(crate) fn answer_requests(problem: &EmbeddedProblem, settings: &mut Settings) {
    if let Some(hybrid) = &problem.hybrid {
        hybrid.template.clone_into(&mut settings.hybrid.template);
        settings.data.max_length = hybrid.max_length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_has_one() {
        for modality in Modality::ALL {
            assert_eq!(usual(modality).modality, modality);
        }
    }

    #[test]
    fn names_begin_alike_and_are_said_once() {
        let mut models: Vec<&str> = problems().flat_map(|problem| problem.models).map(|model| model.name).collect();
        let mut data: Vec<&str> = problems().flat_map(|problem| problem.texts).map(|data| data.name).collect();
        data.extend(problems().flat_map(|problem| problem.images).map(|data| data.name));
        for names in [&mut models, &mut data] {
            let n = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), n, "{names:?}");
            assert!(names.iter().all(|name| is_embedded(name)), "{names:?}");
        }
    }

    #[test]
    fn every_file_of_a_model_has_something_in_it() {
        for model in problems().flat_map(|problem| problem.models) {
            assert!(model.files.iter().all(|(_, bytes)| !bytes.is_empty()), "{}", model.name);
        }
    }

    #[test]
    fn an_oracle_reads_the_prompts_of_its_own_problem_and_no_others() {
        for asked in problems() {
            for prompt in asked.prompts(3, Split::Test, 20) {
                for judge in problems() {
                    assert_eq!(judge.oracle.reads(&prompt), std::ptr::eq(asked, judge), "{}: {prompt}", judge.name);
                }
            }
        }
    }

    #[test]
    fn lists_are_said_as_people_say_them() {
        let say = |names: &[&'static str]| listed(names.iter().copied());
        assert_eq!([say(&["a"]), say(&["a", "b"]), say(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }
}

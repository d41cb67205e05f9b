//! `search`.
mod check;
mod diffusion;
mod hybrid;
mod methods;
mod pairs;
mod token;

use models::formats::ModelFiles;

use crate::hybrid::Files;
use crate::origin::origin_of;
use crate::sampled::Sampled;
use crate::settings::{Field, Modality, SearchMethod, SearchScore, SearchSettings, Values, at};
use crate::{Call, Failure, denoiser, model};

/// Searches the decisions of a policy for answers or pictures of a high score.
///
/// The results are those of [`sample`](crate::sample()) with the numbers of the search. Answers are also written to `run.out`
/// where that names a file, pictures always.
///
/// # Errors
/// Settings that make no sense, and files that can't be read or written.
pub fn search(call: Call<'_, impl SearchSettings>) -> Result<Vec<Sampled>, Failure> {
    let mut call = call.found(crate::keys::SEARCH)?;
    // A run's config file may name what other verbs read.
    call.values.reset(&at::sample::search);
    call.values.reset(&at::label::pairs);
    run(call)
}

/// Searches for what [`sample`](crate::sample()) would draw: its lines, its pictures, or the sides of its pairs.
pub(crate) fn in_place_of_draws(mut call: Call<'_>, method: SearchMethod) -> Result<Vec<Sampled>, Failure> {
    call.values.set(|settings| settings.search.method = method);
    run(call)
}

/// Checks the settings of a search for pairs, whose folder is not named yet.
pub(crate) fn check_for_pairs(values: &Values, method: SearchMethod) -> Result<(), Failure> {
    let mut values = values.clone();
    values.set(|settings| {
        settings.search.method = method;
        settings.label.pairs = Some(String::new());
    });
    check::check_search(&values)
}

/// Presets of a search that `sample` does not have: some denoising steps must draw.
pub(crate) fn presets(values: &mut Values) {
    if values.run.mdp() == Modality::Diffusion {
        values.preset(|settings| settings.sample.eta = 1.0);
    }
}

/// Checks a denoiser and the other models of its search, which must be able to draw.
pub(crate) fn check_denoiser(values: &Values, loaded: &denoiser::Loaded) -> Result<(), Failure> {
    diffusion::plan(values, loaded)?;
    others(values).try_for_each(|(field, name)| denoiser::load_alike(name, field, loaded, values).map(drop))
}

/// Checks a language model and the other models of its search, which must read its tokens.
pub(crate) fn check_language_model(
    values: &Values,
    method: SearchMethod,
    (name, files): (&str, &ModelFiles),
) -> Result<(), Failure> {
    let mut own = values.clone();
    own.set(|settings| settings.search.method = method);
    token::check_width(&own, name, files.config.vocabulary.min(files.tokenizer()?.n_tokens()))?;
    others(values).try_for_each(|(field, other)| model::load_alike(files, other, &field.to_string(), values).map(drop))
}

/// Checks a refiner, whose tokens a search looks at.
pub(crate) fn check_refiner(values: &Values, method: SearchMethod, files: &Files) -> Result<(), Failure> {
    let mut own = values.clone();
    own.set(|settings| settings.search.method = method);
    hybrid::check_width(&own, files)
}

/// The models that guide or verify, by their settings.
fn others(values: &Values) -> impl Iterator<Item = (&'static Field, &str)> {
    let search = &values.search;
    let named = [
        (&at::search::verifier, search.verifier()),
        (&at::search::guide, search.guide()),
        (&at::search::guide_reference, search.guide_reference()),
    ];
    named.into_iter().filter_map(|(field, name)| Some((field, name?)))
}

fn run(mut call: Call<'_>) -> Result<Vec<Sampled>, Failure> {
    check::check(&call.values)?;
    presets(&mut call.values);
    match call.values.run.mdp() {
        Modality::Token => token::search(&call),
        Modality::Diffusion => diffusion::search(&call),
        Modality::Hybrid => hybrid::search(&mut call),
    }
}

/// The reference of an implicit reward: the one that is named, what a run began with or stayed close to, the base of an
/// adapter.
fn reference(name: &str, values: &Values) -> Result<String, Failure> {
    if let Some(reference) = values.model.reference() {
        return Ok(reference.to_owned());
    }
    origin_of(name, values.run.mdp())?.ok_or_else(|| {
        Failure::usage(format!(
            "{} implicit needs {}: {name} is no run and no adapter, so nothing says what it came from",
            at::search::score,
            at::model::reference
        ))
    })
}

/// The models behind a score, by their roles.
struct Cast<P> {
    policy: P,
    reference: Option<P>,
    /// The tuned one, and the one before.
    guides: Option<[P; 2]>,
    verifier: Option<P>,
}

impl<P> Cast<P> {
    /// Loads those that the settings need; `load` gets a setting and the name of its model.
    fn of(
        (name, policy): (&str, P),
        values: &Values,
        load: impl Fn(&Field, &str) -> Result<P, Failure>,
    ) -> Result<Self, Failure> {
        let sought = values.search.score();
        let reference = if sought == SearchScore::Implicit {
            Some(load(&at::model::reference, &reference(name, values)?)?)
        } else {
            None
        };
        let guides = match (sought, values.search.guide(), values.search.guide_reference()) {
            (SearchScore::Ratio, Some(tuned), Some(untuned)) => {
                Some([load(&at::search::guide, tuned)?, load(&at::search::guide_reference, untuned)?])
            }
            _ => None,
        };
        let verifier = values.search.verifier().map(|name| load(&at::search::verifier, name)).transpose()?;
        Ok(Self { policy, reference, guides, verifier })
    }
}

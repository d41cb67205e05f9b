//! Checks of the settings of searches.
use std::path::Path;

use super::pairs::n_searched;
use crate::Failure;
use crate::sampling::{self, MOST};
use crate::settings::{Field, Modality, SearchMethod, SearchScore, Values, at};

/// The setting that names the method: of the verb, or of `sample` and rounds.
pub(super) fn method(values: &Values) -> &'static Field {
    if values.sample.search().is_some() { &at::sample::search } else { &at::search::method }
}

/// Checks the settings before anything is loaded.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    check_search(values)?;
    if values.label.pairs().is_some() {
        return Ok(());
    }
    let is_of_pictures = values.run.mdp() != Modality::Token;
    let Some(out) = values.run.out() else {
        let text = "pictures need `run.out` FILE.jsonl: they go beside it, with a contact sheet";
        return if is_of_pictures { Err(Failure::usage(text)) } else { Ok(()) };
    };
    if is_of_pictures && Path::new(out).extension().is_none_or(|extension| extension == "png") {
        let text = format!("`run.out` {out}: name a .jsonl file; pictures go into a folder beside it");
        return Err(Failure::usage(text));
    }
    Ok(train::can_write(Path::new(out))?)
}

/// More than can be held is refused before anything is searched.
pub(super) fn check_count(values: &Values, prompts: usize) -> Result<(), Failure> {
    if values.label.pairs().is_some() && n_searched(values) <= MOST {
        return sampling::check_count(prompts, values.sample.n());
    }
    let (method, width) = (values.search.method(), (&at::search::width, values.search.width()));
    let (field, n) = match method {
        SearchMethod::Greedy => (width.0, 1),
        SearchMethod::Smc => width,
        SearchMethod::Sample
        | SearchMethod::BestOf
        | SearchMethod::Beam
        | SearchMethod::Diverse
        | SearchMethod::Mcts
        | SearchMethod::Verifier
        | SearchMethod::Refinements => (&at::sample::n, values.sample.n()),
    };
    if width.1 > MOST && !matches!(method, SearchMethod::Sample | SearchMethod::Mcts) {
        return too_many(width, prompts);
    }
    if prompts.checked_mul(n).is_some_and(|all| all <= MOST) { Ok(()) } else { too_many((field, n), prompts) }
}

fn too_many((field, n): (&Field, usize), prompts: usize) -> Result<(), Failure> {
    Err(Failure::usage(format!("{field} {n} of {prompts} prompts is more than the {MOST} that are held at once")))
}

/// Checks the settings of the search itself, without its output.
pub(super) fn check_search(values: &Values) -> Result<(), Failure> {
    check_counts(values)?;
    check_numbers(values)?;
    check_models(values)?;
    if values.label.pairs().is_some() { check_sides(values) } else { Ok(()) }
}

/// Pairs need two episodes each, and a search finds so many.
fn check_sides(values: &Values) -> Result<(), Failure> {
    let (method, n, found) = (values.search.method(), values.sample.n(), n_searched(values));
    if n.checked_mul(2).is_some_and(|sides| sides <= found) {
        return Ok(());
    }
    let (field, width) = (self::method(values), &at::search::width);
    let found = match method {
        SearchMethod::Greedy => "one answer".to_owned(),
        SearchMethod::Sample => format!("{found}"),
        SearchMethod::Mcts => format!("at most {found} with {} {found}", at::search::simulations),
        SearchMethod::BestOf
        | SearchMethod::Beam
        | SearchMethod::Diverse
        | SearchMethod::Verifier
        | SearchMethod::Smc
        | SearchMethod::Refinements => format!("at most {found} with {width} {}", values.search.width()),
    };
    Err(Failure::usage(format!(
        "a pair has two sides, {n} of a prompt have two each, and {field} {method} finds {found}"
    )))
}

fn check_counts(values: &Values) -> Result<(), Failure> {
    let (search, sample) = (&values.search, &values.sample);
    let (method, width, n) = (search.method(), search.width(), sample.n());
    for (field, count) in [
        (&at::sample::n, Some(n)),
        (&at::sample::limit, sample.limit()),
        (&at::sample::top_k, sample.top_k()),
        (&at::search::width, Some(width)),
        (&at::search::budget, search.budget()),
        (&at::search::groups, Some(search.groups())),
        (&at::search::simulations, Some(search.simulations())),
        (&at::search::pictures, Some(search.pictures())),
    ] {
        if count == Some(0) {
            return Err(Failure::usage(format!("{field} takes at least 1")));
        }
    }
    let most = match method {
        SearchMethod::BestOf | SearchMethod::Beam | SearchMethod::Diverse | SearchMethod::Verifier => Some(width),
        SearchMethod::Refinements => Some(width.saturating_mul(search.pictures())),
        SearchMethod::Greedy | SearchMethod::Sample | SearchMethod::Mcts | SearchMethod::Smc => None,
    };
    // Of pairs, `n` counts what is made of what is found.
    if let Some(most) = most.filter(|most| n > *most && values.label.pairs().is_none()) {
        let (field, of) = (&at::sample::n, &at::search::width);
        return Err(Failure::usage(format!("{field} is {n}, but a {method} of {of} {width} finds at most {most}")));
    }
    if method == SearchMethod::Diverse && !width.is_multiple_of(search.groups()) {
        let (field, of, groups) = (&at::search::groups, &at::search::width, search.groups());
        return Err(Failure::usage(format!("{field} {groups} does not divide {of} {width}")));
    }
    Ok(())
}

fn check_numbers(values: &Values) -> Result<(), Failure> {
    let threshold = values.search.threshold();
    if !(0.0..=1.0).contains(&threshold) {
        return Err(Failure::usage(format!("{} takes a number from 0 to 1, not {threshold}", at::search::threshold)));
    }
    let positive = |field: &Field, number: f64| {
        if number > 0.0 {
            Ok(())
        } else {
            Err(Failure::usage(format!("{field} takes a positive number, not {number}")))
        }
    };
    if values.search.score() == SearchScore::Implicit {
        positive(&at::objective::beta, values.objective.beta())?;
    }
    let (temperature, top_p) = (values.sample.temperature(), values.sample.top_p().unwrap_or(1.0));
    if temperature < 0.0 {
        return Err(Failure::usage(format!("`sample.temperature` takes a number from 0 up, not {temperature}")));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Failure::usage(format!("`sample.top_p` takes a number above 0 and at most 1, not {top_p}")));
    }
    Ok(())
}

/// Checks that the models that method and score need are named, and that the two go with the kind of problem.
fn check_models(values: &Values) -> Result<(), Failure> {
    let (search, mdp) = (&values.search, values.run.mdp());
    let (method, score, field) = (search.method(), search.score(), method(values));
    let refuse = |text: String| Err(Failure::usage(text));
    if method == SearchMethod::Refinements && mdp != Modality::Hybrid {
        return refuse(format!("{field} {method} is for `run.mdp` hybrid, which has something to refine"));
    }
    if method == SearchMethod::Diverse && mdp == Modality::Diffusion {
        return refuse(format!("{field} {method} avoids equal actions, and no two latents are equal"));
    }
    if mdp == Modality::Hybrid && (method == SearchMethod::Verifier || score == SearchScore::Ratio) {
        return refuse("a hybrid is searched by its own `search.score` likelihood or implicit".to_owned());
    }
    if method == SearchMethod::Verifier {
        if search.verifier().is_none() {
            return refuse(format!("{field} verifier needs `search.verifier` MODEL: who ranks what is drawn"));
        }
        if score == SearchScore::Ratio {
            return refuse("a verifier ranks by its `search.score` likelihood or implicit, not by a ratio".to_owned());
        }
    }
    if score == SearchScore::Ratio && (search.guide().is_none() || search.guide_reference().is_none()) {
        let text = "`search.score` ratio needs `search.guide` and `search.guide_reference`: a small model after its tuning \
                    and before";
        return refuse(text.to_owned());
    }
    Ok(())
}

//! Settings of searches: of the verb, and of `sample` and rounds that search instead of drawing.

use crate::settings::{Modality, SearchMethod, SearchScore, at};

use super::requirements::Requirement::{AnyGiven, Never, NoneOf, OneOf, Predicate};
use super::requirements::{ANY, Condition, HYBRID};
use super::{Key, SAMPLE, SEARCH, TRAIN, Verbs, key};

/// The refusal of a second model where there are two halves already.
const ONE_MODEL: &str = "is one model; a hybrid is searched by its own likelihood or implicit reward";

/// The verbs that search.
const ALL: Verbs = SEARCH | SAMPLE | TRAIN;
/// Those that draw unless they are told to search.
const DRAWS: Verbs = SAMPLE | TRAIN;

/// What draws has to be told to search.
const TOLD: Condition = Condition(DRAWS, ANY, AnyGiven(&[&at::sample::search]));

/// A setting of some methods: `search.method` names one in the verb, `sample.search` elsewhere.
macro_rules! of_methods {
    ($methods:expr) => {
        &[
            TOLD,
            Condition(SEARCH, ANY, OneOf(&at::search::method, $methods)),
            Condition(DRAWS, ANY, OneOf(&at::sample::search, $methods)),
        ]
    };
}

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::search::method, SEARCH),
    key(&at::sample::search, DRAWS).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::search::score, ALL).when(&[TOLD]),
    key(&at::search::width, ALL).when(&[
        TOLD,
        Condition(SEARCH, ANY, NoneOf(&at::search::method, &["sample"])),
        Condition(DRAWS, ANY, NoneOf(&at::sample::search, &["sample"])),
        Condition(
            ALL,
            ANY,
            Predicate(
                |here| {
                    let is_greedy = here.search_method() == Some(SearchMethod::Greedy);
                    !is_greedy || here.values.search.score != SearchScore::Likelihood
                },
                "would do nothing: greedy search by likelihood looks at the likeliest action alone",
            ),
        ),
    ]),
    key(&at::search::budget, ALL).when(&[TOLD]),
    key(&at::search::length_penalty, ALL).when(of_methods!(BEAMS)),
    key(&at::search::early_stopping, ALL).when(of_methods!(BEAMS)),
    key(&at::search::groups, ALL).when(of_methods!(&["diverse"])),
    key(&at::search::diversity, ALL).when(of_methods!(&["diverse"])),
    key(&at::search::simulations, ALL).when(of_methods!(&["mcts"])),
    key(&at::search::exploration, ALL).when(of_methods!(&["mcts"])),
    key(&at::search::threshold, ALL).when(of_methods!(&["smc"])),
    key(&at::search::pictures, ALL).only(Modality::Hybrid).when(of_methods!(&["refinements"])),
    key(&at::search::verifier, ALL).when(&[
        Condition(ALL, HYBRID, Never(ONE_MODEL)),
        TOLD,
        Condition(SEARCH, ANY, OneOf(&at::search::method, &["verifier"])),
        Condition(DRAWS, ANY, OneOf(&at::sample::search, &["verifier"])),
    ]),
    key(&at::search::guide, ALL).when(RATIO),
    key(&at::search::guide_reference, ALL).when(RATIO),
    key(&at::search::strength, ALL).when(RATIO),
];

/// The methods that rank by lengths.
const BEAMS: &[&str] = &["beam", "diverse", "refinements"];

/// Condition small models guide.
const RATIO: &[Condition] =
    &[Condition(ALL, HYBRID, Never(ONE_MODEL)), TOLD, Condition(ALL, ANY, OneOf(&at::search::score, &["ratio"]))];

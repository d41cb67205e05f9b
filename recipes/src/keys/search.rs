//! Settings of searches: of the verb, and of `sample` and rounds that search instead of drawing.

use crate::settings::{Modality, SearchMethod, SearchScore, at};

use super::needs::Need::{Never, NotOne, One, Such, With};
use super::needs::{ANY, HYBRID, When};
use super::{Key, SAMPLE, SEARCH, TRAIN, Verbs, key};

/// The refusal of a second model where there are two halves already.
const ONE_MODEL: &str = "is one model; a hybrid is searched by its own likelihood or implicit reward";

/// The verbs that search.
const ALL: Verbs = SEARCH | SAMPLE | TRAIN;
/// Those that draw unless they are told to search.
const DRAWS: Verbs = SAMPLE | TRAIN;

/// What draws has to be told to search.
const TOLD: When = When(DRAWS, ANY, With(&[&at::sample::search]));

/// A setting of some methods: `search.method` names one in the verb, `sample.search` elsewhere.
macro_rules! of_methods {
    ($methods:expr) => {
        &[
            TOLD,
            When(SEARCH, ANY, One(&at::search::method, $methods)),
            When(DRAWS, ANY, One(&at::sample::search, $methods)),
        ]
    };
}

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::search::method, SEARCH),
    key(&at::sample::search, DRAWS).when(&[When(TRAIN, ANY, With(&[&at::rounds::rounds]))]),
    key(&at::search::score, ALL).when(&[TOLD]),
    key(&at::search::width, ALL).when(&[
        TOLD,
        When(SEARCH, ANY, NotOne(&at::search::method, &["sample"])),
        When(DRAWS, ANY, NotOne(&at::sample::search, &["sample"])),
        When(
            ALL,
            ANY,
            Such(
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
        When(ALL, HYBRID, Never(ONE_MODEL)),
        TOLD,
        When(SEARCH, ANY, One(&at::search::method, &["verifier"])),
        When(DRAWS, ANY, One(&at::sample::search, &["verifier"])),
    ]),
    key(&at::search::guide, ALL).when(RATIO),
    key(&at::search::guide_reference, ALL).when(RATIO),
    key(&at::search::strength, ALL).when(RATIO),
];

/// The methods that rank by lengths.
const BEAMS: &[&str] = &["beam", "diverse", "refinements"];

/// When small models guide.
const RATIO: &[When] =
    &[When(ALL, HYBRID, Never(ONE_MODEL)), TOLD, When(ALL, ANY, One(&at::search::score, &["ratio"]))];

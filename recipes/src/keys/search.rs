//! Settings of searches.

use crate::settings::{Modality, SearchMethod, SearchScore, at};

use super::needs::Need::{Never, NotOne, One, Such};
use super::needs::{ANY, HYBRID, When};
use super::{Key, SEARCH, key};

/// The refusal of a second model where there are two halves already.
const ONE_MODEL: &str = "is one model; a hybrid is searched by its own likelihood or implicit reward";

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::search::method, SEARCH),
    key(&at::search::score, SEARCH),
    key(&at::search::width, SEARCH).when(&[
        When(SEARCH, ANY, NotOne(&at::search::method, &["sample"])),
        When(
            SEARCH,
            ANY,
            Such(
                |here| {
                    let search = &here.values.search;
                    search.method != SearchMethod::Greedy || search.score != SearchScore::Likelihood
                },
                "would do nothing: greedy search by likelihood looks at the likeliest action alone",
            ),
        ),
    ]),
    key(&at::search::budget, SEARCH),
    key(&at::search::length_penalty, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, BEAMS))]),
    key(&at::search::early_stopping, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, BEAMS))]),
    key(&at::search::groups, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, &["diverse"]))]),
    key(&at::search::diversity, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, &["diverse"]))]),
    key(&at::search::simulations, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, &["mcts"]))]),
    key(&at::search::exploration, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, &["mcts"]))]),
    key(&at::search::threshold, SEARCH).when(&[When(SEARCH, ANY, One(&at::search::method, &["smc"]))]),
    key(&at::search::pictures, SEARCH).only(Modality::Hybrid).when(&[When(
        SEARCH,
        ANY,
        One(&at::search::method, &["refinements"]),
    )]),
    key(&at::search::verifier, SEARCH)
        .when(&[When(SEARCH, HYBRID, Never(ONE_MODEL)), When(SEARCH, ANY, One(&at::search::method, &["verifier"]))]),
    key(&at::search::guide, SEARCH).when(RATIO),
    key(&at::search::guide_reference, SEARCH).when(RATIO),
    key(&at::search::strength, SEARCH).when(RATIO),
];

/// The methods that rank by lengths.
const BEAMS: &[&str] = &["beam", "diverse", "refinements"];

/// When small models guide.
const RATIO: &[When] =
    &[When(SEARCH, HYBRID, Never(ONE_MODEL)), When(SEARCH, ANY, One(&at::search::score, &["ratio"]))];

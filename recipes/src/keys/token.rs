//! Settings of language models.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use crate::settings::{Modality, at};

use super::needs::Data::{Embedded, Files, Pairs};
use super::needs::Need::{From, One, Such, With};
use super::needs::{ANY, HYBRID, TOKEN, When};
use super::{ALL, CREDIT, DATA, INSPECT, Key, SAMPLE, SEARCH, TRAIN, key};

/// The refusal of a law of drawing where a search takes the best.
const NO_DRAWS: &str = "would do nothing: `search.method` draws no tokens";

/// The same where `sample` searches.
const NO_DRAWS_OF_SAMPLE: &str = "would do nothing: `sample.search` draws no tokens";

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::data::max_length, ALL | SEARCH | CREDIT).only(Modality::Token).in_hybrid().when(&[When(
        INSPECT,
        ANY,
        From(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::max_prompt_length, DATA | CREDIT).only(Modality::Token).when(&[When(
        INSPECT,
        ANY,
        From(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::truncation, DATA | CREDIT).only(Modality::Token).when(&[When(
        INSPECT,
        ANY,
        From(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::tokenization, DATA).only(Modality::Token).when(&[When(
        INSPECT,
        ANY,
        From(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::on_bad, DATA).only(Modality::Token).when(&[When(DATA, ANY, From(&[Files, Pairs]))]),
    key(&at::objective::per_token, TRAIN).only(Modality::Token).when(&[When(
        TRAIN,
        ANY,
        One(&at::objective::name, &["ipo"]),
    )]),
    key(&at::objective::alpha, TRAIN).only(Modality::Token).when(&[When(
        TRAIN,
        ANY,
        One(&at::objective::name, &["tdpo"]),
    )]),
    key(&at::objective::desirable_weight, TRAIN).only(Modality::Token).when(&[When(
        TRAIN,
        ANY,
        One(&at::objective::name, &["kto"]),
    )]),
    key(&at::objective::undesirable_weight, TRAIN).only(Modality::Token).when(&[When(
        TRAIN,
        ANY,
        One(&at::objective::name, &["kto"]),
    )]),
    key(&at::sample::temperature, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        When(SEARCH, ANY, Such(|here| here.draws_words(), NO_DRAWS)),
        When(SAMPLE, ANY, Such(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        When(TRAIN, TOKEN, With(&[&at::rounds::rounds])),
        When(
            TRAIN,
            HYBRID,
            Such(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
    ]),
    key(&at::sample::top_k, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        When(SEARCH, ANY, Such(|here| here.draws_words(), NO_DRAWS)),
        When(SAMPLE, ANY, Such(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        When(TRAIN, TOKEN, With(&[&at::rounds::rounds])),
        When(
            TRAIN,
            HYBRID,
            Such(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        When(
            TRAIN | SAMPLE | SEARCH,
            ANY,
            Such(|here| !here.is_greedy(), "would do nothing: `sample.temperature` 0 takes the likeliest token"),
        ),
    ]),
    key(&at::sample::top_p, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        When(SEARCH, ANY, Such(|here| here.draws_words(), NO_DRAWS)),
        When(SAMPLE, ANY, Such(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        When(TRAIN, TOKEN, With(&[&at::rounds::rounds])),
        When(
            TRAIN,
            HYBRID,
            Such(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        When(
            TRAIN | SAMPLE | SEARCH,
            ANY,
            Such(|here| !here.is_greedy(), "would do nothing: `sample.temperature` 0 takes the likeliest token"),
        ),
    ]),
];

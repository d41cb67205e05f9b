//! Settings of language models.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path to a method is not general enough for `Predicate`"
)]

use crate::settings::{Modality, at};

use super::requirements::Data::{Embedded, Files, Pairs};
use super::requirements::Requirement::{AnyGiven, DataFrom, NotGiven, OneOf, Predicate};
use super::requirements::{ANY, Condition, HYBRID, TOKEN};
use super::{ALL, CREDIT, DATA, EXPORTS, INSPECT, Key, SAMPLE, SEARCH, TRAIN, key};

/// The refusal of a law of drawing where a search takes the best.
const NO_DRAWS: &str = "would do nothing: `search.method` draws no tokens";

/// The same where `sample` searches.
const NO_DRAWS_OF_SAMPLE: &str = "would do nothing: `sample.search` draws no tokens";

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::data::max_length, ALL | SEARCH | CREDIT).only(Modality::Token).in_hybrid().when(&[Condition(
        INSPECT,
        ANY,
        DataFrom(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::max_prompt_length, DATA | CREDIT).only(Modality::Token).when(&[Condition(
        INSPECT,
        ANY,
        DataFrom(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::show, INSPECT).only(Modality::Token).off("0").when(&[Condition(
        INSPECT,
        ANY,
        DataFrom(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::truncation, DATA | CREDIT).only(Modality::Token).when(&[Condition(
        INSPECT,
        ANY,
        DataFrom(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::tokenization, DATA).only(Modality::Token).when(&[Condition(
        INSPECT,
        ANY,
        DataFrom(&[Embedded, Files, Pairs]),
    )]),
    key(&at::data::on_bad, DATA).only(Modality::Token).when(&[Condition(DATA, ANY, DataFrom(&[Files, Pairs]))]),
    key(&at::objective::per_token, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["ipo"]),
    )]),
    key(&at::objective::alpha, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["tdpo"]),
    )]),
    key(&at::objective::desirable_weight, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["kto"]),
    )]),
    key(&at::objective::undesirable_weight, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["kto"]),
    )]),
    key(&at::sample::temperature, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        Condition(SEARCH, ANY, Predicate(|here| here.draws_words(), NO_DRAWS)),
        Condition(SAMPLE, ANY, Predicate(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        Condition(TRAIN, TOKEN, AnyGiven(&[&at::rounds::rounds])),
        Condition(
            TRAIN,
            HYBRID,
            Predicate(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
    ]),
    key(&at::sample::top_k, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        Condition(SEARCH, ANY, Predicate(|here| here.draws_words(), NO_DRAWS)),
        Condition(SAMPLE, ANY, Predicate(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        Condition(TRAIN, TOKEN, AnyGiven(&[&at::rounds::rounds])),
        Condition(
            TRAIN,
            HYBRID,
            Predicate(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        Condition(
            TRAIN | SAMPLE | SEARCH,
            ANY,
            Predicate(|here| !here.is_greedy(), "would do nothing: `sample.temperature` 0 takes the likeliest token"),
        ),
    ]),
    key(&at::sample::top_p, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        Condition(SEARCH, ANY, Predicate(|here| here.draws_words(), NO_DRAWS)),
        Condition(SAMPLE, ANY, Predicate(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        Condition(TRAIN, TOKEN, AnyGiven(&[&at::rounds::rounds])),
        Condition(
            TRAIN,
            HYBRID,
            Predicate(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        Condition(
            TRAIN | SAMPLE | SEARCH,
            ANY,
            Predicate(|here| !here.is_greedy(), "would do nothing: `sample.temperature` 0 takes the likeliest token"),
        ),
    ]),
    key(&at::sample::min_p, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(&[
        Condition(SEARCH, ANY, Predicate(|here| here.draws_words(), NO_DRAWS)),
        Condition(SAMPLE, ANY, Predicate(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        Condition(TRAIN, TOKEN, AnyGiven(&[&at::rounds::rounds])),
        Condition(
            TRAIN,
            HYBRID,
            Predicate(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        Condition(
            TRAIN | SAMPLE | SEARCH,
            ANY,
            Predicate(|here| !here.is_greedy(), "would do nothing: `sample.temperature` 0 takes the likeliest token"),
        ),
    ]),
    key(&at::sample::repetition_penalty, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().off("1").when(&[
        Condition(SEARCH, ANY, Predicate(|here| here.draws_words(), NO_DRAWS)),
        Condition(SAMPLE, ANY, Predicate(|here| here.draws_words(), NO_DRAWS_OF_SAMPLE)),
        Condition(TRAIN, TOKEN, AnyGiven(&[&at::rounds::rounds])),
        Condition(
            TRAIN,
            HYBRID,
            Predicate(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
    ]),
    key(&at::sample::chat, SAMPLE | SEARCH).only(Modality::Token),
    key(&at::sample::system, SAMPLE | SEARCH).only(Modality::Token),
    key(&at::sample::max_new_tokens, SAMPLE | SEARCH).only(Modality::Token),
    key(&at::sample::stop, SAMPLE).only(Modality::Token).when(&[Condition(
        SAMPLE,
        ANY,
        NotGiven(&at::sample::search, "what is searched for ends where the model ends it"),
    )]),
    key(&at::data::chat_template, ALL | EXPORTS | SEARCH | CREDIT).only(Modality::Token).when(&[Condition(
        INSPECT,
        ANY,
        Predicate(|here| here.loads, "is for what loads a model, and nothing is loaded here"),
    )]),
];

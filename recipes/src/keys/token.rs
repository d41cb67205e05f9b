//! Settings of language models.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path to a method is not general enough for `Predicate`"
)]

use crate::settings::{BasePrecision, Modality, at};

use super::requirements::Data::{Embedded, Files, Pairs};
use super::requirements::Requirement::{AnyGiven, DataFrom, NoneOf, NotGiven, OneOf, Predicate, WordPredicate};
use super::requirements::{ANY, Condition, HYBRID, OF_MARGINS, OF_RATIOS, TOKEN};
use super::{ALL, CREDIT, DATA, EXPORTS, INSPECT, JUDGE, Key, REFERS, SAMPLE, SCORES, SEARCH, TRAIN, key};

/// `inspect` reads texts where there are some.
const INSPECTS_DATA: Condition = Condition(INSPECT, ANY, DataFrom(&[Embedded, Files, Pairs]));

/// A search whose method takes the best tokens has no use for how they are drawn.
const SEARCH_DRAWS: Condition =
    Condition(SEARCH, ANY, WordPredicate(|here| here.draws_words(), &at::search::method, "draws no tokens"));

/// The same where `sample` searches.
const SAMPLE_DRAWS: Condition =
    Condition(SAMPLE, ANY, WordPredicate(|here| here.draws_words(), &at::sample::search, "draws no tokens"));

/// Training draws tokens in rounds, and in runs of hybrids that show samples.
const ROUNDS_DRAW: Condition = Condition(TRAIN, TOKEN, AnyGiven(&[&at::rounds::rounds]));
const RUN_DRAWS: Condition = Condition(
    TRAIN,
    HYBRID,
    Predicate(|here| here.draws_pictures(), "would do nothing: this run draws none, neither samples nor trajectories"),
);

/// What learns itself is in f32.
const KEPT_IN_BLOCKS: Condition = Condition(
    TRAIN,
    ANY,
    Predicate(
        |here| here.values.model.base_precision != BasePrecision::Quantised || here.values.model.lora_rank.is_some(),
        "quantised goes with `model.lora_rank`: without adapters all weights learn, and are in f32",
    ),
);

/// Where tokens are drawn.
const DRAWS: &[Condition] = &[SEARCH_DRAWS, SAMPLE_DRAWS, ROUNDS_DRAW, RUN_DRAWS];

/// Where tokens are drawn by chance.
const DRAWS_BY_CHANCE: &[Condition] = &[
    SEARCH_DRAWS,
    SAMPLE_DRAWS,
    ROUNDS_DRAW,
    RUN_DRAWS,
    Condition(
        TRAIN | SAMPLE | SEARCH,
        ANY,
        Predicate(|here| !here.is_greedy(), "would do nothing: `sample.temperature` 0 takes the likeliest token"),
    ),
];

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::model::base_precision, REFERS | SCORES | SAMPLE | SEARCH | CREDIT)
        .only(Modality::Token)
        .in_hybrid()
        .when(&[KEPT_IN_BLOCKS]),
    key(&at::data::max_length, ALL | SEARCH | CREDIT).only(Modality::Token).in_hybrid().when(&[INSPECTS_DATA]),
    key(&at::data::max_prompt_length, DATA | CREDIT).only(Modality::Token).when(&[INSPECTS_DATA]),
    key(&at::data::show, INSPECT).only(Modality::Token).off("0").when(&[INSPECTS_DATA]),
    key(&at::data::truncation, DATA | CREDIT).only(Modality::Token).when(&[INSPECTS_DATA]),
    key(&at::data::tokenization, DATA).only(Modality::Token).when(&[INSPECTS_DATA]),
    key(&at::data::on_bad, DATA).only(Modality::Token).when(&[Condition(DATA, ANY, DataFrom(&[Files, Pairs]))]),
    key(&at::objective::per_token, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["ipo", "sft"]),
    )]),
    key(&at::objective::alpha, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["tdpo"]),
    )]),
    key(&at::objective::divergence, TRAIN).only(Modality::Token).off("reverse-kl").when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, OF_MARGINS),
    )]),
    key(&at::objective::divergence_alpha, TRAIN).only(Modality::Token).when(&[
        Condition(TRAIN, ANY, OneOf(&at::objective::name, OF_MARGINS)),
        Condition(TRAIN, ANY, OneOf(&at::objective::divergence, &["alpha"])),
    ]),
    key(&at::objective::tail_weight, TRAIN).only(Modality::Token).off("1").when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, OF_RATIOS),
    )]),
    key(&at::objective::wpo, TRAIN).only(Modality::Token).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, OF_RATIOS),
    )]),
    key(&at::sample::temperature, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(DRAWS),
    key(&at::sample::top_k, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(DRAWS_BY_CHANCE),
    key(&at::sample::top_p, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(DRAWS_BY_CHANCE),
    key(&at::sample::min_p, SAMPLE | SEARCH | TRAIN).only(Modality::Token).in_hybrid().when(DRAWS_BY_CHANCE),
    key(&at::sample::repetition_penalty, SAMPLE | SEARCH | TRAIN)
        .only(Modality::Token)
        .in_hybrid()
        .off("1")
        .when(DRAWS),
    key(&at::sample::chat, SAMPLE | SEARCH).only(Modality::Token),
    key(&at::sample::system, SAMPLE | SEARCH).only(Modality::Token),
    key(&at::sample::max_new_tokens, SAMPLE | SEARCH).only(Modality::Token),
    key(&at::sample::stop, SAMPLE).only(Modality::Token).when(&[Condition(
        SAMPLE,
        ANY,
        NotGiven(&at::sample::search, "what is searched for ends where the model ends it"),
    )]),
    key(&at::data::assistant_only, DATA).only(Modality::Token).off("false").when(&[
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")),
        Condition(DATA, ANY, DataFrom(&[Files])),
    ]),
    key(&at::data::tree_pairs, DATA).only(Modality::Token).when(&[
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")),
        Condition(DATA, ANY, DataFrom(&[Files])),
    ]),
    key(&at::data::template, ALL | SEARCH | CREDIT).only(Modality::Token).when(&[
        Condition(INSPECT, ANY, Predicate(|here| here.loads, "is for what loads a model, and nothing is loaded here")),
        INSPECTS_DATA,
    ]),
    key(&at::data::chat_template, ALL | EXPORTS | SEARCH | CREDIT | JUDGE).only(Modality::Token).when(&[
        Condition(INSPECT, ANY, Predicate(|here| here.loads, "is for what loads a model, and nothing is loaded here")),
        Condition(JUDGE, ANY, NoneOf(&at::judge::judge, &["oracle", "people", "openai"])),
    ]),
];

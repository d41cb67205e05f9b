//! Settings of a refiner and a generator together.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path to a method is not general enough for `Predicate`"
)]

use crate::settings::{Modality, at};

use super::requirements::Data::{Embedded, Files, Pairs};
use super::requirements::Requirement::{AnyGiven, DataFrom, NoneOf, NotGiven, OneOf, Predicate};
use super::requirements::{ANY, Condition, FIXED, NO_OTHER};
use super::{CREDIT, Key, REFERS, SAMPLE, SCORES, SEARCH, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::hybrid::refiner, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid),
    key(&at::hybrid::generator, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid),
    key(&at::hybrid::refiner_reference, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid).when(&[
        Condition(SEARCH, ANY, OneOf(&at::search::score, &["implicit"])),
        Condition(TRAIN, ANY, NoneOf(&at::objective::name, &["sft"])),
        Condition(TRAIN, ANY, Predicate(|here| here.reference_is_fixed(), FIXED)),
        Condition(SAMPLE, ANY, Predicate(|here| here.samples_beside_another(), NO_OTHER)),
    ]),
    key(&at::hybrid::generator_reference, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid).when(&[
        Condition(SEARCH, ANY, OneOf(&at::search::score, &["implicit"])),
        Condition(TRAIN, ANY, NoneOf(&at::objective::name, &["sft"])),
        Condition(TRAIN, ANY, Predicate(|here| here.reference_is_fixed(), FIXED)),
        Condition(SAMPLE, ANY, Predicate(|here| here.samples_beside_another(), NO_OTHER)),
    ]),
    key(&at::hybrid::update, REFERS).only(Modality::Hybrid),
    key(&at::hybrid::refiner_lr, TRAIN).only(Modality::Hybrid).when(&[Condition(
        TRAIN,
        ANY,
        NoneOf(&at::hybrid::update, &["generator"]),
    )]),
    key(&at::hybrid::template, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid),
    key(&at::sample::null_share, SAMPLE | TRAIN).only(Modality::Hybrid).off("0").when(&[
        Condition(
            TRAIN,
            ANY,
            Predicate(
                |here| here.makes_pairs(),
                "goes with `rounds.rounds` or embedded pairs: others are made already",
            ),
        ),
        Condition(SAMPLE, ANY, AnyGiven(&[&at::label::pairs])),
    ]),
    key(&at::hybrid::complete_refinements, REFERS).only(Modality::Hybrid).off("0").when(&[
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own refined prompts")),
        Condition(TRAIN, ANY, DataFrom(&[Files, Pairs])),
    ]),
    key(&at::hybrid::compare, TRAIN).only(Modality::Hybrid).when(&[
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "it compares halves on one set of pairs")),
        Condition(TRAIN, ANY, DataFrom(&[Embedded])),
    ]),
];

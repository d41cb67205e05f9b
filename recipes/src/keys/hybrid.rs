//! Settings of a refiner and a generator together.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use crate::settings::{Modality, at};

use super::needs::Data::{Embedded, Files, Pairs};
use super::needs::Need::{From, NotOne, One, Such, With, Without};
use super::needs::{ANY, FIXED, NO_OTHER, When};
use super::{CREDIT, Key, SAMPLE, SCORE, SEARCH, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::hybrid::refiner, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid),
    key(&at::hybrid::generator, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid),
    key(&at::hybrid::refiner_reference, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid).when(&[
        When(SEARCH, ANY, One(&at::search::score, &["implicit"])),
        When(TRAIN, ANY, NotOne(&at::objective::name, &["sft"])),
        When(TRAIN, ANY, Such(|here| here.reference_is_fixed(), FIXED)),
        When(SAMPLE, ANY, Such(|here| here.samples_beside_another(), NO_OTHER)),
    ]),
    key(&at::hybrid::generator_reference, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid).when(&[
        When(SEARCH, ANY, One(&at::search::score, &["implicit"])),
        When(TRAIN, ANY, NotOne(&at::objective::name, &["sft"])),
        When(TRAIN, ANY, Such(|here| here.reference_is_fixed(), FIXED)),
        When(SAMPLE, ANY, Such(|here| here.samples_beside_another(), NO_OTHER)),
    ]),
    key(&at::hybrid::update, TRAIN).only(Modality::Hybrid),
    key(&at::hybrid::refiner_lr, TRAIN).only(Modality::Hybrid).when(&[When(
        TRAIN,
        ANY,
        NotOne(&at::hybrid::update, &["generator"]),
    )]),
    key(&at::hybrid::template, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Hybrid),
    key(&at::sample::null_share, SAMPLE | TRAIN).only(Modality::Hybrid).off("0").when(&[
        When(
            TRAIN,
            ANY,
            Such(|here| here.makes_pairs(), "goes with `rounds.rounds` or embedded pairs: others are made already"),
        ),
        When(SAMPLE, ANY, With(&[&at::label::pairs])),
    ]),
    key(&at::hybrid::complete_refinements, TRAIN).only(Modality::Hybrid).off("0").when(&[
        When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds make their own refined prompts")),
        When(TRAIN, ANY, From(&[Files, Pairs])),
    ]),
    key(&at::hybrid::compare, TRAIN).only(Modality::Hybrid).when(&[
        When(TRAIN, ANY, Without(&at::rounds::rounds, "it compares halves on one set of pairs")),
        When(TRAIN, ANY, From(&[Embedded])),
    ]),
];

//! Settings of a refiner and a generator together.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use super::Kind::{Choice, Number, Switch, Text};
use super::needs::Data::Embedded;
use super::needs::Need::{From, NotOne, Such, With, Without};
use super::needs::{FIXED, When};
use super::{Key, SAMPLE, SCORE, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key("hybrid.refiner", "refiner", Text, "", TRAIN | SCORE | SAMPLE, "The language model that refines requests")
        .only("hybrid"),
    key("hybrid.generator", "generator", Text, "", TRAIN | SCORE | SAMPLE, "The diffusers folder that draws")
        .only("hybrid"),
    key(
        "hybrid.refiner_reference",
        "refiner-reference",
        Text,
        "",
        TRAIN | SCORE | SAMPLE,
        "What the refiner is compared with; train: else itself at the start; sample --pairs: side b's refiner",
    )
    .only("hybrid").when(&[When(TRAIN, "", NotOne("objective.name", &["sft"])), When(TRAIN, "", Such(|here| here.reference_is_fixed(), FIXED)), When(SAMPLE, "", With(&["label.pairs"]))]),
    key(
        "hybrid.generator_reference",
        "generator-reference",
        Text,
        "",
        TRAIN | SCORE | SAMPLE,
        "What the generator is compared with; train: else itself at the start; sample --pairs: side b's generator",
    )
    .only("hybrid").when(&[When(TRAIN, "", NotOne("objective.name", &["sft"])), When(TRAIN, "", Such(|here| here.reference_is_fixed(), FIXED)), When(SAMPLE, "", With(&["label.pairs"]))]),
    key(
        "hybrid.update",
        "update",
        Choice(&["both", "refiner", "generator"]),
        "both",
        TRAIN,
        "Which half learns; the other's numbers still count in the loss",
    )
    .only("hybrid"),
    key(
        "hybrid.refiner_lr",
        "refiner-lr",
        Number,
        "",
        TRAIN,
        "The refiner's learning rate, where it is not --lr, on the same schedule",
    )
    .only("hybrid").when(&[When(TRAIN, "", NotOne("hybrid.update", &["generator"]))]),
    key(
        "hybrid.template",
        "request-template",
        Text,
        "{request}\\n",
        TRAIN | SCORE | SAMPLE,
        "What the refiner reads: {request} is the request, \\n a line break",
    )
    .only("hybrid"),
    key(
        "sample.null_share",
        "null-share",
        Number,
        "0.25",
        SAMPLE | TRAIN,
        "In this share of pairs that are made (--pairs, --rounds, builtin:chimera) no refiner is asked: both pictures are of the request itself",
    )
    .only("hybrid").off("0").when(&[When(TRAIN, "", Such(|here| here.makes_pairs(), "goes with --rounds or embedded pairs: others are made already")), When(SAMPLE, "", With(&["label.pairs"]))]),
    key(
        "hybrid.compare",
        "compare",
        Switch,
        "false",
        TRAIN,
        "Trains each half alone too, and compares: refiner, generator, both separately, both jointly",
    )
    .only("hybrid").when(&[When(TRAIN, "", Without("rounds.rounds", "it compares halves on one set of pairs")), When(TRAIN, "", From(&[Embedded]))]),
];

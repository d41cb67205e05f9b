//! Settings of rounds of sampling, judging and training, and of judges.

use crate::settings::at;

use super::requirements::Data::Pairs;
use super::requirements::Requirement::{AnyGiven, DataFrom, NotGiven, OneOf, Predicate};
use super::requirements::{ANY, Condition};
use super::{JUDGE, Key, SCORES, TRAIN, Verbs, key};

/// Verbs with a judge.
const JUDGES: Verbs = JUDGE | TRAIN;

/// A run has a judge where it has rounds, or compares itself with its start.
const IS_JUDGED: Condition = Condition(
    TRAIN,
    ANY,
    Predicate(
        |here| here.values.rounds.rounds.is_some() || here.values.judge.every > 0,
        "goes with `rounds.rounds` or `judge.every`, and nothing reads it without",
    ),
);

/// What a judge behind an API reads.
const IS_ASKED: &[Condition] = &[IS_JUDGED, Condition(JUDGES, ANY, OneOf(&at::judge::judge, &["openai"]))];

/// What compares files of samples reads.
const OF_SAMPLES: &[Condition] =
    &[Condition(JUDGE, ANY, NotGiven(&at::label::pairs, "a folder of pairs has both sides in it"))];

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::rounds::rounds, TRAIN),
    key(&at::rounds::pairs, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::rounds::reference, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::judge::judge, JUDGES).when(&[IS_JUDGED]),
    key(&at::judge::a, JUDGE).when(OF_SAMPLES),
    key(&at::judge::b, JUDGE).when(OF_SAMPLES),
    key(&at::judge::endpoint, JUDGES).when(IS_ASKED),
    key(&at::judge::model, JUDGES).when(IS_ASKED),
    key(&at::judge::template, JUDGES).when(IS_ASKED),
    key(&at::judge::both_orders, JUDGES).when(IS_ASKED),
    key(&at::judge::max_tokens, JUDGES).when(IS_ASKED),
    key(&at::judge::fields, JUDGES).when(IS_ASKED),
    key(&at::judge::parallel, JUDGES).when(IS_ASKED),
    key(&at::judge::rate, JUDGES).when(IS_ASKED),
    key(&at::judge::timeout, JUDGES).when(IS_ASKED),
    key(&at::judge::retries, JUDGES).when(IS_ASKED),
    key(&at::judge::key_variable, JUDGES).when(IS_ASKED),
    key(&at::judge::ca, JUDGES).when(IS_ASKED),
    key(&at::judge::proxy, JUDGES).when(IS_ASKED),
    key(&at::judge::cache, JUDGES).when(IS_ASKED),
    key(&at::judge::prompt_price, JUDGES).when(IS_ASKED),
    key(&at::judge::answer_price, JUDGES).when(IS_ASKED),
    key(&at::judge::every, TRAIN).off("0").when(&[Condition(
        TRAIN,
        ANY,
        NotGiven(&at::rounds::rounds, "rounds compare each policy with the start by themselves"),
    )]),
    key(&at::judge::prompts, TRAIN).when(&[Condition(
        TRAIN,
        ANY,
        Predicate(|here| here.values.judge.every > 0, "goes with `judge.every`, and nothing reads it without"),
    )]),
    key(&at::data::all_pairs, SCORES).when(&[Condition(SCORES, ANY, DataFrom(&[Pairs]))]),
];

//! Settings of rounds of sampling, judging and training.

use crate::settings::at;

use super::requirements::Data::Pairs;
use super::requirements::Requirement::{AnyGiven, DataFrom};
use super::requirements::{ANY, Condition};
use super::{JUDGE, Key, SCORES, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::rounds::rounds, TRAIN),
    key(&at::rounds::pairs, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::rounds::reference, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::judge::judge, JUDGE | TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::data::all_pairs, SCORES).when(&[Condition(SCORES, ANY, DataFrom(&[Pairs]))]),
];

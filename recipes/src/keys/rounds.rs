//! Settings of rounds of sampling, judging and training.

use crate::settings::at;

use super::needs::Data::Pairs;
use super::needs::Need::{From, With};
use super::needs::{ANY, When};
use super::{JUDGE, Key, SCORE, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::rounds::rounds, TRAIN),
    key(&at::rounds::pairs, TRAIN).when(&[When(TRAIN, ANY, With(&[&at::rounds::rounds]))]),
    key(&at::rounds::reference, TRAIN).when(&[When(TRAIN, ANY, With(&[&at::rounds::rounds]))]),
    key(&at::judge::judge, JUDGE | TRAIN).when(&[When(TRAIN, ANY, With(&[&at::rounds::rounds]))]),
    key(&at::data::all_pairs, SCORE).when(&[When(SCORE, ANY, From(&[Pairs]))]),
];

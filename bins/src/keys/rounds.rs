//! Settings of rounds of sampling, judging and training.

use super::Kind::{Choice, Count, Switch, Text};
use super::needs::Data::Pairs;
use super::needs::Need::{From, With};
use super::needs::When;
use super::{JUDGE, Key, SCORE, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(
        "rounds.rounds",
        "rounds",
        Count,
        "",
        TRAIN,
        "So many times: pairs are made of --prompts by the policy as it is, judged, and learned from",
    ),
    key("rounds.pairs", "round-pairs", Count, "512", TRAIN, "--rounds: pairs that are made in each").when(&[When(TRAIN, "", With(&["rounds.rounds"]))]),
    key(
        "rounds.reference",
        "round-reference",
        Choice(&["moved", "fixed"]),
        "moved",
        TRAIN,
        "--rounds: what each stays close to; moved: the policy that made its pairs, fixed: the one at the start",
    ).when(&[When(TRAIN, "", With(&["rounds.rounds"]))]),
    key(
        "judge.judge",
        "judge",
        Text,
        "oracle",
        JUDGE | TRAIN,
        "Who compares: oracle (of embedded problems), people (--rounds wait for label), the folder of a reward model, or a run, by what it learned to reward",
    ).when(&[When(TRAIN, "", With(&["rounds.rounds"]))]),
    key(
        "data.all_pairs",
        "all-pairs",
        Switch,
        "false",
        SCORE,
        "Of a folder of pairs all count, judged or not, side a first",
    ).when(&[When(SCORE, "", From(&[Pairs]))]),
];

//! Settings of language models.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use super::Kind::{Choice, Count, Number, Switch};
use super::needs::Data::{Embedded, Files, Pairs};
use super::needs::Need::{From, One, Such, With};
use super::needs::When;
use super::{ALL, DATA, INSPECT, Key, SAMPLE, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key("data.max_length", "max-length", Count, "512", ALL, "Tokens of prompt and answer together")
        .only("token")
        .in_hybrid()
        .when(&[When(INSPECT, "", From(&[Embedded, Files, Pairs]))]),
    key(
        "data.max_prompt_length",
        "max-prompt-length",
        Count,
        "256",
        DATA,
        "Tokens of the prompt where it has to be cut; 0: never cut, what leaves no room for an answer is left out (as TRL)",
    )
    .only("token")
    .when(&[When(INSPECT, "", From(&[Embedded, Files, Pairs]))]),
    key(
        "data.truncation",
        "truncation",
        Choice(&["auto", "keep-start", "keep-end", "keep-both"]),
        "auto",
        DATA,
        "What of a long prompt stays; auto: keep-end for chats and hh, else keep-both (the middle goes)",
    )
    .only("token")
    .when(&[When(INSPECT, "", From(&[Embedded, Files, Pairs]))]),
    key(
        "data.tokenization",
        "tokenization",
        Choice(&["separate", "joint"]),
        "separate",
        DATA,
        "Prompt and answer apart, or together and then cut (as TRL)",
    )
    .only("token")
    .when(&[When(INSPECT, "", From(&[Embedded, Files, Pairs]))]),
    key(
        "data.on_bad",
        "on-bad",
        Choice(&["fail", "skip"]),
        "fail",
        DATA,
        "What to do with a broken record; skipped ones are counted",
    )
    .only("token")
    .when(&[When(DATA, "", From(&[Files, Pairs]))]),
    key(
        "objective.per_token",
        "per-token",
        Switch,
        "false",
        TRAIN,
        "ipo: log-ratios are means over the tokens (as TRL), not sums",
    )
    .only("token")
    .when(&[When(TRAIN, "", One("objective.name", &["ipo"]))]),
    key("objective.alpha", "alpha", Number, "0.5", TRAIN, "tdpo: the weight of the divergence")
        .only("token")
        .when(&[When(TRAIN, "", One("objective.name", &["tdpo"]))]),
    key("objective.desirable_weight", "desirable-weight", Number, "1", TRAIN, "kto: the weight of liked answers")
        .only("token")
        .when(&[When(TRAIN, "", One("objective.name", &["kto"]))]),
    key(
        "objective.undesirable_weight",
        "undesirable-weight",
        Number,
        "1",
        TRAIN,
        "kto: the weight of disliked answers",
    )
    .only("token")
    .when(&[When(TRAIN, "", One("objective.name", &["kto"]))]),
    key("sample.temperature", "temperature", Number, "1", SAMPLE | TRAIN, "0 takes the likeliest token")
        .only("token")
        .in_hybrid()
        .when(&[
            When(TRAIN, "token", With(&["rounds.rounds"])),
            When(
                TRAIN,
                "hybrid",
                Such(
                    |here| here.draws_pictures(),
                    "would do nothing: this run draws none, neither samples nor trajectories",
                ),
            ),
        ]),
    key("sample.top_k", "top-k", Count, "", SAMPLE | TRAIN, "Draws from the k likeliest tokens only")
        .only("token")
        .in_hybrid()
        .when(&[
            When(TRAIN, "token", With(&["rounds.rounds"])),
            When(
                TRAIN,
                "hybrid",
                Such(
                    |here| here.draws_pictures(),
                    "would do nothing: this run draws none, neither samples nor trajectories",
                ),
            ),
            When(
                TRAIN | SAMPLE,
                "",
                Such(|here| !here.is_greedy(), "would do nothing: --temperature 0 takes the likeliest token"),
            ),
        ]),
    key(
        "sample.top_p",
        "top-p",
        Number,
        "",
        SAMPLE | TRAIN,
        "Draws from the fewest tokens that have this probability together",
    )
    .only("token")
    .in_hybrid()
    .when(&[
        When(TRAIN, "token", With(&["rounds.rounds"])),
        When(
            TRAIN,
            "hybrid",
            Such(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        When(
            TRAIN | SAMPLE,
            "",
            Such(|here| !here.is_greedy(), "would do nothing: --temperature 0 takes the likeliest token"),
        ),
    ]),
];

//! Settings of what compares pairs: the page for people, and judges.

use super::Kind::{Count, Text};
use super::{JUDGE, Key, LABEL, SAMPLE, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(
        "label.pairs",
        "pairs",
        Text,
        "",
        LABEL | JUDGE | SAMPLE,
        "A folder of pairs to compare: sample writes it, label and judge add to its labels.jsonl",
    ),
    key(
        "label.host",
        "host",
        Text,
        "127.0.0.1",
        LABEL,
        "The address to listen on; others than this machine's own need a token",
    ),
    key("label.port", "port", Count, "8080", LABEL, "The port to listen on; 0: any that is free"),
    key("label.token", "token", Text, "", LABEL, "What everyone must know who labels: 16 characters or more"),
    key("label.labeller", "labeller", Text, "", LABEL, "Who labels; without it the page asks"),
];

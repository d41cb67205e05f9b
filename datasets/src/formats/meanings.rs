//! The table of columns that can't be ignored, and what each means.

/// The effect of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The prompt or the history.
    Asked,
    /// The order of a list's answers.
    Order,
    /// Inputs other than text.
    Media,
}

/// Known column names and their effect if no format reads them.
pub(super) const COLUMNS: &[(&str, Meaning)] = &[
    ("prompt", Meaning::Asked),
    ("question", Meaning::Asked),
    ("query", Meaning::Asked),
    ("instruction", Meaning::Asked),
    ("input", Meaning::Asked),
    ("context", Meaning::Asked),
    ("system", Meaning::Asked),
    ("system_prompt", Meaning::Asked),
    ("history", Meaning::Asked),
    ("messages", Meaning::Asked),
    ("conversations", Meaning::Asked),
    ("rank", Meaning::Order),
    ("ranks", Meaning::Order),
    ("ranking", Meaning::Order),
    ("score", Meaning::Order),
    ("scores", Meaning::Order),
    ("reward", Meaning::Order),
    ("rewards", Meaning::Order),
    ("rating", Meaning::Order),
    ("ratings", Meaning::Order),
    ("label", Meaning::Order),
    ("labels", Meaning::Order),
    ("choice", Meaning::Order),
    ("best", Meaning::Order),
    ("winner", Meaning::Order),
    ("image", Meaning::Media),
    ("images", Meaning::Media),
    ("video", Meaning::Media),
    ("videos", Meaning::Media),
    ("audio", Meaning::Media),
    ("audios", Meaning::Media),
];

/// Why media are refused, as the end of a sentence about a column or a field of a message.
pub(super) const NOT_TEXT: &str = "is for models that see or hear, and this one reads text only";

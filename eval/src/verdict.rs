//! Choices in the replies of judges.

/// What a judge says of two answers, by their place in the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The one shown first is better.
    First,
    /// The one shown second is better.
    Second,
    /// Neither is.
    Tie,
}

impl Verdict {
    /// Reads the choice behind a label such as `Preferred:`, wherever in a line it stands; without the label, a choice that
    /// stands alone on the last line. `None` where there is no choice, or choices differ: nothing is guessed. Marks of
    /// emphasis and quotes are not read, in the label either: `**Preferred**: A` and `{"preferred": "A"}` are choices.
    ///
    /// What stands before the end of a chain of thought (`</think>`) is not read; one without an end has no choice.
    pub fn read(reply: &str, label: &str) -> Option<Self> {
        let reply = reply.rsplit_once("</think>").map_or(reply, |(_, rest)| rest);
        if reply.contains("<think>") {
            return None;
        }
        let (reply, label) = (bare(reply), bare(label));
        let choices: Vec<Option<Self>> = labelled(&reply, &label).map(of_words).collect();
        let Some(last) = choices.last() else {
            return of_words(reply.lines().rev().find(|line| !line.trim().is_empty())?);
        };
        let others_agree = choices.iter().flatten().all(|choice| Some(*choice) == *last);
        last.filter(|_| others_agree)
    }
}

/// A text without marks of emphasis and quotes, and without a space before a colon.
fn bare(text: &str) -> String {
    text.replace(['*', '_', '`', '"', '\'', '“', '”', '‘', '’'], "").replace(" :", ":")
}

/// The rest of the line behind each label; where that is empty, the next line with text.
fn labelled<'r>(reply: &'r str, label: &str) -> impl Iterator<Item = &'r str> {
    let (lower, label) = (reply.to_ascii_lowercase(), label.to_ascii_lowercase());
    let ends: Vec<usize> = lower.match_indices(&label).map(|(at, _)| at + label.len()).collect();
    ends.into_iter().map(move |end| {
        let mut lines = reply[end..].lines();
        let rest = lines.next().unwrap_or_default();
        let is_blank = !rest.chars().any(char::is_alphanumeric);
        if is_blank { lines.find(|line| !line.trim().is_empty()).unwrap_or_default() } else { rest }
    })
}

/// Words that judges put before a choice.
const NOUNS: [&str; 11] = [
    "summary",
    "answer",
    "response",
    "picture",
    "output",
    "option",
    "assistant",
    "candidate",
    "image",
    "choice",
    "text",
];

/// The choice that words are, and nothing else: `A`, `**B**`, `"A".`, `Summary A`, `tie`.
fn of_words(text: &str) -> Option<Verdict> {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    let bare = NOUNS
        .into_iter()
        .find_map(|noun| bare.strip_prefix(noun).map(|rest| rest.trim_start_matches(|c: char| !c.is_alphanumeric())))
        .unwrap_or(&bare);
    match bare {
        "a" => Some(Verdict::First),
        "b" => Some(Verdict::Second),
        "tie" | "a tie" | "draw" | "a draw" | "equal" => Some(Verdict::Tie),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_that_does_not_end_is_no_choice() {
        let cut = "<think>\nMaybe the first.\nPreferred: A\nBut wait, the second is";
        assert_eq!(Verdict::read(cut, "Preferred:"), None);
        assert_eq!(Verdict::read(&format!("{cut} better</think>\nPreferred: B"), "Preferred:"), Some(Verdict::Second));
    }

    #[test]
    fn choices_are_read_in_the_ways_that_models_write_them() {
        for (reply, choice) in [
            ("Comparison: A is right.\nPreferred: A", Some(Verdict::First)),
            ("Comparison: B says more. Preferred: \"B\"", Some(Verdict::Second)),
            ("**Preferred:** **B**", Some(Verdict::Second)),
            ("preferred: Summary A.", Some(Verdict::First)),
            ("Preferred:\n\nB\n", Some(Verdict::Second)),
            ("Preferred: tie", Some(Verdict::Tie)),
            ("B is shorter.\n\nA\n", Some(Verdict::First)),
            ("Preferred: <\"A\" or \"B\">\nComparison: x\nPreferred: B", Some(Verdict::Second)),
            ("<think>Preferred: A</think>Preferred: B", Some(Verdict::Second)),
            ("é Preferred: A", Some(Verdict::First)),
            ("**Preferred**: A", Some(Verdict::First)),
            ("__Preferred :__ `B`", Some(Verdict::Second)),
            ("{\"preferred\": \"A\"}", Some(Verdict::First)),
            ("Preferred: [[B]]", Some(Verdict::Second)),
            ("Preferred: Option A", Some(Verdict::First)),
            ("### Preferred: a tie", Some(Verdict::Tie)),
        ] {
            assert_eq!(Verdict::read(reply, "Preferred:"), choice, "{reply}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for reply in [
            "",
            "Both are good.",
            "Preferred: A or B",
            "Preferred: A\nPreferred: B",
            "Preferred: A, because it is B",
            "Preferred:",
            "I prefer A",
            "Preferred: C",
            "A better one is B",
            "Preferred: A\nOn second thought:\nPreferred: neither",
        ] {
            assert_eq!(Verdict::read(reply, "Preferred:"), None, "{reply}");
        }
    }
}

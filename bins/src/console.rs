//! Output of the program: results to stdout; notices and errors to stderr.
use std::io::IsTerminal;

use recipes::settings::fields;

pub(crate) use crate::output::result;
use crate::output::say;

/// Prints an error.
pub(crate) fn error(message: &str) {
    say(&format!("error: {}", with_flags(message)));
}

/// The libraries' words for verbs and flags that are no settings, and the command line's.
const WORDS: [(&str, &str); 4] = [
    ("`resume`", "--resume"),
    ("`set`", "--set"),
    ("`recipes::train`", "hybrid-dpo train"),
    ("`label::Server`", "hybrid-dpo label"),
];

/// Replaces setting paths such as `run.out` in a library's message or help by flags; messages about config keys keep the path.
pub(crate) fn with_flags(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let (before, quoted) = rest.split_at(start);
        shown.push_str(before);
        let end = quoted[1..].find('`').map_or(quoted.len(), |end| end + 2);
        let field = fields().find(|field| quoted[..end] == field.to_string());
        if let Some(field) = field.filter(|_| !before.ends_with("key ") && !before.ends_with("key is ")) {
            shown.push_str("--");
            shown.push_str(field.name);
        } else {
            let own = WORDS.iter().find(|(word, _)| *word == &quoted[..end]);
            shown.push_str(own.map_or(&quoted[..end], |(_, shown)| shown));
        }
        rest = &quoted[end..];
    }
    shown + rest
}

/// Prints a notice that is not an error, such as the reply to an interrupt.
pub(crate) fn notice(message: &str) {
    say(&with_flags(message));
}

/// Whether results may have colours: they go to a terminal, and `NO_COLOR` is not set (<https://no-color.org>).
#[expect(clippy::disallowed_methods, reason = "only the command line reads the environment")]
pub(crate) fn has_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_called_by_their_flags() {
        for (text, shown) in [
            ("`objective.beta` takes 1, not `x`", "--beta takes 1, not `x`"),
            (
                "unknown key `beta`; the nearest known key is `objective.beta`",
                "unknown key `beta`; the nearest known key is `objective.beta`",
            ),
            ("key `run.out` can't be `", "key `run.out` can't be `"),
            ("go on with `resume`, or `run.out`", "go on with --resume, or --out"),
            ("see `label::Server` `label.pairs` DIR", "see hybrid-dpo label --pairs DIR"),
            ("no quotes", "no quotes"),
        ] {
            assert_eq!(with_flags(text), shown);
        }
    }
}

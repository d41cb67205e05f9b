//! `inspect`: the description, and records with their tokens in colour.
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use recipes::{Failure, ShownRecord, ShownRun};

use crate::credit::printable;
use crate::{Invocation, console};

/// Examples of the verb.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo inspect ./SmolLM2-135M
  hybrid-dpo inspect pairs.jsonl --model ./SmolLM2-135M --show 3
      three records as the model reads them: what is given, and what is scored
  hybrid-dpo inspect runs/first";

/// Describes a path.
pub(crate) fn inspect(asked: &Invocation, path: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let found = recipes::inspect(asked.call(), path)?;
    let mut text = console::with_flags(&found.to_string());
    if !found.records.is_empty() {
        let has_colours = console::has_colours();
        text.push_str("\n\n");
        text.push_str(if has_colours {
            "grey: given; green and red: scored, better and worse; the shade changes with every token"
        } else {
            "given: not scored, as are lines marked so; the others are scored; | stands between tokens"
        });
        found.records.iter().for_each(|record| text.push_str(&shown(record, has_colours)));
    }
    console::result(&text);
    Ok(ExitCode::SUCCESS)
}

/// Two shades of a colour, as ANSI's 256 count them.
type Shades = [u8; 2];

const GREY: Shades = [250, 245];
const GREEN: Shades = [157, 114];
const RED: Shades = [217, 174];

fn shown(record: &ShownRecord, has_colours: bool) -> String {
    let mut text = format!("\n\nrecord {}\n{:<10}{}", record.index, "given", tokens(&record.given, GREY, has_colours));
    for answer in &record.answers {
        let is_worse = matches!(answer.label.as_str(), "rejected" | "disliked");
        let shades = if is_worse { RED } else { GREEN };
        let given_apart = |run: &ShownRun| if run.is_scored || has_colours { "" } else { "[given] " };
        let runs = answer.runs.iter().map(|run| {
            let shades = if run.is_scored { shades } else { GREY };
            format!("{}{}", given_apart(run), tokens(&run.tokens, shades, has_colours))
        });
        // Without colours a run of given tokens is marked and stands on a line of its own.
        let between = if has_colours { "" } else { "\n          " };
        let _ = write!(text, "\n{:<10}{}", answer.label, runs.collect::<Vec<_>>().join(between));
    }
    text
}

fn tokens(pieces: &[String], shades: Shades, has_colours: bool) -> String {
    let texts = pieces.iter().map(|piece| printable(piece));
    if !has_colours {
        return texts.collect::<Vec<_>>().join("|");
    }
    let shade = |at: usize| shades[at % 2];
    let mut coloured = String::new();
    for (at, text) in texts.enumerate() {
        let _ = write!(coloured, "\x1b[38;5;16;48;5;{}m{text}\x1b[0m", shade(at));
    }
    coloured
}

#[cfg(test)]
mod tests {
    use recipes::ShownAnswer;

    use super::*;

    #[test]
    fn what_is_given_and_what_is_scored_look_different() {
        let scored = vec![" a".to_owned(), "\u{1b}".to_owned()];
        let runs = vec![ShownRun { is_scored: true, tokens: scored }];
        let answers = vec![ShownAnswer { label: "rejected".to_owned(), runs }];
        let record = ShownRecord { index: 3, given: vec!["Q:".to_owned(), "\n".to_owned()], answers };
        let plain = shown(&record, false);
        assert_eq!(plain, "\n\nrecord 3\ngiven     Q:|\\n\nrejected   a|\\u{1b}");
        let coloured = shown(&record, true);
        assert!(coloured.contains("48;5;250mQ:\x1b[0m\x1b[38;5;16;48;5;245m\\n"), "{coloured:?}");
        assert!(coloured.contains("48;5;217m a"), "{coloured:?}");
        let run = |is_scored, token: &str| ShownRun { is_scored, tokens: vec![token.to_owned()] };
        let runs = vec![run(true, "a"), run(false, "user"), run(true, "b")];
        let talk = ShownRecord { answers: vec![ShownAnswer { label: "chosen".to_owned(), runs }], ..record };
        assert!(shown(&talk, false).ends_with("\nchosen    a\n          [given] user\n          b"));
        assert!(shown(&talk, true).contains("48;5;250muser"));
    }
}

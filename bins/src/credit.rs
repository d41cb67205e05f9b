//! `credit`: heat maps in the terminal, and the table.
use std::fmt::Write as _;
use std::process::ExitCode;

use recipes::heat::{END, Piece, Scale};
use recipes::{
    Credit, CreditSummary, CreditedAnswer, CreditedPair, CreditedPicture, Failure, ImageCredit, PairCredit, TextCredit,
};

use crate::{Invocation, console};

pub(crate) fn credit(asked: &Invocation) -> Result<ExitCode, Failure> {
    let shown = asked.values.credit.show();
    let has_colours = console::has_colours();
    let text = match recipes::credit(asked.call())? {
        Credit::Text(credit) => report(&credit, shown, has_colours),
        Credit::Image(credit) => pictures(&credit, shown),
        Credit::Pairs(credit) => pairs(&credit, shown, has_colours),
    };
    console::result(&text);
    Ok(ExitCode::SUCCESS)
}

/// The first answers, and the table.
fn report(credit: &TextCredit, shown: usize, has_colours: bool) -> String {
    let scale = credit.scale(0);
    let mut text = String::new();
    for answer in credit.answers.iter().take(shown) {
        let heat = heat(answer, scale, has_colours);
        let _ = writeln!(text, "{}, {}:\n{heat}\n", printable(&answer.origin), answer.side);
    }
    if shown > 0 {
        text.push_str(legend(has_colours));
    }
    match &credit.summary {
        Some(summary) if shown > 0 => _ = write!(text, "\n{summary}"),
        Some(summary) => _ = write!(text, "{summary}"),
        None => text.push_str("no answer has known wrong spans, so there is nothing to measure"),
    }
    text
}

/// The rewards of the first examples, and the tables of timesteps and regions.
fn pictures(credit: &ImageCredit, shown: usize) -> String {
    let mut text = String::new();
    for sides in credit.examples().take(shown) {
        let caption =
            sides[0].caption.as_deref().map_or_else(String::new, |caption| format!(", {}", printable(caption)));
        let rewards: Vec<String> = sides.iter().map(rewarded).collect();
        let margin = match sides {
            [chosen, rejected] => format!(", margin {:+.3}", chosen.reward() - rejected.reward()),
            _ => String::new(),
        };
        let _ = writeln!(text, "{}{caption}: {}{margin}", sides[0].index, rewards.join(", "));
    }
    if shown > 0 {
        text.push('\n');
    }
    let _ = write!(text, "{}", credit.steps);
    if let Some((right, pairs)) = credit.accuracy {
        let _ = write!(text, "\nmargin above 0: {right} of {pairs} pairs");
    }
    let _ = write!(text, "\n\n{}", found(credit.summary.as_ref()));
    text
}

fn rewarded(picture: &CreditedPicture) -> String {
    format!("{} {:+.3}", picture.side, picture.reward())
}

fn found(summary: Option<&CreditSummary>) -> String {
    summary.map_or_else(
        || "no picture has pixels that are known to be wrong, so there is nothing to measure".to_owned(),
        CreditSummary::to_string,
    )
}

/// The words of the first pairs, and the tables of halves and timesteps.
fn pairs(credit: &PairCredit, shown: usize, has_colours: bool) -> String {
    let answers = credit.pairs.iter().flat_map(|pair| &pair.sides).map(|side| &side.answer);
    let scale = Scale::of_differences(answers.flat_map(|answer| answer.columns[0].1.iter().copied()));
    let mut text = String::new();
    for pair in credit.pairs.iter().take(shown) {
        let CreditedPair { index, request, margins: (words, pictures), .. } = pair;
        let margin = pair.margin();
        let request = printable(request);
        let _ = writeln!(text, "{index}, {request}: margin {margin:+.3}, words {words:+.3}, picture {pictures:+.3}");
        for side in &pair.sides {
            let answer = heat(&side.answer, scale, has_colours);
            let _ = writeln!(text, "{}, picture {:+.3}:\n{answer}", side.picture.side, side.picture.reward());
        }
        text.push('\n');
    }
    if shown > 0 {
        let _ = writeln!(text, "{}", legend(has_colours));
    }
    let _ = write!(text, "{}\n\nof pictures alone:\n{}", credit.shares, credit.steps);
    text
}

fn legend(has_colours: bool) -> &'static str {
    if has_colours {
        "red: less reward, blue: more; wrong spans are underlined\n"
    } else {
        "in brackets the reward of each token; ! is in a wrong span\n"
    }
}

fn heat(answer: &CreditedAnswer, scale: Scale, has_colours: bool) -> String {
    if has_colours { coloured(answer, scale) } else { annotated(answer) }
}

/// `word(-0.31)`, with a `!` behind what is wrong; what is given has no number.
fn annotated(answer: &CreditedAnswer) -> String {
    let piece = |(Piece { text, value, is_wrong }, is_given): (Piece, bool)| {
        let text = if text.is_empty() { format!(" {END}") } else { printable(&text) };
        if is_given {
            return text;
        }
        format!("{text}({value:+.2}){}", if is_wrong { "!" } else { "" })
    };
    answer.pieces(0).into_iter().zip(answer.given_pieces()).map(piece).collect()
}

/// Black on a background from red over white to blue; underlined where it is wrong, and grey letters where it is
/// given. Space before a token has no colour: at the end of a line it would be a stain.
fn coloured(answer: &CreditedAnswer, scale: Scale) -> String {
    let piece = |(piece, is_given): (Piece, bool)| {
        let (space, words) = if piece.text.is_empty() { (" ", END) } else { piece.parts() };
        let (space, words) = (printable(space), printable(words));
        if is_given {
            return format!("{space}\x1b[38;5;245m{words}\x1b[0m");
        }
        let strength = scale.strength(piece.value);
        let most = if strength < 0.0 { [240.0, 90.0, 80.0] } else { [90.0, 150.0, 245.0] };
        let [red, green, blue] = most.map(|most: f64| (255.0 + (most - 255.0) * strength.abs()).round());
        let line = if piece.is_wrong { ";4" } else { "" };
        format!("{space}\x1b[38;2;0;0;0;48;2;{red};{green};{blue}{line}m{words}\x1b[0m")
    };
    answer.pieces(0).into_iter().zip(answer.given_pieces()).map(piece).collect()
}

/// Text that can't move the cursor or change colours.
pub(crate) fn printable(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> CreditedAnswer {
        CreditedAnswer {
            index: 0,
            origin: "a.jsonl, line 1".to_owned(),
            side: "response",
            text: "a \u{1b}b".to_owned(),
            spans: Some(vec![]),
            tokens: vec![1, 2, 0],
            places: vec![0..1, 2..4, 4..4],
            wrong: Some(vec![false, true, false]),
            given: None,
            unmeasured: None,
            columns: vec![("log_ratio", vec![0.5, -1.0, 0.0])],
        }
    }

    #[test]
    fn credit_is_legible_without_colours() {
        assert_eq!(annotated(&answer()), "a(+0.50) \\u{1b}b(-1.00)! <end>(+0.00)");
        let talk = CreditedAnswer { given: Some(vec![true, false, true]), ..answer() };
        assert_eq!(annotated(&talk), "a \\u{1b}b(-1.00)! <end>");
        assert!(coloured(&talk, Scale::of_differences(std::iter::once(1.0))).starts_with("\x1b[38;5;245ma\x1b[0m "));
        let credit = TextCredit { answers: vec![answer(), answer()], summary: None };
        let text = report(&credit, 1, false);
        assert_eq!(text.matches("a.jsonl, line 1, response:").count(), 1);
        assert!(!text.contains('\u{1b}') && text.contains("nothing to measure"), "{text}");
    }

    #[test]
    fn colours_go_from_red_over_white_to_blue() {
        let credit = TextCredit { answers: vec![answer()], summary: None };
        let text = coloured(&answer(), credit.scale(0));
        assert!(text.contains(" \x1b[38;2;0;0;0;48;2;240;90;80;4m\\u{1b}b\x1b[0m"), "{text}");
        assert!(text.contains(" \x1b[38;2;0;0;0;48;2;255;255;255m<end>"), "{text}");
    }
}

//! The page of answers: their tokens on the colour of their credit, of the kind that is chosen.
use std::fmt::Write as _;

use ::report::heat::{Scale, map_of_class};
use ::report::page::{Html, Section};

use super::super::text::MEASURES;
use super::{document, summary_section};
use crate::credit::TextCredit;

/// Shows the heat maps of the chosen kind alone: a rule for each of [`MEASURES`].
const STYLE: &str = "\
p.heat{display:none}body:has(#c0:checked) .c0,body:has(#c1:checked) .c1,body:has(#c2:checked) .c2,\
body:has(#c3:checked) .c3,body:has(#c4:checked) .c4,body:has(#c5:checked) .c5,body:has(#c6:checked) .c6,\
body:has(#c7:checked) .c7{display:block}label{margin-right:1em;white-space:nowrap}";

/// The page of answers.
pub(super) fn page(credit: &TextCredit) -> String {
    let n = credit.answers.first().map_or(0, |answer| answer.columns.len());
    let scales: Vec<Scale> = (0..n).map(|column| credit.scale(column)).collect();
    let mut answers = Section::new("Answers").html(kinds(n));
    for answer in &credit.answers {
        answers = answers.heading(&format!("{}, {}", answer.origin, answer.side));
        for (column, scale) in scales.iter().enumerate() {
            answers = answers.html(map_of_class(&format!("heat c{column}"), &answer.pieces(column), *scale));
        }
    }
    let page = document("Red is less, blue is more; wrong spans are underlined.").style(STYLE);
    let summary = credit.summary.as_ref().map(summary_section).unwrap_or_default();
    page.section(summary).section(answers).to_html()
}

/// The choice of the kind of credit.
fn kinds(n: usize) -> Html {
    let mut choices = String::new();
    for (column, (_, title)) in MEASURES.iter().take(n).enumerate() {
        let checked = if column == 0 { " checked" } else { "" };
        let title = Html::text(title);
        let _ = write!(choices, "<label><input type=radio name=credit id=c{column}{checked}> {title}</label>");
    }
    Html::element("form", "", choices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_credit_can_be_chosen() {
        for column in 0..MEASURES.len() {
            assert!(STYLE.contains(&format!("body:has(#c{column}:checked) .c{column}")), "{column}");
        }
    }
}

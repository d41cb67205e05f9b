//! The page of answers: their tokens on the colour of their credit, of the kind that is chosen.
use std::fmt::Write as _;

use super::super::text::MEASURES;
use super::{document, escaped, span, summary_table};
use crate::credit::{CreditScale, CreditedAnswer, TextCredit};

/// The page of answers.
pub(in crate::credit) fn page(credit: &TextCredit) -> String {
    let n = credit.answers.first().map_or(0, |answer| answer.columns.len());
    let mut style = String::from("p.heat{display:none}");
    for column in 0..n {
        let _ = write!(style, "body:has(#c{column}:checked) p.c{column}{{display:block}}");
    }
    let mut body = credit.summary.as_ref().map(summary_table).unwrap_or_default();
    body.push_str("<form>");
    for (column, (_, title)) in MEASURES.iter().take(n).enumerate() {
        let checked = if column == 0 { " checked" } else { "" };
        let _ = write!(body, "<label><input type=radio name=credit id=c{column}{checked}> {title}</label>");
    }
    body.push_str("</form>");
    let scales: Vec<CreditScale> = (0..n).map(|column| credit.scale(column)).collect();
    for answer in &credit.answers {
        let _ = write!(body, "<section><h2>{}, {}</h2>", escaped(&answer.origin), answer.side);
        for (column, scale) in scales.iter().enumerate() {
            let _ = write!(body, "<p class=\"heat c{column}\">{}</p>", tokens(answer, column, *scale));
        }
        body.push_str("</section>");
    }
    document(&style, "Red is less, blue is more; wrong spans are underlined.", &body)
}

/// The text of an answer on the colours of its tokens' credit.
pub(super) fn tokens(answer: &CreditedAnswer, column: usize, scale: CreditScale) -> String {
    let pieces = answer.pieces(column).into_iter();
    pieces.map(|(text, credit, is_wrong)| span(&text, (credit, scale.strength(credit)), is_wrong)).collect()
}

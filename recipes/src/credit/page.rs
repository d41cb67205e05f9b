//! The page of heat maps: one file, without a script or anything from elsewhere.
use std::fmt::Write as _;
use std::path::Path;

use super::{Credit, CreditScale, CreditSummary, CreditedAnswer, MEASURES};
use crate::Failure;

/// Styles for light and dark: the colours lie half transparent on whatever the background is.
const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.7 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;font-size:.9em}td,th{padding:.2em .8em .2em 0;text-align:left}\
section{border-top:1px solid #8886;padding:.6em 0}h2{font-size:1em;font-weight:normal;opacity:.7;margin:0}\
p.heat{margin:.3em 0;white-space:pre-wrap;display:none}p.heat span{border-radius:.2em}\
span.wrong{text-decoration:underline wavy;text-underline-offset:.25em}label{margin-right:1em;white-space:nowrap}";

/// Writes the page, whole or not at all.
pub(super) fn write(path: &Path, credit: &Credit) -> Result<(), Failure> {
    Ok(train::write_whole(path, |file| std::io::Write::write_all(file, page(credit).as_bytes()))?)
}

fn page(credit: &Credit) -> String {
    let n = credit.answers.first().map_or(0, |answer| answer.columns.len());
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Credit</title><style>{STYLE}"
    );
    for column in 0..n {
        let _ = write!(page, "body:has(#c{column}:checked) p.c{column}{{display:block}}");
    }
    page.push_str("</style><h1>Credit</h1><p>Red is less, blue is more; wrong spans are underlined.</p>");
    if let Some(summary) = &credit.summary {
        table(&mut page, summary);
    }
    page.push_str("<form>");
    for (column, (_, title)) in MEASURES.iter().take(n).enumerate() {
        let checked = if column == 0 { " checked" } else { "" };
        let _ = write!(page, "<label><input type=radio name=credit id=c{column}{checked}> {title}</label>");
    }
    page.push_str("</form>");
    let scales: Vec<CreditScale> = (0..n).map(|column| credit.scale(column)).collect();
    for answer in &credit.answers {
        section(&mut page, answer, &scales);
    }
    page.push_str("</html>\n");
    page
}

fn table(page: &mut String, summary: &CreditSummary) {
    page.push_str("<table><tr><th>credit<th>AUROC<th>average precision<th>pointing accuracy");
    for row in &summary.rows {
        let _ = write!(page, "<tr><td>{}", row.title);
        for estimate in [row.auroc, row.average_precision, row.pointing] {
            let _ = match estimate {
                Some(it) => write!(page, "<td>{:.3} ({:.3} to {:.3})", it.value, it.low, it.high),
                None => write!(page, "<td>-"),
            };
        }
    }
    let last = summary.to_string().lines().last().unwrap_or_default().to_owned();
    let _ = write!(page, "</table><p>{last}</p>");
}

fn section(page: &mut String, answer: &CreditedAnswer, scales: &[CreditScale]) {
    let _ = write!(page, "<section><h2>{}, {}</h2>", escaped(&answer.origin), answer.side);
    for (column, scale) in scales.iter().enumerate() {
        let _ = write!(page, "<p class=\"heat c{column}\">");
        for (text, credit, is_wrong) in answer.pieces(column) {
            let class = if is_wrong { " class=wrong" } else { "" };
            let text = if text.is_empty() { "\u{25a0}".to_owned() } else { escaped(&text) };
            let colour = colour(scale.strength(credit));
            let _ = write!(page, "<span{class} style=\"background:{colour}\" title=\"{credit:+.4}\">{text}</span>");
        }
        page.push_str("</p>");
    }
    page.push_str("</section>");
}

/// Red for less and blue for more, half transparent.
fn colour(strength: f64) -> String {
    let rgb = if strength < 0.0 { "214,48,39" } else { "49,110,214" };
    format!("rgba({rgb},{:.2})", 0.75 * strength.abs())
}

/// Text as a page has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_stronger_further_from_the_middle() {
        assert_eq!(colour(0.0), "rgba(49,110,214,0.00)");
        assert_eq!([colour(-0.5), colour(1.0)], ["rgba(214,48,39,0.38)", "rgba(49,110,214,0.75)"]);
    }

    #[test]
    fn what_an_answer_says_is_no_markup() {
        assert_eq!(escaped("<script> & \"x\""), "&lt;script&gt; &amp; &quot;x&quot;");
    }
}

//! Pages of heat maps: one file each, without a script or anything from elsewhere.
pub(super) mod hybrid;
pub(super) mod image;
mod picture;
pub(super) mod text;

use std::fmt::Write as _;
use std::path::Path;

use super::CreditSummary;
use crate::Failure;

/// Styles for light and dark: colours lie half transparent on whatever the background is.
const STYLE: &str = "\
:root{color-scheme:light dark;--less:214,48,39;--more:49,110,214}\
@media(prefers-color-scheme:dark){:root{--less:255,92,80;--more:92,150,255}}\
body{font:16px/1.7 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;font-size:.9em;display:block;overflow-x:auto}\
td,th{padding:.2em .8em .2em 0;text-align:left;white-space:nowrap}\
section{border-top:1px solid #8886;padding:.6em 0}h2{font-size:1em;font-weight:normal;opacity:.8;margin:0}\
.heat{margin:.3em 0;white-space:pre-wrap}.heat span{border-radius:.2em}\
span.less{background:rgba(var(--less),var(--a))}span.more{background:rgba(var(--more),var(--a))}\
span.wrong{text-decoration:underline wavy;text-underline-offset:.25em}label{margin-right:1em;white-space:nowrap}";

/// Writes a page, whole or not at all.
pub(super) fn write(path: &Path, page: &str) -> Result<(), Failure> {
    Ok(train::write_whole(path, |file| std::io::Write::write_all(file, page.as_bytes()))?)
}

/// A page with a title, its own styles beside the shared ones, a line about its colours, and a body.
fn document(style: &str, about: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Credit</title><style>{STYLE}{style}</style><h1>Credit</h1><p>{}</p>{body}</html>\n",
        escaped(about)
    )
}

/// The table of how well wrong places are found.
fn summary_table(summary: &CreditSummary) -> String {
    let head = ["credit", "AUROC", "average precision", "pointing accuracy"].map(str::to_owned).into();
    let mut rows: Vec<Vec<String>> = vec![head];
    for row in &summary.rows {
        let cell = |estimate: Option<crate::Estimate>| {
            estimate.map_or_else(|| "-".to_owned(), |it| format!("{:.3} ({:.3} to {:.3})", it.value, it.low, it.high))
        };
        rows.push(vec![row.title.to_owned(), cell(row.auroc), cell(row.average_precision), cell(row.pointing)]);
    }
    format!("{}<p>{}</p>", table(&rows), escaped(&summary.counts()))
}

/// A table whose first row is its head.
fn table(cells: &[Vec<String>]) -> String {
    let mut text = String::from("<table>");
    for (at, row) in cells.iter().enumerate() {
        text.push_str("<tr>");
        for cell in row {
            let _ = write!(text, "<{}>{}", if at == 0 { "th" } else { "td" }, escaped(cell));
        }
    }
    text + "</table>"
}

/// A piece of text on the colour of its credit, which it names when pointed at.
fn span(text: &str, (credit, strength): (f64, f64), is_wrong: bool) -> String {
    let text = if text.is_empty() { "\u{25a0}".to_owned() } else { escaped(text) };
    let wrong = if is_wrong { " wrong" } else { "" };
    let side = if strength < 0.0 { "less" } else { "more" };
    let alpha = 0.75 * strength.abs();
    format!("<span class=\"{side}{wrong}\" style=\"--a:{alpha:.2}\" title=\"{credit:+.4}\">{text}</span>")
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
        assert_eq!(span("a", (0.0, 0.0), false), "<span class=\"more\" style=\"--a:0.00\" title=\"+0.0000\">a</span>");
        assert!(span("a", (-1.0, -0.5), true).starts_with("<span class=\"less wrong\" style=\"--a:0.38\""));
        assert!(span("", (2.0, 1.0), false).ends_with("--a:0.75\" title=\"+2.0000\">\u{25a0}</span>"));
    }

    #[test]
    fn what_an_answer_says_is_no_markup() {
        assert_eq!(escaped("<script> & \"x\""), "&lt;script&gt; &amp; &quot;x&quot;");
        assert_eq!(table(&[vec!["<".to_owned()], vec!["1".to_owned()]]), "<table><tr><th>&lt;<tr><td>1</table>");
    }
}

//! The page of hybrid pairs: refined prompts on the colours of their tokens' credit, and below each its picture.
use std::fmt::Write as _;

use super::image::{ABOUT, first, parts, steps_table};
use super::picture::{STYLE, Scales, figure};
use super::text::tokens;
use super::{document, escaped, table};
use crate::Failure;
use crate::credit::image::SHOWN;
use crate::credit::{CreditScale, PairCredit};

/// The page of pairs.
///
/// # Errors
/// A picture can't be encoded.
pub(in crate::credit) fn page(credit: &PairCredit) -> Result<String, Failure> {
    let mut body = format!("{}<p>{}</p>", table(&credit.shares.cells()), escaped(&credit.shares.explained()));
    body.push_str(&steps_table(&credit.steps));
    body.push_str(&first(SHOWN, credit.pairs.len()));
    let shown = &credit.pairs[..credit.pairs.len().min(SHOWN)];
    let scales = Scales::of(shown.iter().flat_map(|pair| &pair.sides).map(|side| &side.picture));
    let words = CreditScale::of(
        shown.iter().flat_map(|pair| &pair.sides).flat_map(|side| side.answer.columns[0].1.iter().copied()),
        false,
    );
    let parts = parts(&credit.steps);
    for pair in shown {
        let (of_words, of_pictures) = pair.margins;
        let _ = write!(
            body,
            "<section><h2>{} {}</h2><p>margin {:+.3}: words {of_words:+.3}, picture {of_pictures:+.3}</p>",
            pair.index,
            escaped(&pair.request),
            pair.margin()
        );
        for side in &pair.sides {
            let _ = write!(body, "<p class=heat>{}</p>", tokens(&side.answer, 0, words));
            body.push_str(&figure(&side.picture, scales, &parts)?);
        }
        body.push_str("</section>");
    }
    Ok(document(STYLE, ABOUT, &body))
}

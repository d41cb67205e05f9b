//! The page of hybrid pairs: refined prompts on the colours of their tokens' credit, and below each its picture.
use ::report::heat::{Scale, map};
use ::report::page::Section;

use super::image::{ABOUT, first, parts, steps_section};
use super::picture::{STYLE, Scales, figure};
use super::{document, table};
use crate::Failure;
use crate::credit::PairCredit;
use crate::credit::image::SHOWN;

/// The page of pairs.
///
/// # Errors
/// A picture can't be encoded.
pub(super) fn page(credit: &PairCredit) -> Result<String, Failure> {
    let halves = Section::new("Words and pictures").table(&table(&credit.shares.cells()));
    let halves = halves.text(&credit.shares.explained());
    let shown = &credit.pairs[..credit.pairs.len().min(SHOWN)];
    let sides = shown.iter().flat_map(|pair| &pair.sides);
    let scales = Scales::of(sides.clone().map(|side| &side.picture));
    let words = Scale::of_differences(sides.flat_map(|side| side.answer.columns[0].1.iter().copied()));
    let parts = parts(&credit.steps);
    let mut pairs = first(Section::new("Pairs"), SHOWN, credit.pairs.len());
    for pair in shown {
        let (of_words, of_pictures) = pair.margins;
        let margins = format!("margin {:+.3}: words {of_words:+.3}, picture {of_pictures:+.3}", pair.margin());
        pairs = pairs.heading(&format!("{} {}", pair.index, pair.request)).text(&margins);
        for side in &pair.sides {
            pairs = pairs.html(map(&side.answer.pieces(0), words)).html(figure(&side.picture, scales, &parts)?);
        }
    }
    let page = document(ABOUT).style(STYLE).section(halves).section(steps_section(&credit.steps));
    Ok(page.section(pairs).to_html())
}

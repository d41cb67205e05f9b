//! Heat maps of texts: each token on the colour of its number.
use std::fmt::Write as _;
use std::ops::Range;

use crate::page::Html;

/// What a page with heat maps adds to its style: colours lie half transparent on whatever the background is.
pub const STYLE: &str = "\
:root{--less:214,48,39;--more:49,110,214}\
@media screen and (prefers-color-scheme:dark){:root{--less:255,92,80;--more:92,150,255}}\
.heat{margin:.3em 0;white-space:pre-wrap;line-height:1.8;max-width:60rem}.heat span{border-radius:.2em}\
.heat .less{background:rgba(var(--less),var(--a))}.heat .more{background:rgba(var(--more),var(--a))}\
.heat .wrong{text-decoration:underline wavy;text-underline-offset:.25em}.heat .end{font-size:.8em;color:var(--soft)}\
@media print{.heat span{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// What stands for an end token, which has no characters.
pub const END: &str = "<end>";

/// The share of numbers whose colour is not at its strongest.
const WITHIN: f64 = 0.98;

/// A piece of a text, mostly a token with the white space before it. An end token has an empty text.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Its number.
    pub value: f64,
    /// Whether it is known to be wrong.
    pub is_wrong: bool,
}

impl Piece {
    /// The white space before the text, which has no colour, and the text; of white space alone all is text.
    pub fn parts(&self) -> (&str, &str) {
        let words = self.text.trim_start();
        if words.is_empty() { ("", &self.text) } else { self.text.split_at(self.text.len() - words.len()) }
    }
}

/// Splits a text by its tokens: a piece for each, with the white space before it. Tokens of the same character are one
/// piece, which has the sum of their numbers.
///
/// `places` are the characters that each token covers, `values` and `wrong` have an entry for each token; a token without
/// one has the number 0 and is not wrong.
pub fn pieces(text: &str, places: &[Range<usize>], values: &[f64], wrong: Option<&[bool]>) -> Vec<Piece> {
    let characters: Vec<char> = text.chars().collect();
    let (mut pieces, mut from): (Vec<Piece>, usize) = (Vec::new(), 0);
    for (at, place) in places.iter().enumerate() {
        let (end, value) = (place.end.min(characters.len()), values.get(at).copied().unwrap_or(0.0));
        match pieces.last_mut() {
            Some(last) if end <= from && place.start < from => last.value += value,
            _ => {
                let is_wrong = wrong.and_then(|wrong| wrong.get(at)).is_some_and(|is_wrong| *is_wrong);
                let text = characters[from.min(end)..end].iter().collect();
                pieces.push(Piece { text, value, is_wrong });
            }
        }
        from = from.max(end);
    }
    pieces
}

/// A scale from numbers to the strength of a colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The number that has no colour.
    middle: f64,
    /// How far from it colours are at their strongest.
    reach: f64,
}

impl Scale {
    /// The scale of differences, which have no colour at 0.
    pub fn of_differences(values: impl Iterator<Item = f64>) -> Self {
        Self::around(0.0, values.filter(|value| value.is_finite()).collect())
    }

    /// The scale of levels, which have no colour at their median.
    pub fn of_levels(values: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        Self::around(all.get(all.len() / 2).copied().unwrap_or(0.0), all)
    }

    fn around(middle: f64, all: Vec<f64>) -> Self {
        let mut far: Vec<f64> = all.into_iter().map(|value| (value - middle).abs()).collect();
        far.sort_by(f64::total_cmp);
        let at = (far.len().saturating_sub(1) as f64 * WITHIN) as usize;
        Self { middle, reach: far.get(at).copied().unwrap_or(0.0).max(f64::MIN_POSITIVE) }
    }

    /// The strength of a number's colour: from -1, the least, to 1, the most; 0 for what is no number.
    pub fn strength(self, value: f64) -> f64 {
        let strength = ((value - self.middle) / self.reach).clamp(-1.0, 1.0);
        if strength.is_nan() { 0.0 } else { strength }
    }
}

/// A text as a heat map, a paragraph of the class `heat`: red for less, blue for more; wrong pieces are underlined, and
/// each names its number when pointed at.
pub fn map(pieces: &[Piece], scale: Scale) -> Html {
    map_of_class("heat", pieces, scale)
}

/// A heat map as [`map`] makes it, of further classes: `heat` has to be among them.
pub fn map_of_class(class: &str, pieces: &[Piece], scale: Scale) -> Html {
    let mut text = String::new();
    for piece in pieces {
        let strength = scale.strength(piece.value);
        let side = if strength < 0.0 { "less" } else { "more" };
        let wrong = if piece.is_wrong { " wrong" } else { "" };
        // Coloured space would hang over the end of a line.
        let (space, words) = piece.parts();
        let (before, words, end) = if words.is_empty() { (" ", END, " end") } else { (space, words, "") };
        let (before, words) = (Html::text(before), Html::text(words));
        let (alpha, value) = (0.75 * strength.abs(), piece.value);
        let _ = write!(
            text,
            "{before}<span class=\"{side}{wrong}{end}\" style=\"--a:{alpha:.2}\" title=\"{value:+.4}\">{words}</span>"
        );
    }
    Html::element("p", class, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_at_their_strongest_where_few_tokens_are() {
        // 98% of 0 .. 100 are up to 98.
        let scale = Scale::of_differences((0..=100).map(f64::from));
        assert_eq!([49.0, 98.0, 100.0, -98.0, 0.0].map(|value| scale.strength(value)), [0.5, 1.0, 1.0, -1.0, 0.0]);
        assert_eq!(scale.strength(f64::NAN), 0.0);
    }

    #[test]
    fn levels_have_no_colour_at_their_median_and_equal_numbers_have_none() {
        let scale = Scale::of_levels([-3.0, -2.0, -1.0].into_iter());
        assert_eq!([-3.0, -2.0, -1.0].map(|value| scale.strength(value)), [-1.0, 0.0, 1.0]);
        assert_eq!(Scale::of_differences([0.0; 4].into_iter()).strength(0.0), 0.0);
        assert_eq!(Scale::of_levels(std::iter::empty()).strength(0.0), 0.0);
    }

    #[test]
    fn a_map_shows_sides_wrong_pieces_and_end_tokens() {
        let piece = |text: &str, value, is_wrong| Piece { text: text.to_owned(), value, is_wrong };
        let pieces = [piece(" <b>", -1.0, true), piece("", 0.5, false)];
        let map = map(&pieces, Scale::of_differences([1.0].into_iter())).to_string();
        assert!(
            map.contains("> <span class=\"less wrong\" style=\"--a:0.75\" title=\"-1.0000\">&lt;b&gt;</span>"),
            "{map}"
        );
        assert!(
            map.contains(" <span class=\"more end\" style=\"--a:0.38\" title=\"+0.5000\">&lt;end&gt;</span>"),
            "{map}"
        );
    }

    #[test]
    fn pieces_are_the_text_and_halves_of_a_character_are_one() {
        // `a`, ` b` (wrong), two halves of a character, and the end.
        let places = [0..1, 1..3, 4..5, 4..5, 5..5];
        let wrong = [false, true, false, false, false];
        let pieces = pieces("a b \u{e9}", &places, &[0.5, -1.0, 0.25, 0.5, 2.0], Some(&wrong));
        let piece = |text: &str, value, is_wrong| Piece { text: text.to_owned(), value, is_wrong };
        let all =
            [piece("a", 0.5, false), piece(" b", -1.0, true), piece(" \u{e9}", 0.75, false), piece("", 2.0, false)];
        assert_eq!(pieces, all);
        assert_eq!((all[1].parts(), piece("\n ", 0.0, false).parts()), ((" ", "b"), ("", "\n ")));
    }
}

//! Heat maps of texts: each token on the colour of its number.
use std::fmt::Write as _;

use crate::page::Html;

/// What a page with heat maps adds to its style: colours lie half transparent on whatever the background is.
pub const STYLE: &str = "\
:root{--less:214,48,39;--more:49,110,214}\
@media screen and (prefers-color-scheme:dark){:root{--less:255,92,80;--more:92,150,255}}\
.heat{margin:.3em 0;white-space:pre-wrap;line-height:1.8;max-width:60rem}.heat span{border-radius:.2em}\
.heat .less{background:rgba(var(--less),var(--a))}.heat .more{background:rgba(var(--more),var(--a))}\
.heat .wrong{text-decoration:underline wavy;text-underline-offset:.25em}\
@media print{.heat span{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

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

/// A scale from numbers to the strength of a colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The number that has no colour.
    middle: f64,
    /// How far from it colours are at their strongest.
    reach: f64,
}

impl Scale {
    /// The scale of all these numbers: levels have no colour at their median, differences at 0.
    pub fn of(values: impl Iterator<Item = f64>, is_level: bool) -> Self {
        let mut all: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        let middle = all.get(all.len() / 2).copied().filter(|_| is_level).unwrap_or(0.0);
        let mut far: Vec<f64> = all.iter().map(|value| (value - middle).abs()).collect();
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

/// A text as a heat map: red for less, blue for more; wrong pieces are underlined, and each names its number when pointed
/// at.
pub fn map(pieces: &[Piece], scale: Scale) -> Html {
    let mut text = String::new();
    for piece in pieces {
        let strength = scale.strength(piece.value);
        let side = if strength < 0.0 { "less" } else { "more" };
        let wrong = if piece.is_wrong { " wrong" } else { "" };
        let shown = Html::text(if piece.text.is_empty() { "\u{25a0}" } else { &piece.text });
        let (alpha, value) = (0.75 * strength.abs(), piece.value);
        let _ =
            write!(text, "<span class=\"{side}{wrong}\" style=\"--a:{alpha:.2}\" title=\"{value:+.4}\">{shown}</span>");
    }
    Html::element("p", "heat", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_at_their_strongest_where_few_tokens_are() {
        // 98% of 0 .. 100 are up to 98.
        let scale = Scale::of((0..=100).map(f64::from), false);
        assert_eq!([49.0, 98.0, 100.0, -98.0, 0.0].map(|value| scale.strength(value)), [0.5, 1.0, 1.0, -1.0, 0.0]);
        assert_eq!(scale.strength(f64::NAN), 0.0);
    }

    #[test]
    fn levels_have_no_colour_at_their_median_and_equal_numbers_have_none() {
        let scale = Scale::of([-3.0, -2.0, -1.0].into_iter(), true);
        assert_eq!([-3.0, -2.0, -1.0].map(|value| scale.strength(value)), [-1.0, 0.0, 1.0]);
        assert_eq!(Scale::of([0.0; 4].into_iter(), false).strength(0.0), 0.0);
        assert_eq!(Scale::of(std::iter::empty(), false).strength(0.0), 0.0);
    }

    #[test]
    fn a_map_shows_sides_wrong_pieces_and_end_tokens() {
        let piece = |text: &str, value, is_wrong| Piece { text: text.to_owned(), value, is_wrong };
        let pieces = [piece(" <b>", -1.0, true), piece("", 0.5, false)];
        let map = map(&pieces, Scale::of([1.0].into_iter(), false)).to_string();
        assert!(
            map.contains("<span class=\"less wrong\" style=\"--a:0.75\" title=\"-1.0000\"> &lt;b&gt;</span>"),
            "{map}"
        );
        assert!(map.contains("<span class=\"more\" style=\"--a:0.38\" title=\"+0.5000\">\u{25a0}</span>"), "{map}");
    }
}

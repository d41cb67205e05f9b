//! The key: a mark and a name for each series.
use plotters::style::RGBColor;

use super::{Chart, Marks, colours};

/// A name of the key with the place of its mark.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) colour: RGBColor,
    /// `None` for a level.
    pub(super) marks: Option<Marks>,
    /// Left end and row.
    pub(super) at: (i32, i32),
}

/// Pixels of a row.
pub(super) const ROW: i32 = 20;
/// Pixels of a mark with the space behind it.
pub(super) const MARK: i32 = 28;

/// Lays the names out in rows of `width` pixels; empty where there is but one series and no level.
pub(super) fn entries(chart: &Chart, width: i32) -> Vec<Entry<'_>> {
    let series = chart.series.iter().enumerate();
    let series = series.map(|(at, series)| (series.name.as_str(), colour(chart, at), Some(series.marks)));
    let levels = chart.levels.iter().map(|(name, _)| (name.as_str(), colours::PALE, None));
    let named: Vec<_> = series.chain(levels).filter(|(name, _, _)| !name.is_empty()).collect();
    if chart.series.len() == 1 && chart.levels.is_empty() {
        return Vec::new();
    }
    let (mut x, mut row, mut entries) = (0, 0, Vec::new());
    for (name, colour, marks) in named {
        let wide = MARK + width_of(name) + 18;
        if x > 0 && x + wide > width {
            (x, row) = (0, row + 1);
        }
        entries.push(Entry { name, colour, marks, at: (x, row) });
        x += wide;
    }
    entries
}

/// The colour of the series at a place.
pub(super) fn colour(chart: &Chart, at: usize) -> RGBColor {
    let series = &chart.series[at];
    if series.is_backdrop {
        return colours::PALE;
    }
    let before = chart.series[..at].iter().filter(|other| !other.is_backdrop).count();
    colours::of_series(series.colour.unwrap_or(before))
}

/// About as wide as a text is: no font is read, and any viewer may take another.
fn width_of(text: &str) -> i32 {
    (text.chars().map(|c| if c.is_ascii() { 0.56 } else { 0.8 }).sum::<f64>() * 13.0).ceil() as i32
}

//! The colours of plots, on white and on dark backgrounds.
use plotters::style::RGBColor;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x26, 0x2A, 0x30);
/// Lines of the grid.
pub(super) const GRID: RGBColor = RGBColor(0xDD, 0xE0, 0xE4);
/// What lies behind everything.
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFE);
/// Series that others are compared with, and levels.
pub(super) const PALE: RGBColor = RGBColor(0x8A, 0x90, 0x99);

/// The colours of series, which people with any colour vision can tell apart (after Okabe and Ito).
const SERIES: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x8C, 0x66),
    RGBColor(0xB6, 0x4E, 0x8A),
    RGBColor(0x8A, 0x6A, 0x00),
    RGBColor(0x2F, 0x9A, 0xD6),
    RGBColor(0x5B, 0x4F, 0xB3),
    RGBColor(0x4D, 0x55, 0x5E),
];

/// The colour of a series by its place.
pub(super) fn of_series(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// What a page that shows plots adds to its style: each colour of a plot follows the style variables ink, rule,
/// pale and series-1 to series-8 where the page sets them, and the background is the page's own.
pub const STYLE: &str = "\
svg.chart{display:block;width:100%;height:auto;font-family:system-ui,sans-serif}\
svg.chart [fill=\"#FFFFFE\"]{fill:transparent}\
svg.chart [fill=\"#262A30\"]{fill:var(--ink,#262A30)}svg.chart [stroke=\"#262A30\"]{stroke:var(--ink,#262A30)}\
svg.chart [stroke=\"#DDE0E4\"]{stroke:var(--rule,#DDE0E4)}\
svg.chart [fill=\"#8A9099\"]{fill:var(--pale,#8A9099)}svg.chart [stroke=\"#8A9099\"]{stroke:var(--pale,#8A9099)}\
svg.chart [fill=\"#0072B2\"]{fill:var(--series-1,#0072B2)}svg.chart [stroke=\"#0072B2\"]{stroke:var(--series-1,#0072B2)}\
svg.chart [fill=\"#D55E00\"]{fill:var(--series-2,#D55E00)}svg.chart [stroke=\"#D55E00\"]{stroke:var(--series-2,#D55E00)}\
svg.chart [fill=\"#008C66\"]{fill:var(--series-3,#008C66)}svg.chart [stroke=\"#008C66\"]{stroke:var(--series-3,#008C66)}\
svg.chart [fill=\"#B64E8A\"]{fill:var(--series-4,#B64E8A)}svg.chart [stroke=\"#B64E8A\"]{stroke:var(--series-4,#B64E8A)}\
svg.chart [fill=\"#8A6A00\"]{fill:var(--series-5,#8A6A00)}svg.chart [stroke=\"#8A6A00\"]{stroke:var(--series-5,#8A6A00)}\
svg.chart [fill=\"#2F9AD6\"]{fill:var(--series-6,#2F9AD6)}svg.chart [stroke=\"#2F9AD6\"]{stroke:var(--series-6,#2F9AD6)}\
svg.chart [fill=\"#5B4FB3\"]{fill:var(--series-7,#5B4FB3)}svg.chart [stroke=\"#5B4FB3\"]{stroke:var(--series-7,#5B4FB3)}\
svg.chart [fill=\"#4D555E\"]{fill:var(--series-8,#4D555E)}svg.chart [stroke=\"#4D555E\"]{stroke:var(--series-8,#4D555E)}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_change_every_colour() {
        for RGBColor(red, green, blue) in SERIES.into_iter().chain([INK, PALE]) {
            for part in ["fill", "stroke"] {
                assert!(STYLE.contains(&format!("[{part}=\"#{red:02X}{green:02X}{blue:02X}\"]")), "{part} {red:02X}");
            }
        }
    }
}

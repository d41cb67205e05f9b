//! Axes: ranges, ticks and their labels, for plotters.
use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::{Chart, Marks, Scale};
use crate::Error;

/// An axis with its ticks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    ticks: Vec<f64>,
    names: Vec<String>,
}

impl Axis {
    /// The horizontal axis of a chart.
    ///
    /// # Errors
    /// No point is finite, or a number is not positive on a logarithmic axis.
    pub(super) fn horizontal(chart: &Chart) -> Result<Self, Error> {
        let mut all: Vec<f64> = drawn(chart).map(|point| point.x).collect();
        let has_bars = chart.series.iter().any(|series| series.marks == Marks::Bars);
        if !chart.names.is_empty() {
            all.extend([-0.5, chart.names.len() as f64 - 0.5]);
        } else if has_bars && chart.scales[0] == Scale::Linear {
            let half = bar_room(chart) / 2.0;
            all = all.into_iter().flat_map(|x| [x - half, x + half]).collect();
        }
        let mut axis = Self::over(chart, 0, &all)?;
        if !chart.names.is_empty() {
            axis.ticks = (0..chart.names.len()).map(|place| place as f64).collect();
            axis.names.clone_from(&chart.names);
        }
        Ok(axis)
    }

    /// The vertical axis of a chart, a little wider than its numbers.
    ///
    /// # Errors
    /// As [`horizontal`](Self::horizontal).
    pub(super) fn vertical(chart: &Chart) -> Result<Self, Error> {
        let ends = |(low, high): (f64, f64)| [low, high];
        let mut all: Vec<f64> = drawn(chart)
            .flat_map(|point| std::iter::once(point.y).chain(point.interval.into_iter().flat_map(ends)))
            .filter(|y| y.is_finite())
            .collect();
        all.extend(chart.levels.iter().map(|(_, y)| *y).filter(|y| y.is_finite()));
        all.extend(chart.ranges[1].into_iter().flat_map(ends));
        if chart.scales[1] == Scale::Linear && chart.series.iter().any(|series| series.marks == Marks::Bars) {
            all.push(0.0);
        }
        let mut axis = Self::over(chart, 1, &all)?;
        let (low, high) = chart.ranges[1].unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        let rest_on_zero = axis.low == 0.0;
        let (from, to) = (axis.position(axis.low), axis.position(axis.high));
        let margin = 0.05 * (to - from);
        // Where the caller set an end and nothing is beyond it, the axis ends there.
        if axis.low < low && !rest_on_zero {
            axis.low = axis.value(from - margin);
        }
        if axis.high > high {
            axis.high = axis.value(to + margin);
        }
        axis.ticks = ticks(axis.scale, axis.low, axis.high);
        Ok(axis)
    }

    fn over(chart: &Chart, which: usize, all: &[f64]) -> Result<Self, Error> {
        let scale = chart.scales[which];
        let (low, high) = all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
        if low > high {
            return Err(Error::NoPoints { chart: chart.title.clone() });
        }
        if scale == Scale::Log && low <= 0.0 {
            let axis = chart.labels[which].clone();
            return Err(Error::NotPositive { chart: chart.title.clone(), axis, value: low });
        }
        let (low, high) = match scale {
            // A range without an extent can't be drawn.
            Scale::Linear if high - low <= 1e-9 * low.abs().max(high.abs()).max(1e-6) => {
                let half = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
                (low - half, high + half)
            }
            Scale::Log if high / low < 1.0 + 1e-9 => (low / 2.0, high * 2.0),
            Scale::Linear | Scale::Log => (low, high),
        };
        Ok(Self { scale, low, high, ticks: ticks(scale, low, high), names: Vec::new() })
    }

    /// Where a number is, in the units of the scale.
    fn position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    fn value(&self, position: f64) -> f64 {
        match self.scale {
            Scale::Linear => position,
            Scale::Log => 10f64.powf(position),
        }
    }
}

/// The distance between neighbouring bars of a series, 1 where there is but one.
pub(super) fn bar_room(chart: &Chart) -> f64 {
    let mut places: Vec<f64> = drawn(chart).map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    let gaps = places.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0.0);
    gaps.fold(None, |least: Option<f64>, gap| Some(least.map_or(gap, |l| l.min(gap)))).unwrap_or(1.0)
}

fn drawn(chart: &Chart) -> impl Iterator<Item = &super::Point> {
    chart.series.iter().flat_map(|series| &series.points).filter(|point| point.is_finite())
}

/// Round numbers between two, about five.
fn ticks(scale: Scale, low: f64, high: f64) -> Vec<f64> {
    match scale {
        Scale::Linear => linear_ticks(low, high),
        Scale::Log => log_ticks(low, high),
    }
}

fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let unit = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * unit).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|n| n as f64 * step).collect()
}

/// Powers of ten, with 2 and 5 between them where there are few.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let every = ((last - first) / 6).max(1);
    let within = |tick: &f64| *tick >= low * (1.0 - 1e-9) && *tick <= high * (1.0 + 1e-9);
    let of = |digits: &[f64]| -> Vec<f64> {
        let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        powers.flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power))).filter(within).collect()
    };
    let powers = of(&[1.0]);
    let with_halves = if powers.len() >= 3 { powers } else { of(&[1.0, 2.0, 5.0]) };
    if with_halves.len() >= 2 { with_halves } else { linear_ticks(low, high) }
}

/// A number as short as it can be: `0.25`, `1200`, `3e-7`.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trimmed(digits));
    }
    let decimals = if size >= 100.0 { 1 } else { 4 };
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

fn trimmed(text: &str) -> &str {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if text == "-0" { "0" } else { text }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let [low, high, at] = [self.low, self.high, *value].map(|value| self.position(value));
        let share = ((at - low) / (high - low)).clamp(-1.0, 2.0);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        match self.names.get(value.round() as usize) {
            Some(name) => name.clone(),
            None => short(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        assert_eq!(linear_ticks(0.0, 1.0), [0.0, 0.2, 0.4, 3.0 * 0.2, 0.8, 1.0]);
        assert_eq!(linear_ticks(-3.0, 7.0), [-2.0, 0.0, 2.0, 4.0, 6.0]);
        assert_eq!(log_ticks(1.0, 20.0), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(log_ticks(1e-6, 1e-2).len(), 5);
        assert_eq!(log_ticks(3.1, 3.9), linear_ticks(3.1, 3.9));
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.0, -0.0, 3.0 * 0.2, 1200.0, 3e-7, -2.5e8, 0.0625].map(short);
        assert_eq!(labels, ["0", "0", "0.6", "1200", "3e-7", "-2.5e8", "0.0625"]);
    }
}

//! Numbers with intervals over seeds.
use serde::{Deserialize, Serialize};

/// A number with its 95% interval.
///
/// An exact number has an interval of no width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// Student's t at 97.5%, for 1 degree of freedom and more.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

impl Measured {
    /// A number that was computed and not estimated.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// The mean over seeds with its t interval; one seed alone has an interval without ends.
    ///
    /// More than eleven seeds have the quantile of eleven, which is a little too wide for them.
    pub fn over_seeds(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let Some(quantile) = values.len().checked_sub(2).map(|at| STUDENT[at.min(STUDENT.len() - 1)]) else {
            return Self { value, low: f64::NEG_INFINITY, high: f64::INFINITY };
        };
        let variance = values.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (n - 1.0);
        let half = quantile * (variance / n).sqrt();
        Self { value, low: value - half, high: value + half }
    }

    /// The mean over seeds of the differences of pairs.
    pub fn of_differences(ours: &[f64], theirs: &[f64]) -> Self {
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
        Self::over_seeds(&differences)
    }

    /// Whether there is an estimate with an interval that has ends.
    pub fn is_known(&self) -> bool {
        [self.value, self.low, self.high].iter().all(|number| number.is_finite())
    }
}

/// `0.123 (0.100 to 0.146)`, with more digits for small numbers and no interval for exact ones.
impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, low, high } = *self;
        if low == high {
            return f.write_str(&number(value));
        }
        if !self.is_known() {
            return write!(f, "{} (no interval)", number(value));
        }
        write!(f, "{} ({} to {})", number(value), number(low), number(high))
    }
}

/// Three decimal places, or an exponent where they would show nothing.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if size < 5e-4 {
        format!("{value:.1e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

/// The mean; not a number of nothing.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values.into_iter().fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_textbook() {
        // R: t.test(c(1, 2, 4)) has the mean 2.3333 and the interval -1.461 to 6.128.
        let measured = Measured::over_seeds(&[1.0, 2.0, 4.0]);
        assert!((measured.value - 7.0 / 3.0).abs() < 1e-12);
        assert!((measured.low + 1.461).abs() < 2e-3 && (measured.high - 6.128).abs() < 2e-3, "{measured:?}");
        let paired = Measured::of_differences(&[1.0, 2.0, 4.0], &[0.0, 0.0, 0.0]);
        assert_eq!(paired, measured);
    }

    #[test]
    fn one_seed_has_no_interval() {
        let measured = Measured::over_seeds(&[0.5]);
        assert!(!measured.is_known());
        assert_eq!(measured.to_string(), "0.500 (no interval)");
        assert!(Measured::over_seeds(&[]).value.is_nan());
    }

    #[test]
    fn numbers_are_shown_with_digits_that_say_something() {
        let shown = [0.0, 1.2e-16, 0.5, -0.25, 123.4].map(|value| Measured::exact(value).to_string());
        assert_eq!(shown, ["0", "1.2e-16", "0.500", "-0.250", "123"]);
    }
}

//! From credit to the strength of a colour.

/// The share of numbers whose colour is not at its strongest.
const WITHIN: f64 = 0.98;

/// A scale from credit to the strength of a colour, the same for all examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CreditScale {
    /// The credit that has no colour.
    middle: f64,
    /// The distance from it at which colours are strongest.
    reach: f64,
}

impl CreditScale {
    /// The scale of differences, which have no colour at 0.
    pub fn of_differences(credit: impl Iterator<Item = f64>) -> Self {
        Self::of(credit, false)
    }

    /// The scale of all these: a level has no colour at its median, a difference at 0.
    pub(super) fn of(credit: impl Iterator<Item = f64>, is_level: bool) -> Self {
        let mut all: Vec<f64> = credit.collect();
        all.sort_by(f64::total_cmp);
        let middle = all.get(all.len() / 2).copied().filter(|_| is_level).unwrap_or(0.0);
        let mut far: Vec<f64> = all.iter().map(|credit| (credit - middle).abs()).collect();
        far.sort_by(f64::total_cmp);
        let at = (far.len().saturating_sub(1) as f64 * WITHIN) as usize;
        Self { middle, reach: far.get(at).copied().unwrap_or(0.0).max(f64::MIN_POSITIVE) }
    }

    /// The strength of the colour of a credit: from -1, the least, to 1, the most.
    pub fn strength(self, credit: f64) -> f64 {
        ((credit - self.middle) / self.reach).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_at_their_strongest_where_few_tokens_are() {
        // 98% of 0 .. 100 are up to 98.
        let scale = CreditScale::of((0..=100).map(f64::from), false);
        assert_eq!([49.0, 98.0, 100.0, -98.0, 0.0].map(|credit| scale.strength(credit)), [0.5, 1.0, 1.0, -1.0, 0.0]);
    }

    #[test]
    fn levels_have_no_colour_at_their_median_and_equal_credit_has_none() {
        let scale = CreditScale::of([-3.0, -2.0, -1.0].into_iter(), true);
        assert_eq!([-3.0, -2.0, -1.0].map(|credit| scale.strength(credit)), [-1.0, 0.0, 1.0]);
        assert_eq!(CreditScale::of([0.0; 4].into_iter(), false).strength(0.0), 0.0);
        assert_eq!(CreditScale::of(std::iter::empty(), false).strength(0.0), 0.0);
    }
}

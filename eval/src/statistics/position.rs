//! Whether a judge prefers a place.
use train::statistics::wilson;

use crate::{Judged, Verdict};

/// How often a judge prefers what it is shown first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Replies that prefer the first.
    pub first: usize,
    /// Replies that prefer the second.
    pub second: usize,
    /// Pairs that were shown in both orders and got a choice in each.
    pub both: usize,
    /// Pairs of those whose choice was the same.
    pub consistent: usize,
}

impl Positions {
    /// Counts the replies about pairs.
    pub fn of<'j>(judged: impl IntoIterator<Item = &'j Judged>) -> Self {
        let mut found = Self::default();
        for judged in judged {
            for verdict in judged.verdicts() {
                match verdict {
                    Verdict::First => found.first += 1,
                    Verdict::Second => found.second += 1,
                    Verdict::Tie => {}
                }
            }
            if let Some(is_consistent) = judged.is_consistent() {
                found.both += 1;
                found.consistent += usize::from(is_consistent);
            }
        }
        found
    }

    /// The share of decided replies that prefer the first, with its 95% interval; 0.5 is no bias. `None` without any.
    pub fn first_share(&self) -> Option<(f64, (f64, f64))> {
        let (first, n) = (self.first as f64, (self.first + self.second) as f64);
        (n > 0.0).then(|| (first / n, wilson(first, n)))
    }

    /// The share of pairs whose choice is the same in both orders; `None` where none was shown in both.
    pub fn consistency(&self) -> Option<f64> {
        (self.both > 0).then(|| self.consistent as f64 / self.both as f64)
    }
}

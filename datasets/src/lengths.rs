//! Histograms of lengths.
use std::collections::BTreeMap;

/// A histogram of exact lengths, with one entry per distinct length.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Lengths {
    counts: BTreeMap<usize, u64>,
}

impl Lengths {
    /// Counts one length.
    pub fn add(&mut self, length: usize) {
        *self.counts.entry(length).or_default() += 1;
    }

    /// Adds the counts of other lengths.
    pub fn join(&mut self, other: &Self) {
        for (&length, &count) in &other.counts {
            *self.counts.entry(length).or_default() += count;
        }
    }

    /// Number of counted lengths.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The maximum; 0 if empty.
    pub fn max(&self) -> usize {
        self.counts.last_key_value().map_or(0, |(&length, _)| length)
    }

    /// The mean; 0 if empty.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.counts.iter().map(|(&length, &count)| length as f64 * count as f64).sum();
        sum / self.count().max(1) as f64
    }

    /// The quantile: the smallest length not exceeded by this share; 0 if empty.
    pub fn percentile(&self, share: f64) -> usize {
        let wanted = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (&length, &count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return length;
            }
        }
        0
    }

    /// Lengths and their counts, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().map(|(&length, &count)| (length, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_one_to_a_hundred() {
        let mut lengths = Lengths::default();
        (1..=100).for_each(|length| lengths.add(length));
        assert_eq!([0.0, 0.5, 0.9, 0.99, 1.0].map(|share| lengths.percentile(share)), [1, 50, 90, 99, 100]);
        assert_eq!((lengths.mean(), lengths.max()), (50.5, 100));
        assert_eq!(Lengths::default().percentile(0.5), 0);
    }
}

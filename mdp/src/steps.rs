/// One number per decision of each episode: flat values and row ends, so that ragged data needs no padding.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Steps {
    values: Vec<f64>,
    ends: Vec<usize>,
}

impl Steps {
    /// Appends the row of one more episode.
    pub fn push(&mut self, row: &[f64]) {
        self.values.extend_from_slice(row);
        self.ends.push(self.values.len());
    }

    /// A copy of the shape, filled with `value`.
    #[must_use]
    pub fn filled(&self, value: f64) -> Self {
        Self { values: vec![value; self.values.len()], ends: self.ends.clone() }
    }

    /// Number of episodes.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no episodes.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The numbers of episode `i`.
    ///
    /// # Panics
    /// If there is no episode `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[self.begin(i)..self.ends[i]]
    }

    /// The numbers of episode `i`, mutable.
    ///
    /// # Panics
    /// If there is no episode `i`.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        let begin = self.begin(i);
        &mut self.values[begin..self.ends[i]]
    }

    /// Iterates over the rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// All numbers in episode order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All numbers, mutable.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// Copies the rows `from..to`.
    ///
    /// # Panics
    /// If the range is out of bounds.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        range.map(|i| self.row(i)).collect()
    }

    /// Whether both have the same number of decisions in every episode.
    pub fn same_shape(&self, other: &Self) -> bool {
        self.ends == other.ends
    }

    fn begin(&self, i: usize) -> usize {
        if i == 0 { 0 } else { self.ends[i - 1] }
    }
}

impl<R: AsRef<[f64]>> FromIterator<R> for Steps {
    fn from_iter<T: IntoIterator<Item = R>>(rows: T) -> Self {
        let mut steps = Self::default();
        rows.into_iter().for_each(|row| steps.push(row.as_ref()));
        steps
    }
}

/// A policy's numbers for each decision: the log-probability, and optional channels that need the whole distribution.
///
/// The same type carries slopes back: d(loss)/d(number) for each of the numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels {
    /// log pi(a|s), in nats.
    pub log_probs: Steps,
    /// KL(reference || policy) over the actions of the decision's state, in nats: the paper's Eq. 14 without its
    /// `-beta`.
    pub divergence: Option<Steps>,
    /// The entropy of the policy in that state, in nats. It is a diagnostic without gradient.
    pub entropy: Option<Steps>,
    /// The mean of the policy's logits over all actions of the state; a diagnostic without gradient.
    pub mean_logit: Option<Steps>,
    /// 1 where no action of the state is likelier, else 0; a diagnostic without gradient.
    pub is_likeliest: Option<Steps>,
    /// The logarithm of the sum of all actions' squared probabilities in that state, in nats: of the chance that two actions
    /// drawn from the policy are the same. It has no gradient.
    pub collision: Option<Steps>,
}

impl From<Steps> for Channels {
    fn from(log_probs: Steps) -> Self {
        Self { log_probs, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ragged() -> Steps {
        [vec![1.0, 2.0], vec![], vec![3.0]].into_iter().collect()
    }

    #[test]
    fn rows_come_back_as_they_went_in() {
        let steps = ragged();
        assert_eq!(steps.len(), 3);
        assert_eq!(steps.rows().collect::<Vec<_>>(), [&[1.0, 2.0][..], &[], &[3.0]]);
        assert_eq!(steps.values(), [1.0, 2.0, 3.0]);
        assert!(Steps::default().is_empty());
    }

    #[test]
    fn rows_can_be_changed() {
        let mut steps = ragged();
        steps.row_mut(2)[0] = 5.0;
        steps.values_mut()[0] = 4.0;
        assert_eq!(steps.values(), [4.0, 2.0, 5.0]);
    }

    #[test]
    fn a_slice_is_some_of_the_rows() {
        assert_eq!(ragged().slice(1..3), [vec![], vec![3.0]].into_iter().collect());
        assert!(ragged().slice(1..1).is_empty());
    }

    #[test]
    fn shapes_are_row_by_row() {
        let steps = ragged();
        assert!(steps.same_shape(&steps.filled(7.0)));
        assert_eq!(steps.filled(7.0).values(), [7.0; 3]);
        // As many numbers, but in other rows.
        assert!(!steps.same_shape(&[vec![1.0], vec![2.0], vec![3.0]].into_iter().collect()));
    }

    #[test]
    fn channels_begin_with_log_probabilities_alone() {
        let channels = Channels::from(ragged());
        assert_eq!(channels, Channels { log_probs: ragged(), ..Channels::default() });
    }
}

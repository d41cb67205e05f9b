/// One number per decision of each episode: flat values and row ends, so that ragged data needs no padding.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Steps {
    values: Vec<f64>,
    ends: Vec<usize>,
}

impl Steps {
    /// Appends the numbers of one more episode.
    pub fn push(&mut self, row: &[f64]) {
        self.values.extend_from_slice(row);
        self.ends.push(self.values.len());
    }

    /// A copy of this shape with every number `value`.
    #[must_use]
    pub fn filled(&self, value: f64) -> Self {
        Self { values: vec![value; self.values.len()], ends: self.ends.clone() }
    }

    /// How many episodes there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
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

    /// The numbers of episode `i`, to change.
    ///
    /// # Panics
    /// If there is no episode `i`.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        let begin = self.begin(i);
        &mut self.values[begin..self.ends[i]]
    }

    /// Every episode's numbers in turn.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// All numbers of all episodes in order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All numbers, to change.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The rows `from..to` as their own value.
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

/// What a policy says of each decision: its log-probability, and what needs the whole distribution where it was asked.
///
/// The same shape carries slopes back: d(loss)/d(number) for each of the numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels {
    /// log pi(a|s), in nats.
    pub log_probs: Steps,
    /// KL(reference || policy) over the actions of the state the decision is taken in, in nats: the paper's Eq. 14
    /// without its `-beta`.
    pub divergence: Option<Steps>,
    /// The entropy of the policy in that state, in nats. It is a diagnostic: no slope goes back through it.
    pub entropy: Option<Steps>,
    /// The mean of the policy's logits over all actions of the state, a diagnostic as well.
    pub mean_logit: Option<Steps>,
    /// 1 where no action of the state is likelier than the one taken, else 0: a diagnostic as well.
    pub is_likeliest: Option<Steps>,
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

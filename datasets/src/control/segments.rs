use crate::DatasetError;

/// Segments of equal length: what was observed and done.
///
/// # Shapes
/// Observations `[n, length, observation_size]`, actions `[n, length, action_size]`, row-major and finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    observations: Vec<f32>,
    actions: Vec<f32>,
    length: usize,
    observation_size: usize,
    action_size: usize,
}

impl Segments {
    /// Segments of `length` decisions with observations and actions of these sizes.
    ///
    /// # Errors
    /// A size of 0; arrays of other counts than these sizes make, or of different numbers of segments; a number that is
    /// not finite.
    pub fn new(
        observations: Vec<f32>,
        actions: Vec<f32>,
        length: usize,
        (observation_size, action_size): (usize, usize),
    ) -> Result<Self, DatasetError> {
        let wrong = |value: String, hint| Err(DatasetError::Setting { name: "the shape of segments", value, hint });
        let sizes = [length, observation_size, action_size];
        if sizes.contains(&0) {
            return wrong(format!("{sizes:?}"), "no size may be 0");
        }
        let n = observations.len() / (length * observation_size);
        if n * length * observation_size != observations.len() || n * length * action_size != actions.len() {
            let counts = format!("{sizes:?} with {} and {} numbers", observations.len(), actions.len());
            return wrong(counts, "observations and actions must have as many decisions");
        }
        if observations.iter().chain(&actions).any(|number| !number.is_finite()) {
            return wrong("not finite".to_owned(), "every number must be");
        }
        Ok(Self { observations, actions, length, observation_size, action_size })
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.actions.len() / (self.length * self.action_size)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Decisions of a segment.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Numbers of an observation.
    pub fn observation_size(&self) -> usize {
        self.observation_size
    }

    /// Numbers of an action.
    pub fn action_size(&self) -> usize {
        self.action_size
    }

    /// All observations.
    pub fn observations(&self) -> &[f32] {
        &self.observations
    }

    /// All actions.
    pub fn actions(&self) -> &[f32] {
        &self.actions
    }

    /// The observation and the action of each decision of a segment.
    ///
    /// # Panics
    /// If there is no such segment.
    pub fn decisions(&self, segment: usize) -> impl ExactSizeIterator<Item = (&[f32], &[f32])> {
        let place = |size: usize| segment * self.length * size..(segment + 1) * self.length * size;
        let observations = &self.observations[place(self.observation_size)];
        let actions = &self.actions[place(self.action_size)];
        observations.chunks_exact(self.observation_size).zip(actions.chunks_exact(self.action_size))
    }

    /// The mean and the standard deviation of each number of an observation, over all decisions.
    pub fn moments(&self) -> Vec<(f64, f64)> {
        let n = (self.len() * self.length) as f64;
        let of = |at: usize| {
            let column = || self.observations.iter().skip(at).step_by(self.observation_size).map(|x| f64::from(*x));
            let mean = column().sum::<f64>() / n;
            (mean, (column().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        (0..self.observation_size).map(of).collect()
    }
}

use crate::{Evaluated, Record};

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done; `model/` holds the policy.
    Done,
    /// Evaluations stopped improving; `model/` holds the policy, `best/` the best one.
    StoppedEarly,
    /// The run was stopped; a checkpoint holds its state.
    Interrupted,
}

/// The result of a run.
#[derive(Debug)]
pub struct RunSummary {
    /// Its end.
    pub ending: Ending,
    /// Number of steps done.
    pub steps: usize,
    /// The metric by which a policy was kept in `best/`, and its value there; `None` if none was.
    pub best: Option<(String, f64)>,
    /// The record of the evaluation before the first step, also of a run that goes on.
    pub first: Option<Record>,
    /// The evaluation after the last step.
    pub last: Option<Evaluated>,
    /// Training examples per second, excluding evaluation and saving.
    pub examples_per_second: f64,
    /// Units of size per second, likewise.
    pub size_per_second: f64,
}

impl RunSummary {
    /// A metric of the last evaluation by name, such as `rewards/accuracies`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.last.as_ref().and_then(|last| last.metric(name))
    }
}

use std::path::Path;
use std::sync::atomic::AtomicBool;

use mdp::{Channels, EpisodeOf, Mdp};
use policies::PolicyError;

use crate::tensorboard::EventFile;
use crate::{Evaluated, Record, TrainError};

/// Receives the events of a run: for progress bars and logs.
pub trait Monitor {
    /// Training starts at `step` of `total`.
    fn started(&mut self, _step: usize, _total: usize) {}
    /// A step was completed.
    fn stepped(&mut self, _record: &Record) {}
    /// Held-out data was evaluated after `step` steps.
    fn evaluated(&mut self, _step: usize, _evaluated: &Evaluated) {}
    /// A message for the user.
    fn note(&mut self, _line: &str) {}
    /// Training ended or was interrupted.
    fn finished(&mut self) {}
}

/// A monitor that ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Samples of a policy for inspection; they write themselves.
pub trait Samples {
    /// Writes all of them into the run's folder and its TensorBoard events.
    ///
    /// # Errors
    /// A file can't be written.
    fn write(&self, to: &mut Showcase<'_>) -> Result<(), TrainError>;
}

/// The destination of samples.
#[derive(Debug)]
pub struct Showcase<'a> {
    /// The folder of the run's samples.
    pub folder: &'a Path,
    /// The run's TensorBoard events.
    pub events: &'a mut EventFile,
    /// Number of steps before they were generated.
    pub step: usize,
}

/// A problem's additions to an evaluation.
pub struct Hooks<'a, M: Mdp, L> {
    /// Scores with the divergence and entropy channels (Eq. 14), which are too expensive for every step.
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub diagnose: Option<Box<dyn Fn(&L, &[EpisodeOf<M>]) -> Result<Channels, PolicyError> + 'a>>,
    /// Generates samples for inspection.
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub sample: Option<Box<dyn Fn(&L) -> Result<Box<dyn Samples>, PolicyError> + 'a>>,
}

impl<M: Mdp, L> Default for Hooks<'_, M, L> {
    fn default() -> Self {
        Self { diagnose: None, sample: None }
    }
}

impl<M: Mdp, L> std::fmt::Debug for Hooks<'_, M, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("diagnose", &self.diagnose.is_some())
            .field("sample", &self.sample.is_some())
            .finish()
    }
}

/// The observers of a run, and the flag that stops it.
pub struct Observers<'w, M: Mdp, L> {
    /// Receives the events.
    pub monitor: &'w mut dyn Monitor,
    /// The problem's additions to evaluations.
    pub hooks: Option<&'w Hooks<'w, M, L>>,
    /// Stops the run with a checkpoint when set.
    pub stop: Option<&'w AtomicBool>,
}

impl<'w, M: Mdp, L> Observers<'w, M, L> {
    /// A monitor alone.
    pub fn monitor(monitor: &'w mut dyn Monitor) -> Self {
        Self { monitor, hooks: None, stop: None }
    }
}

impl<M: Mdp, L> std::fmt::Debug for Observers<'_, M, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observers").field("hooks", &self.hooks).field("stop", &self.stop).finish_non_exhaustive()
    }
}

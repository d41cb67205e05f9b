use std::path::Path;

use mdp::{Channels, EpisodeOf, Mdp};
use policies::BoxError;

use crate::tensorboard::EventFile;
use crate::{Evaluated, Record, TrainError};

/// Told what happens; draws the progress bar, writes the log.
pub trait Monitor {
    /// Training starts at `step` of `total`.
    fn started(&mut self, _step: usize, _total: usize) {}
    /// A step is done.
    fn stepped(&mut self, _record: &Record) {}
    /// Held-out data was evaluated after `step` steps.
    fn evaluated(&mut self, _step: usize, _evaluated: &Evaluated) {}
    /// Something worth a line.
    fn note(&mut self, _line: &str) {}
    /// Training is over or interrupted.
    fn finished(&mut self) {}
}

/// A monitor that says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// What a policy made, to look at; it writes itself.
pub trait Samples {
    /// Writes all of it into the run's folder and its TensorBoard events.
    ///
    /// # Errors
    /// A file can't be written.
    fn write(&self, to: &mut Showcase<'_>) -> Result<(), TrainError>;
}

/// Where samples go.
#[derive(Debug)]
pub struct Showcase<'a> {
    /// The folder of the run's samples.
    pub folder: &'a Path,
    /// The run's TensorBoard events.
    pub events: &'a mut EventFile,
    /// Steps done before they were made.
    pub step: usize,
}

/// What a problem adds to an evaluation.
pub struct Hooks<'a, M: Mdp, L> {
    /// Numbers with the divergence and entropy channels (Eq. 14), too dear for every step.
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub diagnose: Option<Box<dyn Fn(&L, &[EpisodeOf<M>]) -> Result<Channels, BoxError> + 'a>>,
    /// Draws samples to look at.
    #[expect(clippy::type_complexity, reason = "a closure in a box has no shorter name")]
    pub sample: Option<Box<dyn Fn(&L) -> Result<Box<dyn Samples>, BoxError> + 'a>>,
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

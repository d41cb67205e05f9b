//! Training with a learner and a source of one's own, kept below the folder of results.
use std::path::Path;

use mdp::Mdp;
use objectives::Objective;
use policies::{Learner, Persist, Policy};
use recipes::Failure;
use train::{CacheKey, Ending, Observers, Settings, Source, Training};

use crate::{Result, Setup};

/// What is learned from and against.
pub(crate) struct Fit<'a, M: Mdp, S: Source<Mdp = M>> {
    pub(crate) mdp: &'a M,
    pub(crate) data: &'a S,
    pub(crate) held_out: Option<&'a S>,
    pub(crate) reference: Option<&'a dyn Policy<M>>,
    pub(crate) objective: &'a dyn Objective<Feedback = S::Feedback>,
    pub(crate) settings: Settings,
    /// The name of the data, for the run's key.
    pub(crate) name: String,
}

impl<M: Mdp, S: Source<Mdp = M>> Fit<'_, M, S> {
    /// Runs the training loop in a folder, or goes on where it was stopped.
    pub(crate) fn run<L: Learner<M> + Persist>(self, setup: &Setup<'_>, learner: &mut L, folder: &Path) -> Result<()> {
        setup.go_on()?;
        setup.reporter.info(&format!("run {}", folder.file_name().unwrap_or_default().display()));
        let key = CacheKey { model: learner.fingerprint()?, data: self.name };
        let training = Training::new(self.mdp, self.data, self.objective).settings(self.settings).key(key);
        let training = match self.reference {
            Some(reference) => training.reference(reference),
            None => training,
        };
        let training = training.held_out(self.held_out);
        let monitor = &mut *setup.reporter.monitor();
        let observers = Observers { stop: Some(setup.reporter.stop()), ..Observers::monitor(monitor) };
        let ended = training.watched(learner, folder, observers)?;
        if ended.ending == Ending::Interrupted { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// A problem, its data and the reference.
pub(crate) type Learned<'a, M, S> = (&'a M, &'a S, Option<&'a dyn Policy<M>>);

/// Runs the training loop without held-out data, as [`Fit::run`].
pub(crate) fn fit<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
    setup: &Setup<'_>,
    (mdp, data, reference): Learned<'_, M, S>,
    objective: &dyn Objective<Feedback = S::Feedback>,
    learner: &mut L,
    settings: &Settings,
    folder: &Path,
) -> Result<()> {
    let folder_name = folder.file_name().unwrap_or_default().display().to_string();
    let (settings, name) = (settings.clone(), format!("{folder_name} {} {}", settings.seed, data.len()));
    Fit { mdp, data, held_out: None, reference, objective, settings, name }.run(setup, learner, folder)
}

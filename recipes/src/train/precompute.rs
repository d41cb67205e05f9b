//! The reference's numbers of a run, computed before it.
use std::path::PathBuf;

use ::train::{Source, Training, can_write};
use mdp::Mdp;

use super::Task;
use crate::keys::{WITHOUT_REFERENCE, idle};
use crate::objective::names;
use crate::settings::Values;
use crate::trained::{Trained, TrainingStatus};
use crate::{Failure, Reporter};

/// Checks that there is a file to fill, numbers to fill it with, and nothing that they do not depend on.
pub(super) fn check(values: &Values, reporter: &dyn Reporter) -> Result<(), Failure> {
    idle::refuse_beside_reference(values)?;
    let Some(path) = values.train.reference_cache() else {
        return Err(Failure::usage("`train.reference_cache` FILE is needed: where the reference's numbers go"));
    };
    let loss = values.objective.name();
    if names(values)?.iter().all(|loss| WITHOUT_REFERENCE.contains(&loss.word())) {
        return Err(Failure::usage(format!(
            "`objective.name` {loss} reads no reference, so there is nothing to compute"
        )));
    }
    if reporter.ranks().is_leader() { Ok(can_write(path.as_ref())?) } else { Ok(()) }
}

/// Fills the cache.
pub(super) fn fill<M: Mdp, S: Source<Mdp = M>>(
    task: &Task<'_>,
    training: &Training<'_, M, S>,
) -> Result<Trained, Failure> {
    let reporter = task.call.reporter;
    let mut bar = None;
    let mut scored = |known: usize, of: usize| {
        bar.get_or_insert_with(|| reporter.bar("reference", of)).set_position(known as u64);
    };
    let (known, of) = training.precompute(&mut scored, reporter.stop())?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let path = PathBuf::from(task.call.values.train.reference_cache().unwrap_or_default());
    let status = TrainingStatus::Precomputed { examples: known, is_interrupted: known < of };
    Ok(Trained::of(&path, status))
}

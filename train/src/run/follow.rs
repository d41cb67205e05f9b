//! The ranks that do not lead.
use mdp::Mdp;
use policies::{Learner, Persist};

use super::{join, load_cache, take_step};
use crate::evaluate::{EvalSettings, Examination};
use crate::ranks::{Order, Sharing, receive};
use crate::step::{Reference, StepAt};
use crate::{Hooks, Position, ReferenceCache, RunFolder, RunSummary, Silent, Source, TrainError, Training};

/// Takes the steps that the leader orders, from the newest checkpoint of its folder on, and scores its share of the held-out examples.
/// Nothing is written or said; of the hooks, `diagnose` alone is used.
///
/// # Errors
/// As a run; the leader has failed.
pub(super) fn follow<M, L, S>(
    problem: &Training<'_, M, S>,
    learner: &mut L,
    folder: &RunFolder,
    hooks: &Hooks<'_, M, L>,
) -> Result<RunSummary, TrainError>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    problem.prepare(learner)?;
    let position = Position { key: problem.cache_key()?, ..folder.restored(learner)? };
    let cache = load_cache(problem, folder, &position, &mut Silent)?;
    let mut reference = Reference { policy: problem.reference, cache };
    problem.objective.restore(&position.objective);
    let (schedule, mut steps) = (problem.settings.schedule(problem.data.len()), position.step);
    let mut held_out_reference = Reference { policy: problem.reference, cache: ReferenceCache::default() };
    loop {
        match receive(problem.ranks) {
            Order::Compare => join(problem, learner, &position)?,
            Order::Step => {
                take_step(problem, learner, &mut reference, StepAt::of(&problem.settings, steps, schedule))?;
                steps += 1;
            }
            Order::Evaluate => {
                let (look, data) = (EvalSettings::of(&problem.settings, steps), problem.held_out);
                let Training { mdp, objective, ranks, .. } = *problem;
                let learner = &*learner;
                let examine = |data| Examination { mdp, learner, objective, data, hooks, look, ranks };
                data.map(|data| examine(data).run(&mut held_out_reference, &mut |_| ())).transpose()?;
            }
            Order::Save => learner
                .save_checkpoint_of_shares(None, &Sharing(problem.ranks))
                .map_err(|source| TrainError::Policy { step: steps, source })?,
            Order::Fail => return Err(TrainError::OtherRank { rank: 0 }),
            Order::End(ending) => {
                let (best, first, last) = (None, None, None);
                let (examples_per_second, size_per_second) = (0.0, 0.0);
                return Ok(RunSummary { ending, steps, best, first, last, examples_per_second, size_per_second });
            }
        }
    }
}

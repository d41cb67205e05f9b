//! What ranks start from.
use mdp::Mdp;
use policies::{Learner, Persist};

use crate::ranks::Sharing;
use crate::{Position, Source, TrainError, Training};

/// What is compared, as messages name it.
const PARTS: [&str; 5] = ["settings", "training data", "reference", "checkpoint", "policy"];

/// Compares what the ranks start from, and connects their policies with each other.
///
/// # Errors
/// As [`compare`]; the policies can't be connected.
pub(super) fn join<M, L, S>(
    problem: &Training<'_, M, S>,
    learner: &mut L,
    position: &Position,
) -> Result<(), TrainError>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    if problem.ranks.size() == 1 {
        return Ok(());
    }
    compare(problem, learner, position)?;
    learner.join(&Sharing(problem.ranks)).map_err(|source| TrainError::Policy { step: position.step, source })
}

/// Checks that all ranks have the same settings, data, reference, checkpoint and policy: each sends digests of its own, of 48 bits.
///
/// # Errors
/// A rank differs from rank 0, or its policy has no fingerprint; all ranks return an error then.
fn compare<M, L, S>(problem: &Training<'_, M, S>, learner: &L, position: &Position) -> Result<(), TrainError>
where
    M: Mdp,
    L: Learner<M> + Persist,
    S: Source<Mdp = M>,
{
    let ranks = problem.ranks;
    let policy = learner.fingerprint().map_err(|source| TrainError::Policy { step: position.step, source });
    let own = policy.map(|policy| parts(problem, position, policy).map(|part| digest(&part)));
    let all = ranks.gather(own.as_ref().map_or(&[][..], |digests| &digests[..]));
    own?;
    for (rank, digests) in all.iter().enumerate() {
        if digests.len() != PARTS.len() {
            return Err(TrainError::OtherRank { rank });
        }
        let is_other = |part: &usize| digests[*part].to_bits() != all[0][*part].to_bits();
        if let Some(part) = (0..PARTS.len()).find(is_other) {
            return Err(TrainError::Unlike { rank, what: PARTS[part] });
        }
    }
    Ok(())
}

/// The texts of [`PARTS`], which are the same where the parts are.
fn parts<M: Mdp, S: Source<Mdp = M>>(
    problem: &Training<'_, M, S>,
    position: &Position,
    policy: String,
) -> [String; PARTS.len()] {
    let Position { step, examples, tokens, objective, key, .. } = position;
    let held_out = problem.held_out.map(Source::len);
    [
        format!("{:?} {:?}", problem.settings, problem.hyperparameters),
        format!("{} {held_out:?} {}", problem.data.len(), key.data),
        format!("{} {}", problem.reference.is_some(), key.model),
        format!("{step} {examples} {tokens} {objective:?}"),
        policy,
    ]
}

/// A digest that is a whole number.
fn digest(text: &str) -> f64 {
    blake3::hash(text.as_bytes()).as_bytes()[..6].iter().fold(0.0, |digest, byte| digest * 256.0 + f64::from(*byte))
}

//! Rollouts of one half after the other.

use mdp::hybrid::{Half, Handoff, Hybrid};
use mdp::{Episode, EpisodeOf, Mdp};

use super::by_half;
use crate::PolicyError;
use crate::cursor::one_each;

/// An episode from each of some states, or the error.
type Acted<M> = Result<Vec<EpisodeOf<M>>, PolicyError>;

/// Rolls out a hybrid problem half by half: all episodes run to the end of the outer problem, pass the hand-off
/// together, and continue in the inner one.
///
/// `outer` and `inner` roll out from states of their half to its end, one episode per state, with generators of their
/// choice. Starts in the inner half are not passed to `outer`. The states of a half are passed in one batch, so a
/// network sees the same batches as without the other half; a [`Cursor`](crate::Cursor) of a [`Pair`](crate::Pair)
/// instead advances each row as soon as possible, in batches of both halves. Each episode has one piece per half, of
/// weight 1.
///
/// # Errors
/// Another number of episodes than of states; an outer episode that stops before its end; errors of the hand-off,
/// `outer` or `inner`.
pub fn act_in_turn<A, B, H>(
    mdp: &Hybrid<A, B, H>,
    starts: &[Half<A::State, B::State>],
    outer: impl FnOnce(&[A::State]) -> Acted<A>,
    inner: impl FnOnce(&[B::State]) -> Acted<B>,
) -> Acted<Hybrid<A, B, H>>
where
    A: Mdp,
    B: Mdp,
    H: Handoff<A, B>,
{
    let (of_outer, _) = by_half(starts);
    let acted = outer(&of_outer)?;
    one_each("episodes of the outer half", of_outer.len(), acted.len())?;
    let ends = of_outer.iter().zip(&acted).map(|(start, episode)| end(&mdp.outer, start, episode));
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    let (mut acted, mut entered) = (acted.into_iter(), mdp.enter(&ends.iter().collect::<Vec<_>>())?.into_iter());
    let (mut before, mut handed) = (Vec::with_capacity(starts.len()), Vec::with_capacity(starts.len()));
    for start in starts {
        match start {
            Half::Outer(_) => {
                before.extend(acted.next());
                handed.extend(entered.next());
            }
            Half::Inner(state) => {
                before.push(Episode { pieces: Vec::new() });
                handed.push(state.clone());
            }
        }
    }
    let drawn = inner(&handed)?;
    one_each("episodes of the inner half", handed.len(), drawn.len())?;
    Ok(before.into_iter().zip(drawn).map(|(outer, inner)| mdp.join(outer, inner, (1.0, 1.0))).collect())
}

/// The final state of an outer episode, which must be terminal.
fn end<A: Mdp>(mdp: &A, start: &A::State, episode: &EpisodeOf<A>) -> Result<A::State, PolicyError> {
    let actions = episode.pieces.iter().flat_map(|piece| &piece.actions);
    let end = actions.fold(start.clone(), |state, action| mdp.step(&state, action));
    if mdp.is_terminal(&end) {
        return Ok(end);
    }
    Err(PolicyError::Argument {
        what: "the outer half's episode".into(),
        expected: "one that goes on to its end".into(),
        got: "one that stops before".into(),
    })
}

//! Acting in one half after the other.

use mdp::hybrid::{Half, Handoff, Hybrid};
use mdp::{Episode, EpisodeOf, Mdp};

use super::by_half;
use crate::PolicyError;
use crate::cursor::one_each;
use crate::policy::BoxError;

/// An episode from each of some states, or why there is none.
type Acted<M> = Result<Vec<EpisodeOf<M>>, BoxError>;

/// Acts in a hybrid problem half by half: all episodes go to the end of the outer problem, are handed over together, and go on
/// in the inner one.
///
/// `outer` and `inner` act from states of their half to its end, one episode for each state; how, and with which generators,
/// is theirs to say. A start in the inner half is no business of `outer`. The states of a half are asked together, so a network
/// sees the same batches as without the other half; a [`Cursor`](crate::Cursor) of a [`Pair`](crate::Pair) takes each row on as
/// soon as it can, in batches of both halves. Each episode has a piece for each half, of weight 1.
///
/// # Errors
/// As many episodes as states did not come; an outer episode that stops before its end; what the hand-off, `outer` or `inner`
/// refuses.
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

/// Where an episode of the outer half ends, which must be where the problem does.
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

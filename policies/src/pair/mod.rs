//! The policy of a hybrid problem: two policies in sequence.

mod cursor;
mod learn;
mod turns;

use std::cell::RefCell;

use mdp::hybrid::{Half, Handoff, Hybrid, Runs};
use mdp::{Channels, Episode, EpisodeOf, Mdp, Rng, Steps};

use self::cursor::PairCursor;
pub use self::learn::PairTape;
pub use self::turns::act_in_turn;
use crate::cursor::Cursor;
use crate::policy::Policy;
use crate::{PolicyError, Proposal};

/// Which half of a [`Pair`] learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainedHalf {
    /// Both, from one loss.
    #[default]
    Both,
    /// The outer one; the inner one's numbers still count in the loss.
    Outer,
    /// The inner one; the outer one's numbers still count in the loss.
    Inner,
}

/// One policy for each half of a [`Hybrid`] problem. Either may be a pair itself.
///
/// Their log-ratios add up in an episode's return (Eq. 15 of the paper), so the slopes of one loss reach both. Nothing
/// else passes between them: the gradient of a half is that of the half alone, with the other's margin as an offset in
/// the loss.
///
/// # Laws
/// A piece of an episode does not cross the hand-off. Weights of a half that is not trained do not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<P, Q> {
    /// The policy of the outer problem.
    pub outer: P,
    /// The policy of the inner problem.
    pub inner: Q,
    /// The trained halves.
    pub learns: TrainedHalf,
    /// Multipliers of the learning rate for the outer and the inner half.
    pub rates: (f64, f64),
    /// Names of the halves in metrics, folders and files.
    pub names: [&'static str; 2],
}

impl<P, Q> Pair<P, Q> {
    /// A pair with both halves trained, at the same rate.
    pub fn new(outer: P, inner: Q) -> Self {
        Self { outer, inner, learns: TrainedHalf::Both, rates: (1.0, 1.0), names: ["outer", "inner"] }
    }

    /// Sets the names of the halves.
    #[must_use]
    pub fn named(self, names: [&'static str; 2]) -> Self {
        Self { names, ..self }
    }

    /// Sets the trained halves.
    #[must_use]
    pub fn learning(self, learns: TrainedHalf) -> Self {
        Self { learns, ..self }
    }

    fn outer_learns(&self) -> bool {
        self.learns != TrainedHalf::Inner
    }

    fn inner_learns(&self) -> bool {
        self.learns != TrainedHalf::Outer
    }
}

/// Episodes split by half.
struct Parts<A: Mdp, B: Mdp> {
    outer: Vec<EpisodeOf<A>>,
    inner: Vec<EpisodeOf<B>>,
    runs: Runs,
}

impl<A: Mdp, B: Mdp> Parts<A, B> {
    fn of<H: Handoff<A, B>>(
        mdp: &Hybrid<A, B, H>,
        episodes: &[EpisodeOf<Hybrid<A, B, H>>],
    ) -> Result<Self, PolicyError> {
        let mut parts = Self { outer: Vec::new(), inner: Vec::new(), runs: Runs::of(episodes) };
        for (index, episode) in episodes.iter().enumerate() {
            let (outer, inner) = mdp.split(episode).ok_or_else(|| PolicyError::Argument {
                what: format!("episode {index}"),
                expected: "pieces that stay on one side of the hand-off".into(),
                got: "one that crosses it".into(),
            })?;
            parts.outer.push(outer);
            parts.inner.push(inner);
        }
        Ok(parts)
    }
}

/// The log-probabilities, and the channels that both halves have.
fn weave_channels(runs: &Runs, outer: &Channels, inner: &Channels) -> Channels {
    let both = |outer: &Option<Steps>, inner: &Option<Steps>| Some(runs.weave(outer.as_ref()?, inner.as_ref()?));
    Channels {
        log_probs: runs.weave(&outer.log_probs, &inner.log_probs),
        divergence: both(&outer.divergence, &inner.divergence),
        entropy: both(&outer.entropy, &inner.entropy),
        mean_logit: both(&outer.mean_logit, &inner.mean_logit),
        is_likeliest: both(&outer.is_likeliest, &inner.is_likeliest),
        collision: both(&outer.collision, &inner.collision),
    }
}

/// The numbers of episodes without any decision, for which no policy is called.
fn nothing<S, A>(episodes: &[Episode<S, A>]) -> Option<Channels> {
    let empty = episodes.iter().all(|episode| episode.n_decisions() == 0);
    empty.then(|| episodes.iter().map(|_| Vec::<f64>::new()).collect::<Steps>().into())
}

fn score_half<M: Mdp, P: Policy<M>>(policy: &P, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
    nothing(episodes).map_or_else(|| policy.score(mdp, episodes), Ok)
}

/// Merges results that were grouped by half into the order of `states`.
fn in_order<S, O, I, T>(states: &[Half<O, I>], outer: Vec<S>, inner: Vec<T>) -> Result<Vec<Half<S, T>>, PolicyError> {
    let (mut outer, mut inner) = (outer.into_iter(), inner.into_iter());
    let answers = states.iter().map(|state| match state {
        Half::Outer(_) => outer.next().map(Half::Outer),
        Half::Inner(_) => inner.next().map(Half::Inner),
    });
    answers.collect::<Option<_>>().ok_or_else(|| PolicyError::Argument {
        what: "a half's answers".into(),
        expected: "one for each state".into(),
        got: "fewer".into(),
    })
}

/// The states of each half.
fn by_half<O: Clone, I: Clone>(states: &[Half<O, I>]) -> (Vec<O>, Vec<I>) {
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for state in states {
        match state {
            Half::Outer(state) => outer.push(state.clone()),
            Half::Inner(state) => inner.push(state.clone()),
        }
    }
    (outer, inner)
}

impl<A, B, H, P, Q> Policy<Hybrid<A, B, H>> for Pair<P, Q>
where
    A: Mdp,
    B: Mdp,
    H: Handoff<A, B>,
    P: Policy<A>,
    Q: Policy<B>,
{
    fn propose(
        &self,
        mdp: &Hybrid<A, B, H>,
        states: &[Half<A::State, B::State>],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<Half<A::Action, B::Action>>>>, PolicyError> {
        let (outer, inner) = by_half(states);
        let outer = self.outer.propose(&mdp.outer, &outer, k, rng)?;
        let inner = self.inner.propose(&mdp.inner, &inner, k, rng)?;
        let whole = in_order(states, outer, inner)?.into_iter().map(|proposals| match proposals {
            Half::Outer(proposals) => proposals.into_iter().map(|p| p.map(Half::Outer)).collect(),
            Half::Inner(proposals) => proposals.into_iter().map(|p| p.map(Half::Inner)).collect(),
        });
        Ok(whole.collect())
    }

    fn sample(
        &self,
        mdp: &Hybrid<A, B, H>,
        states: &[Half<A::State, B::State>],
        rng: &mut Rng,
    ) -> Result<Vec<Half<A::Action, B::Action>>, PolicyError> {
        let (outer, inner) = by_half(states);
        let outer = self.outer.sample(&mdp.outer, &outer, rng)?;
        let inner = self.inner.sample(&mdp.inner, &inner, rng)?;
        in_order(states, outer, inner)
    }

    fn score(&self, mdp: &Hybrid<A, B, H>, episodes: &[EpisodeOf<Hybrid<A, B, H>>]) -> Result<Channels, PolicyError> {
        let parts = Parts::of(mdp, episodes)?;
        let outer = score_half(&self.outer, &mdp.outer, &parts.outer)?;
        let inner = score_half(&self.inner, &mdp.inner, &parts.inner)?;
        Ok(weave_channels(&parts.runs, &outer, &inner))
    }

    fn cursor<'a>(
        &'a self,
        mdp: &'a Hybrid<A, B, H>,
        states: &[Half<A::State, B::State>],
    ) -> Result<Box<dyn Cursor<Hybrid<A, B, H>> + 'a>, PolicyError> {
        let (outer, inner) = (self.outer.cursor(&mdp.outer, &[])?, self.inner.cursor(&mdp.inner, &[])?);
        let mut cursor = PairCursor::new(mdp, outer, inner);
        cursor.extend(states)?;
        Ok(Box::new(cursor))
    }

    /// Joins the halves' fingerprints.
    fn identity(&self) -> Result<Option<String>, PolicyError> {
        let halves = (self.outer.identity()?, self.inner.identity()?);
        Ok(halves.0.zip(halves.1).map(|(outer, inner)| format!("{outer} {inner}")))
    }

    /// The outer half rolls out to the hand-off and the inner one continues, all episodes of a half in one batch: an
    /// episode has one piece per half.
    fn rollout(
        &self,
        mdp: &Hybrid<A, B, H>,
        starts: &[Half<A::State, B::State>],
        rng: &mut Rng,
    ) -> Result<Vec<EpisodeOf<Hybrid<A, B, H>>>, PolicyError> {
        let rng = RefCell::new(rng);
        act_in_turn(
            mdp,
            starts,
            |states| self.outer.rollout(&mdp.outer, states, &mut rng.borrow_mut()),
            |states| self.inner.rollout(&mdp.inner, states, &mut rng.borrow_mut()),
        )
    }
}

#[cfg(test)]
mod tests;

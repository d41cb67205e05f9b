//! Two policies in a row as one: the policy of a hybrid problem.

mod cursor;

use std::path::Path;

use mdp::hybrid::{Half, Handoff, Hybrid, Runs};
use mdp::{Channels, Episode, EpisodeOf, Mdp, Rng, Steps};

use self::cursor::PairCursor;
use crate::PolicyError;
use crate::cursor::Cursor;
use crate::policy::{BoxError, Learner, Persist, Policy, Proposal, VisitGradient};

/// Which half of a [`Pair`] learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainedHalf {
    /// Both, from one loss.
    #[default]
    Both,
    /// The outer one; the other's numbers still count in the loss.
    Outer,
    /// The inner one, likewise.
    Inner,
}

/// One policy for each half of a [`Hybrid`] problem. Either may be a pair itself.
///
/// Their log-ratios add up in an episode's return (Eq. 15 of the paper), so the slopes that one loss has for them reach
/// both. Nothing else passes between them: the gradient of a half is that of the half alone, with the other's margin as an
/// offset in the loss.
///
/// # Laws
/// A piece of an episode does not cross the hand-off. A half that does not learn keeps every bit of its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<P, Q> {
    /// The policy of the outer problem.
    pub outer: P,
    /// The policy of the inner problem.
    pub inner: Q,
    /// What learns.
    pub learns: TrainedHalf,
    /// What the learning rate is multiplied with for the outer and the inner half.
    pub rates: (f64, f64),
    /// What the halves are called in records, folders and files.
    pub names: [&'static str; 2],
}

impl<P, Q> Pair<P, Q> {
    /// Both halves learn, at the same rate.
    pub fn new(outer: P, inner: Q) -> Self {
        Self { outer, inner, learns: TrainedHalf::Both, rates: (1.0, 1.0), names: ["outer", "inner"] }
    }

    /// Calls the halves something.
    #[must_use]
    pub fn named(self, names: [&'static str; 2]) -> Self {
        Self { names, ..self }
    }

    /// Says what learns.
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

/// Episodes taken apart.
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
    }
}

/// The numbers of episodes without a single decision, which no policy has to be asked about.
fn nothing<S, A>(episodes: &[Episode<S, A>]) -> Option<Channels> {
    let empty = episodes.iter().all(|episode| episode.n_decisions() == 0);
    empty.then(|| episodes.iter().map(|_| Vec::<f64>::new()).collect::<Steps>().into())
}

fn score_half<M: Mdp, P: Policy<M>>(policy: &P, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, BoxError> {
    nothing(episodes).map_or_else(|| policy.score(mdp, episodes), Ok)
}

/// Answers to questions that were sorted by half, in the questions' order.
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
    ) -> Result<Vec<Vec<Proposal<Half<A::Action, B::Action>>>>, BoxError> {
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
    ) -> Result<Vec<Half<A::Action, B::Action>>, BoxError> {
        let (outer, inner) = by_half(states);
        let outer = self.outer.sample(&mdp.outer, &outer, rng)?;
        let inner = self.inner.sample(&mdp.inner, &inner, rng)?;
        Ok(in_order(states, outer, inner)?)
    }

    fn score(&self, mdp: &Hybrid<A, B, H>, episodes: &[EpisodeOf<Hybrid<A, B, H>>]) -> Result<Channels, BoxError> {
        let parts = Parts::of(mdp, episodes)?;
        let outer = score_half(&self.outer, &mdp.outer, &parts.outer)?;
        let inner = score_half(&self.inner, &mdp.inner, &parts.inner)?;
        Ok(weave_channels(&parts.runs, &outer, &inner))
    }

    fn cursor<'a>(
        &'a self,
        mdp: &'a Hybrid<A, B, H>,
        states: &[Half<A::State, B::State>],
    ) -> Result<Box<dyn Cursor<Hybrid<A, B, H>> + 'a>, BoxError> {
        let (outer, inner) = (self.outer.cursor(&mdp.outer, &[])?, self.inner.cursor(&mdp.inner, &[])?);
        let mut cursor = PairCursor::new(mdp, outer, inner);
        cursor.extend(states)?;
        Ok(Box::new(cursor))
    }

    /// The outer half acts to the hand-off and the inner one from there, all episodes of a half side by side: an episode has a
    /// piece for each.
    fn rollout(
        &self,
        mdp: &Hybrid<A, B, H>,
        starts: &[Half<A::State, B::State>],
        rng: &mut Rng,
    ) -> Result<Vec<EpisodeOf<Hybrid<A, B, H>>>, BoxError> {
        let (outer, _) = by_half(starts);
        let mut acted = self.outer.rollout(&mdp.outer, &outer, rng)?.into_iter();
        let (mut refined, mut ends) = (Vec::with_capacity(starts.len()), Vec::new());
        for start in starts {
            let Half::Outer(start) = start else {
                refined.push(Episode { pieces: Vec::new() });
                continue;
            };
            let outer = acted.next().unwrap_or(Episode { pieces: Vec::new() });
            let actions = outer.pieces.iter().flat_map(|piece| &piece.actions);
            let end = actions.fold(start.clone(), |state, action| mdp.outer.step(&state, action));
            if !mdp.outer.is_terminal(&end) {
                return Err(PolicyError::Argument {
                    what: "the outer half's episode".into(),
                    expected: "one that goes on to its end".into(),
                    got: "one that stops before".into(),
                }
                .into());
            }
            refined.push(outer);
            ends.push(end);
        }
        let mut entered = mdp.enter(&ends.iter().collect::<Vec<_>>())?.into_iter();
        let handed = starts.iter().filter_map(|start| match start {
            Half::Outer(_) => entered.next(),
            Half::Inner(state) => Some(state.clone()),
        });
        let handed: Vec<B::State> = handed.collect();
        let drawn = self.inner.rollout(&mdp.inner, &handed, rng)?;
        Ok(refined.into_iter().zip(drawn).map(|(outer, inner)| mdp.join(outer, inner, (1.0, 1.0))).collect())
    }
}

/// What a pair's backward pass needs: the tapes of the halves that learn, and where their numbers stand.
#[derive(Debug)]
pub struct PairTape<S, T> {
    outer: Option<S>,
    inner: Option<T>,
    runs: Runs,
}

/// A half's numbers, with a tape where it learns and has decisions.
fn forward_half<M: Mdp, P: Learner<M>>(
    policy: &P,
    mdp: &M,
    episodes: &[EpisodeOf<M>],
    learns: bool,
) -> Result<(Channels, Option<P::Tape>), BoxError> {
    if let Some(nothing) = nothing(episodes) {
        return Ok((nothing, None));
    }
    if !learns {
        return Ok((policy.score(mdp, episodes)?, None));
    }
    let (numbers, tape) = policy.forward(mdp, episodes)?;
    Ok((numbers, Some(tape)))
}

impl<A, B, H, P, Q> Learner<Hybrid<A, B, H>> for Pair<P, Q>
where
    A: Mdp,
    B: Mdp,
    H: Handoff<A, B>,
    P: Learner<A>,
    Q: Learner<B>,
{
    type Tape = PairTape<P::Tape, Q::Tape>;

    fn forward(
        &self,
        mdp: &Hybrid<A, B, H>,
        episodes: &[EpisodeOf<Hybrid<A, B, H>>],
    ) -> Result<(Channels, Self::Tape), BoxError> {
        let Parts { outer, inner, runs } = Parts::of(mdp, episodes)?;
        let (of_outer, outer) = forward_half(&self.outer, &mdp.outer, &outer, self.outer_learns())?;
        let (of_inner, inner) = forward_half(&self.inner, &mdp.inner, &inner, self.inner_learns())?;
        Ok((weave_channels(&runs, &of_outer, &of_inner), PairTape { outer, inner, runs }))
    }

    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), BoxError> {
        let (of_outer, of_inner) = tape.runs.unweave(&slopes.log_probs);
        let (mut of_outer, mut of_inner) = (Channels::from(of_outer), Channels::from(of_inner));
        if let Some(divergence) = &slopes.divergence {
            let (outer, inner) = tape.runs.unweave(divergence);
            (of_outer.divergence, of_inner.divergence) = (Some(outer), Some(inner));
        }
        if let Some(tape) = tape.outer {
            self.outer.backward(tape, &of_outer)?;
        }
        if let Some(tape) = tape.inner {
            self.inner.backward(tape, &of_inner)?;
        }
        Ok(())
    }

    /// The halves that learn, one after the other, each under its name.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), BoxError> {
        let [outer, inner] = self.names;
        if self.outer_learns() {
            self.outer.visit_gradients(&mut |name, slopes| visit(&format!("{outer}.{name}"), slopes))?;
        }
        if self.inner_learns() {
            self.inner.visit_gradients(&mut |name, slopes| visit(&format!("{inner}.{name}"), slopes))?;
        }
        Ok(())
    }

    fn gradient_norm(&self) -> Result<f64, BoxError> {
        let norms = Learner::<Hybrid<A, B, H>>::gradient_norms(self)?;
        Ok(norms.into_iter().fold(0.0, |whole, (_, norm)| whole.hypot(norm)))
    }

    fn gradient_norms(&self) -> Result<Vec<(&'static str, f64)>, BoxError> {
        let [outer, inner] = self.names;
        let mut norms = Vec::new();
        if self.outer_learns() {
            norms.push((outer, self.outer.gradient_norm()?));
        }
        if self.inner_learns() {
            norms.push((inner, self.inner.gradient_norm()?));
        }
        Ok(norms)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), BoxError> {
        if self.outer_learns() {
            self.outer.scale_gradient(factor)?;
        }
        if self.inner_learns() {
            self.inner.scale_gradient(factor)?;
        }
        Ok(())
    }

    /// The gradient is clipped as one: both halves are scaled by the same factor, and where either's is not finite neither
    /// moves.
    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, BoxError> {
        let norm = Learner::<Hybrid<A, B, H>>::gradient_norm(self)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        if let Some(most) = max_gradient_norm.filter(|most| norm > *most) {
            Learner::<Hybrid<A, B, H>>::scale_gradient(self, most / norm)?;
        }
        if self.outer_learns() {
            self.outer.update(rate * self.rates.0, None)?;
        }
        if self.inner_learns() {
            self.inner.update(rate * self.rates.1, None)?;
        }
        Ok(norm)
    }
}

/// Each half in a folder of its name, as its own ecosystem lays it out.
impl<P: Persist, Q: Persist> Persist for Pair<P, Q> {
    /// Writes the halves that learn.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        let [outer, inner] = self.names.map(|name| folder.join(name));
        if self.outer_learns() {
            self.outer.save_checkpoint(&made(&outer)?)?;
        }
        if self.inner_learns() {
            self.inner.save_checkpoint(&made(&inner)?)?;
        }
        Ok(())
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        let [outer, inner] = self.names.map(|name| folder.join(name));
        if self.outer_learns() {
            self.outer.restore_checkpoint(&outer)?;
        }
        if self.inner_learns() {
            self.inner.restore_checkpoint(&inner)?;
        }
        Ok(())
    }

    /// Writes both halves, whether they learn or not.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let [outer, inner] = self.names.map(|name| folder.join(name));
        self.outer.export(&made(&outer)?)?;
        self.inner.export(&made(&inner)?)
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(format!("{} {}", self.outer.fingerprint()?, self.inner.fingerprint()?))
    }
}

fn made(folder: &Path) -> Result<std::path::PathBuf, PolicyError> {
    std::fs::create_dir_all(folder).map_err(|e| PolicyError::io(folder, e))?;
    Ok(folder.to_path_buf())
}

#[cfg(test)]
mod tests;

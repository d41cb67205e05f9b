//! Decisions of episodes with the Gaussians they are scored by.
use mdp::control::{Continuous, Control};
use mdp::{Channels, EpisodeOf, Rng, Steps};

use super::{Gaussian, Spread};
use crate::{PolicyError, Proposal};

/// Something with outputs for observations: all that is a policy's own.
pub trait GaussianOutputs {
    /// How outputs become a Gaussian.
    fn spread(&self) -> Spread;

    /// The outputs for each observation.
    ///
    /// # Errors
    /// Observations of another size, numbers that are not finite.
    fn outputs(&self, observations: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, PolicyError>;

    /// The Gaussian of actions in each state.
    ///
    /// # Errors
    /// As [`outputs`](GaussianOutputs::outputs).
    fn gaussians<M: Continuous>(&self, mdp: &M, states: &[M::State]) -> Result<Vec<Gaussian>, PolicyError> {
        let observations: Vec<Vec<f64>> = states.iter().map(|state| mdp.observe(state)).collect();
        let outputs = self.outputs(&observations)?;
        Ok(outputs.iter().map(|outputs| self.spread().gaussian(outputs)).collect())
    }

    /// Draws an action for each state.
    ///
    /// # Errors
    /// As [`outputs`](GaussianOutputs::outputs).
    fn draw<M: Continuous>(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<Control>, PolicyError> {
        Ok(self.gaussians(mdp, states)?.iter().map(|gaussian| gaussian.draw(rng)).collect())
    }

    /// Draws `k` candidates for each state, with priors of 1/k.
    ///
    /// # Errors
    /// As [`outputs`](GaussianOutputs::outputs).
    fn draws<M: Continuous>(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<Control>>>, PolicyError> {
        let of_state = |gaussian: &Gaussian| {
            let draw = |_| {
                let action = gaussian.draw(rng);
                Proposal { log_prob: gaussian.log_prob(&action), action, prior: 1.0 / k as f64 }
            };
            (0..k).map(draw).collect()
        };
        Ok(self.gaussians(mdp, states)?.iter().map(of_state).collect())
    }
}

/// The decisions of episodes: what was observed and done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// The observation before each decision.
    pub observations: Vec<Vec<f64>>,
    /// The action of each.
    pub actions: Vec<Control>,
    /// The end of each episode among the decisions.
    ends: Vec<usize>,
}

/// Decisions with the outputs that they were scored by: what a backward pass needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    decisions: Decisions,
    outputs: Vec<Vec<f64>>,
    /// The Gaussians of the reference, for the divergence.
    reference: Option<Vec<Gaussian>>,
}

impl Decisions {
    /// The decisions of episodes.
    ///
    /// # Errors
    /// An action that its state does not allow, an observation of another size than the problem's.
    pub fn of_episodes<M: Continuous>(mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Self, PolicyError> {
        let mut all = Self::default();
        for (row, episode) in episodes.iter().enumerate() {
            let before = all.actions.len();
            for piece in &episode.pieces {
                let mut state = piece.start.clone();
                for (index, action) in piece.actions.iter().enumerate() {
                    let place = || format!("decision {} of episode {row}", all.actions.len() - before);
                    if mdp.is_terminal(&state) || !mdp.allows(&state, action) {
                        return Err(unfit(place(), "an action its state allows", "one it does not"));
                    }
                    let observation = mdp.observe(&state);
                    if observation.len() != mdp.observation_size() {
                        let expected = format!("an observation of {} numbers", mdp.observation_size());
                        return Err(unfit(place(), expected, observation.len().to_string()));
                    }
                    if index + 1 < piece.actions.len() {
                        state = mdp.step(&state, action);
                    }
                    all.observations.push(observation);
                    all.actions.push(action.clone());
                }
            }
            all.ends.push(all.actions.len());
        }
        Ok(all)
    }

    /// A number for each decision, by its place among all.
    fn steps(&self, number: impl Fn(usize) -> f64) -> Steps {
        let mut begin = 0;
        let row = |end: &usize| (std::mem::replace(&mut begin, *end)..*end).map(&number).collect::<Vec<f64>>();
        self.ends.iter().map(row).collect()
    }

    /// The numbers of every decision by a policy's outputs, with the divergence if there is a reference, and what the backward pass
    /// needs.
    ///
    /// # Errors
    /// A log-density that is not finite.
    pub fn scored(
        self,
        spread: Spread,
        outputs: Vec<Vec<f64>>,
        reference: Option<Vec<Gaussian>>,
    ) -> Result<(Channels, Decided), PolicyError> {
        let gaussians: Vec<Gaussian> = outputs.iter().map(|outputs| spread.gaussian(outputs)).collect();
        let log_probs = self.steps(|i| gaussians[i].log_prob(&self.actions[i]));
        for (episode, row) in log_probs.rows().enumerate() {
            if let Some(step) = row.iter().position(|number| !number.is_finite()) {
                let what = "the log-density".to_owned();
                return Err(PolicyError::NotFinite { what, episode, step, value: row[step] });
            }
        }
        let divergence =
            reference.as_ref().map(|reference| self.steps(|i| gaussians[i].divergence_from(&reference[i])));
        let entropy = Some(self.steps(|i| gaussians[i].entropy()));
        let channels = Channels { log_probs, divergence, entropy, ..Channels::default() };
        Ok((channels, Decided { decisions: self, outputs, reference }))
    }
}

impl Decided {
    /// The slopes with respect to the outputs of each decision.
    ///
    /// # Errors
    /// Slopes of another shape than the numbers, or of a divergence that was not asked for.
    pub fn slopes(&self, spread: Spread, slopes: &Channels) -> Result<Vec<Vec<f64>>, PolicyError> {
        let shape = self.decisions.steps(|_| 0.0);
        if !slopes.log_probs.same_shape(&shape) {
            return Err(unfit("slopes of the log-probabilities", SHAPE, "another"));
        }
        let of_divergence = slopes.divergence.as_ref();
        if of_divergence.is_some_and(|steps| self.reference.is_none() || !steps.same_shape(&shape)) {
            return Err(unfit("slopes of the divergence", SHAPE, "another"));
        }
        let one = |(i, outputs): (usize, &Vec<f64>)| {
            let gaussian = spread.gaussian(outputs);
            let of_log_prob = gaussian.slopes_of_log_prob(&self.decisions.actions[i]);
            let mut all = spread.to_outputs(outputs, of_log_prob);
            for slope in &mut all {
                *slope *= slopes.log_probs.values()[i];
            }
            if let (Some(steps), Some(reference)) = (of_divergence, &self.reference) {
                let more = spread.to_outputs(outputs, gaussian.slopes_of_divergence(&reference[i]));
                all.iter_mut().zip(more).for_each(|(slope, more)| *slope += steps.values()[i] * more);
            }
            all
        };
        Ok(self.outputs.iter().enumerate().map(one).collect())
    }

    /// The observation of each decision.
    pub fn observations(&self) -> &[Vec<f64>] {
        &self.decisions.observations
    }
}

/// The expectation in messages about slopes.
const SHAPE: &str = "the shape of the numbers";

pub(super) fn unfit(what: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> PolicyError {
    PolicyError::Argument { what: what.into(), expected: expected.into(), got: got.into() }
}

//! A softmax policy over a table of logits, for any problem with enumerable states and actions.
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mdp::chance::unit;
use mdp::{Channels, Enumerable, EpisodeOf, Mdp, Rng, Steps};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Learner, Persist, Policy, PolicyError, Proposal, VisitGradient};

/// A table of logits, one row per state seen in training. Other states have logits 0, a uniform policy over allowed
/// actions.
///
/// An update is a plain gradient step, so training can be followed by hand.
///
/// # Shapes
/// A row has one logit per action of the problem, in nats; those of disallowed actions are ignored.
pub struct Tabular<M: Mdp> {
    n_actions: usize,
    logits: BTreeMap<M::State, Vec<f64>>,
    gradient: BTreeMap<M::State, Vec<f64>>,
    reference: Option<Arc<Tabular<M>>>,
    has_entropy: bool,
}

/// One decision, with the values that its slopes need.
#[derive(Clone, Debug)]
pub struct Decision<S> {
    state: S,
    action: usize,
    probabilities: Vec<f64>,
    reference: Option<Vec<f64>>,
}

impl<M: Enumerable<State: Ord>> Tabular<M> {
    /// A table of zeros.
    pub fn new(mdp: &M) -> Self {
        let n_actions = mdp.n_actions();
        Self { n_actions, logits: BTreeMap::new(), gradient: BTreeMap::new(), reference: None, has_entropy: false }
    }

    /// Enables the divergence channel: KL(reference || policy) in every state (Eq. 14).
    #[must_use]
    pub fn with_reference(mut self, reference: Arc<Self>) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Enables the entropy channel.
    #[must_use]
    pub fn with_entropy(mut self) -> Self {
        self.has_entropy = true;
        self
    }

    /// Sets the logits of one state, in nats.
    ///
    /// # Panics
    /// If the number of logits differs from the number of actions.
    pub fn set_logits(&mut self, state: M::State, logits: Vec<f64>) {
        assert_eq!(logits.len(), self.n_actions, "one logit for each action");
        self.logits.insert(state, logits);
    }

    /// The logits of one state; `None` if it has no row.
    pub fn logits(&self, state: &M::State) -> Option<&[f64]> {
        self.logits.get(state).map(Vec::as_slice)
    }

    /// log pi(a|s) of every action, in nats; minus infinity for disallowed actions.
    ///
    /// # Errors
    /// If the problem has another number of actions, or allows none in this state.
    pub fn log_probs(&self, mdp: &M, state: &M::State) -> Result<Vec<f64>, PolicyError> {
        if mdp.n_actions() != self.n_actions {
            return Err(unfit("actions of the problem", self.n_actions.to_string(), mdp.n_actions().to_string()));
        }
        let mut logits = vec![f64::NEG_INFINITY; self.n_actions];
        let row = self.logits.get(state);
        for action in mdp.allowed(state) {
            logits[action] = row.map_or(0.0, |row| row[action]);
        }
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return Err(stuck());
        }
        let normaliser = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        Ok(logits.iter().map(|logit| logit - normaliser).collect())
    }

    /// Scores one episode: appends its decisions to `kept` and returns the log-probabilities.
    fn walk(
        &self,
        mdp: &M,
        row: usize,
        episode: &EpisodeOf<M>,
        kept: &mut Vec<Decision<M::State>>,
    ) -> Result<Vec<f64>, PolicyError> {
        let mut numbers = Vec::with_capacity(episode.n_decisions());
        for piece in &episode.pieces {
            let mut state = piece.start.clone();
            for action in &piece.actions {
                if mdp.is_terminal(&state) || !mdp.allows(&state, action) {
                    let what = format!("decision {} of episode {row}", numbers.len());
                    return Err(unfit(what, "an action its state allows", "one it does not"));
                }
                let log_probs = self.log_probs(mdp, &state)?;
                let reference = match &self.reference {
                    Some(reference) => Some(exponentials(&reference.log_probs(mdp, &state)?)),
                    None => None,
                };
                let index = mdp.action_index(action);
                numbers.push(log_probs[index]);
                let next = mdp.step(&state, action);
                kept.push(Decision { state, action: index, probabilities: exponentials(&log_probs), reference });
                state = next;
            }
        }
        Ok(numbers)
    }
}

impl<M: Enumerable> Policy<M> for Tabular<M>
where
    M::State: Ord,
{
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        _rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        let best = |state: &M::State| {
            let log_probs = self.log_probs(mdp, state)?;
            let mut order = mdp.allowed(state);
            // Stable, so ties stay in the order of the actions.
            order.sort_by(|a, b| log_probs[*b].total_cmp(&log_probs[*a]));
            let proposal = |index: usize| Proposal {
                action: mdp.action(index),
                log_prob: log_probs[index],
                prior: log_probs[index].exp(),
            };
            Ok(order.into_iter().take(k).map(proposal).collect())
        };
        states.iter().map(best).collect()
    }

    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, PolicyError> {
        let draw = |state: &M::State| {
            let log_probs = self.log_probs(mdp, state)?;
            let mut left = unit(rng);
            let allowed = mdp.allowed(state);
            let drawn = allowed.iter().find(|index| {
                left -= log_probs[**index].exp();
                left < 0.0
            });
            // Rounding may leave a crumb after the last action; `log_probs` has seen that there is one.
            Ok(mdp.action(*drawn.or(allowed.last()).ok_or_else(stuck)?))
        };
        states.iter().map(draw).collect()
    }

    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        Ok(self.forward(mdp, episodes)?.0)
    }

    /// Hashes the logits, in the order of their states.
    fn identity(&self) -> Result<Option<String>, PolicyError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.n_actions as u64).to_le_bytes());
        for logit in self.logits.values().flatten() {
            hasher.update(&logit.to_le_bytes());
        }
        Ok(Some(hasher.finalize().to_hex().to_string()))
    }
}

impl<M: Enumerable> Learner<M> for Tabular<M>
where
    M::State: Ord,
{
    type Tape = Vec<Vec<Decision<M::State>>>;

    fn forward(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, Self::Tape), PolicyError> {
        let (mut log_probs, mut tape) = (Steps::default(), Vec::with_capacity(episodes.len()));
        for (row, episode) in episodes.iter().enumerate() {
            let mut kept = Vec::new();
            log_probs.push(&self.walk(mdp, row, episode, &mut kept)?);
            tape.push(kept);
        }
        let over = |number: &dyn Fn(&Decision<M::State>) -> f64| -> Steps {
            tape.iter().map(|row| row.iter().map(number).collect::<Vec<f64>>()).collect()
        };
        let divergence = self.reference.as_ref().map(|_| over(&divergence));
        let entropy = self.has_entropy.then(|| over(&entropy));
        Ok((Channels { log_probs, divergence, entropy, ..Channels::default() }, tape))
    }

    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), PolicyError> {
        let fits = |steps: &Steps| steps.rows().map(<[f64]>::len).eq(tape.iter().map(Vec::len));
        if !fits(&slopes.log_probs) {
            return Err(unfit("slopes of the log-probabilities", SHAPE, "another"));
        }
        if slopes.divergence.as_ref().is_some_and(|steps| self.reference.is_none() || !fits(steps)) {
            return Err(unfit("slopes of the divergence", SHAPE, "another"));
        }
        let n_actions = self.n_actions;
        for (i, decision) in tape.into_iter().flatten().enumerate() {
            let slope = slopes.log_probs.values()[i];
            let divergence_slope = slopes.divergence.as_ref().map_or(0.0, |steps| steps.values()[i]);
            let row = self.gradient.entry(decision.state).or_insert_with(|| vec![0.0; n_actions]);
            for (action, probability) in decision.probabilities.iter().enumerate() {
                let taken = if action == decision.action { 1.0 } else { 0.0 };
                row[action] += slope * (taken - probability);
                if let Some(reference) = &decision.reference {
                    row[action] += divergence_slope * (probability - reference[action]);
                }
            }
        }
        Ok(())
    }

    /// The reference is that of [`with_reference`](Tabular::with_reference).
    fn provide_divergence(&mut self, _reference: Option<&dyn Policy<M>>) -> Result<(), PolicyError> {
        let missing = "the objective needs the divergence from the reference: `Tabular::with_reference` provides it";
        self.reference.is_some().then_some(()).ok_or_else(|| missing.into())
    }

    /// Names rows by their index among the states of the table.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        for state in self.logits.keys() {
            self.gradient.entry(state.clone()).or_insert_with(|| vec![0.0; self.n_actions]);
        }
        self.gradient.values_mut().enumerate().try_for_each(|(row, slopes)| visit(&row.to_string(), slopes))
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        Ok(self.gradient.values().flatten().map(|slope| slope * slope).sum::<f64>().sqrt())
    }

    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        self.gradient.clear();
        Ok(())
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        let norm = Learner::<M>::gradient_norm(self)?;
        let gradient = std::mem::take(&mut self.gradient);
        let scale = max_gradient_norm.filter(|most| norm > *most).map_or(1.0, |most| most / norm);
        for (state, slopes) in gradient {
            let row = self.logits.entry(state).or_insert_with(|| vec![0.0; self.n_actions]);
            for (logit, slope) in row.iter_mut().zip(slopes) {
                *logit -= rate * scale * slope;
            }
        }
        Ok(norm)
    }
}

/// File name of a saved table.
const FILE: &str = "tabular.json";

/// The expectation in messages about slopes.
const SHAPE: &str = "the shape of the numbers";

impl<M: Mdp<State: Ord + Serialize + DeserializeOwned>> Persist for Tabular<M> {
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec(&self.bits())
            .map_err(|error| PolicyError::format(&path, format!("broken JSON: {error}")))?;
        fs::write(&path, text).map_err(|error| PolicyError::io(&path, error))
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        let path = folder.join(FILE);
        let text = fs::read(&path).map_err(|error| PolicyError::io(&path, error))?;
        let rows: Vec<(M::State, Vec<u64>)> = serde_json::from_slice(&text)
            .map_err(|error| PolicyError::format(&path, format!("broken JSON: {error}")))?;
        if let Some((_, row)) = rows.iter().find(|(_, row)| row.len() != self.n_actions) {
            let reason = format!("a row has {} logits, but the table has {} actions", row.len(), self.n_actions);
            return Err(PolicyError::format(path, reason));
        }
        let numbers = |row: Vec<u64>| row.into_iter().map(f64::from_bits).collect();
        self.logits = rows.into_iter().map(|(state, row)| (state, numbers(row))).collect();
        self.gradient.clear();
        Ok(())
    }

    /// Writes the checkpoint file: tables have no other format.
    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        self.save_checkpoint(folder)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        let bits = serde_json::to_vec(&self.bits()).map_err(PolicyError::other)?;
        Ok(blake3::hash(&bits).to_hex().to_string())
    }
}

impl<M: Mdp> Tabular<M> {
    /// The logits as bit patterns: decimal numbers in JSON may change their last digit.
    fn bits(&self) -> Vec<(&M::State, Vec<u64>)> {
        self.logits.iter().map(|(state, row)| (state, row.iter().map(|logit| logit.to_bits()).collect())).collect()
    }
}

// Derived, these would ask the problem itself to be cloned, printed and compared; only its states must be.
impl<M: Mdp> Clone for Tabular<M> {
    fn clone(&self) -> Self {
        Self {
            n_actions: self.n_actions,
            logits: self.logits.clone(),
            gradient: self.gradient.clone(),
            reference: self.reference.clone(),
            has_entropy: self.has_entropy,
        }
    }
}

impl<M: Mdp<State: Debug>> Debug for Tabular<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tabular").field("logits", &self.logits).finish_non_exhaustive()
    }
}

/// Tables are equal if their logits are.
impl<M: Mdp<State: PartialEq>> PartialEq for Tabular<M> {
    fn eq(&self, other: &Self) -> bool {
        self.n_actions == other.n_actions && self.logits == other.logits
    }
}

fn unfit(what: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> PolicyError {
    PolicyError::Argument { what: what.into(), expected: expected.into(), got: got.into() }
}

fn stuck() -> PolicyError {
    unfit("state to act in", "one that allows an action", "one that allows none")
}

fn exponentials(log_probs: &[f64]) -> Vec<f64> {
    log_probs.iter().map(|x| x.exp()).collect()
}

/// KL(reference || policy), in nats.
fn divergence<S>(decision: &Decision<S>) -> f64 {
    let reference = decision.reference.as_deref().unwrap_or(&decision.probabilities);
    let both = reference.iter().zip(&decision.probabilities).filter(|(r, _)| **r > 0.0);
    both.map(|(r, p)| r * (r.ln() - p.ln())).sum()
}

/// The entropy of the policy, in nats.
fn entropy<S>(decision: &Decision<S>) -> f64 {
    -decision.probabilities.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}

#[cfg(test)]
mod tests;

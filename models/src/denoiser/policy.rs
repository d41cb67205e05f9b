//! Denoisers as policies and learners of the denoising problem.

use std::sync::Arc;

use engine::noise::standard_normal;
use mdp::diffusion::{DenoisingAction, Latent};
use mdp::{Channels, Episode, EpisodeOf, Mdp as _, Rng};

use super::batch::{Problem, Question, State, network_batch};
use super::learn::DenoiserTape;
use super::model::Denoiser;
use super::sampler::guided;
use crate::ModelError;
use policies::{BoxError, Learner, Policy, Proposal, VisitGradient};

/// Images a network sees at once.
const AT_ONCE: usize = 32;

impl Denoiser {
    /// The network's predictions for latents at a time, led by guidance; one for each, flat.
    pub(super) fn predict(&self, questions: &[Question]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut predictions = Vec::with_capacity(questions.len());
        for questions in questions.chunks(AT_ONCE) {
            let own = self.evaluate(questions)?;
            let Some((scale, empty)) = &self.acting.guidance else {
                predictions.extend(own);
                continue;
            };
            let away = |question: &Question| Question { condition: Arc::clone(empty), ..question.clone() };
            let others = self.evaluate(&questions.iter().map(away).collect::<Vec<_>>())?;
            predictions.extend(own.iter().zip(&others).map(|(own, other)| guided(own, other, *scale as f32)));
        }
        Ok(predictions)
    }

    fn evaluate(&self, questions: &[Question]) -> Result<Vec<Vec<f32>>, ModelError> {
        let batch = network_batch(questions, self.shape, (self.dtype(), &self.device()))?;
        let prediction = self.unet.score(&batch)?;
        let flat = prediction.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if let Some((index, value)) = flat.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            let episode = index / self.shape.size();
            let what = format!("the prediction at time {}", questions[episode].time);
            return Err(ModelError::not_finite(what, episode, 0, f64::from(*value)));
        }
        Ok(flat.chunks_exact(self.shape.size()).map(<[f32]>::to_vec).collect())
    }

    /// One action for each state, each with a generator of its own, and its log-density.
    pub(super) fn act(
        &self,
        mdp: &Problem,
        states: &[State],
        rngs: &mut [&mut Rng],
    ) -> Result<Vec<(Latent, f64)>, ModelError> {
        let undecided: Vec<usize> = (0..states.len()).filter(|&i| states[i].latent.is_some()).collect();
        let mut questions = Vec::with_capacity(undecided.len());
        for &i in &undecided {
            let (Some(latent), Some(t)) = (&states[i].latent, mdp.timestep(&states[i])) else {
                return Err(ModelError::Argument {
                    what: "a state to act in".into(),
                    expected: "one with a decision left".into(),
                    got: "a finished image".into(),
                });
            };
            let (latent, condition) = (Arc::clone(latent), Arc::clone(&states[i].context));
            questions.push(Question { latent, time: mdp.schedule.time(t), condition });
        }
        let mut predictions = self.predict(&questions)?.into_iter();
        let sampling = self.acting.sampling(mdp, self.prediction)?;
        let mut acts = Vec::with_capacity(states.len());
        for (state, rng) in states.iter().zip(rngs) {
            let mut noise = |n: usize| -> Vec<f32> { (0..n).map(|_| standard_normal(rng) as f32).collect() };
            let Some(latent) = &state.latent else {
                acts.push((noise(mdp.size).into(), 0.0));
                continue;
            };
            let prediction = predictions.next().unwrap_or_default();
            let draw = if sampling.gaussian(state.done).deviation > 0.0 { noise(mdp.size) } else { Vec::new() };
            let next: Latent = sampling.step(state.done, latent, &prediction, None, &draw).next.into();
            let log_prob = sampling.log_density(state.done, latent, &prediction, &next);
            acts.push((next, log_prob));
        }
        Ok(acts)
    }
}

impl Policy<Problem> for Denoiser {
    fn propose(
        &self,
        mdp: &Problem,
        states: &[State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<DenoisingAction>>>, BoxError> {
        let mut proposals: Vec<Vec<Proposal<DenoisingAction>>> = vec![Vec::with_capacity(k); states.len()];
        for _ in 0..k {
            let acts = self.act_in_turn(mdp, states, rng)?;
            for (proposals, (latent, log_prob)) in proposals.iter_mut().zip(acts) {
                let action = DenoisingAction::Next(latent);
                proposals.push(Proposal { action, log_prob, prior: 1.0 / k as f64 });
            }
        }
        Ok(proposals)
    }

    fn sample(&self, mdp: &Problem, states: &[State], rng: &mut Rng) -> Result<Vec<DenoisingAction>, BoxError> {
        let acts = self.act_in_turn(mdp, states, rng)?;
        Ok(acts.into_iter().map(|(latent, _)| DenoisingAction::Next(latent)).collect())
    }

    fn score(&self, mdp: &Problem, episodes: &[EpisodeOf<Problem>]) -> Result<Channels, BoxError> {
        Ok(self.score_episodes(mdp, episodes)?)
    }

    fn rollout(&self, mdp: &Problem, starts: &[State], rng: &mut Rng) -> Result<Vec<EpisodeOf<Problem>>, BoxError> {
        let mut states = starts.to_vec();
        let mut actions = vec![Vec::new(); starts.len()];
        loop {
            let going: Vec<usize> = (0..states.len()).filter(|&i| !mdp.is_terminal(&states[i])).collect();
            if going.is_empty() {
                break;
            }
            let now: Vec<State> = going.iter().map(|&i| states[i].clone()).collect();
            for (&i, (latent, _)) in going.iter().zip(self.act_in_turn(mdp, &now, rng)?) {
                let action = DenoisingAction::Next(latent);
                states[i] = mdp.step(&states[i], &action);
                actions[i].push(action);
            }
        }
        Ok(starts.iter().zip(actions).map(|(start, actions)| Episode::whole(start.clone(), actions)).collect())
    }
}

impl Denoiser {
    /// One action for each state, all from one generator, state after state.
    fn act_in_turn(&self, mdp: &Problem, states: &[State], rng: &mut Rng) -> Result<Vec<(Latent, f64)>, ModelError> {
        use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
        let mut own: Vec<Rng> = states.iter().map(|_| Rng::seed_from_u64(rng.next_u64())).collect();
        let mut rngs: Vec<&mut Rng> = own.iter_mut().collect();
        self.act(mdp, states, &mut rngs)
    }
}

impl Learner<Problem> for Denoiser {
    type Tape = DenoiserTape;

    fn forward(&self, mdp: &Problem, episodes: &[EpisodeOf<Problem>]) -> Result<(Channels, DenoiserTape), BoxError> {
        Ok(self.forward_episodes(mdp, episodes)?)
    }

    fn backward(&mut self, tape: DenoiserTape, slopes: &Channels) -> Result<(), BoxError> {
        Ok(self.backward_tape(tape, slopes)?)
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), BoxError> {
        self.unet.visit_gradients(visit)
    }

    fn gradient_norm(&self) -> Result<f64, BoxError> {
        Ok(self.unet.gradient_norm()?)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), BoxError> {
        Ok(self.unet.scale_gradient(factor)?)
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, BoxError> {
        Ok(self.unet.update(rate, max_gradient_norm)?)
    }
}

//! Implements `Policy` and `Learner` for denoisers.

use std::sync::Arc;

use mdp::chance::fork;
use mdp::diffusion::DenoisingAction;
use mdp::{Channels, EpisodeOf, Rng};

use super::batch::{Problem, Question, State, network_batch};
use super::cursor::DenoisingCursor;
use super::learn::DenoiserTape;
use super::model::Denoiser;
use crate::ModelError;
use crate::sampler::guided;
use policies::{BoxError, Cursor, Learner, Policy, Proposal, VisitGradient};

/// Images per network batch.
const AT_ONCE: usize = 32;

impl Denoiser {
    /// The network's predictions, with guidance applied; one per query, flattened.
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
}

/// Single states are evaluated by a cursor opened there, with a generator per state seeded from `rng`.
impl Policy<Problem> for Denoiser {
    fn propose(
        &self,
        mdp: &Problem,
        states: &[State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<DenoisingAction>>>, BoxError> {
        self.cursor(mdp, states)?.expand(k, &mut seeded(states.len(), rng).iter_mut().collect::<Vec<_>>())
    }

    fn sample(&self, mdp: &Problem, states: &[State], rng: &mut Rng) -> Result<Vec<DenoisingAction>, BoxError> {
        self.cursor(mdp, states)?.draw(&mut seeded(states.len(), rng).iter_mut().collect::<Vec<_>>())
    }

    fn score(&self, mdp: &Problem, episodes: &[EpisodeOf<Problem>]) -> Result<Channels, BoxError> {
        Ok(self.score_episodes(mdp, episodes)?)
    }

    fn cursor<'a>(&'a self, mdp: &'a Problem, states: &[State]) -> Result<Box<dyn Cursor<Problem> + 'a>, BoxError> {
        let sampling = self.acting.sampling(mdp, self.prediction)?;
        Ok(Box::new(DenoisingCursor::open(self, mdp, states, sampling, 1.0)?))
    }
}

fn seeded(n: usize, rng: &mut Rng) -> Vec<Rng> {
    (0..n).map(|_| fork(rng)).collect()
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

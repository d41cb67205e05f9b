//! Where in a latent a decision's squared error lies.

use candle_core::DType;
use engine::transfer::{from_host, to_host};
use mdp::EpisodeOf;

use super::ConditionedMdp;
use super::batch::{Decisions, ErrorTerm, network_batch};
use super::model::Denoiser;
use crate::ModelError;

/// Decisions per network batch.
const AT_ONCE: usize = 32;

impl Denoiser {
    /// Splits the score of each decision by place: the squared error of the prediction, summed over channels and
    /// weighted as in the score.
    ///
    /// A decision toward a finished image scores minus the sum of its map; a drawn latent scores a constant that the
    /// model does not affect, minus that sum. So differences of two models' scores are differences of the sums.
    ///
    /// # Shapes
    /// For each episode a map for each of its decisions: `[height * width]`, row by row, all 0 where nothing is
    /// predicted (the initial noise, a deterministic step).
    ///
    /// # Errors
    /// As [`Policy::score`](policies::Policy::score).
    pub fn error_maps(
        &self,
        mdp: &ConditionedMdp,
        episodes: &[EpisodeOf<ConditionedMdp>],
    ) -> Result<Vec<Vec<Vec<f64>>>, ModelError> {
        let decisions = Decisions::of_episodes(mdp, episodes, self.prediction, &self.acting)?;
        let places = self.shape.height * self.shape.width;
        let mut maps = Vec::with_capacity(decisions.terms.len());
        for terms in decisions.terms.chunks(AT_ONCE) {
            let errors = self.place_errors(terms)?;
            maps.extend(errors.chunks_exact(places).zip(terms).map(|(errors, term)| {
                let weighted: Vec<f64> = errors.iter().map(|error| term.weight * error).collect();
                weighted
            }));
        }
        let mut of_decision = decisions.of_decision.iter();
        let mut of_episodes = Vec::with_capacity(episodes.len());
        for (episode, &count) in decisions.counts.iter().enumerate() {
            let mut rows = Vec::with_capacity(count);
            for (step, place) in of_decision.by_ref().take(count).enumerate() {
                let map = place.map_or_else(|| vec![0.0; places], |place| std::mem::take(&mut maps[place]));
                if let Some(value) = map.iter().find(|value| !value.is_finite()) {
                    return Err(ModelError::not_finite("the score", episode, step, *value));
                }
                rows.push(map);
            }
            of_episodes.push(rows);
        }
        Ok(of_episodes)
    }

    /// The squared errors of some decisions' predictions, summed over channels: `[decisions * height * width]`.
    fn place_errors(&self, terms: &[ErrorTerm]) -> Result<Vec<f64>, ModelError> {
        let (queries, n) = Self::queries(terms);
        let batch = network_batch(&queries, self.shape, (self.dtype(), &self.device()))?;
        let rows = self.shape.height * self.shape.width;
        let prediction = self.guided(&self.network.score(&batch)?, terms, n, rows)?.to_dtype(DType::F64)?;
        let target: Vec<f32> = terms.iter().flat_map(|term| term.target.iter().copied()).collect();
        let target = from_host(target, (n * rows, self.shape.channels), prediction.device())?;
        let errors = (prediction - target.to_dtype(DType::F64)?)?.sqr()?.sum(1)?;
        Ok(to_host(&errors)?)
    }
}

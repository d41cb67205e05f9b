//! Queries of a denoising network for the decisions of episodes.
//!
//! Every stochastic decision reduces to one squared error. A `Toward` decision, to the finished image, scores minus
//! the squared error of the prediction. A drawn latent is scored by a Gaussian whose mean is affine in the prediction,
//! a x_t + b p, so its log-density is -(b / deviation)^2 / 2 times the squared error of p against (x' - a x_t) / b,
//! plus a constant.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::ops::Grid;
use engine::transfer::from_host;
use mdp::diffusion::{DenoisingAction, Latent, LatentShape};
use mdp::{EpisodeOf, Mdp as _, Steps};

use super::model::SamplerConfig;
use super::{Condition, ConditionedMdp, Prediction, State};
use crate::ModelError;
use crate::image_batch::{Contexts, ImageBatch};
use crate::sampler::SamplerSteps;

/// One evaluation of the network.
#[derive(Clone, Debug)]
pub(super) struct NetworkQuery {
    pub(super) latent: Latent,
    pub(super) time: f64,
    pub(super) condition: Condition,
}

/// A decision's squared-error term.
#[derive(Clone, Debug)]
pub(super) struct ErrorTerm {
    pub(super) query: NetworkQuery,
    /// The target of the prediction.
    pub(super) target: Vec<f32>,
    /// The weight of the summed squared error.
    pub(super) weight: f64,
    /// The score at zero error.
    pub(super) constant: f64,
    /// The unconditional condition, with classifier-free guidance.
    pub(super) unguided: Option<Condition>,
}

/// The decisions of episodes, with those that need a prediction.
#[derive(Clone, Debug, Default)]
pub(super) struct Decisions {
    pub(super) terms: Vec<ErrorTerm>,
    /// The index in `terms` of every decision; `None` for a deterministic one, which scores 0.
    pub(super) of_decision: Vec<Option<usize>>,
    /// The number of decisions of each episode.
    pub(super) counts: Vec<usize>,
}

impl Decisions {
    pub(super) fn of_episodes(
        mdp: &ConditionedMdp,
        episodes: &[EpisodeOf<ConditionedMdp>],
        prediction: Prediction,
        acting: &SamplerConfig,
    ) -> Result<Self, ModelError> {
        let mut decisions = Self::default();
        let mut scoring = Scoring { mdp, prediction, acting, sampling: None };
        for (index, episode) in episodes.iter().enumerate() {
            for piece in &episode.pieces {
                let mut state = piece.start.clone();
                for action in &piece.actions {
                    if mdp.is_terminal(&state) || !mdp.allows(&state, action) {
                        return Err(not_allowed(mdp, index, &state, action));
                    }
                    let term = scoring.term(&state, action)?;
                    decisions.of_decision.push(term.is_some().then_some(decisions.terms.len()));
                    decisions.terms.extend(term);
                    state = mdp.step(&state, action);
                }
            }
            decisions.counts.push(episode.n_decisions());
        }
        Ok(decisions)
    }

    /// Expands a number per query to a number per decision.
    pub(super) fn steps(&self, of_term: impl Fn(usize) -> f64) -> Steps {
        let mut at = 0;
        let row = |&count: &usize| {
            let row: Vec<f64> =
                self.of_decision[at..at + count].iter().map(|place| place.map_or(0.0, &of_term)).collect();
            at += count;
            row
        };
        self.counts.iter().map(row).collect()
    }

    /// The score of a query from its squared error.
    pub(super) fn score(&self, term: usize, error: f64) -> f64 {
        self.terms[term].constant - self.terms[term].weight * error
    }
}

fn not_allowed(mdp: &ConditionedMdp, episode: usize, state: &State, action: &DenoisingAction) -> ModelError {
    let latent = match action {
        DenoisingAction::Next(latent) => latent,
        DenoisingAction::Toward { clean, .. } => clean,
    };
    ModelError::Argument {
        what: format!("a decision of episode {episode}"),
        expected: format!("a latent of {} numbers at one of {} timesteps", mdp.size, mdp.timesteps.len()),
        got: format!("{} numbers after {} of them", latent.len(), state.done),
    }
}

/// Converts decisions to queries.
struct Scoring<'a> {
    mdp: &'a ConditionedMdp,
    prediction: Prediction,
    acting: &'a SamplerConfig,
    /// Created at the first drawn latent.
    sampling: Option<SamplerSteps>,
}

impl Scoring<'_> {
    fn term(&mut self, state: &State, action: &DenoisingAction) -> Result<Option<ErrorTerm>, ModelError> {
        let (Some(latent), Some(t)) = (&state.latent, self.mdp.timestep(state)) else { return Ok(None) };
        let (time, condition) = (self.mdp.schedule.time(t), Arc::clone(&state.context));
        let query = NetworkQuery { latent: Arc::clone(latent), time, condition };
        match action {
            DenoisingAction::Toward { clean, noise } => {
                let target = self.prediction.target(self.mdp.schedule.level(t), clean, noise);
                Ok(Some(ErrorTerm { query, target, weight: 1.0, constant: 0.0, unguided: None }))
            }
            DenoisingAction::Next(next) => self.density_term(query, state.done, next),
        }
    }

    fn density_term(
        &mut self,
        query: NetworkQuery,
        done: usize,
        next: &Latent,
    ) -> Result<Option<ErrorTerm>, ModelError> {
        if self.sampling.is_none() {
            self.sampling = Some(self.acting.scored_sampling(self.mdp, self.prediction)?);
        }
        let Some(step) = self.sampling.as_ref().map(|sampling| sampling.gaussian(done)) else { return Ok(None) };
        let (a, b, variance) = (step.of_latent, step.of_prediction, step.deviation * step.deviation);
        if variance == 0.0 || b == 0.0 {
            return Ok(None);
        }
        let target = |(y, x): (&f32, &f32)| ((f64::from(*y) - a * f64::from(*x)) / b) as f32;
        let target = next.iter().zip(query.latent.iter()).map(target).collect();
        let constant = -0.5 * next.len() as f64 * (std::f64::consts::TAU * variance).ln();
        Ok(Some(ErrorTerm {
            query,
            target,
            weight: 0.5 * b * b / variance,
            constant,
            unguided: self.acting.unguided(),
        }))
    }
}

/// Batches queries for the network.
pub(super) fn network_batch(
    queries: &[NetworkQuery],
    shape: LatentShape,
    (dtype, device): (DType, &Device),
) -> Result<ImageBatch, ModelError> {
    let n = queries.len();
    let mut pixels = Vec::with_capacity(n * shape.size());
    for query in queries {
        if query.latent.len() != shape.size() {
            return Err(ModelError::Argument {
                what: "a latent".into(),
                expected: format!("{} numbers ({shape})", shape.size()),
                got: query.latent.len().to_string(),
            });
        }
        pixels.extend_from_slice(&query.latent);
    }
    let grid = Grid { images: n, height: shape.height, width: shape.width };
    let conditions: Vec<&Condition> = queries.iter().map(|query| &query.condition).collect();
    Ok(ImageBatch {
        x: from_host(pixels, (n * shape.height * shape.width, shape.channels), device)?.to_dtype(dtype)?,
        grid,
        times: queries.iter().map(|query| query.time).collect(),
        contexts: contexts(&conditions, dtype, device)?,
        pooled: pooled(&conditions, device)?.map(|pooled| pooled.to_dtype(dtype)).transpose()?,
        time_ids: conditions.iter().map(|condition| condition.time_ids).collect(),
        classes: conditions.iter().map(|condition| condition.class).collect(),
    })
}

/// The hidden states of all texts; equal texts share rows.
fn contexts(conditions: &[&Condition], dtype: DType, device: &Device) -> Result<Option<Contexts>, ModelError> {
    let Some(width) = conditions.iter().find_map(|c| c.hidden.as_ref()).map(|hidden| hidden.width) else {
        return Ok(None);
    };
    let (mut values, mut known): (Vec<f32>, HashMap<*const _, Range<usize>>) = (Vec::new(), HashMap::new());
    let mut of_image = Vec::with_capacity(conditions.len());
    let mut rows = 0;
    for condition in conditions {
        let hidden = condition.hidden.as_ref().filter(|hidden| hidden.width == width).ok_or_else(|| mixed(width))?;
        let range = known.entry(Arc::as_ptr(condition)).or_insert_with(|| {
            values.extend_from_slice(&hidden.values);
            rows += hidden.length;
            rows - hidden.length..rows
        });
        of_image.push(range.clone());
    }
    Ok(Some(Contexts { rows: from_host(values, (rows, width), device)?.to_dtype(dtype)?, of_image }))
}

fn pooled(conditions: &[&Condition], device: &Device) -> Result<Option<Tensor>, ModelError> {
    let Some(width) = conditions.iter().find_map(|c| c.pooled.as_ref()).map(Vec::len) else { return Ok(None) };
    let mut values = Vec::with_capacity(conditions.len() * width);
    for condition in conditions {
        values.extend_from_slice(condition.pooled.as_ref().filter(|p| p.len() == width).ok_or_else(|| mixed(width))?);
    }
    Ok(Some(from_host(values, (conditions.len(), width), device)?))
}

fn mixed(width: usize) -> ModelError {
    ModelError::Argument {
        what: "the conditions of a batch".into(),
        expected: format!("all of width {width}"),
        got: "some of another width, or none".into(),
    }
}

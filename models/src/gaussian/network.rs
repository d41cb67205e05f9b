//! The network: linear layers with hyperbolic tangents between them.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};
use engine::ops::{self, WeightLayout};
use engine::transfer::from_host;

use super::GaussianConfig;
use crate::ModelError;
use crate::network::{Layers, Network, Pass, Weights};

/// A multilayer perceptron.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) config: GaussianConfig,
    pub(crate) weights: Weights,
}

impl Network for Mlp {
    const NAME: &'static str = "Gaussian policy";

    fn weights(&self) -> &Weights {
        &self.weights
    }
}

impl Mlp {
    fn layer(&self, x: &Tensor, layer: usize, pass: Pass) -> Result<Tensor, EngineError> {
        let layers = Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn };
        let x = layers.linear(x, &format!("layers.{layer}"))?;
        Ok(if layer + 1 < self.config.n_layers() { ops::tanh(&x)? } else { x })
    }

    /// Observations as the first layer's input, standardised if the config says so.
    ///
    /// # Shapes
    /// `[n, observation_size]`.
    pub(super) fn input(&self, observations: &[Vec<f64>]) -> Result<Tensor, ModelError> {
        let config = &self.config;
        let mut numbers = Vec::with_capacity(observations.len() * config.observation_size);
        for observation in observations {
            if observation.len() != config.observation_size {
                let expected = format!("{} numbers", config.observation_size);
                let (what, got) = ("an observation".to_owned(), observation.len().to_string());
                return Err(ModelError::Argument { what, expected, got });
            }
            let standardised = |(at, number): (usize, &f64)| match config.standardised.get(at) {
                Some((mean, std)) => (number - mean) / std,
                None => *number,
            };
            numbers.extend(observation.iter().enumerate().map(standardised));
        }
        let shape = (observations.len(), config.observation_size);
        let input = from_host(numbers, shape, &self.weights.device())?;
        Ok(input.to_dtype(self.weights.dtype())?)
    }

    /// The outputs without a graph.
    ///
    /// # Shapes
    /// `[n, outputs]`.
    pub(super) fn score(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        let mut x = input.clone();
        for layer in 0..self.config.n_layers() {
            x = self.layer(&x, layer, Pass::Scoring)?;
        }
        Ok(x)
    }

    /// The outputs as the end of a tape, of which each layer is a segment.
    pub(super) fn run_tape(self: &Arc<Self>, input: Tensor, recompute: Recompute) -> Result<Tape<'static>, ModelError> {
        let first = Arc::clone(self);
        let mut tape = Tape::from_source(move || first.layer(&input, 0, Pass::Training), recompute)?;
        for layer in 1..self.config.n_layers() {
            let network = Arc::clone(self);
            tape.run(move |x| network.layer(x, layer, Pass::Training))?;
        }
        Ok(tape)
    }
}

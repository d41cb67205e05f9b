//! The policy around the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::checkpoint::Tape;
use engine::transfer::{from_host, to_host};
use engine::{Gradients, Parameters};
use mdp::control::{Continuous, Control};
use mdp::{Channels, EpisodeOf, Rng};
use policies::gaussian::{Decided, Decisions, Gaussian, GaussianOutputs, Spread};
use policies::{Learner, Peers, Persist, Policy, PolicyError, Proposal, Shares, VisitGradient, VisitSingle};

use super::GaussianConfig;
use super::network::Mlp;
use crate::ModelError;
use crate::export::Exported;
use crate::network::{LearnerOptions, TrainedNetwork, Weights};
use crate::tensors;

/// A network of continuous control: a policy, and a learner with checkpoints, averages and export.
///
/// # Laws
/// The numbers of a decision do not depend on the rest of the batch, to rounding.
#[derive(Debug)]
pub struct GaussianMlp {
    pub(crate) network: TrainedNetwork<Mlp>,
    /// The reference of the divergence channel.
    reference: Option<Arc<GaussianMlp>>,
}

/// The state of a forward pass that its backward pass needs.
#[derive(Debug)]
pub struct GaussianTape {
    /// `None` if there is no decision.
    tape: Option<Tape<'static>>,
    decided: Decided,
}

impl GaussianMlp {
    /// A frozen policy: a reference, or one to act with. `tensors` are those of [`GaussianConfig::tensor_shapes`].
    ///
    /// # Errors
    /// A config that makes no sense; tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: GaussianConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        let config = fitting(config, &tensors)?;
        Ok(Self::new(TrainedNetwork::frozen(Mlp { config, weights: Weights::frozen(tensors)? })))
    }

    /// A policy that learns all of its weights.
    ///
    /// # Errors
    /// As [`GaussianMlp::frozen`]; adapters, which so small a network does not have.
    pub fn trainable(
        config: GaussianConfig,
        tensors: BTreeMap<String, Tensor>,
        training: LearnerOptions,
    ) -> Result<Self, ModelError> {
        let config = fitting(config, &tensors)?;
        if training.lora.is_some() {
            let (what, expected) = ("the adapters of a Gaussian policy".to_owned(), "none".to_owned());
            return Err(ModelError::Argument { what, expected, got: "LoRA".to_owned() });
        }
        let weights = Weights::trainable(tensors, None, &[], &[])?;
        Ok(Self::new(TrainedNetwork::learner(Mlp { config, weights }, training)?))
    }

    fn new(network: TrainedNetwork<Mlp>) -> Self {
        Self { network, reference: None }
    }

    /// Enables the divergence channel: KL(reference || policy) of the Gaussians of every decision (Eq. 14).
    #[must_use]
    pub fn with_reference(self, reference: Arc<Self>) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// A frozen copy of the policy as it is.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn frozen_copy(&self) -> Result<Self, ModelError> {
        let weights = self.network.weights.frozen_copy()?;
        Ok(Self::new(TrainedNetwork::frozen(Mlp { config: self.network.config.clone(), weights })))
    }

    /// A frozen copy with the averages of the weights (EMA), which is what an export writes; `None` without averages.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn averaged(&self) -> Result<Option<Self>, ModelError> {
        let of = |weights| Self::new(TrainedNetwork::frozen(Mlp { config: self.network.config.clone(), weights }));
        Ok(self.network.averaged()?.map(of))
    }

    /// The config.
    pub fn config(&self) -> &GaussianConfig {
        &self.network.config
    }

    /// The network's tensors by name.
    pub fn parameters(&self) -> &Parameters {
        &self.network.weights.parameters
    }

    /// The gradient accumulated since the last update; `None` for a frozen policy.
    pub fn gradients(&self) -> Option<&Gradients> {
        self.network.gradients()
    }

    /// The contents of an export.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn exported(&self) -> Result<Exported<'_, GaussianConfig>, ModelError> {
        Ok(Exported { config: self.config(), lora: None, tensors: self.network.exported()? })
    }

    fn check_problem<M: Continuous>(&self, mdp: &M) -> Result<(), PolicyError> {
        let config = self.config();
        let (ours, theirs) =
            ([config.observation_size, config.action_size], [mdp.observation_size(), mdp.action_size()]);
        if ours == theirs {
            return Ok(());
        }
        let sizes = |[observation, action]: [usize; 2]| format!("observations of {observation}, actions of {action}");
        let what = "the problem of a Gaussian policy".to_owned();
        Err(PolicyError::Argument { what, expected: sizes(ours), got: sizes(theirs) })
    }

    /// The decisions of episodes, and the reference's Gaussians for them if the policy has one.
    fn decisions<M: Continuous>(
        &self,
        mdp: &M,
        episodes: &[EpisodeOf<M>],
    ) -> Result<(Decisions, Option<Vec<Gaussian>>), PolicyError> {
        self.check_problem(mdp)?;
        let decisions = Decisions::of_episodes(mdp, episodes)?;
        let of_reference = |reference: &Arc<Self>| -> Result<Vec<Gaussian>, PolicyError> {
            let outputs = reference.outputs(&decisions.observations)?;
            Ok(outputs.iter().map(|outputs| reference.spread().gaussian(outputs)).collect())
        };
        let reference = self.reference.as_ref().map(of_reference).transpose()?;
        Ok((decisions, reference))
    }

    fn forward_decisions(
        &self,
        decisions: Decisions,
        reference: Option<Vec<Gaussian>>,
    ) -> Result<(Channels, GaussianTape), PolicyError> {
        let recompute = self.network.recompute()?;
        if decisions.observations.is_empty() {
            let (channels, decided) = decisions.scored(self.spread(), Vec::new(), reference)?;
            return Ok((channels, GaussianTape { tape: None, decided }));
        }
        let input = self.network.input(&decisions.observations)?;
        let tape = self.network.network().run_tape(input, recompute)?;
        let outputs = host(tape.output())?;
        let (channels, decided) = decisions.scored(self.spread(), outputs, reference)?;
        Ok((channels, GaussianTape { tape: Some(tape), decided }))
    }
}

/// Checks that a config makes sense and that tensors are its own.
fn fitting(config: GaussianConfig, tensors: &BTreeMap<String, Tensor>) -> Result<GaussianConfig, ModelError> {
    let config = config.checked()?;
    tensors::check("Gaussian policy", &config.tensor_shapes(), tensors)?;
    Ok(config)
}

/// Rows of a matrix as numbers.
fn host(outputs: &Tensor) -> Result<Vec<Vec<f64>>, ModelError> {
    Ok(to_host(outputs)?.chunks_exact(outputs.dim(1)?).map(<[f64]>::to_vec).collect())
}

impl GaussianOutputs for GaussianMlp {
    fn spread(&self) -> Spread {
        self.config().spread
    }

    fn outputs(&self, observations: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        if observations.is_empty() {
            return Ok(Vec::new());
        }
        let input = self.network.input(observations)?;
        let outputs = host(&self.network.score(&input)?)?;
        for (row, outputs) in outputs.iter().enumerate() {
            if let Some(value) = outputs.iter().find(|output| !output.is_finite()) {
                return Err(ModelError::not_finite("an output of the Gaussian policy", row, 0, *value).into());
            }
        }
        Ok(outputs)
    }
}

impl<M: Continuous> Policy<M> for GaussianMlp {
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<Control>>>, PolicyError> {
        self.check_problem(mdp)?;
        self.draws(mdp, states, k, rng)
    }

    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<Control>, PolicyError> {
        self.check_problem(mdp)?;
        self.draw(mdp, states, rng)
    }

    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        let (decisions, reference) = self.decisions(mdp, episodes)?;
        let outputs = self.outputs(&decisions.observations)?;
        Ok(decisions.scored(self.spread(), outputs, reference)?.0)
    }

    fn identity(&self) -> Result<Option<String>, PolicyError> {
        Persist::fingerprint(self).map(Some)
    }
}

impl<M: Continuous> Learner<M> for GaussianMlp {
    type Tape = GaussianTape;

    fn forward(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, GaussianTape), PolicyError> {
        let (decisions, reference) = self.decisions(mdp, episodes)?;
        self.forward_decisions(decisions, reference)
    }

    fn backward(&mut self, tape: GaussianTape, slopes: &Channels) -> Result<(), PolicyError> {
        let GaussianTape { tape, decided } = tape;
        let slopes = decided.slopes(self.spread(), slopes)?;
        let Some(tape) = tape else { return Ok(()) };
        let (shape, output) = (tape.output().shape().clone(), tape.output());
        let (device, dtype) = (output.device().clone(), output.dtype());
        let gradient = from_host(slopes.concat(), shape, &device).and_then(|slopes| slopes.to_dtype(dtype));
        self.network.backward(tape, &gradient.map_err(ModelError::from)?)?;
        Ok(())
    }

    /// The reference is that of [`with_reference`](GaussianMlp::with_reference).
    fn provide_divergence(&mut self, _reference: Option<&dyn Policy<M>>) -> Result<(), PolicyError> {
        let missing =
            "the objective needs the divergence from the reference: `GaussianMlp::with_reference` provides it";
        self.reference.is_some().then_some(()).ok_or_else(|| missing.into())
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        self.network.visit_gradients(visit)
    }

    fn has_single_gradients(&self) -> bool {
        self.network.has_single_gradients()
    }

    fn visit_single_gradients(&mut self, visit: &mut VisitSingle<'_>) -> Result<(), PolicyError> {
        self.network.visit_single_gradients(visit)
    }

    fn join(&mut self, peers: &dyn Peers) -> Result<(), PolicyError> {
        Ok(self.network.join(peers)?)
    }

    fn sums_gradient(&self) -> bool {
        self.network.sums_gradient()
    }

    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        Ok(self.network.sum_gradient()?)
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        Ok(self.network.gradient_norm()?)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), PolicyError> {
        Ok(self.network.scale_gradient(factor)?)
    }

    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        Ok(self.network.discard_gradient()?)
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        Ok(self.network.update(rate, max_gradient_norm)?)
    }

    fn update_share(
        &mut self,
        rate: f64,
        max_gradient_norm: Option<f64>,
        shares: &dyn Shares,
    ) -> Result<f64, PolicyError> {
        Ok(self.network.update_share(rate, max_gradient_norm, shares)?)
    }
}

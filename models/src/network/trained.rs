//! Trained networks: a network with its learner's state.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::{Recompute, Tape};
use engine::ema::Ema;
use engine::lora::LoraConfig;
use engine::optim::Optimizer;
use engine::sums;
use engine::transfer::from_host;
use engine::{Gradients, Parameters};
use policies::{Peers, PolicyError, Shares, VisitGradient, VisitSingle};

use super::Weights;
use super::checkpoint::{self, LearnerState};
use crate::ModelError;
use crate::external::{self, NamedNumbers};

/// The training options of a network.
#[derive(Debug)]
pub struct LearnerOptions {
    /// The optimiser.
    pub optimizer: Box<dyn Optimizer>,
    /// LoRA adapters to train in place of the model's own weights.
    pub lora: Option<LoraConfig>,
    /// The seed of new adapters.
    pub seed: u64,
    /// Whether activations are stored or recomputed in the backward pass.
    pub recompute: Recompute,
    /// The decay of the EMA of the weights, which [`policies::Persist::export`] then writes.
    pub ema: Option<f64>,
}

impl LearnerOptions {
    /// Trains all weights, stores activations, keeps no EMA.
    pub fn new(optimizer: Box<dyn Optimizer>) -> Self {
        Self { optimizer, lora: None, seed: 0, recompute: Recompute::Nothing, ema: None }
    }

    /// The config and the seed of the adapters.
    pub(crate) fn adapters(&self) -> Option<(LoraConfig, u64)> {
        self.lora.clone().map(|lora| (lora, self.seed))
    }
}

/// A function with weights.
pub(crate) trait Network {
    /// Its name in messages.
    const NAME: &'static str;

    /// Its weights.
    fn weights(&self) -> &Weights;

    /// Says that its weights have changed, to a network that keeps something made of them.
    fn weights_changed(&self) {}
}

/// A network, with the learner's state if it is trainable.
///
/// The network is shared with the tapes of its passes; an update changes its tensors in place.
#[derive(Debug)]
pub(crate) struct TrainedNetwork<N> {
    network: Arc<N>,
    learning: Option<LearnerState>,
    fingerprint: Mutex<Option<String>>,
}

impl<N: Network> TrainedNetwork<N> {
    /// Makes a frozen network.
    pub(crate) fn frozen(network: N) -> Self {
        Self { network: Arc::new(network), learning: None, fingerprint: Mutex::default() }
    }

    /// Makes a learner of a network with trainable weights.
    pub(crate) fn learner(network: N, training: LearnerOptions) -> Result<Self, ModelError> {
        let ema = training.ema.map(|decay| Ema::new(decay, &network.weights().parameters)).transpose()?;
        let (optimizer, gradients, recompute) = (training.optimizer, Gradients::default(), training.recompute);
        let learning = LearnerState { optimizer, gradients, recompute, ema, follower: None, sums: None };
        Ok(Self { learning: Some(learning), ..Self::frozen(network) })
    }

    /// Shares the network, now and after every update, without the learner's state.
    pub(crate) fn view(&self) -> Self {
        Self { network: Arc::clone(&self.network), learning: None, fingerprint: Mutex::default() }
    }

    /// The network, for the segments of a tape.
    pub(crate) fn network(&self) -> &Arc<N> {
        &self.network
    }

    /// Whether tapes store or recompute activations.
    ///
    /// # Errors
    /// A frozen network, as for all methods below that train.
    pub(crate) fn recompute(&self) -> Result<Recompute, ModelError> {
        Ok(self.learning.as_ref().ok_or_else(Self::does_not_learn)?.recompute)
    }

    /// The gradient accumulated since the last update; `None` for a frozen network.
    pub(crate) fn gradients(&self) -> Option<&Gradients> {
        self.learning.as_ref().map(|learning| &learning.gradients)
    }

    /// Runs the backward pass from the output's gradient and accumulates the parameters'. Returns that of the tape's input, if it
    /// has one.
    pub(crate) fn backward(&mut self, tape: Tape<'static>, gradient: &Tensor) -> Result<Option<Tensor>, ModelError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        Ok(tape.backward(gradient, &self.network.weights().parameters, &mut learning.gradients)?)
    }

    /// Accumulates the gradient of parameters that another library computed.
    pub(crate) fn add_gradients(&mut self, slopes: NamedNumbers) -> Result<(), ModelError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        external::add_gradients(&mut learning.gradients, &self.network.weights().parameters, slopes)
    }

    /// Passes the accumulated gradient of every trainable parameter to `visit`.
    pub(crate) fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        let mut visit = |name: &str, slopes: &mut [f64]| visit(name, slopes).map_err(ModelError::from);
        Ok(learning.gradients.visit(&self.network.weights().parameters, &mut visit)?)
    }

    /// Whether all gradients are in `f32`.
    pub(crate) fn has_single_gradients(&self) -> bool {
        self.network.weights().parameters.trainable().all(|(_, var)| var.dtype() != DType::F64)
    }

    /// Passes the accumulated gradient of every trainable parameter to `visit`, in `f32`.
    pub(crate) fn visit_single_gradients(&mut self, visit: &mut VisitSingle<'_>) -> Result<(), PolicyError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        let mut visit = |slopes: &mut [f32]| visit(slopes).map_err(ModelError::from);
        Ok(learning.gradients.visit_single(&self.network.weights().parameters, &mut visit)?)
    }

    /// Connects the learner with its copies in other processes, if their devices sum among themselves.
    pub(crate) fn join(&mut self, peers: &dyn Peers) -> Result<(), ModelError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        let device = self.network.weights().parameters.trainable().next().map(|(_, var)| var.device().clone());
        let gather = |bytes: &[u8]| peers.gather(bytes);
        learning.sums = sums::join(&device.unwrap_or(Device::Cpu), peers.rank(), &gather)?;
        Ok(())
    }

    /// Has the gradient summed by these devices.
    #[cfg(test)]
    pub(super) fn joined(&mut self, sums: Arc<dyn sums::DeviceSums>) {
        if let Some(learning) = &mut self.learning {
            learning.sums = Some(sums);
        }
    }

    /// Whether the devices sum gradients.
    pub(crate) fn sums_gradient(&self) -> bool {
        self.learning.as_ref().is_some_and(|learning| learning.sums.is_some())
    }

    /// Replaces the accumulated gradient by its sum over all processes, on the devices.
    pub(crate) fn sum_gradient(&mut self) -> Result<(), ModelError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        let (sums, gradients) = (learning.sums.as_deref(), &mut learning.gradients);
        let sums = sums.ok_or_else(|| ModelError::Argument {
            what: format!("the {}", N::NAME),
            expected: "one whose device sums with those of other processes".into(),
            got: "one that has joined no others".into(),
        })?;
        Ok(sums::sum_gradients(sums, gradients, &self.network.weights().parameters)?)
    }

    /// The norm of the accumulated gradient.
    pub(crate) fn gradient_norm(&self) -> Result<f64, ModelError> {
        Ok(self.gradients().ok_or_else(Self::does_not_learn)?.norm()?)
    }

    /// Multiplies the accumulated gradient.
    pub(crate) fn scale_gradient(&mut self, factor: f64) -> Result<(), ModelError> {
        let learning = self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        Ok(learning.gradients.scale(factor)?)
    }

    /// Discards the accumulated gradient.
    pub(crate) fn discard_gradient(&mut self) -> Result<(), ModelError> {
        self.learning.as_mut().ok_or_else(Self::does_not_learn)?.gradients.clear();
        Ok(())
    }

    /// Takes one optimiser step with the accumulated gradient, clipped to `max_norm`, and returns its norm before
    /// clipping.
    ///
    /// A non-finite gradient is discarded without a step.
    pub(crate) fn update(&mut self, rate: f64, max_norm: Option<f64>) -> Result<f64, ModelError> {
        self.update_by(max_norm, |optimizer, parameters, gradients| Ok(optimizer.step(parameters, gradients, rate)?))
    }

    /// As [`update`](Self::update), where several processes train and each keeps the optimiser's state of its own share.
    pub(crate) fn update_share(
        &mut self,
        rate: f64,
        max_norm: Option<f64>,
        shares: &dyn Shares,
    ) -> Result<f64, ModelError> {
        self.update_by(max_norm, |optimizer, parameters, gradients| {
            optimizer.step_own(parameters, gradients, rate, &|len| shares.own(len))?;
            for (_, var) in parameters.trainable() {
                let mut numbers = checkpoint::numbers(var)?;
                shares.complete(&mut numbers);
                var.set(&from_host(numbers, var.dims(), var.device())?.to_dtype(var.dtype())?)?;
            }
            Ok(())
        })
    }

    /// Takes one step with the accumulated gradient, clipped to `max_norm`, and returns its norm before clipping.
    fn update_by(
        &mut self,
        max_norm: Option<f64>,
        step: impl FnOnce(&mut dyn Optimizer, &Parameters, &Gradients) -> Result<(), ModelError>,
    ) -> Result<f64, ModelError> {
        let parameters = &self.network.weights().parameters;
        let LearnerState { optimizer, gradients, ema, follower, .. } =
            self.learning.as_mut().ok_or_else(Self::does_not_learn)?;
        let norm = match max_norm {
            Some(max_norm) => gradients.clip(max_norm)?,
            None => gradients.norm()?,
        };
        if !norm.is_finite() {
            gradients.clear();
            return Ok(norm);
        }
        step(&mut **optimizer, parameters, gradients)?;
        gradients.clear();
        for average in ema.iter_mut().chain(follower) {
            average.update(parameters)?;
        }
        self.forget_fingerprint();
        Ok(norm)
    }

    /// Sets the adapters to those of an earlier training run; averages restart from them.
    ///
    /// # Errors
    /// Layers or shapes other than those of the network's adapters.
    pub(crate) fn start_from(&mut self, adapters: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let weights = self.network.weights();
        weights.start_from(adapters)?;
        if let Some(learning) = &mut self.learning {
            let average = learning.ema.as_ref().map(|ema| Ema::new(ema.decay(), &weights.parameters));
            learning.ema = average.transpose()?;
        }
        self.forget_fingerprint();
        Ok(())
    }

    /// Writes a checkpoint: trainable weights, optimiser state, EMA.
    pub(crate) fn save_checkpoint(&self, folder: &Path) -> Result<(), ModelError> {
        checkpoint::save(folder, &self.network.weights().parameters, self.learning.as_ref())
    }

    /// As [`save_checkpoint`](Self::save_checkpoint), where each of several processes has its own share of the optimiser's state: all
    /// call it, and those with a folder write the whole.
    pub(crate) fn save_checkpoint_of_shares(
        &self,
        folder: Option<&Path>,
        shares: &dyn Shares,
    ) -> Result<(), ModelError> {
        let (parameters, learning) = (&self.network.weights().parameters, self.learning.as_ref());
        let learning = learning.ok_or_else(Self::does_not_learn)?;
        let state = checkpoint::whole_state(parameters, learning, shares)?;
        folder.map_or(Ok(()), |folder| checkpoint::save_with(folder, parameters, learning, state))
    }

    /// Restores a checkpoint.
    pub(crate) fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), ModelError> {
        checkpoint::restore(folder, &self.network.weights().parameters, self.learning.as_mut())?;
        self.forget_fingerprint();
        Ok(())
    }

    /// The tensors to export: the adapters if there are any, else all; averaged ones (EMA) replace the trained ones.
    pub(crate) fn exported(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let weights = self.network.weights();
        let mut tensors = if weights.lora.is_some() { weights.adapter_tensors() } else { weights.base_tensors()? };
        if let Some(ema) = self.learning.as_ref().and_then(|learning| learning.ema.as_ref()) {
            tensors.extend(ema.iter().map(|(name, average)| (name.to_owned(), average.clone())));
        }
        Ok(tensors)
    }

    /// A frozen copy of the weights with their averages (EMA), as exported; `None` without averages.
    pub(crate) fn averaged(&self) -> Result<Option<Weights>, ModelError> {
        let Some(ema) = self.learning.as_ref().and_then(|learning| learning.ema.as_ref()) else { return Ok(None) };
        let mut weights = self.network.weights().frozen_copy()?;
        ema.apply_to(&mut weights.parameters)?;
        Ok(Some(weights))
    }

    /// Keeps an average of the weights from now on, as a reference that follows.
    pub(crate) fn follow(&mut self, decay: f64) -> Result<(), ModelError> {
        let follower = Ema::new(decay, &self.network.weights().parameters)?;
        self.learning.as_mut().ok_or_else(Self::does_not_learn)?.follower = Some(follower);
        Ok(())
    }

    /// A frozen copy of the weights with the average that [`follow`](Self::follow) keeps; `None` without one.
    pub(crate) fn following(&self) -> Result<Option<Weights>, ModelError> {
        let Some(average) = self.learning.as_ref().and_then(|learning| learning.follower.as_ref()) else {
            return Ok(None);
        };
        let mut weights = self.network.weights().frozen_copy()?;
        average.apply_to(&mut weights.parameters)?;
        Ok(Some(weights))
    }

    /// [`Weights::hash`], cached between updates.
    pub(crate) fn fingerprint(&self, settings: &str) -> Result<String, ModelError> {
        let mut known = self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let hash = self.network.weights().hash(settings)?;
        *known = Some(hash.clone());
        Ok(hash)
    }

    fn forget_fingerprint(&mut self) {
        *self.fingerprint.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.network.weights_changed();
    }

    fn does_not_learn() -> ModelError {
        ModelError::Argument {
            what: format!("the {}", N::NAME),
            expected: "one that was made to learn".into(),
            got: "a frozen one".into(),
        }
    }
}

/// A trained network derefs to its network.
impl<N> Deref for TrainedNetwork<N> {
    type Target = N;

    fn deref(&self) -> &N {
        &self.network
    }
}

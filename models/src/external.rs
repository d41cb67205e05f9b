//! Networks that another library computes, from weights that are kept here.
//!
//! Optimisers, averages, checkpoints and fingerprints see such a network's tensors like any other's. Only its passes are
//! another library's: numbers go in, numbers come out, and a recorded pass turns slopes on its output into slopes on its
//! tensors.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};
use engine::transfer::{from_host, to_host};
use engine::{Gradients, Parameters};

use crate::ModelError;

/// What is known of a tensor of an external network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalTensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is trained; others stay as they are.
    pub learns: bool,
}

/// Tensors by name, in the order of their memory.
pub type NamedNumbers = BTreeMap<String, Vec<f32>>;

/// A network that another library computes; `B` is what one pass reads.
///
/// # Laws
/// The output of an instance depends on its weights and the batch alone, and that of a row of the batch on no other row, to
/// rounding.
pub trait ExternalNetwork<B>: fmt::Debug + Send + Sync {
    /// All that its output depends on besides the weights, as text for a fingerprint.
    fn identity(&self) -> &str;

    /// Its tensors by name.
    fn tensors(&self) -> &BTreeMap<String, ExternalTensor>;

    /// Makes an instance, which has weights of its own.
    ///
    /// # Errors
    /// The library's own.
    fn instance(&self) -> Result<Box<dyn ExternalInstance<B>>, ModelError>;

    /// Writes the network with these weights into a folder that exists.
    ///
    /// # Errors
    /// The library's own, or an I/O error.
    fn write(&self, folder: &Path, weights: &NamedNumbers) -> Result<(), ModelError>;
}

/// A network with weights.
pub trait ExternalInstance<B>: fmt::Debug + Send {
    /// Takes weights: all tensors of the network.
    ///
    /// # Errors
    /// The library's own.
    fn set_weights(&mut self, weights: &NamedNumbers) -> Result<(), ModelError>;

    /// The output for a batch, flat.
    ///
    /// # Errors
    /// A batch that the network does not take; an output of another shape.
    fn run(&mut self, batch: &B) -> Result<Vec<f32>, ModelError>;

    /// The output for a batch, flat, and what its backward pass needs.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn record(&mut self, batch: &B) -> Result<(Vec<f32>, Box<dyn ExternalTape>), ModelError>;
}

/// A pass that was recorded.
pub trait ExternalTape: fmt::Debug + Send + Sync {
    /// The slopes of the tensors that are trained, by those of the output; a tensor that the output does not depend on may be
    /// left out.
    ///
    /// # Errors
    /// The library's own.
    fn backward(self: Box<Self>, slopes: &[f32]) -> Result<NamedNumbers, ModelError>;
}

/// Tensors of numbers, in their shapes.
///
/// # Errors
/// A tensor without a shape, or of another size.
pub fn tensors(
    numbers: NamedNumbers,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let tensor = |(name, numbers): (String, Vec<f32>)| {
        let shape = shapes.get(&name).cloned().unwrap_or_default();
        Ok((name, from_host(numbers, shape, &Device::Cpu)?))
    };
    numbers.into_iter().map(tensor).collect()
}

/// A shared external network; two are equal if their identities are.
pub struct External<B>(Arc<dyn ExternalNetwork<B>>);

impl<B: 'static> External<B> {
    /// Shares a network.
    pub fn new(network: impl ExternalNetwork<B> + 'static) -> Self {
        Self(Arc::new(network))
    }

    /// The shapes of its tensors.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
    }

    /// The names of tensors that are not trained.
    pub(crate) fn fixed(&self) -> Vec<&str> {
        self.tensors().iter().filter(|(_, tensor)| !tensor.learns).map(|(name, _)| name.as_str()).collect()
    }

    /// Writes the network with these tensors into a folder that exists.
    ///
    /// # Errors
    /// As [`ExternalNetwork::write`].
    pub(crate) fn write_tensors(&self, folder: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let numbers = tensors.iter().map(|(name, tensor)| Ok((name.clone(), host(tensor)?)));
        self.write(folder, &numbers.collect::<Result<_, ModelError>>()?)
    }
}

impl<B: 'static> std::ops::Deref for External<B> {
    type Target = dyn ExternalNetwork<B>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

impl<B> Clone for External<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: 'static> fmt::Debug for External<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.identity())
    }
}

impl<B: 'static> PartialEq for External<B> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

/// The outputs of batches, and what goes back through each.
pub(crate) type RecordedPasses = (Vec<Vec<f32>>, Vec<Box<dyn ExternalTape>>);

/// An external network in use: its instance, which gets the weights before the first pass and after every change.
pub(crate) struct Running<B> {
    network: External<B>,
    instance: Mutex<Option<Box<dyn ExternalInstance<B>>>>,
    is_current: AtomicBool,
}

impl<B: 'static> Running<B> {
    pub(crate) fn new(network: External<B>) -> Self {
        Self { network, instance: Mutex::default(), is_current: AtomicBool::new(false) }
    }

    /// Has the weights read again before the next pass.
    pub(crate) fn weights_changed(&self) {
        self.is_current.store(false, Ordering::Release);
    }

    /// The outputs of batches.
    pub(crate) fn run(&self, parameters: &Parameters, batches: &[B]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.with(parameters, |instance| batches.iter().map(|batch| instance.run(batch)).collect())
    }

    /// The outputs of batches, recorded.
    pub(crate) fn record(&self, parameters: &Parameters, batches: &[B]) -> Result<RecordedPasses, ModelError> {
        self.with(parameters, |instance| {
            let passes = batches.iter().map(|batch| instance.record(batch));
            Ok(passes.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
        })
    }

    fn with<R>(
        &self,
        parameters: &Parameters,
        pass: impl FnOnce(&mut dyn ExternalInstance<B>) -> Result<R, ModelError>,
    ) -> Result<R, ModelError> {
        let mut kept = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = match &mut *kept {
            Some(instance) => instance,
            none => none.insert(self.network.instance()?),
        };
        if !self.is_current.load(Ordering::Acquire) {
            let numbers = parameters.iter().map(|(name, tensor)| Ok((name.to_owned(), host(tensor)?)));
            instance.set_weights(&numbers.collect::<Result<_, ModelError>>()?)?;
            self.is_current.store(true, Ordering::Release);
        }
        pass(instance.as_mut())
    }
}

impl<B: 'static> fmt::Debug for Running<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.network).finish()
    }
}

/// Adds the slopes of an external network's tensors to a gradient.
pub(crate) fn add_gradients(
    gradients: &mut Gradients,
    parameters: &Parameters,
    slopes: NamedNumbers,
) -> Result<(), ModelError> {
    for (name, slopes) in slopes {
        let dims = parameters.get(&name)?.dims().to_vec();
        gradients.add(&name, &from_host(slopes, dims, &Device::Cpu)?)?;
    }
    Ok(())
}

/// The numbers of a tensor in the order of its memory.
pub(crate) fn host(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(to_host(tensor)?)
}

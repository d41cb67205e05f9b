//! Modules in Rust as policies.
use models::ModelError;
use models::causal::{CausalConfig, ExternalSizes};
use models::denoiser::ExternalDenoiserConfig;
use models::external::External;
use models::formats::{DenoiserFiles, ModelFiles};
use tch::Tensor;
use tch::nn::Path;

use crate::module::{Built, Forward};
use crate::network::TorchNetwork;
use crate::{ImageSettings, Settings, TokenSettings};

/// Makes policies of modules in Rust: of a function that adds variables to a [`tch::nn::VarStore`] and returns the forward
/// function of them.
///
/// It is called once for every copy of the weights (policy, reference, average), each time with an empty store; what it draws
/// there are the first weights of the first copy alone. What is saved is the store, as `weights.safetensors`.
///
/// The example `09_libtorch` is such a program.
#[derive(Clone, Copy, Debug)]
pub struct TorchPolicy;

impl TorchPolicy {
    /// A language model. The function takes ids `[batch, length]` and returns logits, as [`TokenSettings`] says.
    ///
    /// `name` tells it from others in messages and fingerprints.
    ///
    /// # Errors
    /// Variables that are not float32.
    pub fn tokens<F: Fn(&[Tensor]) -> Tensor + Send + 'static>(
        name: &str,
        settings: TokenSettings,
        build: impl Fn(&Path<'_>) -> F + Send + Sync + 'static,
    ) -> Result<ModelFiles, ModelError> {
        let sizes = ExternalSizes {
            vocabulary: settings.vocabulary,
            max_positions: settings.max_length,
            bos: settings.bos,
            eos: settings.eos.clone(),
        };
        let settings = Settings::Tokens(settings);
        let source = settings.to_json();
        let boxed = move |path: &Path<'_>| Box::new(build(path)) as Forward;
        let (network, weights) = TorchNetwork::new(Built::new(name, boxed), settings)?;
        let config = CausalConfig::external(External::new(network), sizes, source);
        let tensors = models::external::tensors(weights, &config.expected_tensors())?;
        Ok(ModelFiles::plain(name.as_ref(), config, tensors, None))
    }

    /// A network that denoises. The function takes images, times and, where there is a context, hidden states, and returns the
    /// prediction, as [`ImageSettings`] says.
    ///
    /// # Errors
    /// As [`tokens`](Self::tokens).
    pub fn images<F: Fn(&[Tensor]) -> Tensor + Send + 'static>(
        name: &str,
        settings: ImageSettings,
        build: impl Fn(&Path<'_>) -> F + Send + Sync + 'static,
    ) -> Result<DenoiserFiles, ModelError> {
        let (size, channels) = ((settings.height, settings.width), settings.channels);
        let context = settings.context.map(|context| context.width);
        let settings = Settings::Images(settings);
        let source = settings.to_json();
        let boxed = move |path: &Path<'_>| Box::new(build(path)) as Forward;
        let (network, weights) = TorchNetwork::new(Built::new(name, boxed), settings)?;
        let config = ExternalDenoiserConfig { network: External::new(network), size, channels, context, source };
        let tensors = models::external::tensors(weights, &config.network.shapes())?;
        Ok(DenoiserFiles::plain(name.as_ref(), config.into(), tensors))
    }
}

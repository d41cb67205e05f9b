//! LoRA: low-rank adapters for linear layers and convolutions, with PEFT's names and scales; DoRA and `lora_bias`.
//!
//! The adapter of a linear layer named `P` is two parameters: `P.lora_A.weight` [rank, in] and `P.lora_B.weight`
//! [out, rank], whatever the layout of the base weight. The layer becomes y = base(x) + scale (x A^T) B^T, with the base
//! frozen. B starts at zero, so the first output is the base's.
//!
//! The A of a convolution is a convolution of the same kernel size to `rank` channels: [rank, height, width, in]. Its B
//! is a 1x1 convolution: [out, 1, 1, rank].
//!
//! With a bias, B has one of its own, `P.lora_B.bias` `[out]`, times the scale too. With DoRA there is a magnitude of each
//! output, `P.lora_magnitude_vector` `[out]`: the layer's weight is W + scale B A with every row scaled to that norm. The
//! norm that it had before counts as a constant in gradients, as in the paper and in PEFT.
//!
//! # References
//! Hu et al., LoRA, <https://arxiv.org/abs/2106.09685>; Kalajdzievski, rsLoRA, <https://arxiv.org/abs/2312.03732>; Liu et
//! al., DoRA, <https://arxiv.org/abs/2402.09353>.

mod adapter;

pub use adapter::{Adapter, lora_conv2d, lora_linear, merged_bias, merged_weight};

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use crate::error::check_setting;
use crate::{EngineError, Noise, Parameters, noise};

/// Selects the layers that get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoraTargets {
    /// Every linear layer given, and no convolution (PEFT's `all-linear`; models do not give their output layer).
    AllLinear,
    /// The layers whose name is one of these or ends in a dot and one of these, as in `query_key_value` for
    /// `layers.0.attention.query_key_value`.
    Named(Vec<String>),
}

/// The settings of the adapters.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// The rank of the change to each weight.
    pub rank: usize,
    /// The strength of the change; see [`LoraConfig::scale`].
    pub alpha: f64,
    /// Whether the scale is alpha / sqrt(rank), not alpha / rank (PEFT's `use_rslora`).
    pub rslora: bool,
    /// Selects the layers that get an adapter.
    pub targets: LoraTargets,
    /// What an adapter has beside its two factors.
    pub extra: LoraExtra,
}

/// What an adapter has beside its two factors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoraExtra {
    /// Nothing.
    #[default]
    None,
    /// A bias beside B (PEFT's `lora_bias`).
    Bias,
    /// A magnitude of each output (DoRA, PEFT's `use_dora`).
    Magnitude,
}

/// A layer that can get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptableLayer {
    /// Its name: the weight's, without `.weight`.
    pub name: String,
    /// The width of its input, or its channels.
    pub n_in: usize,
    /// The width of its output, or its channels.
    pub n_out: usize,
    /// The height and width of a convolution's kernel; `None` for a linear layer.
    pub kernel: Option<(usize, usize)>,
}

impl LoraTargets {
    /// Targets that name exactly the `chosen` of `all` layers: by name suffixes if no other layer shares them, else in
    /// full.
    pub fn exactly(chosen: &BTreeSet<&str>, all: &[AdaptableLayer]) -> Self {
        let ends: BTreeSet<&str> = chosen.iter().map(|name| end(name)).collect();
        let is_other = |layer: &AdaptableLayer| !chosen.contains(layer.name.as_str());
        let is_ambiguous = all.iter().any(|layer| is_other(layer) && ends.iter().any(|end| is_named(&layer.name, end)));
        let names = if is_ambiguous { chosen } else { &ends };
        Self::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// The last component of a layer's name, with the one before if the last is a number (`to_out.0`).
fn end(name: &str) -> &str {
    let mut ends = name.rmatch_indices('.').map(|(at, _)| &name[at + 1..]);
    let last = ends.next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) { ends.next().unwrap_or(name) } else { last }
}

impl LoraConfig {
    /// alpha / rank, or alpha / sqrt(rank) with `rslora`.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Whether a layer is among the targets.
    pub fn is_target(&self, layer: &AdaptableLayer) -> bool {
        match &self.targets {
            LoraTargets::AllLinear => layer.kernel.is_none(),
            LoraTargets::Named(targets) => targets.iter().any(|target| is_named(&layer.name, target)),
        }
    }

    /// Freezes all parameters and adds a new adapter for each target: A uniform within 1 / sqrt(in) (of a convolution 1
    /// / sqrt(height width in)), B zero.
    ///
    /// A layer's A depends on the seed and its name only. Biases start at zero. Magnitudes, which start at the norms of the
    /// weights, are added with [`LoraConfig::set_magnitude`]. Returns the adapted layers' names.
    ///
    /// # Errors
    /// A rank of zero or above the width of every adapted layer, an alpha that is not positive and finite, a target
    /// that matches no layer, an existing adapter.
    pub fn attach(
        &self,
        parameters: &mut Parameters,
        layers: &[AdaptableLayer],
        noise: &Noise,
        dtype: DType,
        device: &Device,
    ) -> Result<Vec<String>, EngineError> {
        check_setting(self.rank > 0, "LoRA", "the rank", "at least 1", self.rank as f64)?;
        check_setting(self.alpha > 0. && self.alpha.is_finite(), "LoRA", "alpha", "positive and finite", self.alpha)?;
        self.check_targets(layers)?;
        let widths = layers.iter().filter(|layer| self.is_target(layer)).map(|layer| layer.n_in.max(layer.n_out));
        if let Some(widest) = widths.max().filter(|widest| self.rank > *widest) {
            return Err(EngineError::LoraRank { rank: self.rank, widest });
        }
        parameters.freeze_all();
        let mut adapted = Vec::new();
        for layer in layers.iter().filter(|layer| self.is_target(layer)) {
            let (name_a, name_b) = parameter_names(&layer.name);
            let rng = &mut noise.stream(&name_a, 0);
            let (height, width) = layer.kernel.unwrap_or((1, 1));
            let a = noise::kaiming_uniform(rng, self.rank, height * width * layer.n_in, 5f64.sqrt(), device)?;
            let b = Tensor::zeros((layer.n_out, self.rank), dtype, device)?;
            let (a, b) = match layer.kernel {
                None => (a, b),
                Some(_) => {
                    (a.reshape((self.rank, height, width, layer.n_in))?, b.reshape((layer.n_out, 1, 1, self.rank))?)
                }
            };
            parameters.insert_trainable(name_a, a.to_dtype(dtype)?)?;
            parameters.insert_trainable(name_b, b)?;
            if self.extra == LoraExtra::Bias {
                parameters.insert_trainable(bias_name(&layer.name), Tensor::zeros(layer.n_out, dtype, device)?)?;
            }
            adapted.push(layer.name.clone());
        }
        Ok(adapted)
    }

    /// The adapter of a layer, if it has one.
    pub fn adapter<'a>(&self, parameters: &'a Parameters, layer: &str) -> Option<Adapter<'a>> {
        let (a, b) = parameter_names(layer);
        Some(Adapter {
            a: parameters.find(&a)?,
            b: parameters.find(&b)?,
            scale: self.scale(),
            bias: parameters.find(&bias_name(layer)),
            magnitude: parameters.find(&magnitude_name(layer)),
            squares: None,
        })
    }

    /// Adds the trainable magnitudes of a layer whose weight's rows have these squared norms, `[out]`: the norms.
    ///
    /// # Errors
    /// The layer has magnitudes.
    pub fn set_magnitude(parameters: &mut Parameters, layer: &str, squares: &Tensor) -> Result<(), EngineError> {
        parameters.insert_trainable(magnitude_name(layer), squares.sqrt()?)
    }

    fn check_targets(&self, layers: &[AdaptableLayer]) -> Result<(), EngineError> {
        let no_targets = [String::new()];
        let targets = match &self.targets {
            LoraTargets::AllLinear => return Ok(()),
            LoraTargets::Named(targets) if targets.is_empty() => &no_targets[..],
            LoraTargets::Named(targets) => targets,
        };
        let matches_none = |target: &&String| !layers.iter().any(|layer| is_named(&layer.name, target));
        let Some(target) = targets.iter().find(matches_none) else { return Ok(()) };
        let known: BTreeSet<&str> = layers.iter().filter_map(|layer| layer.name.rsplit('.').next()).collect();
        Err(EngineError::NoSuchTarget {
            target: target.clone(),
            known: known.into_iter().map(ToOwned::to_owned).collect(),
        })
    }
}

/// The names of a layer's A and B among the parameters.
pub fn parameter_names(layer: &str) -> (String, String) {
    (format!("{layer}.lora_A.weight"), format!("{layer}.lora_B.weight"))
}

/// The name of the bias beside a layer's B.
pub fn bias_name(layer: &str) -> String {
    format!("{layer}.lora_B.bias")
}

/// The name of a layer's magnitudes.
pub fn magnitude_name(layer: &str) -> String {
    format!("{layer}.lora_magnitude_vector")
}

/// The layer whose adapter has a parameter of this name; `None` for other parameters.
pub fn layer_of(parameter: &str) -> Option<&str> {
    let ends = [".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".lora_magnitude_vector"];
    ends.into_iter().find_map(|end| parameter.strip_suffix(end))
}

fn is_named(layer: &str, target: &str) -> bool {
    layer.strip_suffix(target).is_some_and(|parent| !target.is_empty() && (parent.is_empty() || parent.ends_with('.')))
}

#[cfg(test)]
mod convolution_tests;
#[cfg(test)]
mod tests;

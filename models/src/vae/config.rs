//! The config of an autoencoder, from its `config.json`.

use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Kind::{Flag, Number, Numbers, Texts, Whole, Wholes};
use crate::fields::declared::{Table, harmless, honoured, refused};

/// An upper bound on all counts, so that the count of a damaged file allocates little.
const MOST: usize = 1000;

/// The shape of an `AutoencoderKL`.
#[derive(Clone, Debug, PartialEq)]
pub struct VaeConfig {
    /// Channels of the pictures that are encoded.
    pub in_channels: usize,
    /// Channels of the pictures that are decoded.
    pub out_channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each block, highest resolution first.
    pub block_channels: Vec<usize>,
    /// Residual layers of an encoder block; a decoder block has one more.
    pub layers_per_block: usize,
    /// Groups of each group norm.
    pub groups: usize,
    /// Whether a 1x1 convolution follows the encoder.
    pub quantised: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub post_quantised: bool,
    /// Whether the middle blocks have self-attention.
    pub attention: bool,
    /// The factor from latents to the denoiser's scale.
    pub scaling: f64,
    /// The number subtracted from latents before they are scaled; only the pipelines of transformers do so.
    pub shift: f64,
    /// Mean and deviation of each latent channel, if the config has both. Only SDXL's pipeline uses them.
    pub statistics: Option<(Vec<f64>, Vec<f64>)>,
}

impl VaeConfig {
    /// The supported class of diffusers.
    pub(crate) const CLASS: &'static str = "AutoencoderKL";

    /// Reads the config, with diffusers' defaults.
    ///
    /// # Errors
    /// Another class of model; settings that are invalid or not supported.
    pub fn from_json(source: &Value) -> Result<Self, ModelError> {
        let class = Fields::new(source).text("_class_name")?;
        if let Some(found) = class.filter(|class| class != Self::CLASS) {
            return Err(ModelError::Architecture { found, supported: Self::CLASS.to_owned() });
        }
        let given = source.as_object().ok_or_else(|| ModelError::config("config.json", "must hold an object"))?;
        DECLARED.refuse(given)?;
        let config = Self::from_known(&Value::Object(DECLARED.known(given)))?;
        DECLARED.check_kinds(given)?;
        Ok(config)
    }

    /// Reads the declared fields.
    fn from_known(source: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        let size = |key: &str, default: usize| fields.size(key).map(|size| size.unwrap_or(default));
        let latent_channels = bounded("latent_channels", size("latent_channels", 4)?)?;
        let mean = per_channel(source, "latents_mean", latent_channels)?;
        let deviation = per_channel(source, "latents_std", latent_channels)?;
        let config = Self {
            in_channels: size("in_channels", 3)?,
            out_channels: size("out_channels", 3)?,
            latent_channels,
            block_channels: sizes(source, "block_out_channels")?.unwrap_or_else(|| vec![64]),
            layers_per_block: bounded("layers_per_block", size("layers_per_block", 1)?)?,
            groups: size("norm_num_groups", 32)?,
            quantised: fields.flag("use_quant_conv", true)?,
            post_quantised: fields.flag("use_post_quant_conv", true)?,
            attention: fields.flag("mid_block_add_attention", true)?,
            scaling: fields.positive("scaling_factor", 0.18215)?,
            shift: number(source, "shift_factor")?,
            statistics: mean.zip(deviation),
        };
        config.check(source)?;
        Ok(config)
    }

    /// The downsampling factor from pictures to latents.
    pub fn factor(&self) -> usize {
        1 << (self.block_channels.len() - 1)
    }

    fn check(&self, source: &Value) -> Result<(), ModelError> {
        let blocks = self.block_channels.len();
        if blocks > 16 {
            return Err(ModelError::config("block_out_channels", format!("{blocks} blocks are too many")));
        }
        if let Some(odd) = self.block_channels.iter().find(|channels| !channels.is_multiple_of(self.groups)) {
            let reason = format!("{odd} channels can't be split into {} groups", self.groups);
            return Err(ModelError::config("norm_num_groups", reason));
        }
        let deviations = self.statistics.iter().flat_map(|(_, deviations)| deviations);
        if let Some(bad) = deviations.into_iter().find(|deviation| **deviation <= 0.) {
            return Err(ModelError::config("latents_std", format!("must be positive, not {bad}")));
        }
        for (key, built) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            check_blocks(source, key, built, blocks)?;
        }
        Ok(())
    }
}

fn check_blocks(source: &Value, key: &str, built: &str, n_blocks: usize) -> Result<(), ModelError> {
    let Some(types) = source[key].as_array() else { return Ok(()) };
    if let Some(other) = types.iter().find(|kind| kind.as_str() != Some(built)) {
        return Err(ModelError::config(key, format!("block {other} is not supported; supported: {built}")));
    }
    if types.len() != n_blocks {
        let reason = format!("{} blocks, and block_out_channels has {n_blocks}", types.len());
        return Err(ModelError::config(key, reason));
    }
    Ok(())
}

fn bounded(key: &str, size: usize) -> Result<usize, ModelError> {
    if size > MOST { Err(ModelError::config(key, format!("{size} is beyond any autoencoder"))) } else { Ok(size) }
}

fn wrong(key: &str, expected: &str, found: &Value) -> ModelError {
    ModelError::config(key, format!("must be {expected}, not {found}"))
}

/// A number of any sign, 0 if there is none.
fn number(source: &Value, key: &str) -> Result<f64, ModelError> {
    match &source[key] {
        Value::Null => Ok(0.),
        value => value.as_f64().ok_or_else(|| wrong(key, "a number", value)),
    }
}

/// A list of sizes of at least 1.
fn sizes(source: &Value, key: &str) -> Result<Option<Vec<usize>>, ModelError> {
    let value = &source[key];
    if value.is_null() {
        return Ok(None);
    }
    let size = |v: &Value| v.as_u64().filter(|n| (1..=u64::from(u32::MAX)).contains(n)).map(|n| n as usize);
    let sizes: Option<Vec<usize>> = value.as_array().and_then(|list| list.iter().map(size).collect());
    match sizes.filter(|sizes| !sizes.is_empty()) {
        Some(sizes) => Ok(Some(sizes)),
        None => Err(wrong(key, "a list of positive whole numbers", value)),
    }
}

/// A number per channel, if there are any.
fn per_channel(source: &Value, key: &str, channels: usize) -> Result<Option<Vec<f64>>, ModelError> {
    let value = &source[key];
    if value.is_null() {
        return Ok(None);
    }
    let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
    match numbers.filter(|numbers| numbers.len() == channels) {
        Some(numbers) => Ok(Some(numbers)),
        None => Err(wrong(key, &format!("a list of {channels} numbers"), value)),
    }
}

/// The fields of `AutoencoderKL`, and their handling.
const DECLARED: Table = Table(&[
    honoured("in_channels", Whole),
    honoured("out_channels", Whole),
    honoured("down_block_types", Texts),
    honoured("up_block_types", Texts),
    honoured("block_out_channels", Numbers),
    honoured("layers_per_block", Whole),
    honoured("latent_channels", Whole),
    honoured("norm_num_groups", Whole),
    honoured("scaling_factor", Number),
    // Both or none, and used by SDXL's pipeline only.
    honoured("latents_mean", Numbers).or_null(),
    honoured("latents_std", Numbers).or_null(),
    honoured("use_quant_conv", Flag),
    honoured("use_post_quant_conv", Flag),
    honoured("mid_block_add_attention", Flag),
    // Used by the pipelines of transformers only: those with a UNet do not subtract it from latents.
    honoured("shift_factor", Number).or_null(),
    // Latents may have any size.
    harmless("sample_size", Wholes),
    // It is always computed in full precision.
    harmless("force_upcast", Flag),
    refused("act_fn", &["silu", "swish"]),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        crate::fields::declared::golden::check("AutoencoderKL", super::DECLARED);
    }
}

//! The scaling of rotary frequencies for contexts longer than that of pre-training.

use crate::ModelError;
use crate::fields::Fields;

/// The scaling of rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    /// No scaling, and dynamic scaling, which changes nothing within the context.
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// The scaling factor.
        factor: f64,
    },
    /// Llama 3's blend: low frequencies divided by `factor`, high ones kept.
    Llama3 {
        /// The scaling factor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_frequency` are scaled in full.
        low_frequency: f64,
        /// Wavelengths below `original_context / high_frequency` are kept.
        high_frequency: f64,
        /// The context length of pre-training.
        original_context: f64,
    },
    /// YaRN's blend by the number of rotations.
    Yarn {
        /// The scaling factor of the low frequencies.
        factor: f64,
        /// Rotations over the original context from which on a frequency is kept.
        fast: f64,
        /// Rotations up to which a frequency is scaled in full.
        slow: f64,
        /// The context length of pre-training.
        original_context: f64,
        /// Whether the ends of the blend are rounded to whole pairs.
        rounded: bool,
        /// The factor of rotated coordinates.
        magnitude: f64,
    },
    /// LongRoPE within the original context: each frequency divided by its short factor.
    Long {
        /// The short factors.
        factors: Vec<f64>,
        /// The context length of pre-training, beyond which other factors would apply to all tokens.
        original_context: f64,
        /// The factor of rotated coordinates.
        magnitude: f64,
    },
}

/// Reads a scaling. `outer` is the object that holds YaRN's `truncate`, `beside` an original context that overrides.
pub(super) fn scaling(
    key: &str,
    nested: Fields<'_>,
    outer: Fields<'_>,
    beside: Option<f64>,
    rotated: usize,
    max_positions: usize,
    is_phi3: bool,
) -> Result<RotaryScaling, ModelError> {
    let kind = match nested.text("rope_type")? {
        Some(kind) => kind,
        None => nested.text("type")?.unwrap_or_else(|| "default".to_owned()),
    };
    let original = || match beside {
        Some(original) => Ok(original),
        None => nested.positive("original_max_position_embeddings", max_positions as f64),
    };
    match kind.as_str() {
        "default" => Ok(RotaryScaling::Default),
        // Phi-3's files call LongRoPE by its older names, too, and transformers takes no other type there.
        "longrope" | "su" | "yarn" if is_phi3 => long(nested, original()?, rotated, max_positions),
        other if is_phi3 => Err(refused(key, other, "default, longrope")),
        "longrope" => long(nested, original()?, rotated, max_positions),
        "linear" => Ok(RotaryScaling::Linear { factor: nested.required_number("factor")? }),
        "dynamic" => nested.required_number("factor").map(|_| RotaryScaling::Default),
        "yarn" => yarn(nested, outer, original()?, max_positions),
        "llama3" => Ok(RotaryScaling::Llama3 {
            factor: nested.required_number("factor")?,
            low_frequency: nested.required_number("low_freq_factor")?,
            high_frequency: nested.required_number("high_freq_factor")?,
            original_context: original()?,
        }),
        other => Err(refused(key, other, "default, linear, dynamic, llama3, yarn, longrope")),
    }
}

fn refused(key: &str, kind: &str, supported: &str) -> ModelError {
    ModelError::config(key, format!("rotary scaling `{kind}` is not supported; supported: {supported}"))
}

fn yarn(
    nested: Fields<'_>,
    outer: Fields<'_>,
    original_context: f64,
    max_positions: usize,
) -> Result<RotaryScaling, ModelError> {
    let factor = match nested.number("factor")? {
        Some(factor) => factor,
        None if nested.is_null("factor") => max_positions as f64 / original_context,
        None => nested.required_number("factor")?,
    };
    let magnitude_of = |scale: f64, share: f64| if scale <= 1. { 1. } else { 0.1 * share * scale.ln() + 1. };
    let magnitude =
        match (nested.number("attention_factor")?, share(nested, "mscale")?, share(nested, "mscale_all_dim")?) {
            (Some(magnitude), ..) => magnitude,
            (None, Some(one), Some(all)) => magnitude_of(factor, one) / magnitude_of(factor, all),
            (None, ..) => magnitude_of(factor, 1.),
        };
    Ok(RotaryScaling::Yarn {
        factor,
        fast: share(nested, "beta_fast")?.unwrap_or(32.),
        slow: share(nested, "beta_slow")?.unwrap_or(1.),
        original_context,
        rounded: outer.flag("truncate", true)?,
        magnitude,
    })
}

/// A number that counts as absent where it is 0, as in Python's `or`.
fn share(nested: Fields<'_>, key: &str) -> Result<Option<f64>, ModelError> {
    match nested.value(key) {
        Some(value) if value.as_f64() == Some(0.) => Ok(None),
        _ => nested.number(key),
    }
}

fn long(
    nested: Fields<'_>,
    original_context: f64,
    rotated: usize,
    max_positions: usize,
) -> Result<RotaryScaling, ModelError> {
    let list = |key: &str| {
        let factors = nested.numbers(key)?.ok_or_else(|| ModelError::config(key, "is missing"))?;
        if factors.len() == rotated.div_ceil(2) {
            return Ok(factors);
        }
        let reason = format!("{} factors for {} pairs of coordinates", factors.len(), rotated.div_ceil(2));
        Err(ModelError::config(key, reason))
    };
    let (factors, _) = (list("short_factor")?, list("long_factor")?);
    let factor = nested.positive("factor", max_positions as f64 / original_context)?;
    let magnitude = match nested.number("attention_factor")? {
        Some(magnitude) => magnitude,
        None if factor <= 1. => 1.,
        None => (1. + factor.ln() / original_context.ln()).sqrt(),
    };
    Ok(RotaryScaling::Long { factors, original_context, magnitude })
}

//! The fields of both classes, and their handling.

use crate::fields::declared::Kind::{Any, Flag, Number, Whole};
use crate::fields::declared::{Field, Table, harmless, honoured, refused};

const HEADS: Field = honoured("num_attention_heads", Whole);
const HEAD_SIZE: Field = honoured("attention_head_dim", Whole);
const IN: Field = honoured("in_channels", Whole);
const OUT: Field = honoured("out_channels", Whole).or_null();
const LAYERS: Field = honoured("num_layers", Whole);
const BIAS: Field = honoured("attention_bias", Flag);
const SAMPLE: Field = honoured("sample_size", Whole);
const PATCH: Field = honoured("patch_size", Whole);
const EPSILON: Field = honoured("norm_eps", Number);
const ACTIVATION: Field = refused("activation_fn", &["gelu-approximate", "gelu"]);
const AFFINE: Field = refused("norm_elementwise_affine", &["false"]);
const QUANTIZED: Field = refused("quantization_config", &[]);
// Not applied here; diffusers' training scripts do apply it.
const DROPOUT: Field = harmless("dropout", Number);
// There is no group norm in these classes.
const GROUPS: Field = harmless("norm_num_groups", Whole);
// Attention is always computed in full precision.
const UPCAST: Field = harmless("upcast_attention", Flag);

/// `PixArtTransformer2DModel`.
pub(super) const PIXART: Table = Table(&[
    HEADS,
    HEAD_SIZE,
    IN,
    OUT,
    LAYERS,
    honoured("cross_attention_dim", Whole).or_null(),
    BIAS,
    SAMPLE,
    PATCH,
    EPSILON,
    honoured("interpolation_scale", Number).or_null(),
    // Null is not false: the sample size decides.
    honoured("use_additional_conditions", Any).or_null(),
    honoured("caption_channels", Whole).or_null(),
    // Its one modulation has no table of times.
    harmless("num_embeds_ada_norm", Whole),
    ACTIVATION,
    AFFINE,
    refused("norm_type", &["ada_norm_single"]),
    refused("attention_type", &["default"]),
    QUANTIZED,
    DROPOUT,
    GROUPS,
    UPCAST,
]);

/// `DiTTransformer2DModel`.
pub(super) const DIT: Table = Table(&[
    HEADS,
    HEAD_SIZE,
    IN,
    OUT,
    LAYERS,
    BIAS,
    SAMPLE,
    PATCH,
    EPSILON,
    honoured("num_embeds_ada_norm", Whole),
    ACTIVATION,
    AFFINE,
    refused("norm_type", &["ada_norm_zero"]),
    QUANTIZED,
    DROPOUT,
    GROUPS,
    UPCAST,
]);

#[cfg(test)]
mod tests {
    use crate::dit::DitConfig;
    use crate::fields::declared::golden;

    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        golden::check(DitConfig::PIXART, super::PIXART);
        golden::check(DitConfig::DIT, super::DIT);
    }
}

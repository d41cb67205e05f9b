//! The fields of diffusers' UNets, and their handling.

use super::config::UNetClass;
use crate::fields::declared::Kind::{Any, Flag, Flags, Number, Numbers, Text, Texts, Whole, Wholes};
use crate::fields::declared::{Table, harmless, honoured, refused};

/// The fields of a class.
pub(super) fn table(class: UNetClass) -> Table {
    match class {
        UNetClass::Unconditional => UNCONDITIONAL,
        UNetClass::Conditional => CONDITIONAL,
    }
}

const NO: &[&str] = &["false"];
const SILU: &[&str] = &["silu", "swish"];

/// `UNet2DModel`.
const UNCONDITIONAL: Table = Table(&[
    honoured("sample_size", Wholes).or_null(),
    honoured("in_channels", Whole),
    honoured("out_channels", Whole),
    honoured("center_input_sample", Flag),
    honoured("time_embedding_dim", Whole).or_null(),
    honoured("freq_shift", Number),
    honoured("flip_sin_to_cos", Flag),
    honoured("down_block_types", Texts),
    honoured("mid_block_type", Text).or_null(),
    honoured("up_block_types", Texts),
    honoured("block_out_channels", Numbers),
    honoured("layers_per_block", Wholes),
    honoured("mid_block_scale_factor", Number),
    honoured("downsample_padding", Whole),
    honoured("downsample_type", Text),
    honoured("upsample_type", Text),
    // Null: one head as wide as the level.
    honoured("attention_head_dim", Whole).or_null(),
    honoured("norm_num_groups", Whole),
    honoured("attn_norm_num_groups", Whole).or_null(),
    honoured("norm_eps", Number),
    honoured("add_attention", Flag),
    // Not applied here; diffusers' training scripts do apply it.
    harmless("dropout", Number),
    // The size of a learned timestep embedding, which is not supported.
    harmless("num_train_timesteps", Whole),
    refused("act_fn", SILU),
    refused("time_embedding_type", &["positional"]),
    refused("resnet_time_scale_shift", &["default"]),
    refused("class_embed_type", NO),
    refused("num_class_embeds", NO),
    refused("quantization_config", &[]),
]);

/// `UNet2DConditionModel`.
const CONDITIONAL: Table = Table(&[
    honoured("sample_size", Wholes).or_null(),
    honoured("in_channels", Whole),
    honoured("out_channels", Whole),
    honoured("center_input_sample", Flag),
    honoured("flip_sin_to_cos", Flag),
    honoured("freq_shift", Number),
    honoured("down_block_types", Texts),
    honoured("mid_block_type", Text).or_null(),
    honoured("up_block_types", Texts),
    honoured("only_cross_attention", Flags),
    honoured("block_out_channels", Numbers),
    honoured("layers_per_block", Wholes),
    honoured("downsample_padding", Whole),
    honoured("mid_block_scale_factor", Number),
    honoured("norm_num_groups", Whole),
    honoured("norm_eps", Number),
    honoured("cross_attention_dim", Wholes),
    honoured("transformer_layers_per_block", Any),
    honoured("attention_head_dim", Wholes),
    honoured("use_linear_projection", Flag),
    honoured("addition_time_embed_dim", Whole).or_null(),
    honoured("time_embedding_dim", Whole).or_null(),
    honoured("conv_in_kernel", Whole),
    honoured("conv_out_kernel", Whole),
    honoured("projection_class_embeddings_input_dim", Whole).or_null(),
    // Not applied here; diffusers' training scripts do apply it.
    harmless("dropout", Number),
    // Attention is always computed in full precision.
    harmless("upcast_attention", Flag),
    // For an unsupported embedding (`addition_embed_type` text).
    harmless("addition_embed_type_num_heads", Whole),
    refused("addition_embed_type", &["text_time"]),
    refused("act_fn", SILU),
    refused("time_embedding_type", &["positional"]),
    refused("resnet_time_scale_shift", &["default"]),
    refused("attention_type", &["default"]),
    refused("resnet_out_scale_factor", &["1.0", "1"]),
    refused("class_embed_type", NO),
    refused("num_class_embeds", NO),
    refused("class_embeddings_concat", NO),
    refused("encoder_hid_dim", NO),
    refused("encoder_hid_dim_type", NO),
    refused("cross_attention_norm", NO),
    refused("dual_cross_attention", NO),
    refused("num_attention_heads", NO),
    refused("resnet_skip_time_act", NO),
    refused("reverse_transformer_layers_per_block", NO),
    refused("time_cond_proj_dim", NO),
    refused("time_embedding_act_fn", NO),
    refused("timestep_post_act", NO),
    refused("mid_block_only_cross_attention", NO),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::declared::golden;

    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        for class in [UNetClass::Unconditional, UNetClass::Conditional] {
            golden::check(class.name(), table(class));
        }
    }
}

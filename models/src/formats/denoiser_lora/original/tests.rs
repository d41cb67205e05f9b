//! Names of other trainers, and what their tensors become.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::*;
use crate::formats::load_denoiser;

fn config(folder: &str) -> DenoiserConfig {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(folder);
    load_denoiser(&path, &Device::Cpu).unwrap().config
}

/// The layers that a name stands for.
fn layers(names: &Originals, name: &str) -> Vec<String> {
    let original = names.names.get(name).unwrap_or_else(|| panic!("{name} is not known"));
    original.layers.iter().map(|(layer, _)| layer.clone()).collect()
}

#[test]
fn every_layer_of_stable_diffusion_has_its_original_name() {
    for folder in ["unet/sd1", "unet/sdxl", "companions/sdxl/unet"] {
        let config = config(folder);
        let names = Originals::of(&config);
        // Each layer has two names but those whose names agree.
        let own = config.adaptable_layers().len();
        assert_eq!(names.names.len(), 2 * own, "{folder}");
    }
    // SD 1's golden has two levels of one layer each: 0 is the first convolution, 1 the first layer, 2 the way down.
    let names = Originals::of(&config("unet/sd1"));
    for (name, layer) in [
        ("input_blocks_0_0", "conv_in"),
        ("time_embed_2", "time_embedding.linear_2"),
        ("middle_block_1_transformer_blocks_0_attn1_to_q", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"),
        ("middle_block_2_in_layers_2", "mid_block.resnets.1.conv1"),
        ("mid_block_resnets_1_conv1", "mid_block.resnets.1.conv1"),
        ("output_blocks_0_0_skip_connection", "up_blocks.0.resnets.0.conv_shortcut"),
        ("output_blocks_0_0_emb_layers_1", "up_blocks.0.resnets.0.time_emb_proj"),
        ("out_2", "conv_out"),
    ] {
        assert_eq!(layers(&names, name), [layer]);
    }
}

#[test]
fn fused_layers_are_split_and_shifts_change_places_with_scales() {
    let numbers = |rows: usize| Tensor::arange(0f32, rows as f32, &Device::Cpu)?.reshape((rows, 1));
    let names = Originals::of(&config("flux/dev"));
    let convert = |name: &str, rows: usize| {
        let parts = names.convert(name, || Ok(numbers(rows)?)).unwrap().unwrap();
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        parts.iter().map(|(layer, role, part)| (layer.clone(), *role, flat(part))).collect::<Vec<_>>()
    };
    let parts = convert("lora_unet_single_blocks_2_linear1.lora_up.weight", 3 * 16 + 64);
    let starts: Vec<(&str, usize, f32)> =
        parts.iter().map(|(layer, _, rows)| (layer.as_str(), rows.len(), rows[0])).collect();
    let part = |name: &str| format!("single_transformer_blocks.2.{name}");
    let expected = [("attn.to_q", 16, 0.), ("attn.to_k", 16, 16.), ("attn.to_v", 16, 32.), ("proj_mlp", 64, 48.)];
    for (found, (name, rows, first)) in starts.iter().zip(expected) {
        assert_eq!(*found, (part(name).as_str(), rows, first));
    }
    // A is the same for all of them, in every spelling.
    for name in [
        "lora_unet_double_blocks_0_txt_attn_qkv.lora_down.weight",
        "diffusion_model.double_blocks.0.txt_attn.qkv.lora_A.weight",
    ] {
        let parts = convert(name, 2);
        assert!(parts.len() == 3 && parts.iter().all(|(_, role, rows)| *role == TensorRole::A && rows == &[0., 1.]));
    }
    // Biases and magnitudes are numbers of outputs, as the rows of B are.
    for (end, of) in [("lora_B.bias", TensorRole::Bias), ("lora_magnitude_vector", TensorRole::Magnitude)] {
        let parts = convert(&format!("base_model.model.double_blocks.0.img_attn.qkv.{end}"), 48);
        let starts: Vec<f32> = parts.iter().map(|(_, role, rows)| if *role == of { rows[0] } else { -1. }).collect();
        assert_eq!(starts, [0., 16., 32.], "{end}");
    }
    let swapped = convert("lora_unet_final_layer_adaLN_modulation_1.lora_up.weight", 32);
    assert_eq!((swapped[0].0.as_str(), swapped[0].2[0], swapped[0].2[16]), ("norm_out.linear", 16., 0.));
    let error = |name: &str, rows: usize| names.convert(name, || Ok(numbers(rows)?)).unwrap_err();
    let rows = error("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", 47);
    assert!(rows.contains("its 47 rows are not those of the layers that it holds, 48"), "{rows}");
    let unknown = error("lora_unet_double_blocks_1_img_attn_qkv.alpha", 1);
    assert!(unknown.contains("`double_blocks_1_img_attn_qkv` is no layer of a FluxTransformer2DModel"), "{unknown}");
    for name in ["transformer.x_embedder.lora_A.weight", "base_model.model.x_embedder.lora_A.weight"] {
        assert!(names.convert(name, || Ok(numbers(1)?)).unwrap().is_none(), "{name}");
    }
}

#[test]
fn layers_of_stable_diffusion_3_have_their_original_names() {
    let sd3 = Originals::of(&config("sd3/sd35"));
    assert_eq!(layers(&sd3, "joint_blocks_0_x_block_attn2_proj"), ["transformer_blocks.0.attn2.to_out.0"]);
    assert_eq!(sd3.names["joint_blocks_2_context_block_adaLN_modulation_1"].order, Order::ShiftFirst);
    // The last block has no output for the caption, the second no second attention.
    assert!(!sd3.names.contains_key("joint_blocks_2_context_block_attn_proj"));
    assert!(!sd3.names.contains_key("joint_blocks_1_x_block_attn2_qkv"));
}

#[test]
fn layers_of_z_image_have_their_names_of_two_kinds() {
    let names = Originals::of(&config("zimage/zimage"));
    let part = |layer: &str| format!("context_refiner.0.attention.{layer}");
    let fused = ["to_q", "to_k", "to_v"].map(part);
    assert_eq!(layers(&names, "context_refiner_0_attention_qkv"), fused);
    for (name, layer) in [
        ("layers_1_attention_out", "layers.1.attention.to_out.0"),
        ("layers_1_attention_to_out_0", "layers.1.attention.to_out.0"),
        ("noise_refiner_0_feed_forward_w2", "noise_refiner.0.feed_forward.w2"),
        ("x_embedder", "all_x_embedder.2-1"),
        ("final_layer_linear", "all_final_layer.2-1.linear"),
    ] {
        assert_eq!(layers(&names, name), [layer]);
    }
}

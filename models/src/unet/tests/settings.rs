//! Configs, shapes, and refused settings.

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::ops::Grid;
use serde_json::{Value, json};

use super::golden::{GOLDEN, batch, expected, files};
use crate::unet::{BlockAttention, Contexts, Middle, UNet, UNetConfig};

fn small() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16],
        "layers_per_block": 1, "norm_num_groups": 4, "cross_attention_dim": 12, "attention_head_dim": 2,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    })
}

fn with(mut source: Value, key: &str, value: Value) -> Value {
    source[key] = value;
    source
}

fn error(source: Value) -> String {
    UNetConfig::from_json(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

#[test]
fn a_file_of_stable_diffusion_is_understood() {
    let source = json!({
        "_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false, "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
        "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    });
    let config = UNetConfig::from_json(source.clone()).unwrap();
    assert_eq!(config.to_json(), source);
    assert_eq!((config.context_width(), config.pooled_width(), config.size_factor()), (Some(768), None, 8));
    assert_eq!((config.middle, config.levels[3].up.attention), (Middle::Caption, BlockAttention::None));
    let shapes = config.tensor_shapes();
    // The parameter count of the published model.
    assert_eq!(shapes.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>(), 859_520_964);
    assert_eq!(shapes.len(), 686);
    assert_eq!(shapes["up_blocks.1.resnets.2.conv1.weight"], [1280, 3, 3, 1920]);
}

#[test]
fn a_file_of_sdxl_is_understood() {
    let source = json!({
        "_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "in_channels": 4,
        "layers_per_block": 2, "mid_block_type": "UNetMidBlock2DCrossAttn", "out_channels": 4, "sample_size": 128,
        "projection_class_embeddings_input_dim": 2816, "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "upcast_attention": null,
        "use_linear_projection": true, "only_cross_attention": false, "class_embed_type": null,
    });
    let config = UNetConfig::from_json(source).unwrap();
    assert_eq!(config.pooled_width(), Some(1280));
    let shapes = config.tensor_shapes();
    // The parameter count of the published model.
    assert_eq!(shapes.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>(), 2_567_463_684);
}

#[test]
fn what_is_not_built_is_refused_by_key_and_value() {
    for (key, value) in [
        ("act_fn", json!("mish")),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("class_embed_type", json!("timestep")),
        ("num_class_embeds", json!(1000)),
        ("encoder_hid_dim", json!(512)),
        ("addition_embed_type", json!("image")),
        ("time_embedding_type", json!("fourier")),
        ("time_cond_proj_dim", json!(256)),
        ("dual_cross_attention", json!(true)),
        ("attention_type", json!("gated")),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("norm_num_groups", Value::Null),
        ("transformer_layers_per_block", json!([[1, 2], [1, 2]])),
        ("resnet_out_scale_factor", json!(1.5)),
        ("downsample_padding", json!(2)),
    ] {
        let message = error(with(small(), key, value.clone()));
        assert!(message.contains(&format!("`{key}`")), "{message}");
        let shown = if value.is_array() { "[1,2]".to_owned() } else { value.to_string() };
        assert!(message.contains(&shown), "{message} does not show {shown}");
    }
    let blocks = json!(["SimpleCrossAttnDownBlock2D", "DownBlock2D"]);
    assert!(
        error(with(small(), "down_block_types", blocks)).contains("\"SimpleCrossAttnDownBlock2D\" is not supported")
    );
    assert!(error(with(small(), "_class_name", json!("UNet3DConditionModel"))).contains("UNet3DConditionModel"));
    let unconditional = with(small(), "_class_name", json!("UNet2DModel"));
    assert!(error(unconditional).contains("\"CrossAttnDownBlock2D\" is not supported"));
}

#[test]
fn impossible_sizes_are_refused() {
    for (key, value, expected) in [
        ("block_out_channels", json!([8]), "has 1 entries for 2 levels"),
        ("block_out_channels", json!([8, 18]), "18 channels are no multiple of 4 groups"),
        ("attention_head_dim", json!(3), "8 channels are no multiple of 3 heads"),
        ("layers_per_block", json!(100_000), "more than any model has"),
        ("in_channels", json!(0), "positive"),
        ("up_block_types", json!(["UpBlock2D"]), "has 1 blocks for 2"),
        ("cross_attention_dim", Value::Null, "is missing"),
        ("conv_in_kernel", json!(4), "odd"),
    ] {
        let message = error(with(small(), key, value));
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    }
}

#[test]
fn old_names_of_attention_are_read() {
    let config = UNetConfig::from_json(small()).unwrap();
    let name = |found: &str| config.canonical_name(found);
    assert_eq!(name("mid_block.attentions.0.query.weight"), "mid_block.attentions.0.to_q.weight");
    assert_eq!(name("mid_block.attentions.0.proj_attn.bias"), "mid_block.attentions.0.to_out.0.bias");
    assert_eq!(name("conv_in.weight"), "conv_in.weight");
}

#[test]
fn fresh_tensors_are_those_of_the_config() {
    for case in GOLDEN.cases {
        let config = files(case).config;
        let tensors = config.initial_tensors(&Noise::new(1), &Device::Cpu).unwrap();
        let shapes = config.tensor_shapes();
        assert!(shapes.iter().all(|(name, shape)| tensors[name].dims() == shape), "{case}");
        // 1 / sqrt(in)
        let largest = |name: &str| {
            tensors[name].flatten_all().unwrap().abs().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap()
        };
        let bound = 1. / (shapes["conv_out.weight"][1..].iter().product::<usize>() as f32).sqrt();
        assert!(largest("conv_out.weight") <= bound && largest("conv_out.weight") > 0.9 * bound);
        assert!(largest("conv_out.bias") <= bound && largest("conv_out.bias") > 0.);
        assert_eq!((largest("conv_norm_out.weight"), largest("conv_norm_out.bias")), (1., 0.));
        UNet::frozen(config, tensors).unwrap();
    }
}

#[test]
fn tensors_that_are_not_the_models_are_refused() {
    let mut files = files("sd1");
    files.tensors.insert("more".to_owned(), Tensor::new(1f32, &Device::Cpu).unwrap());
    files.tensors.remove("conv_in.bias");
    files.tensors.insert("conv_out.bias".to_owned(), Tensor::new(&[1f32], &Device::Cpu).unwrap());
    let message = UNet::frozen(files.config, files.tensors).unwrap_err().to_string();
    for part in ["missing tensor: conv_in.bias", "unknown tensor: more", "conv_out.bias (expected [4], found [1])"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let files = files("sdxl");
    let good = batch(&files.config, &expected("sdxl")["calls"][0]);
    let model = UNet::frozen(files.config, files.tensors).unwrap();
    let refuse = |change: &dyn Fn(&mut crate::unet::ImageBatch), expected: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let message = model.score(&bad).unwrap_err().to_string();
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    };
    refuse(&|batch| batch.times.truncate(2), "the times: expected 3, one for each image, got 2");
    refuse(&|batch| batch.times[1] = f64::NAN, "a time: expected a finite number, got NaN");
    refuse(&|batch| batch.contexts = None, "the captions: expected hidden states of width 12, got none");
    refuse(&|batch| batch.pooled = None, "the pooled captions");
    refuse(&|batch| batch.time_ids = None, "the sizes of the images");
    refuse(&|batch| batch.grid.height = 5, "the images: expected shape [60, 4], got [48, 4]");
    let past_the_end = |batch: &mut crate::unet::ImageBatch| {
        let rows = batch.contexts.as_ref().unwrap().rows.clone();
        batch.contexts = Some(Contexts { rows, of_image: vec![0..5, 5..11, 0..5] });
    };
    refuse(&past_the_end, "a caption's rows: expected some of 10, got 5..11");
}

#[test]
fn sizes_that_do_not_come_back_are_refused_where_diffusers_fails() {
    let files = files("ddpm");
    let mut batch = batch(&files.config, &expected("ddpm")["calls"][0]);
    let model = UNet::frozen(files.config, files.tensors).unwrap();
    batch.grid = Grid { images: 3, height: 3, width: 8 };
    let message = model.score(&batch).unwrap_err().to_string();
    assert!(message.contains("the size of the images: expected multiples of 2"), "{message}");
    batch.grid = Grid { images: 3, height: 1, width: 24 };
    let message = model.score(&batch).unwrap_err().to_string();
    assert!(message.contains("at least 2 by 2"), "{message}");
}

//! Writes everything of the embedded denoiser but its trained network: `shapes_model FOLDER`.
//!
//! A diffusers folder without an autoencoder: a word-level tokenizer of the captions' words, a text encoder of one layer
//! with fixed random weights (random features are enough to tell 23 words apart), a scheduler, and the network's shape.
#![expect(clippy::disallowed_methods, reason = "an example reads its arguments")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use datasets::synthetic::shapes::{EDGE, WORDS};
use mdp::Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const WIDTH: usize = 64;
const INNER: usize = 128;
const LENGTH: usize = 16;
const SPECIAL: [&str; 3] = ["<|startoftext|>", "<|endoftext|>", "<|unknown|>"];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    let folder = Path::new(&folder);
    for part in ["tokenizer", "text_encoder", "scheduler", "unet"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let write = |name: &str, value: Value| fs::write(folder.join(name), format!("{value:#}\n"));
    write("model_index.json", model_index())?;
    write("tokenizer/tokenizer.json", tokenizer())?;
    write("tokenizer/tokenizer_config.json", tokenizer_config())?;
    write("scheduler/scheduler_config.json", scheduler())?;
    write("unet/config.json", unet())?;
    write("text_encoder/config.json", text_encoder())?;
    write_weights(&folder.join("text_encoder/model.safetensors"))?;
    Ok(())
}

fn model_index() -> Value {
    json!({
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.36.0",
        "requires_safety_checker": false,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": [null, null],
    })
}

fn tokenizer() -> Value {
    let special = SPECIAL.iter().enumerate().map(|(id, content)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    });
    let words = SPECIAL.iter().chain(WORDS.iter()).enumerate();
    let vocabulary: serde_json::Map<String, Value> = words.map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let token = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let known = |id: usize| json!({ "id": SPECIAL[id], "ids": [id], "tokens": [SPECIAL[id]] });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special.collect::<Vec<_>>(),
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token(SPECIAL[0]), text, token(SPECIAL[1])],
            "pair": [token(SPECIAL[0]), text, token(SPECIAL[1])],
            "special_tokens": { SPECIAL[0]: known(0), SPECIAL[1]: known(1) },
        },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL[2] },
    })
}

fn tokenizer_config() -> Value {
    json!({
        "bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "unk_token": SPECIAL[2], "pad_token": SPECIAL[1],
        "model_max_length": LENGTH, "tokenizer_class": "PreTrainedTokenizerFast",
    })
}

fn scheduler() -> Value {
    json!({
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.36.0",
        "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "beta_start": 0.0001, "beta_end": 0.02,
        "prediction_type": "v_prediction", "timestep_spacing": "trailing", "steps_offset": 0,
        "clip_sample": false, "set_alpha_to_one": true, "rescale_betas_zero_snr": false, "thresholding": false,
    })
}

fn unet() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.36.0",
        "sample_size": EDGE, "in_channels": 3, "out_channels": 3,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [32, 64], "layers_per_block": 1, "attention_head_dim": 4,
        "cross_attention_dim": WIDTH, "norm_num_groups": 8, "norm_eps": 1e-5, "act_fn": "silu",
        "use_linear_projection": true, "flip_sin_to_cos": true, "freq_shift": 0, "center_input_sample": false,
        "downsample_padding": 1, "mid_block_scale_factor": 1,
    })
}

fn text_encoder() -> Value {
    json!({
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model",
        "vocab_size": SPECIAL.len() + WORDS.len(), "hidden_size": WIDTH, "intermediate_size": INNER,
        "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": LENGTH, "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "projection_dim": WIDTH,
    })
}

/// Weights from a fixed seed: words far apart, positions and mixing weak beside them.
fn write_weights(path: &Path) -> Result<(), Box<dyn Error>> {
    let layer = "text_model.encoder.layers.0";
    let mut shapes: BTreeMap<String, (Vec<usize>, f64)> = BTreeMap::new();
    let mut add = |name: String, shape: &[usize], deviation| shapes.insert(name, (shape.to_vec(), deviation));
    add("text_model.embeddings.token_embedding.weight".into(), &[SPECIAL.len() + WORDS.len(), WIDTH], 1.0);
    add("text_model.embeddings.position_embedding.weight".into(), &[LENGTH, WIDTH], 0.2);
    for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        add(format!("{layer}.self_attn.{name}.weight"), &[WIDTH, WIDTH], 0.08);
        add(format!("{layer}.self_attn.{name}.bias"), &[WIDTH], 0.0);
    }
    for (name, shape) in [("fc1", [INNER, WIDTH]), ("fc2", [WIDTH, INNER])] {
        add(format!("{layer}.mlp.{name}.weight"), &shape, 0.08);
        add(format!("{layer}.mlp.{name}.bias"), &shape[..1], 0.0);
    }
    for name in [format!("{layer}.layer_norm1"), format!("{layer}.layer_norm2"), "text_model.final_layer_norm".into()] {
        // The weight of a norm is one: written below.
        add(format!("{name}.weight"), &[WIDTH], f64::NAN);
        add(format!("{name}.bias"), &[WIDTH], 0.0);
    }
    let mut rng = Rng::seed_from_u64(64);
    let bytes = shapes.iter().map(|(name, (shape, deviation))| {
        let values = (0..shape.iter().product::<usize>()).flat_map(|_| {
            let value = if deviation.is_nan() { 1.0 } else { deviation * normal(&mut rng) };
            (value as f32).to_le_bytes()
        });
        (name.clone(), shape.clone(), values.collect::<Vec<u8>>())
    });
    let bytes: Vec<_> = bytes.collect();
    let views = bytes.iter().map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into_iter().collect());
    Ok(fs::write(path, safetensors::serialize(views, metadata)?)?)
}

/// A standard normal draw, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let mut unit = || ((rng.next_u64() >> 11) as f64 + 0.5) * 2f64.powi(-53);
    let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
    radius * angle.cos()
}

//! Writes everything of an embedded model but its trained weights: `embedded_models NAME FOLDER`, where the name is
//! `shapes`, `chimera-generator` or `chimera-refiner`.
//!
//! A denoiser is a diffusers folder in SDXL's layout without an autoencoder: a word-level tokenizer of the captions'
//! words, two text encoders of one layer with fixed random weights (random features are enough to tell some dozens of
//! words apart), a scheduler, and the network's shape. SDXL's pooled text goes into every block, which a small network learns to heed much sooner than
//! cross-attention alone.
#![expect(clippy::disallowed_methods, reason = "an example reads its arguments")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use datasets::synthetic::{chimera, shapes};
use mdp::Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const WIDTH: usize = 64;
const INNER: usize = 128;
const TIME_WIDTH: usize = 8;
const SPECIAL: [&str; 3] = ["<|startoftext|>", "<|endoftext|>", "<|unknown|>"];

/// What an embedded denoiser draws, and of which words.
struct Denoiser {
    words: &'static [&'static str],
    /// Most tokens of a caption, start and end included.
    length: usize,
    edge: usize,
    down: &'static [&'static str],
    up: &'static [&'static str],
    channels: &'static [usize],
}

const SHAPES: Denoiser = Denoiser {
    words: &shapes::WORDS,
    length: 16,
    edge: shapes::EDGE,
    down: &["DownBlock2D", "CrossAttnDownBlock2D"],
    up: &["CrossAttnUpBlock2D", "UpBlock2D"],
    channels: &[32, 64],
};

/// Larger pictures and a narrower top: about half as much work again as the shapes.
const CHIMERA: Denoiser = Denoiser {
    words: &chimera::WORDS,
    length: 24,
    edge: chimera::EDGE,
    down: &["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
    up: &["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    channels: &[24, 48, 64],
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (name, folder) = arguments.next().zip(arguments.next()).ok_or("which model, and which folder?")?;
    match name.as_str() {
        "shapes" => SHAPES.write(Path::new(&folder)),
        "chimera-generator" => CHIMERA.write(Path::new(&folder)),
        "chimera-refiner" => write_refiner(Path::new(&folder)),
        other => Err(format!("there is no embedded model `{other}`").into()),
    }
}

/// A Llama of two layers over the words of requests and refined prompts.
fn write_refiner(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let tokenizer = chimera::tokenizer().map_err(|error| error.to_string())?;
    let write = |name: &str, value: Value| fs::write(folder.join(name), format!("{value:#}\n"));
    write(
        "config.json",
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": tokenizer.get_vocab_size(true),
            "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 4, "head_dim": 24, "max_position_embeddings": 96, "hidden_act": "silu",
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": false, "mlp_bias": false,
            "tie_word_embeddings": true, "initializer_range": 0.06, "bos_token_id": 0, "eos_token_id": 0,
            "torch_dtype": "float32",
        }),
    )?;
    write("generation_config.json", json!({ "bos_token_id": 0, "eos_token_id": 0 }))?;
    let end = "<|endoftext|>";
    write(
        "tokenizer_config.json",
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": end, "eos_token": end, "pad_token": end,
            "clean_up_tokenization_spaces": false, "model_max_length": 96,
        }),
    )?;
    Ok(fs::write(folder.join("tokenizer.json"), chimera::tokenizer_json())?)
}

impl Denoiser {
    fn write(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        for part in ["tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "scheduler", "unet"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let write = |name: &str, value: Value| fs::write(folder.join(name), format!("{value:#}\n"));
        write("model_index.json", model_index())?;
        for part in ["tokenizer", "tokenizer_2"] {
            write(&format!("{part}/tokenizer.json"), self.tokenizer())?;
            write(&format!("{part}/tokenizer_config.json"), self.tokenizer_config())?;
        }
        write("scheduler/scheduler_config.json", scheduler())?;
        write("unet/config.json", self.unet())?;
        write("text_encoder/config.json", self.text_encoder("CLIPTextModel"))?;
        write("text_encoder_2/config.json", self.text_encoder("CLIPTextModelWithProjection"))?;
        self.write_weights(&folder.join("text_encoder/model.safetensors"), 64, false)?;
        self.write_weights(&folder.join("text_encoder_2/model.safetensors"), 65, true)
    }

    fn tokenizer(&self) -> Value {
        let special = SPECIAL.iter().enumerate().map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true,
            })
        });
        let words = SPECIAL.iter().chain(self.words.iter()).enumerate();
        let vocabulary: serde_json::Map<String, Value> =
            words.map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
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

    fn tokenizer_config(&self) -> Value {
        json!({
            "bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "unk_token": SPECIAL[2], "pad_token": SPECIAL[1],
            "model_max_length": self.length, "tokenizer_class": "PreTrainedTokenizerFast",
        })
    }

    fn unet(&self) -> Value {
        json!({
            "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1",
            "sample_size": self.edge, "in_channels": 3, "out_channels": 3,
            "down_block_types": self.down,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "up_block_types": self.up,
            "block_out_channels": self.channels, "layers_per_block": 1, "attention_head_dim": 4,
            "cross_attention_dim": 2 * WIDTH, "addition_embed_type": "text_time", "addition_time_embed_dim": TIME_WIDTH,
            "projection_class_embeddings_input_dim": WIDTH + 6 * TIME_WIDTH, "norm_num_groups": 8, "norm_eps": 1e-5, "act_fn": "silu",
            "use_linear_projection": true, "flip_sin_to_cos": true, "freq_shift": 0, "center_input_sample": false,
            "downsample_padding": 1, "mid_block_scale_factor": 1,
        })
    }

    fn text_encoder(&self, class: &str) -> Value {
        json!({
            "architectures": [class], "model_type": "clip_text_model",
            "vocab_size": SPECIAL.len() + self.words.len(), "hidden_size": WIDTH, "intermediate_size": INNER,
            "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": self.length, "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "projection_dim": WIDTH,
        })
    }

    /// Weights from a fixed seed: words far apart, positions weak beside them; attention looks at all words about alike and
    /// carries them on, so that the end token, whose state is pooled, tells which words there were.
    fn write_weights(&self, path: &Path, seed: u64, has_projection: bool) -> Result<(), Box<dyn Error>> {
        let layer = "text_model.encoder.layers.0";
        let mut shapes: BTreeMap<String, (Vec<usize>, f64)> = BTreeMap::new();
        let mut add = |name: String, shape: &[usize], deviation| shapes.insert(name, (shape.to_vec(), deviation));
        add("text_model.embeddings.token_embedding.weight".into(), &[SPECIAL.len() + self.words.len(), WIDTH], 1.0);
        add("text_model.embeddings.position_embedding.weight".into(), &[self.length, WIDTH], 0.2);
        for (name, deviation) in [("q_proj", 0.02), ("k_proj", 0.02), ("v_proj", 0.25), ("out_proj", 0.25)] {
            add(format!("{layer}.self_attn.{name}.weight"), &[WIDTH, WIDTH], deviation);
            add(format!("{layer}.self_attn.{name}.bias"), &[WIDTH], 0.0);
        }
        for (name, shape) in [("fc1", [INNER, WIDTH]), ("fc2", [WIDTH, INNER])] {
            add(format!("{layer}.mlp.{name}.weight"), &shape, 0.08);
            add(format!("{layer}.mlp.{name}.bias"), &shape[..1], 0.0);
        }
        for name in
            [format!("{layer}.layer_norm1"), format!("{layer}.layer_norm2"), "text_model.final_layer_norm".into()]
        {
            // The weight of a norm is one: written below.
            add(format!("{name}.weight"), &[WIDTH], f64::NAN);
            add(format!("{name}.bias"), &[WIDTH], 0.0);
        }
        if has_projection {
            add("text_projection.weight".into(), &[WIDTH, WIDTH], 0.125);
        }
        let mut rng = Rng::seed_from_u64(seed);
        let bytes = shapes.iter().map(|(name, (shape, deviation))| {
            let values = (0..shape.iter().product::<usize>()).flat_map(|_| {
                let value = if deviation.is_nan() { 1.0 } else { deviation * normal(&mut rng) };
                (value as f32).to_le_bytes()
            });
            (name.clone(), shape.clone(), values.collect::<Vec<u8>>())
        });
        let bytes: Vec<_> = bytes.collect();
        let views =
            bytes.iter().map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)));
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into_iter().collect());
        Ok(fs::write(path, safetensors::serialize(views, metadata)?)?)
    }
}

fn model_index() -> Value {
    json!({
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": "0.42.1",
        "force_zeros_for_empty_prompt": true,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": [null, null],
    })
}

/// Flow matching with most of its timesteps noisy: flat shapes of a few pixels show through so much noise that a usual
/// schedule leaves captions next to nothing to tell.
fn scheduler() -> Value {
    json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.42.1",
        "num_train_timesteps": 1000, "shift": 5.0, "use_dynamic_shifting": false,
    })
}

/// A standard normal draw, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let mut unit = || ((rng.next_u64() >> 11) as f64 + 0.5) * 2f64.powi(-53);
    let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
    radius * angle.cos()
}

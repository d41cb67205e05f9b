//! The components of a diffusers folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::dit::{DIT_PIPELINE, PIXART_PIPELINES};
use super::{ACCEPTED, Component, DENOISERS};
use crate::ModelError;
use crate::denoiser::DenoiserConfig;
use crate::fields::declared::Kind::{Any, Flag};
use crate::fields::declared::{Table, harmless, honoured};
use crate::fields::nearest_first;
use crate::formats::extras::read_object;

/// The parts a pipeline needs, each with the classes that are built; none listed means any.
type RequiredComponents = &'static [(&'static str, &'static [&'static str])];

const UNCONDITIONAL: RequiredComponents = &[("unet", &["UNet2DModel"]), ("scheduler", &[])];
const TOKENIZERS: &[&str] = &["CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"];
const SD: RequiredComponents = &[
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel", "CLIPTextModelWithProjection"]),
    ("tokenizer", TOKENIZERS),
    ("scheduler", &[]),
];
const SDXL: RequiredComponents = &[
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel", "CLIPTextModelWithProjection"]),
    ("text_encoder_2", &["CLIPTextModelWithProjection"]),
    ("tokenizer", TOKENIZERS),
    ("tokenizer_2", TOKENIZERS),
    ("scheduler", &[]),
];
const T5_TOKENIZERS: &[&str] = &["T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"];
const PIXART: RequiredComponents = &[
    ("transformer", &["PixArtTransformer2DModel", "Transformer2DModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["T5EncoderModel"]),
    ("tokenizer", T5_TOKENIZERS),
    ("scheduler", &[]),
];
const DIT: RequiredComponents = &[
    ("transformer", &["DiTTransformer2DModel", "Transformer2DModel"]),
    ("vae", &["AutoencoderKL"]),
    ("scheduler", &[]),
];
/// The pipeline of Stable Diffusion 3 and 3.5.
pub(super) const SD3_PIPELINE: &str = "StableDiffusion3Pipeline";
/// The tokens of that pipeline's third text encoder (T5), which are zeros without it.
pub(super) const T5_LENGTH: usize = 256;
const SD3: RequiredComponents = &[
    ("transformer", &["SD3Transformer2DModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModelWithProjection"]),
    ("text_encoder_2", &["CLIPTextModelWithProjection"]),
    ("text_encoder_3", &["T5EncoderModel"]),
    ("tokenizer", TOKENIZERS),
    ("tokenizer_2", TOKENIZERS),
    ("tokenizer_3", T5_TOKENIZERS),
    ("scheduler", &[]),
];
/// The pipeline of FLUX.1.
pub(super) const FLUX_PIPELINE: &str = "FluxPipeline";
/// The tokens of that pipeline's second text encoder (T5).
pub(super) const FLUX_T5_LENGTH: usize = 512;
const FLUX: RequiredComponents = &[
    ("transformer", &["FluxTransformer2DModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel", "CLIPTextModelWithProjection"]),
    ("text_encoder_2", &["T5EncoderModel"]),
    ("tokenizer", TOKENIZERS),
    ("tokenizer_2", T5_TOKENIZERS),
    ("scheduler", &[]),
];
/// The pipeline of Z-Image.
pub(super) const ZIMAGE_PIPELINE: &str = "ZImagePipeline";
const ZIMAGE: RequiredComponents = &[
    ("transformer", &["ZImageTransformer2DModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["Qwen3Model", "Qwen3ForCausalLM"]),
    ("tokenizer", &["Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"]),
    ("scheduler", &[]),
];
/// The parts that may be absent: without an autoencoder the model generates pixels, without the third text encoder it
/// reads zeros in its place.
const OPTIONAL: [&str; 3] = ["vae", "text_encoder_3", "tokenizer_3"];
/// The same of PixArt, which may be trained from encoded captions alone.
const OPTIONAL_OF_PIXART: [&str; 2] = ["text_encoder", "tokenizer"];
const PIPELINES: [(&str, RequiredComponents, Table); 10] = [
    ("StableDiffusionPipeline", SD, SD_FIELDS),
    ("StableDiffusionXLPipeline", SDXL, SDXL_FIELDS),
    (SD3_PIPELINE, SD3, SD3_FIELDS),
    (FLUX_PIPELINE, FLUX, FLUX_FIELDS),
    (ZIMAGE_PIPELINE, ZIMAGE, ONE_ENCODER_FIELDS),
    (PIXART_PIPELINES[0].0, PIXART, ONE_ENCODER_FIELDS),
    (PIXART_PIPELINES[1].0, PIXART, ONE_ENCODER_FIELDS),
    (DIT_PIPELINE, DIT, DIT_FIELDS),
    ("DDPMPipeline", UNCONDITIONAL, UNCONDITIONAL_FIELDS),
    ("DDIMPipeline", UNCONDITIONAL, UNCONDITIONAL_FIELDS),
];

const UNCONDITIONAL_FIELDS: Table = Table(&[honoured("unet", Any), honoured("scheduler", Any)]);
const SD_FIELDS: Table = Table(&[
    honoured("unet", Any),
    honoured("vae", Any),
    honoured("text_encoder", Any),
    honoured("tokenizer", Any),
    honoured("scheduler", Any),
    // Generated pictures are not checked.
    harmless("safety_checker", Any),
    harmless("requires_safety_checker", Flag),
    harmless("feature_extractor", Any),
    // For image prompts.
    harmless("image_encoder", Any),
]);
const SDXL_FIELDS: Table = Table(&[
    honoured("unet", Any),
    honoured("vae", Any),
    honoured("text_encoder", Any),
    honoured("text_encoder_2", Any),
    honoured("tokenizer", Any),
    honoured("tokenizer_2", Any),
    honoured("scheduler", Any),
    honoured("force_zeros_for_empty_prompt", Flag),
    // No watermark is added, as in diffusers without that package.
    harmless("add_watermarker", Flag),
    // For image prompts.
    harmless("feature_extractor", Any),
    harmless("image_encoder", Any),
]);

const SD3_FIELDS: Table = Table(&[
    honoured("transformer", Any),
    honoured("vae", Any),
    honoured("text_encoder", Any),
    honoured("text_encoder_2", Any),
    honoured("text_encoder_3", Any),
    honoured("tokenizer_3", Any),
    honoured("tokenizer", Any),
    honoured("tokenizer_2", Any),
    honoured("scheduler", Any),
    // For image prompts.
    harmless("feature_extractor", Any),
    harmless("image_encoder", Any),
]);

const FLUX_FIELDS: Table = Table(&[
    honoured("transformer", Any),
    honoured("vae", Any),
    honoured("text_encoder", Any),
    honoured("text_encoder_2", Any),
    honoured("tokenizer", Any),
    honoured("tokenizer_2", Any),
    honoured("scheduler", Any),
    // For image prompts.
    harmless("feature_extractor", Any),
    harmless("image_encoder", Any),
]);

/// Of Z-Image and PixArt: one text encoder.
const ONE_ENCODER_FIELDS: Table = Table(&[
    honoured("transformer", Any),
    honoured("vae", Any),
    honoured("text_encoder", Any),
    honoured("tokenizer", Any),
    honoured("scheduler", Any),
]);

const DIT_FIELDS: Table = Table(&[
    honoured("transformer", Any),
    honoured("vae", Any),
    honoured("scheduler", Any),
    // The names of classes.
    honoured("id2label", Any).or_null(),
]);

/// Whether a class of diffusers is that of a network that denoises, built or not.
pub(super) fn is_denoiser_class(class: &str) -> bool {
    class.starts_with("UNet") || class.ends_with("Transformer2DModel") || class.ends_with("Transformer3DModel")
}

/// The pipeline of a `model_index.json` and its required components.
///
/// Other listed components (a safety checker) are not loaded; saving copies them.
pub(super) fn parts(path: &Path, index: &Value) -> Result<(String, BTreeMap<String, Component>), ModelError> {
    let file = path.join("model_index.json");
    let Some(pipeline) = index["_class_name"].as_str() else {
        return Err(ModelError::format(&file, "`_class_name` must name a pipeline"));
    };
    let Some((_, needs, fields)) = PIPELINES.iter().find(|(name, ..)| *name == pipeline) else {
        let supported = nearest_first(pipeline, &PIPELINES.map(|(name, ..)| name));
        let reason = format!("pipeline `{pipeline}` is not built; supported: {supported}");
        return Err(ModelError::format(&file, reason));
    };
    if let Some(Err(misfit)) = index.as_object().map(|index| fields.check_kinds(index)) {
        return Err(ModelError::format(&file, format!("`{}`: {}", misfit.key, misfit.reason)));
    }
    let mut parts = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, classes) in *needs {
        // diffusers writes an intentionally absent component so.
        let may_be_absent = OPTIONAL.contains(name) || is_pixart(pipeline) && OPTIONAL_OF_PIXART.contains(name);
        if may_be_absent && index[*name] == json!([null, null]) {
            continue;
        }
        let Some(class) = index[*name][1].as_str() else {
            missing.push(format!("`{name}` is not in it"));
            continue;
        };
        if !classes.is_empty() && !classes.contains(&class) {
            let reason = format!("`{name}` is a {class}, which is not built; supported: {}", classes.join(", "));
            return Err(ModelError::format(&file, reason));
        }
        let folder = path.join(name);
        if folder.is_dir() {
            parts.insert((*name).to_owned(), Component { class: class.to_owned(), path: folder });
        } else {
            missing.push(format!("sub-folder {name}/ ({class}) is not there"));
        }
    }
    if missing.is_empty() {
        return Ok((pipeline.to_owned(), parts));
    }
    Err(ModelError::format(&file, format!("a {pipeline} is incomplete: {}", missing.join("; "))))
}

fn is_pixart(pipeline: &str) -> bool {
    PIXART_PIPELINES.iter().any(|(name, _)| *name == pipeline)
}

/// A standalone network: `config.json` here, or in `unet/` or `transformer/`, with an optional scheduler beside it.
pub(super) fn parts_without_index(path: &Path) -> Result<BTreeMap<String, Component>, ModelError> {
    let nested = DENOISERS.map(|name| path.join(name));
    let nested = nested.iter().find(|folder| folder.join("config.json").is_file());
    let folder = nested.filter(|_| !path.join("config.json").is_file()).map_or(path, |folder| folder);
    let config = folder.join("config.json");
    if !config.is_file() && path.join("config.toml").is_file() && path.join("checkpoints").is_dir() {
        let run = path.display();
        let reason = format!(
            "a run that has not finished, so there is no model/ yet; go on with: `recipes::train` `resume` {run}"
        );
        return Err(ModelError::format(path, reason));
    }
    if !config.is_file() {
        return Err(ModelError::format(
            path,
            format!("neither model_index.json nor the config.json of a network; {ACCEPTED}"),
        ));
    }
    let class = read_object(&config)?["_class_name"].as_str().unwrap_or("(none)").to_owned();
    let Some(component) = DenoiserConfig::component_of(&class) else {
        let supported = DenoiserConfig::nearest(&class);
        let reason = format!("class `{class}` is not a denoiser that is built; supported: {supported}");
        return Err(ModelError::format(&config, reason));
    };
    let mut parts = BTreeMap::from([(component.to_owned(), Component { class, path: folder.to_path_buf() })]);
    for scheduler in [path.join("scheduler"), path.with_file_name("scheduler")] {
        let settings = scheduler.join("scheduler_config.json");
        if settings.is_file() && !parts.contains_key("scheduler") {
            let class = read_object(&settings)?["_class_name"].as_str().unwrap_or_default().to_owned();
            parts.insert("scheduler".to_owned(), Component { class, path: scheduler });
        }
    }
    Ok(parts)
}

/// The class in a folder's `config.json`, if it can be read.
pub(super) fn class_of(folder: &Path) -> Option<String> {
    let config = read_object(&folder.join("config.json")).ok()?;
    config["_class_name"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::declared::golden;

    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        for (name, needs, table) in PIPELINES {
            golden::check(name, table);
            let fields = golden::declared(name);
            assert!(needs.iter().all(|(part, _)| fields[*part] == "required"), "{name}");
        }
    }
}

//! Loads denoisers by name.
mod names;
mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use datasets::Message;
use datasets::images::Pixels;
use engine::Noise;
use engine::lora::{LoraConfig, LoraExtra};
use engine::ops::Grid;
use engine::transfer::{from_host, to_host};
use mdp::diffusion::{Latent, NoiseLevel};
use models::ModelError;
use models::clip::TextConditioner;
use models::denoiser::{Denoiser, DenoiserConfig, Framing, LatentShape, SamplerConfig};
use models::formats::{
    DenoiserFiles, DiffusersExport, DiffusersFolder, SaveOptions, load_denoiser, load_denoiser_lora,
    merge_denoiser_lora,
};
use models::sampler::{Sampler, Variance};
use models::scheduler::Scheduler;
use models::vae::Vae;
use serde_json::Map;
use tempfile::TempDir;

use crate::embedded::{ModelKind, find_model, is_embedded};
use crate::settings::{Field, OptimizerName, Scheme, Settings, Values, at};
use crate::{Failure, adapters, model, torchscript};

use names::base_and_adapter;
pub(crate) use names::{LORA_FILE, base_of, embeds_guidance, is_one, named_base};
pub(crate) use schedule::{plan, scored_plan};
use schedule::{sampler, scheduler};

/// The usual settings of a denoiser's loss and optimiser; docs/diffusion.md has the units of beta.
fn general(settings: &mut Settings) {
    settings.objective.beta = 2000.0;
    settings.optimizer.name = OptimizerName::Adamw;
    settings.optimizer.lr = 1e-6;
}

/// Defaults of runs and scores of denoisers.
pub(crate) fn general_presets(values: &mut Values) {
    values.preset(general);
}

/// A denoiser with its scheduler, autoencoder and text encoders.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) files: DenoiserFiles,
    pub(crate) scheduler: Scheduler,
    pub(crate) texts: Option<Arc<TextConditioner>>,
    pub(crate) vae: Option<Arc<Vae>>,
    folder: DiffusersFolder,
    /// An embedded model's files, which export copies.
    _embedded: Option<TempDir>,
}

/// Loads the model that `model.model` or `model.reference` names.
pub(crate) fn load(name: &str, values: &Values) -> Result<Loaded, Failure> {
    if let Some(path) = torchscript::of_name(name)? {
        let (files, settings) = torchscript::denoiser(&path, values)?;
        let (scheduler, folder) = (schedule::of_torchscript(&path, &settings)?, DiffusersFolder::bare(&path));
        let (texts, vae) = (None, None);
        return Ok(Loaded { name: name.to_owned(), files, scheduler, texts, vae, folder, _embedded: None });
    }
    let device = crate::device::open(values)?;
    let (base, adapter) = base_and_adapter(name)?;
    let base = base.as_str();
    let (path, embedded, is_trained) = if is_embedded(base) {
        let (model, is_trained) = find_model(base, ModelKind::Denoiser)?;
        let folder = model.unpacked()?;
        (folder.path().to_owned(), Some(folder), is_trained)
    } else {
        (PathBuf::from(base), None, true)
    };
    let mut folder = DiffusersFolder::open(&path)?;
    let mut files = if is_trained {
        load_denoiser(folder.denoiser(), &device)?
    } else {
        untrained(base, &folder, &device, values)?
    };
    if let Some(adapter) = adapter {
        let lora = load_denoiser_lora(&adapter, &files.config, &device)?;
        merge_denoiser_lora(&lora, &mut files.tensors)?;
        folder = folder.with_text_adapters(&lora)?;
    }
    let (texts, vae) = (conditioner(&folder, &device)?.map(Arc::new), folder.vae(&device)?.map(Arc::new));
    if files.config.embedded_guidance().is_some()
        && let Some(guidance) = values.sample.guidance()
    {
        let wrong = |_| Failure::usage(format!("`sample.guidance` takes a number from 0 up, not {guidance}"));
        files.config = files.config.with_guidance(guidance).map_err(wrong)?;
    }
    let scheduler = scheduler(&folder, &files.config, values)?;
    Ok(Loaded { name: name.to_owned(), files, scheduler, texts, vae, folder, _embedded: embedded })
}

/// The text encoders of a folder; a language model reads prompts in the frame of its chat template.
fn conditioner(folder: &DiffusersFolder, device: &Device) -> Result<Option<TextConditioner>, Failure> {
    let Some(encoder) = folder.language_encoder(device)? else { return Ok(folder.conditioner(device)?) };
    let (tokenizer, path) = (encoder.tokenizer(), encoder.tokenizer().path.clone());
    let wrong = move |reason: String| ModelError::Tokenizer { path: path.clone(), reason };
    let template = model::template(tokenizer, false).map_err(|error| wrong(error.to_string()))?;
    let template =
        template.ok_or_else(|| wrong("it has no chat template, in which the pipeline reads prompts".into()))?;
    // As the pipeline renders its prompts.
    let thinks = Map::from_iter([("enable_thinking".to_owned(), true.into())]);
    let framing = move |prompt: &str| {
        let rendered = template.render(&[Message::new("user", prompt)], true, &thinks);
        rendered.map_err(|error| wrong(error.to_string()))
    };
    Ok(Some(TextConditioner::of_encoder(encoder.with_framing(framing))))
}

/// Loads `model.reference` for a model. Prediction type, noise schedule and encoders must match, or errors are not
/// comparable.
pub(crate) fn load_reference(name: &str, model: &Loaded, values: &Values) -> Result<Loaded, Failure> {
    load_alike(name, &at::model::reference, model, values)
}

/// Loads the denoiser that a setting names.
pub(crate) fn load_alike(name: &str, field: &Field, model: &Loaded, values: &Values) -> Result<Loaded, Failure> {
    let reference = load(name, values)?;
    let (own, other) = (&model.scheduler, &reference.scheduler);
    let what = if own.prediction != other.prediction {
        format!("{field} {name} predicts {:?}, `model.model` {} {:?}", other.prediction, model.name, own.prediction)
    } else if own.schedule != other.schedule {
        format!("{field} {name} has another noise schedule than `model.model` {}", model.name)
    } else if reference.texts.is_some() && reference.encoders_fingerprint()? != model.encoders_fingerprint()? {
        let text = format!(
            "{field} {name} has other text encoders or another autoencoder than `model.model` {}: the two would not be told \
             or make the same",
            model.name
        );
        return Err(Failure::failed(text));
    } else {
        return Ok(reference);
    };
    Err(Failure::failed(format!(
        "{what}: their errors can't be compared; `model.scheduler` FILE gives both the same noise"
    )))
}

/// A randomly initialised network of the embedded model's shape, from the seed.
fn untrained(name: &str, folder: &DiffusersFolder, device: &Device, values: &Values) -> Result<DenoiserFiles, Failure> {
    let path = folder.denoiser().join("config.json");
    let config = DenoiserConfig::from_json(serde_json::from_str(&std::fs::read_to_string(path)?)?)?;
    let noise = Noise::new(values.run.seed());
    let tensors = config.initial_tensors(&noise, device)?;
    Ok(DenoiserFiles { path: name.into(), config, tensors, stored: DType::F32 })
}

impl Loaded {
    /// The latent shape that a model generates unless data sets another: `data.image_size`, or the network's own.
    pub(crate) fn shape(&self, values: &Values) -> Result<LatentShape, Failure> {
        let channels = self.files.config.in_channels();
        let factor = self.vae.as_ref().map_or(1, |vae| vae.config().factor());
        if let Some(size) = values.data.image_size() {
            let unit = factor * self.files.config.patch();
            if size == 0 || !size.is_multiple_of(unit) {
                return Err(Failure::usage(format!("`data.image_size` {size} is no positive multiple of {unit}")));
            }
            return Ok(LatentShape { height: size / factor, width: size / factor, channels });
        }
        match self.files.config.sample_size() {
            Some((height, width)) => Ok(LatentShape { height, width, channels }),
            None => {
                Err(Failure::usage(format!("{}: its config names no sample_size: give `data.image_size`", self.name)))
            }
        }
    }

    /// A frozen denoiser.
    pub(crate) fn frozen(&self, shape: LatentShape, acting: SamplerConfig) -> Result<Denoiser, Failure> {
        Ok(self.files.clone().frozen(self.scheduler.prediction, shape, acting)?)
    }

    /// The side length of its pictures; an autoencoder makes them larger than the latents.
    pub(crate) fn picture_size(&self, values: &Values) -> Result<usize, Failure> {
        let factor = self.vae.as_ref().map_or(1, |vae| vae.config().factor());
        Ok(self.shape(values)?.height * factor)
    }

    /// The components of its folder by name, each with its class.
    pub(crate) fn components(&self) -> impl Iterator<Item = (&str, &str)> {
        self.folder.components().map(|(name, part)| (name, part.class.as_str()))
    }

    /// Whether it can sample pictures: it takes text prompts or is unconditional.
    pub(crate) fn takes_prompts(&self) -> bool {
        self.texts.is_some() || self.files.config.is_unconditional()
    }

    /// Whether `sample` can make pictures with it.
    pub(crate) fn makes_pictures(&self) -> bool {
        self.takes_prompts() && (self.vae.is_some() || [1, 3].contains(&self.files.config.in_channels()))
    }

    /// The width of the text hidden states for cross-attention, if the network has it.
    pub(crate) fn context_width(&self) -> Option<usize> {
        self.files.config.context_width()
    }

    /// The width of the pooled text that the network reads, if it reads one.
    pub(crate) fn pooled_width(&self) -> Option<usize> {
        self.files.config.pooled_width()
    }

    /// The guidance of its predictions: classifier-free as its pipeline counts it, or the number that a distilled network is told of.
    pub(crate) fn guidance(&self, values: &Values) -> f64 {
        let config = &self.files.config;
        config.embedded_guidance().unwrap_or_else(|| values.sample.guidance().unwrap_or_else(|| config.no_guidance()))
    }

    /// A one-line description.
    pub(crate) fn describe(&self, shape: LatentShape) -> String {
        let n: usize = self.files.tensors.values().map(Tensor::elem_count).sum();
        let class = self.files.config.class();
        let (prediction, timesteps) = (self.scheduler.prediction, self.scheduler.schedule.len());
        let dropout = self.files.config.to_json()["dropout"].as_f64().filter(|dropout| *dropout > 0.0);
        let dropout = dropout.map_or_else(String::new, |dropout| format!("; its dropout of {dropout} is not applied"));
        let variance =
            if self.files.config.predicts_variance() { "; the variance that it predicts too is dropped" } else { "" };
        let n = n as f64 / 1e6;
        format!(
            "{class}, {n:.1}M parameters, {prediction:?} prediction, {timesteps} timesteps, {shape}{dropout}{variance}"
        )
    }

    /// The class of its pipeline, or of its network alone.
    pub(crate) fn class(&self) -> &str {
        self.folder.pipeline.as_deref().unwrap_or(self.files.config.class())
    }

    /// The exporter of its network with the other parts of its folder.
    pub(crate) fn exporter(&self, save: SaveOptions) -> DiffusersExport {
        let (folder, scheduler) = (Some(self.folder.clone()), Some(self.scheduler.text().to_owned()));
        DiffusersExport { folder, scheduler, base: self.name.clone(), save }
    }

    /// The fingerprint of the encoders of images and texts, for keys of caches.
    pub(crate) fn encoders_fingerprint(&self) -> Result<String, Failure> {
        let encoders = ["text_encoder", "text_encoder_2", "text_encoder_3"];
        let parts = [&["vae"][..], &encoders, &["tokenizer", "tokenizer_2", "tokenizer_3"]].concat();
        Ok(self.folder.fingerprint(&parts)?)
    }
}

/// The denoiser to train. A base with an adapter continues training that adapter if adapters are configured.
pub(crate) fn learner(
    loaded: &Loaded,
    shape: LatentShape,
    acting: SamplerConfig,
    values: &Values,
) -> Result<Denoiser, Failure> {
    if let DenoiserConfig::External(_) = loaded.files.config {
        torchscript::check_training(&loaded.files.path, values)?;
    }
    let requested = adapters::lora_config(values, loaded.files.config.lora_targets())?;
    let (mut files, mut name, mut lora, mut tensors) = (loaded.files.clone(), loaded.name.clone(), requested, None);
    if let (Some(requested), (base, Some(adapter))) = (&lora, base_and_adapter(&loaded.name)?) {
        let base = load(&base, values)?;
        if base_and_adapter(&base.name)?.1.is_some() {
            return Err(adapters::refuse_nested(&adapter.display().to_string(), &base.name));
        }
        let device = crate::device::open(values)?;
        let trained = load_denoiser_lora(&adapter, &base.files.config, &device)?.trained(&base.files.config)?;
        let layers = base.files.config.adaptable_layers();
        adapters::refuse_other(requested, &trained.config, &layers, &adapter.display().to_string(), values)?;
        (files, name, lora, tensors) = (base.files, base.name, Some(trained.config), Some(trained.tensors));
    }
    if let Some(lora) = lora.as_ref().filter(|lora| lora.extra == LoraExtra::Bias) {
        check_biased(lora, &files)?;
    }
    let training = model::training(values, lora)?;
    // The adapter file must find its base from any working directory.
    let is_here = Path::new(&name).exists();
    let name = if is_here { std::path::absolute(&name)?.display().to_string() } else { name };
    let exporter = DiffusersExport { base: name, ..loaded.exporter(model::save_options(values, DType::F32)) };
    let denoiser = files.trainable(loaded.scheduler.prediction, shape, acting, training)?;
    let denoiser = denoiser.with_exporter(exporter);
    Ok(match tensors {
        Some(tensors) => denoiser.with_adapters(&tensors)?,
        None => denoiser,
    })
}

/// Refuses adapters with a bias on layers without one: a denoiser's adapters are merged when they are loaded.
fn check_biased(lora: &LoraConfig, files: &DenoiserFiles) -> Result<(), Failure> {
    let layers = files.config.adaptable_layers();
    let mut without = layers.iter().filter(|layer| !files.tensors.contains_key(&format!("{}.bias", layer.name)));
    match without.find(|layer| lora.is_target(layer)) {
        Some(layer) => Err(Failure::usage(format!(
            "`model.lora_bias`: {} has no bias, to which that of an adapter is added when it is merged; \
             `model.lora_targets` may name layers that have one",
            layer.name
        ))),
        None => Ok(()),
    }
}

/// Whether the model's own adapter continues training; see [`model::continues_adapter`].
pub(crate) fn continues_adapter(loaded: &Loaded, values: &Values) -> Result<bool, Failure> {
    Ok(values.model.lora_rank().is_some() && base_and_adapter(&loaded.name)?.1.is_some())
}

/// The denoiser before training.
pub(crate) fn start(
    loaded: &Loaded,
    shape: LatentShape,
    acting: SamplerConfig,
    values: &Values,
) -> Result<Denoiser, Failure> {
    if continues_adapter(loaded, values)? {
        return Ok(learner(loaded, shape, acting, values)?.frozen_copy()?);
    }
    loaded.frozen(shape, acting)
}

/// The sampler that draws or scores a denoiser's next latents.
pub(crate) fn acting(values: &Values, loaded: &Loaded, shape: LatentShape) -> Result<SamplerConfig, Failure> {
    let sampler = match values.diffusion.scheme() {
        // One step of the full schedule, with the variance of q(x_{t-1} | x_t, x_0).
        Scheme::Half => Sampler::Ddpm { variance: Variance::Small },
        Scheme::Forward | Scheme::Trajectory => sampler(values, &loaded.scheduler)?,
    };
    let number = loaded.guidance(values);
    let guidance = match (&loaded.texts, loaded.files.config.guidance_factor(number)) {
        // It is told of it as a number.
        _ if loaded.files.config.embedded_guidance().is_some() => None,
        // As in diffusers' pipelines, guidance applies only above a factor of 1.
        (_, 1.0) => None,
        (Some(_), scale) if (0.0..1.0).contains(&scale) => None,
        (Some(texts), scale) if scale.is_finite() && scale > 1.0 => Some((scale, texts.none(framing(loaded, shape))?)),
        (None, _) => return Err(Failure::usage("`sample.guidance` is for models that read texts")),
        _ => return Err(Failure::usage(format!("`sample.guidance` takes a number from 0 up, not {number}"))),
    };
    let last = match values.diffusion.scheme() {
        Scheme::Trajectory => loaded.scheduler.last_level(sampler)?,
        Scheme::Forward | Scheme::Half => NoiseLevel::IMAGE,
    };
    Ok(SamplerConfig { sampler, last, clip: None, guidance })
}

/// The size conditioning of an SDXL model.
pub(crate) fn framing(loaded: &Loaded, shape: LatentShape) -> Framing {
    let factor = loaded.vae.as_ref().map_or(1, |vae| vae.config().factor());
    Framing::whole(shape.height * factor, shape.width * factor)
}

/// Decodes a latent to a picture.
pub(crate) fn decode(vae: Option<&Vae>, shape: LatentShape, latent: &Latent) -> Result<Pixels, Failure> {
    let grid = Grid { images: 1, height: shape.height, width: shape.width };
    let Some(vae) = vae else { return to_pixels(shape.height, shape.width, shape.channels, latent) };
    let rows = from_host(latent.to_vec(), (grid.rows(), shape.channels), &vae.device())?;
    let (pixels, grid) = vae.decode(&vae.from_denoiser(&rows)?, grid)?;
    let values = to_host::<f32>(&pixels)?;
    to_pixels(grid.height, grid.width, vae.config().in_channels, &values)
}

/// A picture of one channel (grey) or three.
fn to_pixels(height: usize, width: usize, channels: usize, values: &[f32]) -> Result<Pixels, Failure> {
    match channels {
        3 => Ok(Pixels::new(height, width, values)?),
        1 => Ok(Pixels::from_fn(height, width, |row, column, _| values[row * width + column])),
        n => Err(Failure::failed(format!("latents of {n} channels are no picture, and the model has no vae/"))),
    }
}

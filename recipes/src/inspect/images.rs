//! Inspection of denoisers, pictures, latents and trajectories.
use std::path::Path;

use candle_core::Tensor;
use datasets::images::{ImageKind, ImageSettings, Latents, TensorKind, TrajectoryFile, picture_kind, tensor_kind};
use models::denoiser::{DenoiserConfig, LatentShape};

use super::{DataAudit, Description};
use crate::Failure;
use crate::denoiser;
use crate::embedded::{EmbeddedImages, is_embedded, owner};
use crate::images::Captions;
use crate::images::files::{audit, preparation, reading};
use crate::settings::{Modality, Values};
use crate::text::Part;

/// The default size for inspecting pictures, that of Stable Diffusion.
const SIZE: usize = 512;

/// More timesteps than any schedule has.
const MANY: usize = 1 << 20;

/// Whether data is pictures; unreadable data is reported by its reader.
pub(super) fn is_pictures(name: &str) -> bool {
    owner(name, Modality::Diffusion).is_some() || matches!(picture_kind(Path::new(name)), Ok(Some(_)))
}

/// Describes a denoiser and its components.
pub(super) fn inspect_denoiser(name: &str, values: &Values) -> Result<Description, Failure> {
    let loaded = denoiser::load(name, values)?;
    let files = &loaded.files;
    let n: usize = files.tensors.values().map(Tensor::elem_count).sum();
    let config = &files.config;
    let shape = match loaded.shape(values) {
        Ok(shape) => shape.to_string(),
        Err(_) => format!("of any size, {} channels", config.in_channels()),
    };
    let widths = match config {
        DenoiserConfig::UNet(unet) => {
            unet.levels.iter().map(|level| level.width.to_string()).collect::<Vec<_>>().join(", ")
        }
        DenoiserConfig::Sd3(network) => format!("{}, {} blocks", network.width(), network.n_layers),
        DenoiserConfig::ZImage(network) => {
            format!("{}, {} blocks behind {} refiners", network.width, network.n_layers, network.n_refiners)
        }
        DenoiserConfig::Flux(network) => {
            format!("{}, {} blocks and {} single", network.width(), network.n_layers, network.n_single_layers)
        }
        DenoiserConfig::Dit(network) => format!("{}, {} blocks", network.width(), network.n_layers),
        DenoiserConfig::External(_) => "those of the TorchScript".to_owned(),
    };
    let parts: Vec<String> = loaded.components().map(|(part, class)| format!("{part} ({class})")).collect();
    let prediction = format!("{:?}", loaded.scheduler.prediction).to_lowercase();
    Ok(Description::with_rows(
        name,
        [
            ("class", config.class().to_owned()),
            ("parameters", format!("{n} ({:.1} MB in f32)", n as f64 * 4.0 / 1e6)),
            ("widths", widths),
            ("images", shape),
            ("prediction", prediction),
            ("timesteps", loaded.scheduler.schedule.len().to_string()),
            ("scheduler", format!("{:?}", loaded.scheduler.kind)),
            ("reads texts", if loaded.texts.is_some() { "yes" } else { "no" }.to_owned()),
            ("parts", parts.join(", ")),
        ],
    ))
}

/// The audit of pictures, at the size of a model or `data.image_size`.
pub(super) fn inspect_pictures(data: &str, model: Option<&str>, values: &Values) -> Result<Description, Failure> {
    if is_embedded(data) {
        let named = EmbeddedImages::all().find(|(images, _)| images.name == data);
        let edge = named.or_else(|| EmbeddedImages::all().next()).map_or(0, |(images, _)| images.edge);
        return Ok(Description::of(format!(
            "{data}: drawn when it is asked for, {edge}x{edge} pictures with captions; see docs/diffusion.md"
        )));
    }
    let model = model.map(|model| denoiser::load(model, values)).transpose()?;
    let size = match (values.data.image_size(), &model) {
        (Some(size), _) => size,
        (None, Some(model)) => model.picture_size(values)?,
        (None, None) => SIZE,
    };
    if size == 0 {
        return Err(Failure::usage("`data.image_size` takes at least 1"));
    }
    let path = Path::new(data);
    let reading = reading(Part::Train, values)?;
    let kind = picture_kind(path)?.unwrap_or(ImageKind::Pairs);
    let settings = ImageSettings { kind, size, preparation: preparation(values), flip: None };
    let pictures = datasets::images::open(path, reading, settings)?;
    let audit = match &model {
        Some(model) => audit(&pictures, &Captions::new(model, LatentShape { height: size, width: size, channels: 1 }))?,
        None => pictures.audit().clone(),
    };
    Ok(Description::audited(format!("{data}, pictures"), DataAudit::Pictures(Box::new(audit))))
}

/// Describes a tensor file: latents, draws or trajectories.
pub(super) fn inspect_tensors(name: &str) -> Result<Description, Failure> {
    let path = Path::new(name);
    Ok(match tensor_kind(path)? {
        TensorKind::Latents(kind) => {
            let latents = Latents::open(path, kind)?;
            let told = latents.get(0)?.chosen_context;
            let told = match &told.hidden {
                Some(hidden) => format!("texts of {} x {}", hidden.length, hidden.width),
                None => "nothing".to_owned(),
            };
            let what = if kind == ImageKind::Pairs { "latents, pairs" } else { "latents, to imitate" };
            let rows =
                [("examples", latents.len().to_string()), ("images", latents.shape().to_string()), ("told", told)];
            Description::with_rows(format!("{name}: {what}"), rows)
        }
        TensorKind::Trajectories => {
            let found = TrajectoryFile::open(path, MANY)?;
            let rows = [
                ("examples", found.len().to_string()),
                ("pairs", found.pairs().len().to_string()),
                ("images", found.shape().to_string()),
                ("timesteps", format!("{:?}", found.timesteps())),
                ("made by", found.policy().chars().take(12).collect()),
            ];
            Description::with_rows(format!("{name}: trajectories"), rows)
        }
        TensorKind::Draws => Description::of(format!("{name}: draws, for score and train with `diffusion.draws`")),
        TensorKind::Other => {
            let text = "tensors of no kind known here; latents have `chosen`, trajectories `latents`, draws `noise`";
            return Err(Failure::failed(format!("{name}: {text}")));
        }
    })
}

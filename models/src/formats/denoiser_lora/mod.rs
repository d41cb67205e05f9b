//! LoRA adapters of networks that denoise, in all file layouts of diffusers and PEFT.
//!
//! A layer `P` has two factors, `P.lora_A.weight` and `P.lora_B.weight`; those of a convolution are kernels. [`source`]
//! finds the file and its settings, [`names`] parses older spellings, [`write`] writes what diffusers' pipelines load.

mod names;
mod original;
mod source;
mod texts;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::lora::{LoraExtra, merged_bias, merged_weight};
use engine::ops::WeightLayout;
use engine::transfer::to_host;

use super::LoraLayer;
use super::component::from_file;
use super::lora_settings::{Halves, Settings, TrainedLora};
use crate::ModelError;
use crate::denoiser::DenoiserConfig;
use names::TensorRole;
use original::Originals;
use source::Source;
pub use source::is_denoiser_lora;
pub use write::save_denoiser_lora;

/// Adapters as read from disk.
#[derive(Clone, Debug)]
pub struct DenoiserLora {
    /// Their file.
    pub path: PathBuf,
    /// Their base model, if the file names it.
    pub base: Option<String>,
    /// The change to each weight, by the layer's name without `.weight`; kernels are `[out, height, width, in]`.
    pub layers: BTreeMap<String, LoraLayer>,
    /// The change to each weight of CLIP's text encoders, by component, then by the layer's path with underscores.
    pub(crate) texts: BTreeMap<&'static str, BTreeMap<String, LoraLayer>>,
    /// Tensors that replace the base's (PEFT's `modules_to_save` and trained biases).
    pub replaced: BTreeMap<String, Tensor>,
}

impl DenoiserLora {
    /// The adapters as parameters of a model of this config, for further training.
    ///
    /// # Errors
    /// Several ranks or scales, replaced tensors.
    pub fn trained(&self, config: &DenoiserConfig) -> Result<TrainedLora, ModelError> {
        if let Some(name) = self.replaced.keys().next() {
            let reason = "takes the place of the base's, and adapters that learn are nothing but their factors";
            return Err(ModelError::tensor(&self.path, name, reason));
        }
        if let Some(component) = self.texts.keys().next() {
            let reason = format!("has adapters of `{component}` too, which do not learn; merge it into its base first");
            return Err(ModelError::format(&self.path, reason));
        }
        TrainedLora::new(&self.layers, &config.adaptable_layers()).map_err(|reason| {
            let reason = format!("{reason}, and adapters that learn share one rank and one alpha");
            ModelError::format(&self.path, reason)
        })
    }
}

/// Loads adapters for a model of this config: from a file, its folder (diffusers' or PEFT's), or a run.
///
/// # Errors
/// Damaged files, adapters of another kind or of a text encoder, layers that the model does not have, factors without a
/// partner or of another shape.
pub fn load_denoiser_lora(path: &Path, config: &DenoiserConfig, device: &Device) -> Result<DenoiserLora, ModelError> {
    let Source { file, settings, is_pefts } = Source::open(path)?;
    let path = file.path().to_path_buf();
    let shapes = config.tensor_shapes();
    let names: Vec<String> = file.entries().keys().cloned().collect();
    let mut found = Found { obeys_targets: is_pefts, ..Found::default() };
    let mut of_texts: BTreeMap<&'static str, Found> = BTreeMap::new();
    let originals = Originals::of(config);
    for name in names {
        let wrong = |reason: String| ModelError::tensor(&path, &name, reason);
        let read = || from_file(file.read(&name, device)?);
        names::refuse(&name).map_err(wrong)?;
        if is_pefts {
            names::check_pefts(&name).map_err(wrong)?;
        } else if let Some((component, layer, part)) = texts::parse(&name).map_err(wrong)? {
            if settings.is_some() {
                let reason = "an adapter of a text encoder in a file with settings in its header is not supported";
                return Err(wrong(reason.to_owned()));
            }
            of_texts.entry(component).or_default().insert(layer, part, read()?).map_err(wrong)?;
            continue;
        } else if let Some(parts) = originals.convert(&name, read).map_err(wrong)? {
            parts.into_iter().try_for_each(|(layer, part, tensor)| found.insert(layer, part, tensor)).map_err(wrong)?;
            continue;
        }
        let (layer, part) = names::parse(&name, config, &shapes).map_err(wrong)?;
        found.insert(layer, part, read()?).map_err(wrong)?;
    }
    let wrong = |(name, reason): (String, String)| ModelError::tensor(&path, name, reason);
    let layers = found.layers(settings.as_ref(), &shapes).map_err(wrong)?;
    let texts = of_texts.into_iter().map(|(component, mut found)| Ok((component, found.plain_layers()?)));
    let texts = texts.collect::<Result<_, _>>().map_err(wrong)?;
    if layers.is_empty() {
        return Err(ModelError::format(&path, "no LoRA tensors"));
    }
    let base = settings.and_then(|settings| settings.base);
    Ok(DenoiserLora { path, base, layers, texts, replaced: found.replaced })
}

/// The base model that an adapter file names; `path` is as for [`load_denoiser_lora`].
///
/// # Errors
/// A damaged file.
pub fn denoiser_lora_base(path: &Path) -> Result<Option<String>, ModelError> {
    Ok(Source::open(path)?.settings.and_then(|settings| settings.base))
}

/// Merges adapters into a model's weights.
///
/// # Errors
/// A layer that the model does not have, or of another shape.
pub fn merge_denoiser_lora(lora: &DenoiserLora, tensors: &mut BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    // A layer may have both: its factors were then trained on top of the replaced tensor.
    for (name, tensor) in &lora.replaced {
        let Some(old) = tensors.get_mut(name) else {
            return Err(ModelError::tensor(&lora.path, name, "the model has no such tensor"));
        };
        if old.dims() != tensor.dims() {
            let reason = format!("its shape {:?} is not that of the model's, {:?}", tensor.dims(), old.dims());
            return Err(ModelError::tensor(&lora.path, name, reason));
        }
        *old = tensor.clone();
    }
    for (name, layer) in &lora.layers {
        let Some(weight) = tensors.get_mut(&format!("{name}.weight")) else {
            return Err(ModelError::tensor(&lora.path, name, "the model has no such layer"));
        };
        check_fits(layer, weight.dims()).map_err(|reason| ModelError::tensor(&lora.path, name, reason))?;
        *weight = merged_weight(weight, WeightLayout::OutIn, layer.adapter())?;
        if layer.extra() == LoraExtra::Bias {
            let Some(bias) = tensors.get_mut(&format!("{name}.bias")) else {
                let reason = "its layer has no bias, to which that of the adapter (`lora_bias`) could be added";
                return Err(ModelError::tensor(&lora.path, name, reason));
            };
            *bias = merged_bias(bias, layer.adapter())?;
        }
    }
    Ok(())
}

/// A file's tensors by layer, while it is read.
#[derive(Default)]
struct Found {
    halves: BTreeMap<String, Halves>,
    alphas: BTreeMap<String, f64>,
    replaced: BTreeMap<String, Tensor>,
    /// Whether layers with factors must be targets of the settings: PEFT ignores other layers, diffusers does not.
    obeys_targets: bool,
}

impl Found {
    /// Inserts a tensor; two spellings of one tensor are ambiguous and refused.
    fn insert(&mut self, layer: String, part: TensorRole, tensor: Tensor) -> Result<(), String> {
        let before = match part {
            TensorRole::A => self.halves.entry(layer).or_default().a.replace(tensor).map(drop),
            TensorRole::B => self.halves.entry(layer).or_default().b.replace(tensor).map(drop),
            TensorRole::Bias => self.halves.entry(layer).or_default().bias.replace(tensor).map(drop),
            TensorRole::Magnitude => self.halves.entry(layer).or_default().magnitude.replace(tensor).map(drop),
            TensorRole::Alpha => self.alphas.insert(layer, number(&tensor)?).map(drop),
            TensorRole::Replaced => self.replaced.insert(layer, tensor).map(drop),
        };
        before.map_or(Ok(()), |()| Err("is there twice, under two names".to_owned()))
    }

    /// The weight change of each layer of a model whose tensors have these shapes.
    ///
    /// # Errors
    /// An invalid layer, with the reason.
    fn layers(
        &mut self,
        settings: Option<&Settings>,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<BTreeMap<String, LoraLayer>, (String, String)> {
        if let (Some(_), Some((layer, _))) = (settings, self.alphas.first_key_value()) {
            let reason =
                "has an alpha of its own beside the file's settings, which give it one too; keep one of the two";
            return Err((layer.clone(), reason.to_owned()));
        }
        let mut layers = BTreeMap::new();
        for (name, halves) in std::mem::take(&mut self.halves) {
            let layer = match settings {
                Some(settings) if self.obeys_targets => settings.targeted_layer(&name, halves, false),
                Some(settings) => settings.layer(&name, halves),
                None => plain(halves, self.alphas.remove(&name)),
            };
            let shape = shapes.get(&format!("{name}.weight")).ok_or_else(|| "the model has no such layer".to_owned());
            let fits = layer.and_then(|layer| check_fits(&layer, shape?).map(|()| layer));
            layers.insert(name.clone(), fits.map_err(|reason| (name, reason))?);
        }
        self.no_alpha_is_left().map(|()| layers)
    }

    /// The weight change of each layer of a model whose layers are checked elsewhere, without settings.
    fn plain_layers(&mut self) -> Result<BTreeMap<String, LoraLayer>, (String, String)> {
        let mut layers = BTreeMap::new();
        for (name, halves) in std::mem::take(&mut self.halves) {
            let layer = plain(halves, self.alphas.remove(&name)).map_err(|reason| (name.clone(), reason))?;
            layers.insert(name, layer);
        }
        self.no_alpha_is_left().map(|()| layers)
    }

    fn no_alpha_is_left(&mut self) -> Result<(), (String, String)> {
        match self.alphas.pop_first() {
            Some((layer, _)) => Err((layer, "has an alpha and no factors".to_owned())),
            None => Ok(()),
        }
    }
}

/// The value of a one-element tensor.
fn number(tensor: &Tensor) -> Result<f64, String> {
    let values = to_host::<f32>(tensor).map_err(|e| e.to_string())?;
    match values[..] {
        [value] => Ok(f64::from(value)),
        _ => Err(format!("an alpha is one number, not {}", values.len())),
    }
}

/// An adapter without settings: alpha is its rank unless the file has another.
fn plain(halves: Halves, alpha: Option<f64>) -> Result<LoraLayer, String> {
    let Some(a) = &halves.a else { return Err("one of lora_A and lora_B is missing".to_owned()) };
    let rank = a.dims().first().copied().unwrap_or(0);
    let scale = alpha.map_or(1., |alpha| alpha / rank as f64);
    if scale.is_finite() { halves.complete(scale, false) } else { Err("its rank is 0".to_owned()) }
}

fn check_fits(layer: &LoraLayer, shape: &[usize]) -> Result<(), String> {
    let (a, b) = (layer.a.dims(), layer.b.dims());
    let fits = match (a, b, shape) {
        ([r, a_in], [b_out, s], [n_out, n_in]) => r == s && a_in == n_in && b_out == n_out,
        ([r, a @ ..], [b_out, 1, 1, s], [n_out, kernel @ ..]) => r == s && a == kernel && b_out == n_out,
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("its factors {a:?} and {b:?} are no change to a weight of {shape:?}")) }
}

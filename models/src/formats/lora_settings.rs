//! LoRA settings in PEFT's format: `adapter_config.json`, or an entry in the header of a diffusers file.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use engine::lora::{
    AdaptableLayer, Adapter, LoraConfig, LoraExtra, LoraTargets, bias_name, magnitude_name, parameter_names,
};
use serde_json::Value;

use super::lora_fields;
use super::lora_targets::{Names, Numbers};
use crate::ModelError;

/// The two factors of a weight change, and its scale.
#[derive(Clone, Debug)]
pub struct LoraLayer {
    /// A, [rank, in].
    pub a: Tensor,
    /// B, [out, rank].
    pub b: Tensor,
    /// The factor of their product.
    pub scale: f64,
    /// Whether the scale is alpha / sqrt(rank) rather than alpha / rank.
    pub rslora: bool,
    /// Whether the layer is the embedding, whose weight is `[in, out]`.
    pub embedding: bool,
    /// The bias beside B, `[out]` (`lora_bias`).
    pub bias: Option<Tensor>,
    /// The magnitude of each output, `[out]` (DoRA).
    pub magnitude: Option<Tensor>,
}

impl LoraLayer {
    /// Its tensors, for merging.
    pub(super) fn adapter(&self) -> Adapter<'_> {
        let (bias, magnitude) = (self.bias.as_ref(), self.magnitude.as_ref());
        Adapter { bias, magnitude, ..Adapter::plain(&self.a, &self.b, self.scale) }
    }

    /// What it has beside its factors.
    pub(super) fn extra(&self) -> LoraExtra {
        match (&self.magnitude, &self.bias) {
            (Some(_), _) => LoraExtra::Magnitude,
            (None, Some(_)) => LoraExtra::Bias,
            (None, None) => LoraExtra::None,
        }
    }
}

/// A layer's factors, while a file is read.
#[derive(Debug, Default)]
pub(super) struct Halves {
    pub(super) a: Option<Tensor>,
    pub(super) b: Option<Tensor>,
    pub(super) embedding: bool,
    pub(super) bias: Option<Tensor>,
    pub(super) magnitude: Option<Tensor>,
}

impl Halves {
    /// A complete adapter of this scale.
    ///
    /// # Errors
    /// Only one factor, or a bias or magnitudes of another size than the output.
    pub(super) fn complete(self, scale: f64, rslora: bool) -> Result<LoraLayer, String> {
        let Self { a: Some(a), b: Some(b), embedding, bias, magnitude } = self else {
            return Err("one of lora_A and lora_B is missing".to_owned());
        };
        // Of a convolution there are dimensions of size 1 around the magnitudes.
        let magnitude = magnitude.map(|m| m.flatten_all()).transpose().map_err(|e| e.to_string())?;
        let n_out = b.dims().first().copied().unwrap_or(0);
        for (what, tensor) in [("bias", &bias), ("magnitude", &magnitude)] {
            if let Some(tensor) = tensor.as_ref().filter(|tensor| tensor.dims() != [n_out]) {
                return Err(format!("its {what} is {:?}, and the layer has {n_out} outputs", tensor.dims()));
            }
        }
        if bias.is_some() && magnitude.is_some() {
            return Err("it has a bias beside lora_B and a magnitude, which peft does not combine".to_owned());
        }
        Ok(LoraLayer { a, b, scale, rslora, embedding, bias, magnitude })
    }
}

/// Loaded adapters for further training: their config and parameters.
#[derive(Clone, Debug)]
pub struct TrainedLora {
    /// Their config.
    pub config: LoraConfig,
    /// Both factors of each layer `P`, `P.lora_A.weight` and `P.lora_B.weight`, and what it has beside them.
    pub tensors: BTreeMap<String, Tensor>,
}

impl TrainedLora {
    /// # Errors
    /// Adapters with several ranks or scales.
    pub(super) fn new(layers: &BTreeMap<String, LoraLayer>, all: &[AdaptableLayer]) -> Result<Self, String> {
        let Some(first) = layers.values().next() else { return Err("it has no adapters".to_owned()) };
        let rank = first.a.dim(0).unwrap_or(0);
        let mut tensors = BTreeMap::new();
        for (name, layer) in layers {
            if layer.embedding {
                return Err(format!("`{name}` is the embedding's"));
            }
            if !all.iter().any(|layer| layer.name == *name) {
                return Err(format!("`{name}` is none of the layers whose adapters learn"));
            }
            if layer.extra() != first.extra() {
                return Err(format!(
                    "`{name}` has a bias or a magnitude and layers before it have none, or the reverse"
                ));
            }
            if layer.a.dim(0).ok() != Some(rank) || (layer.scale - first.scale).abs() > 1e-9 * first.scale.abs() {
                return Err(format!("`{name}` has another rank or strength than the layers before it"));
            }
            let (a, b) = parameter_names(name);
            tensors.extend([(a, layer.a.clone()), (b, layer.b.clone())]);
            tensors.extend(layer.bias.clone().map(|bias| (bias_name(name), bias)));
            tensors.extend(layer.magnitude.clone().map(|magnitude| (magnitude_name(name), magnitude)));
        }
        // The scale is multiplied back to alpha: rounding must not make 15.999999999999998 of 16.
        let width = if first.rslora { (rank as f64).sqrt() } else { rank as f64 };
        let alpha = (first.scale * width * 1e9).round() / 1e9;
        let targets = LoraTargets::exactly(&layers.keys().map(String::as_str).collect(), all);
        Ok(Self { config: LoraConfig { rank, alpha, rslora: first.rslora, targets, extra: first.extra() }, tensors })
    }
}

/// The relevant settings of `adapter_config.json`.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) base: Option<String>,
    /// Name suffixes of modules that are saved whole.
    pub(super) modules_to_save: Vec<String>,
    /// Whether a change of the embedding also applies to the tied output matrix.
    pub(super) ensures_tying: bool,
    rank: usize,
    alpha: f64,
    rslora: bool,
    extra: LoraExtra,
    ranks: Numbers,
    alphas: Numbers,
    targets: Option<Names>,
    excluded: Option<Names>,
}

impl Settings {
    /// Reads and checks the settings; `path` is their file.
    ///
    /// # Errors
    /// Another method, an unsupported variant, settings of another type.
    pub(super) fn of(path: &Path, value: &Value) -> Result<Self, ModelError> {
        Self::read(value).map_err(|reason| ModelError::format(path, reason))
    }

    fn read(value: &Value) -> Result<Self, String> {
        lora_fields::check(value)?;
        let names = value["modules_to_save"].as_array().into_iter().flatten();
        let is_positive = |v: &Value| v.as_f64().is_some_and(|n| n > 0.0);
        Ok(Self {
            base: value["base_model_name_or_path"].as_str().map(|base| hub::local(base, value["revision"].as_str())),
            modules_to_save: names.filter_map(Value::as_str).map(str::to_owned).collect(),
            ensures_tying: value["ensure_weight_tying"] == true,
            rank: value["r"].as_u64().unwrap_or(8) as usize,
            alpha: value["lora_alpha"].as_f64().unwrap_or(8.0),
            rslora: value["use_rslora"] == true,
            extra: match (value["use_dora"] == true, value["lora_bias"] == true) {
                (true, _) => LoraExtra::Magnitude,
                (false, true) => LoraExtra::Bias,
                (false, false) => LoraExtra::None,
            },
            ranks: Numbers::read(value, "rank_pattern", |v| v.as_u64().is_some_and(|n| n > 0))?,
            alphas: Numbers::read(value, "alpha_pattern", is_positive)?,
            targets: Names::read(value, "target_modules")?,
            excluded: Names::read(value, "exclude_modules")?,
        })
    }

    /// Whether a layer is a target; PEFT ignores the factors of other layers, those in a module that is saved whole too.
    fn is_target(&self, layer: &str, is_output_or_embedding: bool) -> bool {
        let meant = |names: &Option<Names>| names.as_ref().map(|names| names.mean(layer, is_output_or_embedding));
        let path = format!(".{layer}.");
        let is_in_saved = self.modules_to_save.iter().any(|module| path.contains(&format!(".{module}.")));
        meant(&self.targets).unwrap_or(true) && !meant(&self.excluded).unwrap_or(false) && !is_in_saved
    }

    /// Whether a module is saved whole, besides the adapters.
    pub(super) fn is_saved_whole(&self, module: &str) -> bool {
        self.modules_to_save.iter().any(|end| module.ends_with(end.as_str()))
    }

    /// The adapter of a layer, which must be a target.
    ///
    /// # Errors
    /// The layer is not a target, or as [`Settings::layer`].
    pub(super) fn targeted_layer(
        &self,
        name: &str,
        halves: Halves,
        is_output_or_embedding: bool,
    ) -> Result<LoraLayer, String> {
        if self.is_target(name, is_output_or_embedding) {
            return self.layer(name, halves);
        }
        Err(format!(
            "`target_modules`, `layers_to_transform`, `exclude_modules` and `modules_to_save` do not mean {name}, so peft \
             would leave it out"
        ))
    }

    /// The adapter of one layer.
    ///
    /// # Errors
    /// Only one factor, or another rank than in the settings.
    pub(super) fn layer(&self, name: &str, halves: Halves) -> Result<LoraLayer, String> {
        let (Some(a), Some(b)) = (&halves.a, &halves.b) else {
            return Err("one of lora_A and lora_B is missing".to_owned());
        };
        let rank = self.ranks.find(name).map_or(self.rank, |r| r as usize);
        if a.dims().first() != Some(&rank) || b.dims().last() != Some(&rank) || a.rank() != b.rank() {
            let (a, b) = (a.dims(), b.dims());
            return Err(format!("its factors are {a:?} and {b:?}, and its settings give it rank {rank}"));
        }
        let alpha = self.alphas.find(name).unwrap_or(self.alpha);
        let scale = alpha / if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        let layer = halves.complete(scale, self.rslora)?;
        let (expected, found) = (self.extra, layer.extra());
        if expected == found {
            return Ok(layer);
        }
        let said = |extra| match extra {
            LoraExtra::None => "neither a bias beside lora_B (`lora_bias`) nor a magnitude (`use_dora`)",
            LoraExtra::Bias => "a bias beside lora_B (`lora_bias`)",
            LoraExtra::Magnitude => "a magnitude (`use_dora`)",
        };
        Err(format!("it has {}, and its settings ask for {}", said(found), said(expected)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use serde_json::json;

    use super::*;

    /// The layer of these settings for factors of a rank, or the error.
    fn layer(settings: &Value, name: &str, rank: usize) -> Result<LoraLayer, String> {
        let mut all = json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"] });
        for (key, value) in settings.as_object().unwrap() {
            all[key] = value.clone();
        }
        let zeros = |shape: (usize, usize)| Some(Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
        let halves = Halves { a: zeros((rank, 6)), b: zeros((5, rank)), ..Halves::default() };
        Settings::read(&all)?.targeted_layer(name, halves, name == "lm_head")
    }

    const Q: &str = "model.layers.0.self_attn.q_proj";
    const V: &str = "model.layers.1.self_attn.v_proj";

    #[test]
    fn patterns_of_ranks_and_alphas_give_a_layer_its_scale() {
        let scale = |settings: Value, name: &str, rank: usize| layer(&settings, name, rank).unwrap().scale;
        let both = json!({ "rank_pattern": { "q_proj": 2 }, "alpha_pattern": { "layers.0.*": 3, "v_proj": 6 } });
        assert_eq!((scale(both.clone(), Q, 2), scale(both.clone(), V, 4)), (1.5, 1.5));
        assert_eq!(scale(json!({ "rank_pattern": { "q_proj": 16 }, "use_rslora": true }), Q, 16), 2.);
        let message = layer(&both, Q, 4).unwrap_err();
        assert!(message.contains("its settings give it rank 2"), "{message}");
        for (key, value) in [("rank_pattern", json!(0)), ("rank_pattern", json!(1.5)), ("alpha_pattern", json!("3"))] {
            let message = layer(&json!({ key: { "q_proj": value } }), Q, 4).unwrap_err();
            assert!(message.contains(key) && message.contains("q_proj"), "{message}");
        }
    }

    #[test]
    fn factors_of_a_layer_that_the_settings_do_not_mean_are_refused() {
        for (settings, name, is_meant) in [
            (json!({}), Q, true),
            (json!({ "target_modules": ["v_proj"] }), Q, false),
            (json!({ "target_modules": "all-linear" }), "model.layers.0.mlp.up_proj", true),
            (json!({ "target_modules": "all-linear" }), "lm_head", false),
            (json!({ "target_modules": "all-linear", "exclude_modules": ["q_proj"] }), Q, false),
            (json!({ "exclude_modules": ["layers.1.self_attn.q_proj"] }), Q, true),
            (json!({ "exclude_modules": ".*self_attn.*" }), Q, false),
            (json!({ "exclude_modules": "all-linear" }), Q, true),
            (json!({ "layers_to_transform": [1] }), V, true),
            (json!({ "layers_to_transform": [1] }), Q, false),
            (json!({ "modules_to_save": ["self_attn"] }), Q, false),
            (json!({ "modules_to_save": ["q_proj"] }), Q, false),
            (json!({ "modules_to_save": ["attn", "proj", "norm"] }), Q, true),
        ] {
            let found = layer(&settings, name, 4);
            assert_eq!(found.is_ok(), is_meant, "{settings} {name}");
            let Err(message) = found else { continue };
            for key in settings.as_object().unwrap().keys() {
                assert!(message.contains(key) && message.contains(name), "{message}");
            }
        }
    }
}

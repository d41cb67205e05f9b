//! Loads language models by name.
use std::path::Path;

use candle_core::DType;
use datasets::{ChatTemplate, DatasetError, Date};
use engine::Noise;
use engine::lora::LoraConfig;
use engine::optim::{AdamW, Optimizer, RmsProp, Sgd};
use models::causal::{CausalConfig, CausalLm, LearnerOptions, Recompute};
use models::formats::{self, Extras, Holding, HuggingFaceExport, ModelFiles, ModelTokenizer, SaveOptions};

use crate::embedded::{ModelKind, find_model, is_embedded};
use crate::settings::{BasePrecision, OptimizerName, SaveDtype, Values, at};
use crate::{Failure, Reporter, adapters, torchscript};

/// Loads the model that `model.model` or `model.reference` names, with the chat template of the settings.
pub(crate) fn load(name: &str, values: &Values) -> Result<ModelFiles, Failure> {
    let is_cpu = device(values)?.is_cpu();
    let holding = match values.model.base_precision() {
        BasePrecision::F32 => Holding::F32,
        BasePrecision::Auto if !is_cpu => Holding::F32,
        BasePrecision::Quantised if !is_cpu => {
            return Err(Failure::usage("`model.base_precision` quantised is for the CPU, and `run.device` is another"));
        }
        BasePrecision::Auto | BasePrecision::Quantised => Holding::Quantised,
    };
    let files = load_held(name, values, holding)?;
    if values.model.base_precision() == BasePrecision::Quantised && files.quantised.is_empty() {
        return Err(Failure::usage(format!(
            "`model.base_precision` quantised: {name} has no quantised weights; only GGUF files have"
        )));
    }
    Ok(files)
}

/// Loads a model with quantised weights in a given form.
pub(crate) fn load_held(name: &str, values: &Values, holding: Holding) -> Result<ModelFiles, Failure> {
    let mut files = load_as_it_is(name, values, holding)?;
    if let Some(path) = values.data.chat_template() {
        set_template(&mut files, Path::new(path))?;
    }
    set_template_arguments(&mut files, values.data.template())?;
    Ok(files)
}

/// Replaces a model's chat templates by the one in a file; what is written of the model has it too.
pub(crate) fn set_template(files: &mut ModelFiles, path: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let name = files.path.display().to_string();
    let Some(tokenizer) = &mut files.tokenizer else {
        return Err(Failure::failed(format!("{name}: there is no tokenizer that `data.chat_template` could go with")));
    };
    tokenizer.chat_templates = std::collections::BTreeMap::from([("default".to_owned(), text.clone())]);
    template(tokenizer, false).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    files.extras.insert("chat_template.jinja", text.into_bytes());
    Ok(())
}

/// Gives a model's chat templates their arguments, `name=value` with a value of JSON or any other text.
fn set_template_arguments(files: &mut ModelFiles, given: &[String]) -> Result<(), Failure> {
    let name = files.path.display().to_string();
    let mut names = std::collections::BTreeSet::new();
    for text in given {
        let parts = text.split_once('=').map(|(argument, value)| (argument.trim(), value.trim()));
        let Some((argument, value)) = parts.filter(|(argument, _)| !argument.is_empty()) else {
            return Err(Failure::usage(format!("`data.template` takes name=value, not `{text}`")));
        };
        if !names.insert(argument) {
            return Err(Failure::usage(format!("`data.template` gives `{argument}` twice")));
        }
        let tokenizer = files.tokenizer.as_mut().filter(|tokenizer| !tokenizer.chat_templates.is_empty());
        let Some(tokenizer) = tokenizer else {
            let text = format!("{name}: there is no chat template that `data.template` could give `{argument}` to");
            return Err(Failure::usage(text));
        };
        datasets::chat::check_argument(argument)
            .map_err(|error| Failure::usage(format!("`data.template`: {error}")))?;
        check_read(argument, tokenizer.chat_templates.values(), &name)?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        tokenizer.template_arguments.insert(argument.to_owned(), value);
    }
    Ok(())
}

/// Checks that a chat template reads an argument.
fn check_read<'t>(argument: &str, templates: impl Iterator<Item = &'t String>, model: &str) -> Result<(), Failure> {
    let mut names = std::collections::BTreeSet::new();
    for template in templates {
        names.extend(datasets::chat::arguments(template)?);
    }
    if names.contains(argument) {
        return Ok(());
    }
    let score = |name: &String| strsim::jaro_winkler(argument, name);
    let nearest = names.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    // A name that is far off would mislead.
    let nearest = nearest.filter(|name| score(name) > 0.7);
    let nearest = nearest.map_or_else(String::new, |name| format!("; the nearest name in it is `{name}`"));
    let text = format!("{model}: the chat template does not read `{argument}`, which `data.template` gives{nearest}");
    Err(Failure::usage(text))
}

fn device(values: &Values) -> Result<candle_core::Device, Failure> {
    crate::device::open(values)
}

fn load_as_it_is(name: &str, values: &Values, holding: Holding) -> Result<ModelFiles, Failure> {
    if let Some(path) = torchscript::of_name(name)? {
        return torchscript::language_model(&path, values);
    }
    let device = device(values)?;
    if let Some((base, adapter)) = embedded_base(name)? {
        let files = load_as_it_is(&base, values, holding)?;
        return Ok(formats::add_adapter(files, Path::new(&base), Path::new(&adapter), &device)?);
    }
    if is_embedded(name) {
        return embedded(name, &device, values);
    }
    if is_hub_id(name) {
        return Err(Failure::failed(format!(
            "{name}: there is no such path here, and no model of that name in the Hugging Face cache"
        )));
    }
    Ok(formats::load_held(Path::new(name), &device, holding)?)
}

/// Reports settings of a model's `config.json` that are ignored, as by transformers.
pub(crate) fn say_ignored(files: &ModelFiles, reporter: &dyn Reporter) {
    let ignored = files.config.ignored_settings();
    if !ignored.is_empty() {
        let (path, model) = (files.path.display(), files.config.family.model_type());
        reporter.info(&format!(
            "{path}: no settings of a {model} model, ignored as by transformers: {}",
            ignored.join(", ")
        ));
    }
}

/// Loads a reference for a model. Both need the same tokenizer, or margins are meaningless.
pub(crate) fn load_beside(files: &ModelFiles, name: &str, values: &Values) -> Result<ModelFiles, Failure> {
    load_alike(files, name, "the reference", values)
}

/// Loads a model in another role, which error messages name.
pub(crate) fn load_alike(files: &ModelFiles, name: &str, role: &str, values: &Values) -> Result<ModelFiles, Failure> {
    let reference = load(name, values)?;
    let sizes = (files.config.vocabulary, reference.config.vocabulary);
    let alike = match (&files.tokenizer, &reference.tokenizer) {
        (Some(ours), Some(theirs)) => ours.tokenizer().get_vocab(true) == theirs.tokenizer().get_vocab(true),
        _ => true,
    };
    if sizes.0 != sizes.1 || !alike {
        let text = format!(
            "{role} {name} has another vocabulary than {} ({} and {} tokens); both must share a tokenizer",
            files.path.display(),
            sizes.1,
            sizes.0
        );
        return Err(Failure::failed(text));
    }
    Ok(reference)
}

/// Splits `builtin:NAME+ADAPTER`, or an adapter trained on an embedded model, into base and adapter.
fn embedded_base(name: &str) -> Result<Option<(String, String)>, Failure> {
    if is_embedded(name) {
        return Ok(name.split_once('+').map(|(base, adapter)| (base.to_owned(), adapter.to_owned())));
    }
    let base = formats::adapter_base(Path::new(name))?.filter(|base| is_embedded(base));
    Ok(base.map(|base| (base, name.to_owned())))
}

/// The base that an adapter's folder names, if it can be loaded.
pub(crate) fn named_base(adapter: &Path) -> Result<Option<String>, Failure> {
    let base = formats::adapter_base(adapter)?;
    Ok(base.filter(|base| adapters::base_exists(base)))
}

/// The base model of a name: that of an adapter, with or without the base's name, else the name itself.
pub(crate) fn base_of(name: &str) -> Result<String, Failure> {
    if let Some((base, _)) = parts(Path::new(name)) {
        return Ok(base);
    }
    if is_embedded(name) {
        return Ok(name.to_owned());
    }
    Ok(formats::adapter_base(Path::new(name))?.unwrap_or_else(|| name.to_owned()))
}

/// Whether a name looks like a Hub id, `owner/name`, and is no path.
fn is_hub_id(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('+');
    let parts = name.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name) && !name.contains('/'));
    parts && !Path::new(name).exists()
}

fn embedded(name: &str, device: &candle_core::Device, values: &Values) -> Result<ModelFiles, Failure> {
    let (model, is_trained) = find_model(name, ModelKind::Language)?;
    let path = std::path::PathBuf::from(name);
    if is_trained {
        let folder = model.unpacked()?;
        return Ok(ModelFiles { path, ..formats::load(folder.path(), device)? });
    }
    // A randomly initialised model of the embedded model's shape, from the seed.
    let seed = values.run.seed();
    let config = CausalConfig::from_json(serde_json::from_slice(model.file("config.json"))?)?;
    let tensors = config.initial_tensors(&Noise::new(seed), device)?;
    let mut extras = Extras::default();
    for (name, bytes) in model.files.iter().filter(|(name, _)| !matches!(*name, "config.json" | "model.safetensors")) {
        extras.insert(*name, bytes.to_vec());
    }
    let tokenizer = ModelTokenizer::from_extras(&path, &extras, Some(&config))?;
    Ok(ModelFiles { extras, ..ModelFiles::plain(&path, config, tensors, tokenizer) })
}

/// The model to train. A base with an adapter continues training that adapter if adapters are configured.
pub(crate) fn learner(files: ModelFiles, values: &Values) -> Result<CausalLm, Failure> {
    if files.config.external.is_some() {
        torchscript::check_training(&files.path, values)?;
    }
    let requested = adapters::lora_config(values, &["all-linear"])?;
    let (files, lora, trained) = match (requested, parts(&files.path)) {
        (Some(requested), Some((base, adapter))) => {
            // Frees the merged weights before the base is loaded without the adapter.
            drop(files);
            let base = load(&base, values)?;
            if parts(&base.path).is_some() {
                return Err(adapters::refuse_nested(&adapter, &base.path.display().to_string()));
            }
            let device = device(values)?;
            let trained = formats::load_adapter(Path::new(&adapter), &base.config, &device)?.trained(&base.config);
            let trained = trained.map_err(|error| {
                Failure::failed(format!("{adapter}: {error}; without `model.lora_rank` all weights learn"))
            })?;
            adapters::refuse_other(&requested, &trained.config, &base.config.adaptable_layers(), &adapter, values)?;
            (base, Some(trained.config), Some(trained.tensors))
        }
        (requested, _) => (files, requested, None),
    };
    let usual = if lora.is_some() { DType::F32 } else { files.stored };
    let exporter = HuggingFaceExport { save: save_options(values, usual), ..files.exporter() };
    let model = files.trainable(training(values, lora)?)?.with_exporter(exporter);
    Ok(match trained {
        Some(trained) => model.with_adapters(&trained)?,
        None => model,
    })
}

/// Whether the model's own adapter continues training. Its starting point is then copied from the learner, so that the
/// two share the base and agree bit for bit.
pub(crate) fn continues_adapter(files: &ModelFiles, values: &Values) -> bool {
    values.model.lora_rank().is_some() && parts(&files.path).is_some()
}

/// The model before training.
pub(crate) fn start(files: &ModelFiles, values: &Values) -> Result<CausalLm, Failure> {
    if continues_adapter(files, values) {
        return Ok(learner(files.clone(), values)?.frozen_copy()?);
    }
    Ok(files.clone().frozen()?)
}

/// Splits a loaded `base+adapter` path.
fn parts(path: &Path) -> Option<(String, String)> {
    let text = path.to_str()?;
    // As in loading, a path that exists under the whole name takes precedence.
    if path.exists() {
        return None;
    }
    if is_embedded(text) {
        return text.split_once('+').map(|(base, adapter)| (base.to_owned(), adapter.to_owned()));
    }
    let (base, adapter) = formats::split_adapter(path)?;
    Some((base.display().to_string(), adapter.display().to_string()))
}

/// The training settings of a model of any kind.
pub(crate) fn training(values: &Values, lora: Option<LoraConfig>) -> Result<LearnerOptions, Failure> {
    let ema = values.model.ema();
    if let Some(decay) = ema.filter(|decay| !(0.0..1.0).contains(decay)) {
        return Err(Failure::usage(format!("`model.ema` takes a number from 0 to below 1, not {decay}")));
    }
    let recompute = if values.model.activation_checkpointing() { Recompute::Blocks } else { Recompute::Nothing };
    Ok(LearnerOptions { optimizer: optimizer(values)?, lora, seed: values.run.seed(), recompute, ema })
}

/// The export options of weights; `usual` is their type unless the settings name one.
pub(crate) fn save_options(values: &Values, usual: DType) -> SaveOptions {
    let dtype = match values.model.save_dtype() {
        SaveDtype::Auto => usual,
        SaveDtype::F16 => DType::F16,
        SaveDtype::Bf16 => DType::BF16,
        SaveDtype::F32 => DType::F32,
    };
    SaveOptions { dtype, ..SaveOptions::default() }
}

/// The word of a type of weights.
pub(crate) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => SaveDtype::F16.word(),
        DType::BF16 => SaveDtype::Bf16.word(),
        _ => SaveDtype::F32.word(),
    }
}

/// Reports that a run's weights lose digits when they are written, because its base is stored in 16 bits.
pub(crate) fn say_rounded(files: &ModelFiles, values: &Values, reporter: &dyn Reporter) {
    let is_rounded = values.model.save_dtype() == SaveDtype::Auto && files.stored != DType::F32;
    if is_rounded && values.model.lora_rank().is_none() {
        let (path, dtype) = (files.path.display(), dtype_name(files.stored));
        reporter.info(&format!(
            "model/ is written in {dtype}, the type of {path}; training is in f32, and `model.save_dtype` f32 keeps all of it"
        ));
    }
}

/// The base that an adapter was merged into, if the loaded model has one.
pub(crate) fn merged_base(files: &ModelFiles) -> Option<String> {
    parts(&files.path).map(|(base, _)| base)
}

/// The optimiser of the settings.
pub(crate) fn optimizer(values: &Values) -> Result<Box<dyn Optimizer>, Failure> {
    let name = values.optimizer.name();
    let made: Result<Box<dyn Optimizer>, _> = match name {
        OptimizerName::Adamw => {
            AdamW::new((0.9, 0.999), 1e-8, values.optimizer.weight_decay()).map(|o| Box::new(o) as _)
        }
        OptimizerName::Sgd => Sgd::new(values.optimizer.momentum()).map(|o| Box::new(o) as _),
        OptimizerName::Rmsprop => RmsProp::new(0.99, 1e-8).map(|o| Box::new(o) as _),
    };
    let field = if name == OptimizerName::Adamw { &at::optimizer::weight_decay } else { &at::optimizer::momentum };
    made.map_err(|error| Failure::usage(format!("{field}: {error}")))
}

/// The chat template of a tokenizer for conversations with or without tools, if it has one.
pub(crate) fn template(tokenizer: &ModelTokenizer, with_tools: bool) -> Result<Option<ChatTemplate>, DatasetError> {
    let Some(text) = tokenizer.chat_template(with_tools) else { return Ok(None) };
    let tokens: Vec<(&str, &str)> =
        tokenizer.named_tokens.iter().map(|(name, token)| (name.as_str(), token.as_str())).collect();
    // The date is fixed, so that the same data gives the same tokens on any day.
    let template = ChatTemplate::new(text, &tokens, Date::default())?;
    Ok(Some(template.with_arguments(tokenizer.template_arguments.clone())))
}

#[cfg(test)]
mod tests {
    use super::check_read;

    #[test]
    fn an_argument_is_a_whole_name_of_the_template() {
        let template = "thinking {% if enable_thinking is defined and tools %}{{ '<think>' + m.reasoning }}{% endif %}";
        let read = |argument: &str| check_read(argument, [template.to_owned()].iter(), "model");
        for argument in ["enable_thinking", "tools"] {
            assert_eq!(read(argument), Ok(()), "{argument}");
        }
        for argument in ["thinking", "enable", "enable_think", "tool", "think", "s"] {
            let failure = read(argument).unwrap_err();
            assert!(failure.is_usage() && failure.to_string().contains("does not read"), "{failure}");
        }
        let failure = read("enable_thinkin").unwrap_err().to_string();
        assert!(failure.ends_with("the nearest name in it is `enable_thinking`"), "{failure}");
    }
}

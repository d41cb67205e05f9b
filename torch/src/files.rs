//! TorchScript files as files of models.
use std::path::{Path, PathBuf};

use models::ModelError;
use models::formats::{DenoiserFiles, ModelFiles};

use crate::settings::{POLICY, Settings};

/// A policy as read from a TorchScript file and the settings beside it.
#[derive(Clone, Debug)]
pub enum TorchFiles {
    /// A language model.
    Tokens(Box<ModelFiles>),
    /// A network that denoises.
    Images(Box<DenoiserFiles>),
}

/// The TorchScript file of a name: a path that ends in `.pt`, or a folder or run with a `policy.pt`. `None` for another name.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.extension().is_some_and(|kind| kind == "pt") {
        return Some(path.to_owned());
    }
    [path.join(POLICY), path.join("model").join(POLICY)].into_iter().find(|path| path.is_file())
}

/// The settings of a TorchScript file, from the `.json` of its name beside it.
///
/// # Errors
/// No file; no settings beside it, or none that are right.
pub fn settings_of(path: &Path) -> Result<Settings, ModelError> {
    if !path.is_file() {
        return Err(ModelError::format(path, "there is no such file"));
    }
    let settings = path.with_extension("json");
    if settings.is_file() {
        return Settings::read(&settings);
    }
    let name = settings.file_name().unwrap_or_default().display();
    Err(ModelError::format(path, format!("a TorchScript file needs its settings beside it, and there is no {name}")))
}

/// Loads a TorchScript file.
///
/// # Errors
/// As [`settings_of`]; a file that is no TorchScript, tensors that are not float32. A build without LibTorch.
#[cfg(not(feature = "libtorch"))]
pub fn load(path: &Path) -> Result<TorchFiles, ModelError> {
    settings_of(path)?;
    Err(ModelError::format(path, "a TorchScript file needs a build with LibTorch: build it with `--features torch`"))
}

#[cfg(feature = "libtorch")]
pub use with_libtorch::load;

#[cfg(feature = "libtorch")]
mod with_libtorch {
    use std::collections::BTreeMap;
    use std::path::Path;

    use models::ModelError;
    use models::causal::{CausalConfig, ExternalSizes};
    use models::denoiser::ExternalDenoiserConfig;
    use models::external::{External, tensors};
    use models::formats::{DenoiserFiles, Extras, ModelFiles, ModelTokenizer};

    use super::{TorchFiles, settings_of};
    use crate::module::Script;
    use crate::network::TorchNetwork;
    use crate::{ImageSettings, Settings, TokenSettings};

    /// Loads a TorchScript file.
    ///
    /// # Errors
    /// No settings beside it, or none that are right; a file that is no TorchScript, tensors that are not float32.
    pub fn load(path: &Path) -> Result<TorchFiles, ModelError> {
        let settings = settings_of(path)?;
        let script = Script::read(path)?;
        match settings {
            Settings::Tokens(tokens) => load_tokens(path, script, &tokens).map(Box::new).map(TorchFiles::Tokens),
            Settings::Images(images) => load_images(path, script, &images).map(Box::new).map(TorchFiles::Images),
        }
    }

    fn load_tokens(path: &Path, script: Script, settings: &TokenSettings) -> Result<ModelFiles, ModelError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let extras = extras(folder, settings)?;
        // What is written has them under the names that are read without being named.
        let settings = &TokenSettings { tokenizer: None, chat_template: None, ..settings.clone() };
        let (network, weights) = TorchNetwork::new(script, Settings::Tokens(settings.clone()))?;
        let sizes = ExternalSizes {
            vocabulary: settings.vocabulary,
            max_positions: settings.max_length,
            bos: settings.bos,
            eos: settings.eos.clone(),
        };
        let source = Settings::Tokens(settings.clone()).to_json();
        let config = CausalConfig::external(External::new(network), sizes, source);
        let mut tokenizer = ModelTokenizer::of_its_own(folder, &extras, Some(&config))?;
        if let Some(tokenizer) = &mut tokenizer {
            tokenizer.eos.clone_from(&settings.eos);
            tokenizer.bos = settings.bos.or(tokenizer.bos);
        }
        let tensors = tensors(weights, &config.expected_tensors())?;
        Ok(ModelFiles { extras, ..ModelFiles::plain(path, config, tensors, tokenizer) })
    }

    /// The tokenizer's files beside the policy, under the names that they are read by.
    fn extras(folder: &Path, settings: &TokenSettings) -> Result<Extras, ModelError> {
        let mut extras = Extras::read(folder)?;
        let named = [("tokenizer.json", &settings.tokenizer), ("chat_template.jinja", &settings.chat_template)];
        for (name, given) in named.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?))) {
            let path = folder.join(given);
            extras.insert(name, std::fs::read(&path).map_err(|error| ModelError::io(&path, error))?);
        }
        Ok(extras)
    }

    fn load_images(path: &Path, script: Script, settings: &ImageSettings) -> Result<DenoiserFiles, ModelError> {
        let (network, weights) = TorchNetwork::new(script, Settings::Images(settings.clone()))?;
        let config = ExternalDenoiserConfig {
            network: External::new(network),
            size: (settings.height, settings.width),
            channels: settings.channels,
            context: settings.context.map(|context| context.width),
            source: Settings::Images(settings.clone()).to_json(),
        };
        let shapes: BTreeMap<String, Vec<usize>> = config.network.shapes();
        let tensors = tensors(weights, &shapes)?;
        Ok(DenoiserFiles::plain(path, config.into(), tensors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_file_or_the_folder_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let name = |path: &Path| path.display().to_string();
        assert_eq!(find("somewhere/other.pt"), Some(PathBuf::from("somewhere/other.pt")));
        assert_eq!(find(&name(folder.path())), None);
        std::fs::create_dir(at("model")).unwrap();
        std::fs::write(at("model/policy.pt"), "").unwrap();
        assert_eq!(find(&name(folder.path())), Some(at("model/policy.pt")));
        assert_eq!(find(&name(&at("model"))), Some(at("model/policy.pt")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pt");
        let told = |expected: &str| {
            let message = load(&path).unwrap_err().to_string();
            assert!(message.contains("a.pt") && message.contains(expected), "{message}");
        };
        told("there is no such file");
        std::fs::write(&path, "no script").unwrap();
        told("there is no a.json");
        let settings = r#"{"kind": "token-logits", "vocabulary": 9, "max_length": 8, "eos": 1}"#;
        std::fs::write(folder.path().join("a.json"), settings).unwrap();
        told(if cfg!(feature = "libtorch") { "no TorchScript" } else { "build it with `--features torch`" });
    }
}

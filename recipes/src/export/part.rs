//! A model to export.
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use models::formats::{Holding, ModelFiles, SaveOptions, convert_component, save_huggingface};
use models::{Export as _, Exported};

use super::ExportedPart;
use crate::denoiser::Loaded;
use crate::settings::{SaveDtype, Values};
use crate::{Failure, denoiser, model, torchscript};

/// A loaded model with the subfolder that it is written to.
pub(super) struct Part {
    folder: &'static str,
    /// Its base, where it is an adapter.
    base: Option<String>,
    model: AnyModel,
}

enum AnyModel {
    Language(Box<ModelFiles>),
    Denoiser(Box<Loaded>),
}

impl Part {
    /// Loads a model; an adapter is merged into its base.
    pub(super) fn load(folder: &'static str, name: &str, values: &Values) -> Result<Self, Failure> {
        torchscript::refuse_export(name)?;
        if denoiser::is_one(name) {
            if values.data.chat_template().is_some() {
                return Err(Failure::usage(format!("`data.chat_template` is for language models, and {name} is none")));
            }
            let base = denoiser::base_of(name)?;
            let model = AnyModel::Denoiser(Box::new(denoiser::load(name, values)?));
            return Ok(Self { folder, base: Some(base).filter(|base| base != name), model });
        }
        let files = model::load_held(name, values, Holding::F32)?.merged()?;
        Ok(Self { folder, base: model::merged_base(&files), model: AnyModel::Language(Box::new(files)) })
    }

    pub(super) fn is_adapted(&self) -> bool {
        self.base.is_some()
    }

    pub(super) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// The type of the written weights: the one that is asked for, else that of the weights as they are stored.
    fn dtype(&self, values: &Values) -> DType {
        let stored = match &self.model {
            AnyModel::Language(files) => files.stored,
            AnyModel::Denoiser(loaded) => loaded.files.stored,
        };
        model::save_options(values, stored).dtype
    }

    pub(super) fn describe(&self, values: &Values) -> ExportedPart {
        let count = |tensors: &mut dyn Iterator<Item = &Tensor>| tensors.map(Tensor::elem_count).sum();
        let (class, parameters) = match &self.model {
            AnyModel::Language(files) => {
                (files.config.family.model_type().to_owned(), count(&mut files.tensors.values()))
            }
            AnyModel::Denoiser(loaded) => (loaded.class().to_owned(), count(&mut loaded.files.tensors.values())),
        };
        ExportedPart { class, parameters, dtype: model::dtype_name(self.dtype(values)), is_merged: self.is_adapted() }
    }

    /// Writes the model into its subfolder of a folder.
    pub(super) fn write(&self, folder: &Path, values: &Values) -> Result<(), Failure> {
        let folder: PathBuf = if self.folder.is_empty() { folder.to_owned() } else { folder.join(self.folder) };
        let save = SaveOptions { dtype: self.dtype(values), ..SaveOptions::default() };
        match &self.model {
            AnyModel::Language(files) => {
                Ok(save_huggingface(&folder, &files.config, &files.tensors, &files.extras, save)?)
            }
            AnyModel::Denoiser(loaded) => {
                let (config, tensors) = (&loaded.files.config, loaded.files.tensors.clone());
                loaded.exporter(save).export(&folder, &Exported { config, lora: None, tensors })?;
                // Without a wish the other parts keep the types that they have.
                if values.model.save_dtype() == SaveDtype::Auto {
                    return Ok(());
                }
                let network = config.component();
                for (name, _) in loaded.components().filter(|(name, _)| *name != network) {
                    let part = folder.join(name);
                    if part.is_dir() {
                        convert_component(&part, save.dtype)?;
                    }
                }
                Ok(())
            }
        }
    }
}

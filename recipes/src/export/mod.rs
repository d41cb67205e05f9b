//! `export` and `merge`: models as plain folders of the ecosystem.
mod part;

use std::fmt;
use std::path::{Path, PathBuf};

use train::write_folder;

use self::part::Part;
use crate::card::{self, Subject};
use crate::keys::{EXPORT, MERGE};
use crate::origin::run_of;
use crate::settings::{ExportSettings, MergeSettings, Modality, Values};
use crate::{Call, Failure, hybrid};

/// A model that was written as a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedModel {
    /// The folder.
    pub folder: PathBuf,
    /// Each of its models: of a hybrid the refiner and the generator.
    pub parts: Vec<ExportedPart>,
    /// The size of all its files in bytes.
    pub bytes: u64,
}

/// A model of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedPart {
    /// What it is: an architecture, or a pipeline's class.
    pub class: String,
    /// The number of parameters of the language model or the denoiser.
    pub parameters: usize,
    /// The type of its weights.
    pub dtype: &'static str,
    /// Whether an adapter was merged into it.
    pub is_merged: bool,
}

/// Writes a model of any accepted kind as a Hugging Face or diffusers folder, with its tokenizer, chat template and
/// generation settings, or all parts of its pipeline, and a model card. Adapters are merged.
///
/// # Errors
/// `run.out` exists; a model that can't be read; a file that can't be written. Nothing is left then.
pub fn export(call: Call<'_, impl ExportSettings>) -> Result<ExportedModel, Failure> {
    write(&call.found(EXPORT)?, "export", |_, _| Ok(()))
}

/// Merges an adapter into its base and writes the result as [`export`] does.
///
/// # Errors
/// As [`export`], and a model without an adapter.
pub fn merge(call: Call<'_, impl MergeSettings>) -> Result<ExportedModel, Failure> {
    write(&call.found(MERGE)?, "merge", |name, parts| {
        if parts.iter().any(Part::is_adapted) {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "{name}: there is no adapter to merge; name BASE+ADAPTER, an adapter's folder or a run with `model.lora_rank`"
        )))
    })
}

fn write(
    call: &Call<'_>,
    verb: &str,
    check: impl FnOnce(&str, &[Part]) -> Result<(), Failure>,
) -> Result<ExportedModel, Failure> {
    let values = &call.values;
    let name = values.model.model().ok_or_else(|| Failure::usage(format!("{verb} needs `model.model`")))?;
    let out = values.run.out().ok_or_else(|| Failure::usage(format!("{verb} needs `run.out`, a new folder")))?;
    let out = Path::new(out);
    if out.exists() {
        return Err(Failure::failed(format!("{} exists; a model is written to a new folder", out.display())));
    }
    let run = run_of(name)?;
    let parts = parts(name, run.as_ref(), values)?;
    check(name, &parts)?;
    let title = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let exported: Vec<ExportedPart> = parts.iter().map(|part| part.describe(values)).collect();
    for part in &exported {
        call.reporter.info(&format!("{name}: {part}"));
    }
    write_folder(out, |folder| {
        parts.iter().try_for_each(|part| part.write(folder, values))?;
        let run = run.as_ref().map(|_| Path::new(name));
        card::write(folder, &Subject { title: &title, source: &source(name, &parts), run, made: made(name, &exported) })
    })?;
    Ok(ExportedModel { folder: out.to_owned(), parts: exported, bytes: size(out)? })
}

/// The models that a name stands for: one, or both halves of a hybrid run.
fn parts(name: &str, run: Option<&Values>, values: &Values) -> Result<Vec<Part>, Failure> {
    if run.is_some_and(|run| run.run.mdp() == Modality::Hybrid) {
        let halves = hybrid::halves_of_run(Path::new(name))?;
        return hybrid::NAMES.iter().zip(halves).map(|(half, name)| Part::load(half, &name, values)).collect();
    }
    Ok(vec![Part::load("", name, values)?])
}

/// The base of an adapter, else the model.
fn source(name: &str, parts: &[Part]) -> String {
    let bases: Vec<&str> = parts.iter().filter_map(Part::base).collect();
    if bases.is_empty() { name.to_owned() } else { bases.join(" and ") }
}

/// The card's first sentence.
fn made(name: &str, parts: &[ExportedPart]) -> String {
    let types: Vec<&str> = parts.iter().map(|part| part.dtype).collect();
    let how = if parts.iter().any(|part| part.is_merged) { "its adapter merged into the base, " } else { "" };
    let name = card::shown(name).replace('`', "'");
    format!("Written by hybrid-dpo from `{name}`, {how}weights in {}.", types.join(" and "))
}

/// The size of all files below a folder.
fn size(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.path().is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// `llama, 134.5M parameters, bf16, adapter merged`.
impl fmt::Display for ExportedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.1}M parameters, {}", self.class, self.parameters as f64 / 1e6, self.dtype)?;
        if self.is_merged { f.write_str(", adapter merged") } else { Ok(()) }
    }
}

/// The folder, what is in it, its size.
impl fmt::Display for ExportedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(ToString::to_string).collect();
        let megabytes = self.bytes as f64 / 1e6;
        write!(f, "{}: {}; {megabytes:.1} MB", self.folder.display(), parts.join(" and "))
    }
}

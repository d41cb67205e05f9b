//! Names of models and data sets on the hub, in the settings that take paths.
//!
//! A text is a path where there is one, else the name of something embedded, else a name of the hub: it is looked up in the user's
//! cache, downloaded where it is not there, and replaced by its path in the cache. That path names repository and commit, so a
//! run's `config.toml`, its card and its continuation have them; where the path is gone, as on another machine, it is sought by
//! them again.
use std::path::{Path, PathBuf};

use hub::{Hub, HubError, Kind, Name, Progress};
use models::formats::{adapter_base, denoiser_lora_base, is_denoiser_lora};

use crate::amounts::{bytes, counted};
use crate::embedded::is_embedded;
use crate::keys::{self, Verbs};
use crate::reporter::Bar;
use crate::settings::{Field, Values, at};
use crate::sources::divide;
use crate::{Failure, Reporter};

/// Settings that name models, adapters or files beside them.
const MODELS: [&Field; 13] = [
    &at::model::model,
    &at::model::reference,
    &at::model::scheduler,
    &at::data::chat_template,
    &at::search::verifier,
    &at::search::guide,
    &at::search::guide_reference,
    &at::hybrid::refiner,
    &at::hybrid::generator,
    &at::hybrid::refiner_reference,
    &at::hybrid::generator_reference,
    &at::judge::judge,
    &at::credit::reward_model,
];

/// Settings that name data sets or files of them; `data.data` has several.
const DATA: [&Field; 5] = [
    &at::data::eval_data,
    &at::data::latents,
    &at::diffusion::draws,
    &at::diffusion::trajectories,
    &at::sample::prompts,
];

/// Replaces the names of the hub that a verb reads by paths.
///
/// # Errors
/// A name that neither the cache nor the hub has; a failed download.
pub(crate) fn find(values: &mut Values, verb: Verbs, reporter: &dyn Reporter) -> Result<(), Failure> {
    let Some(hub) = reporter.hub() else { return Ok(()) };
    let is_read = |field: &Field| keys::all().any(|key| *key.field == *field && key.verbs & verb != 0);
    let fields = MODELS.map(|field| (Kind::Model, field)).into_iter().chain(DATA.map(|field| (Kind::Dataset, field)));
    for (kind, field) in fields.filter(|(_, field)| is_read(field)) {
        let Some(toml::Value::String(text)) = field.value(values) else { continue };
        let within = |failure: Failure| failure.within(&field.to_string());
        if let Some(path) = found(hub, kind, &text, reporter).map_err(within)? {
            values.set(|settings| field.put(settings, &path));
        }
    }
    if is_read(&at::data::data) {
        let texts = values.data.data.all().iter().map(|text| source(hub, text, reporter));
        let texts = texts.collect::<Result<Vec<String>, Failure>>();
        let texts = texts.map_err(|failure| failure.within(&at::data::data.to_string()))?;
        if texts != values.data.data.all() {
            values.set(|settings| settings.data.data = texts.into_iter().collect());
        }
    }
    Ok(())
}

/// A path of any kind, or what the hub has of its name: a model, else a data set.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_any(path: PathBuf, reporter: &dyn Reporter) -> Result<PathBuf, Failure> {
    let (Some(hub), Some(text)) = (reporter.hub(), path.to_str()) else { return Ok(path) };
    let data = Name::parse(Kind::Dataset, text).filter(|name| hub.cache.find(name).is_some());
    let is_model_here = || Name::parse(Kind::Model, text).is_some_and(|name| hub.cache.find(&name).is_some());
    let found = if data.is_some() && !is_model_here() {
        found(hub, Kind::Dataset, text, reporter)?
    } else {
        match found(hub, Kind::Model, text, reporter) {
            // What the hub has no model of may be a data set.
            Err(failure) => found(hub, Kind::Dataset, text, reporter).map_err(|_| failure)?,
            found => found?,
        }
    };
    Ok(found.map_or(path, PathBuf::from))
}

/// One of the sources of `data.data`, with its weight.
fn source(hub: &Hub, text: &str, reporter: &dyn Reporter) -> Result<String, Failure> {
    let (name, weight) = divide(text, |name| is_embedded(name) || Path::new(name).exists());
    let name = found(hub, Kind::Dataset, name, reporter)?.unwrap_or_else(|| name.to_owned());
    Ok(weight.map_or_else(|| name.clone(), |weight| format!("{name}:{weight}")))
}

/// The path of a name, or the two of `base+adapter`; `None` where the text stays as it is. The base of an adapter is in the cache
/// afterwards too.
fn found(hub: &Hub, kind: Kind, text: &str, reporter: &dyn Reporter) -> Result<Option<String>, Failure> {
    let path = one(hub, kind, text, reporter)?;
    if kind == Kind::Dataset {
        return Ok(path);
    }
    if path.is_none()
        && !Path::new(text).exists()
        && let Some((base, adapter)) = text.split_once('+')
    {
        let (found, adapted) = (one(hub, kind, base, reporter)?, one(hub, kind, adapter, reporter)?);
        let is_found = found.is_some() || adapted.is_some();
        let joined = || format!("{}+{}", found.as_deref().unwrap_or(base), adapted.as_deref().unwrap_or(adapter));
        return Ok(is_found.then(joined));
    }
    let folder = Path::new(path.as_deref().unwrap_or(text));
    // What is wrong with an adapter is said where it is read.
    let base = if folder.is_dir() { base_of(folder) } else { None };
    if let Some(base) = base {
        one(hub, kind, &base, reporter)?;
    }
    Ok(path)
}

/// The base that an adapter names.
fn base_of(folder: &Path) -> Option<String> {
    let base = adapter_base(folder).ok().flatten();
    base.or_else(|| denoiser_lora_base(folder).ok().flatten().filter(|_| is_denoiser_lora(folder)))
}

/// The path of one name.
fn one(hub: &Hub, kind: Kind, text: &str, reporter: &dyn Reporter) -> Result<Option<String>, Failure> {
    if is_embedded(text) || Path::new(text).exists() {
        return Ok(None);
    }
    let Some(name) = Name::parse(kind, text).or_else(|| Name::of_path(Path::new(text))) else { return Ok(None) };
    // Below a folder that is here, a path was meant.
    let owner = name.repository.split('/').next().unwrap_or_default();
    if Path::new(owner).is_dir() && text.starts_with(owner) && hub.cache.find(&name).is_none() {
        return Ok(None);
    }
    let mut shown = Shown { reporter, bar: None, unit: 1 };
    match hub.get(&name, &mut shown) {
        Ok(found) => Ok(Some(found.path().display().to_string())),
        Err(error @ HubError::Connection(_)) => Err(Failure::usage(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// The progress of a download.
struct Shown<'r> {
    reporter: &'r dyn Reporter,
    bar: Option<Box<dyn Bar>>,
    /// The bytes of one unit of the bar.
    unit: u64,
}

impl Progress for Shown<'_> {
    fn begins(&mut self, name: &Name, host: &str, files: usize, (arrived, all): (u64, u64)) {
        let before =
            if arrived == 0 { String::new() } else { format!(", of which {} are here", bytes(arrived as f64)) };
        let (files, all_bytes) = (counted(files, "file"), bytes(all as f64));
        self.reporter.info(&format!("{name}: downloading {files}, {all_bytes}{before}, from {host}"));
        let (unit, what) = if all < 10_000_000 { (1_000, "download, kB") } else { (1_000_000, "download, MB") };
        self.unit = unit;
        self.bar = Some(self.reporter.bar(what, all.div_ceil(unit) as usize));
        self.arrived(arrived);
    }

    fn arrived(&mut self, bytes: u64) {
        self.bar.iter().for_each(|bar| bar.set_position(bytes / self.unit));
    }

    fn ends(&mut self) {
        self.bar.take().iter().for_each(|bar| bar.finish_and_clear());
    }

    fn notice(&mut self, line: &str) {
        self.reporter.notice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Values;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    struct Here(Hub);

    impl Reporter for Here {
        fn info(&self, _: &str) {}
        fn notice(&self, _: &str) {}
        fn hub(&self) -> Option<&Hub> {
            Some(&self.0)
        }
        fn bar(&self, what: &'static str, total: usize) -> Box<dyn Bar> {
            crate::QUIET.bar(what, total)
        }
        fn monitor(&self) -> Box<dyn train::Monitor + '_> {
            crate::QUIET.monitor()
        }
        fn trained(&self, _: &crate::Trained) {}
        fn stop(&self) -> &std::sync::atomic::AtomicBool {
            crate::QUIET.stop()
        }
    }

    #[test]
    fn every_path_that_is_read_may_be_a_name() {
        // Certificates and questions to a judge are files of one's own; the sources of data are a list.
        let own = [&at::judge::template, &at::judge::ca, &at::data::data];
        for field in crate::paths::READ {
            let is_named = MODELS.iter().chain(&DATA).any(|known| *known == field);
            assert_eq!(is_named, !own.contains(&field), "{field}");
        }
    }

    #[test]
    fn names_become_paths_of_the_cache_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for name in ["models--org--model", "models--org--adapter", "datasets--org--data"] {
            write(&format!("{name}/refs/main"), COMMIT);
        }
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            write(&format!("models--org--model/snapshots/{COMMIT}/{name}"), "{}");
        }
        write(&format!("models--org--adapter/snapshots/{COMMIT}/adapter_config.json"), "{}");
        write(&format!("models--org--adapter/snapshots/{COMMIT}/adapter_model.safetensors"), "{}");
        write(&format!("datasets--org--data/snapshots/{COMMIT}/train.jsonl"), "{}");
        let here = Here(Hub { is_offline: true, ..Hub::new(hub::Cache::new(folder.path())) });
        let at = |name: &str| folder.path().join(name).join("snapshots").join(COMMIT).display().to_string();
        let mut values = Values::default();
        for set in ["model.model=org/model+org/adapter", "model.reference=builtin:tldr", "data.eval_data=missing.jsonl"]
        {
            values.merge_set(set).unwrap();
        }
        let elsewhere = format!("/gone/models--org--model/snapshots/{COMMIT}");
        values.merge_set(&format!("search.guide={elsewhere}")).unwrap();
        values.merge_flags(&at::data::data, &["org/data:2".to_owned(), "a.jsonl:1".to_owned()]).unwrap();
        find(&mut values, keys::TRAIN, &here).unwrap();
        let (model, data) = (at("models--org--model"), at("datasets--org--data"));
        assert_eq!(values.model.model, Some(format!("{model}+{}", at("models--org--adapter"))));
        assert_eq!(values.model.reference.as_deref(), Some("builtin:tldr"));
        assert_eq!(values.data.eval_data.as_deref(), Some("missing.jsonl"));
        assert_eq!(values.data.data.all(), [format!("{data}:2"), "a.jsonl:1".to_owned()]);
        find(&mut values, keys::SEARCH, &here).unwrap();
        assert_eq!(values.search.guide, Some(model));
        values.merge_set("model.model=org/modle").unwrap();
        let failure = find(&mut values, keys::TRAIN, &here).unwrap_err().to_string();
        assert!(failure.starts_with("`model.model`: org/modle: there is no such path here"), "{failure}");
        assert!(failure.contains("the cache has org/model, org/adapter"), "{failure}");
        assert_eq!(find_any("org/data".into(), &here).unwrap(), Path::new(&data));
        assert_eq!(find_any("org/none.jsonl".into(), &here).unwrap(), Path::new("org/none.jsonl"));
    }
}

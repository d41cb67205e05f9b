//! Paths in settings, wherever the program is started.
//!
//! Paths in a run's `config.toml` stay as they were typed: relative to the folder in which the program was started, as the
//! run's own, `run.out`, is. So that folder is known from where the run is, also after both were moved together. Where
//! `run.out` does not tell it, the config file has absolute paths.
use std::path::{Component, Path, PathBuf};

use crate::embedded::is_embedded;
use crate::settings::{Field, Values, at};
use crate::sources::divide;

/// Settings that name files or folders to read.
pub(crate) const READ: [&Field; 21] = [
    &at::model::model,
    &at::model::reference,
    &at::model::scheduler,
    &at::data::data,
    &at::data::eval_data,
    &at::data::chat_template,
    &at::data::latents,
    &at::diffusion::draws,
    &at::diffusion::trajectories,
    &at::sample::prompts,
    &at::search::verifier,
    &at::search::guide,
    &at::search::guide_reference,
    &at::hybrid::refiner,
    &at::hybrid::generator,
    &at::hybrid::refiner_reference,
    &at::hybrid::generator_reference,
    &at::judge::judge,
    &at::judge::template,
    &at::judge::ca,
    &at::credit::reward_model,
];

/// Settings that name files to write, which may not exist yet.
const WRITTEN: [&Field; 4] = [&at::run::out, &at::train::reference_cache, &at::data::latent_cache, &at::judge::cache];

/// The folder in which a run was started, by its place and the `run.out` of its settings; `None` if they do not tell it.
pub(crate) fn started_in(run: &Path, out: &Path) -> Option<PathBuf> {
    let out = plain(out)?;
    let places = [std::path::absolute(run).ok(), run.canonicalize().ok()];
    places.into_iter().flatten().find_map(|place| {
        // `absolute` keeps `..`, which hides where a folder is.
        let is_plain = place.components().all(|part| part != Component::ParentDir);
        (is_plain && place.ends_with(&out))
            .then(|| place.ancestors().nth(out.components().count()).map(Path::to_owned))?
    })
}

/// Whether the place of a run tells where it was started.
pub(crate) fn tells_its_start(out: &Path) -> bool {
    plain(out).is_some()
}

/// A relative path without `.`; `None` if it is absolute or leads upwards.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir).peekable();
    parts.peek()?;
    parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect()
}

/// Makes relative paths absolute that are relative to `base`.
pub(crate) fn resolve(values: &mut Values, base: &Path) {
    if values.data.data.are_several() {
        let sources = values.data.data.all().iter().map(|text| source(base, text)).collect();
        values.set(|settings| settings.data.data = sources);
    }
    for field in READ.into_iter().chain(WRITTEN) {
        let Some(toml::Value::String(text)) = field.value(values) else { continue };
        let found = if WRITTEN.contains(&field) { Some(below(base, &text)) } else { found(base, &text) };
        if let Some(path) = found {
            values.set(|settings| field.put(settings, &path.display().to_string()));
        }
    }
}

/// An existing path below `base`, or the two of `base+adapter`; `None` where there is none, as for the name of something
/// embedded.
fn found(base: &Path, text: &str) -> Option<PathBuf> {
    if text.is_empty() || is_embedded(text) && !text.contains('+') {
        return None;
    }
    let whole = below(base, text);
    if whole.exists() {
        return Some(whole);
    }
    let (model, adapter) = text.split_once('+')?;
    let part = |text: &str| if is_embedded(text) { PathBuf::from(text) } else { below(base, text) };
    Some(PathBuf::from(format!("{}+{}", part(model).display(), part(adapter).display())))
}

/// One of several sources below `base`, with its weight.
fn source(base: &Path, text: &str) -> String {
    let (name, weight) = divide(text, |name| below(base, name).exists());
    let name = found(base, name).map_or_else(|| name.to_owned(), |path| path.display().to_string());
    weight.map_or_else(|| name.clone(), |weight| format!("{name}:{weight}"))
}

fn below(base: &Path, text: &str) -> PathBuf {
    // `./` is of no use within an absolute path.
    base.join(Path::new(text).components().filter(|part| *part != Component::CurDir).collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_run_tells_where_it_was_started() {
        let started = |run: &str, out: &str| started_in(Path::new(run), Path::new(out));
        assert_eq!(started("/home/me/work/runs/first", "runs/first"), Some("/home/me/work".into()));
        assert_eq!(started("/home/me/work/runs/first/", "./runs//first"), Some("/home/me/work".into()));
        assert_eq!(started("/home/me/work/runs/renamed", "runs/first"), None);
        assert_eq!(started("/home/me/runs/first", "/home/me/runs/first"), None);
        assert_eq!(started("/home/me/runs/first", "../runs/first"), None);
        assert_eq!(started("/home/me/runs/first", ""), None);
    }

    #[test]
    fn what_exists_there_is_resolved_and_names_stay() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        std::fs::write(base.join("pairs.jsonl"), "").unwrap();
        std::fs::create_dir(base.join("adapter")).unwrap();
        let mut values = Values::default();
        for set in [
            "data.data=./pairs.jsonl",
            "data.eval_data=missing.jsonl",
            "model.model=builtin:tldr+adapter",
            "model.reference=builtin:tldr",
            "train.reference_cache=numbers.cache",
            "run.out=runs/first",
        ] {
            values.merge_set(set).unwrap();
        }
        resolve(&mut values, base);
        let at = |name: &str| Some(base.join(name).display().to_string());
        assert_eq!(values.data.data.first().map(str::to_owned), at("pairs.jsonl"));
        assert_eq!(values.data.eval_data.as_deref(), Some("missing.jsonl"));
        assert_eq!(values.model.model, at("adapter").map(|path| format!("builtin:tldr+{path}")));
        assert_eq!(values.model.reference.as_deref(), Some("builtin:tldr"));
        assert_eq!(values.train.reference_cache, at("numbers.cache"));
        assert_eq!(values.run.out, at("runs/first"));
        assert_eq!(values.judge.judge, "oracle");
    }

    #[test]
    fn each_of_several_sources_is_resolved_with_its_weight() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "b:2"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut values = Values::default();
        let given = ["a.jsonl:3", "b:2:0.5", "missing:1"].map(str::to_owned);
        values.merge_flags(&at::data::data, &given).unwrap();
        resolve(&mut values, folder.path());
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(values.data.data.all(), [at("a.jsonl:3"), at("b:2:0.5"), "missing:1".to_owned()]);
    }
}

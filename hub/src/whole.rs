//! Whether a copy in the cache has what is needed.
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::needed::{is_dispensable, needed, weights};
use crate::{Cache, Kind, Name, Snapshot};

/// The folder of a repository in which we keep the lists of its files.
pub(crate) const LISTS: &str = ".hybrid-dpo";

/// How much of a copy is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// All that is needed.
    Whole,
    /// It can be read; the hub may have more that belongs to it: a tokenizer, other records.
    Readable,
    /// Something that is needed is not there.
    Lacks(String),
}

/// Says how much of a copy is there: by the list of files that huggingface_hub or we have kept where there is one, else by what the
/// files name.
pub(crate) fn state(cache: &Cache, copy: &Snapshot) -> State {
    let name = &copy.name;
    let repository = cache.folder().join(name.folder());
    if copy.path().is_file() {
        return State::Whole;
    }
    let root = name.inside.as_ref().map_or_else(|| copy.folder.clone(), |inside| copy.folder.join(inside));
    let by_itself = match name.kind {
        // `datasets` loads the files of one configuration, and what others there are is not told by them.
        Kind::Dataset if has_data(name, &copy.folder) => State::Readable,
        Kind::Dataset => State::Lacks("records".to_owned()),
        Kind::Model => {
            let is_known_without = repository.join(".no_exist").join(&copy.commit).join("tokenizer.json").exists();
            of_model(&root, is_known_without)
        }
    };
    let lists = ["trees", LISTS].map(|folder| repository.join(folder).join(format!("{}.json", copy.commit)));
    match lists.iter().find_map(|path| listed(path)) {
        Some(listed) => by_list(copy, &listed, by_itself),
        None => by_itself,
    }
}

/// How much of the files in a list is there, of a copy that is so by itself.
fn by_list(copy: &Snapshot, listed: &[String], by_itself: State) -> State {
    let paths: Vec<&str> = listed.iter().map(String::as_str).collect();
    let is_missing = |path: &&str| !copy.folder.join(path).exists();
    let missing: Vec<&str> = needed(&copy.name, &paths).into_iter().filter(is_missing).collect();
    match (copy.name.kind, by_itself) {
        (Kind::Dataset, _) => missing.first().map_or(State::Whole, |path| State::Lacks((*path).to_owned())),
        (Kind::Model, State::Lacks(_)) if missing.is_empty() => State::Whole,
        (Kind::Model, State::Lacks(what)) => State::Lacks(what),
        // Weights of another precision serve, and so does a model without its card.
        (Kind::Model, State::Whole | State::Readable) if missing.iter().all(|path| is_dispensable(path)) => {
            State::Whole
        }
        (Kind::Model, State::Whole | State::Readable) => State::Readable,
    }
}

/// The paths in a list of files: huggingface_hub's has facts of each, ours has none.
fn listed(path: &Path) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    match &value["files"] {
        Value::Object(files) => Some(files.keys().cloned().collect()),
        files => files.as_array()?.iter().map(|path| Some(path.as_str()?.to_owned())).collect(),
    }
}

fn has_data(name: &Name, folder: &Path) -> bool {
    let mut paths = Vec::new();
    walk(folder, "", &mut paths);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    !needed(name, &paths).is_empty()
}

/// The files below a folder, by their places in it; links that lead nowhere are none.
fn walk(folder: &Path, place: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, &format!("{place}{name}/"), found);
        } else if path.exists() {
            found.push(format!("{place}{name}"));
        }
    }
}

fn of_model(root: &Path, is_known_without: bool) -> State {
    let has = |name: &str| root.join(name).exists();
    let lacking = if has("model_index.json") {
        parts(root)
    } else if has("config.json") {
        weights_lack(root)
    } else if has("adapter_config.json") {
        (!has("adapter_model.safetensors")).then(|| "adapter_model.safetensors".to_owned())
    } else if has("pytorch_lora_weights.safetensors") || has("scheduler_config.json") || has("tokenizer_config.json") {
        None
    } else {
        Some("config.json".to_owned())
    };
    let has_tokenizer = ["tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"].into_iter().any(has);
    match lacking {
        Some(what) => State::Lacks(what),
        None if has("config.json") && !has_tokenizer && !is_known_without => State::Readable,
        None => State::Whole,
    }
}

/// The first part that a pipeline names and does not have.
fn parts(root: &Path) -> Option<String> {
    let value: Value = serde_json::from_slice(&fs::read(root.join("model_index.json")).ok()?).ok()?;
    // A part is `[library, class]`; one that is left out is `[null, null]`.
    let is_part =
        |value: &Value| value.as_array().is_some_and(|pair| pair.len() == 2 && pair.iter().all(Value::is_string));
    value.as_object()?.iter().filter(|(_, value)| is_part(value)).find_map(|(name, _)| {
        let folder = root.join(name);
        if !folder.is_dir() {
            return Some(format!("the folder {name}"));
        }
        let lacking = if folder.join("config.json").exists() { weights_lack(&folder) } else { None };
        lacking.map(|what| format!("{what} in {name}"))
    })
}

/// The weights that a folder with a config does not have.
fn weights_lack(folder: &Path) -> Option<String> {
    let mut names = Vec::new();
    walk(folder, "", &mut names);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = weights(&names);
    let Some(index) = found.iter().find(|name| name.contains(".index.")) else {
        return found.is_empty().then(|| "weights (safetensors)".to_owned());
    };
    let value: Value = serde_json::from_slice(&fs::read(folder.join(index)).ok()?).ok()?;
    let shards = value["weight_map"].as_object()?.values().filter_map(Value::as_str);
    shards.filter(|shard| !found.contains(shard)).map(str::to_owned).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// The state of a copy that has these files.
    fn of(kind: Kind, files: &[(&str, &str)]) -> State {
        let folder = tempfile::tempdir().unwrap();
        let name = Name::parse(kind, &format!("org/name@{COMMIT}")).unwrap();
        let repository = folder.path().join(name.folder());
        fs::create_dir_all(repository.join("snapshots").join(COMMIT)).unwrap();
        for (place, text) in files {
            let path = match place.strip_prefix('^') {
                Some(place) => repository.join(place),
                None => repository.join("snapshots").join(COMMIT).join(place),
            };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let cache = Cache::new(folder.path());
        state(&cache, &cache.find(&name).unwrap())
    }

    #[test]
    fn a_copy_is_whole_or_lacks_something() {
        let lacks = |what: &str| State::Lacks(what.to_owned());
        let model = |files: &[(&str, &str)]| of(Kind::Model, files);
        let (config, weights, tokenizer) = (("config.json", "{}"), ("model.safetensors", ""), ("tokenizer.json", "{}"));
        assert_eq!(model(&[("README.md", "")]), lacks("config.json"));
        assert_eq!(model(&[config, tokenizer]), lacks("weights (safetensors)"));
        assert_eq!(model(&[config, tokenizer, weights]), State::Whole);
        assert_eq!(model(&[config, weights]), State::Readable);
        let known = format!("^.no_exist/{COMMIT}/tokenizer.json");
        assert_eq!(model(&[config, weights, (&known, "")]), State::Whole);
        let index = (
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#,
        );
        assert_eq!(model(&[config, tokenizer, index, ("model-1.safetensors", "")]), lacks("model-2.safetensors"));
        assert_eq!(model(&[("adapter_config.json", "{}")]), lacks("adapter_model.safetensors"));
        let pipeline = (
            "model_index.json",
            r#"{"_class_name": "P", "unet": ["d", "U"], "image_encoder": [null, null], "vae": ["d", "V"]}"#,
        );
        let unet = [("unet/config.json", "{}"), ("unet/diffusion_pytorch_model.safetensors", "")];
        assert_eq!(model(&[pipeline, unet[0], unet[1]]), lacks("the folder vae"));
        assert_eq!(
            model(&[pipeline, unet[0], unet[1], ("vae/config.json", "{}")]),
            lacks("weights (safetensors) in vae")
        );
        assert_eq!(model(&[("a.gguf", "")]), State::Whole);
    }

    #[test]
    fn a_list_of_files_decides_where_there_is_one() {
        let tree = format!("^trees/{COMMIT}.json");
        let listed = r#"{"format_version": 1, "files": {"a.jsonl": {}, "b.jsonl": {}, "c.py": {}}}"#;
        let data = |files: &[(&str, &str)]| of(Kind::Dataset, files);
        assert_eq!(data(&[(&tree, listed), ("a.jsonl", "")]), State::Lacks("b.jsonl".to_owned()));
        assert_eq!(data(&[(&tree, listed), ("a.jsonl", ""), ("b.jsonl", "")]), State::Whole);
        assert_eq!(data(&[("a.jsonl", "")]), State::Readable);
        assert_eq!(data(&[("README.md", "")]), State::Lacks("records".to_owned()));
    }

    #[test]
    fn a_model_that_was_loaded_in_part_is_read_where_that_part_suffices() {
        let tree = format!("^trees/{COMMIT}.json");
        let names = ["README.md", "config.json", "model.safetensors", "model.fp16.safetensors", "tokenizer.json"];
        let files = names.map(|name| format!("\"{name}\": {{}}")).join(", ");
        let listed = format!("{{\"format_version\": 1, \"files\": {{{files}}}}}");
        let model =
            |more: &[(&str, &str)]| of(Kind::Model, &[&[(&*tree, &*listed), ("config.json", "{}")], more].concat());
        let (weights, tokenizer) = (("model.safetensors", ""), ("tokenizer.json", "{}"));
        assert_eq!(model(&[weights, tokenizer]), State::Whole);
        assert_eq!(model(&[("model.fp16.safetensors", ""), tokenizer]), State::Whole);
        assert_eq!(model(&[weights]), State::Readable);
        assert_eq!(model(&[tokenizer]), State::Lacks("weights (safetensors)".to_owned()));
    }
}

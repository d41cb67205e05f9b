//! The files of a repository that a job needs.
use std::collections::BTreeSet;

use crate::{Kind, Name};

/// Names of weights without their ending, as transformers, diffusers and PEFT write them.
const STEMS: [&str; 4] = ["model", "diffusion_pytorch_model", "adapter_model", "pytorch_lora_weights"];

/// Files beside the weights that are read or go along when a model is written, by their whole name.
const BESIDE: [&str; 6] = ["merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", CARD, "LICENSE"];

/// The model's card, which names its licence.
const CARD: &str = "README.md";

/// The folder of additional chat templates.
const TEMPLATES: &str = "additional_chat_templates/";

/// Endings of records and of pictures beside them.
const DATA: [&str; 15] = [
    ".jsonl",
    ".json",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".gz",
    ".zst",
    ".txt",
    ".npz",
    ".safetensors",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
];

/// The paths that are needed of all `paths` of a repository, in their order.
pub(crate) fn needed<'a>(name: &Name, paths: &[&'a str]) -> Vec<&'a str> {
    let inside = name.inside.as_deref();
    if paths.iter().any(|path| Some(*path) == inside) {
        let is_card = |path: &str| name.kind == Kind::Model && path == CARD;
        return paths.iter().copied().filter(|path| Some(*path) == inside || is_card(path)).collect();
    }
    let start = inside.map_or_else(String::new, |inside| format!("{inside}/"));
    let within: Vec<(&str, &'a str)> =
        paths.iter().filter_map(|path| Some((path.strip_prefix(&start)?, *path))).collect();
    match name.kind {
        Kind::Model => of_model(&within),
        Kind::Dataset => within.into_iter().filter(|(place, _)| is_data(place)).map(|(_, path)| path).collect(),
    }
}

fn is_data(place: &str) -> bool {
    let is_hidden = place.split('/').any(|part| part.starts_with('.'));
    let name = place.to_ascii_lowercase();
    !is_hidden && DATA.iter().any(|ending| name.ends_with(ending))
}

/// Of the places of a model, each with its path.
fn of_model<'a>(places: &[(&str, &'a str)]) -> Vec<&'a str> {
    let is_pipeline = places.iter().any(|(place, _)| *place == "model_index.json");
    let folders: BTreeSet<&str> = places.iter().map(|(place, _)| folder_of(place)).collect();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for folder in folders {
        // The parts of a pipeline stand one below it; other folders hold other forms of the same model.
        let is_part = folder.is_empty() || is_pipeline && !folder.contains('/');
        let names: Vec<&str> =
            places.iter().filter(|(place, _)| folder_of(place) == folder).map(|(place, _)| name_of(place)).collect();
        let chosen: BTreeSet<&str> = if is_part {
            weights(&names).into_iter().chain(names.iter().copied().filter(|name| is_beside(name))).collect()
        } else {
            BTreeSet::new()
        };
        let of_folder =
            places.iter().filter(|(place, _)| folder_of(place) == folder && chosen.contains(name_of(place)));
        taken.extend(of_folder.map(|(_, path)| *path));
    }
    taken.extend(places.iter().filter(|(place, _)| place.starts_with(TEMPLATES)).map(|(_, path)| *path));
    if let Some(file) = lone_gguf(places) {
        taken = BTreeSet::from([file]);
        taken.extend(places.iter().filter(|(place, _)| *place == CARD).map(|(_, path)| *path));
    }
    places.iter().map(|(_, path)| *path).filter(|path| taken.contains(path)).collect()
}

/// The only GGUF file of a repository without weights of another kind.
fn lone_gguf<'a>(places: &[(&str, &'a str)]) -> Option<&'a str> {
    let of = |ending: &str| {
        places.iter().filter(|(place, _)| place.ends_with(ending)).map(|(_, path)| *path).collect::<Vec<_>>()
    };
    match (&of(".gguf")[..], &of(".safetensors")[..]) {
        ([one], []) => Some(one),
        _ => None,
    }
}

/// The files of weights that are read of those in a folder: full precision before half, one file before shards.
pub(crate) fn weights<'a>(names: &[&'a str]) -> Vec<&'a str> {
    STEMS.iter().flat_map(|stem| of_stem(stem, names)).collect()
}

fn of_stem<'a>(stem: &str, names: &[&'a str]) -> Vec<&'a str> {
    for (stem, index) in [
        (stem.to_owned(), format!("{stem}.safetensors.index.json")),
        (format!("{stem}.fp16"), format!("{stem}.safetensors.index.fp16.json")),
    ] {
        let single = format!("{stem}.safetensors");
        if let Some(single) = names.iter().find(|name| **name == single) {
            return vec![single];
        }
        if names.iter().any(|name| *name == index) {
            let is_shard =
                |name: &str| name.strip_prefix(&format!("{stem}-")).is_some_and(|rest| rest.ends_with(".safetensors"));
            return names.iter().copied().filter(|name| **name == index || is_shard(name)).collect();
        }
    }
    Vec::new()
}

/// Whether a copy with weights can be read as well without this file: other weights, the card, the licence.
pub(crate) fn is_dispensable(path: &str) -> bool {
    let name = name_of(path);
    path.ends_with(".safetensors") || name.contains(".safetensors.index") || name == CARD || name.starts_with("LICENSE")
}

fn is_beside(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let is_settings = ending == "json" && !name.contains(".index.") || ending == "jinja";
    is_settings || BESIDE.contains(&name) || name.starts_with("LICENSE.")
}

fn folder_of(place: &str) -> &str {
    place.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn name_of(place: &str) -> &str {
    place.rsplit_once('/').map_or(place, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, text: &str, paths: &[&'static str]) -> Vec<&'static str> {
        needed(&Name::parse(kind, text).unwrap(), paths)
    }

    #[test]
    fn a_language_model_is_its_safetensors_and_what_stands_beside() {
        let all = [
            ".gitattributes",
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "generation_config.json",
            "merges.txt",
            "model.safetensors",
            "onnx/model.onnx",
            "onnx/config.json",
            "pytorch_model.bin",
            "tokenizer.json",
            "additional_chat_templates/tool.jinja",
            "original/consolidated.00.pth",
            "tf_model.h5",
        ];
        let kept = [
            "README.md",
            "config.json",
            "generation_config.json",
            "merges.txt",
            "model.safetensors",
            "tokenizer.json",
            "additional_chat_templates/tool.jinja",
        ];
        assert_eq!(of(Kind::Model, "org/name", &all), kept);
        assert_eq!(of(Kind::Model, "org/name/onnx", &all), ["onnx/config.json"]);
    }

    #[test]
    fn shards_come_with_their_index_and_adapters_with_their_settings() {
        let shards = [
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin.index.json",
        ];
        let kept = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ];
        assert_eq!(of(Kind::Model, "org/name", &shards), kept);
        assert_eq!(
            of(Kind::Model, "org/name", &["adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"]),
            ["adapter_config.json", "adapter_model.safetensors"]
        );
    }

    #[test]
    fn a_pipeline_has_the_weights_of_its_parts_in_one_precision() {
        let all = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "v1-5-pruned.safetensors",
            "vae/deep/config.json",
        ];
        let kept = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
        ];
        assert_eq!(of(Kind::Model, "org/name", &all), kept);
        assert_eq!(
            of(Kind::Model, "org/name/scheduler/scheduler_config.json", &all),
            ["scheduler/scheduler_config.json"]
        );
    }

    #[test]
    fn one_quantised_file_is_a_model_and_several_are_a_choice() {
        let one = ["README.md", "config.json", "model-q4.gguf"];
        assert_eq!(of(Kind::Model, "org/name", &one), ["README.md", "model-q4.gguf"]);
        let two = ["README.md", "a-q4.gguf", "a-q8.gguf"];
        assert_eq!(of(Kind::Model, "org/name", &two), ["README.md"]);
        assert_eq!(of(Kind::Model, "org/name/a-q8.gguf", &two), ["README.md", "a-q8.gguf"]);
    }

    #[test]
    fn a_data_set_is_its_records() {
        let all =
            [".gitattributes", "README.md", "data/test-0.parquet", "data/train-0.parquet", "load.py", "raw/a.JSONL.gz"];
        assert_eq!(
            of(Kind::Dataset, "org/name", &all),
            ["data/test-0.parquet", "data/train-0.parquet", "raw/a.JSONL.gz"]
        );
        assert_eq!(of(Kind::Dataset, "org/name/raw", &all), ["raw/a.JSONL.gz"]);
        assert!(of(Kind::Dataset, "org/name/missing", &all).is_empty());
    }
}

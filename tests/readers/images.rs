//! Pictures, and files of latents, draws and trajectories.

use std::path::Path;

use datasets::ReadOptions;
use datasets::images::{
    DrawFile, ImageKind, ImageSettings, LatentShape, Latents, Preparation, TrajectoryFile, open, tensor_kind,
};

use super::{scene, told};

/// Small pictures.
pub(crate) fn settings() -> ImageSettings {
    ImageSettings { kind: ImageKind::Judged, size: 4, preparation: Preparation::default(), flip: None }
}

/// One picture, as the only one of a record.
pub(crate) fn pictures(input: &[u8]) -> Result<(), String> {
    let record = br#"{"prompt": "a dog", "image": "x.png", "label": true}"#;
    let base: [(&str, &[u8]); 2] = [("records.jsonl", record), ("x.png", input)];
    let folder = scene::folder(&[], &base, &[]);
    let data = open(&folder.path().join("records.jsonl"), ReadOptions::default(), settings()).map_err(told)?;
    let (_, pixels, is_liked) = data.judged(0).map_err(told)?;
    assert!(is_liked && pixels.len() == 1);
    assert!(pixels.iter().flat_map(|pixels| pixels.values().iter()).all(|value| (-1.0..=1.0).contains(value)));
    Ok(())
}

/// A file of latents, draws or trajectories, read as each of them.
pub(crate) fn latents(input: &[u8]) -> Result<(), String> {
    let (_folder, path) = scene::file("x.safetensors", input);
    tensor_kind(&path).map_err(told)?;
    let found =
        [examples(&path, ImageKind::Pairs), examples(&path, ImageKind::Captioned), trajectories(&path), draws(&path)];
    let mut errors = found.into_iter().map(Result::err).collect::<Option<Vec<_>>>().unwrap_or_default();
    errors.pop().map_or(Ok(()), Err)
}

fn examples(path: &Path, kind: ImageKind) -> Result<(), String> {
    let file = Latents::open(path, kind).map_err(told)?;
    let _ = (file.empty_context(), file.highest_class(), file.fingerprint());
    for index in 0..file.len() {
        let pair = file.get(index).map_err(told)?;
        assert_eq!(pair.chosen.len(), file.shape().size());
        let _ = (file.told(index), file.caption(index), file.context_row(index));
    }
    assert!(file.get(file.len()).is_err());
    Ok(())
}

fn trajectories(path: &Path) -> Result<(), String> {
    let file = TrajectoryFile::open(path, 1000).map_err(told)?;
    for index in 0..file.len() {
        let found = file.get(index).map_err(told)?;
        assert_eq!((found.latents.len(), found.log_probs.len()), (file.timesteps().len() + 1, file.timesteps().len()));
        let _ = (file.told(index), file.caption(index));
    }
    assert!(file.pairs().iter().all(|(better, worse)| *better.max(worse) < file.len()));
    Ok(())
}

fn draws(path: &Path) -> Result<(), String> {
    let shape = LatentShape { channels: 1, height: 2, width: 1 };
    let file = DrawFile::open_for(path, (2, shape), 1000).map_err(told)?;
    for index in 0..2 {
        let found = file.get(index).map_err(told)?;
        assert!(found.iter().all(|draw| draw.timestep < 1000 && draw.noise.len() == shape.size()));
    }
    Ok(())
}

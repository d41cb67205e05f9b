//! Folders of runs: checkpoints, metrics, the reference's cache, what a report reads.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use engine::optim::AdamW;
use models::LearnerOptions;
use models::gaussian::{GaussianConfig, GaussianMlp};
use policies::Persist;
use policies::gaussian::Spread;
use train::{CacheKey, MetricsFile, ReferenceCache, RunFolder};

use super::{scene, told};

const METRICS: &[u8] = br#"{"split":"eval","step":0,"examples":0,"loss":0.6,"rewards/accuracies":0.5}
{"split":"train","step":1,"examples":4,"loss":0.5,"rewards/accuracies":0.5}
"#;

/// A run: its newest checkpoint is the same when it is saved again, and metrics are cut once.
pub(crate) fn folder(input: &[u8]) -> Result<(), String> {
    let names =
        ["config.toml", "metrics.jsonl", "checkpoints/reference.cache", "report/summary.json", "samples/step-1.jsonl"];
    let saved = checkpoint();
    let names: Vec<&str> = names.into_iter().chain(saved.iter().map(|(name, _)| name.as_str())).collect();
    let checkpoint = saved.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let others: [(&str, &[u8]); 3] =
        [("metrics.jsonl", METRICS), ("config.toml", b"[run]\nseed = 3\n"), ("samples/step-0.jsonl", b"")];
    let base: Vec<(&str, &[u8])> = checkpoint.chain(others).collect();
    let folder = scene::folder(input, &base, &names);
    reference(&folder.path().join("checkpoints/reference.cache"))?;
    let shown = report::Run::read(folder.path())
        .map_err(told)
        .and_then(|runs| report::compare(&runs, None).map(drop).map_err(told));
    metrics(&folder.path().join("metrics.jsonl"))?;
    let run = RunFolder::open(folder.path()).map_err(told)?;
    let mut policy = learner();
    let position = run.restore(&mut policy).map_err(told)?;
    let again = tempfile::tempdir().expect("a temporary folder");
    let other = RunFolder::create(&again.path().join("run")).map_err(told)?;
    other.save(&position, &policy, 1).map_err(told)?;
    let mut restored = learner();
    assert_eq!(other.restore(&mut restored).expect("what was saved is restored"), position);
    assert_eq!(files(&policy), files(&restored));
    shown
}

/// The bytes of a policy's checkpoint.
fn files(policy: &GaussianMlp) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    policy.save_checkpoint(folder.path()).expect("a checkpoint");
    let names = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    names
        .map(|path| {
            (path.display().to_string().split_off(folder.path().as_os_str().len()), std::fs::read(path).unwrap())
        })
        .collect()
}

/// The smallest policy with all of a checkpoint's files.
fn learner() -> GaussianMlp {
    let spread = Spread::Learned { low: 0.1, high: 1.0 };
    let config =
        GaussianConfig { observation_size: 1, action_size: 1, hidden: vec![2], spread, standardised: Vec::new() };
    let tensors = config
        .tensor_shapes()
        .into_iter()
        .map(|(name, shape)| (name, Tensor::full(0.25_f32, shape, &Device::Cpu).expect("a tensor")));
    let optimizer = AdamW::new((0.9, 0.999), 1e-8, 0.0).expect("an optimiser");
    let training = LearnerOptions { ema: Some(0.5), ..LearnerOptions::new(Box::new(optimizer)) };
    GaussianMlp::trainable(config.clone(), tensors.collect(), training).expect("a policy")
}

/// The files of a checkpoint of that policy.
fn checkpoint() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = RunFolder::create(&folder.path().join("run")).expect("a run");
    let position = train::Position { step: 1, examples: 4, ..Default::default() };
    let step = run.save(&position, &learner(), 1).expect("a checkpoint");
    let entries = std::fs::read_dir(step).expect("a folder").map(|entry| entry.expect("an entry"));
    let name = |entry: &std::fs::DirEntry| format!("checkpoints/step-1/{}", entry.file_name().display());
    entries.map(|entry| (name(&entry), std::fs::read(entry.path()).expect("a file"))).collect()
}

/// A cache of the reference's numbers, which says itself whose they are. Its hash is made to fit, or no damage would get past it.
fn reference(path: &Path) -> Result<(), String> {
    let Ok(mut bytes) = std::fs::read(path) else { return Ok(()) };
    let key = CacheKey { model: "m".to_owned(), data: "d".to_owned() };
    let _ = ReferenceCache::load(path, &key);
    bytes.extend(blake3::hash(&bytes).as_bytes());
    std::fs::write(path, &bytes).expect("a file");
    let cache = ReferenceCache::load(path, &key).map_err(told)?;
    cache.save(path, &key).map_err(told)?;
    let again = ReferenceCache::load(path, &key).expect("what was saved is loaded");
    assert_eq!(format!("{cache:?}"), format!("{again:?}"));
    Ok(())
}

fn metrics(path: &Path) -> Result<(), String> {
    drop(MetricsFile::open(path, 1, false).map_err(told)?);
    let once = std::fs::read(path).expect("metrics");
    drop(MetricsFile::open(path, 1, false).map_err(told)?);
    assert_eq!(once, std::fs::read(path).expect("metrics"));
    Ok(())
}

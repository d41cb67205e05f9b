//! What survives its file, and what other programs' adapters do.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};

use super::files::{Golden, assert_close, batch, flat, rows};
use super::laws::move_adapters;
use crate::denoiser::DenoiserNetwork;
use crate::formats::{
    DiffusersFolder, SaveOptions, load_denoiser, load_denoiser_lora, merge_denoiser_lora, save_denoiser,
    save_denoiser_lora,
};
use crate::network::Network as _;

/// A network that is written is read again.
pub(crate) fn check_saved(golden: &Golden) {
    for case in golden.cases {
        let (config, tensors) = golden.files(case);
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join(config.component());
        save_denoiser(&target, &config, &tensors, SaveOptions::default()).unwrap();
        assert!(DiffusersFolder::is_one(&target) && DiffusersFolder::is_one(place.path()));
        assert_eq!(DiffusersFolder::open(place.path()).unwrap().denoiser(), target);
        let again = load_denoiser(&target, &Device::Cpu).unwrap();
        assert_eq!(golden.told(case, again.config), config);
        for (name, tensor) in &tensors {
            assert_eq!((again.tensors[name].dims(), flat(&again.tensors[name])), (tensor.dims(), flat(tensor)));
        }
    }
}

/// An adapter of another program, with a scale of 1.5, does what it does there.
pub(crate) fn check_adapter_file(golden: &Golden, case: &str, path: &Path, layer: &str) {
    let (config, mut tensors) = golden.files(case);
    let expected = &golden.expected(case)["lora"];
    let lora = load_denoiser_lora(path, &config, &Device::Cpu).unwrap();
    assert!(lora.layers.values().all(|layer| layer.scale == 1.5));
    assert!(lora.layers.contains_key(layer));
    merge_denoiser_lora(&lora, &mut tensors).unwrap();
    let batch = batch(&config, expected);
    let output = DenoiserNetwork::frozen(config, tensors).unwrap().score(&batch).unwrap();
    assert_close("with the adapter", &flat(&output), &flat(&rows(&expected["output"], batch.grid)));
}

/// Adapters of the usual layers, which have `n` tensors, are read as they were written.
pub(crate) fn check_saved_adapters(golden: &Golden, case: &str, n: usize) {
    let config = golden.files(case).0;
    let targets = LoraTargets::Named(config.lora_targets().iter().map(ToString::to_string).collect());
    let lora = LoraConfig { rank: 3, alpha: 2., rslora: false, targets, extra: LoraExtra::None };
    let (network, _) = golden.learner(case, Some(lora.clone()));
    move_adapters(&network);
    let adapters: BTreeMap<String, Tensor> = network.weights().adapter_tensors();
    assert_eq!(adapters.len(), n, "{case}");
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("adapter");
    save_denoiser_lora(&target, &config, "the base", &lora, &adapters, SaveOptions::default()).unwrap();
    let again = load_denoiser_lora(&target, &config, &Device::Cpu).unwrap();
    let trained = again.trained(&config).unwrap();
    assert_eq!((again.base.as_deref(), trained.config.rank, trained.config.alpha), (Some("the base"), 3, 2.));
    for (name, tensor) in &adapters {
        assert_eq!(flat(&trained.tensors[name]), flat(tensor), "{name}");
    }
}

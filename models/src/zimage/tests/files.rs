//! Folders and adapters written by diffusers, and this crate's own read back.

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::{LoraConfig, LoraTargets};

use super::golden::{CASES, assert_close, batch, expected, files, flat, folder, rows};
use crate::denoiser::DenoiserConfig;
use crate::formats::{
    DiffusersFolder, SaveOptions, load_denoiser, load_denoiser_lora, merge_denoiser_lora, save_denoiser,
    save_denoiser_lora,
};
use crate::zimage::ZImageTransformer;

#[test]
fn what_is_written_is_read_again() {
    for case in CASES {
        let (config, tensors) = files(case);
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("transformer");
        save_denoiser(&target, &config.clone().into(), &tensors, SaveOptions::default()).unwrap();
        assert!(DiffusersFolder::is_one(&target) && DiffusersFolder::is_one(place.path()));
        assert_eq!(DiffusersFolder::open(place.path()).unwrap().denoiser(), target);
        let again = load_denoiser(&target, &Device::Cpu).unwrap();
        assert_eq!(again.config, config.into());
        for (name, tensor) in &tensors {
            assert_eq!((again.tensors[name].dims(), flat(&again.tensors[name])), (tensor.dims(), flat(tensor)));
        }
    }
}

#[test]
fn an_adapter_of_diffusers_does_what_it_does_there() {
    let (config, mut tensors) = files("zimage");
    let golden = &expected("zimage")["lora"];
    let lora = load_denoiser_lora(&folder("zimage"), &config.clone().into(), &Device::Cpu).unwrap();
    assert!(lora.layers.values().all(|layer| layer.scale == 1.5));
    assert!(lora.layers.contains_key("all_x_embedder.2-1"));
    merge_denoiser_lora(&lora, &mut tensors).unwrap();
    let batch = batch(&config, golden);
    let output = ZImageTransformer::frozen(config, tensors).unwrap().score(&batch).unwrap();
    assert_close("with the adapter", &flat(&output), &flat(&rows(&golden["output"], batch.grid)));
}

#[test]
fn adapters_survive_their_file() {
    let (config, tensors) = files("zimage");
    let any = DenoiserConfig::from(config.clone());
    let targets = LoraTargets::Named(any.lora_targets().iter().map(ToString::to_string).collect());
    let lora = LoraConfig { rank: 3, alpha: 2., rslora: false, targets };
    let model = ZImageTransformer::trainable(config, tensors, Some((lora.clone(), 1))).unwrap();
    let noise = |(name, tensor): (String, Tensor)| {
        let mut rng = Noise::new(2).stream(&name, 0);
        let value = engine::noise::normal(&mut rng, tensor.shape(), 1., &Device::Cpu).unwrap();
        (name, value)
    };
    let adapters: std::collections::BTreeMap<_, _> = model.weights.adapter_tensors().into_iter().map(noise).collect();
    // Four layers of each of four blocks.
    assert_eq!(adapters.len(), 2 * 4 * 4);
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("adapter");
    save_denoiser_lora(&target, &any, "the base", &lora, &adapters, SaveOptions::default()).unwrap();
    let again = load_denoiser_lora(&target, &any, &Device::Cpu).unwrap();
    assert_eq!(again.base.as_deref(), Some("the base"));
    let trained = again.trained(&any).unwrap();
    assert_eq!((trained.config.rank, trained.config.alpha), (3, 2.));
    for (name, tensor) in &adapters {
        assert_eq!(flat(&trained.tensors[name]), flat(tensor), "{name}");
    }
}

//! Folders and adapters written by diffusers and PEFT, and this crate's own read back.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::lora::{LoraConfig, LoraTargets};

use super::GOLDEN;
use crate::denoiser::testing::{assert_close, batch, flat, moved, rows};
use crate::denoiser::DenoiserNetwork;
use crate::formats::{
    DiffusersFolder, SaveOptions, load_denoiser, load_denoiser_lora, merge_denoiser_lora, save_denoiser,
    save_denoiser_lora,
};
use crate::network::Network as _;

#[test]
fn what_is_written_is_read_again() {
    for case in GOLDEN.cases {
        let (config, tensors) = GOLDEN.files(case);
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("transformer");
        save_denoiser(&target, &config, &tensors, SaveOptions::default()).unwrap();
        assert!(DiffusersFolder::is_one(&target) && DiffusersFolder::is_one(place.path()));
        assert_eq!(DiffusersFolder::open(place.path()).unwrap().denoiser(), target);
        let again = load_denoiser(&target, &Device::Cpu).unwrap();
        assert_eq!(again.config, config);
        for (name, tensor) in &tensors {
            assert_eq!((again.tensors[name].dims(), flat(&again.tensors[name])), (tensor.dims(), flat(tensor)));
        }
    }
}

#[test]
fn an_empty_caption_of_earlier_files_is_left_out() {
    let (config, mut tensors) = GOLDEN.files("pixart");
    let place = tempfile::tempdir().unwrap();
    save_denoiser(place.path(), &config, &tensors, SaveOptions::default()).unwrap();
    let file = place.path().join("diffusion_pytorch_model.safetensors");
    let mut stored = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let empty = Tensor::zeros((3, 10), candle_core::DType::F32, &Device::Cpu).unwrap();
    stored.insert("caption_projection.y_embedding".to_owned(), empty);
    candle_core::safetensors::save(&stored, &file).unwrap();
    let again = load_denoiser(place.path(), &Device::Cpu).unwrap().tensors;
    assert!(tensors.keys().eq(again.keys()));
    tensors.insert("caption_projection.y_embedding".to_owned(), stored["caption_projection.y_embedding"].clone());
    assert!(DenoiserNetwork::frozen(config, tensors).is_err());
}

#[test]
fn an_adapter_of_peft_does_what_it_does_there() {
    let (config, mut tensors) = GOLDEN.files("pixart");
    let golden = &GOLDEN.expected("pixart")["lora"];
    let lora = load_denoiser_lora(&GOLDEN.folder("pixart/adapter"), &config, &Device::Cpu).unwrap();
    assert!(lora.layers.values().all(|layer| layer.scale == 1.5));
    assert!(lora.layers.contains_key("pos_embed.proj") && lora.layers.contains_key("adaln_single.linear"));
    merge_denoiser_lora(&lora, &mut tensors).unwrap();
    let batch = batch(&config, golden);
    let output = DenoiserNetwork::frozen(config, tensors).unwrap().score(&batch).unwrap();
    assert_close("with the adapter", &flat(&output), &flat(&rows(&golden["output"], batch.grid)));
}

#[test]
fn adapters_survive_their_file() {
    for (case, n) in [("pixart", 2 * 2 * 8), ("dit", 2 * 2 * 4)] {
        let config = GOLDEN.files(case).0;
        let targets = LoraTargets::Named(config.lora_targets().iter().map(ToString::to_string).collect());
        let lora = LoraConfig { rank: 3, alpha: 2., rslora: false, targets };
        let network = moved(GOLDEN.learner(case, Some(lora.clone())).0);
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
}

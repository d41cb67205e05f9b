//! Folders and adapters written by diffusers, and this crate's own read back.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::Noise;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};

use super::golden::{GOLDEN, batch, expected, files, flat, folder, rows};
use crate::formats::{
    SaveOptions, load_denoiser, load_denoiser_lora, merge_denoiser_lora, save_denoiser, save_denoiser_lora,
};
use crate::unet::UNet;

#[test]
fn what_is_written_is_read_again() {
    for case in GOLDEN.cases {
        let files = files(case);
        let place = tempfile::tempdir().unwrap();
        let (whole, sharded) = (place.path().join("whole"), place.path().join("sharded"));
        save_denoiser(&whole, &files.any(), &files.tensors, SaveOptions::default()).unwrap();
        let options = SaveOptions { max_shard_bytes: 50_000, ..SaveOptions::default() };
        save_denoiser(&sharded, &files.any(), &files.tensors, options).unwrap();
        assert!(sharded.join("diffusion_pytorch_model.safetensors.index.json").is_file());
        for folder in [whole, sharded] {
            let again = load_denoiser(&folder, &Device::Cpu).unwrap();
            assert_eq!(again.config, files.any());
            for (name, tensor) in &files.tensors {
                assert_eq!((again.tensors[name].dims(), flat(&again.tensors[name])), (tensor.dims(), flat(tensor)));
            }
        }
    }
}

#[test]
fn a_folder_without_what_it_needs_says_so() {
    let place = tempfile::tempdir().unwrap();
    let message = || load_denoiser(place.path(), &Device::Cpu).unwrap_err().to_string();
    assert!(message().contains("config.json"));
    std::fs::copy(folder("sd1").join("config.json"), place.path().join("config.json")).unwrap();
    assert!(message().contains("diffusion_pytorch_model.safetensors"), "{}", message());
    std::fs::write(place.path().join("diffusion_pytorch_model.bin"), b"PK").unwrap();
    assert!(message().contains("pickles"), "{}", message());
    std::fs::copy(
        folder("ddpm_resnet").join("diffusion_pytorch_model.safetensors"),
        place.path().join("diffusion_pytorch_model.safetensors"),
    )
    .unwrap();
    assert!(message().contains("missing tensors"), "{}", message());
}

#[test]
fn an_adapter_of_peft_does_what_it_does_there() {
    let mut files = files("sd1");
    let golden = &expected("sd1")["lora"];
    let lora = load_denoiser_lora(&folder("sd1"), &files.any(), &Device::Cpu).unwrap();
    assert!(lora.layers.values().all(|layer| layer.scale == 1.5));
    merge_denoiser_lora(&lora, &mut files.tensors).unwrap();
    let batch = batch(&files.config, golden);
    let output = UNet::frozen(files.config, files.tensors).unwrap().score(&batch).unwrap();
    let (ours, theirs) = (flat(&output), flat(&rows(&golden["output"], batch.grid)));
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 2e-4, "{a}, in diffusers {b}");
    }
}

#[test]
fn adapters_survive_their_file() {
    let files = files("sd1");
    let named = ["to_k", "to_q", "to_v", "to_out.0", "conv2"].map(str::to_owned).to_vec();
    for (targets, rslora) in [(LoraTargets::Named(named), true), (LoraTargets::AllLinear, false)] {
        let lora = LoraConfig { rank: 3, alpha: 2., rslora, targets, extra: LoraExtra::None };
        let mut model = UNet::trainable(files.config.clone(), files.tensors.clone(), Some((lora.clone(), 1))).unwrap();
        for name in model.adapter_tensors().into_keys() {
            let shape = model.weights.parameters.get(&name).unwrap().dims().to_vec();
            let value = engine::noise::normal(&mut Noise::new(2).stream(&name, 0), shape, 1., &Device::Cpu).unwrap();
            model.weights.parameters.set(&name, &value).unwrap();
        }
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("adapter");
        let adapters = model.adapter_tensors();
        save_denoiser_lora(&folder, &files.any(), "the base", &lora, &adapters, SaveOptions::default()).unwrap();
        let again = load_denoiser_lora(&folder, &files.any(), &Device::Cpu).unwrap();
        assert_eq!(again.base.as_deref(), Some("the base"));
        let mut merged = files.tensors.clone();
        merge_denoiser_lora(&again, &mut merged).unwrap();
        for (name, tensor) in model.merged_tensors().unwrap() {
            assert_eq!(flat(&tensor), flat(&merged[&name]), "{name}");
        }
    }
}

#[test]
fn other_spellings_of_adapters_are_read_and_strange_ones_refused() {
    let files = files("sd1");
    let layer = "mid_block.attentions.0.transformer_blocks.0.attn1";
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pytorch_lora_weights.safetensors");
    let load = |tensors: &[(String, Vec<usize>)]| {
        let tensors = tensors
            .iter()
            .map(|(name, shape)| (name.clone(), Tensor::full(2f32, shape.as_slice(), &Device::Cpu).unwrap()));
        let tensors: std::collections::HashMap<String, Tensor> = tensors.collect();
        candle_core::safetensors::save(&tensors, &path).unwrap();
        load_denoiser_lora(place.path(), &files.any(), &Device::Cpu)
    };
    let old = load(&[
        (format!("unet.{layer}.processor.to_out_lora.down.weight"), vec![1, 12]),
        (format!("unet.{layer}.processor.to_out_lora.up.weight"), vec![12, 1]),
        (format!("unet.{layer}.to_q.lora.down.weight"), vec![4, 12]),
        (format!("unet.{layer}.to_q.lora.up.weight"), vec![12, 4]),
        (format!("unet.{layer}.to_q.alpha"), vec![]),
    ]);
    let layers = old.unwrap().layers;
    assert_eq!((layers[&format!("{layer}.to_out.0")].scale, layers[&format!("{layer}.to_q")].scale), (1., 0.5));
    let refuse = |tensors: &[(String, Vec<usize>)], expected: &str| {
        let message = load(tensors).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let half = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    refuse(&[half("text_encoder.q.lora_A.weight", &[1, 1])], "is missing");
    refuse(&[half("transformer.q.lora_A.weight", &[1, 1])], "an adapter of a transformer, and the model is a UNet2D");
    refuse(&[half("lora_unet_mid_block.alpha", &[])], "`mid_block` is no layer of a UNet2DConditionModel");
    refuse(&[half("unet.conv_in.lora_A.weight", &[1, 4, 3, 3])], "is missing");
    let pair = |name: &str, a: &[usize], b: &[usize]| {
        [half(&format!("unet.{name}.lora_A.weight"), a), half(&format!("unet.{name}.lora_B.weight"), b)]
    };
    refuse(&pair("conv_nowhere", &[1, 4], &[4, 1]), "no such layer");
    refuse(&pair("conv_in", &[1, 4, 1, 1], &[8, 1, 1, 1]), "no change to a weight of [8, 3, 3, 4]");
    assert!(load(&pair("conv_in", &[1, 4, 3, 3], &[8, 1, 1, 1])).is_ok());
}

#[test]
fn halves_are_written_on_request() {
    let files = files("sd2");
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("unet");
    let options = SaveOptions { dtype: DType::F16, ..SaveOptions::default() };
    save_denoiser(&folder, &files.any(), &files.tensors, options).unwrap();
    // The golden weights are representable in half precision, so nothing is lost.
    let again = Arc::new(load_denoiser(&folder, &Device::Cpu).unwrap());
    assert!(files.tensors.iter().all(|(name, tensor)| flat(tensor) == flat(&again.tensors[name])));
}

//! Autoencoders against diffusers (`tests/golden/companions.py` made the numbers).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use engine::Noise;
use engine::ops::Grid;
use serde_json::{Value, json};

use super::{Vae, VaeConfig};
use crate::formats::load_vae;
use crate::tests::in_both_forms;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/companions").join(name)
}

fn tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden("expected.safetensors"), &Device::Cpu).unwrap()
}

/// Converts `[N, C, H, W]` to rows.
fn rows(tensor: &Tensor) -> (Tensor, Grid) {
    let (images, channels, height, width) = tensor.dims4().unwrap();
    let grid = Grid { images, height, width };
    let rows = tensor.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().reshape((grid.rows(), channels));
    (rows.unwrap(), grid)
}

fn check_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (numbers(found), numbers(expected));
    let largest = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(&expected).fold(0f32, |worst, (f, e)| worst.max((f - e).abs()));
    assert!(worst <= 1e-4 * largest, "{what}: off by {worst} at a largest value of {largest}");
}

#[test]
fn autoencoders_agree_with_diffusers() {
    in_both_forms(check_autoencoders);
}

fn check_autoencoders() {
    let tensors = tensors();
    for name in ["sd/vae", "sd3/vae", "vae"] {
        let vae = load_vae(&golden(name), &Device::Cpu).unwrap();
        let tensor = |part: &str| rows(&tensors[&format!("{name}.{part}")]);
        let (pictures, grid) = tensor("image");
        let encoded = vae.encode(&pictures, grid).unwrap();
        let (mean, latent_grid) = tensor("mean");
        assert_eq!(encoded.grid, latent_grid);
        check_close(name, &encoded.mean, &mean);
        check_close(name, &encoded.log_variance, &tensor("log_variance").0);
        let (decoded, decoded_grid) = vae.decode(&tensor("latent").0, latent_grid).unwrap();
        assert_eq!(decoded_grid, grid);
        check_close(name, &decoded, &tensor("decoded").0);
    }
}

#[test]
fn a_sample_is_a_function_of_the_generator() {
    let vae = load_vae(&golden("vae"), &Device::Cpu).unwrap();
    let (pictures, grid) = rows(&tensors()["vae.image"]);
    let encoded = vae.encode(&pictures, grid).unwrap();
    let draw = |index| encoded.sample(&mut Noise::new(1).stream("latents", index)).unwrap();
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(&draw(0)), numbers(&draw(0)));
    assert_ne!(numbers(&draw(0)), numbers(&draw(1)));
    let (mean, log_variance) = (numbers(&encoded.mean), numbers(&encoded.log_variance));
    let standardised = |index| -> Vec<f64> {
        let sample = numbers(&draw(index));
        assert_eq!((sample.len(), log_variance.len()), (mean.len(), mean.len()));
        let one = |at: usize| f64::from(sample[at] - mean[at]) / f64::from(log_variance[at] / 2.).exp();
        (0..sample.len()).map(one).collect()
    };
    // The mean of n standard normal numbers has standard deviation 1 / sqrt(n), the mean square sqrt(2 / n); the bounds
    // are five of each. They detect a variance used as a deviation, or a factor of 1.1.
    let numbers: Vec<f64> = (0..400).flat_map(standardised).collect();
    let n = numbers.len() as f64;
    let (first, second) = (numbers.iter().sum::<f64>() / n, numbers.iter().map(|z| z * z).sum::<f64>() / n);
    assert!(first.abs() < 5. / n.sqrt(), "{first}");
    assert!((second - 1.).abs() < 5. * (2. / n).sqrt() && n >= 400. * 36., "{second} of {n}");
}

#[test]
fn units_of_the_denoiser_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let latents = Tensor::new(&[[1f32, 0.5, -2.]], &Device::Cpu).unwrap();
    let check = |changes: &[(&str, Value)], normalised: bool, expected: [f32; 3]| {
        for entry in std::fs::read_dir(golden("vae")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (key, value) in changes {
            config[*key] = value.clone();
        }
        std::fs::write(&path, config.to_string()).unwrap();
        let vae = load_vae(folder.path(), &Device::Cpu).unwrap();
        let vae = if normalised { vae.normalised() } else { vae };
        let scaled = vae.to_denoiser(&latents).unwrap();
        check_close("scaled", &scaled, &Tensor::new(&[expected], &Device::Cpu).unwrap());
        check_close("and back", &vae.from_denoiser(&scaled).unwrap(), &latents);
    };
    let plain = [0.3611, 0.5 * 0.3611, -2. * 0.3611];
    // The file has a shift, which pipelines with a UNet ignore.
    check(&[], false, plain);
    check(&[], true, plain);
    let (mean, deviation) = (("latents_mean", json!([0.5, 1, -1])), ("latents_std", json!([2, 1, 0.5])));
    check(&[mean.clone(), deviation.clone()], false, plain);
    check(std::slice::from_ref(&mean), true, plain);
    check(&[mean, deviation], true, [0.25 * 0.3611, -0.5 * 0.3611, -2. * 0.3611]);
    let shifted = load_vae(&golden("vae"), &Device::Cpu).unwrap().shifted();
    let scaled = shifted.to_denoiser(&latents).unwrap();
    let expected = [1f32, 0.5, -2.].map(|value| (value - 0.1159) * 0.3611);
    check_close("shifted", &scaled, &Tensor::new(&[expected], &Device::Cpu).unwrap());
    check_close("and back", &shifted.from_denoiser(&scaled).unwrap(), &latents);
}

#[test]
fn many_pictures_are_encoded_as_one_by_one() {
    let vae = load_vae(&golden("sd/vae"), &Device::Cpu).unwrap();
    let (pictures, grid) = rows(&tensors()["sd/vae.image"]);
    let together = vae.encode(&pictures, grid).unwrap();
    let one = Grid { images: 1, ..grid };
    for image in 0..grid.images {
        let alone = vae.encode(&pictures.narrow(0, image * grid.pixels(), grid.pixels()).unwrap(), one).unwrap();
        let n = alone.grid.pixels();
        check_close("alone and together", &alone.mean, &together.mean.narrow(0, image * n, n).unwrap());
    }
}

#[test]
fn pictures_that_do_not_fit_are_refused() {
    let vae = load_vae(&golden("sd/vae"), &Device::Cpu).unwrap();
    let zeros =
        |rows: usize, channels: usize| Tensor::zeros((rows, channels), candle_core::DType::F32, &Device::Cpu).unwrap();
    let grid = |height, width| Grid { images: 1, height, width };
    let message = vae.encode(&zeros(15, 3), grid(3, 5)).unwrap_err().to_string();
    assert!(message.contains("multiples of 2, got 3 x 5"), "{message}");
    let message = vae.encode(&zeros(16, 4), grid(4, 4)).unwrap_err().to_string();
    assert!(message.contains("[16, 3]") && message.contains("[16, 4]"), "{message}");
    let message = vae.decode(&zeros(16, 3), grid(4, 4)).unwrap_err().to_string();
    assert!(message.contains("latents: expected [16, 4]"), "{message}");
}

#[test]
fn what_is_not_built_is_named() {
    let check = |settings: Value, expected: &str| {
        let message = VaeConfig::from_json(&settings).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(json!({ "_class_name": "AutoencoderTiny" }), "AutoencoderTiny");
    check(json!({ "down_block_types": ["AttnDownEncoderBlock2D"] }), "AttnDownEncoderBlock2D");
    check(json!({ "block_out_channels": [64, 64], "down_block_types": ["DownEncoderBlock2D"] }), "1 blocks");
    check(json!({ "block_out_channels": [30] }), "30 channels can't be split into 32 groups");
    check(json!({ "block_out_channels": [] }), "block_out_channels");
    check(json!({ "act_fn": "mish" }), "mish");
    check(json!({ "latents_mean": [1.0] }), "a list of 4 numbers");
    check(json!({ "latent_channels": 4_000_000 }), "beyond any");
    check(json!({ "scaling_factor": -1 }), "scaling_factor");
    check(json!({ "shift_factor": "0.1" }), "`shift_factor`: must be a number");
    check(json!({ "down_block_types": "DownEncoderBlock2D" }), "a list of texts");
    check(json!({ "quantization_config": { "quant_method": "bitsandbytes" } }), "quantization_config");
}

#[test]
fn names_of_older_versions_are_read() {
    let check = |stored: &str, expected: &str| assert_eq!(VaeConfig::canonical_name(stored), expected);
    check("encoder.mid_block.attentions.0.query.weight", "encoder.mid_block.attentions.0.to_q.weight");
    check("decoder.mid_block.attentions.0.proj_attn.bias", "decoder.mid_block.attentions.0.to_out.0.bias");
    check("decoder.mid_block.attentions.0.to_out.0.bias", "decoder.mid_block.attentions.0.to_out.0.bias");
    check("encoder.conv_in.weight", "encoder.conv_in.weight");
}

#[test]
fn an_autoencoder_is_made_of_the_tensors_of_its_configuration() {
    let config = load_vae(&golden("sd/vae"), &Device::Cpu).unwrap().config().clone();
    let zeros = |(name, shape): (String, Vec<usize>)| (name, Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    let mut tensors: BTreeMap<_, _> = config.tensor_shapes().into_iter().map(zeros).collect();
    assert!(Vae::new(config.clone(), tensors.clone()).is_ok());
    tensors.remove("quant_conv.bias");
    let error = Vae::new(config, tensors).unwrap_err().to_string();
    assert!(error.contains("AutoencoderKL model") && error.ends_with("1 missing tensor: quant_conv.bias"), "{error}");
}

//! Adapters in the files of each writer (`tests/golden/unet_adapters.py` made the numbers), and refused ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::golden::{batch, files, flat, rows};
use crate::ModelError;
use crate::formats::{DenoiserLora, denoiser_lora_base, is_denoiser_lora, load_denoiser_lora, merge_denoiser_lora};
use crate::unet::{UNet, UNetConfig};

const LAYER: &str = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/unet_adapters").join(case)
}

fn load(path: &Path, config: &UNetConfig) -> Result<DenoiserLora, ModelError> {
    load_denoiser_lora(path, &config.clone().into(), &Device::Cpu)
}

#[test]
fn adapters_of_every_writer_do_what_they_do_there() {
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("expected.json")).unwrap()).unwrap();
    for (case, output) in expected["outputs"].as_object().unwrap() {
        let mut files = files("sd1");
        assert!(is_denoiser_lora(&golden(case)), "{case}");
        let lora = load(&golden(case), &files.config).unwrap();
        merge_denoiser_lora(&lora, &mut files.tensors).unwrap();
        let batch = batch(&files.config, &expected);
        let found = flat(&UNet::frozen(files.config, files.tensors).unwrap().score(&batch).unwrap());
        let wanted = flat(&rows(output, batch.grid));
        let largest = wanted.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let worst = found.iter().zip(&wanted).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(found.len() == wanted.len() && worst <= 1e-4 * largest, "{case}: off by {worst} of {largest}");
    }
}

#[test]
fn only_plain_adapters_go_on_learning() {
    let config = files("sd1").config;
    let message =
        |case: &str| load(&golden(case), &config).unwrap().trained(&config.clone().into()).unwrap_err().to_string();
    assert!(message("alone").contains("another rank or strength"), "{}", message("alone"));
    assert!(message("peft").contains("takes the place of the base's"), "{}", message("peft"));
    assert!(load(&golden("memory"), &config).unwrap().trained(&config.clone().into()).is_ok());
}

/// A folder that is rewritten for each file.
struct AdapterFolder(tempfile::TempDir);

impl AdapterFolder {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes diffusers' file: each tensor's name and shape, and the settings in the header.
    fn write(&self, name: &str, tensors: &[(&str, &[usize])], settings: Option<&Value>) {
        let tensors: HashMap<String, Tensor> = tensors
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), Tensor::full(1f32, *shape, &Device::Cpu).unwrap()))
            .collect();
        let header = settings.map(|settings| HashMap::from([("lora_adapter_metadata".into(), settings.to_string())]));
        let views: Vec<(String, Tensor)> = tensors.into_iter().collect();
        safetensors_of(&self.path(name), &views, header.as_ref());
    }
}

/// A hand-written safetensors file with this metadata.
fn safetensors_of(path: &Path, tensors: &[(String, Tensor)], metadata: Option<&HashMap<String, String>>) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(flat(tensor).into_iter().flat_map(f32::to_le_bytes));
        header
            .insert(name.clone(), json!({"dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, data.len()]}));
    }
    if let Some(metadata) = metadata {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], header.as_bytes(), &data[..]].concat()).unwrap();
}

const FILE: &str = "pytorch_lora_weights.safetensors";

#[test]
fn settings_are_found_with_and_without_the_name_of_their_part() {
    let (config, place) = (files("sd1").config, AdapterFolder(tempfile::tempdir().unwrap()));
    let (a, b) = (format!("{LAYER}.lora_A.weight"), format!("{LAYER}.lora_B.weight"));
    let pair: &[(&str, &[usize])] = &[(&a, &[2, 12]), (&b, &[12, 2])];
    for (settings, scale, base) in [
        (json!({"r": 2, "lora_alpha": 8, "base_model_name_or_path": "b"}), 4., Some("b")),
        (json!({"unet.r": 2, "unet.lora_alpha": 6, "text_encoder.lora_alpha": 1}), 3., None),
        (json!({"unet.r": 2, "unet.lora_alpha": 6, "lora_alpha": 1}), 3., None),
        (json!({"text_encoder.r": 4, "text_encoder.lora_alpha": 1}), 1., None),
    ] {
        place.write(FILE, pair, Some(&settings));
        let lora = load(place.0.path(), &config).unwrap();
        assert_eq!((lora.layers[LAYER].scale, lora.base.as_deref()), (scale, base), "{settings}");
    }
    place.write(FILE, pair, Some(&json!({"r": 2, "lora_alpha": "8"})));
    assert!(load(place.0.path(), &config).unwrap_err().to_string().contains("`lora_alpha`"));
}

#[test]
fn what_else_a_file_may_hold_is_refused_by_name() {
    let (config, place) = (files("sd1").config, AdapterFolder(tempfile::tempdir().unwrap()));
    let name = |end: &str| format!("{LAYER}{end}");
    let refused = |more: &[(&str, &[usize])], settings: Option<&Value>, expected: &str| {
        let (a, b) = (name(".lora_A.weight"), name(".lora_B.weight"));
        let pair: &[(&str, &[usize])] = &[(&a, &[2, 12]), (&b, &[12, 2])];
        place.write(FILE, &[pair, more].concat(), settings);
        let message = load(place.0.path(), &config).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused(&[(&name(".lora_magnitude_vector"), &[11])], None, "its magnitude is [11]");
    refused(&[(&name(".dora_scale"), &[12, 1])], None, "(dora_scale) is not supported");
    refused(&[(&name(".lora_B.bias"), &[12])], Some(&json!({"r": 2})), "it has a bias beside lora_B");
    refused(&[(&name(".alpha"), &[])], Some(&json!({"r": 2})), "an alpha of its own beside the file's settings");
    refused(&[("conv_in.alpha", &[])], None, "has an alpha and no factors");
    refused(&[("conv_in.alpha", &[2])], None, "an alpha is one number, not 2");
    refused(&[(&name(".lora.down.weight"), &[2, 12])], None, "is there twice, under two names");
    refused(&[(&name(".lora_A.style.weight"), &[2, 12])], None, "is there twice, under two names");
    refused(&[("text_encoder.a.lora_A.weight", &[1, 1])], None, "`a`: one of lora_A and lora_B is missing");
    refused(
        &[("text_encoder.a.lora_A.weight", &[1, 1])],
        Some(&json!({"r": 2})),
        "an adapter of a text encoder in a file",
    );
    refused(&[("text_encoder_3.a.lora_A.weight", &[1, 1])], None, "adapters of T5's text encoder");
    refused(
        &[("transformer.a.lora_A.weight", &[1, 1])],
        None,
        "an adapter of a transformer, and the model is a UNet2D",
    );
    refused(&[("lora_te_text_model_x.lora_down.weight", &[1, 1])], None, "`x`: one of lora_A and lora_B is missing");
    refused(&[("lora_te_text_model_x.oft", &[1, 1])], None, "not a tensor of a LoRA adapter");
    refused(&[("lora_unet_conv_in.lora_mid.weight", &[1, 1])], None, "lora_mid) is not supported");
    refused(&[("lora_unet_conv_in.diff_b", &[1, 1])], None, "a whole difference of weights is not supported");
    refused(&[("double_blocks.0.processor.qkv_lora1.down.weight", &[1, 1])], None, "a file of x-flux");
    refused(&[("unet.conv_in.lokr_w1", &[1, 1])], None, "LoKr");
    refused(&[("unet.conv_in.hada_w1_a", &[1, 1])], None, "LoHa");
    refused(&[("unet.nowhere.weight", &[1, 1])], None, "nor one of the model's");
    for end in ["lora_magnitude_vector", "lora_B.bias"] {
        refused(&[(&format!("text_encoder.a.{end}"), &[1])], None, "DoRA and biases (`lora_bias`) of a text encoder");
    }
}

#[test]
fn a_tensor_that_replaces_the_bases_has_its_shape() {
    let (config, place) = (files("sd1").config, AdapterFolder(tempfile::tempdir().unwrap()));
    let (a, b) = (format!("{LAYER}.lora_A.weight"), format!("{LAYER}.lora_B.weight"));
    place.write(FILE, &[(&a, &[2, 12]), (&b, &[12, 2]), ("conv_in.bias", &[9])], None);
    let lora = load(place.0.path(), &config).unwrap();
    let message = merge_denoiser_lora(&lora, &mut files("sd1").tensors).unwrap_err().to_string();
    assert!(message.contains("conv_in.bias") && message.contains("[9]"), "{message}");
}

#[test]
fn folders_without_a_file_that_is_read_say_so() {
    let place = tempfile::tempdir().unwrap();
    let config = files("sd1").config;
    let message = || load(place.path(), &config).unwrap_err().to_string();
    assert!(!is_denoiser_lora(place.path()));
    assert!(message().contains("no adapters of a denoiser"), "{}", message());
    std::fs::write(place.path().join("adapter_model.bin"), b"PK").unwrap();
    assert!(message().contains("adapter_model.bin, a Python pickle"), "{}", message());
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(golden("peft").join(name), place.path().join(name)).unwrap();
    }
    // Either of the two files, or the folder.
    assert!(
        load(place.path(), &config).is_ok() && load(&place.path().join("adapter_model.safetensors"), &config).is_ok()
    );
    std::fs::copy(golden("alone").join(FILE), place.path().join(FILE)).unwrap();
    assert!(message().contains("name the file of adapters that is meant"), "{}", message());
}

/// PEFT ignores such factors silently; in a file of diffusers' the layers of the file count, whatever the targets are.
#[test]
fn factors_that_the_settings_of_peft_do_not_mean_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let config = files("sd1").config;
    std::fs::copy(golden("peft").join("adapter_model.safetensors"), place.path().join("adapter_model.safetensors"))
        .unwrap();
    let text = std::fs::read_to_string(golden("peft").join("adapter_config.json")).unwrap();
    for (key, value) in [("target_modules", json!(["conv_out"])), ("exclude_modules", json!(".*"))] {
        let mut settings: serde_json::Value = serde_json::from_str(&text).unwrap();
        settings[key] = value;
        std::fs::write(place.path().join("adapter_config.json"), settings.to_string()).unwrap();
        let message = load(place.path(), &config).unwrap_err().to_string();
        assert!(message.contains("peft would leave it out"), "{key}: {message}");
    }
}

/// As peft 0.21.2 ignores them; a file of diffusers' has either name.
#[test]
fn names_that_peft_does_not_read_are_refused_in_its_folders() {
    let (config, place) = (files("sd1").config, tempfile::tempdir().unwrap());
    let settings = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["to_q", "to_k", "to_v"]});
    for (prefix, is_read) in [("base_model.model.", true), ("", false), ("unet.", false)] {
        let (a, b) = (format!("{prefix}{LAYER}.lora_A.weight"), format!("{prefix}{LAYER}.lora_B.weight"));
        let pair: &[(&str, &[usize])] = &[(&a, &[2, 12]), (&b, &[12, 2])];
        let inside = AdapterFolder(tempfile::tempdir_in(place.path()).unwrap());
        inside.write("adapter_model.safetensors", pair, None);
        std::fs::write(inside.0.path().join("adapter_config.json"), settings.to_string()).unwrap();
        match load(inside.0.path(), &config) {
            Ok(lora) => assert!(is_read && lora.layers.contains_key(LAYER), "{prefix}"),
            Err(error) => {
                assert!(!is_read && error.to_string().contains("does not begin with `base_model.model.`"), "{error}");
            }
        }
    }
}

#[test]
fn a_run_stands_for_the_adapter_that_it_trained() {
    let run = tempfile::tempdir().unwrap();
    std::fs::create_dir(run.path().join("model")).unwrap();
    std::fs::write(run.path().join("config.toml"), "").unwrap();
    std::fs::copy(golden("alone").join(FILE), run.path().join("model").join(FILE)).unwrap();
    assert!(is_denoiser_lora(run.path()));
    assert_eq!(load(run.path(), &files("sd1").config).unwrap().path, run.path().join("model").join(FILE));
    assert_eq!(denoiser_lora_base(run.path()).unwrap(), None);
}

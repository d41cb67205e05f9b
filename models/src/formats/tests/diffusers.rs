//! Diffusers folders: valid ones (`tests/golden/companions.py` made them), and the errors of invalid ones.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use mdp::diffusion::Framing;
use serde_json::{Value, json};

use crate::ModelError;
use crate::formats::{DiffusersFolder, load_clip_text, load_clip_tokenizer, load_vae};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/companions").join(name)
}

/// Copies a folder and the folders in it.
fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let to = target.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn edit(path: &Path, key: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

fn check_refused<T: std::fmt::Debug>(result: Result<T, ModelError>, expected: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in expected {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

/// The width of its texts and the channels of its autoencoder, of a folder that has these parts.
fn check(name: &str, pipeline: Option<&str>, parts: &[(&str, &str)]) -> (Option<usize>, Option<usize>) {
    let folder = DiffusersFolder::open(&golden(name)).unwrap();
    assert!(DiffusersFolder::is_one(&golden(name)));
    assert_eq!(folder.pipeline.as_deref(), pipeline);
    assert_eq!(folder.components().map(|(name, part)| (name, part.class.as_str())).collect::<Vec<_>>(), parts);
    assert!(folder.denoiser().join("config.json").is_file());
    let has_text = folder.conditioner(&Device::Cpu).unwrap().map(|c| c.width());
    let has_vae = folder.vae(&Device::Cpu).unwrap().map(|v| v.config().latent_channels);
    (has_text, has_vae)
}

#[test]
fn sound_folders_say_what_they_have() {
    let sd = [
        ("scheduler", "DDIMScheduler"),
        ("text_encoder", "CLIPTextModel"),
        ("tokenizer", "CLIPTokenizer"),
        ("unet", "UNet2DConditionModel"),
        ("vae", "AutoencoderKL"),
    ];
    assert_eq!(check("sd", Some("StableDiffusionPipeline"), &sd), (Some(16), Some(4)));
    let sdxl = [
        ("scheduler", "EulerDiscreteScheduler"),
        ("text_encoder", "CLIPTextModel"),
        ("text_encoder_2", "CLIPTextModelWithProjection"),
        ("tokenizer", "CLIPTokenizer"),
        ("tokenizer_2", "CLIPTokenizer"),
        ("unet", "UNet2DConditionModel"),
        ("vae", "AutoencoderKL"),
    ];
    assert_eq!(check("sdxl", Some("StableDiffusionXLPipeline"), &sdxl), (Some(40), Some(4)));
    let sd3 = [
        ("scheduler", "FlowMatchEulerDiscreteScheduler"),
        ("text_encoder", "CLIPTextModelWithProjection"),
        ("text_encoder_2", "CLIPTextModelWithProjection"),
        ("tokenizer", "CLIPTokenizer"),
        ("tokenizer_2", "CLIPTokenizer"),
        ("transformer", "SD3Transformer2DModel"),
        ("vae", "AutoencoderKL"),
    ];
    assert_eq!(check("sd3", Some("StableDiffusion3Pipeline"), &sd3), (Some(44), Some(16)));
    let transformer = [sd3[0], sd3[5]];
    assert_eq!(check("sd3/transformer", None, &transformer), (None, None));
    let ddpm = [("scheduler", "DDPMScheduler"), ("unet", "UNet2DModel")];
    assert_eq!(check("ddpm", Some("DDPMPipeline"), &ddpm), (None, None));
    assert_eq!(check("ddpm/unet", None, &ddpm), (None, None));
}

#[test]
fn other_folders_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let open = |change: &dyn Fn(&Path)| {
        let folder = root.path().join("model");
        let _ = fs::remove_dir_all(&folder);
        copy(&golden("sdxl"), &folder);
        change(&folder);
        DiffusersFolder::open(&folder)
    };
    check_refused(DiffusersFolder::open(Path::new("nowhere")), &["nowhere", "not found", "model_index.json"]);
    check_refused(DiffusersFolder::open(root.path()), &["neither model_index.json"]);
    check_refused(DiffusersFolder::open(&golden("vae")), &["AutoencoderKL", "UNet2DConditionModel"]);

    let missing = |folder: &Path| {
        fs::remove_dir_all(folder.join("vae")).unwrap();
        fs::remove_dir_all(folder.join("tokenizer_2")).unwrap();
    };
    check_refused(open(&missing), &["model_index.json", "vae/ (AutoencoderKL) is not there", "tokenizer_2/"]);
    let index = |key: &'static str, value: Value| {
        open(&move |folder: &Path| edit(&folder.join("model_index.json"), key, value.clone()))
    };
    check_refused(index("text_encoder", json!([null, null])), &["`text_encoder` is not in it"]);
    let unbuilt = "StableDiffusionXLControlNetPipeline";
    check_refused(index("_class_name", json!(unbuilt)), &[unbuilt, "StableDiffusionXLPipeline"]);
    check_refused(index("_class_name", json!(7)), &["_class_name"]);
    let zeros = "force_zeros_for_empty_prompt";
    check_refused(index(zeros, json!("false")), &[zeros, "must be true or false, not \"false\""]);
    check_refused(index("vae", json!(["diffusers", "AutoencoderTiny"])), &["`vae` is a AutoencoderTiny"]);
    check_refused(index("unet", json!(["diffusers", "UNet2DModel"])), &["UNet2DModel", "UNet2DConditionModel"]);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let check = |file: &str, key: &str, value: Value, expected: &[&str]| {
        let folder = root.path().join("model");
        let _ = fs::remove_dir_all(&folder);
        copy(&golden("sdxl"), &folder);
        edit(&folder.join(file), key, value);
        check_refused(DiffusersFolder::open(&folder), expected);
    };
    let unet = "unet/config.json";
    check(unet, "in_channels", json!(9), &["unet `in_channels` is 9", "vae `latent_channels` is 4"]);
    check(unet, "cross_attention_dim", json!(16), &["`cross_attention_dim` is 16", "is 40"]);
    check(unet, "cross_attention_dim", json!([40, 48]), &["`cross_attention_dim` is 48"]);
    check(unet, "projection_class_embeddings_input_dim", json!(37), &["is 37", "`projection_dim`", "is 36"]);
    check("vae/config.json", "latent_channels", json!(16), &["`latent_channels` is 16"]);
    check("text_encoder_2/config.json", "hidden_size", json!(32), &["is 40", "is 48"]);
    check("text_encoder/config.json", "hidden_act", json!("mish"), &["text_encoder/config.json", "mish"]);
    check("text_encoder/config.json", "num_hidden_layers", json!(2_000_000), &["num_hidden_layers", "beyond"]);
}

#[test]
fn parts_of_stable_diffusion_3_fit_and_t5_may_be_among_them() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    let open = |change: &dyn Fn(&Path)| {
        let _ = fs::remove_dir_all(&folder);
        copy(&golden("sd3"), &folder);
        change(&folder);
        DiffusersFolder::open(&folder)
    };
    let check = |file: &str, key: &str, value: Value, expected: &[&str]| {
        check_refused(open(&|folder: &Path| edit(&folder.join(file), key, value.clone())), expected);
    };
    let transformer = "transformer/config.json";
    check(transformer, "in_channels", json!(4), &["transformer `in_channels` is 4", "vae `latent_channels` is 16"]);
    check(transformer, "joint_attention_dim", json!(39), &["`joint_attention_dim` is 39", "`hidden_size` is 40"]);
    check(transformer, "pooled_projection_dim", json!(27), &["`pooled_projection_dim` is 27", "is 28"]);
    check("model_index.json", "text_encoder_3", json!(["transformers", "UMT5EncoderModel"]), &["UMT5EncoderModel"]);
    let with_t5 = |folder: &Path| {
        for (part, class) in [("text_encoder_3", "T5EncoderModel"), ("tokenizer_3", "T5Tokenizer")] {
            copy(&golden(&format!("t5/{part}")), &folder.join(part));
            edit(&folder.join("model_index.json"), part, json!(["transformers", class]));
        }
    };
    let condition = |folder: &DiffusersFolder| {
        let texts = folder.conditioner(&Device::Cpu).unwrap().unwrap();
        texts.encode(&["a red circle"], Framing::whole(16, 16)).unwrap().conditions.remove(0)
    };
    let (plain, whole) = (condition(&open(&|_| ()).unwrap()), condition(&open(&with_t5).unwrap()));
    assert_eq!(plain.pooled, whole.pooled);
    let [plain, whole] = [plain, whole].map(|condition| condition.hidden.clone().unwrap());
    // The tokenizer's own limit is 24.
    assert_eq!((plain.length, whole.length), (16 + 256, 16 + 256));
    assert_eq!(plain.values[..16 * 44], whole.values[..16 * 44]);
    assert!(whole.values[16 * 44..].iter().all(|value| *value != 0.));
    let narrow = |folder: &Path| {
        with_t5(folder);
        edit(&folder.join("text_encoder_3/config.json"), "d_model", json!(48));
    };
    check_refused(open(&narrow), &["`joint_attention_dim` is 44", "text_encoder_3 `d_model` is 48"]);
}

#[test]
fn a_saved_folder_is_the_old_one_with_another_denoiser() {
    let root = tempfile::tempdir().unwrap();
    let (source, target) = (root.path().join("source"), root.path().join("target"));
    copy(&golden("sd"), &source);
    // Files for other software are skipped, half-precision files are renamed, missing components leave the index.
    fs::write(source.join("vae/diffusion_pytorch_model.bin"), "pickle").unwrap();
    let half = source.join("text_encoder/model.fp16.safetensors");
    fs::rename(source.join("text_encoder/model.safetensors"), half).unwrap();
    edit(
        &source.join("model_index.json"),
        "safety_checker",
        json!(["stable_diffusion", "StableDiffusionSafetyChecker"]),
    );
    let folder = DiffusersFolder::open(&source).unwrap();
    let write = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::copy(golden("sd/unet/config.json"), path.join("config.json")).unwrap();
        Ok(())
    };
    folder.save(&target, "unet", write).unwrap();
    let saved = DiffusersFolder::open(&target).unwrap();
    assert!(saved.vae(&Device::Cpu).unwrap().is_some() && saved.conditioner(&Device::Cpu).unwrap().is_some());
    assert!(
        !target.join("vae/diffusion_pytorch_model.bin").exists()
            && !target.join("unet/diffusion_pytorch_model.safetensors").exists()
    );
    let index: Value = serde_json::from_slice(&fs::read(target.join("model_index.json")).unwrap()).unwrap();
    assert_eq!((&index["safety_checker"], &index["vae"][1]), (&json!([null, null]), &json!("AutoencoderKL")));

    // A failure keeps the existing folder.
    let fail = |path: &Path| Err(ModelError::format(path, "no room"));
    check_refused(folder.save(&target, "unet", fail), &["no room"]);
    assert!(target.join("unet/config.json").is_file());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
}

#[test]
fn fingerprints_see_every_file_of_their_parts() {
    let root = tempfile::tempdir().unwrap();
    copy(&golden("sd"), root.path());
    let fingerprint = |names: &[&str]| DiffusersFolder::open(root.path()).unwrap().fingerprint(names).unwrap();
    let (vae, text) = (fingerprint(&["vae"]), fingerprint(&["tokenizer", "text_encoder"]));
    assert_ne!(vae, text);
    fs::write(root.path().join("tokenizer/merges.txt"), "#version: 0.2\n").unwrap();
    assert_eq!(fingerprint(&["vae"]), vae);
    assert_ne!(fingerprint(&["tokenizer", "text_encoder"]), text);
}

/// Loads with `file` truncated at many lengths, which must all fail, and with some of its bytes changed, which must not
/// panic.
fn torture(file: &Path, load: &dyn Fn() -> Result<(), ModelError>) {
    let sound = fs::read(file).unwrap();
    load().unwrap();
    // A newline after the last bracket may be missing.
    let end = sound.len() - usize::from(sound.ends_with(b"\n"));
    for length in (0..end).step_by((end / 60).max(1)).chain([end - 1]) {
        fs::write(file, &sound[..length]).unwrap();
        assert!(load().is_err(), "{} cut to {length} bytes is accepted", file.display());
    }
    for at in (0..sound.len().min(3000)).step_by(29) {
        let mut damaged = sound.clone();
        damaged[at] ^= [0x01, 0x80, 0xFF][at % 3];
        fs::write(file, &damaged).unwrap();
        // Some changes are harmless; none may panic.
        let _ = load();
    }
    fs::write(file, &sound).unwrap();
}

#[test]
fn damaged_files_are_errors() {
    let root = tempfile::tempdir().unwrap();
    copy(&golden("sd"), root.path());
    let part = |name: &str| root.path().join(name);
    let text = || load_clip_text(&part("text_encoder"), &Device::Cpu).map(|_| ());
    let vae = || load_vae(&part("vae"), &Device::Cpu).map(|_| ());
    let words = || load_clip_tokenizer(&part("tokenizer")).map(|_| ());
    let open = || DiffusersFolder::open(root.path()).map(|_| ());
    torture(&part("text_encoder/model.safetensors"), &text);
    torture(&part("text_encoder/config.json"), &text);
    torture(&part("vae/diffusion_pytorch_model.safetensors"), &vae);
    torture(&part("vae/config.json"), &vae);
    torture(&part("tokenizer/vocab.json"), &words);
    torture(&part("tokenizer/tokenizer_config.json"), &words);
    torture(&part("model_index.json"), &open);
    fs::write(part("tokenizer/merges.txt"), "#version: 0.2\na b\nalone\n").unwrap();
    check_refused(words(), &["merges.txt", "line 3"]);
    fs::remove_file(part("tokenizer/merges.txt")).unwrap();
    check_refused(words(), &["without its merges.txt"]);
    fs::remove_file(part("tokenizer/vocab.json")).unwrap();
    check_refused(words(), &["no tokenizer"]);
}

#[test]
fn weights_of_other_widths_are_named() {
    let root = tempfile::tempdir().unwrap();
    copy(&golden("sd"), root.path());
    let part = |name: &str| root.path().join(name);
    edit(&part("text_encoder/config.json"), "intermediate_size", json!(48));
    let text = load_clip_text(&part("text_encoder"), &Device::Cpu);
    check_refused(text, &["6 misshapen", "encoder.layers.0.mlp.fc1.bias (expected [48], found [32])"]);
    edit(&part("text_encoder/config.json"), "num_hidden_layers", json!(3));
    check_refused(load_clip_text(&part("text_encoder"), &Device::Cpu), &["16 missing"]);
    edit(&part("vae/config.json"), "layers_per_block", json!(2));
    check_refused(load_vae(&part("vae"), &Device::Cpu), &["32 missing", "resnets.2"]);
    edit(&part("text_encoder/config.json"), "architectures", json!(["BertModel"]));
    check_refused(load_clip_text(&part("text_encoder"), &Device::Cpu), &["BertModel", "CLIPTextModel"]);
}

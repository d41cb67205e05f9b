//! Tiny denoisers, and things to show them.
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::json;

use super::Scene;

/// Names of tensors with their shapes and bytes.
pub(super) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Examples in the files of a studio.
pub(super) const N: usize = 8;

/// Numbers of a latent of `unet/`.
pub(super) const SIZE: usize = 4 * 4 * 4;

/// A folder with what runs on pictures need:
///
/// - `unet/`: a denoiser alone, of latents of 4 channels, that looks at captions of width 12;
/// - `pixels/`: a denoiser of 8x8 pictures without captions, with its scheduler;
/// - `latents.safetensors` and `draws.safetensors` for `unet`;
/// - `pictures.jsonl`: pairs of 8x8 pictures in `pictures/`;
/// - `prompts.txt`: two prompts.
pub(super) fn studio() -> Scene {
    let scene = Scene::new();
    copy_golden(&scene, "unet/sd1", "unet");
    std::fs::remove_file(scene.path("unet/pytorch_lora_weights.safetensors")).unwrap();
    copy_golden(&scene, "companions/ddpm", "pixels");
    write_tensors(&scene, "latents.safetensors", &latents(4, 12), &[]);
    let timesteps: Vec<i64> = (0..N as i64).map(|i| (i * 137 + 11) % 1000).collect();
    write_tensors(&scene, "draws.safetensors", &draws(&timesteps), &[]);
    let mut lines = String::new();
    for i in 0..N {
        for side in ["chosen", "rejected"] {
            scene.write(&format!("pictures/{i}-{side}.png"), picture(i as u8, side == "chosen"));
        }
        let line = json!({"prompt": format!("a picture, {}", i / 2), "chosen": format!("pictures/{i}-chosen.png"),
                          "rejected": format!("pictures/{i}-rejected.png")});
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    scene.write("pictures.jsonl", lines);
    scene.write("prompts.txt", "a dog\na cat\n");
    scene
}

/// Copies one of the folders that diffusers made.
pub(super) fn copy_golden(scene: &Scene, golden: &str, target: &str) {
    let mut open = vec![(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden), target.to_owned())];
    while let Some((folder, target)) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{target}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                open.push((path, name));
            } else {
                scene.write(&name, std::fs::read(path).unwrap());
            }
        }
    }
}

/// Copies a folder of files.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// An 8x8 picture: stripes of one colour, of the better or the worse kind.
fn picture(number: u8, is_better: bool) -> Vec<u8> {
    let image = image::RgbImage::from_fn(8, 8, |x, y| {
        let stripe = if is_better { x } else { y } % 3 == 0;
        image::Rgb([number * 30, if stripe { 220 } else { 20 }, 128])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Numbers that look like draws and are the same everywhere.
pub(super) fn numbers(name: &str, shape: &[usize]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let start: u32 = name.bytes().map(u32::from).sum();
    let n: usize = shape.iter().product();
    let number = |i: u32| (((start + i).wrapping_mul(2_654_435_761) >> 8) % 10_007) as f32 / 10_007.0 * 3.4 - 1.7;
    (Dtype::F32, shape.to_vec(), (0..n as u32).flat_map(|i| number(i).to_le_bytes()).collect())
}

fn integers(values: &[i64]) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::I64, vec![values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Pairs of 4x4 latents, with contexts of three vectors.
pub(super) fn latents(channels: usize, width: usize) -> Tensors {
    let shape = [N, channels, 4, 4];
    let mut tensors = Tensors::new();
    for name in ["chosen", "rejected"] {
        tensors.insert(name.into(), numbers(name, &shape));
    }
    tensors.insert("context".into(), numbers("context", &[N, 3, width]));
    tensors
}

/// Draws for the latents.
pub(super) fn draws(timesteps: &[i64]) -> Tensors {
    let noise = ("noise".to_owned(), numbers("noise", &[N, 4, 4, 4]));
    Tensors::from([noise, ("timesteps".to_owned(), integers(timesteps))])
}

/// Two draws for each pair.
pub(super) fn several_draws(timesteps: &[i64]) -> Tensors {
    let (dtype, _, bytes) = integers(timesteps);
    let timesteps = ("timesteps".to_owned(), (dtype, vec![N, 2], bytes));
    Tensors::from([("noise".to_owned(), numbers("noise", &[N, 2, 4, 4, 4])), timesteps])
}

/// Writes a safetensors file.
pub(super) fn write_tensors(scene: &Scene, name: &str, tensors: &Tensors, notes: &[(String, String)]) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let notes = (!notes.is_empty()).then(|| notes.iter().cloned().collect());
    scene.write(name, serialize(views, notes).unwrap());
}

/// Reads a safetensors file: its tensors and its notes.
pub(super) fn read_tensors(scene: &Scene, name: &str) -> (Tensors, Vec<(String, String)>) {
    let bytes = scene.bytes(name);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let notes = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let own = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    (stored.tensors().into_iter().map(|(name, view)| (name, own(view))).collect(), notes)
}

/// A tensor of f32 as numbers.
pub(super) fn floats(tensors: &Tensors, name: &str) -> Vec<f64> {
    let bytes = &tensors[name].2;
    bytes.chunks_exact(4).map(|word| f64::from(f32::from_le_bytes(word.try_into().unwrap()))).collect()
}

/// Draws twelve trajectories with `model` in four steps, and says which are better: four pairs.
pub(super) fn trajectories(scene: &Scene, model: &str) {
    scene.write("four.txt", "a dog\na cat\na cow\na fox\n");
    scene.done(&format!(
        "sample --mdp diffusion --model {model} --prompts four.txt --n 3 --sample-steps 4 --eta 1 --quiet \
         --out made.jsonl --save-trajectories made.safetensors"
    ));
    let (mut tensors, notes) = read_tensors(scene, "made.safetensors");
    tensors.insert("better".into(), integers(&[0, 4, 7, 11]));
    tensors.insert("worse".into(), integers(&[1, 3, 8, 9]));
    write_tensors(scene, "ways.safetensors", &tensors, &notes);
}

/// The arguments of a short run on the latents, nothing held out, nothing sampled, with `more` of them.
pub(super) fn learning(out: &str, more: &str) -> String {
    let mut arguments = vec![format!("train --mdp diffusion --out {out} --quiet {more}")];
    let has = |flag: &str| more.split_whitespace().any(|word| word == flag);
    let on_trajectories = has("--trajectories");
    for (flag, value, wanted) in [
        ("--model", "unet", true),
        ("--latents", "latents.safetensors", !has("--data") && !on_trajectories),
        ("--eval-share", "0", true),
        ("--n-samples", "0", true),
        ("--batch-size", "4", true),
        ("--lr", "1e-3", true),
        ("--warmup-steps", "0", true),
        // Where nothing is drawn the steps of drawing are not asked for.
        ("--sample-steps", "4", on_trajectories || has("--n-samples")),
        ("--eta", "1", on_trajectories),
    ] {
        if wanted && !has(flag) {
            arguments.push(format!("{flag} {value}"));
        }
    }
    arguments.join(" ")
}

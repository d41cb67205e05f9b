//! Transformers that denoise: from files of latents alone, and as a whole pipeline.
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::Scene;
use super::images::{N, Tensors, copy_golden, latents, numbers, read_tensors, studio, write_tensors};

const SCORE: &str = "score --mdp diffusion --latents told.safetensors --seed 3";
const TRAIN: &str = "train --mdp diffusion --eval-share 0 --n-samples 0 --batch-size 4 --max-steps 2 --lr 1e-3 \
                     --warmup-steps 0 --quiet";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Latents of four channels with captions of up to three tokens and pooled ones, for `transformer/`.
fn told() -> Tensors {
    let mut tensors = latents(4, 10);
    tensors.insert("pooled".into(), numbers("pooled", &[N, 7]));
    let mask = (0..N).flat_map(|i| [1, i64::from(i % 2 == 0), i64::from(i % 3 == 0)]);
    let mask = mask.flat_map(i64::to_le_bytes).collect();
    tensors.insert("context_mask".into(), (Dtype::I64, vec![N, 3], mask));
    tensors
}

fn scene() -> Scene {
    let scene = studio();
    copy_golden(&scene, "sd3/sd35", "transformer");
    std::fs::remove_file(scene.path("transformer/pytorch_lora_weights.safetensors")).unwrap();
    write_tensors(&scene, "told.safetensors", &told(), &[]);
    scene
}

fn errors(scene: &Scene, model: &str) -> Vec<f64> {
    let scored = lines(&scene.done(&format!("{SCORE} --model {model}")).out);
    scored.iter().map(|line| number(&line["chosen"]["error"])).collect()
}

#[test]
fn a_transformer_learns_from_latents_without_any_encoder() {
    let scene = scene();
    let before = errors(&scene, "transformer");
    for (run, more) in [("whole", ""), ("adapted", "--lora-rank 2")] {
        let model = format!("--model transformer --latents told.safetensors --timesteps logit-normal --out {run}");
        let ran = scene.done(&format!("{TRAIN} {model} {more}"));
        assert!(ran.err.is_empty(), "{}", ran.err);
        let after = errors(&scene, run);
        assert!(before.iter().zip(&after).all(|(a, b)| a != b && b.is_finite()), "{run}: {before:?} {after:?}");
    }
    for name in ["config.json", "diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"] {
        assert!(scene.path("whole/model").join(name).is_file(), "{name}");
    }
    // The table of positions is written as it was.
    let positions = |folder: &str| {
        let tensors = read_tensors(&scene, &format!("{folder}/diffusion_pytorch_model.safetensors")).0;
        tensors["pos_embed.pos_embed"].clone()
    };
    assert_eq!(positions("whole/model"), positions("transformer"));
    let adapters = read_tensors(&scene, "adapted/model/pytorch_lora_weights.safetensors").0;
    assert!(adapters.contains_key("transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight"));
    assert!(adapters.keys().all(|name| name.starts_with("transformer.transformer_blocks.")));
}

#[test]
fn what_a_transformer_is_not_told_is_said() {
    let scene = scene();
    let run = |file: &str| format!("{TRAIN} --model transformer --latents {file} --out run");
    let mut without = told();
    without.remove("pooled");
    write_tensors(&scene, "without.safetensors", &without, &[]);
    scene.refused(&run("without.safetensors"), 1, &["pooled texts (`pooled`) of width 7", "none in it"]);
    scene.refused(&run("latents.safetensors"), 1, &["contexts of width 10", "12"]);
    let mut odd = told();
    for side in ["chosen", "rejected"] {
        odd.insert(side.into(), numbers(side, &[N, 4, 3, 4]));
    }
    write_tensors(&scene, "odd.safetensors", &odd, &[]);
    scene.refused(&run("odd.safetensors"), 1, &["multiples of 2", "3 x 4 pixels"]);
    let other = r#"{"_class_name": "SanaTransformer2DModel"}"#;
    scene.write("other/config.json", other);
    let arguments = run("told.safetensors").replace("--model transformer", "--model other");
    scene.refused(&arguments, 1, &["SanaTransformer2DModel", "supported: SD3Transformer2DModel"]);
    assert!(!scene.path("run").exists());
}

#[test]
fn stable_diffusion_3_makes_pictures_and_trajectories_that_are_scored() {
    let scene = studio();
    copy_golden(&scene, "companions/sd3", "sd3");
    let sample =
        "sample --mdp diffusion --model sd3 --prompts prompts.txt --image-size 16 --sample-steps 3 --seed 5 --quiet";
    scene.done(&format!("{sample} --guidance 4 --sampler euler --out plain.jsonl"));
    assert_eq!(image::open(scene.path("plain/00000-0.png")).unwrap().height(), 16);
    let sde = format!("{sample} --sampler flow-sde --eta 0.7 --out way.jsonl --save-trajectories way.safetensors");
    scene.done(&sde);
    let made = lines(&scene.read("way.jsonl"));
    assert!(made.iter().all(|line| number(&line["log_prob"]) != 0.0), "{made:?}");
    let (tensors, _) = read_tensors(&scene, "way.safetensors");
    assert_eq!((&tensors["latents"].1[..], &tensors["context"].1[..]), (&[2, 4, 16, 8, 8][..], &[2, 272, 44][..]));
    scene.refused(&sde.replace("0.7", "11"), 2, &["--eta takes a number from 0 to 10, not 11"]);
    // Pictures with captions, encoded once by the autoencoder, whose latents are shifted.
    let model = "--model sd3 --data pictures.jsonl --image-size 16 --preset flow-grpo-100 --out run";
    scene.done(&format!("{TRAIN} {model}"));
    assert!(scene.path("run/model/transformer/config.json").is_file());
    assert!(scene.path("run/model/text_encoder_2/model.safetensors").is_file());
    scene.done(&format!("{sample} --sampler euler --out after.jsonl").replace("--model sd3", "--model run"));
    assert_ne!(scene.bytes("after/00000-0.png"), scene.bytes("plain/00000-0.png"));
}

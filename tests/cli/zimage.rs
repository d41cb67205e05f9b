//! Z-Image: from files of latents alone, and as a whole pipeline with its language model.
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::Scene;
use super::images::{N, Tensors, copy_golden, latents, read_tensors, studio, write_tensors};

const TRAIN: &str = "train --mdp diffusion --eval-share 0 --n-samples 0 --batch-size 4 --max-steps 2 --lr 1e-3 \
                     --warmup-steps 0 --quiet";
const SAMPLE: &str = "sample --mdp diffusion --prompts prompts.txt --image-size 16 --sample-steps 3 --seed 5 --quiet";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Latents of four channels with captions of one to three tokens, for `transformer/`.
fn told() -> Tensors {
    let mut tensors = latents(4, 10);
    let mask = (0..N).flat_map(|i| [1, i64::from(i % 2 == 0), i64::from(i % 3 == 0)]);
    let mask = mask.flat_map(i64::to_le_bytes).collect();
    tensors.insert("context_mask".into(), (Dtype::I64, vec![N, 3], mask));
    tensors
}

fn pipeline() -> Scene {
    let scene = studio();
    copy_golden(&scene, "zimage/pipeline", "zimage");
    copy_golden(&scene, "zimage/zimage", "zimage/transformer");
    scene
}

#[test]
fn a_transformer_learns_from_latents_without_any_encoder() {
    let scene = studio();
    copy_golden(&scene, "zimage/zimage", "transformer");
    std::fs::remove_file(scene.path("transformer/pytorch_lora_weights.safetensors")).unwrap();
    write_tensors(&scene, "told.safetensors", &told(), &[]);
    let errors = |model: &str| -> Vec<f64> {
        let scored = scene.done(&format!("score --mdp diffusion --latents told.safetensors --seed 3 --model {model}"));
        lines(&scored.out).iter().map(|line| line["chosen"]["error"].as_f64().unwrap()).collect()
    };
    let before = errors("transformer");
    for (run, more) in [("whole", ""), ("adapted", "--lora-rank 2")] {
        let ran = scene.done(&format!("{TRAIN} --model transformer --latents told.safetensors --out {run} {more}"));
        assert!(ran.err.is_empty(), "{}", ran.err);
        let after = errors(run);
        assert!(before.iter().zip(&after).all(|(a, b)| a != b && b.is_finite()), "{run}: {before:?} {after:?}");
    }
    let adapters = read_tensors(&scene, "adapted/model/pytorch_lora_weights.safetensors").0;
    assert!(adapters.contains_key("transformer.layers.1.attention.to_out.0.lora_B.weight"));
    scene.refused(
        &format!("{TRAIN} --model transformer --latents latents.safetensors --out other"),
        1,
        &["contexts of width 10", "12"],
    );
}

#[test]
fn prompts_become_pictures_and_trajectories_that_are_scored() {
    let scene = pipeline();
    let sample = |out: &str, more: &str| {
        scene.done(&format!("{SAMPLE} --model zimage --out {out}.jsonl {more}"));
        scene.bytes(&format!("{out}/00000-0.png"))
    };
    // Guidance is counted from 0, as its pipeline does.
    let plain = sample("plain", "--sampler euler");
    assert_eq!(sample("none", "--sampler euler --guidance 0"), plain);
    assert_ne!(sample("guided", "--sampler euler --guidance 1"), plain);
    let sde = "--sampler flow-sde --eta 0.7 --guidance 2 --save-trajectories way.safetensors";
    sample("way", sde);
    let made = lines(&scene.read("way.jsonl"));
    assert!(made.iter().all(|line| line["log_prob"].as_f64().unwrap() != 0.0), "{made:?}");
    let (tensors, _) = read_tensors(&scene, "way.safetensors");
    assert_eq!(tensors["latents"].1, [2, 4, 4, 8, 8]);
    // Prompts of different lengths.
    assert_eq!(tensors["context"].1[..2], tensors["context_mask"].1[..]);
    scene.refused(
        &format!("{SAMPLE} --model zimage --guidance -1.5 --out no.jsonl"),
        2,
        &["--guidance takes a number"],
    );
}

#[test]
fn pictures_with_captions_of_different_lengths_train_it() {
    let scene = pipeline();
    let data = "--data pictures.jsonl --image-size 16 --out run";
    scene.done(&format!("{TRAIN} --model zimage {data}"));
    for file in ["transformer/config.json", "text_encoder/model.safetensors", "tokenizer/chat_template.jinja"] {
        assert!(scene.path("run/model").join(file).is_file(), "{file}");
    }
    scene.done(&format!("{SAMPLE} --sampler euler --model run --out after.jsonl"));
    scene.done(&format!("{SAMPLE} --sampler euler --model zimage --out before.jsonl"));
    assert_ne!(scene.bytes("after/00000-0.png"), scene.bytes("before/00000-0.png"));
    std::fs::remove_file(scene.path("zimage/tokenizer/chat_template.jinja")).unwrap();
    scene.refused(&format!("{SAMPLE} --model zimage --out other.jsonl"), 1, &["it has no chat template"]);
}

//! Products in bf16: near those in f32, the same to the bit wherever a run was stopped, and said where numbers are kept.
use super::Scene;

/// Ten steps of a problem's embedded model, whose layers are wide enough for bf16.
const WORK: [(&str, &str, &str); 3] = [
    (
        "token",
        "--model builtin:tldr-untrained --data pairs.jsonl --batch-size 4 --epochs 5 --eval-share 0",
        "model.safetensors",
    ),
    ("diffusion", "--limit 20 --batch-size 4 --epochs 2", "unet/diffusion_pytorch_model.safetensors"),
    ("hybrid", "--limit 20 --batch-size 4 --epochs 2", "refiner/model.safetensors"),
];

fn training(mdp: &str, run: &str, more: &str) -> String {
    format!("train --mdp {mdp} --out {run} --n-samples 0 --warmup-steps 0 --quiet {more}")
}

/// The cosine of what one step of gradient descent did to the weights of two runs, and whether it was the same to the bit.
fn cosine(scene: &Scene, name: &str) -> (f64, bool) {
    let read = |run: &str| {
        let tensors =
            candle_core::safetensors::load(scene.path(&format!("{run}/model/{name}")), &candle_core::Device::Cpu);
        let tensors: std::collections::BTreeMap<_, _> = tensors.unwrap().into_iter().collect();
        let flat = tensors.values().map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        flat.flatten().map(f64::from).collect::<Vec<f64>>()
    };
    let [start, full, half] = ["start", "full", "half"].map(read);
    let moved = |to: &[f64]| to.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let (full, half) = (moved(&full), moved(&half));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    (dot(&full, &half) / (dot(&full, &full) * dot(&half, &half)).sqrt(), full == half)
}

#[test]
fn losses_and_gradients_are_near_those_of_f32() {
    for (mdp, work, weights) in WORK {
        let scene = Scene::new();
        for (run, precision) in [("f32", "f32"), ("bf16", "bf16")] {
            scene.done(&training(mdp, run, &format!("{work} --precision {precision}")));
        }
        let [full, half] = ["f32", "bf16"].map(|run| scene.column(run, "loss"));
        let half: Vec<f64> = half.into_iter().filter(|loss| loss.is_finite()).collect();
        let full: Vec<f64> = full.into_iter().filter(|loss| loss.is_finite()).collect();
        assert!(full.len() >= 10 && full.len() == half.len(), "{mdp} {full:?}");
        assert!(full.iter().zip(&half).all(|(a, b)| (a - b).abs() < 2e-2), "{mdp} {full:?} {half:?}");
        assert_ne!(full, half, "{mdp}: nothing was computed in bf16");
        // One step of gradient descent is the gradient.
        let step = "--optimizer sgd --max-grad-norm 1 --save-dtype f32 --max-steps 1";
        scene.done(&training(mdp, "start", &format!("{work} {step} --lr 1e-30")));
        scene.done(&training(mdp, "full", &format!("{work} {step} --lr 0.1")));
        scene.done(&training(mdp, "half", &format!("{work} {step} --lr 0.1 --precision bf16")));
        let (cosine, is_same) = cosine(&scene, weights);
        assert!(cosine > 0.999 && !is_same, "{mdp}: {cosine}");
    }
}

#[test]
fn stopped_and_resumed_is_the_same_to_the_bit_on_any_number_of_threads() {
    for (mdp, work, weights) in WORK {
        let scene = Scene::new();
        let work = format!("{work} --precision bf16 --save-every 2");
        scene.done(&training(mdp, "whole", &format!("{work} --threads 1 --max-steps 10")));
        scene.done(&training(mdp, "part", &format!("{work} --threads 2 --max-steps 4")));
        scene.done("train --resume part --max-steps 10 --quiet");
        let [whole, part] = ["whole", "part"].map(|run| scene.bytes(&format!("{run}/model/{weights}")));
        assert!(whole == part, "{mdp}: other weights");
        assert_eq!(scene.column("whole", "loss"), scene.column("part", "loss"), "{mdp}");
        assert!(scene.read("part/config.toml").contains("precision = \"bf16\""));
    }
}

#[test]
fn the_precision_of_a_run_is_decided_at_its_start() {
    let scene = Scene::new();
    let work = "--model builtin:tldr-untrained --data pairs.jsonl --eval-share 0 --max-steps 1";
    scene.done(&training("token", "auto", &format!("{work} --precision auto")));
    let config = scene.read("auto/config.toml");
    assert!(config.contains("precision = \"") && !config.contains("precision = \"auto"), "{config}");
    scene.refused("train --resume auto --precision f32", 2, &["--precision can't be given with --resume"]);
    scene.refused(&training("token", "other", &format!("{work} --precision fp16")), 2, &["bf16"]);
}

#[test]
fn a_reference_cache_is_of_one_precision() {
    let scene = Scene::new();
    let work = "--model builtin:tldr-untrained --data pairs.jsonl --eval-share 0 --max-steps 1 --reference-cache cache";
    scene.done(&training("token", "first", &format!("{work} --precision bf16")));
    scene.done(&training("token", "again", &format!("{work} --precision bf16")));
    scene.refused(&training("token", "second", work), 1, &["bf16"]);
}

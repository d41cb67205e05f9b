//! Products in bf16: near those in f32, the same to the bit wherever a run was stopped, and said where numbers are kept.
use super::Scene;

/// Ten steps of the embedded language model, whose layers are wide enough for bf16.
const WORK: &str = "--model builtin:tldr-untrained --data pairs.jsonl --batch-size 4 --epochs 5 --eval-share 0";

fn training(run: &str, more: &str) -> String {
    format!("train --mdp token --out {run} --n-samples 0 --warmup-steps 0 --quiet {more}")
}

/// The cosine of what one step of gradient descent did to the weights of two runs.
fn cosine(scene: &Scene) -> f64 {
    let read = |run: &str| {
        let path = scene.path(&format!("{run}/model/model.safetensors"));
        let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
        let tensors: std::collections::BTreeMap<_, _> = tensors.into_iter().collect();
        let flat = tensors.values().map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        flat.flatten().map(f64::from).collect::<Vec<f64>>()
    };
    let [start, full, half] = ["start", "full", "half"].map(read);
    let moved = |to: &[f64]| to.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let (full, half) = (moved(&full), moved(&half));
    assert!(full != half, "nothing was computed in bf16");
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&full, &half) / (dot(&full, &full) * dot(&half, &half)).sqrt()
}

#[test]
fn losses_and_gradients_are_near_those_of_f32() {
    let scene = Scene::new();
    let losses = ["f32", "bf16"].map(|precision| {
        scene.done(&training(precision, &format!("{WORK} --precision {precision}")));
        scene.column(precision, "loss")
    });
    let [full, half] = &losses;
    assert!(full.len() >= 10 && full.len() == half.len(), "{losses:?}");
    assert!(full.iter().zip(half).all(|(a, b)| (a - b).abs() < 2e-2), "{losses:?}");
    assert_ne!(full, half, "nothing was computed in bf16");
    // One step of gradient descent is the gradient; one of next to nothing leaves the weights where they are.
    let step = "--optimizer sgd --max-grad-norm 1 --save-dtype f32 --max-steps 1";
    for (run, more) in [("start", "--lr 1e-30"), ("full", "--lr 0.1"), ("half", "--lr 0.1 --precision bf16")] {
        scene.done(&training(run, &format!("{WORK} {step} {more}")));
    }
    let cosine = cosine(&scene);
    assert!(cosine > 0.999, "{cosine}");
}

#[test]
fn stopped_and_resumed_is_the_same_to_the_bit_on_any_number_of_threads() {
    let scene = Scene::new();
    let work = format!("{WORK} --precision bf16 --save-every 2");
    scene.done(&training("whole", &format!("{work} --threads 1")));
    scene.done(&training("part", &format!("{work} --threads 2 --max-steps 4")));
    scene.done("train --resume part --max-steps 10 --quiet");
    let [whole, part] = ["whole", "part"].map(|run| scene.bytes(&format!("{run}/model/model.safetensors")));
    assert!(whole == part, "other weights");
    assert_eq!(scene.column("whole", "loss"), scene.column("part", "loss"));
    assert!(scene.read("part/config.toml").contains("precision = \"bf16\""));
}

#[test]
fn the_precision_of_a_run_is_decided_at_its_start() {
    let scene = Scene::new();
    let work = "--model builtin:tldr-untrained --data pairs.jsonl --eval-share 0 --max-steps 1";
    scene.done(&training("auto", &format!("{work} --precision auto")));
    let config = scene.read("auto/config.toml");
    let decided = ["precision = \"bf16\"", "precision = \"f32\""];
    assert!(config.lines().any(|line| decided.contains(&line)), "{config}");
    scene.refused("train --resume auto --precision f32", 2, &["--precision can't be given with --resume"]);
    scene.refused(&training("other", &format!("{work} --precision fp16")), 2, &["bf16"]);
}

#[test]
fn a_reference_cache_is_of_one_precision() {
    let scene = Scene::new();
    let work = "--model builtin:tldr-untrained --data pairs.jsonl --eval-share 0 --max-steps 1 --reference-cache cache";
    scene.done(&training("first", &format!("{work} --precision bf16")));
    scene.done(&training("again", &format!("{work} --precision bf16")));
    scene.refused(&training("second", work), 1, &["bf16"]);
}

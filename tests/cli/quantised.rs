//! Bases that stay in the blocks of a GGUF file, and adapters with magnitudes or biases.
use std::path::Path;

use super::images::{read_tensors, studio};
use super::{Scene, training};

/// A Llama of some 60 thousand weights in blocks of many formats, a token a byte.
fn gguf() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats/llama-mixed.gguf").display().to_string()
}

/// A short run on the GGUF file, whose context is 64 tokens.
fn on_gguf(out: &str, more: &str) -> String {
    training(out, &format!("--model {} --max-length 64 --max-prompt-length 40 --lr 1e-2 {more}", gguf()))
}

/// The numbers of all answers, by a model.
fn scores(scene: &Scene, model: &str, more: &str) -> String {
    let data = "--data pairs.jsonl --max-length 64 --max-prompt-length 40";
    scene.done(&format!("score --model {model} {data} --quiet {more}")).out
}

/// The log-probabilities in what `score` writes, by name.
fn numbers(text: &str) -> Vec<f64> {
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sides = lines.flat_map(|line| ["chosen", "rejected"].map(|side| line[side]["log_probs"].clone()));
    sides.flat_map(|side| side.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>()).collect()
}

fn check_close(a: &str, b: &str) {
    let (a, b) = (numbers(a), numbers(b));
    assert!(a.len() == b.len() && a.len() > 8);
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{a:?}\n{b:?}");
}

#[test]
fn a_base_in_blocks_gives_the_numbers_of_its_f32_in_every_verb() {
    let scene = Scene::new();
    let model = gguf();
    let whole = scores(&scene, &model, "--base-precision f32");
    for precision in ["quantised", "auto"] {
        assert_eq!(scores(&scene, &model, &format!("--base-precision {precision}")), whole, "{precision}");
    }
    let adapter = |run: &str| scene.bytes(&format!("{run}/model/adapter_model.safetensors"));
    for precision in ["quantised", "f32"] {
        scene.done(&on_gguf(precision, &format!("--lora-rank 2 --max-steps 3 --base-precision {precision}")));
    }
    assert_eq!(scene.metrics("quantised"), scene.metrics("f32"));
    assert!(adapter("quantised") == adapter("f32"));
    let learned = scores(&scene, "quantised", "");
    assert_ne!(learned, whole);
    for name in [format!("{model}+quantised"), "quantised/model".to_owned()] {
        assert_eq!(scores(&scene, &name, ""), learned, "{name}");
    }
    check_close(&scores(&scene, "quantised", "--base-precision f32"), &learned);
    scene.done("merge --model quantised --out merged --quiet");
    check_close(&scores(&scene, "merged", ""), &learned);
    for verb in ["sample --prompt hello --max-new-tokens 4", "search --prompt hello --max-new-tokens 4"] {
        let drawn =
            |precision| scene.done(&format!("{verb} --model quantised --base-precision {precision} --quiet")).out;
        assert_eq!(drawn("quantised"), drawn("auto"), "{verb}");
    }
    // All weights learn: in f32, whatever the file holds; the reference keeps its blocks.
    scene.done(&on_gguf("all", "--max-steps 1"));
    assert!(scene.path("all/model/model.safetensors").is_file());
}

#[test]
fn what_has_no_blocks_is_not_kept_in_them() {
    let scene = Scene::new();
    let data = "--data pairs.jsonl --max-length 64 --max-prompt-length 40";
    let asked = "--base-precision quantised";
    scene.refused(&format!("score --model builtin:tldr {data} {asked}"), 2, &["builtin:tldr has no quantised weights"]);
    scene.refused(&format!("score --mdp diffusion --model x --latents y {asked}"), 2, &["--base-precision is for"]);
    scene.refused(&on_gguf("new", &format!("{asked} --max-steps 1")), 2, &["goes with --lora-rank"]);
    let reference = format!("{asked} --lora-rank 2 --reference builtin:tldr");
    scene.refused(&on_gguf("new", &reference), 2, &["builtin:tldr has no quantised weights"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn magnitudes_and_biases_are_learned_written_and_added() {
    let scene = Scene::new();
    for (run, more, end) in [("dora", "--dora", "lora_magnitude_vector"), ("bias", "--lora-bias", "lora_B.bias")] {
        scene.done(&training(run, &format!("--max-steps 2 --lora-rank 2 --lr 1e-2 {more}")));
        let tensors = read_tensors(&scene, &format!("{run}/model/adapter_model.safetensors")).0;
        assert_eq!(tensors.keys().filter(|name| name.ends_with(end)).count(), tensors.len() / 3, "{run}");
        assert!((scene.column(run, "loss")[0] - std::f64::consts::LN_2).abs() < 1e-6, "{run} begins as its base");
    }
    let learned = scores(&scene, "dora", "");
    scene.done("merge --model dora --out merged --quiet");
    check_close(&scores(&scene, "merged", ""), &learned);
    // A Llama has no biases, to which one could be added; beside the base it counts.
    assert_ne!(scores(&scene, "bias", ""), scores(&scene, super::MODEL, ""));
    scene.refused("merge --model bias --out new", 1, &["lora_bias"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn adapters_go_on_with_what_they_have() {
    let scene = Scene::new();
    for (run, more) in [("plain", ""), ("dora", "--dora"), ("bias", "--lora-bias")] {
        scene.done(&training(run, &format!("--max-steps 1 --lora-rank 2 --lr 1e-2 {more}")));
    }
    for (model, more, says) in [
        ("plain", "--dora", "--dora true: the adapter plain that goes on learning has false"),
        ("plain", "--lora-bias", "--lora-bias true: the adapter plain that goes on learning has false"),
        ("dora", "--dora false", "--dora false: the adapter dora that goes on learning has true"),
        ("bias", "--lora-bias false", "--lora-bias false: the adapter bias that goes on learning has true"),
    ] {
        scene.refused(&training("new", &format!("--model {model} --lora-rank 2 {more}")), 2, &[says]);
        assert!(!scene.path("new").exists(), "{more}");
    }
    for model in ["dora", "bias"] {
        let out = format!("{model}-more");
        scene.done(&training(&out, &format!("--model {model} --lora-rank 2 --max-steps 1")));
        assert!((scene.column(&out, "loss")[0] - std::f64::consts::LN_2).abs() < 1e-6, "{out}");
    }
    for given in ["--dora false", "--lora-bias", "--base-precision f32", "--set model.base_precision=f32"] {
        scene.refused(&format!("train --resume dora {given}"), 2, &["can't be given with --resume"]);
    }
}

#[test]
fn adapters_of_denoisers_have_them_too() {
    let scene = studio();
    let learn = |out: &str, more: &str| {
        let run = "train --mdp diffusion --latents latents.safetensors --eval-share 0 --warmup-steps 0 --quiet";
        format!("{run} --lr 1e-2 --max-steps 2 --lora-rank 2 --out {out} {more}")
    };
    let score = |model: &str| {
        scene.done(&format!("score --mdp diffusion --model {model} --latents latents.safetensors --seed 4 --quiet")).out
    };
    for (run, more, end) in [
        ("dora", "--dora --lora-targets to_q,conv1", "lora_magnitude_vector"),
        ("bias", "--lora-bias --lora-targets to_out.0,conv1", "lora_B.bias"),
    ] {
        scene.done(&learn(run, &format!("--model unet {more}")));
        let tensors = read_tensors(&scene, &format!("{run}/model/pytorch_lora_weights.safetensors")).0;
        assert_eq!(tensors.keys().filter(|name| name.ends_with(end)).count(), tensors.len() / 3, "{run}");
        assert_ne!(score(run), score("unet"));
        scene.done(&format!("merge --model {run} --out {run}-merged --quiet"));
        assert_eq!(score(&format!("{run}-merged")), score(run), "{run}");
        scene.done(&learn(&format!("{run}-more"), &format!("--model {run}")));
        assert!((scene.column(&format!("{run}-more"), "loss")[0] - std::f64::consts::LN_2).abs() < 1e-6, "{run}");
    }
    // Queries have no bias; those that learn as usual are among them.
    scene.refused(&learn("new", "--model unet --lora-bias"), 2, &["--lora-bias: ", "has no bias", "--lora-targets"]);
    scene.refused(&learn("new", "--model unet --lora-bias --dora"), 2, &["do not go together"]);
    scene.refused(&learn("new", "--model dora --dora false"), 2, &["--dora false", "goes on learning has true"]);
    assert!(!scene.path("new").exists());
}

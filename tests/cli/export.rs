//! `merge`, `export`, the type of written weights, model cards.
use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use super::images::read_tensors;
use super::{MODEL, Scene, training};

/// The path of a golden model.
fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).display().to_string()
}

/// The numbers of all answers, by a model.
fn scores(scene: &Scene, model: &str) -> String {
    scene.done(&format!("score --model {model} --data pairs.jsonl --max-length 128 --max-prompt-length 64 --quiet")).out
}

/// The types of all tensors of a file.
fn types(scene: &Scene, file: &str) -> Vec<Dtype> {
    let mut types: Vec<Dtype> = read_tensors(scene, file).0.values().map(|(dtype, ..)| *dtype).collect();
    types.dedup();
    types
}

#[test]
fn a_merged_run_is_a_plain_folder_with_the_same_numbers() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 4 --lora-rank 2"));
    let said = scene.done("merge --model run --out merged --quiet").out;
    assert!(said.starts_with("merged: llama, ") && said.contains("f32, adapter merged"), "{said}");
    assert!(!scene.path("merged/adapter_config.json").exists());
    assert_eq!(scores(&scene, "merged"), scores(&scene, "run"));
    assert_ne!(scores(&scene, "merged"), scores(&scene, MODEL));
    let card = scene.read("merged/README.md");
    for part in ["library_name: transformers", "its adapter merged into the base", "| beta | 0.1 |", "LoRA, rank 2"] {
        assert!(card.contains(part), "no {part} in\n{card}");
    }
    // What is merged has no adapter any more.
    scene.refused("merge --model merged --out new", 1, &["there is no adapter to merge", "BASE+ADAPTER"]);
    scene.refused("merge --model builtin:tldr --out new", 1, &["there is no adapter to merge"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn a_gguf_file_becomes_a_folder_in_the_type_that_is_asked_for() {
    let scene = Scene::new();
    let gguf = golden("formats/llama-mixed.gguf");
    let said = scene.done(&format!("export --model {gguf} --out a/deep/place --quiet")).out;
    assert!(said.contains(", f32; "), "{said}");
    assert_eq!(types(&scene, "a/deep/place/model.safetensors"), [Dtype::F32]);
    for file in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"] {
        assert!(scene.path("a/deep/place").join(file).is_file(), "{file}");
    }
    for (word, dtype, named) in [("f16", Dtype::F16, "float16"), ("bf16", Dtype::BF16, "bfloat16")] {
        scene.done(&format!("export --model {gguf} --out {word} --save-dtype {word} --quiet"));
        assert_eq!(types(&scene, &format!("{word}/model.safetensors")), [dtype]);
        let config: Value = serde_json::from_str(&scene.read(&format!("{word}/config.json"))).unwrap();
        assert!(config["dtype"] == named || config["torch_dtype"] == named, "{config}");
    }
    assert!(scene.unfinished().is_empty());
    let card = scene.read("f16/README.md");
    assert!(card.starts_with("---\nlibrary_name: transformers\n") && card.contains("license: \"unknown\""), "{card}");
}

#[test]
fn weights_keep_the_type_of_their_file_and_a_run_says_so() {
    let scene = Scene::new();
    scene.done(&format!("export --model {} --out plain --quiet", golden("formats/gpt2-f16")));
    assert_eq!(types(&scene, "plain/model.safetensors"), [Dtype::F16]);
    scene.done("export --model builtin:tldr --out half --save-dtype f16 --quiet");
    let short = "--model half --max-steps 1";
    let loud = training("run", short).replace("--quiet", "");
    let ran = scene.done(&loud);
    assert!(ran.err.contains("model/ is written in f16") && ran.err.contains("--save-dtype f32"), "{}", ran.err);
    assert_eq!(types(&scene, "run/model/model.safetensors"), [Dtype::F16]);
    scene.done(&training("whole", &format!("{short} --save-dtype f32")));
    assert_eq!(types(&scene, "whole/model/model.safetensors"), [Dtype::F32]);
    scene.done(&training("lora", &format!("{short} --lora-rank 2")));
    assert_eq!(types(&scene, "lora/model/adapter_model.safetensors"), [Dtype::F32]);
}

#[test]
fn a_whole_pipeline_is_written_with_every_part() {
    let scene = Scene::new();
    let model = golden("companions/sd");
    scene.done(&format!("export --model {model} --out half --save-dtype bf16 --quiet"));
    let index: Value = serde_json::from_str(&scene.read("half/model_index.json")).unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        assert!(index[part].is_array() && scene.path("half").join(part).is_dir(), "{part}");
    }
    let unet = "unet/diffusion_pytorch_model.safetensors";
    assert_eq!(types(&scene, &format!("half/{unet}")), [Dtype::BF16]);
    assert_eq!(types(&scene, "half/vae/diffusion_pytorch_model.safetensors"), [Dtype::BF16]);
    let encoder = types(&scene, "half/text_encoder/model.safetensors");
    assert!(encoder.iter().all(|dtype| [Dtype::BF16, Dtype::I64].contains(dtype)), "{encoder:?}");
    scene.done("sample --mdp diffusion --model half --prompt dog --sample-steps 2 --out made.jsonl --quiet");
    // Without a wish, byte for byte as it was.
    scene.done(&format!("export --model {model} --out same --quiet"));
    let was = std::fs::read(Path::new(&model).join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(scene.bytes("same/vae/diffusion_pytorch_model.safetensors"), was);
    assert!(scene.read("same/README.md").contains("library_name: diffusers"));
    scene.refused(&format!("merge --model {model} --out new"), 1, &["there is no adapter to merge"]);
}

#[test]
fn a_run_has_a_card_beside_its_model() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 2 --eval-share 0.3 --objective ipo --beta 0.3"));
    let card = scene.read("run/model/README.md");
    for part in [
        "library_name: transformers",
        "license: \"unknown\"",
        "- ipo\n",
        "| base model | `builtin:tldr-untrained` |",
        "| data | `pairs.jsonl` |",
        "| beta | 0.3 |",
        "## Held-out metrics (step 2",
        "| loss | ",
        "AutoModelForCausalLM",
        "Unknown: ",
    ] {
        assert!(card.contains(part), "no {part} in\n{card}");
    }
}

#[test]
fn what_is_there_or_missing_is_refused_and_nothing_is_left() {
    let scene = Scene::new();
    scene.write("there/file", "");
    for (arguments, code, says) in [
        ("export --model builtin:tldr --out there", 1, "there exists"),
        ("export --model builtin:tldr", 2, "export needs --out"),
        ("export --out new", 2, "export needs --model"),
        ("export --model nowhere --out new", 1, "nowhere"),
        ("export --model builtin:shapes --out new --chat-template there/file", 2, "--chat-template is for language"),
        ("export --model builtin:tldr --out there/file/new --quiet", 1, "there/file"),
    ] {
        scene.refused(arguments, code, &[says]);
        assert!(!scene.path("new").exists(), "{arguments}");
    }
}

#[test]
fn a_chat_template_goes_along() {
    let scene = Scene::new();
    scene.write("chat.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    scene.done("export --model builtin:tldr --out chat --chat-template chat.jinja --quiet");
    assert_eq!(scene.read("chat/chat_template.jinja"), scene.read("chat.jinja"));
    scene.write("broken.jinja", "{% for %}");
    let broken = "export --model builtin:tldr --out new --chat-template broken.jinja";
    scene.refused(broken, 1, &["broken.jinja", "line 1"]);
}

#[test]
fn both_halves_of_a_hybrid_are_merged() {
    let scene = Scene::new();
    scene.done("sample --mdp hybrid --limit-prompts 6 --sample-steps 2 --pairs both --quiet");
    scene.done("judge --pairs both");
    let short =
        "--batch-size 2 --micro-batch-size 2 --max-steps 1 --warmup-steps 0 --n-samples 0 --eval-share 0 --quiet";
    let halves = "--refiner builtin:chimera-refiner --generator builtin:chimera-generator";
    scene.done(&format!("train --mdp hybrid {halves} --data both --lora-rank 2 --out run {short}"));
    let said = scene.done("merge --model run --out halves --quiet").out;
    assert_eq!(said.matches("adapter merged").count(), 2, "{said}");
    assert!(
        scene.path("halves/refiner/config.json").is_file() && scene.path("halves/generator/model_index.json").is_file()
    );
    assert!(scene.read("halves/README.md").contains("| kind of problem | hybrid |"));
    let halves = "--refiner halves/refiner --generator halves/generator";
    scene.done(&format!("sample --mdp hybrid {halves} --prompt dog --sample-steps 2 --out made.jsonl --quiet"));
}

#[test]
fn a_run_that_rounds_its_weights_says_so_at_its_end() {
    let scene = Scene::new();
    scene.done("export --model builtin:tldr --out half --save-dtype bf16 --quiet");
    let said = scene.done(&training("run", "--model half --max-steps 1")).out;
    assert!(
        said.contains("rounded      model/ is in bf16, as its base") && said.contains("--save-dtype f32"),
        "{said}"
    );
    for more in ["--save-dtype f32", "--save-dtype bf16", "--lora-rank 2"] {
        let out = format!("run{}", more.replace(' ', ""));
        let said = scene.done(&training(&out, &format!("--model half --max-steps 1 {more}"))).out;
        assert!(!said.contains("rounded"), "{more}: {said}");
    }
}

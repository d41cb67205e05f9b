//! Refiners and generators from the command line.
use super::Scene;
use super::resume::{check_same, wait_for_lines};

const MODELS: &str = "--refiner builtin:chimera-refiner-untrained --generator builtin:chimera-generator";

/// Pairs of four requests, made and judged; each side has its own prompt.
pub(super) fn judged() -> Scene {
    let scene = Scene::new();
    scene.write("requests.txt", "a red minotaur on a white field\na blue harpy on a pink field\n");
    let made = format!("sample --mdp hybrid {MODELS} --prompts requests.txt --n 4 --sample-steps 2 --max-length 24");
    scene.done(&format!("{made} --null-share 0.3 --pairs pairs --quiet"));
    scene.done("judge --pairs pairs --quiet");
    scene
}

fn learning(run: &str, more: &str) -> String {
    format!(
        "train --mdp hybrid {MODELS} --data pairs --set data.max_length=48 --eval-share 0 --n-samples 0 --warmup-steps 0 --lr 1e-3 \
         --batch-size 2 --micro-batch-size 2 --out {run} --quiet {more}"
    )
}

#[test]
fn pairs_are_made_judged_and_learned_from() {
    let scene = judged();
    let pairs: Vec<serde_json::Value> =
        scene.read("pairs/pairs.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(pairs.len(), 8);
    assert!(pairs.iter().any(|pair| pair["a"]["refined"] != pair["b"]["refined"]));
    assert!(pairs.iter().any(|pair| pair["a"]["null_refiner"] == true && pair["a"]["refined"] == pair["request"]));
    let judged = scene.read("pairs/labels.jsonl");
    let indices = |text: &str| -> Vec<u64> {
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| line["index"].as_u64().unwrap()).collect()
    };
    assert_eq!(indices(&judged), (0..8).collect::<Vec<_>>(), "{judged}");
    // Judging again changes nothing.
    scene.done("judge --pairs pairs --quiet");
    assert_eq!(scene.read("pairs/labels.jsonl"), judged);

    scene.done(&learning("run", "--max-steps 3 --epochs 9"));
    let first = scene.column("run", "loss")[0];
    // A tie is half a loss of either side, and both are ln 2 at the start.
    assert!((first - 2f64.ln()).abs() < 1e-9, "{first}");
    for name in ["margins/refiner", "margins/generator", "grad_norm/refiner", "grad_norm/generator", "length/refiner"] {
        assert_eq!(scene.column("run", name).len(), 3, "{name}");
    }
    let shares = [scene.column("run", "grad_share/refiner"), scene.column("run", "grad_share/generator")];
    assert!((shares[0][0] + shares[1][0] - 1.0).abs() < 1e-9);
    assert!(scene.path("run/model/refiner/model.safetensors").is_file());
    assert!(scene.path("run/model/generator/model_index.json").is_file());
    assert!(scene.path("run/model/generator/unet/diffusion_pytorch_model.safetensors").is_file());

    // Its halves learn on by its name, and begin as the two do that are named apart.
    let on = |out: &str, models: &str| {
        let named = learning(out, "--max-steps 1").replace(MODELS, models);
        scene.done(&named);
        scene.column(out, "loss")
    };
    let apart = on("apart", "--refiner run/model/refiner --generator run/model/generator");
    assert_eq!(on("on", "--model run"), apart);
    scene.refused(&learning("new", "--model run"), 2, &["--model", "both of its halves are named"]);

    // What was trained is scored, and sampled from, by the run's name.
    scene.done("score --mdp hybrid --model run --data pairs --max-length 48 --out scores.jsonl --quiet");
    assert_eq!(indices(&scene.read("scores.jsonl")), (0..8).collect::<Vec<_>>());
    scene.done(
        "sample --mdp hybrid --model run --prompts requests.txt --sample-steps 2 --max-length 24 --out pictures.jsonl --quiet",
    );
    assert!(scene.path("pictures/00001-0.png").is_file() && scene.path("pictures.png").is_file());
}

#[test]
fn a_half_that_is_not_updated_is_written_as_it_was() {
    let scene = judged();
    for (update, moved, kept) in [
        ("refiner", "refiner/model", "generator/unet/diffusion_pytorch_model"),
        ("generator", "generator/unet/diffusion_pytorch_model", "refiner/model"),
    ] {
        scene.done(&learning(&format!("{update}-1"), &format!("--max-steps 1 --update {update}")));
        scene.done(&learning(&format!("{update}-2"), &format!("--max-steps 2 --update {update}")));
        let file = |run: usize, half: &str| scene.bytes(&format!("{update}-{run}/model/{half}.safetensors"));
        assert!(file(1, moved) != file(2, moved), "{update}: {moved} stays");
        assert!(file(1, kept) == file(2, kept), "{update}: {kept} moves");
    }
}

#[test]
fn requests_that_nobody_refined_teach_the_refiner_nothing() {
    let scene = Scene::new();
    scene.write("requests.txt", "a red minotaur on a white field\na blue harpy on a pink field\n");
    let made = format!("sample --mdp hybrid {MODELS} --prompts requests.txt --n 2 --sample-steps 2 --max-length 48");
    scene.done(&format!("{made} --null-share 1 --pairs pairs --quiet"));
    scene.done("judge --pairs pairs --quiet");
    scene.done(&learning("run", "--max-steps 2 --epochs 9 --sft-weight 0.1"));
    assert_eq!(scene.column("run", "grad_norm/refiner"), [0.0, 0.0]);
    assert!(scene.column("run", "grad_norm/generator").iter().all(|norm| *norm > 0.0));
    assert!(scene.metrics("run").iter().all(|line| line.get("length/refiner").is_none()));
}

#[test]
fn a_run_is_asked_as_it_was_when_it_learned() {
    let scene = judged();
    scene.done(&learning("run", "--max-steps 1 --request-template ask:{request};"));
    let sampled = |more: &str, name: &str| {
        scene.done(&format!(
            "sample --mdp hybrid --model run --prompts requests.txt --sample-steps 2 --max-length 30 --quiet --null-share 0 --pairs {name} {more}"
        ));
        serde_json::from_str::<serde_json::Value>(&scene.read(&format!("{name}/pairs.json"))).unwrap()["settings"]
            .clone()
    };
    let settings = sampled("", "own");
    assert_eq!(settings["request_template"], "ask:{request};");
    assert_eq!((&settings["max_length"], &settings["n"]), (&30.into(), &1.into()));
    assert_eq!(sampled("--request-template {request}", "other")["request_template"], "{request}");
    // One side's words don't depend on what else is asked with them.
    let pairs = |name: &str| scene.read(&format!("{name}/pairs.jsonl"));
    let first = pairs("own").lines().next().unwrap().to_owned();
    scene.write("requests.txt", "a red minotaur on a white field\na red minotaur on a pink field, a red one\n");
    sampled("", "beside");
    assert_eq!(pairs("beside").lines().next().unwrap(), first);
    let long = "red ".repeat(40);
    scene.write("requests.txt", format!("a dog\n{long}\n"));
    let sample = "sample --mdp hybrid --model run --prompts requests.txt --max-length 30 --pairs long --quiet";
    scene.refused(sample, 1, &["`red red", "--max-length is 30"]);
}

#[test]
fn pairs_of_a_refiner_with_another_tokenizer_are_refused() {
    let scene = judged();
    let models = "--refiner builtin:tldr --generator builtin:chimera-generator";
    let says = ["another tokenizer", "pairs: pair "];
    scene.refused(&format!("score --mdp hybrid {models} --data pairs --all-pairs --quiet"), 1, &says);
    scene.refused(&learning("new", "").replace(MODELS, models).replace("max_length=48", "max_length=256"), 1, &says);
}

#[test]
fn one_half_of_the_embedded_problem_learns_by_its_name() {
    let scene = Scene::new();
    scene.done(
        "train --mdp hybrid --update refiner --limit 16 --eval-examples 2 --n-samples 0 --null-share 0.5 --sample-steps 1 \
         --out run --quiet",
    );
    assert!(scene.metrics("run").iter().all(|line| line.get("grad_norm/generator").is_none()));
    assert!(scene.column("run", "grad_norm/refiner").iter().all(|norm| *norm > 0.0));
}

#[test]
fn adapters_of_both_halves_are_found_by_the_runs_name() {
    let scene = judged();
    scene.done(&learning("lora", "--max-steps 2 --lora-rank 2"));
    assert!(scene.path("lora/model/refiner/adapter_config.json").is_file());
    assert!(scene.path("lora/model/generator/pytorch_lora_weights.safetensors").is_file());
    let score = |models: &str, out: &str| {
        scene.done(&format!("score --mdp hybrid {models} --data pairs --max-length 48 --out {out} --quiet"));
        scene.read(out)
    };
    assert_ne!(score("--model lora", "own.jsonl"), score(MODELS, "base.jsonl"));
}

#[test]
fn a_folder_of_pairs_is_inspected() {
    let scene = judged();
    let said = scene.done("inspect pairs").out;
    for word in ["modality      hybrid", "pairs         8", "judged        8", "oracle (8)"] {
        assert!(said.contains(word), "{said}\ndoes not say {word}");
    }
    scene.done(&learning("run", "--max-steps 1"));
    let said = scene.done("inspect run").out;
    assert!(said.contains("builtin:chimera-refiner-untrained and builtin:chimera-generator"), "{said}");
}

#[test]
fn killed_and_resumed_is_the_same_to_the_bit() {
    let scene = judged();
    let more = "--epochs 3 --save-every 2 --draw-sets 2 --reference-cache ref.cache";
    scene.done(&learning("whole", more));
    for n in [1, 5] {
        let run = format!("killed-{n}");
        let mut child = scene.command(&learning(&run, more)).spawn().unwrap();
        wait_for_lines(&scene, &run, n, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        scene.done(&format!("train --resume {run} --quiet"));
        check_same(&scene, "whole", &run, "refiner/model.safetensors");
        check_same(&scene, "whole", &run, "generator/unet/diffusion_pytorch_model.safetensors");
    }
}

#[test]
fn the_embedded_problem_ends_with_the_oracles_table() {
    let scene = Scene::new();
    let run =
        "train --mdp hybrid --limit 8 --batch-size 8 --max-steps 1 --eval-examples 4 --n-samples 2 --sample-steps 1";
    let done = scene.done(&format!("{run} --out run --quiet"));
    for word in ["base", "refiner alone", "generator alone", "both, separately", "joint", "paired", "win rate"] {
        assert!(done.out.contains(word), "{}\ndoes not say {word}", done.out);
    }
    assert!(scene.path("run/alone/refiner/model/refiner").is_dir());
    assert!(scene.path("run/samples/step-1.png").is_file());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_does_not_fit_is_refused() {
    let scene = judged();
    let refused = |more: &str, code, says: &[&str]| scene.refused(&learning("new", more), code, says);
    refused("--objective simpo", 2, &["simpo", "hybrid", "dpo"]);
    refused("--gamma 0", 2, &["--gamma", "positive"]);
    refused("--beta 0", 2, &["--beta", "positive"]);
    refused("--refiner-lr -1", 2, &["--refiner-lr"]);
    refused("--request-template nothing", 2, &["{request}"]);
    refused("--compare", 2, &["--compare", "embedded data"]);
    refused("--latents x.safetensors", 2, &["--latents"]);
    refused("--max-length 4", 1, &["pair 0", "--max-length"]);
    scene.refused("train --mdp hybrid --model x --quiet --out new", 2, &["--refiner", "--generator"]);
    scene.refused("train --mdp hybrid --data pairs --quiet --out new", 2, &["--refiner"]);
    let many = format!("sample --mdp hybrid {MODELS} --prompts requests.txt --n 100000 --pairs other --quiet");
    scene.refused(&many, 2, &["--n", "16384"]);
    scene.refused(
        "train --mdp token --model builtin:tldr --data pairs --quiet --out new",
        1,
        &["hybrid pairs", "token"],
    );
    scene.refused(
        &format!("sample --mdp hybrid {MODELS} --prompts requests.txt --pairs pairs --quiet"),
        1,
        &["exists"],
    );
    // Numbers that were kept for a refiner that was asked in other words, or for other noise.
    scene.done(&learning("kept", "--max-steps 1 --reference-cache kept.cache"));
    refused("--reference-cache kept.cache --request-template {request}:", 1, &["kept.cache"]);
    let flow = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 500, "shift": 2.0}"#;
    scene.write("scheduler_config.json", flow);
    refused("--reference-cache kept.cache --scheduler scheduler_config.json", 1, &["kept.cache"]);
    // Judgements of other pairs, none at all, and pictures that are gone.
    let labels = scene.read("pairs/labels.jsonl");
    scene.write("pairs/labels.jsonl", labels.replace("blake3:", "blake3:0"));
    refused("", 1, &["labels.jsonl", "line 1", "pairs"]);
    std::fs::remove_file(scene.path("pairs/labels.jsonl")).unwrap();
    refused("", 1, &["judged"]);
    scene.write("pairs/labels.jsonl", labels);
    std::fs::remove_file(scene.path("pairs/images/00003-b.png")).unwrap();
    refused("", 1, &["00003-b.png"]);
    // Words that the generator has never heard of are all one to it.
    let picture = scene.bytes("pairs/images/00000-a.png");
    scene.write("x.png", picture);
    let side = |refined: &str| format!("{{\"refined\":\"{refined}\",\"image\":\"x.png\"}}");
    let record = |chosen, rejected| {
        format!("{{\"request\":\"a pet\",\"chosen\":{},\"rejected\":{}}}\n", side(chosen), side(rejected))
    };
    scene.write("records.jsonl", record("qwe", "rtz") + &record("uio", "asd"));
    let with_records = learning("new", "").replace("--data pairs", "--data records.jsonl");
    scene.refused(&with_records, 1, &["records.jsonl", "4 different refined prompts alike", "does not fit"]);
}

//! `sample --search` and `train --rounds --search`: what is drawn elsewhere is searched for.
use serde_json::Value;

use super::Scene;

const TOKEN: &str = "--model builtin:tldr --prompts prompts.txt --max-length 40";

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("prompts.txt", "POST: my dog is 3\nPOST: rent is 700\n");
    scene
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn pairs(scene: &Scene, folder: &str) -> Vec<Value> {
    lines(&scene.read(&format!("{folder}/pairs.jsonl")))
}

fn settings(scene: &Scene, folder: &str) -> Value {
    let header: Value = serde_json::from_str(&scene.read(&format!("{folder}/pairs.json"))).unwrap();
    header["settings"].clone()
}

#[test]
fn sample_finds_what_search_finds() {
    let scene = scene();
    for (method, more) in [
        ("beam", "--width 3 --n 2"),
        ("sample", "--n 2 --temperature 0.5"),
        ("best-of", "--width 3 --score implicit --reference builtin:tldr-untrained"),
        ("smc", "--width 2 --budget 30"),
    ] {
        let found = scene.done(&format!("search {TOKEN} --method {method} {more}")).out;
        assert_eq!(scene.done(&format!("sample {TOKEN} --search {method} {more}")).out, found, "{method}");
        assert!(lines(&found)[0]["evaluations"].is_u64());
    }
    let words = |arguments: &str| {
        scene.done(arguments);
        scene.read("found.jsonl")
    };
    let hybrid = "--mdp hybrid --limit-prompts 1 --sample-steps 2 --width 2 --out found.jsonl --quiet";
    assert_eq!(
        words(&format!("sample {hybrid} --search refinements --pictures 1")),
        words(&format!("search {hybrid} --method refinements --pictures 1"))
    );
    let pictures = "--mdp diffusion --limit-prompts 1 --sample-steps 2 --width 2 --out found.jsonl --quiet";
    assert_eq!(
        words(&format!("sample {pictures} --search best-of")),
        words(&format!("search {pictures} --method best-of"))
    );
}

#[test]
fn the_sides_of_a_pair_are_the_best_answer_and_one_that_parts_from_it_early() {
    let scene = scene();
    let search = "--width 4 --groups 4 --length-penalty 0";
    let found = lines(&scene.done(&format!("search {TOKEN} --method diverse {search} --n 4")).out);
    let said = scene.done(&format!("sample {TOKEN} --search diverse {search} --pairs pairs"));
    assert!(said.err.contains("2 pairs in pairs"), "{}", said.err);
    let response = |line: &Value| line["response"].as_str().unwrap().trim().to_owned();
    for (pair, found) in pairs(&scene, "pairs").iter().zip(found.chunks(4)) {
        assert_eq!(response(&pair["a"]), response(&found[0]));
        let tokens = |line: &Value| line["tokens"].as_array().unwrap().clone();
        let shared = |line: &Value| tokens(line).iter().zip(tokens(&found[0])).take_while(|(a, b)| **a == *b).count();
        let other = found.iter().find(|line| response(line) == response(&pair["b"])).unwrap();
        assert!(found[1..].iter().all(|line| shared(line) >= shared(other)), "{pair}");
        assert_ne!(pair["a"]["response"], pair["b"]["response"]);
    }
    let settings = settings(&scene, "pairs");
    assert_eq!((&settings["search"]["method"], &settings["search"]["width"]), (&"diverse".into(), &4.into()));
    assert_eq!(settings["side_b_model"], Value::Null);
    // The same again is the same to the bit, and what is in no other pair makes another one.
    scene.done(&format!("sample {TOKEN} --search diverse {search} --pairs again --quiet"));
    assert_eq!(scene.read("pairs/pairs.json"), scene.read("again/pairs.json"));
    scene.done(&format!("sample {TOKEN} --search diverse {search} --n 2 --pairs two --quiet"));
    let two = pairs(&scene, "two");
    assert!(two.len() > 2 && two[0]["a"] == pairs(&scene, "pairs")[0]["a"], "{two:?}");
    assert_ne!(two[0]["a"]["response"], two[1]["a"]["response"]);
}

#[test]
fn pairs_of_pictures_are_found_step_by_step() {
    let scene = Scene::new();
    let sample = "sample --mdp diffusion --limit-prompts 2 --sample-steps 2 --quiet";
    scene.done(&format!("{sample} --search best-of --width 3 --pairs pairs"));
    assert_eq!(pairs(&scene, "pairs").len(), 2);
    assert!(scene.bytes("pairs/images/00000-a.png") != scene.bytes("pairs/images/00000-b.png"));
    assert_eq!(settings(&scene, "pairs")["eta"], 1.0, "a search of steps needs steps that draw");
    scene.done("judge --pairs pairs --quiet");
    scene.refused(&format!("{sample} --search beam --eta 0 --pairs none"), 2, &["there is nothing to search"]);
    scene.refused(&format!("{sample} --search beam --budget 2 --pairs none"), 2, &["--budget 2 is spent before"]);
    assert!(!scene.path("none").exists());
}

#[test]
fn pairs_of_refined_prompts_are_found_and_a_share_skips_the_refiner() {
    let scene = Scene::new();
    let sample = "sample --mdp hybrid --limit-prompts 4 --sample-steps 2 --max-length 40 --quiet";
    scene.done(&format!("{sample} --search refinements --width 2 --pictures 1 --null-share 0.5 --pairs pairs"));
    let pairs = pairs(&scene, "pairs");
    assert_eq!(pairs.len(), 4);
    let (unrefined, refined): (Vec<&Value>, Vec<&Value>) =
        pairs.iter().partition(|pair| pair["a"]["null_refiner"] == true);
    assert!(!unrefined.is_empty() && !refined.is_empty(), "{pairs:?}");
    for pair in unrefined {
        assert_eq!((&pair["a"]["refined"], &pair["b"]["refined"]), (&pair["request"], &pair["request"]));
    }
    for pair in refined {
        assert_ne!(pair["a"]["refined"], pair["b"]["refined"]);
        assert!(!pair["a"]["refined_tokens"].as_array().unwrap().is_empty());
    }
}

#[test]
fn what_no_search_reads_is_refused() {
    let scene = scene();
    for (more, says) in [
        ("--width 3", "--width goes with --search"),
        ("--score implicit", "--score goes with --search"),
        ("--beta 0.2", "--beta goes with --search"),
        ("--search beam --groups 2", "--groups is for --search diverse, beam does not read it"),
        ("--search beam --temperature 0.5", "--temperature would do nothing: --search beam draws no tokens"),
        ("--search beam --reference builtin:tldr", "--reference goes with --pairs"),
        ("--search beam --reference builtin:tldr --pairs new", "with --search it goes with --score implicit"),
        ("--search greedy --n 2", "--n would do nothing: --search greedy finds one answer"),
        ("--search greedy --pairs new", "--search greedy finds one answer"),
        ("--search beam --width 1 --pairs new", "--search beam finds at most 1 with --width 1"),
        ("--search beam --width 5 --n 3 --pairs new", "3 of a prompt have two each"),
        ("--search diverse --width 4 --groups 3 --pairs new", "--groups 3 does not divide --width 4"),
        ("--search refinements", "--search refinements is for --mdp hybrid"),
        ("--search verifier", "--search verifier needs --verifier MODEL"),
        ("--search widest", "--search takes one of greedy, sample"),
    ] {
        scene.refused(&format!("sample {TOKEN} {more}"), 2, &[says]);
        assert!(!scene.path("new").exists(), "{more}");
    }
    let trajectories = "sample --mdp diffusion --search best-of --out x.jsonl --save-trajectories t.safetensors";
    scene.refused(trajectories, 2, &["--save-trajectories is not for --search"]);
    for (more, says) in [
        ("--search beam", "--search goes with --rounds"),
        ("--rounds 1 --width 3", "--width goes with --search"),
        ("--rounds 1 --search greedy", "--search greedy finds one answer"),
        ("--rounds 1 --search beam --width 5000", "--width is 5000, but builtin:tldr has only"),
        ("--rounds 1 --search verifier --verifier nowhere", "nowhere"),
    ] {
        let code = if says == "nowhere" { 1 } else { 2 };
        scene.refused(&format!("train --mdp token {more} --out run"), code, &[says]);
        assert!(!scene.path("run").exists(), "{more}");
    }
    let denoiser = "train --mdp diffusion --rounds 1 --search best-of --sampler euler --out run";
    scene.refused(denoiser, 2, &["there is nothing to search"]);
}

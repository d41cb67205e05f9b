//! Rounds: pairs are made, judged and learned from, and again.
use super::Scene;

const ROUNDS: &str = "train --rounds 2 --round-pairs 12 --batch-size 6 --micro-batch-size 6 --eval-examples 4 \
                      --n-samples 0 --warmup-steps 0 --optimizer adamw --lr 1e-3 --quiet";

fn lines(scene: &Scene, name: &str) -> Vec<serde_json::Value> {
    scene.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every round is there, and the second one's pairs are made by what the first one learned.
fn check_rounds(scene: &Scene, out: &str, model: &str, fingerprint: &str) {
    let rounds = lines(scene, &format!("{out}/rounds.jsonl"));
    assert_eq!(rounds.len(), 2, "{rounds:?}");
    assert!(rounds.iter().all(|round| round["pairs"] == 12 && round["win_rate"].is_number()), "{rounds:?}");
    let settings = |place: &str| -> serde_json::Value {
        let header: serde_json::Value =
            serde_json::from_str(&scene.read(&format!("{out}/{place}/pairs.json"))).unwrap();
        header["settings"].clone()
    };
    assert!(settings("round-2/pairs")[model].as_str().unwrap().contains("round-1"));
    let of = |place: &str| settings(place)[fingerprint].clone();
    assert_ne!(of("round-1/pairs"), of("round-2/pairs"));
    assert_eq!(
        of("round-1/against-start"),
        of("round-2/pairs"),
        "what is compared after a round makes the next one's pairs"
    );
    // Chance of its own for the pairs, the run and the comparison of every round, and none of the next seed's.
    let drawn = ["round-1/pairs", "round-2/pairs", "round-1/against-start", "round-2/against-start"];
    let mut seeds: Vec<u64> = drawn.iter().map(|place| settings(place)["seed"].as_u64().unwrap()).collect();
    for round in ["round-1", "round-2"] {
        let config = scene.read(&format!("{out}/{round}/run/config.toml"));
        let seed = config.lines().find_map(|line| line.strip_prefix("seed = ")).unwrap();
        seeds.push(seed.parse().unwrap());
    }
    seeds.sort_unstable();
    assert!(seeds[0] > 1000 && seeds.windows(2).all(|pair| pair[0] != pair[1]), "{seeds:?}");
    assert_ne!(
        scene.read(&format!("{out}/round-1/prompts.jsonl")),
        scene.read(&format!("{out}/round-2/prompts.jsonl"))
    );
}

#[test]
fn a_language_model_learns_in_rounds_and_is_a_judge_itself() {
    let scene = Scene::new();
    let ran = scene.done(&format!("{ROUNDS} --mdp token --out run").replace(" --quiet", ""));
    assert!(ran.err.contains("12 pairs in run/round-1/pairs") && !ran.err.contains("label --pairs"), "{}", ran.err);
    let said = ran.out;
    assert_eq!(said.matches("\nnext ").count(), 1, "what is next is said once, at the end: {said}");
    assert!(said.contains("next         hybrid-dpo sample --model run/round-2/run "), "{said}");
    check_rounds(&scene, "run", "model", "fingerprint");
    assert!(
        !scene.read("run/round-1/run/config.toml").contains("rounds = "),
        "a run within rounds is a run like any other"
    );
    // A reference that moves is the policy that made the pairs: the first loss is ln 2 in both rounds.
    for round in ["run/round-1/run", "run/round-2/run"] {
        let first = scene.column(round, "loss")[0];
        assert!((first - 2f64.ln()).abs() < 1e-6, "{round}: {first}");
    }
    // What it has learned to reward judges pairs, under its own name beside the oracle's.
    let said = scene.done("judge --pairs run/round-1/pairs --judge run/round-2/run");
    assert!(said.out.contains("run/round-1/pairs: "), "{}", said.out);
    let labels = lines(&scene, "run/round-1/pairs/labels.jsonl");
    assert_eq!(labels.len(), 24);
    assert!(
        labels[12..]
            .iter()
            .all(|label| label["by"] == "model" && label["labeller"].as_str().unwrap().starts_with("run run "))
    );
}

#[test]
fn rounds_that_search_are_stopped_and_go_on_to_the_same_bits() {
    let scene = Scene::new();
    let search = "--search best-of --width 4 --score implicit --round-pairs 6";
    let rounds = |name: &str| format!("{} --mdp token {search} --out {name}", ROUNDS.replace("--round-pairs 12", ""));
    scene.done(&rounds("whole"));
    assert!(scene.read("whole/config.toml").contains("search = \"best-of\""));
    assert!(!scene.read("whole/round-1/run/config.toml").contains("search = \"best-of\""));
    let settings = |run: &str, place: &str| -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&scene.read(&format!("{run}/{place}/pairs.json"))).unwrap()
            ["settings"]
            .clone()
    };
    // In the first round the policy is its own reference, so the likelihood is sought.
    assert_eq!(settings("whole", "round-1/pairs")["search"]["score"], "likelihood");
    assert_eq!(settings("whole", "round-2/pairs")["search"]["score"], "implicit");
    let begun = &settings("whole", "round-1/pairs")["fingerprint"];
    assert_eq!(&settings("whole", "round-2/pairs")["search"]["reference-fingerprint"][0], begun);
    assert_eq!(settings("whole", "round-2/against-start").get("search"), None, "policies are compared by draws");
    // Killed in the search for the second round's pairs.
    let mut child = scene.command(&rounds("killed")).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && !scene.path("killed/round-2/prompts.jsonl").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    scene.refused("train --resume killed --search beam", 2, &["--search can't be given with --resume"]);
    scene.done("train --resume killed --quiet");
    assert!(scene.unfinished().is_empty(), "{:?}", scene.unfinished());
    for file in ["rounds.jsonl", "round-2/pairs/pairs.jsonl"] {
        assert_eq!(scene.read(&format!("whole/{file}")), scene.read(&format!("killed/{file}")), "{file}");
    }
    let weights = "round-2/run/model/model.safetensors";
    assert!(scene.bytes(&format!("whole/{weights}")) == scene.bytes(&format!("killed/{weights}")));
}

#[test]
fn pictures_and_refined_prompts_are_searched_for_in_rounds() {
    let scene = Scene::new();
    let rounds = ROUNDS.replace("--round-pairs 12", "--round-pairs 6");
    scene.done(&format!("{rounds} --mdp diffusion --sample-steps 4 --search best-of --width 3 --out pictures"));
    assert!(scene.read("pictures/config.toml").contains("eta = 1.0"));
    let score = "--score implicit --round-reference fixed";
    let hybrid =
        "--mdp hybrid --sample-steps 2 --max-length 40 --sft-weight 0 --search refinements --width 2 --pictures 1";
    scene.done(&format!("{rounds} {hybrid} {score} --out both"));
    for run in ["pictures", "both"] {
        assert_eq!(lines(&scene, &format!("{run}/rounds.jsonl")).len(), 2, "{run}");
    }
}

#[test]
fn a_denoiser_learns_in_rounds() {
    let scene = Scene::new();
    scene.done(&format!("{ROUNDS} --mdp diffusion --sample-steps 8 --round-reference fixed --out run"));
    check_rounds(&scene, "run", "model", "fingerprint");
    // A fixed reference is the policy at the start: the second round begins away from it.
    let config = scene.read("run/round-2/run/config.toml");
    assert!(config.contains("reference = \"builtin:shapes\""), "{config}");
}

#[test]
fn a_hybrid_learns_in_rounds_that_can_be_stopped_anywhere() {
    let scene = Scene::new();
    let out =
        |name: &str| format!("{ROUNDS} --mdp hybrid --sample-steps 2 --max-length 40 --sft-weight 0 --out {name}");
    scene.done(&out("run"));
    check_rounds(&scene, "run", "generator", "generator_fingerprint");
    // As after a kill: a second run that has begun and saved nothing, and judgements that were cut off.
    scene.done(&out("cut"));
    std::fs::remove_dir_all(scene.path("cut/round-2/run/model")).unwrap();
    std::fs::remove_dir_all(scene.path("cut/round-2/run/checkpoints")).unwrap();
    std::fs::create_dir(scene.path("cut/round-2/run/checkpoints")).unwrap();
    std::fs::remove_dir_all(scene.path("cut/round-2/against-start")).unwrap();
    let labels = scene.read("cut/round-2/pairs/labels.jsonl");
    std::fs::write(scene.path("cut/round-2/pairs/labels.jsonl"), &labels[..labels.len() / 2]).unwrap();
    std::fs::create_dir(scene.path("cut/round-2/.building-x")).unwrap();
    scene.done("train --resume cut --quiet");
    assert!(scene.unfinished().is_empty(), "{:?}", scene.unfinished());
    assert_eq!(scene.read("run/rounds.jsonl"), scene.read("cut/rounds.jsonl"));
    let weights = "round-2/run/model/generator/unet/diffusion_pytorch_model.safetensors";
    assert!(scene.bytes(&format!("run/{weights}")) == scene.bytes(&format!("cut/{weights}")));
}

#[test]
fn adapters_learn_in_rounds() {
    let scene = Scene::new();
    let rounds = format!("{ROUNDS} --lora-rank 2");
    scene.done(&format!("{rounds} --mdp token --out words"));
    check_rounds(&scene, "words", "model", "fingerprint");
    scene.done(&format!("{rounds} --mdp hybrid --sample-steps 2 --max-length 40 --sft-weight 0 --out run"));
    check_rounds(&scene, "run", "refiner", "refiner_fingerprint");
    for run in ["words", "run"] {
        for round in 1..=2 {
            let first = scene.column(&format!("{run}/round-{round}/run"), "loss")[0];
            assert!((first - 2f64.ln()).abs() < 1e-12, "{run}, {round}: {first}");
        }
    }
    let refiner = scene.read("run/round-2/run/model/refiner/adapter_config.json");
    assert!(refiner.contains("\"builtin:chimera-refiner\""), "{refiner}");
    let generator = "run/model/generator/pytorch_lora_weights.safetensors";
    assert!(scene.bytes(&format!("run/round-1/{generator}")) != scene.bytes(&format!("run/round-2/{generator}")));
    // Stopped, with the second round's run to make again.
    let words = "words/round-2/run/model/adapter_model.safetensors";
    let before = scene.bytes(words);
    std::fs::remove_dir_all(scene.path("words/round-2/run")).unwrap();
    scene.done("train --resume words --quiet");
    assert!(scene.bytes(words) == before);
}

#[test]
fn adapters_of_rounds_know_their_base_wherever_they_are() {
    let scene = Scene::new();
    let rounds = format!("{ROUNDS} --lora-rank 2 --mdp diffusion --sample-steps 2 --judge clip");
    super::images::copy_golden(&scene, "rewards/clip", "clip");
    scene.done(&format!("{rounds} --out a+b/run"));
    check_rounds(&scene, "a+b/run", "model", "fingerprint");
    std::fs::rename(scene.path("a+b/run/round-2"), scene.path("moved")).unwrap();
    std::fs::remove_dir_all(scene.path("a+b")).unwrap();
    scene.done("sample --mdp diffusion --model moved/run --limit-prompts 1 --sample-steps 2 --out s.jsonl --quiet");
}

#[test]
fn people_judge_between_the_rounds() {
    let scene = Scene::new();
    let prompt = |word| format!("{{\"prompt\":\"POST: {word}\\n\\nTL;DR:\"}}\n");
    scene.write("prompts.jsonl", ["one", "two", "three"].map(prompt).concat());
    let model = "--mdp token --model builtin:tldr --max-length 24 --prompts prompts.jsonl --eval-share 0.5";
    let said = scene.done(&format!("{ROUNDS} {model} --judge people --out run"));
    assert!(said.out.contains("label --pairs run/round-1/pairs"), "{}", said.out);
    let header: serde_json::Value = serde_json::from_str(&scene.read("run/round-1/pairs/pairs.json")).unwrap();
    let label = |index: usize, choice: &str| {
        let id = header["id"].as_str().unwrap();
        format!(
            "{{\"version\":1,\"pairs\":\"{id}\",\"index\":{index},\"choice\":\"{choice}\",\"labeller\":\"ann\",\"by\":\"person\"}}\n"
        )
    };
    scene.write("run/round-1/pairs/labels.jsonl", &(label(0, "b") + &label(3, "a") + &label(4, "tie")));
    let said = scene.done("train --resume run --quiet");
    assert!(said.out.contains("label --pairs run/round-2/pairs"), "{}", said.out);
    assert!(scene.path("run/round-1/run/model/model.safetensors").is_file());
    let first = scene.column("run/round-1/run", "loss")[0];
    assert!((first - 2f64.ln()).abs() < 1e-6, "{first}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_rounds_can_not_be_is_said_before_anything_is_made() {
    let scene = Scene::new();
    scene.write("p.txt", "POST: one\n");
    for (more, says) in [
        ("--rounds 1 --data pairs.jsonl --model builtin:tldr", "--data is not for --rounds"),
        ("--rounds 1 --objective sft", "--objective sft has no use for judgements"),
        ("--rounds 1 --judge nobody", "--judge takes oracle, people"),
        ("--rounds 1 --round-pairs 0", "--round-pairs takes at least 1"),
        ("--rounds 1 --round-pairs 9223372036854775807", "--round-pairs takes at most 16384"),
        ("--rounds 1 --eval-examples 20000", "--eval-examples takes at most 16384"),
        ("--rounds 1 --model builtin:tldr-untrained --prompts p.txt", "is drawn from --seed"),
        ("--rounds 1 --reference builtin:tldr", "--round-reference fixed"),
        ("--rounds 1 --limit 3", "--limit is not for --rounds"),
        ("--rounds 1 --batch-size 0", "--batch"),
        ("--rounds 1 --model builtin:tldr --prompts p.txt --max-length 1", "--max-length"),
        ("--rounds 1 --temperature 0", "--temperature 0 says the same twice"),
        ("--rounds 0", "--rounds takes at least 1"),
        ("--temperature 0.5", "--temperature goes with --rounds"),
        ("--judge oracle", "--judge goes with --rounds"),
        ("--round-pairs 3", "--round-pairs goes with --rounds"),
    ] {
        scene.refused(&format!("train --mdp token {more} --out run"), 2, &[says]);
        assert!(!scene.path("run").exists(), "{more}");
    }
    super::images::copy_golden(&scene, "rewards/clip", "clip");
    super::images::copy_golden(&scene, "rewards/llama", "reward");
    scene.done(&super::training("one", "--model builtin:tldr --lora-rank 2 --max-steps 1"));
    for (more, code, says) in [
        ("--mdp token --judge clip", 1, "scores pictures"),
        ("--mdp diffusion --judge reward", 1, "scores texts"),
        ("--mdp diffusion --judge one", 1, "is a run of --mdp token"),
        ("--mdp token --model one --prompts p.txt --lora-rank 4", 2, "goes on learning has 2"),
        ("--mdp token --lora-rank 2 --lora-targets nonsense", 1, "nonsense"),
    ] {
        scene.refused(&format!("train {more} --rounds 1 --out run"), code, &[says]);
        assert!(!scene.path("run").exists(), "{more}");
    }
    let same = "sample --mdp token --model builtin:tldr --prompts p.txt --temperature 0 --pairs p";
    scene.refused(same, 2, &["--temperature 0 says the same twice"]);
    scene.refused("sample --mdp hybrid --pairs p --reference x", 2, &["--refiner-reference"]);
    scene.refused("score --mdp token --model builtin:tldr --data p.txt --all-pairs", 2, &["--all-pairs"]);
    scene.refused("sample --mdp token --reference builtin:tldr --out x.jsonl", 2, &["--reference goes with --pairs"]);
}

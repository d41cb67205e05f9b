//! `search`: what is found, what it costs, what is refused.
use serde_json::Value;

use super::{MODEL, Scene, training};

const TRAINED: &str = "builtin:tldr";

/// What a search of two prompts with the embedded model finds.
fn found(scene: &Scene, more: &str) -> Vec<Value> {
    lines(&scene.done(&asked("search", more)).out)
}

fn asked(verb: &str, more: &str) -> String {
    let model = if more.contains("--model") { String::new() } else { format!("--model {TRAINED}") };
    format!("{verb} {model} --prompts prompts.txt --max-length 48 {more}")
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("prompts.txt", "POST: my dog is 3\nPOST: rent is 700\n");
    scene
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

fn column(lines: &[Value], name: &str) -> Vec<f64> {
    lines.iter().map(|line| line[name].as_f64().unwrap()).collect()
}

fn tokens(lines: &[Value]) -> Vec<&Value> {
    lines.iter().map(|line| &line["tokens"]).collect()
}

#[test]
fn a_line_is_that_of_sample_with_what_the_search_knows() {
    let scene = scene();
    let shape =
        ["prompt", "response", "tokens", "finished", "rank", "score", "log_prob", "length", "evaluations"].as_slice();
    for method in ["greedy", "sample", "best-of", "beam", "mcts --simulations 3"] {
        for line in found(&scene, &format!("--method {method}")) {
            assert_eq!(keys(&line), shape, "{method}");
            assert_eq!(line["length"], line["tokens"].as_array().unwrap().len(), "{method}");
            assert_eq!(line["rank"], 1, "{method}");
        }
    }
    let particles = found(&scene, "--method smc --width 3");
    assert_eq!((particles.len(), keys(&particles[0])), (6, [shape, &["weight"]].concat()));
    assert!((column(&particles[..3], "weight").iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let ran = scene.done(&asked("search", "--out found.jsonl"));
    assert_eq!((ran.out.as_str(), lines(&scene.read("found.jsonl"))), ("", found(&scene, "")));
}

#[test]
fn one_beam_is_greedy_and_so_is_sample_at_temperature_0() {
    let scene = scene();
    let greedy = found(&scene, "--method greedy");
    assert_eq!(tokens(&greedy), tokens(&found(&scene, "--width 1")));
    assert_eq!(tokens(&greedy), tokens(&lines(&scene.done(&asked("sample", "--temperature 0")).out)));
}

#[test]
fn a_beam_finds_what_is_likelier_than_the_greedy_answer() {
    let scene = scene();
    let greedy = column(&found(&scene, "--method greedy"), "log_prob");
    let beams = found(&scene, "--width 4 --n 4 --length-penalty 0 --early-stopping never");
    assert_eq!(column(&beams, "score"), column(&beams, "log_prob"));
    for (of_prompt, greedy) in beams.chunks(4).zip(greedy) {
        assert_eq!(column(of_prompt, "rank"), [1.0, 2.0, 3.0, 4.0]);
        let scores = column(of_prompt, "score");
        assert!(scores[0] >= greedy && scores.is_sorted_by(|a, b| a >= b), "{scores:?} {greedy}");
    }
    // By length: the score is divided by it.
    for line in found(&scene, "--width 3 --length-penalty 2") {
        let [score, sum, length] = ["score", "log_prob", "length"].map(|name| line[name].as_f64().unwrap());
        assert!((score - sum / (length * length)).abs() < 1e-9, "{line}");
    }
}

#[test]
fn the_best_of_n_has_the_implicit_reward_that_score_says_and_more_than_a_sample() {
    let scene = scene();
    let rewards = format!("--score implicit --reference {MODEL} --beta 0.5");
    let samples = found(&scene, &format!("--method sample --n 6 {rewards}"));
    let best = found(&scene, &format!("--method best-of --width 6 {rewards}"));
    for (samples, best) in samples.chunks(6).zip(&best) {
        let scores = column(samples, "score");
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(best["score"].as_f64().unwrap(), most);
        let ranked: Vec<f64> = column(samples, "rank");
        assert_eq!(ranked[scores.iter().position(|score| *score == most).unwrap()], 1.0, "{ranked:?}");
    }
    // A verifier of the same pair ranks the same.
    let verified = found(&scene, &format!("--method verifier --verifier {TRAINED} --width 6 {rewards}"));
    assert_eq!(tokens(&verified), tokens(&best));
    assert!(verified[0]["evaluations"].as_u64() >= best[0]["evaluations"].as_u64());
}

#[test]
fn a_run_is_searched_for_its_reward_over_what_it_began_with() {
    let scene = scene();
    scene.done(&training("run", "--max-steps 1 --lr 1e-3 --model builtin:tldr"));
    let named = found(&scene, "--model run --score implicit --reference builtin:tldr");
    assert_eq!(found(&scene, "--model run --score implicit"), named);
    assert!(column(&named, "score").iter().all(|score| *score != 0.0));
    scene.refused(
        &asked("search", "--score implicit"),
        2,
        &["--score implicit needs --reference", "builtin:tldr is no run"],
    );
}

#[test]
fn a_small_pair_guides_by_its_ratio_and_strength_0_says_nothing() {
    let scene = scene();
    let ratio = format!("--score ratio --guide {TRAINED} --guide-reference {MODEL}");
    let plain = found(&scene, "--width 3");
    let unmoved = found(&scene, &format!("--width 3 {ratio} --strength 0"));
    assert_eq!((tokens(&unmoved), column(&unmoved, "score")), (tokens(&plain), column(&plain, "score")));
    assert!(unmoved[0]["evaluations"].as_u64() == Some(3 * plain[0]["evaluations"].as_u64().unwrap()));
    assert_ne!(tokens(&found(&scene, &format!("--width 3 {ratio} --strength 3"))), tokens(&plain));
}

#[test]
fn a_budget_is_kept_and_what_was_spent_is_said() {
    let scene = scene();
    for method in
        ["greedy", "sample --n 2", "best-of --width 3", "beam", "diverse --width 4 --groups 2", "smc --width 3"]
    {
        let whole = found(&scene, &format!("--method {method}"));
        let part = found(&scene, &format!("--method {method} --budget 20"));
        assert!(column(&whole, "evaluations").iter().all(|spent| *spent > 20.0), "{method}");
        assert!(column(&part, "evaluations").iter().all(|spent| *spent <= 20.0), "{method}");
        let cut = part.iter().filter(|line| line["finished"] == false);
        assert!(cut.count() > 0 || method.starts_with("beam") || method.starts_with("diverse"), "{method}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_its_flag() {
    let scene = scene();
    for (more, code, says) in [
        ("--width 0", 2, &["--width takes at least 1"][..]),
        ("--budget 0", 2, &["--budget takes at least 1"]),
        ("--n 0", 2, &["--n takes at least 1"]),
        ("--method sample --width 2", 2, &["--width", "sample does not read it"]),
        ("--width 3 --n 4", 2, &["--n is 4", "--width 3"]),
        ("--width 5000", 2, &["--width is 5000", "builtin:tldr has only"]),
        ("--method diverse --width 4 --groups 3", 2, &["--groups 3 does not divide --width 4"]),
        ("--method refinements", 2, &["refinements is for --mdp hybrid"]),
        ("--method smc --resample-below 2", 2, &["--resample-below takes a number from 0 to 1"]),
        ("--method verifier", 2, &["--verifier MODEL"]),
        ("--score ratio --guide builtin:tldr", 2, &["--guide and --guide-reference"]),
        ("--score implicit --reference builtin:tldr --beta 0", 2, &["--beta takes a positive number"]),
        ("--score eq12", 2, &["--score takes one of likelihood, implicit, ratio"]),
        (
            "--method verifier --verifier builtin:chimera-refiner",
            1,
            &["--verifier builtin:chimera-refiner", "builtin:tldr"],
        ),
        (
            "--score ratio --guide builtin:tldr --guide-reference builtin:chimera-refiner",
            1,
            &["--guide-reference builtin:chimera-refiner has another vocabulary than builtin:tldr"],
        ),
        (
            "--score implicit --reference builtin:chimera-refiner",
            1,
            &["builtin:chimera-refiner has another vocabulary"],
        ),
    ] {
        scene.refused(&asked("search", &format!("{more} --out found.jsonl")), code, says);
        assert!(!scene.path("found.jsonl").exists(), "{more}");
    }
}

#[test]
fn pictures_that_cannot_be_searched_are_refused() {
    let scene = Scene::new();
    scene.refused("search --mdp diffusion", 2, &["pictures need --out FILE.jsonl"]);
    for (more, says) in [
        ("--eta 0", "there is nothing to search"),
        ("--sampler euler", "there is nothing to search"),
        ("--budget 2", "--budget 2 is spent before there is one picture"),
        ("--method diverse", "no two latents are equal"),
        ("--verifier builtin:shapes", "--verifier is for --method verifier"),
    ] {
        let search = "search --mdp diffusion --limit-prompts 1 --sample-steps 2 --out found.jsonl";
        scene.refused(&format!("{search} {more}"), 2, &[says]);
        assert!(!scene.path("found").exists() && !scene.path("found.jsonl").exists(), "{more}");
    }
    let hybrid = "search --mdp hybrid --limit-prompts 1 --out found.jsonl";
    scene.refused(&format!("{hybrid} --verifier builtin:tldr"), 2, &["--verifier is one model"]);
    scene.refused(&format!("{hybrid} --score implicit"), 2, &["--refiner-reference"]);
    for method in ["refinements", "beam", "diverse --groups 2", "mcts"] {
        let more = format!("--method {method} --width 5000");
        scene.refused(&format!("{hybrid} {more}"), 2, &["--width is 5000, but the refiner has only"]);
    }
    assert!(!scene.path("found").exists());
}

#[test]
fn pictures_are_searched_step_by_step() {
    let scene = Scene::new();
    let search = "search --mdp diffusion --limit-prompts 1 --sample-steps 3 --out found.jsonl --quiet";
    let shape = ["prompt", "image", "sample", "rank", "score", "log_prob", "length", "evaluations"];
    let run = |more: &str| {
        scene.done(&format!("{search} {more}"));
        lines(&scene.read("found.jsonl"))
    };
    let drawn = run("--method sample --n 4");
    let best = run("--method best-of --width 4");
    assert_eq!((keys(&best[0]), best[0]["length"].as_u64()), (shape.to_vec(), Some(4)));
    // The noise once, and three steps of each.
    assert_eq!(best[0]["evaluations"], 1 + 3 * 4);
    let most = column(&drawn, "score").into_iter().fold(f64::NEG_INFINITY, f64::max);
    assert_eq!(best[0]["score"].as_f64(), Some(most));
    assert!(scene.path("found.png").exists() && scene.path(best[0]["image"].as_str().unwrap()).exists());
    for (method, n) in [("smc --width 3", 3), ("beam --width 3 --n 2", 2), ("mcts --simulations 3 --width 2", 1)] {
        assert_eq!(run(&format!("--method {method}")).len(), n, "{method}");
    }
    let same = run("--method greedy --width 2 --score implicit --reference builtin:shapes");
    assert_eq!((same[0]["score"].as_f64(), same[0]["evaluations"].as_u64()), (Some(0.0), Some(2 * 4)));
}

#[test]
fn refined_prompts_are_searched_with_pictures_below_them() {
    let scene = Scene::new();
    let search = "search --mdp hybrid --limit-prompts 1 --sample-steps 2 --out found.jsonl --quiet";
    let run = |more: &str| {
        scene.done(&format!("{search} {more}"));
        lines(&scene.read("found.jsonl"))
    };
    let found = run("--method refinements --width 3 --pictures 2 --n 6");
    assert_eq!(found.len(), 6);
    let shape = ["prompt", "refined", "image", "sample", "rank", "score", "log_prob", "length", "evaluations"];
    assert_eq!(keys(&found[0]), shape);
    let mut refined: Vec<&str> = found.iter().map(|line| line["refined"].as_str().unwrap()).collect();
    refined.dedup();
    assert_eq!(refined.len(), 3, "{refined:?}");
    assert!(column(&found, "score").is_sorted_by(|a, b| a >= b));
    assert_eq!(column(&found, "rank"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(found.iter().all(|line| scene.path(line["image"].as_str().unwrap()).exists()));
    let rewarded = run("--method beam --width 2 --eta 1 --score implicit --refiner-reference builtin:chimera-refiner");
    assert_eq!(rewarded[0]["score"].as_f64(), Some(0.0));
}

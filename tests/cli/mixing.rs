//! Several sources of data in one run, by weights.
use super::{MODEL, PAIRS, Scene, training};

/// The pairs in two files of two and six.
fn two_files() -> Scene {
    let scene = Scene::new();
    let lines: Vec<&str> = PAIRS.lines().collect();
    scene.write("few.jsonl", lines[..2].join("\n"));
    scene.write("many.jsonl", lines[2..].join("\n"));
    scene
}

/// A run on these sources that says what it does.
fn mixed(out: &str, sources: &str, more: &str) -> String {
    training(out, &format!("{sources} --batch-size 2 --max-steps 6 {more}"))
}

const WEIGHTED: &str = "--data few.jsonl:1 --data many.jsonl:1";

#[test]
fn without_weights_an_epoch_has_every_example_once() {
    let scene = two_files();
    let said = scene.done(&mixed("run", "--data few.jsonl --data many.jsonl", "").replace("--quiet ", "")).err;
    for part in [
        "few.jsonl: 2 examples: 2 pairs; format trl; columns: ",
        "many.jsonl: 6 examples: 6 pairs; format trl; columns: ",
        "8 training examples",
        "few.jsonl: 2 examples, 2 an epoch (25.0%)",
        "many.jsonl: 6 examples, 6 an epoch (75.0%)",
    ] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    scene.done(&mixed("one", "--data pairs.jsonl", ""));
    assert_eq!(scene.metrics("run"), scene.metrics("one"));
    assert!(scene.bytes("run/model/model.safetensors") == scene.bytes("one/model/model.safetensors"));
}

#[test]
fn weights_are_shares_of_an_epoch_and_a_function_of_the_seed() {
    let scene = two_files();
    let said = scene.done(&mixed("run", WEIGHTED, "").replace("--quiet ", "")).err;
    for part in ["few.jsonl: 2 examples, 4 an epoch (50.0%)", "many.jsonl: 6 examples, 4 an epoch (50.0%)"] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    let config = scene.read("run/config.toml");
    assert!(config.contains("data = [\"few.jsonl:1\", \"many.jsonl:1\"]"), "{config}");
    scene.done("train --config run/config.toml --out again --quiet");
    scene.done(&mixed("other", "--data few.jsonl:1 --data many.jsonl:3", ""));
    scene.done(&mixed("seed", WEIGHTED, "--seed 7"));
    assert_eq!(scene.metrics("run"), scene.metrics("again"));
    assert_ne!(scene.column("run", "loss"), scene.column("other", "loss"));
    assert_ne!(scene.column("run", "loss"), scene.column("seed", "loss"));
    scene.write("mine.toml", "[data]\ndata = [\"few.jsonl:1\", \"many.jsonl:1\"]\n");
    scene.done(&mixed("file", "--config mine.toml", "").replace("--data pairs.jsonl", ""));
    assert_eq!(scene.metrics("run"), scene.metrics("file"));
}

#[test]
fn a_mixed_run_is_resumed_to_the_bit_from_everywhere() {
    let scene = two_files();
    scene.done(&mixed("whole", WEIGHTED, "--optimizer adamw"));
    scene.done(&mixed("run", WEIGHTED, "--optimizer adamw").replace("--max-steps 6", "--max-steps 3"));
    std::fs::create_dir(scene.path("elsewhere")).unwrap();
    let mut command = scene.command("train --resume ../run --max-steps 6 --quiet");
    let ran = super::ran(&command.current_dir(scene.path("elsewhere")).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(scene.metrics("run"), scene.metrics("whole"));
    assert!(scene.bytes("run/model/model.safetensors") == scene.bytes("whole/model/model.safetensors"));
    // A run with other weights is another run.
    let config = scene.read("run/config.toml").replace("many.jsonl:1", "many.jsonl:2");
    scene.write("run/config.toml", config);
    scene.refused("train --resume run --max-steps 8 --quiet", 1, &["data"]);
    assert!(scene.done("inspect run").out.contains("few.jsonl:1, many.jsonl:2"));
    scene.done("report whole --out page.html");
    assert!(scene.read("whole/model/README.md").contains("`few.jsonl:1`, `many.jsonl:1`"));
    let said = scene.done("eval --model whole --data few.jsonl").err;
    assert!(said.contains("has learned from few.jsonl"), "{said}");
}

#[test]
fn the_references_numbers_of_a_mixture_are_computed_before_it() {
    let scene = two_files();
    let more = "--eval-share 0 --batch-size 3 --epochs 3";
    scene.done(&format!("precompute --model {MODEL} {WEIGHTED} {more} --reference-cache before.cache"));
    scene.done(&training("run", &format!("{WEIGHTED} {more} --reference-cache own.cache")));
    assert!(scene.bytes("before.cache") == scene.bytes("own.cache"));
    let other = "--data few.jsonl:1 --data many.jsonl:2";
    scene.refused(&training("new", &format!("{other} {more} --reference-cache before.cache")), 1, &["before.cache"]);
}

#[test]
fn a_path_with_a_colon_is_a_path() {
    let scene = two_files();
    std::fs::rename(scene.path("few.jsonl"), scene.path("few:2")).unwrap();
    scene.write("few", "");
    // Its ending no longer says what it is.
    std::fs::rename(scene.path("few:2"), scene.path("few:2.jsonl")).unwrap();
    scene.done(&mixed("one", "--data few:2.jsonl", ""));
    let said = scene.done(&mixed("two", "--data few:2.jsonl:3 --data many.jsonl:1", "").replace("--quiet ", "")).err;
    assert!(said.contains("few:2.jsonl: 2 examples, 6 an epoch (75.0%)"), "{said}");
}

#[test]
fn a_prompt_of_several_sources_is_held_out_of_all() {
    let scene = two_files();
    // The first prompt of the pairs comes in both files.
    let run = mixed("run", "--data few.jsonl --data many.jsonl", "--eval-share 0.5").replace("--quiet ", "");
    let said = scene.done(&run).err;
    assert!(said.contains("training examples, ") && said.contains("held out"), "{said}");
    let lines: Vec<&str> = PAIRS.lines().collect();
    scene.write("parts/train-00000-of-00001.jsonl", lines[..4].join("\n"));
    scene.write("parts/test-00000-of-00001.jsonl", lines[4..].join("\n"));
    let run = mixed("own", "--data parts --data many.jsonl", "--eval-share 0.3").replace("--eval-share 0.3", "");
    let said = scene.done(&run.replace("--eval-share 0", "").replace("--quiet ", "")).err;
    assert!(said.contains("parts: its own part test is not read"), "{said}");
}

#[test]
fn sources_that_contradict_each_other_are_refused() {
    let scene = two_files();
    scene.write("liked.jsonl", "{\"prompt\":\"POST: a\",\"completion\":\" b\",\"label\":true}\n");
    scene.write("said.jsonl", "{\"prompt\":\"POST: a\",\"completion\":\" b\"}\n");
    for (sources, code, says) in [
        (
            "--data few.jsonl:0 --data many.jsonl:1",
            2,
            "--data few.jsonl:0: the weight of a source is a positive number",
        ),
        ("--data few.jsonl:-1 --data many.jsonl:1", 2, "positive number, not `-1`"),
        ("--data few.jsonl:nan --data many.jsonl:1", 2, "positive number, not `nan`"),
        ("--data few.jsonl:x --data many.jsonl:1", 2, "positive number, not `x`"),
        ("--data few.jsonl:1 --data many.jsonl", 2, "--data many.jsonl: it has no weight, and others have"),
        ("--data few.jsonl:1", 2, "a weight is for one of several sources"),
        ("--data few.jsonl --data few.jsonl", 2, "named twice"),
        ("--data few.jsonl --data builtin:tldr", 2, "--data builtin:tldr: embedded data is not mixed"),
        ("--data few.jsonl:1 --data many.jsonl:1e-9", 2, "less than one example of an epoch"),
        ("--data few.jsonl --data missing.jsonl", 1, "missing.jsonl"),
        ("--data few.jsonl --data liked.jsonl", 1, "liked.jsonl: this objective learns from pairs"),
        ("--data few.jsonl --data said.jsonl", 1, "said.jsonl: this objective learns from pairs"),
        (
            "--objective kto --data few.jsonl --data said.jsonl",
            1,
            "said.jsonl: this objective learns from single answers",
        ),
    ] {
        scene.refused(&mixed("new", sources, ""), code, &[says]);
        assert!(!scene.path("new").exists(), "{sources}");
    }
    // What a loss learns from both kinds of is no contradiction.
    scene.done(&mixed("liked", "--objective kto --data few.jsonl --data liked.jsonl", ""));
    scene.done(&mixed("said", "--objective sft --data few.jsonl --data said.jsonl", ""));
}

#[test]
fn other_verbs_and_kinds_of_problems_take_one_source() {
    let scene = two_files();
    let two = "--data few.jsonl --data many.jsonl";
    let says = ["--data takes one source here: several are mixed by `train` of --mdp token alone"];
    for verb in ["score", "eval", "inspect"] {
        scene.refused(&format!("{verb} --model {MODEL} {two}"), 2, &says);
    }
    scene.refused(&format!("train --mdp diffusion --model builtin:shapes {two}"), 2, &says);
    scene.write("two.toml", "[data]\ndata = [\"few.jsonl\", \"many.jsonl\"]\n");
    scene.refused(&format!("score --model {MODEL} --config two.toml"), 2, &says);
}

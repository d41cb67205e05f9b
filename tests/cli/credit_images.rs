//! `credit` of pictures and of hybrid pairs: rewards by draw, place and token against what `score` says.
use serde_json::Value;

use super::Scene;
use super::hybrid::judged;
use super::images::{N, copy_golden, latents, learning, several_draws, studio, write_tensors};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn sum(value: &Value) -> f64 {
    value.as_array().unwrap().iter().map(|part| if part.is_array() { sum(part) } else { number(part) }).sum()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-4 * (1e-3 + expected.abs()), "{found}, not {expected}");
}

/// How far a reward may be off: errors are rounded, and it is their small difference.
fn rounding(picture: &Value) -> f64 {
    let [reward, error, reference] = ["reward", "error", "reference_error"].map(|name| number(&picture[name]));
    1e-5 * (reward / (reference - error)).abs() * reference
}

/// Holds the parts of a picture's reward against the whole.
fn check_parts(picture: &Value) {
    close(sum(&picture["step_rewards"]), number(&picture["reward"]));
    close(sum(&picture["map"]), number(&picture["reward"]));
    assert_eq!(numbers(&picture["step_rewards"]).len(), picture["timesteps"].as_array().unwrap().len());
}

#[test]
fn rewards_add_up_to_the_margins_that_score_gives() {
    let scene = studio();
    scene.done(&learning("run", "--max-steps 2"));
    let timesteps: Vec<i64> = (0..2 * N as i64).map(|i| (i * 137 + 11) % 1000).collect();
    write_tensors(&scene, "several.safetensors", &several_draws(&timesteps), &[]);
    let of_pictures = "--mdp diffusion --model pixels --reference pixels-moved --data pictures.jsonl";
    scene.done(&learning("pixels-run", "--model pixels --data pictures.jsonl --max-steps 2"));
    std::fs::rename(scene.path("pixels-run/model"), scene.path("pixels-moved")).unwrap();
    let of_latents = "--mdp diffusion --model run --reference unet --latents latents.safetensors";
    for arguments in [
        format!("{of_latents} --draws draws.safetensors --beta 3"),
        format!("{of_latents} --draws several.safetensors --reduction sum --half=false --horizon 10 --beta 0.1"),
        format!("{of_latents} --draws-per-pair 5 --seed 3 --omega min-snr"),
        format!("{of_pictures} --draws-per-pair 3 --beta 50"),
    ] {
        scene.done(&format!("credit {arguments} --out c.jsonl --quiet"));
        let (scored, credited) =
            (lines(&scene.done(&format!("score {arguments} --quiet")).out), lines(&scene.read("c.jsonl")));
        assert_eq!(credited.len(), 2 * scored.len());
        for (scored, sides) in scored.iter().zip(credited.chunks(2)) {
            for (side, name) in sides.iter().zip(["chosen", "rejected"]) {
                assert_eq!((&side["index"], &side["side"]), (&scored["index"], &Value::from(name)));
                for error in ["error", "reference_error"] {
                    close(number(&side[error]), number(&scored[name][error]));
                }
                let drawn = &side["timesteps"];
                assert_eq!(if drawn.as_array().unwrap().len() == 1 { &drawn[0] } else { drawn }, &scored["timestep"]);
                check_parts(side);
            }
            let margin = number(&scored["margin"]);
            assert!(margin != 0.0, "{scored}");
            let found = number(&sides[0]["reward"]) - number(&sides[1]["reward"]);
            assert!((found - margin).abs() < rounding(&sides[0]) + rounding(&sides[1]), "{found}, not {margin}");
        }
    }
}

#[test]
fn embedded_pictures_know_what_is_wrong_in_them() {
    let scene = Scene::new();
    let models = "--mdp diffusion --model builtin:shapes --reference builtin:shapes-untrained";
    let credit = format!(
        "credit {models} --data builtin:shapes --limit 3 --draws-per-pair 4 --timestep-bins 2 --show-answers 2 --out c.jsonl --html c.html --quiet"
    );
    let said = scene.done(&credit).out;
    assert!(!said.contains('\u{1b}'), "{said}");
    assert_eq!(said.lines().filter(|line| line.contains(": chosen ") && line.contains(", margin ")).count(), 2);
    for word in
        ["timesteps", "draws", "share of the margin", "AUROC of the map", "margin above 0: ", "of 3 pairs", "all "]
    {
        assert!(said.contains(word), "{said}\ndoes not say {word}");
    }
    for row in
        ["reward ", "policy error alone", "reference error alone", "distance to the centre", "brightness", "contrast"]
    {
        assert!(said.lines().any(|line| line.starts_with(row) && line.contains(" to ")), "{said}\nhas no row {row}");
    }
    let pictures = lines(&scene.read("c.jsonl"));
    assert_eq!(pictures.len(), 6);
    let is_wrong =
        |picture: &Value| picture["wrong"].as_array().unwrap().iter().any(|row| row.to_string().contains("true"));
    assert!(pictures.chunks(2).all(|sides| !is_wrong(&sides[0]) && is_wrong(&sides[1])));
    pictures.iter().for_each(check_parts);
    assert_eq!(pictures[0]["map"].as_array().unwrap().len(), 16);
    let page = scene.read("c.html");
    assert!(page.starts_with("<!doctype html>") && !page.contains("://") && !page.contains("<script"));
    assert_eq!((page.matches("<figure>").count(), page.matches("known to be wrong\"").count()), (6, 3));
    // The same again is the same to the letter, and other draws are others.
    let first = scene.read("c.jsonl");
    assert_eq!(scene.done(&credit).out, said);
    assert_eq!(scene.read("c.jsonl"), first);
    assert_ne!(scene.done(&format!("{credit} --seed 1")).out, said);
    // What is its own reference has no reward anywhere.
    let own = models.replace("shapes-untrained", "shapes");
    scene.done(&format!("credit {own} --data builtin:shapes --limit 1 --draws-per-pair 1 --out own.jsonl --quiet"));
    assert!(
        lines(&scene.read("own.jsonl")).iter().all(|picture| picture["reward"] == 0.0 && sum(&picture["map"]) == 0.0)
    );
}

#[test]
fn single_pictures_and_models_with_an_autoencoder_are_read_too() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    let one = "--draws-per-pair 2 --out c.jsonl --html c.html --quiet";
    // Pictures are encoded, and the maps are of latents.
    let ran = scene.done(&format!(
        "credit --mdp diffusion --model sd --reference sd --data pictures.jsonl --image-size 16 --limit 2 {one}"
    ));
    assert!(ran.out.contains("nothing to measure"), "{}", ran.out);
    let pictures = lines(&scene.read("c.jsonl"));
    assert_eq!(pictures.len(), 4);
    assert!(pictures[0]["map"].as_array().unwrap().len() < 16 && pictures[0]["caption"] == "a picture, 0");
    assert_eq!(scene.read("c.html").matches("class=\"maps smooth\"").count(), 4);
    // Latents of four channels and no autoencoder: there is a map, and no picture.
    let mut captioned = latents(4, 12);
    captioned.remove("rejected");
    write_tensors(&scene, "single.safetensors", &captioned, &[]);
    let of_latents = "credit --mdp diffusion --model unet --reference unet --latents single.safetensors";
    let said = scene.done(&format!("{of_latents} {one}")).out;
    assert!(said.contains("share of the reward") && !said.contains("margin"), "{said}");
    let pictures = lines(&scene.read("c.jsonl"));
    assert!(pictures.len() == N && pictures.iter().all(|picture| picture["side"] == "image"));
    assert!(!scene.read("c.html").contains("picture</div>"));
    let demonstrations =
        "--model builtin:shapes --reference builtin:shapes-untrained --data builtin:shapes-demonstrations";
    let said = scene.done(&format!("credit --mdp diffusion {demonstrations} --limit 4 {one}")).out;
    assert!(said.contains("pictures with wrong regions: "), "{said}");
}

/// Holds the rewards of a side's tokens against its log-probabilities: beta is 0.5.
fn check_words(side: &Value, scored: &Value) {
    let [own, reference] = ["log_probs", "reference_log_probs"].map(|column| numbers(&scored[column]));
    let ratios = numbers(&side["log_ratio"]);
    // Weighted by beta, or by nothing where the request itself was taken.
    let is_given = ratios.iter().all(|ratio| *ratio == 0.0);
    for (ratio, (own, reference)) in ratios.iter().zip(own.iter().zip(&reference)) {
        close(*ratio, if is_given { 0.0 } else { 0.5 * (own - reference) });
    }
    assert_eq!((ratios.len(), side["offsets"].as_array().unwrap().len()), (own.len(), own.len()));
}

#[test]
fn the_margin_of_a_hybrid_is_of_words_and_of_pictures() {
    let scene = judged();
    let models = "--refiner builtin:chimera-refiner-untrained --generator builtin:chimera-generator --refiner-reference \
                  builtin:chimera-refiner --generator-reference builtin:chimera-generator-untrained";
    let arguments =
        format!("--mdp hybrid {models} --data pairs --max-length 48 --draws-per-pair 3 --beta 0.5 --gamma 30");
    let said = scene.done(&format!("credit {arguments} --out c.jsonl --html c.html --show-answers 1 --quiet")).out;
    let scored = lines(&scene.done(&format!("score {arguments} --quiet")).out);
    let credited = lines(&scene.read("c.jsonl"));
    assert_eq!(credited.len(), scored.len());
    for (credited, scored) in credited.iter().zip(&scored) {
        for name in ["margin", "margin_refiner", "margin_generator"] {
            close(number(&credited[name]), number(&scored[name]));
        }
        close(number(&credited["margin_refiner"]) + number(&credited["margin_generator"]), number(&scored["margin"]));
        let mut of_words = 0.0;
        for (name, sign) in [("chosen", 1.0), ("rejected", -1.0)] {
            let side = &credited[name];
            check_parts(side);
            check_words(side, &scored[name]);
            of_words += sign * sum(&side["log_ratio"]);
        }
        close(of_words, number(&scored["margin_refiner"]));
    }
    for word in ["half", "words  ", "pictures  ", "both  ", "share of the margin", "pairs: 8", "timesteps", ": margin "]
    {
        assert!(said.contains(word), "{said}\ndoes not say {word}");
    }
    assert!(!said.contains('\u{1b}') && said.contains("<end>("), "{said}");
    let page = scene.read("c.html");
    assert_eq!((page.matches("<p class=\"heat\">").count(), page.matches("<figure>").count()), (16, 16));
    assert!(!page.contains("://") && !page.contains("<script"));
    // Without a reference of one half, that half has no part in it.
    let words = "--generator-reference builtin:chimera-generator-untrained";
    let arguments = arguments.replace(words, "");
    scene.done(&format!("credit {arguments} --limit 2 --out c.jsonl --quiet"));
    assert!(lines(&scene.read("c.jsonl")).iter().all(|pair| pair["margin_generator"] == 0.0));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_does_not_fit_is_one_message_and_no_file() {
    let scene = studio();
    scene.write("spans.jsonl", scene.read("pictures.jsonl").replace("\"prompt\"", "\"spans\":[[0,1]],\"prompt\""));
    write_tensors(&scene, "wide.safetensors", &latents(4, 8), &[]);
    write_tensors(&scene, "more.safetensors", &latents(6, 12), &[]);
    scene.write("scheduler.json", r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 20}"#);
    let of_latents = "--model unet --reference unet --latents latents.safetensors";
    let of_pictures = "--model pixels --reference pixels --data pictures.jsonl";
    let to = "--out new.jsonl --html new.html --quiet";
    for (arguments, code, says) in [
        ("--model unet --latents latents.safetensors".to_owned(), 2, &["--reference", "before it learned"][..]),
        ("--reference unet --latents latents.safetensors".to_owned(), 2, &["--model"]),
        ("--model unet --reference unet".to_owned(), 2, &["--data", "--latents"]),
        (format!("{of_latents} --data pictures.jsonl"), 2, &["--data", "--latents"]),
        (
            "--model unet --reference pixels --latents latents.safetensors".to_owned(),
            1,
            &["--reference pixels", "noise"],
        ),
        (
            format!("{} --scheduler scheduler.json", of_latents.replace("--reference unet", "--reference pixels")),
            1,
            &["channels"],
        ),
        ("--model unet --reference builtin:shapes --latents latents.safetensors".to_owned(), 1, &["--reference"]),
        ("--model unet --reference unet --latents more.safetensors".to_owned(), 1, &["channels"]),
        ("--model unet --reference unet --latents wide.safetensors".to_owned(), 1, &["wide.safetensors", "width 12"]),
        ("--model unet --reference unet --latents nowhere.safetensors".to_owned(), 1, &["nowhere.safetensors"]),
        ("--model unet --reference unet --latents draws.safetensors".to_owned(), 1, &["draws.safetensors", "chosen"]),
        (format!("{of_latents} --draws latents.safetensors"), 1, &["latents.safetensors", "timesteps"]),
        (format!("{of_latents} --draws draws.safetensors --draws-per-pair 2"), 2, &["--draws-per-pair"]),
        (format!("{of_latents} --draws-per-pair 0"), 2, &["--draws-per-pair", "at least 1"]),
        (format!("{of_latents} --timestep-bins 0"), 2, &["--timestep-bins", "1 to 1000"]),
        (format!("{of_latents} --timestep-bins 21 --scheduler scheduler.json"), 2, &["--timestep-bins", "1 to 20"]),
        (format!("{of_latents} --beta 0"), 2, &["--beta"]),
        (format!("{of_latents} --beta inf"), 2, &["--beta"]),
        (format!("{of_latents} --limit 0"), 2, &["--limit"]),
        (format!("{of_latents} --reward-model unet"), 2, &["--reward-model", "token"]),
        (of_pictures.replace("pictures.jsonl", "spans.jsonl"), 1, &["spans.jsonl, line 1", "`spans`", "texts"]),
        (of_pictures.replace("pictures.jsonl", "pairs.jsonl"), 1, &["pairs.jsonl"]),
        (of_pictures.replace("pictures.jsonl", "builtin:nothing"), 2, &["builtin:nothing", "builtin:shapes"]),
    ] {
        scene.refused(&format!("credit --mdp diffusion {arguments} {to}"), code, says);
        assert!(!scene.path("new.jsonl").exists() && !scene.path("new.html").exists(), "{arguments}");
    }
    let hybrid = "--refiner builtin:chimera-refiner --generator builtin:chimera-generator";
    for (arguments, code, says) in [
        (format!("{hybrid} --data builtin:chimera"), 2, &["--refiner-reference", "--generator-reference"][..]),
        (format!("{hybrid} --refiner-reference builtin:chimera-refiner"), 2, &["--data"]),
        (
            format!("{hybrid} --generator-reference builtin:shapes --data builtin:chimera --limit 1"),
            1,
            &["builtin:shapes"],
        ),
        (format!("{hybrid} --reference x --data builtin:chimera"), 2, &["--reference", "--refiner-reference"]),
        (format!("{hybrid} --latents latents.safetensors"), 2, &["--latents"]),
    ] {
        scene.refused(&format!("credit --mdp hybrid {arguments} {to}"), code, says);
        assert!(!scene.path("new.jsonl").exists() && !scene.path("new.html").exists(), "{arguments}");
    }
    scene.refused(
        "credit --timestep-bins 4 --model builtin:tldr --reference builtin:tldr --data pairs.jsonl",
        2,
        &["--timestep-bins"],
    );
}

//! What a run on pictures computes and what it leaves behind.
use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use serde_json::json;

use super::images::{copy_golden, floats, learning, read_tensors, studio, trajectories};
use super::{Scene, unbroken};

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_run_folder_holds_what_is_agreed() {
    let scene = studio();
    let more = "--max-steps 2 --eval-share 0.25 --eval-every 1 --save-every 1 --beta 500 --ema 0.5";
    let ran = scene.done(&learning("run", more));
    for row in [
        "reward accuracy",
        "decisions/s",
        "run folder   run",
        "score --mdp diffusion --model run --reference unet --latents latents.safetensors",
    ] {
        assert!(unbroken(&ran.out).contains(row), "{}", ran.out);
    }
    for name in ["model/config.json", "model/diffusion_pytorch_model.safetensors", "checkpoints/step-1"] {
        assert!(scene.path("run").join(name).exists(), "{name}");
    }
    assert!(scene.unfinished().is_empty());
    let config = scene.read("run/config.toml");
    for line in ["mdp = \"diffusion\"", "latents = \"latents.safetensors\"", "beta = 500.0", "ema = 0.5", "half = true"]
    {
        assert!(config.lines().any(|l| l == line), "no {line} in\n{config}");
    }
    assert!(!config.contains("max_length"), "what is for texts is not in it:\n{config}");
    // Tags and pictures stand in the event file as they are.
    let board = std::fs::read_dir(scene.path("run/tensorboard")).unwrap().next().unwrap().unwrap();
    let board = std::fs::read(board.path()).unwrap();
    let holds = |what: &[u8]| board.windows(what.len()).any(|window| window == what);
    for tag in ["train/diffusion/w_diff", "eval/diffusion/l_diff", "train/diffusion/error/t", "eval/implicit_accuracy"]
    {
        assert!(holds(tag.as_bytes()), "no {tag}");
    }
    let metrics = scene.metrics("run");
    let order: Vec<(&str, u64)> =
        metrics.iter().map(|line| (line["split"].as_str().unwrap(), line["step"].as_u64().unwrap())).collect();
    assert_eq!(order, [("eval", 0), ("train", 1), ("eval", 1), ("train", 2), ("eval", 2)]);
    let losses = scene.column("run", "loss");
    assert!((losses[0] - LN_2).abs() < 1e-12 && (losses[1] - LN_2).abs() > 1e-6, "{losses:?}");
    for name in ["diffusion/w_diff", "diffusion/l_diff", "implicit_accuracy", "grad_norm", "lr", "rewards/margins"] {
        assert!(metrics.iter().skip(1).step_by(2).all(|line| line[name].is_number()), "no {name}");
    }
    let has_error =
        |line: &serde_json::Value| line.as_object().unwrap().keys().any(|name| name.starts_with("diffusion/error/t"));
    assert!(metrics.iter().all(has_error));
    assert_eq!(scene.column("run", "diffusion/w_diff")[0], 0.0);
    let text = scene.read("run/metrics.jsonl");
    assert!(text.lines().nth(1).unwrap().contains("\"decisions_per_second\":"), "{text}");
}

/// What a run wrote is a model: of a run, of its folder, and the same.
fn check_model(scene: &Scene, run: &str) {
    let score = |model: &str| {
        let score = format!("score --mdp diffusion --model {model} --reference unet --latents latents.safetensors");
        scene.done(&format!("{score} --draws draws.safetensors --quiet")).out
    };
    let of_run = score(run);
    assert_ne!(of_run, score("unet"), "{run} has learned");
    assert_eq!(of_run, score(&format!("{run}/model")));
}

#[test]
fn every_objective_learns_from_latents() {
    let scene = studio();
    for (objective, more) in [
        ("sft", ""),
        ("dpo", ""),
        ("cdpo", ""),
        ("robust", ""),
        ("ipo", "--lr 1e-7"),
        ("hinge", ""),
        ("nca", ""),
        ("exo", ""),
        ("sppo", "--lr 1e-7"),
        ("cpl", ""),
        ("apo-zero", ""),
        ("dpo", "--scheme half --beta 1"),
        ("dpo", "--scheme half --beta 1 --draws-per-pair 3 --prediction v"),
        ("dpo", "--scheme half --beta 1 --draws-per-pair 2 --prediction flow"),
        ("dpo", "--draws-per-pair 4 --noise antithetic --timesteps stratified --omega min-snr"),
        ("dpo", "--timesteps logit-normal --noise independent --prediction flow"),
        ("dpo", "--prediction v"),
        ("dpo", "--sft-weight 0.1"),
    ] {
        let out = format!("{objective}{}", more.replace(' ', ""));
        let rate = if more.contains("--lr") { "" } else { "--lr 1e-5" };
        let run = format!("--objective {objective} {more} --epochs 2 --batch-size 8 {rate}");
        scene.done(&learning(&out, &run));
        let losses = scene.column(&out, "loss");
        assert_eq!(losses.len(), 2, "{out}");
        // The same eight pairs and draws twice: one small step down the gradient lowers the loss.
        assert!(losses.iter().all(|loss| loss.is_finite()) && losses[1] < losses[0], "{out} {losses:?}");
        // Squares of beta times the margin and one half: of the difference, or of each side.
        for (name, start) in [("ipo", 0.25), ("sppo", 0.5)] {
            assert!(objective != name || (losses[0] - start).abs() < 1e-12, "{out} {losses:?}");
        }
        if !more.contains("--prediction") {
            check_model(&scene, &out);
        }
    }
}

#[test]
fn pictures_are_learned_from_and_shown() {
    let scene = studio();
    let more = "--model pixels --data pictures.jsonl --max-steps 2 --n-samples 2 --eval-share 0.25 --flip";
    let ran = scene.done(&learning("run", more));
    assert!(ran.out.contains("samples/step-0.png and step-2.png"), "{}", ran.out);
    // Contact sheets are on the board: a PNG under the tag `samples`.
    let board = std::fs::read_dir(scene.path("run/tensorboard")).unwrap().next().unwrap().unwrap();
    let board = std::fs::read(board.path()).unwrap();
    let sheet = scene.bytes("run/samples/step-2.png");
    assert!(board.windows(sheet.len()).any(|window| window == sheet), "the last sheet is not on the board");
    for name in ["samples/step-0.png", "samples/step-2.png"] {
        let sheet = image::open(scene.path("run").join(name)).unwrap();
        assert!(sheet.width() > 64, "{name}");
    }
    for name in ["model_index.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"] {
        assert!(scene.path("run/model").join(name).is_file(), "{name}");
    }
    assert!(unbroken(&ran.out).contains("sample --mdp diffusion --model run --prompts"), "{}", ran.out);
    scene.done("sample --mdp diffusion --model run --prompts prompts.txt --sample-steps 3 --out s.jsonl");
    assert!(scene.path("s/00001-0.png").is_file());
}

#[test]
fn an_autoencoder_and_texts_are_read_once_into_a_cache() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    let more = "--model sd --data pictures.jsonl --max-steps 2 --latent-cache encoded --empty-share 0.5";
    scene.done(&learning("first", more));
    let cache = scene.bytes("encoded");
    scene.done(&learning("second", more));
    assert_eq!(scene.metrics("first"), scene.metrics("second"));
    scene.done(&learning("plain", &more.replace("--latent-cache encoded", "")));
    assert_eq!(scene.metrics("first"), scene.metrics("plain"));
    assert_eq!(scene.bytes("encoded"), cache);
    scene.write("pictures/0-chosen.png", scene.bytes("pictures/1-chosen.png"));
    scene.refused(&learning("new", more), 1, &["encoded", "other data", "delete it"]);
}

/// Files of ranked lists, and of liked and disliked pictures.
fn write_judged(scene: &Scene) {
    let (mut ranked, mut liked) = (String::new(), String::new());
    for i in 0..4 {
        let side = |i: usize, side: &str| format!("pictures/{i}-{side}.png");
        let list = [side(i, "chosen"), side(i, "rejected"), side(3 - i, "rejected")];
        ranked.push_str(&json!({"prompt": "a dog", "images": list}).to_string());
        let image = side(i, if i % 2 == 0 { "chosen" } else { "rejected" });
        liked.push_str(&json!({"prompt": "a dog", "image": image, "label": i % 2 == 0}).to_string());
        ranked.push('\n');
        liked.push('\n');
    }
    scene.write("ranked.jsonl", ranked);
    scene.write("liked.jsonl", liked);
}

#[test]
fn every_loss_of_images_learns() {
    let scene = studio();
    write_judged(&scene);
    copy_golden(&scene, "companions/sd", "sd");
    for (out, more) in [
        ("linear", "--objective linear --reference-ema 0.9"),
        ("dpop", "--objective dpop --penalty 5"),
        ("discopop", "--objective discopop --tau 1"),
        ("aot", "--objective aot"),
        ("sum", "--losses dpo:0.5,bco:0.5 --moving-delta"),
        ("kto", "--objective kto"),
        ("list-of-two", "--objective plackett-luce"),
        ("safeguard", "--safeguard 0.9"),
        ("liked", "--objective kto --data liked.jsonl --model pixels"),
        ("ranked", "--objective plackett-luce --data ranked.jsonl --model pixels"),
        ("ranked-pairs", "--objective dpo --data ranked.jsonl --model pixels"),
        ("ranked-latents", "--objective plackett-luce --data ranked.jsonl --model sd"),
    ] {
        scene.done(&learning(out, &format!("{more} --epochs 2 --lr 1e-5")));
        let losses = scene.column(out, "loss");
        assert!(losses.len() >= 2 && losses[losses.len() - 1] < losses[0], "{out} {losses:?}");
    }
    // Every order of three is as likely as any other.
    for name in ["ranked", "ranked-latents"] {
        assert!((scene.column(name, "loss")[0] - 6f64.ln()).abs() < 1e-9, "{name}");
    }
    assert!(scene.column("safeguard", "safeguard").iter().all(|lambda| (0.0..=1.0).contains(lambda)));
    scene.refused(&learning("new", "--safeguard 0.9 --data ranked.jsonl --model pixels"), 1, &["a side is in several"]);
    scene.refused(
        &learning("new2", "--objective kto --data ranked.jsonl --model pixels"),
        1,
        &["--objective plackett-luce"],
    );
}

#[test]
fn pairs_keep_the_noise_that_they_were_made_of() {
    let scene = studio();
    scene.done("sample --mdp diffusion --limit-prompts 4 --sample-steps 2 --pairs made --quiet");
    scene.done("judge --pairs made --quiet");
    // Pictures of two steps show nothing: the oracle calls them ties.
    scene.write("made/labels.jsonl", scene.read("made/labels.jsonl").replace("\"tie\"", "\"a\""));
    let run =
        |out: &str, more: &str| learning(out, &format!("--model builtin:shapes --data made --max-steps 1 {more}"));
    scene.done(&run("prior", "--noise prior"));
    scene.done(&run("shared", ""));
    assert!(scene.column("prior", "grad_norm") != scene.column("shared", "grad_norm"));
    let header = scene.read("made/pairs.json");
    let id = header.split("\"id\":").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap().to_owned();
    let seed =
        header.split("\"seed\":").nth(1).and_then(|rest| rest.split([',', '}', '\n']).next()).unwrap().to_owned();
    let without = header.replace(&id, "by-hand").replace(&format!("\"seed\":{seed}"), "\"sown\":1");
    scene.write("made/pairs.json", without);
    let labels = scene.read("made/labels.jsonl").replace(&id, "by-hand");
    scene.write("made/labels.jsonl", labels);
    scene.refused(&run("new", "--noise prior"), 1, &["needs the `seed` of its settings"]);
}

#[test]
fn trajectories_are_learned_from() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    for model in ["pixels", "sd"] {
        trajectories(&scene, model);
        let (tensors, _) = read_tensors(&scene, "ways.safetensors");
        let total: Vec<f64> = floats(&tensors, "log_probs").chunks(4).map(|steps| steps.iter().sum()).collect();
        let better = [0, 4, 7, 11].map(|i| total[i]).iter().sum::<f64>() / 4.0;
        for (name, more) in [
            ("whole", "--beta 1"),
            ("on-policy", "--beta 1 --importance-clip 1000"),
            ("some", "--beta 1 --draws-per-pair 2"),
            ("d3po", "--objective d3po"),
            ("ipo", "--objective ipo --beta 1"),
        ] {
            let out = format!("{model}-{name}");
            let more = format!("{more} --model {model} --scheme trajectory --trajectories ways.safetensors --epochs 3");
            scene.done(&learning(&out, &format!("{more} --lr 1e-5")));
            let losses = scene.column(&out, "loss");
            assert!(losses.len() == 3 && losses[2] < losses[0], "{out} {losses:?}");
            if name == "whole" {
                assert!((losses[0] - LN_2).abs() < 1e-12, "{losses:?}");
                // The policy that learns is the one that drew: its densities are those that were noted.
                let own = scene.column(&out, "logps/chosen")[0];
                assert!((own - better).abs() < 1e-4 * better.abs(), "{model}: {own} scored, {better} drawn");
            }
            if name == "on-policy" {
                let whole = scene.column(&format!("{model}-whole"), "loss");
                assert_eq!(whole.len(), losses.len(), "{model}");
                for (a, b) in whole.iter().zip(&losses) {
                    assert!((a - b).abs() < 1e-3 * a.abs(), "{model}: {whole:?} {losses:?}");
                }
            }
        }
    }
}

#[test]
fn adapters_are_written_as_diffusers_and_added_to_their_base() {
    let scene = studio();
    scene.done(&learning("run", "--lora-rank 2 --lora-alpha 4 --max-steps 2 --lr 1e-2"));
    assert!(scene.path("run/model/pytorch_lora_weights.safetensors").is_file());
    assert!(!scene.path("run/model/diffusion_pytorch_model.safetensors").exists());
    assert!((scene.column("run", "loss")[0] - LN_2).abs() < 1e-12, "the second halves begin at zero");
    let score = |model: &str| {
        let score = format!("score --mdp diffusion --model {model} --latents latents.safetensors --seed 4");
        scene.done(&format!("{score} --quiet")).out
    };
    assert_ne!(score("unet"), score("run"));
    for name in ["unet+run", "unet+run/model", "run/model", "run/model/pytorch_lora_weights.safetensors"] {
        assert_eq!(score(name), score("run"), "{name}: the run, and its adapter, know their base");
    }
    scene.done(&learning("drawn", "--model pixels --data pictures.jsonl --lora-rank 2 --max-steps 1"));
    scene.done("sample --mdp diffusion --model drawn --prompts prompts.txt --sample-steps 2 --out s.jsonl");
    let (alone, drawn) = (scene.bytes("s/00000-0.png"), scene.path("s/00000-0.png"));
    scene.done("sample --mdp diffusion --model pixels+drawn --prompts prompts.txt --sample-steps 2 --out t.jsonl");
    assert!(drawn.is_file() && alone == scene.bytes("t/00000-0.png"));
    // A base that has moved away is named again.
    let before = score("run");
    std::fs::rename(scene.path("unet"), scene.path("moved")).unwrap();
    scene.refused("score --mdp diffusion --model run/model --latents latents.safetensors", 2, &["BASE+run/model"]);
    assert_eq!(score("moved+run"), before);
}

#[test]
fn adapters_go_on_learning() {
    let scene = studio();
    let adapters = |run: &str| -> BTreeMap<String, Vec<u8>> {
        let bytes = scene.bytes(&format!("{run}/model/pytorch_lora_weights.safetensors"));
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
    };
    let score = |model: &str| {
        let score = format!("score --mdp diffusion --model {model} --latents latents.safetensors --seed 4");
        scene.done(&format!("{score} --quiet")).out
    };
    scene.done(&learning(
        "one",
        "--lora-rank 2 --lora-alpha 4 --max-steps 2 --lr 1e-2 --lora-targets attn1.to_k,to_out.0",
    ));
    scene.done(&learning("same", "--model one --lora-rank 2 --max-steps 1 --lr 1e-60"));
    assert!(adapters("same") == adapters("one"));
    scene.done(&learning("two", "--model unet+one --lora-rank 2 --max-steps 2 --lr 1e-2"));
    assert!((scene.column("two", "loss")[0] - LN_2).abs() < 1e-12, "the reference is the adapter as it was");
    assert_ne!(score("two"), score("one"));
    scene.done(&learning("three", "--model two --lora-rank 2 --max-steps 1"));
    assert_eq!(score("three"), score("unet+three/model"), "its base is the first one");
    for (more, says) in [
        ("--lora-rank 4", "has 2"),
        ("--lora-rank 2 --lora-alpha 8", "has 4"),
        ("--lora-rank 2 --lora-targets to_k", "layers of its own"),
    ] {
        scene.refused(&learning("new", &format!("--model two {more}")), 2, &["two", "goes on learning", says]);
    }
    scene.done(&learning("four", "--model two --lora-rank 2 --max-steps 1 --lora-targets attn1.to_k,to_out.0"));
}

#[test]
fn micro_batches_and_activation_checkpointing_change_memory_not_results() {
    let scene = studio();
    let run = |name: &str, more: &str| {
        let more = format!("--batch-size 8 --epochs 3 --lr 1e-4 --draws-per-pair 2 --beta 500 {more}");
        scene.done(&learning(name, &more));
        [scene.column(name, "loss"), scene.column(name, "rewards/margins"), scene.column(name, "grad_norm")].concat()
    };
    let whole = run("whole", "--micro-batch-size 8");
    for other in [
        run("single", "--micro-batch-size 1"),
        run("uneven", "--micro-batch-size 3"),
        run("again", "--micro-batch-size 8 --activation-checkpointing"),
    ] {
        // Loss, margin and norm of three steps.
        assert_eq!((whole.len(), other.len()), (9, 9));
        for (a, b) in whole.iter().zip(&other) {
            // Exact in f64 (tests/micro_batches.rs). In f32 a batch of another size rounds mean squared errors of about 1
            // otherwise, and a margin is beta / 2 times their differences.
            assert!((a - b).abs() < 500.0 * f64::from(f32::EPSILON) * a.abs().max(1.0), "{whole:?} {other:?}");
        }
        // The reference is scored in the same micro-batches.
        assert!((other[0] - LN_2).abs() < 1e-14 && other[3] == 0.0, "{other:?}");
    }
}

#[test]
fn a_reference_cache_gives_the_same_run_and_is_refused_where_it_does_not_fit() {
    let scene = studio();
    let with_cache = "--epochs 2 --draw-sets 2 --reference-cache ref.cache";
    scene.done(&learning("first", with_cache));
    let cache = scene.bytes("ref.cache");
    let second = scene.done(&learning("second", with_cache).replace("--quiet", ""));
    assert!(second.err.contains("read from the cache"), "{}", second.err);
    assert_eq!(scene.metrics("first"), scene.metrics("second"));
    scene.done(&learning("plain", "--epochs 2 --draw-sets 2"));
    assert_eq!(scene.metrics("first"), scene.metrics("plain"));
    for (more, says) in [
        ("--model first", "another model"),
        ("--seed 3", "another data"),
        ("--draws-per-pair 2", "another data"),
        ("--scheme half", "another data"),
        ("--scheduler pixels/scheduler/scheduler_config.json", "another data"),
    ] {
        let new = learning("new", &format!("{with_cache} {more}"));
        scene.refused(&new, 1, &["ref.cache", says, "delete it"]);
    }
    assert!(!scene.path("new").exists(), "refused before there is a folder");
    assert_eq!(scene.bytes("ref.cache"), cache);
    trajectories(&scene, "pixels");
    let on_ways = "--model pixels --scheme trajectory --trajectories ways.safetensors --reference-cache ways.cache";
    scene.done(&learning("ways", on_ways));
    let other = learning("new", &format!("{on_ways} --eta 0.5"));
    scene.refused(&other, 1, &["ways.cache", "another data", "delete it"]);
}

//! `score`, `sample` and `inspect` of denoisers.
use serde_json::Value;

use super::images::{
    N, SIZE, copy_golden, draws, floats, learning, read_tensors, several_draws, studio, trajectories, write_tensors,
};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

const SCORE: &str = "score --mdp diffusion --latents latents.safetensors --draws draws.safetensors";

#[test]
fn score_writes_what_is_agreed() {
    let scene = studio();
    scene.done(&learning("run", "--max-steps 2"));
    let ran = scene.done(&format!("{SCORE} --model run --reference unet --beta 3 --out s.jsonl --quiet"));
    assert_eq!((ran.out, ran.err), (String::new(), String::new()));
    let scored = lines(&scene.read("s.jsonl"));
    assert_eq!(scored.len(), N);
    let in_paper = format!("{SCORE} --model run --reference unet --beta 3 --reduction sum --half=false --horizon 1000");
    let in_paper = lines(&scene.done(&in_paper).out);
    for (index, line) in scored.iter().enumerate() {
        assert_eq!(keys(line), ["index", "timestep", "chosen", "rejected", "margin"]);
        assert_eq!((&line["index"], &line["timestep"]), (&index.into(), &((index * 137 + 11) % 1000).into()));
        let gain = |side: &str| {
            assert_eq!(keys(&line[side]), ["error", "reference_error"]);
            number(&line[side]["reference_error"]) - number(&line[side]["error"])
        };
        // Means over the latent's numbers, halved; sums times T in the paper.
        let gains = gain("chosen") - gain("rejected");
        let margin = 3.0 * 0.5 / SIZE as f64 * gains;
        assert!(margin != 0.0 && (number(&line["margin"]) - margin).abs() < 1e-9, "{line}");
        assert_eq!(in_paper[index]["chosen"], line["chosen"]);
        assert!((number(&in_paper[index]["margin"]) - 3000.0 * gains).abs() < 1e-6, "{line}");
    }
    let alone = lines(&scene.done(&format!("{SCORE} --model run")).out);
    assert_eq!(alone[3]["margin"], Value::Null);
    assert_eq!(alone[3]["chosen"]["reference_error"], Value::Null);
    assert_eq!(alone[3]["chosen"]["error"], scored[3]["chosen"]["error"]);
    // The strength that training has.
    let score = format!("{SCORE} --model run --reference unet");
    assert_eq!(scene.done(&score).out, scene.done(&format!("{score} --beta 2000")).out);
    let own = lines(&scene.done(&format!("{SCORE} --model unet --reference unet")).out);
    assert!(own.iter().all(|line| line["margin"] == 0.0));
}

#[test]
fn errors_are_sums_and_metrics_are_means_per_number() {
    let scene = studio();
    // All in the first of four bands of timesteps.
    write_tensors(&scene, "draws.safetensors", &draws(&[1, 30, 60, 90, 120, 150, 180, 210]), &[]);
    scene.done(&learning("run", "--draws draws.safetensors --batch-size 8"));
    let scored = lines(&scene.done(&format!("{SCORE} --model unet")).out);
    let side = |side: &str| scored.iter().map(|line| number(&line[side]["error"])).sum::<f64>() / N as f64;
    let means = scene.column("run", "diffusion/error/t0-249");
    assert!((means[0] - f64::midpoint(side("chosen"), side("rejected")) / SIZE as f64).abs() < 1e-5, "{means:?}");
}

#[test]
fn samples_are_pictures_and_a_function_of_the_seed() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    for sampler in ["ddpm", "ddim", "euler", "dpm++2m"] {
        let sample = |out: &str, seed: u64| {
            let ran = scene.done(&format!(
                "sample --mdp diffusion --model sd --prompts prompts.txt --n 2 --sample-steps 3 --sampler {sampler} \
                 --seed {seed} --out {out}.jsonl --quiet"
            ));
            assert_eq!((ran.out, ran.err), (String::new(), String::new()));
            let lines = lines(&scene.read(&format!("{out}.jsonl")));
            assert_eq!(lines.len(), 4);
            assert_eq!(keys(&lines[0]), ["prompt", "image", "sample", "log_prob"]);
            assert_eq!((&lines[3]["prompt"], &lines[3]["sample"]), (&"a cat".into(), &1.into()));
            assert_eq!(number(&lines[0]["log_prob"]) != 0.0, sampler == "ddpm", "{sampler} {}", lines[0]);
            let sheet = scene.bytes(&format!("{out}.png"));
            let mut all = vec![sheet];
            all.extend(lines.iter().map(|line| scene.bytes(line["image"].as_str().unwrap())));
            all
        };
        let first = sample(&format!("{sampler}-a"), 1);
        for bytes in &first {
            let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::Png).unwrap();
            assert!(picture.width() >= 16, "{}", picture.width());
        }
        assert_ne!(first[1], first[2], "two samples of one prompt");
        assert!(first == sample(&format!("{sampler}-b"), 1), "{sampler}");
        assert!(first != sample(&format!("{sampler}-c"), 2), "{sampler}");
    }
    let guided = |scale: &str| {
        let out = format!("guided-{scale}.jsonl");
        scene.done(&format!(
            "sample --mdp diffusion --model sd --prompts prompts.txt --sample-steps 3 --guidance {scale} --out {out}"
        ));
        scene.bytes(&format!("guided-{scale}/00000-0.png"))
    };
    assert_ne!(guided("1"), guided("7.5"));
    assert!(guided("0.5") == guided("1") && guided("0") == guided("1"), "diffusers guides beyond 1 only");
    assert!(scene.unfinished().is_empty());
}

#[test]
fn trajectories_are_saved_with_what_they_were_told() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    for (model, channels, is_told) in [("pixels", 3, false), ("sd", 4, true)] {
        trajectories(&scene, model);
        let (tensors, notes) = read_tensors(&scene, "made.safetensors");
        assert_eq!(tensors["latents"].1, [12, 5, channels, 8, 8]);
        assert_eq!((&tensors["log_probs"].1[..], &tensors["timesteps"].1[..]), (&[12, 4][..], &[4][..]));
        assert_eq!(tensors.contains_key("context"), is_told);
        let note = |name: &str| notes.iter().find(|(found, _)| found == name).map(|(_, text)| text.clone()).unwrap();
        assert_eq!(note("format"), "hybrid-dpo trajectories 1");
        assert_eq!(lines(&note("captions"))[0][3], "a cat");
        let total: f64 = floats(&tensors, "log_probs")[..4].iter().sum();
        let line = &lines(&scene.read("made.jsonl"))[0];
        assert!((number(&line["log_prob"]) - total).abs() < 1e-3 * total.abs(), "{line} {total}");
        let text = scene.done("inspect made.safetensors").out;
        assert!(text.contains("trajectories") && text.contains("pairs         0"), "{text}");
        let text = scene.done("inspect ways.safetensors").out;
        assert!(text.contains("examples      12") && text.contains("pairs         4"), "{text}");
    }
}

#[test]
fn inspect_tells_denoisers_runs_pictures_and_latents_apart() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    scene.done(&learning("run", "--max-steps 1"));
    scene.done(&learning("lora", "--max-steps 1 --lora-rank 2"));
    let says = |what: &str, words: &[&str]| {
        let text = scene.done(&format!("inspect {what}")).out;
        for word in words {
            assert!(text.contains(word), "{what} does not say {word}\n{text}");
        }
    };
    let of_unet = ["UNet2DConditionModel", "epsilon", "timesteps     1000", "4 x 4 pixels of 4 channels"];
    says("unet", &of_unet);
    says("run/model", &of_unet);
    for name in ["unet+lora/model", "unet+lora", "lora/model"] {
        says(name, &of_unet);
    }
    says("pixels", &["UNet2DModel", "8 x 8 pixels of 3 channels", "reads texts   no", "scheduler (DDPMScheduler)"]);
    says("sd", &["reads texts   yes", "vae (AutoencoderKL)", "text_encoder (CLIPTextModel)", "unet (UNet2DCond"]);
    says("builtin:shapes-untrained", &["flow", "16 x 16 pixels of 3 channels", "reads texts   yes"]);
    says("run", &["run run", "problem       diffusion", "objective     dpo", "finished      yes"]);
    says("pictures.jsonl --image-size 8", &["8 examples: 8 pairs", "8x8 (16)", "nothing left out"]);
    says("pictures.jsonl", &["16 pictures smaller than wanted"]);
    says("pixels --data pictures.jsonl", &["used as 8x8"]);
    says("sd --data pictures.jsonl", &["used as 16x16"]);
    says("latents.safetensors", &["latents, pairs", "examples      8", "texts of 3 x 12"]);
    says("draws.safetensors", &["draws"]);
    says("pairs.jsonl", &["8 examples: 8 pairs", "tokenizer"]);
    scene.refused("inspect unet/diffusion_pytorch_model.safetensors", 1, &["tensors of no kind known here"]);
    scene.refused("inspect nowhere.safetensors", 1, &["nowhere.safetensors"]);
}

#[test]
fn parts_of_a_folder_of_pictures_and_limits() {
    let scene = studio();
    let all = scene.read("pictures.jsonl").replace("pictures/", "../pictures/");
    let rows: Vec<&str> = all.lines().collect();
    let part = |name: &str, range: std::ops::Range<usize>| scene.write(name, rows[range].join("\n"));
    part("folder/train-0.jsonl", 0..3);
    part("folder/train-1.jsonl", 3..5);
    part("folder/validation.jsonl", 5..8);
    let says = |more: &str, what: &str| {
        let run = learning("run", &format!("--model pixels --data folder --epochs 1 {more}")).replace("--quiet", "");
        let ran = scene.done(&run);
        assert!(ran.err.contains(what), "{more} does not say {what}\n{}", ran.err);
        std::fs::remove_dir_all(scene.path("run")).unwrap();
    };
    says("", "5 training examples, 0 held out");
    for (split, n) in [("train", 5), ("validation", 3), ("all", 8)] {
        says(&format!("--split {split}"), &format!("{n} training examples, 0 held out"));
    }
    let test = learning("new", "--model pixels --data folder --split test");
    scene.refused(&test, 1, &["folder holds no file of the split `test`", "--split says which part"]);
    // Data to evaluate on is named whole, and the limit is on what is learned from.
    scene.write("eval/eval.jsonl", all.as_str());
    let apart = learning("run", "--model pixels --data folder --eval-data eval --limit 2 --epochs 1");
    let apart = apart.replace("--quiet", "").replace("--eval-share 0 ", "").replace("--eval-share 0", "");
    let ran = scene.done(&apart);
    assert!(ran.err.contains("2 training examples, 8 held out"), "{}", ran.err);
}

/// With several draws the margin is the mean over them: every draw has a K-th of the weight.
#[test]
fn a_score_of_several_draws_is_their_mean() {
    let scene = studio();
    scene.done(&learning("run", "--max-steps 2"));
    let score = "score --mdp diffusion --latents latents.safetensors --model run --reference unet --quiet";
    let first = |more: &str| lines(&scene.done(&format!("{score} {more}")).out)[0].clone();
    let (one, four) = (first("--beta 3"), first("--beta 3 --draws-per-pair 4"));
    let gain = |line: &Value, side: &str| number(&line[side]["reference_error"]) - number(&line[side]["error"]);
    let gap = |line: &Value| gain(line, "chosen") - gain(line, "rejected");
    let per_error = number(&one["margin"]) / gap(&one);
    assert!((number(&four["margin"]) - per_error * gap(&four) / 4.0).abs() < 1e-9 * number(&four["margin"]).abs());
    assert_ne!(one["chosen"], four["chosen"]);
    scene.refused(&format!("{score} --draws-per-pair 0"), 2, &["--draws-per-pair takes at least 1"]);
    let given = format!("{score} --draws draws.safetensors --draws-per-pair 2");
    scene.refused(&given, 2, &["--draws-per-pair is not for --draws"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_file_of_several_draws_is_the_mean_of_files_of_one() {
    let scene = studio();
    scene.done(&learning("run", "--max-steps 2"));
    let score = |draws: &str| {
        let score = "score --mdp diffusion --latents latents.safetensors --model run --reference unet --beta 3 --quiet";
        lines(&scene.done(&format!("{score} --draws {draws}.safetensors")).out)
    };
    let timesteps: Vec<i64> = (0..2 * N as i64).map(|at| at * 15).collect();
    let both = several_draws(&timesteps);
    write_tensors(&scene, "both.safetensors", &both, &[]);
    for (k, name) in ["first", "second"].into_iter().enumerate() {
        let one = both.iter().map(|(name, (dtype, shape, bytes))| {
            let (n, of_draw) = (2 * N, bytes.len() / (2 * N));
            let kept = (k..n).step_by(2).flat_map(|draw| bytes[draw * of_draw..][..of_draw].to_vec()).collect();
            (name.clone(), (*dtype, [&shape[..1], &shape[2..]].concat(), kept))
        });
        write_tensors(&scene, &format!("{name}.safetensors"), &one.collect(), &[]);
    }
    let (both, first, second) = (score("both"), score("first"), score("second"));
    assert_eq!((both.len(), first.len(), second.len()), (N, N, N));
    for ((both, first), second) in both.iter().zip(&first).zip(&second) {
        assert_eq!(both["timestep"], Value::from(vec![first["timestep"].clone(), second["timestep"].clone()]));
        // Errors add up, and the margin is that of their mean: differences of errors would hide a lot in their rounding.
        for (side, name) in
            ["chosen", "rejected"].into_iter().flat_map(|side| [(side, "error"), (side, "reference_error")])
        {
            let sum = number(&first[side][name]) + number(&second[side][name]);
            assert!((number(&both[side][name]) - sum).abs() < 1e-6 * sum, "{side} {name}: {} {sum}", both[side][name]);
        }
        let gain = |line: &Value, side: &str| number(&line[side]["reference_error"]) - number(&line[side]["error"]);
        let gap = |line: &Value| gain(line, "chosen") - gain(line, "rejected");
        let (margin, expected) = (number(&both["margin"]), number(&first["margin"]) / gap(first) * gap(both) / 2.0);
        assert!((margin - expected).abs() < 1e-9 * expected.abs(), "{margin} {expected}");
        assert_ne!(number(&first["margin"]), number(&second["margin"]));
    }
    scene.done(&learning("learned", "--draws both.safetensors --max-steps 1"));
    // What is held out has as many draws: before the first step its errors are those of `--draws-per-pair 2`.
    let errors = |run: &str, draws: &str| {
        scene.done(&learning(run, &format!("{draws} --max-steps 1")).replace("--eval-share 0", "--eval-share 0.3"));
        let held_out =
            lines(&scene.read(&format!("{run}/metrics.jsonl"))).into_iter().find(|line| line["split"] != "train");
        let held_out = held_out.unwrap().as_object().unwrap().clone();
        held_out.into_iter().filter(|(name, _)| name.starts_with("diffusion/error")).collect::<Vec<_>>()
    };
    let held_out = errors("given", "--draws both.safetensors");
    assert!(!held_out.is_empty());
    assert_eq!(held_out, errors("drawn", "--draws-per-pair 2"));
    assert_ne!(held_out, errors("drawn-once", "--draws-per-pair 1"));
}

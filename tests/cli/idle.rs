//! What is typed and nothing would read is refused, in every verb and with every source: 2, before any work.
use super::images::{copy_golden, studio, trajectories};
use super::{MODEL, Scene, training};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn idle_settings_of_language_models() {
    let scene = Scene::new();
    scene.done(&format!("sample --model {MODEL} --limit-prompts 4 --max-length 200 --pairs pairs"));
    for (arguments, says) in [
        (
            "--data builtin:tldr --format trl",
            "--format is for a file or a folder of files in --data, embedded data does",
        ),
        ("--data builtin:tldr --split test", "--split is for a file"),
        ("--data builtin:tldr --on-bad skip", "--on-bad is for a file"),
        (
            "--data pairs --format trl",
            "--format is for a file or a folder of files in --data, a folder of pairs does not",
        ),
        ("--data pairs --split all", "--split is for"),
        ("--optimizer adamw --momentum 0.5", "--momentum is for --optimizer sgd, adamw does not read it"),
        ("--lora-targets q_proj", "--lora-targets goes with --lora-rank"),
        ("--gamma 1", "--gamma is for --objective simpo, dpo does not read it"),
        ("--clamp 0.2", "--clamp is for --mdp diffusion"),
        ("--objective sft --reference builtin:tldr", "--reference would do nothing: --objective sft does not"),
        ("--objective sft --sft-weight 1", "--sft-weight would do nothing: --objective sft does not"),
        ("--eval-examples 3", "--eval-examples would do nothing: no example is held out"),
        ("--eval-every 3", "--eval-every would do nothing: no example is held out and no sample is drawn"),
        ("--top-k 3", "--top-k goes with --rounds"),
        ("--prompts builtin:tldr", "--prompts goes with --rounds"),
        ("--round-reference fixed", "--round-reference goes with --rounds"),
    ] {
        scene.refused(&training("new", arguments), 2, &[says]);
        assert!(!scene.path("new").exists(), "{arguments}");
    }
    for (arguments, says) in [
        ("score --data pairs.jsonl --beta 0.2", "--beta goes with --reference"),
        ("score --data pairs.jsonl --gamma 0.2", "--gamma is for --mdp hybrid"),
        ("score --data pairs.jsonl --all-pairs true", "--all-pairs is for a folder of pairs, a file"),
        ("score --data pairs --format trl", "--format is for"),
        ("score --data pairs.jsonl --image-size 8", "--image-size is for --mdp diffusion"),
        ("sample --temperature 0 --top-k 4", "--top-k would do nothing: --temperature 0 takes the likeliest"),
        ("sample --reference builtin:tldr", "--reference goes with --pairs"),
        ("sample --steps 4", "unexpected argument"),
        ("sample --sample-steps 4", "--sample-steps is for --mdp diffusion"),
        ("sample --pairs new --out x", "--out is not for --pairs"),
    ] {
        let (verb, more) = arguments.split_once(' ').unwrap();
        if says == "unexpected argument" {
            assert_eq!(scene.run(&format!("{verb} --model {MODEL} {more}")).code, Some(2));
            continue;
        }
        scene.refused(&format!("{verb} --model {MODEL} {more}"), 2, &[says]);
    }
    let seeded = "score --model builtin:tldr --data pairs.jsonl --seed 4";
    scene.refused(seeded, 2, &["--seed is for embedded data and untrained models"]);
    scene.done(&seeded.replace("builtin:tldr", MODEL));
    scene.refused(
        "judge --pairs pairs --device cpu",
        2,
        &["--device would do nothing: --judge oracle does not read it"],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn idle_settings_of_denoisers() {
    let scene = studio();
    trajectories(&scene, "pixels");
    copy_golden(&scene, "companions/sd", "sd");
    scene.done("sample --mdp diffusion --limit-prompts 4 --sample-steps 2 --pairs shapes --quiet");
    let latents = "--model unet --latents latents.safetensors";
    let pictures = "--model pixels --data pictures.jsonl";
    let ways = "--model pixels --scheme trajectory --trajectories ways.safetensors --sample-steps 4 --eta 1";
    for (source, arguments, says) in [
        (
            "",
            "--eval-data /nonexistent",
            "--eval-data is for a file or a folder of files in --data or --latents, embedded",
        ),
        ("", "--eval-share 0.2", "--eval-share is for data from files"),
        ("", "--flip", "--flip is for a file"),
        ("", "--image-size 16", "--image-size is for a file"),
        ("", "--split test", "--split is for a file"),
        ("", "--on-bad-image skip", "--on-bad-image is for a file"),
        ("", "--latent-cache cache", "--latent-cache is for a file"),
        ("", "--draws draws.safetensors", "--draws is for --latents, embedded data does not read it"),
        ("", "--format pickapic", "--format takes one of auto, trl"),
        ("", "--format trl", "--format is for --mdp token, diffusion does not read it"),
        (latents, "--flip", "--flip is for a file or a folder of files in --data, --latents does not read it"),
        (latents, "--image-size 8", "--image-size is for"),
        (latents, "--split test", "--split is for"),
        (latents, "--on-bad-image skip", "--on-bad-image is for"),
        (latents, "--latent-cache cache", "--latent-cache is for"),
        (latents, "--guidance 2", "--guidance would do nothing"),
        (latents, "--n-samples 3", "--n-samples is for"),
        (latents, "--objective simpo --reference unet", "--reference is for losses that read a reference"),
        (pictures, "--latent-cache cache", "--latent-cache is for models with an autoencoder (vae/)"),
        (pictures, "--scheme half --omega snr", "--omega is for --scheme forward, half does not read it"),
        (pictures, "--clamp 0.3", "--clamp is for --objective d3po, dpo does not read it"),
        ("--model builtin:shapes --data shapes", "--eval-data pictures.jsonl", "--eval-data is for"),
        ("--model builtin:shapes --data shapes", "--flip true", "--flip is for"),
        (ways, "--data pictures.jsonl", "--data is not for --trajectories: its file holds the examples"),
        (ways, "--limit 3", "--limit is for"),
        (ways, "--flip", "--flip is for"),
        (ways, "--noise shared", "--noise would do nothing: --scheme trajectory does not read it"),
        (ways, "--eval-data latents.safetensors", "--eval-data is for"),
    ] {
        scene.refused(&format!("train --mdp diffusion {source} {arguments} --out new"), 2, &[says]);
        assert!(!scene.path("new").exists(), "{source} {arguments}");
    }
    for (arguments, says) in [
        (format!("score {latents} --beta 3"), "--beta goes with --reference"),
        (format!("score {latents} --reduction sum"), "--reduction goes with --reference"),
        (format!("score {latents} --micro-batch-size 2"), "--micro-batch-size is for --mdp token"),
        (format!("score {latents} --image-size 8"), "--image-size is for"),
        (format!("score {latents} --split test"), "--split is for"),
        (format!("score {latents} --draws draws.safetensors --seed 3"), "--seed is not for --draws"),
        (format!("score {pictures} --draws draws.safetensors"), "--draws is for --latents"),
        (format!("score {pictures} --latent-cache cache"), "--latent-cache is for models with an autoencoder"),
        ("sample --model sd --prompts prompts.txt --out o.jsonl --sampler euler --eta 0".into(), "--eta is for"),
        ("sample --pairs new --save-trajectories t".into(), "--save-trajectories is not for --pairs"),
        ("sample --reference builtin:shapes --out o.jsonl".into(), "--reference goes with --pairs"),
    ] {
        let (verb, more) = arguments.split_once(' ').unwrap();
        scene.refused(&format!("{verb} --mdp diffusion {more}"), 2, &[says]);
    }
}

#[test]
fn idle_settings_of_hybrids() {
    let scene = Scene::new();
    let models = "--refiner builtin:chimera-refiner --generator builtin:chimera-generator";
    scene.done("sample --mdp hybrid --limit-prompts 2 --sample-steps 2 --pairs pairs --quiet");
    for (arguments, says) in [
        ("train --eval-share 0.1".to_owned(), "--eval-share is for data from files"),
        ("train --eval-data pairs".into(), "--eval-data would do nothing: hybrid runs hold requests of --data out"),
        ("train --split test".into(), "--split would do nothing"),
        ("train --reference x".into(), "--reference is for one model; a hybrid has two"),
        ("train --preset trl".into(), "--preset is for one model"),
        ("train --update generator --refiner-lr 1e-3 --compare=false".into(), "--refiner-lr would do nothing"),
        (format!("train {models} --data pairs --null-share 0.1"), "--null-share goes with --rounds or embedded pairs"),
        (
            format!("train {models} --data pairs --compare"),
            "--compare is for embedded data, a folder of pairs does not",
        ),
        (format!("train {models} --data pairs --n-samples 0 --sampler ddpm"), "--sampler would do nothing"),
        (format!("score {models} --data pairs --gamma 3"), "--gamma goes with --refiner-reference or"),
        (format!("score {models} --data pairs --omega snr"), "--omega goes with --refiner-reference or"),
        (format!("score {models} --data pairs --micro-batch-size 2"), "--micro-batch-size is for --mdp token"),
        ("sample --null-share 0.1 --out o.jsonl".into(), "--null-share goes with --pairs"),
        (format!("sample {models} --model x --out o.jsonl"), "--model is for a hybrid run, and both of its halves"),
    ] {
        let (verb, more) = arguments.split_once(' ').unwrap();
        scene.refused(&format!("{verb} --mdp hybrid {more}"), 2, &[says]);
    }
}

#[test]
fn idle_settings_of_inspect() {
    let scene = studio();
    scene.done(&format!("sample --model {MODEL} --limit-prompts 2 --max-length 200 --pairs pairs"));
    for (arguments, says) in [
        ("builtin:tldr --limit 3", "--limit is for"),
        ("builtin:tldr --image-size 3", "--image-size is for pictures and denoisers"),
        ("builtin:tldr --max-length 8", "--max-length is for"),
        ("builtin:tldr --seed 8", "--seed is for embedded data, and there is no data here"),
        ("pairs.jsonl --image-size 3", "--image-size is for pictures and denoisers"),
        ("pairs.jsonl --seed 3", "--seed is for"),
        ("pictures.jsonl --max-length 8", "--max-length is for texts and language models"),
        ("pictures.jsonl --on-bad skip", "--on-bad is for texts"),
        ("pictures.jsonl --device cpu", "--device is for what loads a model"),
        ("pixels --limit 3", "--limit is for"),
        ("pixels --split all", "--split is for"),
        ("latents.safetensors --limit 3", "--limit is for data, and this is none"),
        ("latents.safetensors --device cpu", "--device is for what loads a model"),
        ("pairs --limit 3", "--limit is for data, and this is none"),
        ("--data builtin:shapes --image-size 8", "--image-size is for"),
        ("--data builtin:shapes --limit 8", "--limit is for"),
    ] {
        scene.refused(&format!("inspect {arguments}"), 2, &[says]);
    }
    for arguments in [
        "pairs.jsonl --limit 3 --max-length 32 --max-prompt-length 8 --split all",
        "--data builtin:tldr --limit 2 --seed 3",
        "pixels --image-size 8",
        "pictures.jsonl --image-size 4 --limit 2 --on-bad-image skip",
        "pixels --data pictures.jsonl --image-size 4 --device cpu",
    ] {
        scene.done(&format!("inspect {arguments}"));
    }
}

#[test]
fn switches_are_read_in_three_spellings() {
    let scene = Scene::new();
    let config = |out: &str, more: &str| {
        scene.done(&training(out, &format!("--lora-rank 2 --max-steps 1 {more}")));
        scene.read(&format!("{out}/config.toml"))
    };
    for (out, more) in [("a", "--rslora"), ("b", "--rslora true"), ("c", "--rslora=true"), ("d", "--rslora True")] {
        assert!(config(out, more).contains("rslora = true"), "{more}");
    }
    for (out, more) in [("e", "--rslora false"), ("f", "--rslora=false"), ("g", "")] {
        assert!(config(out, more).contains("rslora = false"), "{more}");
    }
    // What follows a switch may also be a path.
    let path = scene.done("inspect --quiet pairs.jsonl").out;
    for arguments in
        ["--quiet true pairs.jsonl", "--quiet=true pairs.jsonl", "--quiet false pairs.jsonl", "pairs.jsonl"]
    {
        assert_eq!(scene.done(&format!("inspect {arguments}")).out, path, "{arguments}");
    }
}

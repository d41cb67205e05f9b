//! Settings of denoisers that make no sense: 2, before any work.
use super::images::{copy_golden, learning, studio, trajectories};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn settings_of_train_without_sense() {
    let scene = studio();
    for (arguments, says) in [
        ("--max-length 16", "--max-length is for --mdp token, diffusion does not read it"),
        ("--per-token", "--per-token is for --mdp token"),
        ("--on-bad skip", "--on-bad is for --mdp token"),
        ("--temperature 1", "unexpected argument"),
        ("--objective dpo-norm", "--objective dpo-norm averages over tokens"),
        ("--losses dpo,tdpo", "--objective tdpo reads probabilities"),
        ("--wpo", "--wpo is for --mdp token"),
        ("--noise prior", "--noise prior is for a folder of pairs"),
        ("--safeguard 1.5", "--safeguard is 1.5, it must be from 0 to 1"),
        ("--objective kto --safeguard 0.9", "--safeguard would do nothing"),
        ("--objective linear --least-weight 0.5", "--least-weight of linear is 0.5"),
        ("--least-weight 0.1", "--least-weight is for --objective linear"),
        ("--objective orpo", "--objective orpo reads probabilities"),
        ("--objective tdpo", "--objective tdpo reads probabilities"),
        ("--objective d3po --scheme forward", "--scheme trajectory"),
        ("--preset trl", "--preset trl is for --mdp token"),
        ("--beta 0", "--beta"),
        ("--ema 1", "--ema takes a number from 0 to below 1, not 1"),
        ("--ema -0.1", "--ema"),
        ("--horizon 0", "--horizon takes a positive number, not 0"),
        ("--omega min-snr --min-snr-gamma 0", "--min-snr-gamma"),
        ("--min-snr-gamma 3", "--min-snr-gamma is for --omega min-snr"),
        ("--draws-per-pair 0", "--draws-per-pair takes at least 1"),
        ("--draw-sets 0", "--draw-sets takes at least 1"),
        ("--noise antithetic", "--draws-per-pair of at least 2"),
        ("--draws draws.safetensors --draw-sets 2", "--draw-sets is not for --draws: it gives every draw"),
        ("--draws draws.safetensors --timesteps stratified", "--timesteps is not for --draws"),
        ("--empty-share 1", "--empty-share"),
        ("--eval-share 1", "--eval-share"),
        ("--limit 0", "--limit"),
        (
            "--n-samples 1 --data pictures.jsonl --model pixels --sample-steps 0",
            "--sample-steps takes 1 to 1000, not 0",
        ),
        ("--n-samples 1 --data pictures.jsonl --model pixels --sample-steps 1001", "takes 1 to 1000, not 1001"),
        ("--sample-steps 4", "--sample-steps would do nothing: this run draws none"),
        ("--n-samples 4", "--n-samples is for"),
        ("--n-samples 1 --data pictures.jsonl --model pixels --guidance 2", "--guidance is for models that read texts"),
        (
            "--n-samples 1 --data pictures.jsonl --model pixels --sampler euler --eta 0.5",
            "--eta is for --sampler ddim or flow-sde, euler does",
        ),
        ("--n-samples 1 --data pictures.jsonl --model pixels --eta 2", "--eta takes a number from 0 to 1, not 2"),
        (
            "--trajectories draws.safetensors --latents latents.safetensors",
            "--trajectories is for --scheme trajectory, forward does",
        ),
        ("--importance-clip 2", "--importance-clip is for --scheme trajectory, forward does not read it"),
        ("--scheme trajectory", "--latents would do nothing: --scheme trajectory does not read it"),
        ("--data pictures.jsonl --latents latents.safetensors", "--data is not for --latents: it stands in for --data"),
        ("--data builtin:circles", "there is no embedded data `builtin:circles`"),
        ("--model builtin:circles", "there is no embedded model `circles`"),
        ("--timesteps sometimes", "--timesteps takes one of uniform, stratified, logit-normal"),
        ("--lora-rank 0", "--lora-rank"),
    ] {
        if says == "unexpected argument" {
            assert_eq!(scene.run(&learning("new", arguments)).code, Some(2));
            continue;
        }
        scene.refused(&learning("new", arguments), 2, &[says]);
        assert!(!scene.path("new").exists(), "{arguments}");
    }
    scene.refused("train --mdp diffusion --latents latents.safetensors", 2, &["--model"]);
    scene.refused("train --mdp diffusion --model unet", 2, &["--data or --latents"]);
    scene.refused("train --mdp diffusion --model unet --scheme trajectory --eta 1", 2, &["--trajectories"]);
    scene.refused(&learning("new", "--lora-rank 2 --lora-targets to_kk"), 1, &["`to_kk`"]);
    scene.refused(&learning("new", "--lora-rank 1000000000000"), 1, &["LoRA rank 1000000000000", "at most"]);
}

#[test]
fn a_reference_that_knows_other_noise_is_refused() {
    let scene = studio();
    copy_golden(&scene, "unet/sd1", "other/unet");
    let schedulers = [
        (r#"{"_class_name": "DDIMScheduler", "beta_schedule": "linear"}"#, "another noise schedule"),
        (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 500}"#, "another noise schedule"),
        (
            r#"{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
            "prediction_type": "v_prediction"}"#,
            "predicts Velocity",
        ),
    ];
    let score = "score --mdp diffusion --model unet --reference other --latents latents.safetensors";
    for (scheduler, says) in schedulers {
        scene.write("other/scheduler/scheduler_config.json", scheduler);
        for arguments in [learning("new", "--reference other"), score.to_owned()] {
            scene.refused(&arguments, 1, &["--reference other", says, "--model unet", "--scheduler FILE"]);
        }
    }
    assert!(!scene.path("new").exists());
    scene.done(&format!("{score} --scheduler other/scheduler/scheduler_config.json --quiet"));
}

#[test]
fn settings_of_trajectories_without_sense() {
    let scene = studio();
    trajectories(&scene, "pixels");
    let on_ways = |more: &str| {
        let more = format!("--model pixels --scheme trajectory --trajectories ways.safetensors {more}");
        learning("new", &more)
    };
    for (more, says) in [
        ("--eta 0", "--scheme trajectory scores drawn latents: it needs --eta above 0"),
        ("--sampler euler --set sample.eta=0", "--eta is for --sampler ddim"),
        ("--importance-clip 0", "--importance-clip takes a positive number, not 0"),
        ("--objective sft", "--objective sft learns from images"),
        ("--timesteps uniform", "--timesteps would do nothing: --scheme trajectory does not read it"),
        ("--eval-share 1.5", "--eval-share"),
        ("--objective d3po --clamp 0", "--clamp"),
    ] {
        scene.refused(&on_ways(more), 2, &[says]);
        assert!(!scene.path("new").exists(), "{more}");
    }
    scene.refused(&on_ways("--sample-steps 5"), 1, &["ways.safetensors", "made in 4 steps", "--sample-steps"]);
    scene.refused(&on_ways("").replace("ways.", "made."), 1, &["made.safetensors", "no preferences in it"]);
    scene.refused(&on_ways("").replace("ways.", "latents."), 1, &["latents.safetensors", "does not say its format"]);
    scene.refused(&on_ways("").replace("ways.", "nowhere."), 1, &["nowhere.safetensors"]);
    let other = on_ways("").replace("--model pixels", "--model unet");
    scene.refused(&other, 1, &["unet", "3 channels"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn settings_of_the_other_verbs_without_sense() {
    let scene = studio();
    copy_golden(&scene, "companions/sd", "sd");
    let sample = |more: &str| format!("sample --mdp diffusion --model sd --prompts prompts.txt --out s.jsonl {more}");
    for (arguments, says) in [
        ("score --mdp diffusion --latents latents.safetensors".to_owned(), "--model"),
        ("score --mdp diffusion --model unet".to_owned(), "--data or --latents"),
        (
            "score --mdp diffusion --model unet --reference unet --latents latents.safetensors --beta 0".to_owned(),
            "--beta takes",
        ),
        (
            "score --mdp diffusion --model pixels --data pictures.jsonl --draws draws.safetensors".to_owned(),
            "--latents",
        ),
        (sample("--n 8193"), "--n 8193 of 2 prompts is more than the 16384 that"),
        (sample("--n 9223372036854775807"), "is more than the 16384 that"),
        (sample("--n 0"), "--n and --limit-prompts take at least 1"),
        (sample("--temperature 0.5"), "--temperature is for --mdp token"),
        (sample("--sampler dpm++2m --eta 0.5"), "--eta is for --sampler ddim or flow-sde, dpm++2m does not read it"),
        (sample("--guidance -1"), "--guidance takes a number from 0 up, not -1"),
        (sample("--sampler heun"), "--sampler takes one of ddpm, ddim, euler, dpm++2m, flow-sde"),
        (sample("--sampler flow-sde --eta 0.7"), "--sampler flow-sde is for flow matching"),
        (sample("--image-size 9"), "--image-size 9 is no positive multiple of 2"),
        (sample("--save-trajectories t.safetensors"), "--save-trajectories scores drawn latents: it needs --eta"),
        (sample("--save-trajectories t.safetensors --sampler euler"), "--save-trajectories"),
        (sample("").replace("sd", "pixels") + " --guidance 2", "--guidance is for models that read texts"),
        ("sample --mdp diffusion --model sd --prompts prompts.txt".to_owned(), "--out FILE.jsonl"),
        ("sample --mdp diffusion --model sd --prompts prompts.txt --out a.png".to_owned(), "name a .jsonl file"),
    ] {
        scene.refused(&arguments, 2, &[says]);
        assert!(!scene.path("s").exists() && !scene.path("s.jsonl").exists() && !scene.path("s.png").exists());
        assert!(!scene.path("t.safetensors").exists());
    }
    scene.done(&sample("--image-size 8 --sample-steps 2 --quiet"));
    assert_eq!(image::open(scene.path("s/00000-0.png")).unwrap().height(), 8);
    scene.refused(&sample("").replace("sd", "unet"), 1, &["unet", "no text_encoder/"]);
}

//! What a run computes and what it leaves behind.
use std::f64::consts::LN_2;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use super::images::{floats, read_tensors};
use super::{MODEL, Scene, training};

const OBJECTIVES: [&str; 23] = [
    "sft",
    "dpo",
    "cdpo",
    "robust",
    "ipo",
    "hinge",
    "simpo",
    "orpo",
    "kto",
    "nca",
    "bco",
    "apo-zero",
    "apo-down",
    "exo",
    "sppo",
    "tdpo",
    "cpl",
    "plackett-luce",
    "dpo-norm",
    "discopop",
    "dpop",
    "aot",
    "aot-unpaired",
];

#[test]
fn a_run_folder_holds_what_is_agreed() {
    let scene = Scene::new();
    scene.write("held.jsonl", super::PAIRS);
    let more = "--max-steps 2 --eval-data held.jsonl --eval-examples 4 --eval-every 1 --save-every 1 --n-samples 1";
    let ran = scene.done(&training("run", &format!("{more} --max-length 40")));
    for row in ["reward accuracy", "reward margin", "accuracy, 95% interval", "speed"] {
        assert!(ran.out.contains(row), "{}", ran.out);
    }
    for name in
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    {
        assert!(scene.path("run/model").join(name).is_file(), "{name}");
    }
    for name in
        ["config.toml", "samples/step-0.jsonl", "samples/step-2.jsonl", "checkpoints/step-1", "checkpoints/step-2"]
    {
        assert!(scene.path("run").join(name).exists(), "{name}");
    }
    assert_eq!(std::fs::read_dir(scene.path("run/tensorboard")).unwrap().count(), 1);
    assert!(scene.unfinished().is_empty());
    let metrics = scene.metrics("run");
    let order: Vec<(&str, u64)> =
        metrics.iter().map(|line| (line["split"].as_str().unwrap(), line["step"].as_u64().unwrap())).collect();
    assert_eq!(order, [("eval", 0), ("train", 1), ("eval", 1), ("train", 2), ("eval", 2)]);
    let text = scene.read("run/metrics.jsonl");
    let line = text.lines().nth(1).unwrap();
    assert!(line.starts_with(r#"{"split":"train","step":1,"examples":4,"loss":0.693147"#), "{line}");
    for name in [
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies",
        "rewards/margins",
        "logps/chosen",
        "logps/rejected",
        "grad_norm",
        "lr",
        "pairs_per_second",
        "tokens_per_second",
    ] {
        assert!(line.contains(&format!("\"{name}\":")), "no {name} in {line}");
    }
}

#[test]
fn the_first_loss_of_dpo_is_ln_2() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 2"));
    let losses = scene.column("run", "loss");
    assert!((losses[0] - LN_2).abs() < 1e-12 && (losses[1] - LN_2).abs() > 1e-6, "{losses:?}");
}

#[test]
fn nothing_held_out_or_looked_at_is_no_evaluation() {
    let scene = Scene::new();
    for (out, more) in [("share", "--eval-share 0"), ("examples", "--eval-data pairs.jsonl --eval-examples 0")] {
        let ran = scene.done(&training(out, &format!("{more} --max-steps 1")));
        assert!(!ran.out.contains("held out") && ran.out.contains("speed"), "{}", ran.out);
        assert_eq!(scene.metrics(out).len(), 1);
    }
}

#[test]
fn every_objective_learns_from_pairs() {
    let scene = Scene::new();
    for objective in OBJECTIVES {
        // At its usual tau this loss falls towards a small margin of the wrong sign, and steeply.
        let more = if objective == "discopop" { "--tau 1" } else { "" };
        scene
            .done(&training(objective, &format!("--objective {objective} {more} --epochs 2 --batch-size 8 --lr 1e-5")));
        let losses = scene.column(objective, "loss");
        assert_eq!(losses.len(), 2, "{objective}");
        assert!(losses.iter().all(|loss| loss.is_finite()), "{objective} {losses:?}");
        // The same eight pairs twice: one small step down the gradient lowers the loss.
        assert!(losses[1] < losses[0], "{objective} {losses:?}");
        assert!(scene.column(objective, "grad_norm").iter().all(|norm| *norm > 0.0), "{objective}");
    }
}

#[test]
fn every_change_of_a_loss_learns_and_differs() {
    let scene = Scene::new();
    let mut norms: Vec<f64> = Vec::new();
    for (out, more) in [
        ("plain", "--objective dpo"),
        ("forward", "--divergence forward-kl"),
        ("js", "--divergence js"),
        ("alpha", "--divergence alpha --divergence-alpha 0.3"),
        ("ld", "--tail-weight 0.3"),
        ("wpo", "--wpo"),
        ("moving", "--objective bco --moving-delta"),
        ("sum", "--losses dpo:0.8,bco:0.2,sft:0.1"),
        ("averaged", "--losses dpo:0.8,bco:0.2,sft:0.1 --per-token"),
        ("follows", "--reference-ema 0.5"),
    ] {
        scene.done(&training(out, &format!("{more} --epochs 3 --batch-size 8 --lr 1e-5")));
        let losses = scene.column(out, "loss");
        // The weights of WPO are held while they change.
        assert!(losses.len() == 3 && (losses[1] < losses[0] || out == "wpo"), "{out} {losses:?}");
        // The second step's gradient tells them apart: the first is the same for many, as the policy is its reference.
        norms.push(scene.column(out, "grad_norm")[2]);
    }
    for (i, norm) in norms.iter().enumerate() {
        assert!(norms[..i].iter().all(|other| (other - norm).abs() > 1e-9 * norm), "{norms:?}");
    }
    assert!(scene.column("wpo", "wpo_weight").iter().all(|weight| *weight > 0.0));
    assert_eq!(scene.column("moving", "delta")[0], 0.0);
}

#[test]
fn every_optimizer_and_schedule_runs_and_a_weighted_sum_does() {
    let scene = Scene::new();
    for (out, more) in [
        ("sgd", "--optimizer sgd --momentum 0.9 --lr 0.1 --schedule cosine"),
        ("adamw", "--optimizer adamw --weight-decay 0.1 --schedule linear"),
        ("sum", "--sft-weight 0.5"),
        ("trl", "--preset trl"),
        ("reference", "--reference builtin:tldr-untrained --seed 3"),
    ] {
        scene.done(&training(out, &format!("{more} --max-steps 2")));
        assert_eq!(scene.column(out, "loss").len(), 2, "{out}");
    }
}

#[test]
fn micro_batches_and_activation_checkpointing_change_memory_not_results() {
    let scene = Scene::new();
    for objective in ["dpo", "kto"] {
        let run = |name: &str, more: &str| {
            let out = format!("{objective}-{name}");
            scene.done(&training(&out, &format!("--objective {objective} --epochs 2 --max-steps 3 {more}")));
            [scene.column(&out, "loss"), scene.column(&out, "rewards/margins"), scene.column(&out, "grad_norm")]
                .concat()
        };
        let whole = run("whole", "--micro-batch-size 4");
        for other in [
            run("single", "--micro-batch-size 1"),
            run("uneven", "--micro-batch-size 3"),
            run("again", "--micro-batch-size 4 --activation-checkpointing"),
        ] {
            // Loss, margin and norm of three steps.
            assert_eq!((whole.len(), other.len()), (9, 9), "{objective}");
            for (a, b) in whole.iter().zip(&other) {
                assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{objective} {whole:?} {other:?}");
            }
        }
    }
}

#[test]
fn adapters_are_written_as_peft_and_added_to_their_base() {
    let scene = Scene::new();
    scene.done(&training("base", "--max-steps 1"));
    scene.done(&training("run", "--model base/model --lora-rank 2 --lora-alpha 8 --max-steps 2 --lr 1e-2"));
    assert!(scene.path("run/model/adapter_config.json").is_file());
    assert!(scene.path("run/model/adapter_model.safetensors").is_file());
    assert!(!scene.path("run/model/model.safetensors").exists());
    let base = scene.done("score --model base/model --data pairs.jsonl").out;
    let added = scene.done("score --model base/model+run/model --data pairs.jsonl").out;
    assert_ne!(base, added);
    assert_eq!(scene.done("score --model run --data pairs.jsonl").out, added, "the run knows its base");
    // Training goes through base(x) + scale B(A x), scoring through merged weights: the same numbers but for rounding.
    assert!((scene.column("run", "loss")[0] - LN_2).abs() < 1e-12, "B begins at zero");
}

#[test]
fn adapters_of_an_embedded_model_find_it_again() {
    let scene = Scene::new();
    scene.done(&training("run", "--lora-rank 2 --max-steps 1 --lr 1e-2 --lora-targets q_proj,v_proj --rslora"));
    let of_run = scene.done("score --model run --data pairs.jsonl").out;
    assert_eq!(scene.done(&format!("score --model {MODEL}+run/model --data pairs.jsonl")).out, of_run);
    assert_ne!(scene.done(&format!("score --model {MODEL} --data pairs.jsonl")).out, of_run);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn adapters_go_on_learning() {
    let scene = Scene::new();
    let file = |run: &str, name: &str| scene.bytes(&format!("{run}/model/{name}"));
    let score = |model: &str| scene.done(&format!("score --model {model} --data pairs.jsonl")).out;
    for (base, first) in [(MODEL, "--lora-alpha 8 --lora-targets q_proj,v_proj --rslora"), ("base/model", "")] {
        if base != MODEL {
            scene.done(&training("base", "--max-steps 1"));
            for run in ["one", "same", "two", "three"] {
                std::fs::remove_dir_all(scene.path(run)).unwrap();
            }
        }
        scene.done(&training("one", &format!("--model {base} --lora-rank 2 --max-steps 2 --lr 1e-2 {first}")));
        scene.done(&training("same", "--model one --lora-rank 2 --max-steps 1 --lr 1e-60"));
        assert!(file("same", "adapter_model.safetensors") == file("one", "adapter_model.safetensors"));
        assert_eq!(scene.read("same/model/adapter_config.json"), scene.read("one/model/adapter_config.json"));
        scene.done(&training("two", &format!("--model {base}+one/model --lora-rank 2 --max-steps 2 --lr 1e-2")));
        assert!((scene.column("two", "loss")[0] - LN_2).abs() < 1e-12, "the reference is the adapter as it was");
        assert_ne!(score("two"), score("one"));
        scene.done(&training("three", "--model two --lora-rank 2 --max-steps 1"));
        assert_eq!(score("three"), score(&format!("{base}+three/model")), "its base is the first one");
    }
    for (more, says) in [
        ("--lora-rank 4", "has 2"),
        ("--lora-rank 2 --lora-alpha 8", "has 16"),
        ("--lora-rank 2 --lora-targets q_proj", "layers of its own"),
        ("--lora-rank 2 --rslora", "has false"),
    ] {
        scene.refused(&training("new", &format!("--model two {more}")), 2, &["two", "goes on learning", says]);
    }
    // What its adapters are is written down.
    let config = scene.read("three/config.toml");
    assert!(config.contains("lora_alpha = 16.0") && config.contains("\"q_proj\""), "{config}");
    // An adapter on top of another has no base that its file could name.
    scene.refused(&training("new", "--model two+one/model --lora-rank 2"), 2, &["an adapter itself", "merge"]);
    // A folder that is there is itself, whatever else its name could mean.
    std::fs::rename(scene.path("base"), scene.path("x")).unwrap();
    std::fs::rename(scene.path("x/model"), scene.path("base")).unwrap();
    std::fs::rename(scene.path("one/model"), scene.path("ad")).unwrap();
    super::images::copy_folder(&scene.path("base"), &scene.path("base+ad"));
    scene.done(&training("plus", "--model base+ad --lora-rank 3 --max-steps 1"));
    assert!(scene.read("plus/model/adapter_config.json").contains("base+ad\""));
    std::fs::rename(scene.path("base"), scene.path("base-model")).unwrap();
    std::fs::create_dir(scene.path("base")).unwrap();
    std::fs::rename(scene.path("base-model"), scene.path("base/model")).unwrap();
    // Without --lora-rank all weights of the two together learn.
    scene.done(&training("whole", "--model two --max-steps 1"));
    assert!(scene.path("whole/model/model.safetensors").is_file());
}

#[test]
fn a_reference_cache_gives_the_same_run_and_is_refused_where_it_does_not_fit() {
    let scene = Scene::new();
    let with_cache = "--max-steps 2 --reference-cache ref.cache";
    scene.done(&training("first", with_cache));
    let cache = scene.bytes("ref.cache");
    let second = scene.done(&training("second", with_cache).replace("--quiet", ""));
    assert!(second.err.contains("8 examples read from the cache"), "{}", second.err);
    assert_eq!(scene.metrics("first"), scene.metrics("second"));
    assert_eq!(scene.bytes("ref.cache"), cache);
    scene.done(&training("plain", "--max-steps 2"));
    assert_eq!(scene.metrics("first"), scene.metrics("plain"));
    let other_model = format!("{with_cache} --model first");
    scene.refused(&training("new", &other_model), 1, &["ref.cache", "another model", "delete it"]);
    scene.write("other.jsonl", super::PAIRS.replace("ohio", "iowa"));
    let other_data = format!("{with_cache} --data other.jsonl");
    scene.refused(&training("new", &other_data), 1, &["ref.cache", "another data", "delete it"]);
    assert!(!scene.path("new").exists(), "refused before there is a folder");
    assert_eq!(scene.bytes("ref.cache"), cache);
}

#[test]
fn embedded_data_of_which_nothing_is_held_out_is_learned_from() {
    let scene = Scene::new();
    let embedded = training("run", "--limit 8 --eval-examples 0 --max-steps 1").replace("pairs.jsonl", "builtin:tldr");
    scene.done(&embedded.replace("--eval-share 0", ""));
    assert!(scene.metrics("run").iter().all(|line| line["split"] == "train"));
}

#[test]
fn a_number_of_steps_alone_decides_how_long_a_run_is() {
    let scene = Scene::new();
    // Eight pairs in batches of four: two steps are an epoch.
    for (out, more, steps) in [
        ("alone", "--max-steps 5", 5),
        ("preset", "--preset trl --max-steps 7", 7),
        ("both", "--max-steps 5 --epochs 2", 4),
        ("earlier", "--max-steps 3 --epochs 2", 3),
        ("neither", "", 2),
        ("epochs", "--epochs 2", 4),
    ] {
        scene.done(&training(out, more));
        assert_eq!(scene.column(out, "loss").len(), steps, "{more}");
    }
    // It goes on as it was begun: no epochs of a default are written down.
    assert!(!scene.read("preset/config.toml").contains("epochs"));
}

#[test]
fn a_run_that_ends_in_its_warm_up_says_so() {
    let scene = Scene::new();
    let run = |out: &str, warmup: &str| {
        let warmup = format!("--warmup-steps {warmup}");
        scene.done(&training(out, "--max-steps 3").replace("--quiet", "").replace("--warmup-steps 0", &warmup)).err
    };
    let said = run("short", "150");
    assert!(said.contains("the learning rate reaches 1.987e-5 of 1e-3 (--warmup-steps 150)"), "{said}");
    assert!(run("whole", "2").lines().all(|line| !line.contains("--warmup-steps")));
}

#[test]
fn dropout_that_is_asked_for_and_not_applied_is_said() {
    let scene = Scene::new();
    scene.done(&training("base", "--max-steps 1"));
    let run =
        |out: &str| scene.done(&training(out, "--max-steps 1").replace("--quiet", "").replace(MODEL, "base/model")).err;
    assert!(!run("without").contains("dropout"));
    let config = scene.read("base/model/config.json").replacen('{', "{\"attention_dropout\": 0.1, ", 1);
    scene.write("base/model/config.json", config);
    let said = run("with");
    assert!(said.contains("no dropout is applied") && said.contains("attention_dropout 0.1"), "{said}");
}

#[test]
fn what_trainers_elsewhere_log_is_there_in_training_and_evaluations() {
    let scene = Scene::new();
    let more = "--epochs 2 --eval-data pairs.jsonl --eval-every 1";
    scene.done(&training("run", more));
    let lines = scene.metrics("run");
    let names = ["logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy", "num_tokens"];
    for line in &lines {
        assert!(names.iter().all(|name| line[name].is_number()), "{line}");
    }
    // Untrained, so nearly every token is as likely as any other.
    let vocabulary = 512f64;
    let first = &lines[0];
    assert!((first["entropy"].as_f64().unwrap() / vocabulary.ln() - 1.0).abs() < 0.2, "{first}");
    let seen = scene.column("run", "num_tokens");
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert_eq!(seen[3], 2.0 * seen[1], "an epoch is as long as the next");
    let last = lines.last().unwrap();
    assert_eq!((last["split"].as_str(), last["num_tokens"].as_f64()), (Some("eval"), Some(seen[3])));
}

#[test]
fn averages_of_weights_are_exported_in_the_type_that_is_asked_for() {
    let scene = Scene::new();
    for (lora, file) in [("", "model.safetensors"), ("--lora-rank 2", "adapter_model.safetensors")] {
        let run = |out: &str, more: &str| {
            let out = format!("{out}{}", lora.len());
            scene.done(&training(&out, &format!("--max-steps 3 {lora} {more}")));
            (scene.metrics(&out), read_tensors(&scene, &format!("{out}/model/{file}")).0)
        };
        let ((metrics, weights), (same, averages)) = (run("plain", ""), run("averaged", "--ema 0.5"));
        assert_eq!(metrics, same, "an average changes nothing in training");
        assert_eq!(weights.keys().collect::<Vec<_>>(), averages.keys().collect::<Vec<_>>());
        let differ = weights.keys().filter(|name| floats(&weights, name) != floats(&averages, name)).count();
        assert!(differ > weights.len() / 2, "{differ} of {} tensors are averages", weights.len());
        let (again, halves) = run("halves", "--ema 0.5 --save-dtype f16");
        assert_eq!(metrics, again);
        for (name, (dtype, shape, bytes)) in &halves {
            assert_eq!((*dtype, shape), (Dtype::F16, &averages[name].1), "{name}");
            let stored = Tensor::from_raw_buffer(bytes, DType::F16, shape, &Device::Cpu).unwrap();
            let average = Tensor::new(floats(&averages, name), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
            let numbers = |tensor: Tensor| {
                tensor
                    .to_dtype(DType::F16)
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1::<f32>()
                    .unwrap()
            };
            assert!(numbers(stored) == numbers(average), "{name}: the average in half precision");
        }
        scene.done(&format!("score --model halves{} --data pairs.jsonl --quiet", lora.len()));
    }
    assert!(scene.read("halves0/model/config.json").contains("\"float16\""));
    scene.refused(&training("new", "--ema 1"), 2, &["--ema takes a number from 0 to below 1, not 1"]);
}

//! Settings that make no sense, and places that can't be written: 2 for the first, 1 for the second, before any work.
use super::{Scene, training};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn settings_of_train_without_sense() {
    let scene = Scene::new();
    for (arguments, says) in [
        ("--beta 0", "--beta"),
        ("--beta -1", "--beta"),
        ("--beta NaN", "--beta takes a finite number, not `NaN`"),
        ("--lr 0", "--lr"),
        ("--lr -1e-3", "--lr"),
        ("--lr inf", "--lr"),
        ("--lr x", "--lr"),
        ("--batch-size 0", "--batch-size"),
        ("--batch-size -2", "--batch-size takes a whole number, not `-2`"),
        ("--batch-size 1.5", "--batch-size"),
        ("--micro-batch-size 0", "--micro-batch-size"),
        ("--epochs 0", "--epochs"),
        ("--max-steps 0", "--max-steps"),
        ("--max-grad-norm 0", "--max-grad-norm"),
        ("--max-grad-norm nan", "--max-grad-norm"),
        ("--warmup-steps -1", "--warmup-steps"),
        ("--eval-share 1", "--eval-share"),
        ("--eval-share -0.1", "--eval-share"),
        ("--eval-share 0.99", "--eval-share 0.99 holds all 8 examples out"),
        ("--limit 0", "--limit"),
        (
            "--eval-share 0.2 --eval-data pairs.jsonl",
            "--eval-share is not for --eval-data: nothing is held out of --data then",
        ),
        ("--objective sft --beta 0.1", "--beta"),
        ("--objective simpo --reference-cache cache", "--reference-cache"),
        ("--max-length 1", "--max-length takes at least 2"),
        ("--max-length 257", "--max-length 257 is more than the 256 positions of builtin:tldr-untrained"),
        ("--max-prompt-length 300", "--max-prompt-length"),
        ("--lora-rank 0", "--lora-rank"),
        ("--lora-rank 2 --lora-alpha 0", "--lora-alpha"),
        ("--lora-rank 2 --lora-alpha -4", "--lora-alpha"),
        ("--lora-alpha 4", "--lora-rank"),
        ("--rslora", "--lora-rank"),
        ("--rslora true", "--lora-rank"),
        ("--rslora=maybe", "--rslora takes true or false"),
        ("--rslora=True --lora-rank 0", "--lora-rank takes at least 1"),
        ("--dora", "--dora goes with --lora-rank"),
        ("--dora=maybe --lora-rank 2", "--dora takes true or false"),
        ("--lora-bias", "--lora-bias goes with --lora-rank"),
        ("--lora-rank 2 --dora --lora-bias", "--dora and --lora-bias do not go together, nor in peft"),
        ("--base-precision q4", "--base-precision takes one of auto, quantised, f32, not `q4`"),
        (
            "--base-precision quantised",
            "--base-precision quantised goes with --lora-rank: without adapters all weights",
        ),
        (
            "--base-precision quantised --lora-rank 2",
            "builtin:tldr-untrained has no quantised weights; only GGUF files",
        ),
        ("--weight-decay 0.1", "--weight-decay is for --optimizer adamw"),
        ("--optimizer adamw --weight-decay -1", "--weight-decay"),
        ("--momentum 0.1", "--momentum is for --optimizer sgd"),
        ("--optimizer sgd --momentum 1", "--momentum"),
        ("--objective cdpo --label-smoothing 0.5", "--label-smoothing"),
        ("--objective robust --label-smoothing -0.1", "--label-smoothing"),
        ("--objective simpo --gamma -1", "--gamma takes a number from 0 up, not -1"),
        ("--objective tdpo --alpha -1", "--alpha"),
        ("--objective cpl --bias 2", "--bias"),
        ("--objective kto --desirable-weight -1", "--desirable-weight"),
        ("--objective dpo --sft-weight -1", "--sft-weight"),
        ("--objective kto --sft-weight 1", "--sft-weight"),
        ("--per-token", "--per-token is for --objective ipo or sft"),
        ("--objective linear", "--objective linear is for --mdp diffusion"),
        ("--losses kto:1", "--losses takes losses of pairs with weights, such as dpo:0.8, not `kto:1`"),
        ("--losses dpo:x", "--losses: the weight of `dpo:x` must be a number above 0"),
        ("--losses sft", "--losses needs a loss that compares"),
        ("--losses dpo,d3po", "--objective d3po is for --mdp diffusion"),
        ("--losses dpo,bco --objective ipo", "--objective is not for --losses: it names the losses"),
        ("--losses dpo,bco --sft-weight 1", "--sft-weight is not for --losses"),
        ("--losses dpo,bco --tau 0.1", "--tau is for --objective discopop, dpo and bco do not read it"),
        ("--objective aot --wpo", "--wpo is for --objective dpo, "),
        ("--losses dpo,aot --wpo", "--wpo is not for aot"),
        ("--objective nca --divergence js", "--divergence is for --objective dpo, "),
        ("--divergence-alpha 0.3", "--divergence-alpha is for --divergence alpha"),
        ("--tail-weight 2", "--tail-weight of ld-dpo is 2, it must be a number from 0 to 1"),
        ("--safeguard 0.9", "--safeguard is for --mdp diffusion"),
        ("--reference-ema 1", "--reference-ema"),
        ("--reference-ema 0.9 --objective simpo", "--reference-ema would do nothing"),
        ("--reference-ema 0.9 --reference-cache c", "--reference-ema is not for --reference-cache"),
        ("--objective nope", "--objective takes one of sft, dpo,"),
        ("--optimizer lion", "--optimizer takes one of rmsprop, adamw, sgd"),
        ("--schedule zigzag", "--schedule"),
        ("--preset paper", "--preset paper is for --mdp diffusion"),
        ("--preset lore", "--preset takes one of tldr, trl"),
        ("--format csv", "--format"),
        ("--truncation middle", "--truncation"),
        ("--mdp bandit", "--mdp takes one of token, diffusion, hybrid, not `bandit`"),
        ("--scheme half", "--scheme is for --mdp diffusion, token does not read it"),
        ("--timesteps uniform", "--timesteps is for --mdp diffusion"),
        ("--set diffusion.omega=snr", "--omega is for --mdp diffusion"),
        ("--objective d3po", "--objective d3po is for --mdp diffusion"),
        ("--seed -1", "--seed"),
        ("--device tpu", "unknown device `tpu`"),
        ("--device cuda:0", "cuda"),
        ("--set train.batchsize=3", "`train.batch_size`"),
        ("--set batch_size", "--set takes section.key=value"),
        ("--set train.batch_size=", "--batch-size"),
        ("--model builtin:gpt5", "there is no embedded model `gpt5`"),
        ("--data builtin:c4", "builtin:c4"),
    ] {
        scene.refused(&training("new", arguments), 2, &[says]);
        assert!(!scene.path("new").exists(), "{arguments}");
    }
    // An unknown target is known only once the model is.
    scene.refused(&training("new", "--lora-rank 2 --lora-targets q_projj"), 1, &["`q_projj`", "q_proj"]);
    scene.refused("train --data pairs.jsonl", 2, &["--model"]);
    scene.refused("train --model builtin:tldr-untrained", 2, &["--data"]);
}

#[test]
fn settings_of_the_other_verbs_without_sense() {
    let scene = Scene::new();
    let with_model = |verb: &str, more: &str| format!("{verb} --model builtin:tldr-untrained {more}");
    for (arguments, says) in [
        ("score".into(), "--model"),
        (with_model("score", ""), "--data"),
        (with_model("score", "--data pairs.jsonl --reference builtin:tldr --beta 0"), "--beta takes"),
        (with_model("score", "--data pairs.jsonl --micro-batch-size 0"), "--micro-batch-size"),
        (with_model("score", "--data pairs.jsonl --max-length 999"), "--max-length 999"),
        (with_model("sample", "--n 0"), "--n"),
        (with_model("sample", "--temperature -1"), "--temperature"),
        (with_model("sample", "--temperature nan"), "--temperature"),
        (with_model("sample", "--top-k 0"), "--top-k"),
        (with_model("sample", "--top-p 0"), "--top-p"),
        (with_model("sample", "--top-p 1.5"), "--top-p"),
        (with_model("sample", "--limit-prompts 0"), "--limit-prompts"),
        (with_model("sample", "--prompts builtin:c4"), "builtin:c4"),
        ("inspect".into(), "Name a model, a data set or a run"),
    ] {
        scene.refused(&arguments, 2, &[says]);
    }
}

#[test]
fn config_files_that_are_wrong_are_named() {
    let scene = Scene::new();
    for (content, code, says) in [
        ("[objective]\nbtea = 1\n", 2, "unknown key `objective.btea`; the nearest known key is `objective.beta`"),
        ("[objectiv]\nbeta = 1\n", 2, "`objective.beta`"),
        ("beta = 1\n", 2, "`beta` stands outside any section"),
        ("[objective]\nbeta = true\n", 2, "`objective.beta` can't be boolean"),
        ("[objective]\nbeta = nan\n", 2, "--beta takes a finite number"),
        ("[objective]\nbeta = 0.1\n[train\n", 1, "line 3"),
        ("[objective]\nbeta = 0.1\nbeta = 0.2\n", 1, "line 3"),
    ] {
        scene.write("c.toml", content);
        scene.refused(&training("new", "--config c.toml"), code, &["c.toml", says]);
    }
    scene.refused(&training("new", "--config nowhere.toml"), 1, &["nowhere.toml"]);
}

#[test]
fn places_that_cannot_be_written_are_refused_before_the_work() {
    let scene = Scene::new();
    scene.write("taken/mine.txt", "mine");
    scene.refused(&training("taken", ""), 1, &["taken", "--out", "--resume"]);
    assert_eq!(std::fs::read_dir(scene.path("taken")).unwrap().count(), 1);
    scene.refused(&training("pairs.jsonl", ""), 1, &["pairs.jsonl"]);
    scene.refused(&training("pairs.jsonl/run", ""), 1, &["pairs.jsonl"]);
    scene.refused(&training("new", "--reference-cache nowhere/ref"), 1, &["nowhere/ref: No such file or directory"]);
    scene.refused(&training("new", "--reference-cache taken"), 1, &["taken: Is a directory"]);
    scene.refused(&training("new", "--reference-cache pairs.jsonl"), 1, &["pairs.jsonl", "not a reference cache"]);
    assert_eq!(scene.read("pairs.jsonl"), super::PAIRS);
    for verb in ["score --data pairs.jsonl", "sample"] {
        let to = |out: &str| format!("{verb} --model builtin:tldr-untrained --out {out}");
        scene.refused(&to("nowhere/x"), 1, &["nowhere/x: No such file or directory"]);
        scene.refused(&to("taken"), 1, &["taken", "is a folder"]);
    }
}

#[test]
fn a_run_that_diverges_says_so_and_leaves_no_model() {
    let scene = Scene::new();
    for (out, optimizer) in [("a", "sgd"), ("b", "adamw"), ("c", "rmsprop")] {
        let more = format!("--optimizer {optimizer} --lr 1e30 --max-grad-norm 1e9 --epochs 4");
        scene.refused(&training(out, &more), 1, &["diverged after step 1", "--lr"]);
        assert!(!scene.path(out).join("model").exists());
        assert_eq!(scene.column(out, "loss").len(), 1);
    }
}

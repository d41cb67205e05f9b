//! Checks the settings table against the program: every setting that the table says is read is read.
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../eval/src/tests/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use recipes::settings::{Values, reads};
use safetensors::tensor::{Dtype, TensorView, serialize};

use recipes::Failure;
use recipes::keys::{
    CREDIT, EVAL, EXPORT, INSPECT, JUDGE, LABEL, MERGE, REPORT, SAMPLE, SCORE, SEARCH, TRAIN, Verbs, all, idle,
};

use self::server::{Action, Server};

/// A folder with the files that the command lines below name.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let pair = |i| format!("{{\"prompt\":\"POST: {i}\\n\\nTL;DR:\",\"chosen\":\" a {i}\",\"rejected\":\" b\"}}\n");
        scene.write("pairs.jsonl", [0, 1, 2, 3, 4, 5].map(pair).concat());
        scene.write("wrong.jsonl", r#"{"prompt":"a dog","response":" good red","spans":[[6,9]]}"#);
        scene.write("prompts.txt", "POST: one\nPOST: two\nPOST: three\nPOST: four\n");
        let mut pictures = String::new();
        for i in 0..4u8 {
            let image = image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([i * 50, x as u8 * 30, y as u8 * 30]));
            image.save(scene.path(&format!("{i}.png"))).unwrap();
            let (chosen, rejected) = (format!("{i}.png"), format!("{}.png", (i + 1) % 4));
            let line = serde_json::json!({ "prompt": format!("picture {i}"), "chosen": chosen, "rejected": rejected });
            pictures.push_str(&line.to_string());
            pictures.push('\n');
        }
        scene.write("pictures.jsonl", pictures);
        scene.write("latents.safetensors", tensors(&["chosen", "rejected"], &[4, 3, 8, 8]));
        let told = [("chosen", vec![4, 16, 4, 4]), ("rejected", vec![4, 16, 4, 4]), ("context", vec![4, 3, 44])];
        let told: Vec<_> =
            told.into_iter().chain([("pooled", vec![4, 16])]).map(|(n, s)| (n, numbers(&s), s)).collect();
        let views = told.iter().map(|(n, data, s)| (*n, TensorView::new(Dtype::F32, s.clone(), data).unwrap()));
        scene.write("told.safetensors", serialize(views, None).unwrap());
        let timesteps: Vec<u8> = (0..4i64).flat_map(|i| (100 * i).to_le_bytes()).collect();
        let draws = numbers(&[4, 3, 8, 8]);
        let views = [
            ("noise", TensorView::new(Dtype::F32, vec![4, 3, 8, 8], &draws).unwrap()),
            ("timesteps", TensorView::new(Dtype::I64, vec![4], &timesteps).unwrap()),
        ];
        scene.write("draws.safetensors", serialize(views, None).unwrap());
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Runs a command line, in which `@name` is a file of the scene and `%name` one of the goldens.
    fn run(&self, arguments: &str) -> Result<(), Failure> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let word = |word: &str| match (word.strip_prefix('@'), word.strip_prefix('%')) {
            (Some(name), _) => self.path(name).display().to_string(),
            (_, Some(name)) => golden.join(name).display().to_string(),
            _ => word.to_owned(),
        };
        let words = std::iter::once("hybrid-dpo".to_owned()).chain(arguments.split_whitespace().map(word));
        let matches = crate::command().try_get_matches_from(words.chain(["--quiet".to_owned()]));
        crate::dispatch(&matches.unwrap_or_else(|error| panic!("{arguments}: {error}"))).map(drop)
    }
}

fn numbers(shape: &[usize]) -> Vec<u8> {
    let n: usize = shape.iter().product();
    (0..n).flat_map(|i| (((i * 37) % 101) as f32 / 50.0 - 1.0).to_le_bytes()).collect()
}

fn tensors(names: &[&'static str], shape: &[usize]) -> Vec<u8> {
    let bytes = numbers(shape);
    serialize(names.iter().map(|name| (*name, TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap())), None)
        .unwrap()
}

/// Settings of a run of one step.
const SHORT: &str = "--batch-size 2 --micro-batch-size 2 --max-steps 1 --warmup-steps 0 --n-samples 1 --eval-share 0.3";

/// Settings of a short round.
const ROUND: &str = "--round-pairs 2 --eval-examples 2 --batch-size 2 --micro-batch-size 2 --max-steps 1 \
                     --warmup-steps 0 --n-samples 1";

/// Settings of a one-step run that shows no samples.
const BARE: &str = "--batch-size 2 --micro-batch-size 2 --max-steps 1 --warmup-steps 0";

/// Commands that create the files first.
const MADE: &[&str] = &[
    "sample --model builtin:tldr --limit-prompts 6 --pairs @texts",
    "judge --pairs @texts",
    "sample --model builtin:tldr --prompts @prompts.txt --max-length 40 --pairs @short",
    "sample --mdp diffusion --model builtin:shapes --limit-prompts 6 --sample-steps 2 --pairs @shapes",
    "judge --pairs @shapes",
    "sample --mdp hybrid --limit-prompts 6 --sample-steps 2 --pairs @both",
    "judge --pairs @both",
    "sample --limit-prompts 2 --max-length 96 --out @said1",
    "sample --limit-prompts 2 --max-length 96 --temperature 0.5 --out @said2",
    "sample --mdp diffusion --model builtin:shapes --limit-prompts 6 --n 3 --sample-steps 3 --eta 1 --out @ways.jsonl \
     --save-trajectories @ways.safetensors",
];

/// Every verb with every kind of problem and source, and every other condition of the table.
const LINES: &[&str] = &[
    "train --model builtin:tldr --data builtin:tldr --limit 4 --eval-examples 2 SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --lora-rank 2 SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --eval-data @pairs.jsonl --objective cdpo SHORT0",
    "train --model builtin:tldr --data @texts --objective ipo --optimizer adamw SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --objective kto --optimizer sgd SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --objective tdpo SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --objective simpo SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --objective cpl SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --objective sft SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --divergence alpha --wpo --reference-ema 0.9 SHORT",
    "train --model builtin:tldr --data @pairs.jsonl --losses discopop:0.5,dpop,bco SHORT",
    "train --mdp diffusion --model builtin:shapes --data @shapes --objective linear --safeguard 0.9 --sample-steps 2 SHORT",
    "train --mdp diffusion --model builtin:shapes --data @shapes --objective dpop --noise prior --sample-steps 2 SHORT",
    "train --mdp diffusion --model %companions/ddpm --data @pictures.jsonl --objective kto --sample-steps 2 SHORT",
    "train --rounds 1 --round-pairs 4 --eval-examples 2 --model builtin:tldr --prompts builtin:tldr SHORT",
    "train --rounds 1 --round-pairs 4 --round-reference fixed --eval-examples 2 SHORT0",
    "train --rounds 1 --search diverse ROUND",
    "train --rounds 1 --search mcts --simulations 2 ROUND",
    "train --rounds 1 --search smc --width 2 ROUND",
    "train --rounds 1 --search beam --width 2 --score ratio --guide builtin:tldr --guide-reference builtin:tldr ROUND",
    "train --rounds 1 --search verifier --verifier builtin:tldr --width 2 --score implicit ROUND",
    "train --mdp hybrid --rounds 1 --search refinements --width 2 --pictures 1 --sample-steps 2 --compare=false ROUND",
    "train --mdp diffusion --limit 4 --sample-steps 2 --eval-examples 2 SHORT0",
    "train --mdp diffusion --model %companions/sd --data @pictures.jsonl --omega min-snr --sample-steps 2 SHORT",
    "train --mdp diffusion --model %companions/ddpm --data @pictures.jsonl --scheme half --sample-steps 2 SHORT",
    "train --mdp diffusion --model builtin:shapes --data @shapes --objective simpo --sample-steps 2 SHORT",
    "train --mdp diffusion --model %companions/ddpm --latents @latents.safetensors --objective sft BARE",
    "train --mdp diffusion --model %companions/ddpm --latents @latents.safetensors --draws @draws.safetensors BARE",
    "train --mdp diffusion --model builtin:shapes --scheme trajectory --trajectories @ways.safetensors --sample-steps 3 \
     --eta 1 --reference builtin:shapes --importance-clip 2 SHORT",
    "train --mdp diffusion --model builtin:shapes --objective d3po --trajectories @ways.safetensors --sample-steps 3 \
     --eta 1 SHORT",
    "train --mdp hybrid --limit 4 --sample-steps 2 --eval-examples 2 --compare=false SHORT0",
    "train --mdp hybrid --refiner builtin:chimera-refiner --generator builtin:chimera-generator --data @both --update \
     refiner --sample-steps 2 SHORT",
    "score --model builtin:tldr --data builtin:tldr --limit 2 --out @scores",
    "score --model builtin:tldr --reference builtin:tldr --data @pairs.jsonl --out @scores",
    "score --model builtin:tldr --data @texts --out @scores",
    "score --mdp diffusion --model builtin:shapes --data builtin:shapes --limit 2 --out @scores",
    "score --mdp diffusion --model %companions/sd --reference %companions/sd --data @pictures.jsonl --omega min-snr --out @scores",
    "score --mdp diffusion --model builtin:shapes --data @shapes --out @scores",
    "score --mdp diffusion --model %flux/dev --latents @told.safetensors --guidance 2 --out @scores",
    "score --mdp diffusion --model %companions/ddpm --latents @latents.safetensors --draws @draws.safetensors --out @scores",
    "score --mdp hybrid --refiner builtin:chimera-refiner --generator builtin:chimera-generator --generator-reference \
     builtin:chimera-generator --data @both --omega min-snr --out @scores",
    "eval --model builtin:tldr --data builtin:tldr --limit 2",
    "eval --model builtin:tldr --reference builtin:tldr --data @pairs.jsonl --out @measured",
    "eval --model builtin:tldr --data @texts --out @measured",
    "eval --mdp diffusion --model builtin:shapes --reference builtin:shapes --data builtin:shapes --limit 2 --out @measured",
    "eval --mdp diffusion --model %companions/sd --reference %companions/sd --data @pictures.jsonl --omega min-snr",
    "eval --mdp diffusion --model builtin:shapes --data @shapes --out @measured",
    "eval --mdp diffusion --model %flux/dev --latents @told.safetensors --guidance 2",
    "eval --mdp diffusion --model %companions/ddpm --latents @latents.safetensors --draws @draws.safetensors",
    "eval --mdp hybrid --refiner builtin:chimera-refiner --generator builtin:chimera-generator --generator-reference \
     builtin:chimera-generator --data @both --omega min-snr --out @measured",
    "eval --mdp hybrid --model @run30 --data @both --out @measured",
    "sample --model builtin:tldr --limit-prompts 2 --out @said",
    "sample --model builtin:tldr --reference builtin:tldr --limit-prompts 2 --pairs @new1",
    "sample --mdp diffusion --limit-prompts 2 --sample-steps 2 --eta 1 --save-trajectories @t --out @made.jsonl",
    "sample --mdp diffusion --reference builtin:shapes --limit-prompts 2 --sample-steps 2 --pairs @new2",
    "sample --mdp hybrid --limit-prompts 2 --sample-steps 2 --out @made.jsonl",
    "sample --mdp hybrid --limit-prompts 2 --sample-steps 2 --refiner-reference builtin:chimera-refiner --pairs @new3",
    "sample --prompts @prompts.txt --max-length 40 --search diverse --pairs @new4",
    "sample --prompts @prompts.txt --max-length 40 --search best-of --score implicit --reference builtin:tldr --width 2 \
     --top-k 3 --pairs @new5",
    "sample --prompts @prompts.txt --max-length 40 --search beam --score ratio --guide builtin:tldr --guide-reference \
     builtin:tldr --out @found",
    "sample --prompts @prompts.txt --max-length 40 --search verifier --verifier builtin:tldr --out @found",
    "sample --prompts @prompts.txt --max-length 40 --search mcts --simulations 2 --out @found",
    "sample --prompts @prompts.txt --max-length 40 --search smc --width 2 --out @found",
    "sample --mdp diffusion --limit-prompts 1 --sample-steps 2 --search best-of --width 2 --pairs @new6",
    "sample --mdp hybrid --limit-prompts 1 --null-share 0 --sample-steps 2 --search refinements --width 2 --score implicit \
     --refiner-reference builtin:chimera-refiner --pairs @new7",
    "search --model builtin:tldr --prompts @prompts.txt --max-length 40 --method diverse --out @found",
    "search --model builtin:tldr --limit-prompts 1 --max-length 96 --method sample --top-k 5 --top-p 0.9 --out @found",
    "search --model builtin:tldr --prompts @prompts.txt --max-length 40 --method greedy --score implicit --reference \
     builtin:tldr --width 2 --out @found",
    "search --model builtin:tldr --prompts @prompts.txt --max-length 40 --score ratio --guide builtin:tldr \
     --guide-reference builtin:tldr --out @found",
    "search --prompts @prompts.txt --max-length 40 --method verifier --verifier builtin:tldr --out @found",
    "search --prompts @prompts.txt --max-length 40 --method mcts --simulations 2 --out @found",
    "search --prompts @prompts.txt --max-length 40 --method smc --width 2 --out @found",
    "search --mdp diffusion --limit-prompts 1 --sample-steps 2 --method best-of --width 2 --out @shown.jsonl",
    "search --mdp diffusion --limit-prompts 1 --sample-steps 2 --score ratio --guide builtin:shapes --guide-reference \
     builtin:shapes --width 2 --out @shown.jsonl",
    "search --mdp diffusion --limit-prompts 1 --sample-steps 2 --method verifier --verifier builtin:shapes --score \
     implicit --reference builtin:shapes --width 2 --out @shown.jsonl",
    "search --mdp hybrid --limit-prompts 1 --sample-steps 2 --method refinements --width 2 --score implicit \
     --refiner-reference builtin:chimera-refiner --out @shown.jsonl",
    "search --mdp hybrid --limit-prompts 1 --sample-steps 2 --method smc --width 2 --out @shown.jsonl",
    "inspect builtin:tldr",
    "inspect builtin:shapes",
    "inspect --data builtin:tldr --limit 2",
    "inspect @pairs.jsonl",
    "inspect @pairs.jsonl --model builtin:tldr --show 1",
    "inspect builtin:tldr --data @texts",
    "inspect @pictures.jsonl",
    "inspect %companions/ddpm --data @pictures.jsonl",
    "inspect @texts",
    "inspect @latents.safetensors",
    "judge --pairs @short --judge %rewards/llama",
    "judge --pairs @shapes --judge %rewards/clip --out @judged",
    "judge --a @said1 --b @said2 --judge openai --endpoint SERVER --judge-model m",
    "judge --pairs @texts --judge openai --endpoint SERVER --judge-model m --judge-both-orders",
    "train --model builtin:tldr --data builtin:tldr --limit 4 --eval-examples 2 --judge-every 1 --judge-prompts 2 SHORT0",
    "train --model builtin:tldr --data @pairs.jsonl --judge-every 1 --judge-prompts 2 --judge openai --endpoint SERVER \
     --judge-model m SHORT",
    "train --mdp diffusion --limit 4 --sample-steps 2 --eval-examples 2 --judge-every 1 --judge-prompts 2 SHORT0",
    "train --mdp hybrid --limit 4 --sample-steps 2 --eval-examples 2 --compare=false --judge-every 1 --judge-prompts 2 SHORT0",
    "train --rounds 1 --judge openai --endpoint SERVER --judge-model m ROUND",
    "label --pairs @nowhere",
    "credit --model builtin:tldr --reference builtin:tldr-untrained --data builtin:tldr --limit 2 --out @credit",
    "credit --mdp diffusion --model builtin:shapes --reference builtin:shapes --data builtin:shapes --limit 2 \
     --draws-per-pair 2 --out @credit --html @page",
    "credit --mdp diffusion --model %companions/sd --reference %companions/sd --data @pictures.jsonl --omega min-snr",
    "credit --mdp diffusion --model builtin:shapes --reference builtin:shapes --data @shapes --draws-per-pair 2",
    "credit --mdp diffusion --model %flux/dev --reference %flux/dev --latents @told.safetensors --guidance 2",
    "credit --mdp diffusion --model %companions/ddpm --reference %companions/ddpm --latents @latents.safetensors --draws \
     @draws.safetensors",
    "credit --mdp hybrid --refiner builtin:chimera-refiner --generator builtin:chimera-generator --refiner-reference \
     builtin:chimera-refiner --generator-reference builtin:chimera-generator --data @both --omega min-snr --draws-per-pair 2",
    "credit --model builtin:tldr --reference builtin:tldr --data @wrong.jsonl --reward-model %rewards/llama --html @page",
    "export --model builtin:tldr --out @plain --save-dtype f16",
    "merge --model @run1 --out @merged",
    "report @run0 --out @report.html --svg @plots",
];

#[test]
fn what_the_table_says_is_read_is_read() {
    let scene = Scene::new();
    for line in MADE {
        scene.run(line).unwrap_or_else(|failure| panic!("{line}: {failure}"));
    }
    let server = Server::start(|_, _| Action::say("Preferred: A"));
    let mut unread: Vec<String> = Vec::new();
    let mut ever: BTreeSet<(Verbs, &str)> = BTreeSet::new();
    for (number, line) in LINES.iter().enumerate() {
        let out = if line.starts_with("train") { format!("--out @run{number}") } else { String::new() };
        let short = SHORT.replace(" --eval-share 0.3", "");
        let arguments = format!(
            "{} {out}",
            line.replace("SHORT0", &short)
                .replace("SHORT", SHORT)
                .replace("BARE", BARE)
                .replace("ROUND", ROUND)
                .replace("SERVER", &server.endpoint())
        );
        reads::take();
        let done = scene.run(&arguments);
        assert!(done.is_ok() || line.contains("@nowhere"), "{line}: {}", done.unwrap_err());
        let read = reads::take();
        let (verb, table) = idle::reads::take().unwrap();
        for path in table {
            ever.insert((verb, path));
            if !read.contains(path) {
                unread.push(format!("{path}: {line}"));
            }
        }
    }
    assert!(unread.is_empty(), "said to be read, and nothing reads it:\n{}", unread.join("\n"));
    // A setting that no line reads in one of its verbs is untested.
    for key in all() {
        for verb in [TRAIN, SCORE, EVAL, SAMPLE, SEARCH, INSPECT, JUDGE, LABEL, CREDIT, REPORT, EXPORT, MERGE]
            .into_iter()
            .filter(|verb| key.verbs & verb != 0)
        {
            assert!(ever.contains(&(verb, key.field.path)), "{} is never read in verb {verb}", key.field.path);
        }
    }
}

/// The refusal of typed settings, separated by spaces; empty where none is refused.
fn refused(verb: Verbs, sets: &str) -> String {
    let mut values = Values::default();
    sets.split_whitespace().for_each(|set| values.merge_set(set).unwrap());
    idle::refuse(&values, verb)
        .err()
        .map(|failure| crate::console::with_flags(&failure.to_string()))
        .unwrap_or_default()
}

#[test]
fn a_refusal_names_the_flag_why_and_what_would_read_it() {
    for (verb, sets, says) in [
        (
            TRAIN,
            "objective.label_smoothing=0.1",
            "--label-smoothing is for --objective cdpo, robust, exo, aot or aot-unpaired, dpo does not read it",
        ),
        (TRAIN, "optimizer.momentum=0.5", "--momentum is for --optimizer sgd, rmsprop does not read it"),
        (TRAIN, "model.lora_alpha=4", "--lora-alpha goes with --lora-rank, and nothing reads it without"),
        (TRAIN, "diffusion.omega=snr", "--omega is for --mdp diffusion, token does not read it"),
        (
            TRAIN,
            "run.mdp=diffusion data.data=builtin:shapes data.eval_data=x",
            "--eval-data is for a file or a folder of files in --data or --latents, embedded data does not read it",
        ),
        (
            TRAIN,
            "objective.name=sft train.reference_cache=x",
            "--reference-cache would do nothing: --objective sft does not read it: all but sft, simpo, orpo and cpl do",
        ),
        (SCORE, "data.data=p.jsonl objective.beta=1", "--beta goes with --reference, and nothing reads it without"),
        (SEARCH, "search.groups=2", "--groups is for --method diverse, beam does not read it"),
        (SEARCH, "search.guide=m", "--guide is for --score ratio, likelihood does not read it"),
        (SEARCH, "sample.temperature=0.5", "--temperature would do nothing: --method beam draws no tokens"),
        (SAMPLE, "search.width=2", "--width goes with --search, and nothing reads it without"),
        (SAMPLE, "sample.search=beam search.groups=2", "--groups is for --search diverse, beam does not read it"),
        (TRAIN, "sample.search=beam", "--search goes with --rounds, and nothing reads it without"),
        (SAMPLE, "label.pairs=p run.out=o", "--out is not for --pairs: it names the folder to write"),
    ] {
        assert_eq!(refused(verb, sets), says);
    }
}

#[test]
fn what_asks_for_nothing_is_not_refused() {
    for sets in [
        "model.rslora=false",
        "optimizer.momentum=0",
        "data.data=x data.eval_share=0 train.eval_examples=0",
        "run.mdp=diffusion data.latents=x train.n_samples=0",
    ] {
        assert_eq!(refused(TRAIN, sets), "");
    }
    assert!(refused(TRAIN, "run.mdp=diffusion data.latents=x train.n_samples=2").starts_with("--n-samples"));
}

#[test]
fn what_a_config_file_holds_and_does_not_apply_is_let_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[optimizer]\nmomentum = 0.5\n").unwrap();
    let mut values = Values::default();
    values.merge_file(&path).unwrap();
    assert!(idle::refuse(&values, TRAIN).is_ok());
}

//! Flags of other programs, and what they are called here.
use clap::error::{ContextKind, ContextValue, ErrorKind};
use recipes::keys::{self, idle};

use crate::output::say;

/// Flags of TRL's, transformers', peft's and diffusers' scripts, and the same thing here.
const NAMES: &[(&str, &str)] = &[
    ("model-name-or-path", "--model"),
    ("pretrained-model-name-or-path", "--model"),
    ("unet-init", "--model"),
    ("ref-model", "--reference"),
    ("ref-model-name-or-path", "--reference"),
    ("dataset-name", "--data"),
    ("dataset", "--data"),
    ("train-file", "--data"),
    ("train-data-dir", "--data"),
    ("validation-file", "--eval-data"),
    ("eval-dataset", "--eval-data"),
    ("dataset-train-split", "--split"),
    ("dataset-split-name", "--split"),
    ("dataset-test-split", "--split: held-out data has the part `validation` or else `test`"),
    ("max-train-samples", "--limit"),
    ("max-seq-length", "--max-length"),
    ("max-seq-len", "--max-length"),
    ("cutoff-len", "--max-length"),
    ("truncation-mode", "--truncation"),
    ("assistant-only-loss", "--assistant-only"),
    ("chat-template-kwargs", "--template: NAME=VALUE, such as enable_thinking=false"),
    ("chat-template-path", "--chat-template"),
    ("loss-type", "--objective, or several with their weights: --losses dpo:0.8,sft:1"),
    ("loss-weights", "--losses: each loss with its weight, dpo:0.8,sft:1"),
    ("ld-alpha", "--tail-weight"),
    ("use-weighting", "--wpo"),
    ("f-divergence-type", "--divergence"),
    ("f-alpha-divergence-coef", "--divergence-alpha"),
    ("discopop-tau", "--tau"),
    ("dpop-lambda", "--penalty"),
    ("use-winner-preserving", "--safeguard 0.9"),
    ("winner-preserving-mu", "--safeguard"),
    ("linear-dpo", "--objective linear"),
    ("eta-dpo", "--least-weight"),
    ("use-ema-ref", "--reference-ema: the decay"),
    ("decay-ema", "--reference-ema"),
    ("sync-ref-model", "--reference-ema: the decay, applied at every step"),
    ("ref-model-mixup-alpha", "--reference-ema: the decay, which is 1 - alpha"),
    ("ref-model-sync-steps", "--reference-ema: the reference follows at every step"),
    ("simpo-gamma", "--gamma"),
    ("gamma-beta-ratio", "--gamma"),
    ("rpo-alpha", "--sft-weight"),
    ("cpo-alpha", "--sft-weight"),
    ("beta-dpo", "--beta"),
    ("beta-dpo-loss", "--beta"),
    ("pref-beta", "--beta"),
    ("label-smoothing-factor", "--label-smoothing"),
    ("learning-rate", "--lr"),
    ("optim", "--optimizer"),
    ("adam-beta1", "fixed: --optimizer adamw has betas of 0.9 and 0.999"),
    ("adam-beta2", "fixed: --optimizer adamw has betas of 0.9 and 0.999"),
    ("adam-epsilon", "fixed: --optimizer adamw has an epsilon of 1e-8"),
    ("lr-scheduler-type", "--schedule"),
    ("lr-scheduler", "--schedule"),
    ("lr-warmup-steps", "--warmup-steps"),
    ("warmup-ratio", "--warmup-steps: a count of steps, not a share"),
    ("num-train-epochs", "--epochs"),
    ("num-epochs", "--epochs"),
    ("max-train-steps", "--max-steps"),
    (
        "per-device-train-batch-size",
        "--micro-batch-size: pairs computed at once; --batch-size: pairs per optimiser step",
    ),
    ("train-batch-size", "--micro-batch-size: pairs computed at once; --batch-size: pairs per optimiser step"),
    ("per-device-eval-batch-size", "--micro-batch-size, which evaluations use too"),
    (
        "gradient-accumulation-steps",
        "--batch-size: pairs per optimiser step, of which --micro-batch-size are computed at once",
    ),
    ("gradient-checkpointing", "--activation-checkpointing"),
    ("use-peft", "--lora-rank: a rank is enough, and --model base+adapter goes on with an adapter"),
    ("lora-r", "--lora-rank"),
    ("rank", "--lora-rank"),
    ("lora-target-modules", "--lora-targets"),
    ("use-rslora", "--rslora"),
    ("use-dora", "--dora"),
    ("load-in-4bit", "--base-precision: a GGUF file's quantised weights stay as they are beside adapters"),
    ("load-in-8bit", "--base-precision: a GGUF file's quantised weights stay as they are beside adapters"),
    ("lora-dropout", "always 0: training applies no dropout"),
    ("disable-dropout", "always so: training applies no dropout"),
    ("packing", "not needed: texts are not padded"),
    ("padding-free", "always so: texts are not padded"),
    ("completion-only-loss", "always so where a record has a prompt: its answers alone are scored"),
    ("trust-remote-code", "not needed: no code of a model is run"),
    ("push-to-hub", "left to other programs: nothing is sent, and --out has the model in its folder model/"),
    ("use-ema", "--ema: the decay"),
    ("precompute-ref-log-probs", "--reference-cache: a file"),
    ("torch-dtype", "--precision: that of matrix products; --save-dtype: the type that is written"),
    ("dtype", "--precision: that of matrix products; --save-dtype: the type that is written"),
    (
        "bf16",
        "--precision bf16: matrix products in bf16, all else in f32; --save-dtype bf16 is the type that is written",
    ),
    ("fp16", "--save-dtype f16: the type that is written; --precision has f32 and bf16"),
    (
        "mixed-precision",
        "--precision bf16: matrix products in bf16, all else in f32; --save-dtype is the type that is written",
    ),
    ("output-dir", "--out"),
    ("run-name", "--out"),
    ("logging-dir", "--out: the run's folder has tensorboard/ in it"),
    (
        "report-to",
        "--out: metrics.jsonl and tensorboard/ in the run's folder; docs/training.md says how W&B, MLflow and trackio read them",
    ),
    ("logging-steps", "--out: every step is logged, in metrics.jsonl and tensorboard/ of the run's folder"),
    ("eval-steps", "--eval-every"),
    ("eval-strategy", "--eval-every: steps between evaluations"),
    ("validation-steps", "--eval-every"),
    ("save-steps", "--save-every"),
    ("save-strategy", "--save-every: steps between checkpoints"),
    ("checkpointing-steps", "--save-every"),
    ("save-total-limit", "--keep-checkpoints"),
    ("checkpoints-total-limit", "--keep-checkpoints"),
    ("metric-for-best-model", "--best-metric"),
    ("load-best-model-at-end", "--best-metric: best/ in the run's folder has that model"),
    ("resume-from-checkpoint", "--resume: the run's folder"),
    ("resolution", "--image-size"),
    ("random-flip", "--flip"),
    ("snr-gamma", "--omega min-snr with --min-snr-gamma"),
    ("prediction-type", "--prediction"),
    ("proportion-empty-prompts", "--empty-share"),
    ("num-inference-steps", "--sample-steps"),
    ("guidance-scale", "--guidance"),
    ("num-return-sequences", "--n"),
    ("num-generations", "--n"),
    ("ddp-find-unused-parameters", "not needed: a run uses one device, which --device names"),
    ("ddp-timeout", "not needed: a run uses one device, which --device names"),
    ("deepspeed", "not needed: a run uses one device, which --device names"),
    ("fsdp", "not needed: a run uses one device, which --device names"),
    ("local-rank", "not needed: a run uses one device, which --device names"),
    ("num-images-per-prompt", "--n"),
    ("num-beams", "--width, of `search`"),
    ("num-beam-groups", "--groups, of `search`"),
    ("do-sample", "--temperature: 0 takes the likeliest token"),
];

/// Adds the name that a flag of another program has here to clap's error about it.
pub(crate) fn add(error: &mut clap::Error, flags: &[String]) {
    let is_about_verbs = matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::InvalidSubcommand);
    if !is_about_verbs {
        // Of an argument, it would list those that were given before.
        error.remove(ContextKind::Usage);
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return };
    let name = given.trim_start_matches('-').split('=').next().unwrap_or_default().replace('_', "-");
    let here = match NAMES.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, here)) => (*here).to_owned(),
        None if given.trim_start_matches('-') == name => match keys::all().find(|key| key.field.name == name) {
            Some(key) => {
                let text = format!("--{name} is a flag of {}", idle::names(key.verbs).join(", "));
                return suggest(error, text);
            }
            None => return,
        },
        None if flags.contains(&name) => format!("--{name}"),
        None => return,
    };
    suggest(error, format!("here it is {here}"));
}

/// Shows clap's error, help or version. Help and version go to stdout with 0, usage errors to stderr with 2; clap knows which.
pub(crate) fn show(error: &clap::Error) {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.use_stderr() && !is_help {
        say(error.render().to_string().trim_end());
    } else {
        let _ = error.print();
    }
}

fn suggest(error: &mut clap::Error, text: String) {
    let text = ContextValue::StyledStrs(vec![text.into()]);
    error.insert(ContextKind::Suggested, text);
    error.remove(ContextKind::SuggestedArg);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Vec<String> {
        recipes::keys::all().map(|key| key.field.name.to_owned()).chain(["resume".to_owned()]).collect()
    }

    #[test]
    fn hints_name_flags_that_there_are_for_names_that_there_are_not() {
        let known = flags();
        for (theirs, here) in NAMES {
            assert!(!known.iter().any(|flag| flag == theirs), "{theirs} is a flag");
            let named = here
                .split("--")
                .skip(1)
                .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default());
            for flag in named {
                assert!(known.iter().any(|known| known == flag), "{theirs}: {here}");
            }
        }
    }

    #[test]
    fn the_flags_of_trl_are_understood() {
        let error = |line: &str| {
            let words = ["hybrid-dpo", "train"].into_iter().chain(line.split_whitespace());
            let mut error = crate::command().try_get_matches_from(words).unwrap_err();
            add(&mut error, &flags());
            error.to_string()
        };
        for (line, says) in [
            ("--num-train-epochs 3", "tip: here it is --epochs\n"),
            ("--num_train_epochs=3", "tip: here it is --epochs\n"),
            ("--batch_size 3", "tip: here it is --batch-size\n"),
            ("--adam-beta1 0.9", "tip: here it is fixed: --optimizer adamw"),
            ("--packing", "tip: here it is not needed: texts are not padded"),
            ("--port 3", "tip: --port is a flag of label\n"),
            ("--chat-template-kwargs {}", "tip: here it is --template: NAME=VALUE"),
            ("--betta 3", "tip: a similar argument exists: '--beta'"),
        ] {
            let text = error(line);
            assert!(text.contains(says), "{line}: {text}");
            assert!(!text.contains("Usage") && text.lines().all(|line| line.chars().count() <= 80), "{line}: {text}");
        }
    }
}

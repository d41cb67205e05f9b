//! Every setting once: its place in a config file, its flag, its default, what it takes.
//!
//! Flags, `--set`, config files, defaults and the messages about unknown keys are all read off this table.

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A count.
    Count,
    /// A real number.
    Number,
    /// A text; a path where it names a file.
    Text,
    /// `true` or `false`; the flag alone means true.
    Switch,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Words with commas between.
    List,
}

/// A verb, as bits, so that a setting can belong to several.
pub(crate) type Verbs = u8;
pub(crate) const TRAIN: Verbs = 1;
pub(crate) const SCORE: Verbs = 2;
pub(crate) const SAMPLE: Verbs = 4;
pub(crate) const INSPECT: Verbs = 8;

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// `section.name` in a config file.
    pub(crate) path: &'static str,
    /// The flag without its dashes.
    pub(crate) flag: &'static str,
    pub(crate) kind: Kind,
    /// As a config file would have it; empty: none.
    pub(crate) default: &'static str,
    pub(crate) verbs: Verbs,
    pub(crate) help: &'static str,
}

const fn key(
    path: &'static str,
    flag: &'static str,
    kind: Kind,
    default: &'static str,
    verbs: Verbs,
    help: &'static str,
) -> Key {
    Key { path, flag, kind, default, verbs, help }
}

/// The losses `--objective` knows.
pub(crate) const OBJECTIVES: &[&str] = &[
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
];

use Kind::{Choice, Count, List, Number, Switch, Text};

const ALL: Verbs = TRAIN | SCORE | SAMPLE | INSPECT;
const DATA: Verbs = TRAIN | SCORE | INSPECT;

/// The table.
pub(crate) const KEYS: &[Key] = &[
    key("run.mdp", "mdp", Choice(&["token"]), "token", TRAIN | SCORE | SAMPLE, "The kind of decision problem"),
    key("run.seed", "seed", Count, "0", ALL, "Everything drawn by chance is a function of it"),
    key("run.device", "device", Text, "cpu", ALL, "cpu, or cuda:N in a build with the cuda feature"),
    key(
        "run.out",
        "out",
        Text,
        "",
        TRAIN | SCORE | SAMPLE,
        "Where results go: a new run folder for train, a file for score and sample",
    ),
    key(
        "model.model",
        "model",
        Text,
        "",
        TRAIN | SCORE | SAMPLE,
        "A Hugging Face folder, .gguf, llama2.c .bin, run folder, base+adapter, or builtin:NAME",
    ),
    key(
        "model.reference",
        "reference",
        Text,
        "",
        TRAIN | SCORE,
        "The policy to stay close to; train: the model as it was at the start",
    ),
    key("model.lora_rank", "lora-rank", Count, "", TRAIN, "Trains low-rank adapters of this rank and freezes the rest"),
    key("model.lora_alpha", "lora-alpha", Number, "16", TRAIN, "The adapters count alpha / rank"),
    key("model.lora_targets", "lora-targets", List, "all-linear", TRAIN, "Names of the layers that get adapters"),
    key("model.rslora", "rslora", Switch, "false", TRAIN, "The adapters count alpha / sqrt(rank)"),
    key(
        "model.activation_checkpointing",
        "activation-checkpointing",
        Switch,
        "false",
        TRAIN,
        "Computes activations twice to keep fewer",
    ),
    key(
        "data.data",
        "data",
        Text,
        "",
        DATA,
        "A .jsonl, .jsonl.gz, .json or .parquet file, a folder of them, or builtin:NAME",
    ),
    key(
        "data.eval_data",
        "eval-data",
        Text,
        "",
        TRAIN,
        "Held-out examples; without it a share of the prompts is held out",
    ),
    key(
        "data.eval_share",
        "eval-share",
        Number,
        "0.05",
        TRAIN,
        "The share of prompts held out when there is no eval-data; 0: none",
    ),
    key(
        "data.format",
        "format",
        Choice(&["auto", "trl", "tldr", "hh", "ultrafeedback", "kto", "ranked", "tree"]),
        "auto",
        DATA,
        "How the records are laid out",
    ),
    key("data.max_length", "max-length", Count, "512", ALL, "Tokens of prompt and answer together"),
    key(
        "data.max_prompt_length",
        "max-prompt-length",
        Count,
        "256",
        DATA,
        "Tokens of the prompt where it has to be cut",
    ),
    key(
        "data.truncation",
        "truncation",
        Choice(&["auto", "keep-start", "keep-end"]),
        "auto",
        DATA,
        "Which end of a long prompt stays; auto: keep-end for hh, else keep-start",
    ),
    key(
        "data.tokenization",
        "tokenization",
        Choice(&["separate", "joint"]),
        "separate",
        DATA,
        "Prompt and answer apart, or together and then cut (as TRL)",
    ),
    key(
        "data.on_bad",
        "on-bad",
        Choice(&["fail", "skip"]),
        "fail",
        DATA,
        "What to do with a broken record; skipped ones are counted",
    ),
    key("data.limit", "limit", Count, "", DATA, "Reads only this many records; of eval-data all"),
    key(
        "data.split",
        "split",
        Choice(&["auto", "train", "validation", "test", "all"]),
        "auto",
        DATA,
        "The part to read where files or records name parts; auto: train, and all of eval-data",
    ),
    key("objective.name", "objective", Choice(OBJECTIVES), "dpo", TRAIN, "The loss"),
    key("objective.beta", "beta", Number, "0.1", TRAIN | SCORE, "The strength of the pull to the reference"),
    key("objective.gamma", "gamma", Number, "0.5", TRAIN, "simpo: the target margin over beta"),
    key(
        "objective.label_smoothing",
        "label-smoothing",
        Number,
        "0.1",
        TRAIN,
        "cdpo, robust, exo: the share of labels taken to be wrong",
    ),
    key(
        "objective.per_token",
        "per-token",
        Switch,
        "false",
        TRAIN,
        "ipo: log-ratios are means over the tokens (as TRL), not sums",
    ),
    key("objective.alpha", "alpha", Number, "0.5", TRAIN, "tdpo: the weight of the divergence"),
    key("objective.bias", "bias", Number, "0.5", TRAIN, "cpl: the weight of the worse side"),
    key("objective.desirable_weight", "desirable-weight", Number, "1", TRAIN, "kto: the weight of liked answers"),
    key(
        "objective.undesirable_weight",
        "undesirable-weight",
        Number,
        "1",
        TRAIN,
        "kto: the weight of disliked answers",
    ),
    key(
        "objective.sft_weight",
        "sft-weight",
        Number,
        "0",
        TRAIN,
        "Adds this much of the chosen answer's negative log-likelihood to a pairwise loss",
    ),
    key("optimizer.name", "optimizer", Choice(&["rmsprop", "adamw", "sgd"]), "rmsprop", TRAIN, "The optimiser"),
    key("optimizer.lr", "lr", Number, "5e-7", TRAIN, "The top learning rate"),
    key("optimizer.weight_decay", "weight-decay", Number, "0", TRAIN, "adamw: decoupled weight decay"),
    key("optimizer.momentum", "momentum", Number, "0", TRAIN, "sgd: momentum"),
    key("optimizer.warmup_steps", "warmup-steps", Count, "150", TRAIN, "Steps until the top learning rate"),
    key(
        "optimizer.schedule",
        "schedule",
        Choice(&["constant", "linear", "cosine"]),
        "constant",
        TRAIN,
        "The learning rate after the warm-up",
    ),
    key(
        "optimizer.max_grad_norm",
        "max-grad-norm",
        Number,
        "10",
        TRAIN,
        "Longer gradients are scaled down to this norm",
    ),
    key(
        "train.preset",
        "preset",
        Choice(&["tldr", "trl"]),
        "",
        TRAIN,
        "Defaults of a known run: the paper's TL;DR, TRL's DPOTrainer",
    ),
    key("train.batch_size", "batch-size", Count, "64", TRAIN, "Pairs per optimiser step"),
    key(
        "train.micro_batch_size",
        "micro-batch-size",
        Count,
        "4",
        TRAIN | SCORE,
        "Pairs computed at once; changes memory, not the result",
    ),
    key("train.epochs", "epochs", Count, "1", TRAIN, "Passes over the data"),
    key("train.max_steps", "max-steps", Count, "", TRAIN, "Stops after this many steps"),
    key(
        "train.eval_every",
        "eval-every",
        Count,
        "0",
        TRAIN,
        "Evaluates after every so many steps; 0: at the start and the end",
    ),
    key(
        "train.eval_examples",
        "eval-examples",
        Count,
        "256",
        TRAIN,
        "Held-out examples an evaluation looks at; 0: none",
    ),
    key("train.n_samples", "n-samples", Count, "8", TRAIN, "Answers sampled at an evaluation"),
    key(
        "train.save_every",
        "save-every",
        Count,
        "0",
        TRAIN,
        "Saves a checkpoint after every so many steps; 0: at the end",
    ),
    key("train.keep_checkpoints", "keep-checkpoints", Count, "2", TRAIN, "Newest checkpoints to keep; 0: all"),
    key(
        "train.reference_cache",
        "reference-cache",
        Text,
        "",
        TRAIN,
        "A file the reference's numbers are read from where it exists and fits, else written to",
    ),
    key(
        "sample.prompts",
        "prompts",
        Text,
        "",
        SAMPLE,
        "Prompts: .txt (one a line), .jsonl with `prompt`, or builtin:tldr",
    ),
    key("sample.n", "n", Count, "1", SAMPLE, "Answers to each prompt"),
    key("sample.temperature", "temperature", Number, "1", SAMPLE, "0 takes the likeliest token"),
    key("sample.top_k", "top-k", Count, "", SAMPLE, "Draws from the k likeliest tokens only"),
    key(
        "sample.top_p",
        "top-p",
        Number,
        "",
        SAMPLE,
        "Draws from the fewest tokens that have this probability together",
    ),
    key("sample.limit", "limit-prompts", Count, "", SAMPLE, "Reads only this many prompts"),
];

/// The setting at `section.name`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_flags_are_named_once() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(KEYS[i + 1..].iter().all(|k| k.path != key.path), "{}", key.path);
            assert!(KEYS[i + 1..].iter().all(|k| k.flag != key.flag), "{}", key.flag);
            assert_eq!(key.path.split('.').count(), 2, "{}", key.path);
        }
    }
}

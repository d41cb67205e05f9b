//! The table at the end of a run.
use std::fmt::Write as _;

use mdp::chance::derived_seed;
use models::causal::{CausalLm, GenerationConfig};
use models::formats::ModelTokenizer;
use train::{Evaluated, RunSummary};

use crate::Failure;
use crate::embedded::{EmbeddedProblem, WinRate};
use crate::objective::{PREFERENCE_PART, SFT_PART};

/// The oracle win rate: compares one sample of each model for each of `n` test prompts, if the problem's oracle judges texts.
pub(crate) fn oracle_win_rate(
    problem: &EmbeddedProblem,
    policy: &CausalLm,
    reference: &CausalLm,
    tokenizer: &ModelTokenizer,
    (seed, n): (u64, u64),
) -> Result<Option<WinRate>, Failure> {
    let Some(oracle) = problem.oracle.texts() else { return Ok(None) };
    let requests = WinRate::prompts(problem, seed, n);
    let prompts = requests.iter().map(|request| tokenizer.encode(request)).collect::<Result<Vec<_>, _>>()?;
    let sampling = GenerationConfig { eos: tokenizer.eos.clone(), max_new: 96, ..GenerationConfig::default() };
    let most = policy.config().max_positions;
    let draw = |model: &CausalLm, seed| crate::sampling::draw(model, tokenizer, &prompts, &sampling, most, seed);
    // The reference's own random stream, distinct from the policy's under any seed.
    let (ours, theirs) = (draw(policy, seed)?, draw(reference, derived_seed(seed, "reference's samples", 0))?);
    let answers = requests.iter().zip(&ours).zip(&theirs);
    let answers = answers.map(|((request, a), b)| (request.as_str(), a.response.as_str(), b.response.as_str()));
    WinRate::of(oracle, &answers).map(Some)
}

/// The metrics in a run's table, with their labels.
const SHOWN: [(&str, &str); 10] = [
    ("loss", "loss"),
    ("its preference part", PREFERENCE_PART),
    ("its SFT part", SFT_PART),
    ("reward accuracy", "rewards/accuracies"),
    ("reward margin", "rewards/margins"),
    ("chosen reward", "rewards/chosen"),
    ("rejected reward", "rewards/rejected"),
    ("KL(reference, policy) per token", "divergence"),
    ("entropy per token", "entropy"),
    ("win rate over the start, judged", "win_rate"),
];

/// Whether no comparison has a better side, as before the first step: an accuracy of 0 would say something else.
fn is_all_tied(evaluated: &Evaluated) -> bool {
    let n = evaluated.implicit_rewards.iter().filter(|rewards| rewards.accuracy.is_some()).count();
    n > 0 && evaluated.ties == n
}

/// Formats the metrics of a run before and after training.
pub(crate) fn table(outcome: &RunSummary, win_rate: Option<&WinRate>, unit: &str) -> String {
    let mut text = String::new();
    let value = |evaluated: &Option<Evaluated>, name: &str| {
        let value = evaluated.as_ref().and_then(|e| e.metrics.get(name));
        let is_tie = name == "rewards/accuracies" && evaluated.as_ref().is_some_and(is_all_tied);
        let text = |value: &f64| format!("{value:.4}").replace("-0.0000", "0.0000");
        if is_tie { "all tied".to_owned() } else { value.map_or_else(|| "-".to_owned(), text) }
    };
    if outcome.first.is_some() || outcome.last.is_some() {
        let _ = writeln!(text, "{:<32}{:>12}{:>12}", "held out", "before", "after");
    }
    for (label, name) in SHOWN {
        let (before, after) = (value(&outcome.first, name), value(&outcome.last, name));
        if before != "-" || after != "-" {
            let _ = writeln!(text, "{label:<32}{before:>12}{after:>12}");
        }
    }
    if let Some((low, high)) = outcome.last.as_ref().and_then(|last| last.accuracy_interval) {
        let n = outcome.last.as_ref().map_or(0, |last| last.examples);
        let _ = writeln!(text, "{:<32}{low:>12.3} to {high:.3} ({n} examples)", "accuracy, 95% interval");
    }
    if let Some(win) = win_rate {
        let _ = writeln!(text, "{win}");
    }
    if outcome.examples_per_second > 0.0 {
        let (pairs, units) = (outcome.examples_per_second, outcome.size_per_second);
        let _ = writeln!(text, "{:<32}{pairs:>12.1} pairs/s, {units:.0} {unit}/s", "speed");
    }
    if let Some(mb) = peak_memory() {
        let _ = writeln!(text, "{:<32}{mb:>12.0} MB", "peak memory");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The peak memory of the process in MB, if the system reports it.
pub(crate) fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}

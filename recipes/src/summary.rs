//! The table at the end of a run.
use std::fmt::Write as _;

use mdp::chance::derived_seed;
use models::causal::{CausalLm, GenerationConfig};
use models::formats::ModelTokenizer;
use train::{Evaluated, Record, RunSummary};

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

/// A metric as the table has it: `-` where there is none, and no accuracy where all comparisons are ties.
fn shown(name: &str, value: Option<f64>, is_all_tied: bool) -> String {
    match value {
        None => "-".to_owned(),
        Some(_) if is_all_tied && name == "rewards/accuracies" => "all tied".to_owned(),
        Some(value) => format!("{value:.4}").replace("-0.0000", "0.0000"),
    }
}

/// Formats the metrics of a run before and after training.
pub(crate) fn table(outcome: &RunSummary, win_rate: Option<&WinRate>, unit: &str) -> String {
    let mut text = String::new();
    let (first, last) = (outcome.first.as_ref(), outcome.last.as_ref());
    let before = |name: &str| first.and_then(|first| first.value(name));
    let after = |name: &str| last.and_then(|last| last.metric(name));
    if first.is_some() || last.is_some() {
        let _ = writeln!(text, "{:<32}{:>12}{:>12}", "held out", "before", "after");
    }
    for (label, name) in SHOWN {
        let before = shown(name, before(name), first.is_some_and(Record::is_all_tied));
        let after = shown(name, after(name), last.is_some_and(Evaluated::is_all_tied));
        if before != "-" || after != "-" {
            let _ = writeln!(text, "{label:<32}{before:>12}{after:>12}");
        }
    }
    if let Some(((low, high), last)) = last.and_then(|last| Some((last.accuracy_interval?, last)))
        && !last.is_all_tied()
    {
        let n = last.examples;
        let _ = writeln!(text, "{:<32}{low:>12.3} to {high:.3} ({n} examples)", "accuracy, 95% interval");
    }
    if let Some((low, high)) = after("win_rate/low").zip(after("win_rate/high")) {
        let _ = writeln!(text, "{:<32}{low:>12.3} to {high:.3}", "win rate, 95% interval");
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

#[cfg(test)]
mod tests {
    use train::Ending;

    use super::*;

    #[test]
    fn a_table_has_what_was_before_and_calls_ties_so() {
        let values = [("loss", 0.625), ("rewards/accuracies", 0.0), ("rewards/margins", 0.0)];
        let values = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let first = Record { split: "eval", step: 0, examples: 0, values };
        let metrics = [
            ("loss", 0.5),
            ("rewards/accuracies", 0.75),
            ("rewards/margins", 0.2),
            ("win_rate", 0.6),
            ("win_rate/low", 0.4),
            ("win_rate/high", 0.8),
        ];
        let last = Evaluated { examples: 8, metrics: metrics.into(), ..Evaluated::default() };
        let outcome = RunSummary {
            ending: Ending::Done,
            steps: 4,
            best: None,
            first: Some(first),
            last: Some(Evaluated { accuracy_interval: Some((0.4, 0.9)), ..last }),
            examples_per_second: 0.0,
            size_per_second: 0.0,
        };
        let table = table(&outcome, None, "tokens");
        let row = |label: &str| table.lines().find(|line| line.starts_with(label)).unwrap_or_default().to_owned();
        assert_eq!(row("loss").split_whitespace().collect::<Vec<_>>(), ["loss", "0.6250", "0.5000"]);
        assert!(row("reward accuracy").ends_with("    all tied      0.7500"), "{table}");
        assert!(row("accuracy, 95%").ends_with("0.400 to 0.900 (8 examples)"), "{table}");
        assert!(row("win rate, 95%").ends_with("0.400 to 0.800"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() < 80), "{table}");
    }
}

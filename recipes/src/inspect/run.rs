//! A run as tables: its settings, and its metrics before and after.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use train::is_all_tied;

use super::Description;
use crate::Failure;
use crate::settings::{Loss, Modality, Values};

/// The first and the last line of metrics of a split.
type Ends = (Value, Value);

pub(super) fn inspect(path: &Path) -> Result<Description, Failure> {
    let folder = crate::trained::open_run(path)?;
    let checkpoints = folder.checkpoints()?;
    let metrics = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    let mut splits: BTreeMap<String, Ends> = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let Some(split) = line["split"].as_str() {
            splits.entry(split.to_owned()).and_modify(|ends| ends.1 = line.clone()).or_insert((line.clone(), line));
        }
    }
    let mut values = Values::default();
    values.merge_file(&folder.join("config.toml"))?;
    let names = [values.model.model(), values.hybrid.refiner(), values.hybrid.generator()];
    let model: Vec<&str> = names.into_iter().flatten().collect();
    let steps = splits.get("train").and_then(|(_, last)| last["step"].as_u64()).unwrap_or_default();
    let data = match values.data.sources() {
        [] => values.data.latents().unwrap_or("-").to_owned(),
        sources => sources.join(", "),
    };
    let optimizer = &values.optimizer;
    let rows = [
        ("problem", values.run.mdp().name().to_owned()),
        ("objective", objective(&values)),
        ("model", model.join(" and ")),
        ("data", data),
        ("optimiser", format!("{}, learning rate {}", optimizer.name(), optimizer.lr())),
        ("steps", format!("{steps}, of {} examples", values.train.batch_size())),
        ("finished", if crate::report::is_finished(path)? { "yes" } else { "no" }.to_owned()),
        ("checkpoints", format!("{checkpoints:?}")),
    ];
    let shown = [("eval", "held out"), ("train", "training")];
    let tables = shown.iter().filter_map(|(split, title)| Some(table(title, splits.get(*split)?))).collect();
    Ok(Description { tables, ..Description::with_rows(format!("run {}", path.display()), rows) })
}

/// The loss, with its beta where it has one.
fn objective(values: &Values) -> String {
    // In a hybrid it weighs the refiner's decisions also where they are imitated.
    let (name, is_hybrid) = (values.objective.name(), values.run.mdp() == Modality::Hybrid);
    if name == Loss::Sft && !is_hybrid {
        return name.to_string();
    }
    format!("{name}, beta {}", values.objective.beta())
}

/// The metrics of the first and of the last line.
fn table(title: &str, (first, last): &Ends) -> String {
    let step = |line: &Value| format!("step {}", line["step"].as_u64().unwrap_or_default());
    let mut text = format!("  {title:<36}{:>14}{:>14}", step(first), step(last));
    let names: BTreeSet<&String> =
        [first, last].into_iter().filter_map(Value::as_object).flat_map(|line| line.keys()).collect();
    for name in names.into_iter().filter(|name| !matches!(name.as_str(), "step" | "split")) {
        let shown = |line: &Value| match line[name].as_f64() {
            None => "-".to_owned(),
            Some(_) if is_tied(line, name) => "all tied".to_owned(),
            Some(value) => number(value),
        };
        let _ = write!(text, "\n  {name:<36}{:>14}{:>14}", shown(first), shown(last));
    }
    text
}

/// Whether a metric is the accuracy of comparisons that all are ties, as before the first step.
fn is_tied(line: &Value, name: &str) -> bool {
    let is_accuracy = matches!(name, "rewards/accuracies" | "implicit_accuracy") || name.starts_with("accuracies/");
    is_accuracy && is_all_tied(|name| line[name].as_f64())
}

/// Five significant digits or so, in at most twelve characters.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == value.trunc() && size < 1e9 {
        format!("{value:.0}")
    } else if (1e-3..1e6).contains(&size) {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_no_accuracy_and_imitation_has_no_beta() {
        let line = |step: u64, accuracy: f64, margin: f64| serde_json::json!({"split": "eval", "step": step, "rewards/accuracies": accuracy, "rewards/margins": margin});
        let table = table("held out", &(line(0, 0.0, 0.0), line(8, 0.75, 0.5)));
        let row = table.lines().find(|line| line.contains("accuracies")).unwrap();
        assert!(row.ends_with("      all tied        0.7500"), "{table}");
        let mut values = Values::default();
        assert_eq!(objective(&values), "dpo, beta 0.1");
        values.merge_set("objective.name=sft").unwrap();
        assert_eq!(objective(&values), "sft");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([64.0, 0.123_456, 5e-7, -0.25, 0.0].map(number), ["64", "0.1235", "5.000e-7", "-0.2500", "0"]);
    }
}

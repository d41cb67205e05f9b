//! A run as tables: its settings, and its metrics before and after.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::Description;
use crate::Failure;
use crate::settings::Values;

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
        ("objective", format!("{}, beta {}", values.objective.name(), values.objective.beta())),
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

/// The metrics of the first and of the last line.
fn table(title: &str, (first, last): &Ends) -> String {
    let step = |line: &Value| format!("step {}", line["step"].as_u64().unwrap_or_default());
    let mut text = format!("  {title:<36}{:>14}{:>14}", step(first), step(last));
    let names: BTreeSet<&String> =
        [first, last].into_iter().filter_map(Value::as_object).flat_map(|line| line.keys()).collect();
    for name in names.into_iter().filter(|name| !matches!(name.as_str(), "step" | "split")) {
        let shown = |line: &Value| line[name].as_f64().map_or_else(|| "-".to_owned(), number);
        let _ = write!(text, "\n  {name:<36}{:>14}{:>14}", shown(first), shown(last));
    }
    text
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
    fn numbers_are_short() {
        assert_eq!([64.0, 0.123_456, 5e-7, -0.25, 0.0].map(number), ["64", "0.1235", "5.000e-7", "-0.2500", "0"]);
    }
}

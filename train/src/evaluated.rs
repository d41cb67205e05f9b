use std::collections::BTreeMap;

use objectives::ImplicitRewards;
use serde_json::{Map, Value, json};

use crate::Measures;
use crate::metrics::is_all_tied;
use crate::statistics::wilson;

/// The result of an evaluation on held-out data.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// Number of examples evaluated.
    pub examples: usize,
    /// `loss` and the objective's metrics, means over the feedback; `divergence` and `entropy` per decision if
    /// diagnosed.
    pub metrics: BTreeMap<&'static str, f64>,
    /// The problem's own metrics.
    pub measures: Measures,
    /// The 95% interval of `rewards/accuracies`, if the objective reports it.
    pub accuracy_interval: Option<(f64, f64)>,
    /// Number of comparisons whose sides have the same reward, as all have before the first step; accuracy counts them
    /// as wrong.
    pub ties: usize,
    /// The implicit rewards of every example, if the objective has them.
    pub implicit_rewards: Vec<ImplicitRewards>,
    /// beta times the weighted log-ratio of every decision of the better episodes.
    pub chosen_rewards: Vec<f64>,
    /// The same for the worse episodes.
    pub rejected_rewards: Vec<f64>,
}

impl Evaluated {
    /// A metric by name, such as `rewards/accuracies`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied()
    }

    /// Whether no comparison has a better side, as before the first step: an accuracy of 0 would say something else.
    pub fn is_all_tied(&self) -> bool {
        let n = self.implicit_rewards.iter().filter(|rewards| rewards.accuracy.is_some()).count();
        (self.ties > 0 && self.ties == n) || is_all_tied(|name| self.metric(name))
    }

    /// The reward accuracy with its 95% interval, for people: comparisons without a difference are called ties, not errors.
    /// `-` if the objective has no accuracy.
    pub fn accuracy_text(&self) -> String {
        let n = self.implicit_rewards.iter().filter(|rewards| rewards.accuracy.is_some()).count();
        let (Some(accuracy), Some((low, high))) = (self.metric("rewards/accuracies"), self.accuracy_interval) else {
            return "-".to_owned();
        };
        if self.is_all_tied() {
            return format!("all {n} tied");
        }
        let ties = if self.ties > 0 { format!(", {} tied", self.ties) } else { String::new() };
        format!("{accuracy:.3} ({low:.3} to {high:.3}{ties})")
    }

    /// What a line of metrics has no room for, as a line of `report/evaluations.jsonl`: the 95% intervals of shares, and
    /// histograms of rewards per example and per `decision`.
    pub(crate) fn details(&self, step: usize, decision: &str) -> Value {
        let mut intervals = Map::new();
        if let Some((low, high)) = self.accuracy_interval {
            intervals.insert("rewards/accuracies".into(), json!([low, high]));
        }
        let is_accuracy = |name: &str| name == "implicit_accuracy" || name.starts_with("accuracies/");
        for (name, right, n) in self.measures.totals().filter(|(name, _, _)| is_accuracy(name)) {
            let (low, high) = wilson(right, n);
            intervals.insert(name.to_owned(), json!([low, high]));
        }
        let of = |side: fn(&ImplicitRewards) -> Option<f64>| self.implicit_rewards.iter().filter_map(side).collect();
        let margin = |rewards: &ImplicitRewards| Some(rewards.chosen? - rewards.rejected?);
        let (chosen, rejected): (Vec<f64>, Vec<f64>) = (of(|rewards| rewards.chosen), of(|rewards| rewards.rejected));
        let mut histograms = Map::new();
        for (kind, sides) in [
            ("per_example", &[("chosen", &chosen), ("rejected", &rejected)][..]),
            ("margin_per_example", &[("margin", &of(margin))]),
            (&format!("per_{decision}"), &[("chosen", &self.chosen_rewards), ("rejected", &self.rejected_rewards)]),
        ] {
            // Both sides have the same bins, so that they can be laid over each other.
            let Some((low, high)) = extremes(sides.iter().flat_map(|(_, values)| values.iter().copied())) else {
                continue;
            };
            for (side, values) in sides.iter().filter(|(_, values)| !values.is_empty()) {
                let histogram = json!({ "low": low, "high": high, "counts": counts(values, (low, high)) });
                histograms.insert(format!("rewards/{kind}/{side}"), histogram);
            }
        }
        json!({ "split": "eval", "step": step, "examples": self.examples, "ties": self.ties,
                "intervals": intervals, "histograms": histograms })
    }
}

/// The extremes of numbers; `None` unless there are different finite ones.
fn extremes(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    (high > low && (high - low).is_finite()).then_some((low, high))
}

/// Counts numbers in equal bins of a range.
fn counts(values: &[f64], (low, high): (f64, f64)) -> Vec<usize> {
    const BINS: usize = 30;
    let mut counts = vec![0; BINS];
    for value in values {
        let place = (value - low) / (high - low) * BINS as f64;
        counts[(place as usize).min(BINS - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_have_intervals_and_histograms() {
        let mut evaluated = Evaluated { examples: 10, accuracy_interval: Some((0.25, 0.75)), ..Evaluated::default() };
        (0..10).for_each(|i| evaluated.measures.add("implicit_accuracy", if i < 8 { 1.0 } else { 0.0 }));
        evaluated.measures.add("length/refiner", 3.0);
        evaluated.implicit_rewards = vec![ImplicitRewards::of_pair(1.0, -1.0), ImplicitRewards::of_pair(2.0, 0.5)];
        evaluated.chosen_rewards = vec![0.0, 0.1, 3.0];
        let details = evaluated.details(7, "token");
        assert_eq!(
            (&details["split"], &details["step"], &details["examples"]),
            (&json!("eval"), &json!(7), &json!(10))
        );
        assert_eq!(details["intervals"]["rewards/accuracies"], json!([0.25, 0.75]));
        assert!((details["intervals"]["implicit_accuracy"][0].as_f64().unwrap() - 0.490_16).abs() < 1e-4);
        assert!(details["intervals"]["length/refiner"].is_null());
        let histogram = &details["histograms"]["rewards/per_token/chosen"];
        let counts: Vec<u64> = histogram["counts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!((counts[0], counts[1], counts[29], counts.iter().sum::<u64>()), (1, 1, 1, 3));
        let margins = &details["histograms"]["rewards/margin_per_example/margin"];
        assert_eq!((&margins["low"], &margins["high"]), (&json!(1.5), &json!(2.0)));
        // Equal numbers have no bins.
        evaluated.chosen_rewards = vec![0.5; 3];
        assert!(evaluated.details(7, "token")["histograms"]["rewards/per_token/chosen"].is_null());
    }
}

//! Histograms of rewards at the first and at the last evaluation.
use std::collections::BTreeSet;

use crate::curves::Curve;
use crate::plot::{Chart, Series};
use crate::run::{Evaluation, Histogram, Run};

/// A plot for each kind of reward and each run: chosen and rejected after training.
pub(super) fn plots(runs: &[Run]) -> Vec<Curve> {
    runs.iter().flat_map(of_run).collect()
}

fn of_run(run: &Run) -> Vec<Curve> {
    let Some(last) = run.evaluations.last() else { return Vec::new() };
    // `rewards/per_token/chosen` and `rewards/per_token/rejected` are one plot.
    let kinds: BTreeSet<&str> =
        last.histograms.keys().map(|name| name.rsplit_once('/').map_or(name.as_str(), |(kind, _)| kind)).collect();
    kinds.into_iter().map(|kind| plot(run, last, kind)).collect()
}

fn plot(run: &Run, last: &Evaluation, kind: &str) -> Curve {
    let unit = kind.rsplit('/').next().unwrap_or(kind).replace('_', " ");
    let title = match unit.strip_prefix("margin ") {
        Some(unit) => format!("Margins {unit}, {}", run.name()),
        None => format!("Rewards {unit}, {}", run.name()),
    };
    let mut chart = Chart::new(title, "implicit reward", "share");
    for (name, histogram) in &last.histograms {
        if let Some(side) = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')) {
            let colour = usize::from(side == "rejected");
            chart = chart.with(Series::line(side, outline(histogram)).with_colour(colour));
        }
    }
    let caption = format!("Of {} held-out examples after step {}.", last.examples, last.step);
    Curve { chart, caption }
}

/// The outline of a histogram, in shares of all.
fn outline(histogram: &Histogram) -> Vec<(f64, f64)> {
    let Histogram { low, high, counts } = histogram;
    let total = counts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let width = (high - low) / counts.len() as f64;
    let mut points = vec![(*low, 0.0)];
    for (at, count) in counts.iter().enumerate() {
        let left = low + at as f64 * width;
        points.extend([(left, count / total), (left + width, count / total)]);
    }
    points.push((*high, 0.0));
    points
}

//! Curves of a run's metrics, or of several runs' in the same plots.
mod catalogue;
mod smooth;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use self::catalogue::{PLOTS, Plot, PlotKind};
use self::smooth::smooth;
use crate::plot::{Chart, Point, Series};
use crate::run::{RecordKind, Records, ReferenceRun, Run};

/// A plot and the words below it.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) chart: Chart,
    pub(crate) caption: String,
}

/// The plots of all metrics of the runs, those of a reference run behind them.
pub(crate) fn curves(runs: &[Run], reference: Option<&ReferenceRun>) -> Vec<Curve> {
    let names: BTreeSet<&str> = runs.iter().flat_map(|run| run.records.names()).collect();
    let mut curves = Vec::new();
    for plot in PLOTS {
        let own: Vec<(String, &str)> =
            names.iter().filter_map(|name| Some((catalogue::label(plot, name)?, *name))).collect();
        match runs {
            // A run alone has all series of a plot in it; runs beside each other have one each.
            [run] => curves.extend(of_run(plot, &own, run, reference)),
            _ => curves.extend(own.iter().filter_map(|one| of_runs(plot, one, runs, reference))),
        }
    }
    let is_other =
        |name: &&&str| !catalogue::is_cost(name) && PLOTS.iter().all(|plot| catalogue::label(plot, name).is_none());
    for name in names.iter().filter(is_other) {
        let plot = Plot { title: "", axis: "", about: "", kind: PlotKind::Plain, series: &[] };
        curves.extend(of_runs(&plot, &((*name).to_owned(), name), runs, reference));
    }
    curves
}

/// The speed of the runs.
pub(crate) fn speeds(runs: &[Run]) -> Vec<Curve> {
    let names: BTreeSet<&str> = runs.iter().flat_map(|run| run.records.names()).collect();
    let plot = Plot {
        title: "Speed",
        axis: "",
        about: "Of steps alone, without evaluations.",
        kind: PlotKind::Plain,
        series: &[],
    };
    let rates = names.iter().filter_map(|name| Some((name.strip_suffix("_per_second")?, *name)));
    rates.filter_map(|(unit, name)| of_runs(&plot, &(format!("{unit} per second"), name), runs, None)).collect()
}

/// A plot of one run: each metric in its colour, or training and evaluation in theirs where there is but one metric.
fn of_run(plot: &Plot, own: &[(String, &str)], run: &Run, reference: Option<&ReferenceRun>) -> Option<Curve> {
    let mut drawing = Drawing::new(chart(plot, None), true);
    for (at, (label, name)) in own.iter().enumerate() {
        drawing.behind(reference, name, label);
        for split in RecordKind::ALL {
            let colour = if own.len() == 1 { split as usize } else { at };
            drawing.add(run, split, name, &spaced(label, split.name()), colour);
        }
    }
    drawing.finish(plot)
}

/// A plot of one metric of all runs, each in its colour.
fn of_runs(
    plot: &Plot,
    (label, name): &(String, &str),
    runs: &[Run],
    reference: Option<&ReferenceRun>,
) -> Option<Curve> {
    let mut drawing = Drawing::new(chart(plot, Some(label)), runs.len() < 3);
    drawing.behind(reference, name, "");
    for (at, run) in runs.iter().enumerate() {
        for split in RecordKind::ALL {
            let (whose, colour) = if runs.len() == 1 { ("", split as usize) } else { (run.name.as_str(), at) };
            drawing.add(run, split, name, &spaced(whose, split.name()), colour);
        }
    }
    drawing.finish(plot)
}

fn spaced(first: &str, second: &str) -> String {
    format!("{first} {second}").trim().to_owned()
}

fn chart(plot: &Plot, label: Option<&str>) -> Chart {
    let title = match (plot.title, label.unwrap_or_default()) {
        ("", label) => label.to_owned(),
        (title, "") => title.to_owned(),
        (title, label) => format!("{title}: {label}"),
    };
    let chart = Chart::new(title, "step", plot.axis);
    match plot.kind {
        PlotKind::Accuracy => chart.y_range(0.0, 1.0).level("chance", 0.5),
        PlotKind::Share => chart.y_range(0.0, 1.0),
        PlotKind::Plain | PlotKind::Norm => chart,
    }
}

/// A plot in the making.
struct Drawing {
    chart: Chart,
    series: Vec<Series>,
    /// The most numbers that a point is the mean of.
    each: usize,
    /// Whether training curves have bands: those of many runs would hide each other.
    has_bands: bool,
    has_intervals: bool,
    is_positive: bool,
}

impl Drawing {
    fn new(chart: Chart, has_bands: bool) -> Self {
        Self { chart, series: Vec::new(), each: 1, has_bands, has_intervals: false, is_positive: true }
    }

    /// Adds a run's numbers of a metric, if it has any.
    fn add(&mut self, run: &Run, split: RecordKind, name: &str, label: &str, colour: usize) {
        let points = numbers(&run.records, split, name);
        if points.iter().all(|(_, y)| !y.is_finite()) {
            return;
        }
        self.is_positive &= points.iter().all(|(_, y)| !y.is_finite() || *y > 0.0);
        let series = match split {
            RecordKind::Train => {
                let (mut points, each) = smooth(&points);
                self.each = self.each.max(each);
                if !self.has_bands {
                    for point in &mut points {
                        point.interval = None;
                    }
                }
                Series::line(label, points)
            }
            RecordKind::Eval => {
                let within = |(step, y): (f64, f64)| match interval(run, name, step) {
                    Some((low, high)) => Point::within(step, y, low, high),
                    None => Point::new(step, y),
                };
                let points: Vec<Point> = points.into_iter().map(within).collect();
                self.has_intervals |= points.iter().any(|point| point.interval.is_some());
                Series::line_and_points(label, points)
            }
        };
        self.series.push(series.with_colour(colour));
    }

    /// Adds the reference run's numbers: those of its evaluations where it has them.
    fn behind(&mut self, reference: Option<&ReferenceRun>, name: &str, label: &str) {
        let Some(reference) = reference else { return };
        let held_out = numbers(&reference.records, RecordKind::Eval, name);
        let (points, split) = match held_out.len() {
            0 => {
                let (points, _) = smooth(&numbers(&reference.records, RecordKind::Train, name));
                (points.into_iter().map(|point| (point.x, point.y)).collect(), RecordKind::Train)
            }
            _ => (held_out, RecordKind::Eval),
        };
        let finite = points.iter().filter(|(_, y)| y.is_finite());
        if finite.clone().count() > 0 {
            self.is_positive &= finite.clone().all(|(_, y)| *y > 0.0);
            let label = format!("{}, {}", reference.name, spaced(label, split.name()));
            self.series.push(Series::line(label, points).as_backdrop());
        }
    }

    /// The plot, unless only the reference run has numbers for it.
    fn finish(self, plot: &Plot) -> Option<Curve> {
        if self.series.iter().all(Series::is_backdrop) {
            return None;
        }
        let mut caption = plot.about.to_owned();
        if self.each > 1 {
            let band = if self.has_bands { ", with the middle 80% of them" } else { "" };
            let _ = write!(caption, " Training: means of {} steps{band}.", self.each);
        }
        if self.has_intervals {
            caption += " Whiskers: 95% intervals.";
        }
        let chart = self.series.into_iter().fold(self.chart, Chart::with);
        let chart = if plot.kind == PlotKind::Norm && self.is_positive { chart.log_y() } else { chart };
        Some(Curve { chart, caption: caption.trim().to_owned() })
    }
}

/// A metric's numbers by step. An accuracy where all comparisons are ties, as before training, is left out.
fn numbers(records: &Records, split: RecordKind, name: &str) -> Vec<(f64, f64)> {
    let of_no_tie = records.of(split).filter(|record| !record.is_tied(name));
    of_no_tie.filter_map(|record| Some((record.step as f64, record.value(name)?))).collect()
}

/// The interval of an evaluation's number, where the run has recorded one.
fn interval(run: &Run, name: &str, step: f64) -> Option<(f64, f64)> {
    let evaluation = run.evaluations.iter().find(|evaluation| evaluation.step as f64 == step)?;
    evaluation.intervals.get(name).copied()
}

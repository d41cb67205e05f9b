//! The page of a run, or of several runs beside each other.
mod histograms;
mod overview;
mod samples;
mod settings;

use crate::Error;
use crate::curves::{self, Curve};
use crate::heat;
use crate::page::{Figure, Page, Section};
use crate::run::{ReferenceRun, Run, RunEnding};

/// What the page adds to the common style.
const STYLE: &str = include_str!("report.css");
/// The filter by prompt, and pictures that open large.
const SCRIPT: &str = include_str!("report.js");

/// A report: a page, and its plots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The page, an HTML file that needs no other.
    pub html: String,
    /// The plots as SVG files, by names that go into a folder: `loss.svg`.
    pub plots: Vec<(String, String)>,
}

/// Writes the report of runs, with the curves of a reference run behind theirs.
///
/// # Errors
/// A plot can't be drawn.
pub fn compare(runs: &[Run], reference: Option<&ReferenceRun>) -> Result<Report, Error> {
    let curves = curves::curves(runs, reference);
    let speeds = curves::speeds(runs);
    let histograms = histograms::plots(runs);
    let mut plots: Vec<(String, String)> = Vec::new();
    for Curve { chart, .. } in curves.iter().chain(&speeds).chain(&histograms) {
        let name = file_name(chart.title());
        let is_taken = |name: &String| plots.iter().any(|(taken, _)| taken == name);
        let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
        let name = names.map(|name| format!("{name}.svg")).find(|name| !is_taken(name)).unwrap_or_default();
        plots.push((name, chart.to_svg()?));
    }
    let figures = |curves: Vec<Curve>| -> Result<Vec<Figure>, Error> {
        curves.into_iter().map(|curve| Ok(Figure::chart(&curve.chart)?.caption(curve.caption))).collect()
    };
    let mut page = Page::new(title(runs)).style(heat::STYLE).style(STYLE).script(SCRIPT);
    for run in runs {
        page = notices(page, run);
    }
    let page = page
        .section(overview::results(runs))
        .section(Section::new("Curves").figures(figures(curves)?))
        .section(Section::new("Rewards on held-out data").figures(figures(histograms)?))
        .section(samples::heat_maps(runs))
        .section(samples::texts(runs))
        .section(samples::pictures(runs))
        .section(overview::costs(runs).figures(figures(speeds)?))
        .section(settings::section(runs));
    Ok(Report { html: page.to_html(), plots })
}

fn title(runs: &[Run]) -> String {
    match runs {
        [run] => format!("Run {}", run.name),
        _ => format!("{} runs", runs.len()),
    }
}

/// What is unusual about a run.
fn notices(page: Page, run: &Run) -> Page {
    let Run { name, records, .. } = run;
    let mut page = page;
    if let RunEnding::Unfinished { checkpoint } = run.ending {
        let step = records
            .last_step()
            .map_or("it has no record yet".to_owned(), |step| format!("its last record is of step {step}"));
        let checkpoint = checkpoint
            .map_or("it has no checkpoint".to_owned(), |step| format!("its newest checkpoint is of step {step}"));
        page = page.notice(&format!(
            "{name} is not finished: {step}, and {checkpoint}. It is in progress, or was stopped and can be resumed."
        ));
    }
    if records.is_cut {
        page = page.notice(&format!(
            "The last line of the metrics of {name} is cut off and left out: the run is writing it, or was killed."
        ));
    }
    page
}

/// A title as a file's name.
fn file_name(title: &str) -> String {
    let letters = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
    letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests;

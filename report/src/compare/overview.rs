//! Tables: what the runs have reached, and what it has cost.
use crate::page::{Cell, Html, Section, Table};
use crate::run::{Record, RecordKind, Run, RunEnding};

/// The metrics of the table of results.
const SHOWN: [(&str, &str); 8] = [
    ("loss", "loss"),
    ("reward accuracy", "rewards/accuracies"),
    ("implicit accuracy", "implicit_accuracy"),
    ("reward margin", "rewards/margins"),
    ("chosen reward", "rewards/chosen"),
    ("rejected reward", "rewards/rejected"),
    ("KL(reference, policy) per decision", "divergence"),
    ("entropy per decision", "entropy"),
];

/// Held-out metrics at the first and the last evaluation, and what each run said at its end.
pub(super) fn results(runs: &[Run]) -> Section {
    let mut head = vec!["held out".to_owned()];
    let mut ends: Vec<(&Run, &Record)> = Vec::new();
    for run in runs {
        let all: Vec<&Record> = run.records.of(RecordKind::Eval).collect();
        let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
        for record in if all.len() == 1 { vec![*first] } else { vec![*first, *last] } {
            let whose = if runs.len() == 1 { String::new() } else { format!("{}, ", run.name()) };
            head.push(format!("{whose}step {}", record.step));
            ends.push((run, record));
        }
    }
    let mut table = Table::new(head).caption("Held-out examples before and after training");
    for (label, name) in SHOWN {
        if ends.iter().any(|(_, record)| record.value(name).is_some()) {
            let cells = ends.iter().map(|(run, record)| Cell::number(value(run, record, name)));
            table = table.row(std::iter::once(Cell::text(label)).chain(cells));
        }
    }
    let mut section = Section::new("Results");
    if !table.is_empty() {
        section = section.table(&table);
    }
    for run in runs {
        if let Some(said) = run.table.as_deref().filter(|said| !said.is_empty()) {
            section = section
                .heading(&format!("{} at its end", run.name()))
                .html(Html::markup(format!("<pre tabindex=\"0\">{}</pre>", Html::text(said))));
        }
    }
    section
}

/// A number of a record, with its interval where there is one; ties are no accuracy of 0.
fn value(run: &Run, record: &Record, name: &str) -> String {
    let Some(value) = record.value(name) else { return "-".to_owned() };
    if record.is_tied(name) {
        return "all tied".to_owned();
    }
    let evaluation = run.evaluations.iter().find(|evaluation| evaluation.step == record.step);
    match evaluation.and_then(|evaluation| evaluation.intervals.get(name)) {
        Some((low, high)) => format!("{value:.3} ({low:.3} to {high:.3})"),
        None => format!("{value:.4}"),
    }
}

/// Steps, time, speed and memory.
pub(super) fn costs(runs: &[Run]) -> Section {
    let table =
        Table::new(["run", "state", "steps", "examples", "time of its steps", "examples per second", "peak memory"]);
    let table = table.caption("Costs: time is that of training steps alone, without evaluations and files");
    let table = runs.iter().fold(table, |table, run| table.row(cost(run)));
    Section::new("Costs").table(&table)
}

fn cost(run: &Run) -> [Cell; 7] {
    let last = run.records.of(RecordKind::Train).last();
    let (mut seconds, mut timed, mut before) = (0.0, 0, 0);
    for record in run.records.of(RecordKind::Train) {
        let examples = record.examples.saturating_sub(before);
        before = record.examples;
        if let Some(rate) = record.value("pairs_per_second").filter(|rate| rate.is_finite() && *rate > 0.0) {
            seconds += examples as f64 / rate;
            timed += examples;
        }
    }
    let state = match run.ending {
        RunEnding::Done => Cell::text("finished"),
        RunEnding::Unfinished { .. } => Cell::text("not finished").bad(),
    };
    let count = |count: Option<usize>| Cell::number(count.map_or("-".to_owned(), |count| count.to_string()));
    let known = |is: bool, text: String| Cell::number(if is { text } else { "-".to_owned() });
    [
        Cell::text(run.name()),
        state,
        count(last.map(|record| record.step)),
        count(last.map(|record| record.examples)),
        known(timed > 0, duration(seconds)),
        known(timed > 0, format!("{:.1}", timed as f64 / seconds)),
        known(run.peak_memory.is_some(), format!("{:.0} MB", run.peak_memory.unwrap_or_default())),
    ]
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

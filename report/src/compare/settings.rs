//! The settings of runs, and in what they differ.
use std::collections::BTreeSet;

use crate::page::{Cell, Html, Section, Table};
use crate::run::Run;

/// Settings that always differ.
const PLACES: [&str; 1] = ["run.out"];

pub(super) fn section(runs: &[Run]) -> Section {
    let paths: BTreeSet<&str> = runs.iter().flat_map(|run| run.settings.keys()).map(String::as_str).collect();
    let differ = |path: &&&str| runs.iter().any(|run| run.setting(path) != runs[0].setting(path));
    let mut section = Section::new("Settings");
    if runs.len() > 1 {
        let different: Vec<&str> = paths.iter().filter(differ).filter(|path| !PLACES.contains(path)).copied().collect();
        section = if different.is_empty() {
            section.text("The runs have the same settings.")
        } else {
            section.table(&table(runs, &different, "Settings in which the runs differ"))
        };
    }
    if paths.is_empty() {
        return section;
    }
    let all: Vec<&str> = paths.into_iter().collect();
    let all = table(runs, &all, "All settings").to_html();
    section.html(Html::markup(format!("<details open><summary>All settings</summary>{all}</details>")))
}

fn table(runs: &[Run], paths: &[&str], caption: &str) -> Table {
    let head = std::iter::once("setting".to_owned()).chain(runs.iter().map(|run| run.name().to_owned()));
    let table = Table::new(head).caption(caption);
    paths.iter().fold(table, |table, path| {
        let values = runs.iter().map(|run| match run.setting(path) {
            Some(value) => Cell::html(Html::element("code", "", Html::text(value))),
            None => Cell::text("-"),
        });
        table.row(std::iter::once(Cell::html(Html::element("code", "", Html::text(path)))).chain(values))
    })
}

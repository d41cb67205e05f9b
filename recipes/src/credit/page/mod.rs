//! Pages of heat maps: one file each, without a script or anything from elsewhere.
mod hybrid;
mod image;
mod picture;
mod text;

use std::path::Path;

use ::report::heat;
use ::report::page::{Cell, Page, Section, Table};

use super::{Credit, CreditSummary};
use crate::Failure;

/// The page of credit.
///
/// # Errors
/// A picture that can't be encoded.
pub(super) fn of(credit: &Credit) -> Result<String, Failure> {
    match credit {
        Credit::Text(credit) => Ok(text::page(credit)),
        Credit::Image(credit) => image::page(credit),
        Credit::Pairs(credit) => hybrid::page(credit),
    }
}

/// Writes a page, whole or not at all.
pub(super) fn write(path: &Path, page: &str) -> Result<(), Failure> {
    Ok(train::write_whole(path, |file| std::io::Write::write_all(file, page.as_bytes()))?)
}

/// A page with a line about its colours.
fn document(about: &str) -> Page {
    Page::new("Credit").lead(about).style(heat::STYLE)
}

/// How well wrong places are found.
fn summary_section(summary: &CreditSummary) -> Section {
    let head = ["credit", "AUROC", "average precision", "pointing accuracy"].map(str::to_owned).into();
    let mut rows: Vec<Vec<String>> = vec![head];
    for row in &summary.rows {
        let cell = |estimate: Option<crate::Estimate>| {
            estimate.map_or_else(|| "-".to_owned(), |it| format!("{:.3} ({:.3} to {:.3})", it.value, it.low, it.high))
        };
        rows.push(vec![row.title.to_owned(), cell(row.auroc), cell(row.average_precision), cell(row.pointing)]);
    }
    Section::new("How well wrong places are found").table(&table(&rows)).text(&summary.counts())
}

/// A table whose first row is its head.
fn table(cells: &[Vec<String>]) -> Table {
    let (head, rows) = cells.split_first().map_or((&[][..], &[][..]), |(head, rows)| (&head[..], rows));
    rows.iter().fold(Table::new(head), |table, row| table.row(row.iter().map(Cell::text)))
}

//! The page of all results.
use report::page::{Cell, Figure as Picture, Page, Section, Table as PageTable};
use report::plot;

use crate::result::{Chart, Claim, FigureResult, Holds, Table};
use crate::{Result, Scale, Setup};

/// A chart as it is drawn.
pub(crate) fn chart(chart: &Chart) -> plot::Chart {
    let mut drawn = plot::Chart::new(&chart.title, &chart.x_label, &chart.y_label);
    if chart.is_log {
        drawn = drawn.log_x();
    }
    for series in &chart.series {
        let points = series.points.iter().map(|point| match point.y {
            y if y.is_known() => plot::Point::within(point.x, y.value, y.low, y.high),
            y => plot::Point::new(point.x, y.value),
        });
        drawn = drawn.with(plot::Series::line_and_points(&series.name, points));
    }
    drawn
}

/// Writes the page: what did not hold first, then every figure.
pub(crate) fn page(setup: &Setup<'_>, results: &[FigureResult]) -> Result<String> {
    let mut page = Page::new("The paper's claims, measured");
    if setup.scale == Scale::Quick {
        page = page.notice("A smoke test: runs of a few steps. The numbers below mean nothing.");
    }
    page = summary(page, results).lead(
        "Claims of \"From r to Q*: Your Language Model is Secretly a Q-Function\" (arXiv:2404.12358) in our words, on the \
         embedded problems of this program: small models and exact judges in place of large models and GPT-4. Whether a \
         claim holds follows from its number by the rule beside it. Intervals are 95%, over seeds (t) unless a number is \
         exact.",
    );
    for result in results {
        page = page.section(section(result)?);
    }
    Ok(page.to_html())
}

/// The first lines: counts, and the claims that did not hold or are undecided.
fn summary(mut page: Page, results: &[FigureResult]) -> Page {
    let claims = || results.iter().flat_map(|result| result.claims.iter().map(move |claim| (result.figure, claim)));
    let count = |holds: Holds| claims().filter(|(_, claim)| claim.holds == holds).count();
    let [yes, no, undecided] = [Holds::Yes, Holds::No, Holds::Undecided].map(count);
    page = page.lead(&format!("{yes} claims hold here, {no} do not, {undecided} are undecided."));
    for (holds, words) in [(Holds::No, "Does not hold here"), (Holds::Undecided, "Undecided here")] {
        for (figure, claim) in claims().filter(|(_, claim)| claim.holds == holds) {
            let line = format!(
                "{words} ({figure}; {}): {}. Measured, {}: {}.",
                claim.place, claim.claim, claim.what, claim.measured
            );
            page = page.notice(&line);
        }
    }
    page
}

fn section(result: &FigureResult) -> Result<Section> {
    let mut section = Section::new(format!("{}: {}", result.figure, result.figure.title())).text(&result.about);
    section = section.table(&claims(&result.claims));
    let mut pictures = Vec::new();
    for of in &result.charts {
        let drawn = chart(of);
        if drawn.has_points() {
            pictures.push(Picture::chart(&drawn)?);
        }
    }
    section = section.figures(pictures);
    for of in &result.tables {
        section = section.table(&table(of));
    }
    Ok(section)
}

fn claims(claims: &[Claim]) -> PageTable {
    let mut table = PageTable::new(["claim", "in the paper", "measured", "number", "rule", "verdict"]);
    for claim in claims {
        let verdict = Cell::text(claim.holds.to_string());
        table = table.row([
            Cell::text(&claim.claim),
            Cell::text(&claim.place),
            Cell::text(&claim.what),
            Cell::number(claim.measured.to_string()),
            Cell::text(claim.rule.to_string()),
            match claim.holds {
                Holds::Yes => verdict.good(),
                Holds::No => verdict.bad(),
                Holds::Undecided => verdict,
            },
        ]);
    }
    table
}

fn table(of: &Table) -> PageTable {
    let mut table = PageTable::new(&of.columns).caption(&of.title);
    for row in &of.rows {
        table = table.row(row.iter().map(Cell::text));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Rule;
    use crate::{Figure, Measured};

    #[test]
    fn what_did_not_hold_is_said_in_the_first_lines() {
        let claim = |words, value| Claim::new("Fig. 0", words, "a number", Measured::exact(value), Rule::Above(0.0));
        let result = FigureResult {
            figure: Figure::Theory,
            about: String::new(),
            claims: vec![claim("rivers run downhill", 1.0), claim("stones swim", -1.0)],
            tables: Vec::new(),
            charts: Vec::new(),
        };
        let setup = |scale| Setup { out: "out".into(), seed: 0, scale, reporter: &recipes::QUIET };
        let html = page(&setup(Scale::Full), std::slice::from_ref(&result)).unwrap();
        let first = html.split("</header>").next().unwrap();
        assert!(first.contains("1 claims hold here, 1 do not, 0 are undecided"), "{first}");
        assert!(first.contains("stones swim") && !first.contains("rivers run downhill"), "{first}");
        assert!(!first.contains("smoke test"));
        assert!(page(&setup(Scale::Quick), &[result]).unwrap().contains("numbers below mean nothing"));
    }
}

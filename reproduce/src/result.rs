//! What a figure found: claims with verdicts, tables, charts.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Figure;
use crate::statistics::{Measured, number};

/// Whether a claim holds here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// The whole interval is where the rule wants it.
    Yes,
    /// The whole interval is elsewhere.
    No,
    /// The interval is on both sides, or there is none.
    Undecided,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "holds here",
            Self::No => "does not hold here",
            Self::Undecided => "undecided here",
        })
    }
}

/// Where the interval of a number must be for a claim to hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Above a number.
    Above(f64),
    /// Below a number.
    Below(f64),
    /// Not above a number.
    AtMost(f64),
    /// Not below a number.
    AtLeast(f64),
}

impl Rule {
    /// The verdict on a number: a claim holds if its whole interval does what the rule says, and does not hold if none
    /// of it does.
    pub fn decide(self, measured: &Measured) -> Holds {
        let Measured { value, low, high } = *measured;
        if value.is_nan() || low.is_nan() || high.is_nan() {
            return Holds::Undecided;
        }
        let (holds, fails) = match self {
            Self::Above(bound) => (low > bound, high <= bound),
            Self::Below(bound) => (high < bound, low >= bound),
            Self::AtMost(bound) => (high <= bound, low > bound),
            Self::AtLeast(bound) => (low >= bound, high < bound),
        };
        match (holds, fails) {
            (true, _) => Holds::Yes,
            (_, true) => Holds::No,
            (false, false) => Holds::Undecided,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, bound) = match self {
            Self::Above(bound) => ("above", bound),
            Self::Below(bound) => ("below", bound),
            Self::AtMost(bound) => ("at most", bound),
            Self::AtLeast(bound) => ("at least", bound),
        };
        write!(f, "holds if all of the interval is {words} {}", number(*bound))
    }
}

/// A claim of the paper, and what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Where the paper makes it; `own` for a question of this project beside the paper's.
    pub place: String,
    /// What it says, in our words.
    pub claim: String,
    /// What was measured.
    pub what: String,
    /// The number.
    pub measured: Measured,
    /// The rule of the verdict.
    pub rule: Rule,
    /// The verdict.
    pub holds: Holds,
}

impl Claim {
    /// Decides a claim by a rule.
    pub(crate) fn new(place: &str, claim: &str, what: impl Into<String>, measured: Measured, rule: Rule) -> Self {
        let (place, claim, what) = (place.to_owned(), claim.to_owned(), what.into());
        Self { place, claim, what, measured, rule, holds: rule.decide(&measured) }
    }
}

/// Rows of words and numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The heads of its columns.
    pub columns: Vec<String>,
    /// Its rows, with a cell for each column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    pub(crate) fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }
}

/// Columns as wide as their longest cell.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.columns).chain(&self.rows);
        let width = |at: usize| lines().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| width(at).unwrap_or(0)).collect();
        writeln!(f, "{}", self.title)?;
        for row in lines() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A point of a curve with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The place.
    pub x: f64,
    /// The number there.
    pub y: Measured,
}

/// A curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by place.
    pub points: Vec<Point>,
}

/// A diagram of curves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// The name of its file, without an ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The label of the horizontal axis.
    pub x_label: String,
    /// The label of the vertical axis.
    pub y_label: String,
    /// Whether the horizontal axis is logarithmic.
    pub is_log: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// All that came of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureResult {
    /// The figure.
    pub figure: Figure,
    /// What was done, in a few sentences.
    pub about: String,
    /// The claims.
    pub claims: Vec<Claim>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The diagrams.
    pub charts: Vec<Chart>,
}

/// As on a terminal.
impl fmt::Display for FigureResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\n", self.figure, self.figure.title())?;
        for claim in &self.claims {
            writeln!(f, "[{}] {}: {}", claim.holds, claim.place, claim.claim)?;
            writeln!(f, "    {}: {}; {}", claim.what, claim.measured, claim.rule)?;
        }
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_from_where_the_interval_is() {
        let between = |low, high| Measured { value: 0.5 * (low + high), low, high };
        for (rule, yes, no) in [
            (Rule::Above(0.5), between(0.51, 0.7), between(0.3, 0.5)),
            (Rule::Below(0.0), between(-2.0, -1.0), between(0.0, 1.0)),
            (Rule::AtMost(1e-9), Measured::exact(1e-9), Measured::exact(2e-9)),
            (Rule::AtLeast(-0.1), between(-0.1, 0.3), between(-0.5, -0.2)),
        ] {
            assert_eq!(rule.decide(&yes), Holds::Yes, "{rule}");
            assert_eq!(rule.decide(&no), Holds::No, "{rule}");
            assert_eq!(rule.decide(&between(-9.0, 9.0)), Holds::Undecided, "{rule}");
            assert_eq!(rule.decide(&Measured::over_seeds(&[yes.value])), Holds::Undecided, "{rule}");
            assert_eq!(rule.decide(&Measured::exact(f64::NAN)), Holds::Undecided, "{rule}");
        }
        assert_eq!(Rule::AtLeast(-0.1).to_string(), "holds if all of the interval is at least -0.100");
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new("widths", &["a", "longer"]);
        table.push(["12345".to_owned(), "6".to_owned()]);
        assert_eq!(table.to_string(), "widths\n  a      longer\n  12345  6\n");
    }
}

//! Which denoising steps the reward lies on.
use std::fmt;
use std::ops::Range;

use super::measures::Bootstrap;
use crate::Estimate;

/// The rewards of an example's draws.
pub(super) struct Drawn {
    /// The timestep of each draw.
    pub(super) timesteps: Vec<usize>,
    /// By kind of reward, in the order of [`StepSummary::names`], the part of each draw: they add up to the reward.
    pub(super) rewards: Vec<Vec<f64>>,
}

/// Rewards by timestep.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSummary {
    /// The kinds of reward: `chosen`, `rejected` and their `margin`, or `reward` where there are no pairs. Shares are of
    /// the last.
    pub names: Vec<&'static str>,
    /// Equal parts of the timesteps, the least noise first.
    pub rows: Vec<StepRow>,
    /// All timesteps together.
    pub whole: StepRow,
    /// Examples, over which intervals are.
    pub examples: usize,
}

/// The rewards of some timesteps.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    /// The timesteps.
    pub timesteps: Range<usize>,
    /// Draws among them.
    pub draws: usize,
    /// By kind, the mean reward of an example if all its draws were among them; `None` without draws.
    pub rewards: Vec<Option<Estimate>>,
    /// The part of the whole margin (or reward) that lies on them: 1 for all together.
    pub share: Option<Estimate>,
    /// How well their map of the reward alone finds wrong pixels, where these are known: the area under the ROC curve.
    pub auroc: Option<Estimate>,
}

/// The part that a timestep is in, of `bins` equal parts of `n`.
pub(super) fn bin(timestep: usize, bins: usize, n: usize) -> usize {
    (timestep * bins / n.max(1)).min(bins.saturating_sub(1))
}

/// The timesteps of a part: those that [`bin`] puts there.
fn timesteps(bin: usize, bins: usize, n: usize) -> Range<usize> {
    (bin * n).div_ceil(bins)..((bin + 1) * n).div_ceil(bins)
}

impl StepSummary {
    /// Averages the draws of examples within `bins` equal parts of `n` timesteps, with intervals over examples.
    pub(super) fn of(names: &[&'static str], drawn: &[Drawn], (bins, n): (usize, usize), seed: u64) -> Self {
        let bootstrap = Bootstrap::new(seed, drawn.len());
        let total = |of: &Drawn, kind: usize, is: &dyn Fn(usize) -> bool| -> f64 {
            let parts = of.timesteps.iter().zip(&of.rewards[kind]);
            parts.filter(|(timestep, _)| is(**timestep)).map(|(_, reward)| reward).sum()
        };
        let row = |range: Range<usize>| {
            let is = |timestep: usize| range.contains(&timestep);
            let counts: Vec<f64> =
                drawn.iter().map(|of| of.timesteps.iter().filter(|timestep| is(**timestep)).count() as f64).collect();
            let mean = |kind: usize| {
                // Were all K draws of an example here, its reward would be K times the mean of these.
                let parts = drawn.iter().map(|of| of.timesteps.len() as f64 * total(of, kind, &is));
                let parts: Vec<f64> = parts.collect();
                bootstrap.ratio(&parts, &counts)
            };
            let last = names.len() - 1;
            let part: Vec<f64> = drawn.iter().map(|of| total(of, last, &is)).collect();
            let whole: Vec<f64> = drawn.iter().map(|of| total(of, last, &|_| true)).collect();
            let (rewards, share) = ((0..names.len()).map(mean).collect(), bootstrap.ratio(&part, &whole));
            StepRow { timesteps: range, draws: counts.iter().sum::<f64>() as usize, rewards, share, auroc: None }
        };
        let rows = (0..bins).map(|bin| row(timesteps(bin, bins, n))).collect();
        Self { names: names.to_vec(), rows, whole: row(0..n), examples: drawn.len() }
    }

    /// The cells of a table, its head first.
    pub(super) fn cells(&self) -> Vec<Vec<String>> {
        let has_auroc = self.rows.iter().any(|row| row.auroc.is_some());
        let last = self.names.last().copied().unwrap_or_default();
        let mut head = vec!["timesteps".to_owned(), "draws".to_owned()];
        head.extend(self.names.iter().map(|name| (*name).to_owned()));
        head.push(format!("share of the {last}"));
        head.extend(has_auroc.then(|| "AUROC of the map".to_owned()));
        let none = || "-".to_owned();
        let row = |row: &StepRow, name: String| {
            let mut cells = vec![name, row.draws.to_string()];
            cells.extend(row.rewards.iter().map(|reward| reward.map_or_else(none, |it| signed(&it))));
            cells.push(row.share.map_or_else(none, |it| percent(&it)));
            let auroc = row.auroc.map_or_else(none, |it| format!("{:.3} ({:.3} to {:.3})", it.value, it.low, it.high));
            cells.extend(has_auroc.then_some(auroc));
            cells
        };
        let part = |of: &StepRow| row(of, format!("{}-{}", of.timesteps.start, of.timesteps.end.saturating_sub(1)));
        std::iter::once(head).chain(self.rows.iter().map(part)).chain([row(&self.whole, "all".to_owned())]).collect()
    }

    /// What the numbers are.
    pub(super) fn explained(&self) -> String {
        let last = self.names.last().copied().unwrap_or_default();
        let examples = if last == "margin" { "pairs" } else { "pictures" };
        format!(
            "by timestep: the mean {last} if all draws were there, and the part of the whole that is there; 95% intervals over \
             {} {examples}",
            self.examples
        )
    }
}

/// `+1.234 (+1.000 to +1.500)`.
pub(super) fn signed(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{value:+.3} ({low:+.3} to {high:+.3})")
}

/// `62% (50% to 71%)`.
pub(super) fn percent(estimate: &Estimate) -> String {
    let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(|share| 100.0 * share);
    format!("{value:.0}% ({low:.0}% to {high:.0}%)")
}

/// Lines of cells, each column as wide as its widest cell.
pub(super) fn aligned(cells: &[Vec<String>]) -> String {
    let n = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("   ").trim_end().to_owned()
    };
    cells.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A table.
impl fmt::Display for StepSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", aligned(&self.cells()), self.explained())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_timesteps_that_are_put_there() {
        for (bins, n) in [(4, 1000), (8, 1000), (3, 10), (10, 10), (1, 7), (7, 12)] {
            for timestep in 0..n {
                assert!(timesteps(bin(timestep, bins, n), bins, n).contains(&timestep), "{timestep} of {n}");
            }
            assert_eq!((timesteps(0, bins, n).start, timesteps(bins - 1, bins, n).end), (0, n));
        }
    }

    fn drawn() -> Vec<Drawn> {
        let of = |timesteps: [usize; 2], chosen: [f64; 2], rejected: [f64; 2]| {
            let margin = chosen.iter().zip(&rejected).map(|(c, r)| c - r).collect();
            Drawn { timesteps: timesteps.into(), rewards: vec![chosen.into(), rejected.into(), margin] }
        };
        vec![of([1, 7], [1.0, 0.5], [0.0, -0.5]), of([2, 3], [2.0, 1.0], [0.5, 0.5])]
    }

    #[test]
    fn rewards_are_those_of_all_draws_in_a_part_and_shares_are_of_the_whole() {
        let summary = StepSummary::of(&["chosen", "rejected", "margin"], &drawn(), (2, 10), 0);
        let value = |estimate: Option<Estimate>| estimate.unwrap().value;
        let early = &summary.rows[0];
        // Three of four draws: 2 * (1 + 2 + 1) / 3.
        assert_eq!((early.draws, early.timesteps.clone()), (3, 0..5));
        assert!((value(early.rewards[0]) - 8.0 / 3.0).abs() < 1e-12);
        assert!((value(early.rewards[2]) - 2.0).abs() < 1e-12);
        // Margins 1 + 1.5 + 0.5 of 4.
        assert!((value(early.share) - 0.75).abs() < 1e-12 && (value(summary.rows[1].share) - 0.25).abs() < 1e-12);
        // All together: the mean of the examples' margins, 2 and 2.
        assert_eq!((value(summary.whole.rewards[2]), value(summary.whole.share)), (2.0, 1.0));
        assert_eq!((summary.whole.draws, summary.examples), (4, 2));
        let text = summary.to_string();
        assert!(text.starts_with("timesteps   draws   chosen") && text.contains("\n5-9         1       "), "{text}");
        assert!(text.contains("\nall         4 ") && !text.contains("AUROC"), "{text}");
    }

    #[test]
    fn a_part_without_draws_has_no_number() {
        let summary = StepSummary::of(&["chosen", "rejected", "margin"], &drawn(), (5, 10), 0);
        assert_eq!((summary.rows[4].draws, summary.rows[4].rewards.clone()), (0, vec![None; 3]));
        assert_eq!(summary.rows[4].share.unwrap().value, 0.0);
        assert!(summary.to_string().contains("8-9         0       - "), "{summary}");
    }
}

//! Greedy search, sampling, and best of n.

use mdp::Mdp;

use crate::error::{Result, SearchError, at_least_one};
use crate::found::{OutcomeOf, rank};
use crate::rows::{Candidate, Choice, Rows};
use crate::task::{Method, Task};

/// Greedy search: always the candidate with the largest gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greedy {
    /// The number of the policy's proposals to compare; 1 suffices for the likelihood.
    pub among: usize,
}

impl Default for Greedy {
    /// The policy's most likely action.
    fn default() -> Self {
        Self { among: 1 }
    }
}

impl<M: Mdp> Method<M> for Greedy {
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        at_least_one("the number of proposals", self.among)?;
        let mut rows = Rows::open(task)?;
        let ended = rows.walk(|rows| {
            let lists = rows.candidates(self.among)?;
            let choose = |(row, list)| best(list).map(|candidate| Choice { row, candidate, group: 0, key: 0.0 });
            Ok(lists.into_iter().enumerate().filter_map(choose).collect())
        })?;
        Ok(rows.outcomes(ended))
    }
}

/// The first candidate with the largest gain.
fn best<A>(list: Vec<Candidate<A>>) -> Option<Candidate<A>> {
    let better = |best: Candidate<A>, next: Candidate<A>| if next.gain > best.gain { next } else { best };
    list.into_iter().reduce(better)
}

/// Samples episodes from the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Episodes per start.
    pub n: usize,
}

impl<M: Mdp> Method<M> for Sampling {
    /// Results keep the order of the draws.
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        at_least_one("the number of samples", self.n)?;
        let mut rows = Rows::open(task)?;
        let mut n = self.n;
        let mut ended = rows.walk(|rows| {
            // The start is evaluated once and branches into one row per draw.
            let lists = rows.draws(n)?;
            let is_first = std::mem::replace(&mut n, 1) > 1;
            let choices = lists.into_iter().enumerate().flat_map(|(row, list)| {
                let group = rows.rows()[row].group;
                let choice = move |(nth, candidate)| {
                    let group = if is_first { nth } else { group };
                    Choice { row, candidate, group, key: 0.0 }
                };
                list.into_iter().enumerate().map(choice)
            });
            Ok(choices.collect())
        })?;
        ended.sort_by_key(|row| row.group);
        Ok(rows.outcomes(ended))
    }
}

/// Best of n: samples episodes from the policy and keeps those with the highest score.
///
/// # References
/// Stiennon et al., "Learning to summarize from human feedback", 2020.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestOfN {
    /// Episodes sampled per start.
    pub n: usize,
    /// Episodes kept.
    pub keep: usize,
}

impl BestOfN {
    /// Keeps the best one.
    pub fn new(n: usize) -> Self {
        Self { n, keep: 1 }
    }
}

impl<M: Mdp> Method<M> for BestOfN {
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        at_most("the number of episodes to keep", self.keep, "samples", self.n)?;
        let mut outcomes = Sampling { n: self.n }.search(task)?;
        for outcome in &mut outcomes {
            rank(&mut outcome.found);
            outcome.found.truncate(self.keep);
        }
        Ok(outcomes)
    }
}

/// Checks that a parameter of a method is at least 1 and at most `most`.
pub(crate) fn at_most(what: &'static str, got: usize, of: &'static str, most: usize) -> Result<()> {
    at_least_one(what, got)?;
    if got <= most || most == 0 { Ok(()) } else { Err(SearchError::TooMany { what, got, of, most }) }
}

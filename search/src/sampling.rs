//! A row for each episode: the best candidate of each, or a draw.

use mdp::Mdp;

use crate::error::{Result, SearchError, at_least_one};
use crate::found::{OutcomeOf, rank};
use crate::rows::{Candidate, Choice, Rows};
use crate::task::{Method, Task};

/// Greedy search: always the candidate that adds most to the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greedy {
    /// How many of the policy's proposals are compared. One is enough for the likelihood.
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

/// The first of the candidates that add most.
fn best<A>(list: Vec<Candidate<A>>) -> Option<Candidate<A>> {
    let better = |best: Candidate<A>, next: Candidate<A>| if next.gain > best.gain { next } else { best };
    list.into_iter().reduce(better)
}

/// Draws episodes from the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// How many from each start.
    pub n: usize,
}

impl<M: Mdp> Method<M> for Sampling {
    /// What was drawn stays in the order of the draws.
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        at_least_one("the number of samples", self.n)?;
        let mut rows = Rows::open(task)?;
        let mut n = self.n;
        let mut ended = rows.walk(|rows| {
            // The start is asked once, and branches into as many rows as are drawn from it.
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

/// Best of n: draws episodes from the policy and keeps those of the highest score.
///
/// # References
/// Stiennon et al., "Learning to summarize from human feedback", 2020.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestOfN {
    /// How many are drawn from each start.
    pub n: usize,
    /// How many are kept.
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

/// Checks that a number of a method is at least 1 and not above what there is.
pub(crate) fn at_most(what: &'static str, got: usize, of: &'static str, most: usize) -> Result<()> {
    at_least_one(what, got)?;
    if got <= most || most == 0 { Ok(()) } else { Err(SearchError::TooMany { what, got, of, most }) }
}

//! Beam search: the best rows of each step go on.

mod lane;

use mdp::Mdp;

use self::lane::Lane;
use crate::error::{Result, SearchError, at_least_one, finite};
use crate::found::{OutcomeOf, rank};
use crate::rows::{Candidate, Choice, Row, Rows};
use crate::sampling::at_most;
use crate::task::{Method, Task};

/// When a beam search ends, once as many episodes as it is wide have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// At once: `early_stopping=True` of transformers.
    WhenFull,
    /// When the best row that goes on, at its present length, is no better than the worst that ended: `early_stopping=False`.
    #[default]
    Heuristic,
    /// When the best row that goes on is no better than the worst that ended, whatever its length will be as far as the penalty
    /// counts it: `early_stopping="never"`. Exact for scores that only fall, such as the likelihood.
    Never,
    /// When no row goes on: for scores that may rise.
    Exhausted,
}

/// Beam search, as `generate(num_beams=..)` of transformers 5 does it.
///
/// In each step the `candidates * width` best continuations of a start's rows are looked at, best first. Those that go on fill
/// the next `width` rows. Those that end are kept if they are among the first `width`, ranked by `score / length^penalty`, the
/// best `width` of all steps. The score is compared over the policy's best `candidates * width` actions of each row.
///
/// With a width that no step fills it looks at every episode, and so finds the best one.
///
/// # References
/// transformers, `GenerationMixin._beam_search`; Wu et al., "Google's Neural Machine Translation System", 2016 (the length
/// penalty in another form).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// How many rows each start has.
    pub width: usize,
    /// How many episodes are returned, the best; as many as are found where those are fewer.
    pub n: usize,
    /// What the length is raised to before the score is divided by it: above 0 favours long episodes (of negative scores),
    /// below 0 short ones.
    pub length_penalty: f64,
    /// When it ends.
    pub early_stopping: EarlyStopping,
    /// How many continuations are looked at for each row of the width: 2, or 1 and the number of actions that end an episode,
    /// as transformers has it.
    pub candidates: usize,
}

impl Beam {
    /// The settings of transformers, and the best episode alone.
    pub fn new(width: usize) -> Self {
        Self { width, n: 1, length_penalty: 1.0, early_stopping: EarlyStopping::Heuristic, candidates: 2 }
    }

    fn check(&self) -> Result<()> {
        at_least_one("the width of the beam", self.width)?;
        at_most("the number of episodes to return", self.n, "rows of the beam", self.width)?;
        at_least_one("the number of candidates for each row", self.candidates)?;
        finite("the length penalty", self.length_penalty)
    }
}

impl<M: Mdp> Method<M> for Beam {
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        self.check()?;
        search(task, self, 1, &|_, _| 0.0)
    }
}

/// Diverse beam search: groups of beams, each of which avoids the actions that the groups before it took in the same step.
///
/// A candidate loses the penalty for every row of an earlier group that took its action in this step, or ended with it (the
/// Hamming diversity). What a row lost it keeps, so groups grow apart; the episodes that are returned are ranked by their
/// score without that.
///
/// # References
/// Vijayakumar et al., "Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence Models", 2016.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiverseBeam {
    /// The beams of all groups together: its width is divided among them.
    pub beam: Beam,
    /// How many groups there are.
    pub groups: usize,
    /// What an action costs for each row of an earlier group that took it, in the unit of the score.
    pub penalty: f64,
}

impl<M: Mdp<Action: PartialEq>> Method<M> for DiverseBeam {
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        self.beam.check()?;
        finite("the diversity penalty", self.penalty)?;
        at_most("the number of groups", self.groups, "rows of the beam", self.beam.width)?;
        if !self.beam.width.is_multiple_of(self.groups) {
            let expected = "a divisor of the width";
            return Err(SearchError::Setting { what: "the number of groups", got: self.groups as f64, expected });
        }
        let group = Beam { width: self.beam.width / self.groups, ..self.beam };
        search(task, &group, self.groups, &|action, taken| {
            self.penalty * taken.iter().filter(|other| *other == action).count() as f64
        })
    }
}

/// What an action loses when earlier groups took these in the same step.
type Penalty<'p, A> = &'p dyn Fn(&A, &[A]) -> f64;

/// Searches with a lane for each group of each start; `beam` is that of one group.
fn search<M: Mdp>(
    task: Task<'_, M>,
    beam: &Beam,
    groups: usize,
    penalty: Penalty<'_, M::Action>,
) -> Result<Vec<OutcomeOf<M>>> {
    let longest = task.longest;
    let mut rows = Rows::open(task)?;
    let lane = |group: usize| Lane::new(beam, longest[group / groups]);
    let mut lanes: Vec<Lane<M::Action>> = (0..longest.len() * groups).map(lane).collect();
    // As many more as may be the actions that earlier groups took.
    let k = beam.looked_at().saturating_add((groups - 1).saturating_mul(beam.width));
    let mut ended = rows.walk(|rows| {
        let lists = rows.candidates(k)?;
        let by_start = rows.by_start();
        let (mut choices, mut taken) = (Vec::new(), Vec::new());
        for (group, lane) in lanes.iter_mut().enumerate() {
            if group % groups == 0 {
                taken.clear();
            }
            let own = by_start[group / groups].iter().map(|&row| (row, &rows.rows()[row], &lists[row]));
            let mut all = continuations(own, group, |action| penalty(action, &taken));
            all.truncate(beam.looked_at());
            choices.extend(lane.step(rows, all, &mut taken));
        }
        Ok(choices)
    })?;
    ended.extend(lanes.into_iter().flat_map(Lane::into_ended));
    Ok(ranked(&rows, beam, ended))
}

/// Everything that a group's rows, among those of its start, can go on with, best first.
fn continuations<'r, A: Clone + 'r>(
    rows: impl Iterator<Item = (usize, &'r Row<A>, &'r Vec<Candidate<A>>)>,
    group: usize,
    penalty: impl Fn(&A) -> f64,
) -> Vec<Choice<A>> {
    let mut all = Vec::new();
    // All groups begin in the one row of their start.
    for (index, row, list) in rows.filter(|(_, row, _)| row.group == group || row.actions.is_empty()) {
        all.extend(list.iter().map(|candidate| {
            let key = row.key + candidate.gain - penalty(&candidate.proposal.action);
            Choice { row: index, candidate: candidate.clone(), group, key }
        }));
    }
    // Stable, so ties stay in the order of the rows and of the policy.
    all.sort_by(|a, b| b.key.total_cmp(&a.key));
    all
}

/// The best of what ended, from each start.
fn ranked<M: Mdp>(rows: &Rows<'_, M>, beam: &Beam, ended: Vec<Row<M::Action>>) -> Vec<OutcomeOf<M>> {
    let mut outcomes = rows.outcomes(ended);
    for outcome in &mut outcomes {
        for found in &mut outcome.found {
            found.score = beam.normalised(found.score, found.length());
        }
        rank(&mut outcome.found);
        outcome.found.truncate(beam.n);
    }
    outcomes
}

impl Beam {
    /// How many continuations are looked at.
    fn looked_at(&self) -> usize {
        self.candidates.saturating_mul(self.width)
    }

    /// A score of an episode of so many decisions, its length counted.
    fn normalised(&self, score: f64, length: usize) -> f64 {
        score / (length.max(1) as f64).powf(self.length_penalty)
    }
}

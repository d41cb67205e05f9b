//! Beam search: keeps the best partial episodes of each step.

mod lane;

use mdp::Mdp;

use self::lane::Lane;
use crate::error::{Result, SearchError, at_least_one, finite};
use crate::found::{OutcomeOf, rank};
use crate::rows::{Candidate, Choice, Row, Rows};
use crate::sampling::at_most;
use crate::task::{Method, Task};

/// The stopping rule of a beam search, once as many episodes as its width have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// Stops at once: `early_stopping=True` of transformers.
    WhenFull,
    /// Stops when the best unfinished row, at its present length, is no better than the worst finished one:
    /// `early_stopping=False`.
    #[default]
    Heuristic,
    /// Stops when the best unfinished row is no better than the worst finished one, at the length most favourable under
    /// the penalty: `early_stopping="never"`. Exact for scores that only fall, such as the likelihood.
    Never,
    /// Stops when no row is unfinished, for scores that may rise.
    Exhausted,
}

/// Beam search, as `generate(num_beams=..)` of transformers 5 does it.
///
/// Each step considers the `candidates * width` best continuations of a start's rows, best first. Unfinished ones fill
/// the next `width` rows. Finished ones are kept if they are among the first `width`, ranked by `score /
/// length^penalty`, the best `width` of all steps. Scores are computed for the policy's best `candidates * width`
/// actions of each row.
///
/// A width that no step fills makes the search exhaustive, so it finds the best episode.
///
/// # References
/// transformers, `GenerationMixin._beam_search`; Wu et al., "Google's Neural Machine Translation System", 2016 (the length
/// penalty in another form).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// Rows per start.
    pub width: usize,
    /// The number of best episodes to return; fewer if fewer are found.
    pub n: usize,
    /// The exponent of the length by which the score is divided: above 0 favours long episodes (of negative scores),
    /// below 0 short ones.
    pub length_penalty: f64,
    /// The stopping rule.
    pub early_stopping: EarlyStopping,
    /// Continuations per row of the width: 2, or 1 plus the number of EOS actions, as in transformers.
    pub candidates: usize,
}

impl Beam {
    /// The defaults of transformers, returning the best episode.
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

/// Diverse beam search: groups of beams, each penalised for actions that earlier groups took in the same step.
///
/// A candidate loses the penalty for every row of an earlier group that took its action in this step or ended with it
/// (Hamming diversity). Penalties accumulate over a row, so groups diverge; returned episodes are ranked by their score
/// without penalties.
///
/// # References
/// Vijayakumar et al., "Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence Models", 2016.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiverseBeam {
    /// The beams of all groups together; the width is divided among the groups.
    pub beam: Beam,
    /// The number of groups.
    pub groups: usize,
    /// The penalty of an action for each row of an earlier group that took it, in the unit of the score.
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

/// The penalty of an action, given the actions of earlier groups in the same step.
type Penalty<'p, A> = &'p dyn Fn(&A, &[A]) -> f64;

/// Searches with a lane per group and start; `beam` is the beam of one group.
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
    // Extra candidates make up for actions that earlier groups took.
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

/// All continuations of a group's rows of a start, best first.
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
    // The sort is stable, so ties keep the order of rows and of the policy.
    all.sort_by(|a, b| b.key.total_cmp(&a.key));
    all
}

/// The best finished rows of each start.
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
    /// The number of continuations to consider.
    fn looked_at(&self) -> usize {
        self.candidates.saturating_mul(self.width)
    }

    /// The length-normalised score of an episode of `length` decisions.
    fn normalised(&self, score: f64, length: usize) -> f64 {
        score / (length.max(1) as f64).powf(self.length_penalty)
    }
}

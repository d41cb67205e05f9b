use mdp::chance::fork;
use mdp::{Mdp, Rng};
use policies::{Cursor, Proposal};

use crate::error::{Result, SearchError, count};
use crate::found::{Found, FoundOf, Outcome, OutcomeOf};
use crate::score::Scorer;
use crate::task::{Progress, Search, Task, Watch};

/// A candidate action with its gain in the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<A> {
    /// The policy's proposal of the action.
    pub proposal: Proposal<A>,
    /// The gain in the score.
    pub gain: f64,
}

/// A partial episode.
#[derive(Clone, Debug)]
pub struct Row<A> {
    /// The index of its start.
    pub start: usize,
    /// The actions taken.
    pub actions: Vec<A>,
    /// log pi(a|s) of each decision, in nats.
    pub log_probs: Vec<f64>,
    /// The gain of each decision.
    pub gains: Vec<f64>,
    /// The sum of the gains.
    pub score: f64,
    /// Whether the episode has ended.
    pub is_over: bool,
    /// For the method's use: the group of the row.
    pub group: usize,
    /// For the method's use: a ranking key or weight.
    pub key: f64,
    rng: Rng,
    is_asked: bool,
}

impl<A: Clone> Row<A> {
    /// Sets the method's fields.
    #[must_use]
    pub fn noted(self, group: usize, key: f64) -> Self {
        Self { group, key, ..self }
    }

    /// A copy with a generator forked from this row's.
    #[must_use]
    pub fn branch(&mut self) -> Self {
        let rng = fork(&mut self.rng);
        Self { rng, ..self.clone() }
    }

    /// The row after one more decision, with a generator forked from this row's.
    #[must_use]
    pub fn child(&mut self, candidate: &Candidate<A>) -> Self {
        let rng = fork(&mut self.rng);
        let mut child = Self { rng, is_asked: false, score: self.score + candidate.gain, ..self.clone() };
        child.actions.push(candidate.proposal.action.clone());
        child.log_probs.push(candidate.proposal.log_prob);
        child.gains.push(candidate.gain);
        child
    }
}

/// A chosen candidate of a row, with the method's fields of the new row.
#[derive(Clone, Debug)]
pub struct Choice<A> {
    /// The row.
    pub row: usize,
    /// The chosen candidate.
    pub candidate: Candidate<A>,
    /// Becomes [`Row::group`].
    pub group: usize,
    /// Becomes [`Row::key`].
    pub key: f64,
}

/// The partial episodes of all starts in one cursor, with the score's cursors.
///
/// Every method is one loop: get candidates, choose among them, take the choices. Rows without a choice are dropped,
/// rows with several branch, and the policies' caches follow. Evaluations are counted here: a row's state counts once
/// per policy, however often it is scored and however many rows branch from it.
pub struct Rows<'a, M: Mdp> {
    pub(crate) search: Search<'a, M>,
    pub(crate) starts: &'a [M::State],
    longest: &'a [usize],
    budgets: Vec<usize>,
    watch: &'a mut Watch<'a>,
    cursor: Box<dyn Cursor<M> + 'a>,
    scorer: Box<dyn Scorer<M> + 'a>,
    live: Vec<Row<M::Action>>,
    spent: Vec<usize>,
    n_steps: usize,
}

impl<M: Mdp> std::fmt::Debug for Rows<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("rows", &self.live.len()).field("spent", &self.spent).finish_non_exhaustive()
    }
}

impl<'a, M: Mdp> Rows<'a, M> {
    /// Opens with one row per start.
    ///
    /// # Errors
    /// States in which a policy can't act.
    pub fn open(task: Task<'a, M>) -> Result<Self> {
        let Task { search, starts, longest, budgets, rngs, watch } = task;
        let cursor = search.policy.cursor(search.mdp, starts).map_err(SearchError::Policy)?;
        let scorer = search.score.open(search.mdp, starts).map_err(SearchError::Policy)?;
        let spent = vec![0; starts.len()];
        let mut rows =
            Self { search, starts, longest, budgets, watch, cursor, scorer, live: Vec::new(), spent, n_steps: 0 };
        for (start, rng) in rngs.iter_mut().enumerate() {
            rows.live.push(Row {
                start,
                actions: Vec::new(),
                log_probs: Vec::new(),
                gains: Vec::new(),
                score: 0.0,
                is_over: rows.is_end(&starts[start], start, 0),
                group: 0,
                key: 0.0,
                rng: fork(rng),
                is_asked: false,
            });
        }
        Ok(rows)
    }

    /// The rows.
    pub fn rows(&self) -> &[Row<M::Action>] {
        &self.live
    }

    /// Mutable rows, for the method's fields.
    pub fn rows_mut(&mut self) -> &mut [Row<M::Action>] {
        &mut self.live
    }

    /// Row indices by start.
    pub fn by_start(&self) -> Vec<Vec<usize>> {
        let mut by_start = vec![Vec::new(); self.starts.len()];
        self.live.iter().enumerate().for_each(|(index, row)| by_start[row.start].push(index));
        by_start
    }

    /// The state of each row.
    pub fn states(&self) -> &[M::State] {
        self.cursor.states()
    }

    /// The number of starts.
    pub fn n_starts(&self) -> usize {
        self.starts.len()
    }

    /// Evaluations spent on a start.
    pub fn spent(&self, start: usize) -> usize {
        self.spent[start]
    }

    /// The policy's `k` best actions of each row, or `k` draws of a continuous policy, with their gains.
    ///
    /// # Errors
    /// A row without an action, an action that the problem does not allow, non-finite numbers, errors of a policy.
    pub fn candidates(&mut self, k: usize) -> Result<Vec<Vec<Candidate<M::Action>>>> {
        let mut forks: Vec<Rng> = self.live.iter_mut().map(|row| fork(&mut row.rng)).collect();
        let mut rngs: Vec<&mut Rng> = forks.iter_mut().collect();
        let proposals = self.cursor.expand(k, &mut rngs).map_err(SearchError::Policy)?;
        self.scored(proposals)
    }

    /// `n` actions sampled in each row, with their gains; the prior of each is 1/n.
    ///
    /// # Errors
    /// As [`candidates`](Self::candidates).
    pub fn draws(&mut self, n: usize) -> Result<Vec<Vec<Candidate<M::Action>>>> {
        let mut actions: Vec<Vec<M::Action>> = self.live.iter().map(|_| Vec::with_capacity(n)).collect();
        for _ in 0..n {
            let mut rngs: Vec<&mut Rng> = self.live.iter_mut().map(|row| &mut row.rng).collect();
            let drawn = self.cursor.draw(&mut rngs).map_err(SearchError::Policy)?;
            count("actions drawn", actions.len(), drawn.len())?;
            actions.iter_mut().zip(drawn).for_each(|(list, action)| list.push(action));
        }
        let log_probs = self.cursor.log_probs_of(&actions).map_err(SearchError::Policy)?;
        let list = |(actions, log_probs): (Vec<M::Action>, Vec<f64>)| {
            let pairs = actions.into_iter().zip(log_probs);
            pairs.map(|(action, log_prob)| Proposal { action, log_prob, prior: 1.0 / n as f64 }).collect()
        };
        self.scored(actions.into_iter().zip(log_probs).map(list).collect())
    }

    /// Counts an evaluation of each row, and computes the gains.
    fn scored(&mut self, proposals: Vec<Vec<Proposal<M::Action>>>) -> Result<Vec<Vec<Candidate<M::Action>>>> {
        let cost = self.cost();
        for row in self.live.iter_mut().filter(|row| !row.is_asked) {
            row.is_asked = true;
            self.spent[row.start] += cost;
        }
        count("lists of proposals", self.live.len(), proposals.len())?;
        for ((row, state), list) in self.live.iter().zip(self.cursor.states()).zip(&proposals) {
            let (start, step) = (row.start, row.actions.len());
            if list.is_empty() {
                return Err(SearchError::Stuck { start, step });
            }
            if list.iter().any(|proposal| !self.search.mdp.allows(state, &proposal.action)) {
                return Err(SearchError::NotAllowed { start, step });
            }
        }
        let gains = self.scorer.gains(self.cursor.states(), &proposals).map_err(SearchError::Policy)?;
        count("lists of gains", proposals.len(), gains.len())?;
        let lists = self.live.iter().zip(proposals.into_iter().zip(gains));
        lists.map(|(row, (proposals, gains))| candidates_of(row, proposals, gains)).collect()
    }

    /// The cost of evaluating a row: one for the proposing policy, and one per policy behind the score.
    fn cost(&self) -> usize {
        1 + self.scorer.n_policies()
    }

    /// Removes and returns the rows of starts whose budget can't cover all of them.
    pub fn unaffordable(&mut self) -> Vec<Row<M::Action>> {
        let cost = self.cost();
        let mut needed = self.spent.clone();
        for row in self.live.iter().filter(|row| !row.is_asked) {
            needed[row.start] = needed[row.start].saturating_add(cost);
        }
        let budgets = self.budgets.clone();
        self.part(|row| needed[row.start] > budgets[row.start])
    }

    /// Removes and returns the finished rows.
    pub fn ended(&mut self) -> Vec<Row<M::Action>> {
        self.part(|row| row.is_over)
    }

    /// Removes and returns the rows with a property.
    pub fn part(&mut self, leaves: impl Fn(&Row<M::Action>) -> bool) -> Vec<Row<M::Action>> {
        let (left, stays): (Vec<usize>, Vec<usize>) = (0..self.live.len()).partition(|&row| leaves(&self.live[row]));
        if left.is_empty() {
            return Vec::new();
        }
        let mut parted: Vec<Option<Row<M::Action>>> = std::mem::take(&mut self.live).into_iter().map(Some).collect();
        let left = left.iter().filter_map(|&row| parted[row].take()).collect();
        self.live = parted.into_iter().flatten().collect();
        self.cursor.select(&stays);
        self.scorer.select(&stays);
        left
    }

    /// Row i becomes the former row `rows[i]`, with a forked generator.
    ///
    /// # Panics
    /// An index out of range.
    pub fn select(&mut self, rows: &[usize]) {
        self.live = rows.iter().map(|&row| self.live[row].branch()).collect();
        self.cursor.select(rows);
        self.scorer.select(rows);
    }

    /// Takes candidates: the rows become their successors, in the order of the choices.
    ///
    /// # Errors
    /// Errors of a policy or of the `watch` callback.
    ///
    /// # Panics
    /// A choice of a row out of range.
    pub fn take(&mut self, choices: Vec<Choice<M::Action>>) -> Result<()> {
        let parents: Vec<usize> = choices.iter().map(|choice| choice.row).collect();
        let mut child =
            |choice: &Choice<M::Action>| self.live[choice.row].child(&choice.candidate).noted(choice.group, choice.key);
        let children: Vec<Row<M::Action>> = choices.iter().map(&mut child).collect();
        let actions: Vec<M::Action> = choices.into_iter().map(|choice| choice.candidate.proposal.action).collect();
        self.cursor.select(&parents);
        self.cursor.advance(&actions).map_err(SearchError::Policy)?;
        self.scorer.select(&parents);
        self.scorer.advance(&actions).map_err(SearchError::Policy)?;
        self.live = children;
        let over = |(row, state): (&Row<_>, &M::State)| self.is_end(state, row.start, row.actions.len());
        let over: Vec<bool> = self.live.iter().zip(self.cursor.states()).map(over).collect();
        self.live.iter_mut().zip(over).for_each(|(row, is_over)| row.is_over = is_over);
        self.n_steps += 1;
        let progress = Progress { step: self.n_steps, n_rows: self.live.len(), evaluations: &self.spent };
        (self.watch)(progress).map_err(SearchError::Policy)
    }

    /// The finished row that a candidate leads to; `None` if it does not end there.
    ///
    /// # Panics
    /// An index out of range.
    pub fn ending(&mut self, row: usize, candidate: &Candidate<M::Action>) -> Option<Row<M::Action>> {
        let next = self.search.mdp.step(&self.cursor.states()[row], &candidate.proposal.action);
        let Row { start, ref actions, .. } = self.live[row];
        let is_over = self.is_end(&next, start, actions.len() + 1);
        is_over.then(|| Row { is_over, ..self.live[row].child(candidate) })
    }

    /// Steps until every row is finished or unaffordable, taking the choices of `choose` among the candidates. Returns
    /// the finished rows.
    ///
    /// # Errors
    /// As [`take`](Self::take); errors of `choose`.
    pub fn walk(
        &mut self,
        mut choose: impl FnMut(&mut Self) -> Result<Vec<Choice<M::Action>>>,
    ) -> Result<Vec<Row<M::Action>>> {
        let mut ended = self.ended();
        loop {
            ended.append(&mut self.unaffordable());
            if self.live.is_empty() {
                return Ok(ended);
            }
            let choices = choose(self)?;
            self.take(choices)?;
            ended.append(&mut self.ended());
        }
    }

    /// Replaces all rows by rows at the given states.
    pub(crate) fn reopen(&mut self, rows: Vec<Row<M::Action>>, states: &[M::State]) -> Result<()> {
        self.cursor.select(&[]);
        self.cursor.extend(states).map_err(SearchError::Policy)?;
        self.scorer.select(&[]);
        self.scorer.extend(states).map_err(SearchError::Policy)?;
        self.live = rows;
        Ok(())
    }

    /// The outcome of each start from finished rows, in their order.
    pub(crate) fn outcomes(&self, ended: Vec<Row<M::Action>>) -> Vec<OutcomeOf<M>> {
        let mut outcomes: Vec<OutcomeOf<M>> = self.spent.iter().map(|&spent| Outcome::new(Vec::new(), spent)).collect();
        for row in ended {
            let start = row.start;
            outcomes[start].found.push(found(self.search.mdp, &self.starts[start], row));
        }
        outcomes
    }

    /// Whether an episode ends in a state after `n_decisions`.
    pub(crate) fn is_end(&self, state: &M::State, start: usize, n_decisions: usize) -> bool {
        n_decisions >= self.longest[start]
            || self.search.mdp.is_terminal(state)
            || self.search.until.is_some_and(|is_end| is_end(state))
    }
}

/// The candidates of a row, if all numbers are finite.
fn candidates_of<A>(row: &Row<A>, proposals: Vec<Proposal<A>>, gains: Vec<f64>) -> Result<Vec<Candidate<A>>> {
    let (start, step) = (row.start, row.actions.len());
    count("gains of a row", proposals.len(), gains.len())?;
    let candidate = |(proposal, gain): (Proposal<A>, f64)| {
        let numbers = [("the log-probability", proposal.log_prob), ("the score", gain)];
        match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
            Some((what, value)) => Err(SearchError::NotFinite { what, start, step, value }),
            None => Ok(Candidate { proposal, gain }),
        }
    };
    proposals.into_iter().zip(gains).map(candidate).collect()
}

/// A row that is over, as an episode from its start.
fn found<M: Mdp>(mdp: &M, start: &M::State, row: Row<M::Action>) -> FoundOf<M> {
    let Row { actions, log_probs, gains, score, is_over, .. } = row;
    let episode = mdp.episode(start.clone(), actions);
    Found { episode, score, log_probs, gains, weight: 1.0, is_finished: is_over }
}

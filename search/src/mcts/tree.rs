use mdp::Mdp;

use crate::error::{Result, SearchError};
use crate::rows::{Candidate, Row, Rows};

/// What was tried from one start.
pub(super) struct Tree<M: Mdp> {
    nodes: Vec<Node<M>>,
    /// The edges from the root to the leaf that is being evaluated: a node and which of its edges.
    path: Vec<(usize, usize)>,
    /// The least and the most that a simulation was worth.
    range: (f64, f64),
    visits: usize,
    total: f64,
    found: Vec<Row<M::Action>>,
    n_found: usize,
    /// Whether there are simulations left to make.
    pub(super) is_open: bool,
}

struct Node<M: Mdp> {
    row: Row<M::Action>,
    state: M::State,
    edges: Vec<Edge<M::Action>>,
}

struct Edge<A> {
    candidate: Candidate<A>,
    child: Option<usize>,
    visits: usize,
    total: f64,
}

/// A state of the tree that has no edges yet.
pub(super) struct Leaf<M: Mdp> {
    pub(super) row: Row<M::Action>,
    pub(super) state: M::State,
}

impl<M: Mdp<Action: PartialEq>> Tree<M> {
    pub(super) fn new(root: Row<M::Action>, state: M::State, n_found: usize) -> Self {
        let is_open = !root.is_over;
        let found = if is_open { Vec::new() } else { vec![root.clone()] };
        let nodes = vec![Node { row: root, state, edges: Vec::new() }];
        let range = (f64::INFINITY, f64::NEG_INFINITY);
        Self { nodes, path: Vec::new(), range, visits: 0, total: 0.0, found, n_found, is_open }
    }

    /// The mean of all simulations.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.visits > 0).then(|| self.total / self.visits as f64)
    }

    /// Walks down to a leaf; an end counts as a simulation at once, and is none.
    pub(super) fn descend(&mut self, rows: &Rows<'_, M>, exploration: f64) -> Option<Leaf<M>> {
        self.path.clear();
        let mut at = 0;
        while !self.nodes[at].edges.is_empty() {
            let edge = self.choose(at, exploration);
            self.path.push((at, edge));
            at = match self.nodes[at].edges[edge].child {
                Some(child) => child,
                None => self.grow(rows, at, edge),
            };
        }
        let Node { row, state, .. } = &mut self.nodes[at];
        if row.is_over {
            let worth = row.score;
            self.add_finite(worth);
            return None;
        }
        Some(Leaf { row: row.branch(), state: state.clone() })
    }

    /// The edge of the largest upper bound; the first of equals.
    fn choose(&self, at: usize, exploration: f64) -> usize {
        let edges = &self.nodes[at].edges;
        let (visits, total) = edges.iter().fold((0, 0.0), |(n, sum), edge| (n + edge.visits, sum + edge.total));
        let (least, most) = self.range;
        let within = |worth: f64| if most > least { (worth - least) / (most - least) } else { 0.5 };
        let mean = |visits: usize, total: f64| within(total / visits as f64);
        let unseen = if visits == 0 { 0.5 } else { mean(visits, total) };
        // One more than the visits, so that priors count from the first.
        let root = (visits as f64 + 1.0).sqrt();
        let bound = |edge: &Edge<M::Action>| {
            let worth = if edge.visits == 0 { unseen } else { mean(edge.visits, edge.total) };
            worth + exploration * edge.candidate.proposal.prior * root / (1.0 + edge.visits as f64)
        };
        let better = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
        edges.iter().map(bound).enumerate().reduce(better).map_or(0, |(edge, _)| edge)
    }

    /// Adds the node that an edge leads to, and returns it.
    fn grow(&mut self, rows: &Rows<'_, M>, at: usize, edge: usize) -> usize {
        let Node { row, state, edges } = &mut self.nodes[at];
        let candidate = &edges[edge].candidate;
        let state = rows.search.mdp.step(state, &candidate.proposal.action);
        let mut row = row.child(candidate);
        row.is_over = rows.is_end(&state, row.start, row.actions.len());
        if row.is_over {
            self.keep(row.clone());
        }
        let child = self.nodes.len();
        self.nodes[at].edges[edge].child = Some(child);
        self.nodes.push(Node { row, state, edges: Vec::new() });
        child
    }

    /// Gives the leaf that was descended to its edges.
    pub(super) fn expand(&mut self, candidates: Vec<Candidate<M::Action>>) {
        let leaf = self.path.last().map_or(Some(0), |&(at, edge)| self.nodes[at].edges[edge].child);
        let edge = |candidate| Edge { candidate, child: None, visits: 0, total: 0.0 };
        if let Some(leaf) = leaf {
            self.nodes[leaf].edges = candidates.into_iter().map(edge).collect();
        }
    }

    /// Adds what the leaf is worth to every edge on the way to it.
    pub(super) fn add(&mut self, worth: f64) -> Result<()> {
        if !worth.is_finite() {
            let (start, step) = (self.nodes[0].row.start, self.path.len());
            return Err(SearchError::NotFinite { what: "the value", start, step, value: worth });
        }
        self.add_finite(worth);
        Ok(())
    }

    fn add_finite(&mut self, worth: f64) {
        self.range = (self.range.0.min(worth), self.range.1.max(worth));
        self.visits += 1;
        self.total += worth;
        for &(at, edge) in &self.path {
            let edge = &mut self.nodes[at].edges[edge];
            edge.visits += 1;
            edge.total += worth;
        }
    }

    /// Notes an episode that was found, if it is among the best and new.
    pub(super) fn keep(&mut self, row: Row<M::Action>) {
        if self.found.iter().any(|found| found.actions == row.actions) {
            return;
        }
        self.found.push(row);
        self.found.sort_by(|a, b| b.is_over.cmp(&a.is_over).then(b.score.total_cmp(&a.score)));
        self.found.truncate(self.n_found);
    }

    /// What was found, best first; where no episode was, the way that was taken most often.
    pub(super) fn take_found(&mut self) -> Vec<Row<M::Action>> {
        if !self.found.is_empty() {
            return std::mem::take(&mut self.found);
        }
        let mut at = 0;
        while let Some(child) = self.nodes[at].edges.iter().max_by_key(|edge| edge.visits).and_then(|edge| edge.child) {
            at = child;
        }
        vec![self.nodes[at].row.clone()]
    }
}

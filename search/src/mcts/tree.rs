use mdp::Mdp;

use crate::error::{Result, SearchError};
use crate::rows::{Candidate, Row, Rows};

/// The search tree of one start.
pub(super) struct Tree<M: Mdp> {
    nodes: Vec<Node<M>>,
    /// The path from the root to the leaf under evaluation: nodes with an edge index each.
    path: Vec<(usize, usize)>,
    /// The least and the largest value of a simulation.
    range: (f64, f64),
    visits: usize,
    total: f64,
    found: Vec<Row<M::Action>>,
    n_found: usize,
    /// Whether simulations remain.
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

/// A state of the tree without edges.
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

    /// Descends to a leaf; a terminal state completes the simulation at once and returns `None`.
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

    /// The edge of the largest upper bound; ties go to the first.
    fn choose(&self, at: usize, exploration: f64) -> usize {
        let edges = &self.nodes[at].edges;
        let (visits, total) = edges.iter().fold((0, 0.0), |(n, sum), edge| (n + edge.visits, sum + edge.total));
        let (least, most) = self.range;
        let within = |worth: f64| if most > least { (worth - least) / (most - least) } else { 0.5 };
        let mean = |visits: usize, total: f64| within(total / visits as f64);
        let unseen = if visits == 0 { 0.5 } else { mean(visits, total) };
        // One more than the visits, so that priors matter from the first.
        let root = (visits as f64 + 1.0).sqrt();
        let bound = |edge: &Edge<M::Action>| {
            let worth = if edge.visits == 0 { unseen } else { mean(edge.visits, edge.total) };
            worth + exploration * edge.candidate.proposal.prior * root / (1.0 + edge.visits as f64)
        };
        let better = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
        edges.iter().map(bound).enumerate().reduce(better).map_or(0, |(edge, _)| edge)
    }

    /// Adds the child node of an edge, and returns its index.
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

    /// Adds edges to the leaf.
    pub(super) fn expand(&mut self, candidates: Vec<Candidate<M::Action>>) {
        let leaf = self.path.last().map_or(Some(0), |&(at, edge)| self.nodes[at].edges[edge].child);
        let edge = |candidate| Edge { candidate, child: None, visits: 0, total: 0.0 };
        if let Some(leaf) = leaf {
            self.nodes[leaf].edges = candidates.into_iter().map(edge).collect();
        }
    }

    /// Backs a value up along the path.
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

    /// Records a found episode if it is among the best and new.
    pub(super) fn keep(&mut self, row: Row<M::Action>) {
        if self.found.iter().any(|found| found.actions == row.actions) {
            return;
        }
        self.found.push(row);
        self.found.sort_by(|a, b| b.is_over.cmp(&a.is_over).then(b.score.total_cmp(&a.score)));
        self.found.truncate(self.n_found);
    }

    /// The found episodes, best first; if there are none, the most visited path.
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

//! Monte-Carlo tree search.

mod tree;

use mdp::Mdp;

use self::tree::{Leaf, Tree};
use crate::error::{Result, at_least_one, finite};
use crate::found::OutcomeOf;
use crate::rows::{Choice, Row, Rows};
use crate::task::{Method, Task};

/// The evaluation of a new leaf of the tree.
pub enum LeafEvaluation<'a, S> {
    /// The mean score of this number of rollouts from the leaf.
    Rollouts(usize),
    /// The score so far plus a value function of the state, in the unit of the score.
    Value(&'a dyn Fn(&S) -> f64),
}

impl<S> std::fmt::Debug for LeafEvaluation<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rollouts(n) => f.debug_tuple("Rollouts").field(n).finish(),
            Self::Value(_) => f.debug_tuple("Value").finish_non_exhaustive(),
        }
    }
}

/// Monte-Carlo tree search: PUCT on the priors of the policy's proposals.
///
/// Every simulation descends by the edge of the largest
///
/// ```text
/// Q(s, a) + exploration prior(a|s) sqrt(sum_b N(s, b)) / (1 + N(s, a))
/// ```
///
/// expands the leaf, evaluates it, and backs its value up along the path. The value of an episode is its score. Q is
/// the mean of an edge, normalised to 0..1 by the least and the largest value in the tree (Schrittwieser et al.); an
/// unvisited edge has the mean of its state. All episodes are kept, so the best one of the tree and of its rollouts is
/// returned, and [`Outcome::estimate`](crate::Outcome::estimate) is the mean over all simulations, which approaches the
/// best score.
///
/// A leaf is opened at its state; a language model remembers rows that it dropped, so it reads what a leaf adds to them alone.
/// Each step of a rollout costs one evaluation. The starts run in parallel, one simulation each at a time.
///
/// # References
/// Silver et al., "Mastering the game of Go without human knowledge", 2017; Schrittwieser et al., "Mastering Atari, Go,
/// Chess and Shogi by Planning with a Learned Model", 2020 (normalisation of values).
#[derive(Debug)]
pub struct Mcts<'a, S> {
    /// Simulations per start.
    pub simulations: usize,
    /// Proposals per state of the tree.
    pub width: usize,
    /// The weight of the prior.
    pub exploration: f64,
    /// The evaluation of leaves.
    pub evaluation: LeafEvaluation<'a, S>,
    /// The number of best episodes to return; fewer if fewer are found.
    pub n: usize,
}

impl<S> Mcts<'_, S> {
    /// One rollout per leaf, an exploration of 1.25, returning the best episode.
    pub fn new(simulations: usize, width: usize) -> Self {
        Self { simulations, width, exploration: 1.25, evaluation: LeafEvaluation::Rollouts(1), n: 1 }
    }

    fn check(&self) -> Result<()> {
        at_least_one("the number of simulations", self.simulations)?;
        at_least_one("the number of proposals", self.width)?;
        at_least_one("the number of episodes to return", self.n)?;
        if let LeafEvaluation::Rollouts(n) = self.evaluation {
            at_least_one("the number of rollouts", n)?;
        }
        finite("the exploration", self.exploration)
    }
}

impl<M: Mdp<Action: PartialEq>> Method<M> for Mcts<'_, M::State> {
    fn search(&self, task: Task<'_, M>) -> Result<Vec<OutcomeOf<M>>> {
        self.check()?;
        let starts = task.starts;
        let mut rows = Rows::open(task)?;
        let roots = rows.part(|_| true);
        let mut trees: Vec<Tree<M>> =
            roots.into_iter().zip(starts).map(|(root, start)| Tree::new(root, start.clone(), self.n)).collect();
        for _ in 0..self.simulations {
            let mut leaves = Vec::with_capacity(trees.len());
            for tree in trees.iter_mut().filter(|tree| tree.is_open) {
                leaves.extend(tree.descend(&rows, self.exploration));
            }
            self.evaluate(&mut rows, &mut trees, leaves)?;
        }
        let ended = trees.iter_mut().flat_map(Tree::take_found).collect();
        let mut outcomes = rows.outcomes(ended);
        outcomes.iter_mut().zip(&trees).for_each(|(outcome, tree)| outcome.estimate = tree.mean());
        Ok(outcomes)
    }
}

impl<S> Mcts<'_, S> {
    /// Expands leaves, at most one per tree, and backs up their values.
    fn evaluate<M: Mdp<State = S, Action: PartialEq>>(
        &self,
        rows: &mut Rows<'_, M>,
        trees: &mut [Tree<M>],
        leaves: Vec<Leaf<M>>,
    ) -> Result<()>
    where
        S: Clone,
    {
        let (opened, states): (Vec<Row<M::Action>>, Vec<S>) =
            leaves.into_iter().map(|leaf| (leaf.row, leaf.state)).unzip();
        rows.reopen(opened, &states)?;
        rows.unaffordable().iter().for_each(|row| trees[row.start].is_open = false);
        if rows.rows().is_empty() {
            return Ok(());
        }
        let lists = rows.candidates(self.width)?;
        for (row, list) in rows.rows().iter().zip(lists) {
            trees[row.start].expand(list);
        }
        match self.evaluation {
            LeafEvaluation::Value(value) => {
                for (row, state) in rows.rows().iter().zip(rows.states()) {
                    trees[row.start].add(row.score + value(state))?;
                }
            }
            LeafEvaluation::Rollouts(n) => roll_out(rows, trees, n)?,
        }
        Ok(())
    }
}

/// Runs `n` rollouts from every row and backs up their mean score.
fn roll_out<M: Mdp<Action: PartialEq>>(rows: &mut Rows<'_, M>, trees: &mut [Tree<M>], n: usize) -> Result<()> {
    let mut n_draws = n;
    let ended = rows.walk(|rows| {
        let lists = rows.draws(std::mem::replace(&mut n_draws, 1))?;
        let choices = lists.into_iter().enumerate().flat_map(|(row, list)| {
            list.into_iter().map(move |candidate| Choice { row, candidate, group: 0, key: 0.0 })
        });
        Ok(choices.collect())
    })?;
    let mut scores: Vec<Vec<f64>> = vec![Vec::new(); trees.len()];
    for row in ended {
        if row.is_over {
            scores[row.start].push(row.score);
        } else {
            trees[row.start].is_open = false;
        }
        trees[row.start].keep(row);
    }
    for (tree, scores) in trees.iter_mut().zip(scores).filter(|(_, scores)| !scores.is_empty()) {
        tree.add(scores.iter().sum::<f64>() / scores.len() as f64)?;
    }
    Ok(())
}

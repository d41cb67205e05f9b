//! Tree search: rows are opened where the tree promises most.

mod tree;

use mdp::Mdp;

use self::tree::{Leaf, Tree};
use crate::error::{Result, at_least_one, finite};
use crate::found::OutcomeOf;
use crate::rows::{Choice, Row, Rows};
use crate::task::{Method, Task};

/// What a new leaf of the tree is worth.
pub enum Evaluation<'a, S> {
    /// The mean score of so many episodes that the policy goes on with from there.
    Rollouts(usize),
    /// The score so far and a function's value of the state, in the unit of the score.
    Value(&'a dyn Fn(&S) -> f64),
}

impl<S> std::fmt::Debug for Evaluation<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rollouts(n) => f.debug_tuple("Rollouts").field(n).finish(),
            Self::Value(_) => f.debug_tuple("Value").finish_non_exhaustive(),
        }
    }
}

/// Monte-Carlo tree search: PUCT on the priors of the policy's proposals.
///
/// Every simulation walks down the tree to the edge of the largest
///
/// ```text
/// Q(s, a) + exploration prior(a|s) sqrt(sum_b N(s, b)) / (1 + N(s, a))
/// ```
///
/// opens the leaf it comes to, evaluates it, and adds what it is worth to every edge on the way. An episode is worth its score.
/// Q is the mean of an edge, between the least and the most that the tree has seen, as 0 and 1 (Schrittwieser et al.); an edge
/// that was never taken has the mean of its state. All that was found is kept, so the best episode of the tree and of its
/// rollouts is returned, and [`Outcome::estimate`](crate::Outcome::estimate) is the mean over all simulations, which nears the score of the best.
///
/// A leaf is opened at its state, so a language model reads its tokens anew, all at once; the steps of its rollouts cost one
/// each. One simulation of every start is made at a time.
///
/// # References
/// Silver et al., "Mastering the game of Go without human knowledge", 2017; Schrittwieser et al., "Mastering Atari, Go, Chess and
/// Shogi by Planning with a Learned Model", 2020 (how values are brought between 0 and 1).
#[derive(Debug)]
pub struct Mcts<'a, S> {
    /// How many simulations from each start.
    pub simulations: usize,
    /// How many proposals each state of the tree has.
    pub width: usize,
    /// The weight of the prior.
    pub exploration: f64,
    /// What leaves are worth.
    pub evaluation: Evaluation<'a, S>,
    /// How many episodes are returned, the best; as many as were found where those are fewer.
    pub n: usize,
}

impl<S> Mcts<'_, S> {
    /// One rollout for each leaf, an exploration of 1.25, and the best episode alone.
    pub fn new(simulations: usize, width: usize) -> Self {
        Self { simulations, width, exploration: 1.25, evaluation: Evaluation::Rollouts(1), n: 1 }
    }

    fn check(&self) -> Result<()> {
        at_least_one("the number of simulations", self.simulations)?;
        at_least_one("the number of proposals", self.width)?;
        at_least_one("the number of episodes to return", self.n)?;
        if let Evaluation::Rollouts(n) = self.evaluation {
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
    /// Opens leaves, one of a tree at most, and tells the trees what they are worth.
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
            Evaluation::Value(value) => {
                for (row, state) in rows.rows().iter().zip(rows.states()) {
                    trees[row.start].add(row.score + value(state))?;
                }
            }
            Evaluation::Rollouts(n) => roll_out(rows, trees, n)?,
        }
        Ok(())
    }
}

/// Goes on from every row to the end, `n` times, and tells the trees the mean score.
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

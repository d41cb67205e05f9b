//! Defines your own problem with three functions; everything else works.
//!
//! A walker crosses a river on stones, one step left, ahead or right at a time, and people prefer one crossing to
//! another by an unknown reward. The policy learns from their comparisons alone. The problem is small enough for an
//! exact solution, and the two agree: preferences suffice to find the optimal policy (the paper's Theorem 1).
//!
//! Run it with `cargo run --example 05_your_own_mdp`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use hybrid_dpo::mdp::{self, Enumerable, EpisodeOf, Explored, Mdp, Rng, Table, laws, soft_q};
use hybrid_dpo::objectives::{Logistic, Pairwise};
use hybrid_dpo::policies::{self, Tabular};
use hybrid_dpo::train::{Preferences, Settings, Source, Training};
use rand::SeedableRng;

/// A river, with this many rows and columns of stones.
struct River {
    length: usize,
    width: usize,
}

/// The walker's position. States are values: they are compared, kept and branched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stone {
    row: usize,
    column: usize,
}

/// A step: one row ahead, and one column to the left, to the right, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    Left,
    Ahead,
    Right,
}

impl Mdp for River {
    type Context = usize; // the column to start from
    type State = Stone;
    type Action = Go;

    fn start(&self, column: &usize) -> Stone {
        Stone { row: 0, column: *column }
    }

    fn step(&self, stone: &Stone, go: &Go) -> Stone {
        let column = match go {
            Go::Left => stone.column - 1,
            Go::Ahead => stone.column,
            Go::Right => stone.column + 1,
        };
        Stone { row: stone.row + 1, column }
    }

    fn is_terminal(&self, stone: &Stone) -> bool {
        stone.row == self.length
    }

    // Optional: the banks are steep.
    fn allows(&self, stone: &Stone, go: &Go) -> bool {
        match go {
            Go::Left => stone.column > 0,
            Go::Ahead => true,
            Go::Right => stone.column + 1 < self.width,
        }
    }
}

/// Optional too: enumerable actions have tables and exact solutions.
impl Enumerable for River {
    fn n_actions(&self) -> usize {
        3
    }

    fn action(&self, index: usize) -> Go {
        [Go::Left, Go::Ahead, Go::Right][index]
    }

    fn action_index(&self, go: &Go) -> usize {
        *go as usize
    }
}

/// The true reward of a stone, which the policy never sees.
fn dryness(stone: &Stone) -> f64 {
    [0.0, 0.5, 0.2, 0.9][(stone.row + 2 * stone.column) % 4]
}

/// People's preferences between crossings. `preference` is the share of people who prefer the first.
fn opinions(river: &River, crossings: &[EpisodeOf<River>]) -> Preferences<River> {
    let dryness_of = |crossing: &EpisodeOf<River>| -> f64 {
        let piece = &crossing.pieces[0];
        let walk = piece.actions.iter().scan(piece.start, |stone, go| {
            *stone = river.step(stone, go);
            Some(dryness(stone))
        });
        walk.sum()
    };
    let returns: Vec<f64> = crossings.iter().map(dryness_of).collect();
    let mut opinions = Preferences::new();
    for first in 0..crossings.len() {
        for second in first + 1..crossings.len() {
            let preference = 1.0 / (1.0 + (returns[second] - returns[first]).exp());
            opinions.push(crossings[first].clone(), crossings[second].clone(), preference);
        }
    }
    opinions
}

/// Compares the learned policy with the exact one, stone by stone.
fn compare(
    river: &River,
    policy: &Tabular<River>,
    explored: &Explored<Stone>,
    solved: &soft_q::SoftQ,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (finite, states) = (&explored.finite, &explored.states);
    println!("stone       left ahead right, learned / exact");
    let mut furthest: f64 = 0.0;
    for state in finite.states().filter(|state| !finite.is_terminal(state)) {
        let stone = states[state.place];
        if stone.row != state.time {
            continue; // no episode is on this stone at this time
        }
        let learned = policy.log_probs(river, &stone)?;
        let cells: Vec<String> = finite
            .allowed(&state)
            .into_iter()
            .map(|action| {
                let exact = solved.log_policy.at(state, action).exp();
                furthest = furthest.max((learned[action].exp() - exact).abs());
                format!("{:?} {:.3} / {exact:.3}", river.action(action), learned[action].exp())
            })
            .collect();
        println!("({}, {})  {}", stone.row, stone.column, cells.join("  "));
    }
    println!("the learned probabilities are within {furthest:.0e} of the exact ones");

    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let river = River { length: 4, width: 3 };
    let mut rng = Rng::seed_from_u64(0);

    // First test of every new problem: does it keep the laws?
    laws::check_enumerable(&river, &[0, 1, 2], laws::Walks::default(), &mut rng)?;

    // The exact answer, to compare with: write the problem out as a table and solve it.
    let beta = 0.5;
    let start = river.start(&1);
    let explored = mdp::explore(&river, &[start], 1000)?;
    let (finite, states) = (&explored.finite, &explored.states);
    let rewards = Table::from_fn(finite, |state, action| dryness(&states[finite.step(&state, &action).place]));
    let solved = soft_q::solve(finite, &rewards, &Table::uniform(finite), beta)?;

    // The data: all crossings from the middle, each compared with every other.
    let crossings = mdp::all_episodes(&river, &start, 1000)?;
    let opinions = opinions(&river, &crossings);

    // The same trainer as for a language model or a denoiser. All opinions are one batch.
    let (mut policy, reference) = (Tabular::new(&river), Tabular::new(&river));
    let objective = Pairwise::new(Logistic::new(beta)?);
    let n = opinions.len();
    let settings = Settings {
        batch_size: n,
        micro_batch_size: n,
        max_steps: Some(2001),
        rate: 20.0,
        warmup_steps: 0,
        max_gradient_norm: None,
        ..Settings::default()
    };
    let training = Training::new(&river, &opinions, &objective).reference(&reference).settings(settings);
    for (step, learned) in training.steps(&mut policy)?.enumerate() {
        let loss = learned?.loss;
        if step % 500 == 0 {
            println!("step {step:>4}: loss {loss:.6}");
        }
    }

    compare(&river, &policy, &explored, &solved)?;

    // Last: does the learner keep the laws of learners?
    policies::laws::check_learner(&river, &mut policy, &crossings, 1, 1e-9)?;
    Ok(())
}

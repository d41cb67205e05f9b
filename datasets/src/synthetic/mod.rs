//! Synthetic problems with known answers.
//!
//! A synthetic problem is a pure function of a seed: nothing is downloaded or stored, and results can be verified,
//! because the grammar that generated the data also scores answers.
//!
//! * [`tldr`]: short posts, good and bad summaries, and an oracle that counts the facts of any summary.
//! * [`shapes`]: coloured shapes with captions, and an oracle that reads a picture back.
//! * [`chimera`]: requests for creatures, refined prompts that tell their parts, and pictures of them.
//! * [`bins`]: segments of a gripper that fetches an object, scored by an oracle's advantage.
//! * [`motion`]: requests for moving shapes, a latent code for every frame, and clips of eight frames.
//! * [`arithmetic`]: sums that are worked step by step, and an oracle that finds the first wrong step.
//! * [`dialogue`]: conversation trees with ranked replies, whose lists and manners are graded.
//! * [`lookup`]: questions that a policy answers by looking things up in registers, the world of an agent.

use std::cmp::Ordering;

pub mod arithmetic;
pub mod bins;
pub mod chimera;
pub mod dialogue;
mod draw;
pub mod lookup;
pub mod motion;
mod pattern;
pub mod shapes;
pub mod tldr;
mod tokens;

/// The splits of a synthetic problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Training: about eight in ten.
    Train,
    /// Validation: about one in ten.
    Validation,
    /// Test: about one in ten.
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// The split's name.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    /// The split of a text: a function of the text alone, so that splits are disjoint.
    pub fn of(text: &str) -> Self {
        let hash = blake3::hash(text.as_bytes());
        let number = hash.as_bytes()[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        match number % 10 {
            0..8 => Split::Train,
            8 => Split::Validation,
            _ => Split::Test,
        }
    }
}

/// The result of comparing the first of two answers with the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ComparisonOutcome {
    /// The first scores higher.
    Win,
    /// Both score the same.
    Tie,
    /// The second scores higher.
    Loss,
}

impl ComparisonOutcome {
    /// The result as a share of a win: 1, 0.5 or 0.
    pub fn value(self) -> f64 {
        match self {
            ComparisonOutcome::Win => 1.0,
            ComparisonOutcome::Tie => 0.5,
            ComparisonOutcome::Loss => 0.0,
        }
    }
}

impl From<Ordering> for ComparisonOutcome {
    /// The result for the first, from the ordering of its score relative to the second's.
    fn from(order: Ordering) -> Self {
        match order {
            Ordering::Greater => ComparisonOutcome::Win,
            Ordering::Equal => ComparisonOutcome::Tie,
            Ordering::Less => ComparisonOutcome::Loss,
        }
    }
}

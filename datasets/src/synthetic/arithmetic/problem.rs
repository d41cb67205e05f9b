//! The problem's data by seed, split and index.

use super::Split;
use super::expression::{Expression, OPERATIONS, Operation, Solution};
use crate::synthetic::draw::RandomDraws;

/// An expression as somebody worked it, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The expression.
    pub expression: Expression,
    /// The worked steps.
    pub solution: Solution,
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArithmeticProblem {
    seed: u64,
}

impl ArithmeticProblem {
    /// Probability that a step of a demonstration has another digit as its result.
    pub const SLIP_RATE: f64 = 0.08;
    /// Probability that a step of a demonstration that must borrow takes the smaller digit from the larger.
    pub const HABIT_RATE: f64 = 0.6;

    /// Creates the problem of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Expression `index` of a split.
    pub fn expression(self, split: Split, index: u64) -> Expression {
        expression(split, &mut self.stream("expression", split, index))
    }

    /// Demonstration `index` of a split.
    pub fn demonstration(self, split: Split, index: u64) -> Demonstration {
        let mut draw = self.stream("demonstration", split, index);
        let expression = expression(split, &mut draw);
        let solution = Solution::by(&expression, |operation, first, second| {
            if operation.borrows(first, second) && draw.chance(Self::HABIT_RATE) {
                return second - first;
            }
            let right = operation.result(first, second);
            if draw.chance(Self::SLIP_RATE) { (right + 1 + draw.below(9) as u8) % 10 } else { right }
        });
        Demonstration { expression, solution }
    }

    fn stream(self, purpose: &str, split: Split, index: u64) -> RandomDraws {
        RandomDraws::new("hybrid-dpo arithmetic", purpose, &[self.seed, split as u64, index])
    }
}

/// Draws an expression of a split uniformly.
fn expression(split: Split, draw: &mut RandomDraws) -> Expression {
    loop {
        let first = draw.below(10) as u8;
        let operations = [(); OPERATIONS].map(|()| (draw.choose(&Operation::ALL), draw.below(10) as u8));
        let expression = Expression { first, operations };
        if Split::of(&expression.to_string()) == split {
            return expression;
        }
    }
}

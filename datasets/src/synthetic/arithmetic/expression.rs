//! Expressions and how they are worked.

use std::fmt;

/// Number of operations of an expression, each of which is a step.
pub const OPERATIONS: usize = 4;

/// An operation on digits, of whose result the last digit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The sum.
    Plus,
    /// The difference; below zero, ten is added.
    Minus,
    /// The product.
    Times,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 3] = [Self::Plus, Self::Minus, Self::Times];

    /// Its sign.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "x",
        }
    }

    /// The last digit of the result.
    pub fn result(self, first: u8, second: u8) -> u8 {
        match self {
            Self::Plus => (first + second) % 10,
            Self::Minus => (10 + first - second) % 10,
            Self::Times => (first * second) % 10,
        }
    }

    /// Whether the difference is below zero.
    pub fn borrows(self, first: u8, second: u8) -> bool {
        self == Self::Minus && first < second
    }
}

/// Five digits with four operations between them, worked from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    /// The first digit.
    pub first: u8,
    /// Each operation with the digit behind it.
    pub operations: [(Operation, u8); OPERATIONS],
}

impl Expression {
    /// The answer: the result of the last step.
    pub fn answer(&self) -> u8 {
        self.operations.iter().fold(self.first, |value, (operation, digit)| operation.result(value, *digit))
    }

    /// Reads the text of an expression; `None` for any other text.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let first = digit(words.next()?)?;
        let mut operations = [(Operation::Plus, 0); OPERATIONS];
        for operation in &mut operations {
            let sign = words.next()?;
            *operation = (Operation::ALL.into_iter().find(|known| known.word() == sign)?, digit(words.next()?)?);
        }
        words.next().is_none().then_some(Self { first, operations })
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.operations.iter().try_for_each(|(operation, digit)| write!(f, " {} {digit}", operation.word()))
    }
}

/// One digit.
pub(super) fn digit(word: &str) -> Option<u8> {
    (word.len() == 1).then(|| word.parse().ok()).flatten()
}

/// The result of each step, right or wrong; each goes on from the one before, and the answer is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Solution {
    /// The results.
    pub results: [u8; OPERATIONS],
}

impl Solution {
    /// The right solution.
    pub fn of(expression: &Expression) -> Self {
        Self::by(expression, Operation::result)
    }

    /// Works an expression by a function of operation and digits.
    pub(super) fn by(expression: &Expression, mut result: impl FnMut(Operation, u8, u8) -> u8) -> Self {
        let mut value = expression.first;
        let results = expression.operations.map(|(operation, digit)| {
            value = result(operation, value, digit);
            value
        });
        Self { results }
    }

    /// The answer.
    pub fn answer(&self) -> u8 {
        self.results[OPERATIONS - 1]
    }

    /// The worked steps and the answer: the response to a prompt.
    pub fn text(&self, expression: &Expression) -> String {
        let values = std::iter::once(expression.first).chain(self.results);
        let step = |((value, (operation, digit)), result): ((u8, &(Operation, u8)), u8)| {
            format!(" {value} {} {digit} = {result} ;", operation.word())
        };
        let steps: String = values.zip(&expression.operations).zip(self.results).map(step).collect();
        format!("{steps} answer {}", self.answer())
    }
}

//! The answer of a labeller.

use super::types::Side;

/// A labeller's choice between the sides of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LabelChoice {
    /// The first side is better.
    A,
    /// The second side is better.
    B,
    /// They are equally good.
    Tie,
    /// Undecided; counts as not judged.
    Skip,
}

impl LabelChoice {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::Tie, Self::Skip];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
            Self::Skip => "skip",
        }
    }

    /// The choice of this side.
    pub fn of(side: Side) -> Self {
        match side {
            Side::A => Self::A,
            Side::B => Self::B,
        }
    }

    /// The choice as P(`a` is better), from 0 to 1; `None` for a skip.
    pub fn share_of_a(self) -> Option<f64> {
        match self {
            Self::A => Some(1.0),
            Self::B => Some(0.0),
            Self::Tie => Some(0.5),
            Self::Skip => None,
        }
    }
}

//! How records are read that can be read in several ways.
use std::str::FromStr;

use crate::error::DatasetError;

/// Choices of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadingChoices {
    /// Of a conversation with one answer (`messages`), every turn of the assistant is the answer's, not only the last.
    pub assistant_only: bool,
    /// The comparisons of a conversation tree.
    pub tree_pairs: TreePairs,
}

/// The comparisons of sibling replies in a conversation tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TreePairs {
    /// A ranked list for every message with ranked replies: one item, whose loss decides what is compared.
    #[default]
    List,
    /// A pair for every two replies of neighbouring ranks.
    Adjacent,
    /// A pair for every two replies.
    All,
    /// A pair of the best and the worst reply.
    BestWorst,
    /// The whole conversation as one item, in which what its answers share is computed once: a comparison for every two
    /// sibling replies at every depth.
    Forest,
}

impl TreePairs {
    /// The pairs among `n` replies, as indices from best to worst: the better one first.
    pub fn of(self, n: usize) -> Vec<(usize, usize)> {
        match self {
            Self::List | Self::All | Self::Forest => (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect(),
            Self::Adjacent => (1..n).map(|b| (b - 1, b)).collect(),
            Self::BestWorst => {
                if n > 1 {
                    vec![(0, n - 1)]
                } else {
                    Vec::new()
                }
            }
        }
    }
}

impl FromStr for TreePairs {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        Ok(match name {
            "list" => Self::List,
            "adjacent" => Self::Adjacent,
            "all" => Self::All,
            "best-worst" => Self::BestWorst,
            "forest" => Self::Forest,
            _ => {
                let known = "list, adjacent, all, best-worst, forest".to_owned();
                return Err(DatasetError::UnknownName { what: "tree pairs", name: name.to_owned(), known });
            }
        })
    }
}

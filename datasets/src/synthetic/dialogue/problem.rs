//! The problem's data by seed, split and index.

use super::Split;
use super::reply::{Reply, THINGS, Turn};
use crate::synthetic::draw::RandomDraws;

/// Number of user turns of a conversation.
pub const TURNS: usize = 3;
/// Number of replies to a user's turn in a tree, one of each grade.
pub const SIBLINGS: usize = 4;
/// Number of replies after which a tree goes on.
pub const BRANCHES: usize = 2;

/// The ranked replies to one user's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiblingList {
    /// The turns before.
    pub before: Vec<Turn>,
    /// All that the user has brought, the last turn included.
    pub things: Vec<usize>,
    /// The replies, best first.
    pub replies: Vec<Reply>,
}

/// A conversation tree: its lists, parents first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The lists of replies.
    pub lists: Vec<SiblingList>,
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogueProblem {
    seed: u64,
}

impl DialogueProblem {
    /// Probability of a demonstrated reply to name something else in place of one of the things.
    pub const ERROR_RATE: f64 = 0.4;
    /// Probability of a demonstrated reply to be rude.
    pub const RUDE_RATE: f64 = 0.5;

    /// Creates the problem of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// What the user of conversation `index` of a split brings, turn by turn: different things.
    pub fn things(self, split: Split, index: u64) -> Vec<usize> {
        things(split, &mut self.stream("things", split, index))
    }

    /// Demonstration `index` of a split: a whole conversation.
    pub fn demonstration(self, split: Split, index: u64) -> Vec<Turn> {
        let mut draw = self.stream("demonstration", split, index);
        let things = things(split, &mut draw);
        let turn = |n: usize| {
            let (is_wrong, is_rude) = (draw.chance(Self::ERROR_RATE), draw.chance(Self::RUDE_RATE));
            Turn { thing: things[n], reply: reply(&things[..=n], !is_wrong, !is_rude, &mut draw) }
        };
        (0..TURNS).map(turn).collect()
    }

    /// Tree `index` of a split.
    pub fn tree(self, split: Split, index: u64) -> Tree {
        let mut draw = self.stream("tree", split, index);
        let things = things(split, &mut draw);
        let mut tree = Tree { lists: Vec::new() };
        let mut open: Vec<Vec<Turn>> = vec![Vec::new()];
        for n in 0..TURNS {
            let mut next = Vec::new();
            for before in open {
                let grade =
                    |grade: usize, draw: &mut RandomDraws| reply(&things[..=n], grade > 1, grade % 2 == 1, draw);
                let replies: Vec<Reply> = (0..SIBLINGS).rev().map(|of| grade(of, &mut draw)).collect();
                let ways: Vec<usize> = (0..SIBLINGS).collect();
                for way in draw.sample(&ways, BRANCHES) {
                    let turn = Turn { thing: things[n], reply: replies[way].clone() };
                    next.push([&before[..], &[turn]].concat());
                }
                tree.lists.push(SiblingList { before, things: things[..=n].to_vec(), replies });
            }
            open = next;
        }
        tree
    }

    fn stream(self, purpose: &str, split: Split, index: u64) -> RandomDraws {
        RandomDraws::new("hybrid-dpo dialogue", purpose, &[self.seed, split as u64, index])
    }
}

/// A reply to what was brought: right, or with another thing in one place.
fn reply(things: &[usize], is_right: bool, is_polite: bool, draw: &mut RandomDraws) -> Reply {
    let mut list = things.to_vec();
    if !is_right {
        let place = draw.below(list.len());
        list[place] = (list[place] + 1 + draw.below(THINGS.len() - 1)) % THINGS.len();
    }
    Reply { is_polite, list }
}

/// Draws the things of a conversation of a split uniformly.
fn things(split: Split, draw: &mut RandomDraws) -> Vec<usize> {
    let all: Vec<usize> = (0..THINGS.len()).collect();
    loop {
        let things = draw.sample(&all, TURNS);
        let words: Vec<&str> = things.iter().map(|thing| THINGS[*thing]).collect();
        if Split::of(&words.join(" ")) == split {
            return things;
        }
    }
}

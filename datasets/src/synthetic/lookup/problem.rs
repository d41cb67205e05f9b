//! The problem's data by seed, split and index.

use super::Split;
use super::question::{Attribute, Question, Register, Relation};
use super::tokens::{ANSWER, CALL_END, LOOK, token};
use crate::synthetic::draw::RandomDraws;

/// A question as somebody answered it, rightly or wrongly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The question.
    pub question: Question,
    /// The tokens of both calls and the answer, EOS included; the clerk's replies are not among them.
    pub decisions: Vec<u32>,
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupProblem {
    seed: u64,
}

impl LookupProblem {
    /// Probability of a demonstration to look in the register of buyers for a builder, or in that of homes for a job.
    pub const HABIT_RATE: f64 = 0.6;
    /// Probability to look in the wrong register the other way round.
    pub const SLIP_RATE: f64 = 0.15;
    /// Probability to answer something else than what was found.
    pub const UNFAITHFUL_RATE: f64 = 0.05;

    /// Creates the problem of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Question `index` of a split.
    pub fn question(self, split: Split, index: u64) -> Question {
        question(split, &mut self.stream("question", split, index))
    }

    /// Demonstration `index` of a split.
    pub fn demonstration(self, split: Split, index: u64) -> Demonstration {
        let mut draw = self.stream("demonstration", split, index);
        let question = question(split, &mut draw);
        let (first, second) =
            (first_register(question.relation, &mut draw), second_register(question.attribute, &mut draw));
        // Both registers of things have every thing, both of people every person.
        let person = first.entry(question.day, question.thing).unwrap_or_default();
        let found = second.entry(question.day, person).unwrap_or_default();
        let answer = if draw.chance(Self::UNFAITHFUL_RATE) {
            second.entry(draw.below(super::question::DAYS), person).unwrap_or_default()
        } else {
            found
        };
        let words =
            [LOOK, first.word(), question.thing, CALL_END, LOOK, second.word(), person, CALL_END, ANSWER, answer];
        Demonstration { question, decisions: words.into_iter().map(token).chain([0]).collect() }
    }

    fn stream(self, purpose: &str, split: Split, index: u64) -> RandomDraws {
        RandomDraws::new("hybrid-dpo lookup", purpose, &[self.seed, split as u64, index])
    }
}

fn first_register(relation: Relation, draw: &mut RandomDraws) -> Register {
    match relation {
        Relation::Bought if draw.chance(LookupProblem::SLIP_RATE) => Register::Plans,
        Relation::Built if draw.chance(LookupProblem::HABIT_RATE) => Register::Deeds,
        Relation::Bought | Relation::Built => relation.register(),
    }
}

fn second_register(attribute: Attribute, draw: &mut RandomDraws) -> Register {
    match attribute {
        Attribute::Home if draw.chance(LookupProblem::SLIP_RATE) => Register::Jobs,
        Attribute::Job if draw.chance(LookupProblem::HABIT_RATE) => Register::Homes,
        Attribute::Home | Attribute::Job => attribute.register(),
    }
}

/// Draws a question of a split uniformly.
fn question(split: Split, draw: &mut RandomDraws) -> Question {
    loop {
        let question = Question::draw(draw);
        if Split::of(&question.to_string()) == split {
            return question;
        }
    }
}

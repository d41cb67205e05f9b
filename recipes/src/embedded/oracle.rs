//! Oracles of embedded problems.
use std::fmt;

use datasets::images::Pixels;
use datasets::synthetic::{Outcome, Split};
use train::statistics::wilson;

use super::{EmbeddedProblem, problems};
use crate::Failure;

/// Prompts on which an oracle compares two models.
const PROMPTS: u64 = 256;

/// A judge of answers, which knows what a request wants by reading it. `None` where it is no request of its problem.
pub(crate) struct Oracle<A: ?Sized + 'static> {
    /// How good an answer is.
    pub(crate) score: fn(&str, &A) -> Option<f64>,
    /// How the first of two answers fares against the second.
    pub(crate) compare: fn(&str, &A, &A) -> Option<Outcome>,
    /// Scores that differ by no more than this are a tie.
    pub(crate) tie: f64,
    /// Numbers of an answer that a table shows beside the win rate, each with its name.
    pub(crate) details: &'static [Detail<A>],
    /// The word for its requests in tables.
    pub(crate) unit: &'static str,
}

/// The name of a number, and the number.
pub(crate) type Detail<A> = (&'static str, fn(&str, &A) -> Option<f64>);

/// A judge of texts.
pub(crate) type TextOracle = Oracle<str>;

/// A judge of pictures.
pub(crate) type PictureOracle = Oracle<Pixels>;

/// A judge, by what it judges.
pub(crate) enum AnyOracle {
    Texts(TextOracle),
    Pictures(PictureOracle),
}

impl AnyOracle {
    /// The judge of texts, if it is one.
    pub(crate) fn texts(&self) -> Option<&TextOracle> {
        match self {
            Self::Texts(oracle) => Some(oracle),
            Self::Pictures(_) => None,
        }
    }

    /// The judge of pictures, if it is one.
    pub(crate) fn pictures(&self) -> Option<&PictureOracle> {
        match self {
            Self::Pictures(oracle) => Some(oracle),
            Self::Texts(_) => None,
        }
    }

    /// Whether a text is a request of its problem.
    #[cfg(test)]
    pub(super) fn reads(&self, request: &str) -> bool {
        match self {
            Self::Texts(oracle) => (oracle.score)(request, "").is_some(),
            Self::Pictures(oracle) => (oracle.score)(request, &Pixels::from_fn(1, 1, |_, _, _| 0.0)).is_some(),
        }
    }
}

impl Oracle<str> {
    /// How the oracle that knows a request compares two texts.
    pub(crate) fn compare_texts(request: &str, a: &str, b: &str) -> Option<Outcome> {
        problems().filter_map(|problem| problem.oracle.texts()).find_map(|oracle| (oracle.compare)(request, a, b))
    }
}

impl Oracle<Pixels> {
    /// How the oracle that knows a request compares two pictures.
    pub(crate) fn compare_pictures(request: &str, a: &Pixels, b: &Pixels) -> Option<Outcome> {
        problems().filter_map(|problem| problem.oracle.pictures()).find_map(|oracle| (oracle.compare)(request, a, b))
    }
}

impl<A: ?Sized> Oracle<A> {
    /// How good an answer to a request of its problem is.
    ///
    /// # Errors
    /// It is no request of its problem.
    pub(crate) fn score(&self, request: &str, answer: &A) -> Result<f64, Failure> {
        (self.score)(request, answer).ok_or_else(|| unknown(request))
    }

    /// How much of a win an answer is over another: 1, 0.5 or 0.
    ///
    /// # Errors
    /// It is no request of its problem.
    pub(crate) fn win(&self, request: &str, a: &A, b: &A) -> Result<f64, Failure> {
        (self.compare)(request, a, b).map(Outcome::value).ok_or_else(|| unknown(request))
    }
}

fn unknown(request: &str) -> Failure {
    Failure::failed(format!("the oracle knows no request `{request}`"))
}

/// How often one model's answers beat another's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WinRate {
    rate: f64,
    interval: (f64, f64),
    /// The means of the oracle's details, of the model and of the other.
    details: Vec<(&'static str, f64, f64)>,
    unit: &'static str,
}

impl WinRate {
    /// The test prompts of a problem that two models are compared on; training has seen none of them.
    pub(crate) fn prompts(problem: &EmbeddedProblem, seed: u64) -> Vec<String> {
        problem.prompts(seed, Split::Test, PROMPTS)
    }

    /// Compares an answer of each model to each request.
    pub(crate) fn of<'a, A: ?Sized>(
        oracle: &Oracle<A>,
        answers: &(impl Iterator<Item = (&'a str, &'a A, &'a A)> + Clone),
    ) -> Result<Self, Failure> {
        let (mut wins, mut n) = (0.0, 0.0);
        for (request, ours, theirs) in answers.clone() {
            wins += oracle.win(request, ours, theirs)?;
            n += 1.0;
        }
        let mut details = Vec::with_capacity(oracle.details.len());
        for (name, number) in oracle.details {
            let number = |request: &str, answer| number(request, answer).ok_or_else(|| unknown(request));
            let mut sums = (0.0, 0.0);
            for (request, ours, theirs) in answers.clone() {
                sums = (sums.0 + number(request, ours)?, sums.1 + number(request, theirs)?);
            }
            details.push((*name, sums.0 / n, sums.1 / n));
        }
        Ok(Self { rate: wins / n, interval: wilson(wins, n), details, unit: oracle.unit })
    }
}

impl fmt::Display for WinRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ours, theirs) in &self.details {
            writeln!(f, "{name:<32}{theirs:>12.2}{ours:>12.2}")?;
        }
        let (rate, (low, high), unit) = (self.rate, self.interval, self.unit);
        let name = "win rate over the start";
        write!(f, "{name:<32}{rate:>12.3} (95%: {low:.3} to {high:.3}, {PROMPTS} {unit}, oracle)")
    }
}

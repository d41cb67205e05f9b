//! Oracles of embedded problems.
use std::fmt;

use datasets::images::Pixels;
use datasets::synthetic::{ComparisonOutcome, Split};
use train::statistics::wilson;

use super::{EmbeddedProblem, problems};
use crate::{Estimate, Failure};

/// Prompts on which an oracle compares two models, unless a caller names another number.
pub(crate) const PROMPTS: u64 = 256;

/// A programmatic judge of answers, which parses the request. `None` for a request of another problem.
pub(crate) struct Oracle<A: ?Sized + 'static> {
    /// The score of an answer.
    pub(crate) score: fn(&str, &A) -> Option<f64>,
    /// The outcome of the first of two answers against the second.
    pub(crate) compare: fn(&str, &A, &A) -> Option<ComparisonOutcome>,
    /// Scores that differ by no more than this are a tie.
    pub(crate) tie: f64,
    /// Metrics of an answer that a table shows beside the win rate, each with its name.
    pub(crate) details: &'static [Detail<A>],
    /// The noun for its requests in tables.
    pub(crate) unit: &'static str,
}

/// A metric's name and function.
pub(crate) type Detail<A> = (&'static str, fn(&str, &A) -> Option<f64>);

/// A judge of texts.
pub(crate) type TextOracle = Oracle<str>;

/// A judge of pictures.
pub(crate) type PictureOracle = Oracle<Pixels>;

/// A judge of either kind of answer.
pub(crate) enum AnyOracle {
    Texts(TextOracle),
    Pictures(PictureOracle),
}

impl AnyOracle {
    /// The text judge, if it is one.
    pub(crate) fn texts(&self) -> Option<&TextOracle> {
        match self {
            Self::Texts(oracle) => Some(oracle),
            Self::Pictures(_) => None,
        }
    }

    /// The picture judge, if it is one.
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
    /// Compares two texts with the oracle that recognises the request.
    pub(crate) fn compare_texts(request: &str, a: &str, b: &str) -> Option<ComparisonOutcome> {
        problems().filter_map(|problem| problem.oracle.texts()).find_map(|oracle| (oracle.compare)(request, a, b))
    }
}

impl Oracle<Pixels> {
    /// Compares two pictures with the oracle that recognises the request.
    pub(crate) fn compare_pictures(request: &str, a: &Pixels, b: &Pixels) -> Option<ComparisonOutcome> {
        problems().filter_map(|problem| problem.oracle.pictures()).find_map(|oracle| (oracle.compare)(request, a, b))
    }
}

impl<A: ?Sized> Oracle<A> {
    /// The score of an answer to a request.
    ///
    /// # Errors
    /// A request of another problem.
    pub(crate) fn score(&self, request: &str, answer: &A) -> Result<f64, Failure> {
        (self.score)(request, answer).ok_or_else(|| unknown(request))
    }

    /// The win of an answer over another: 1, 0.5 or 0.
    ///
    /// # Errors
    /// A request of another problem.
    pub(crate) fn win(&self, request: &str, a: &A, b: &A) -> Result<f64, Failure> {
        (self.compare)(request, a, b).map(ComparisonOutcome::value).ok_or_else(|| unknown(request))
    }
}

fn unknown(request: &str) -> Failure {
    Failure::failed(format!("the oracle knows no request `{request}`"))
}

/// A policy as an embedded problem's oracle judges it, on test prompts that no run learns from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedPolicy {
    /// Which policy: `start`, `policy`; of a hybrid the row of its table.
    pub name: &'static str,
    /// The mean score of its answers, in the problem's unit.
    pub score: f64,
    /// How often its answer is better than that of the first policy, ties counting half, with a 95% interval (Wilson);
    /// `None` for the first.
    pub win_rate: Option<Estimate>,
}

/// The win rate of one model over another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WinRate {
    rate: f64,
    interval: (f64, f64),
    /// The number of answers of each.
    n: usize,
    /// The mean scores of the model and of the other.
    scores: (f64, f64),
    /// Means of the oracle's metrics, of the model and of the other.
    details: Vec<(&'static str, f64, f64)>,
    unit: &'static str,
}

impl WinRate {
    /// The test prompts of a problem on which two models are compared; they are not in the training data.
    pub(crate) fn prompts(problem: &EmbeddedProblem, seed: u64, n: u64) -> Vec<String> {
        problem.prompts(seed, Split::Test, n)
    }

    /// The judgement of the other, named the start, and of the model.
    pub(crate) fn judged(&self) -> Vec<JudgedPolicy> {
        let (value, (low, high)) = (self.rate, self.interval);
        let win_rate = Some(Estimate { value, low, high });
        vec![
            JudgedPolicy { name: "start", score: self.scores.1, win_rate: None },
            JudgedPolicy { name: "policy", score: self.scores.0, win_rate },
        ]
    }

    /// Compares an answer of each model to each request.
    pub(crate) fn of<'a, A: ?Sized>(
        oracle: &Oracle<A>,
        answers: &(impl Iterator<Item = (&'a str, &'a A, &'a A)> + Clone),
    ) -> Result<Self, Failure> {
        let (mut wins, mut n, mut scores) = (0.0, 0.0, (0.0, 0.0));
        for (request, ours, theirs) in answers.clone() {
            wins += oracle.win(request, ours, theirs)?;
            scores = (scores.0 + oracle.score(request, ours)?, scores.1 + oracle.score(request, theirs)?);
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
        let (rate, interval, scores) = (wins / n, wilson(wins, n), (scores.0 / n, scores.1 / n));
        Ok(Self { rate, interval, n: n as usize, scores, details, unit: oracle.unit })
    }
}

impl fmt::Display for WinRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ours, theirs) in &self.details {
            writeln!(f, "{name:<32}{theirs:>12.2}{ours:>12.2}")?;
        }
        let (rate, (low, high), n, unit) = (self.rate, self.interval, self.n, self.unit);
        let name = "win rate over the start";
        write!(f, "{name:<32}{rate:>12.3} (95%: {low:.3} to {high:.3}, {n} {unit})")
    }
}

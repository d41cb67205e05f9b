//! Every law is broken here once, by a policy with one fault.
use std::cell::Cell;

use mdp::{Channels, Episode, Finite, FiniteState};

use super::*;
use crate::tabular::Decision;
use crate::{Cursor, PolicyError, Proposal, Replay, Tabular, VisitGradient};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Ignores the generator.
    ForgetsTheGenerator,
    /// Samples an action that does not exist.
    SamplesTheForbidden,
    /// Numbers depend on the size of the batch.
    LooksAtTheBatch,
    /// Scores minus infinity.
    ScoresInfinity,
    /// Proposals say twice the log-probability.
    ProposesWrongNumbers,
    /// Rows that were selected have other log-probabilities.
    CursorForgets,
    /// Several actions of a row are scored as if they were one.
    CursorMixesCandidates,
    /// `forward` disagrees with `score`.
    ForwardDiffers,
    /// `backward` overwrites the gradient instead of adding to it.
    Overwrites,
    /// The gradient is that of a uniform table.
    TurnsTheGradient,
    /// Writes of a gradient visitor are lost.
    ShowsACopy,
}

struct Faulty {
    table: Tabular<Finite>,
    fault: Fault,
    calls: Cell<usize>,
}

impl Policy<Finite> for Faulty {
    fn propose(
        &self,
        mdp: &Finite,
        states: &[FiniteState],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<usize>>>, PolicyError> {
        let mut lists = self.table.propose(mdp, states, k, rng)?;
        if self.fault == Fault::ProposesWrongNumbers {
            lists.iter_mut().flatten().for_each(|proposal| proposal.log_prob *= 2.0);
        }
        Ok(lists)
    }

    fn sample(&self, mdp: &Finite, states: &[FiniteState], rng: &mut Rng) -> Result<Vec<usize>, PolicyError> {
        self.calls.set(self.calls.get() + 1);
        match self.fault {
            Fault::ForgetsTheGenerator => Ok(vec![self.calls.get() % 2; states.len()]),
            Fault::SamplesTheForbidden => Ok(vec![99; states.len()]),
            _ => self.table.sample(mdp, states, rng),
        }
    }

    fn score(&self, mdp: &Finite, episodes: &[EpisodeOf<Finite>]) -> Result<Channels, PolicyError> {
        let mut channels = self.table.score(mdp, episodes)?;
        match self.fault {
            Fault::LooksAtTheBatch => channels.log_probs.values_mut()[0] -= episodes.len() as f64,
            Fault::ScoresInfinity => channels.log_probs.values_mut()[0] = f64::NEG_INFINITY,
            _ => (),
        }
        Ok(channels)
    }

    fn cursor<'a>(
        &'a self,
        mdp: &'a Finite,
        states: &[FiniteState],
    ) -> Result<Box<dyn Cursor<Finite> + 'a>, PolicyError> {
        let cursor = Box::new(Replay::new(&self.table, mdp, states));
        Ok(match self.fault {
            Fault::CursorForgets => Box::new(Off(cursor, 0.0, 1.0)),
            Fault::CursorMixesCandidates => Box::new(Off(cursor, 0.0, 0.0)),
            _ => cursor,
        })
    }
}

/// A cursor that is off by an amount for every row selection, or gives every candidate the log-probability of the
/// first.
struct Off<'a>(Box<dyn Cursor<Finite> + 'a>, f64, f64);

impl Cursor<Finite> for Off<'_> {
    fn states(&self) -> &[FiniteState] {
        self.0.states()
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<usize>>>, PolicyError> {
        self.0.expand(k, rngs)
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<usize>, PolicyError> {
        self.0.draw(rngs)
    }

    fn log_probs(&mut self, actions: &[usize]) -> Result<Vec<f64>, PolicyError> {
        Ok(self.0.log_probs(actions)?.into_iter().map(|log_prob| log_prob + self.1).collect())
    }

    fn log_probs_of(&mut self, candidates: &[Vec<usize>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        let lists = self.0.log_probs_of(candidates)?;
        Ok(lists.into_iter().map(|list| vec![list[0] + self.1; list.len()]).collect())
    }

    fn advance(&mut self, actions: &[usize]) -> Result<(), PolicyError> {
        self.0.advance(actions)
    }

    fn select(&mut self, rows: &[usize]) {
        self.1 += self.2;
        self.0.select(rows);
    }

    fn extend(&mut self, states: &[FiniteState]) -> Result<(), PolicyError> {
        self.0.extend(states)
    }
}

impl Learner<Finite> for Faulty {
    type Tape = Vec<Vec<Decision<FiniteState>>>;

    fn forward(&self, mdp: &Finite, episodes: &[EpisodeOf<Finite>]) -> Result<(Channels, Self::Tape), PolicyError> {
        let (mut channels, mut tape) = self.table.forward(mdp, episodes)?;
        if self.fault == Fault::TurnsTheGradient {
            tape = Tabular::new(mdp).forward(mdp, episodes)?.1;
        }
        if self.fault == Fault::ForwardDiffers {
            channels.log_probs.values_mut()[0] += 1.0;
        }
        Ok((channels, tape))
    }

    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), PolicyError> {
        if self.fault == Fault::Overwrites {
            self.table.update(0.0, None)?;
        }
        self.table.backward(tape, slopes)
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        if self.fault == Fault::ShowsACopy {
            return Learner::<Finite>::visit_gradients(&mut self.table.clone(), visit);
        }
        Learner::<Finite>::visit_gradients(&mut self.table, visit)
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        Learner::<Finite>::gradient_norm(&self.table)
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        self.table.update(rate, max_gradient_norm)
    }
}

fn faulty(fault: Fault) -> Faulty {
    let mdp = Finite::bandit(3);
    let mut table = Tabular::new(&mdp);
    table.set_logits(FiniteState::default(), vec![0.3, -0.2, 0.9]);
    Faulty { table, fault, calls: Cell::new(0) }
}

/// Checks all laws in turn; returns the message of the first violation.
fn first_violation(fault: Fault) -> Option<String> {
    let mdp = Finite::bandit(3);
    let starts = [FiniteState::default(); 4];
    let episodes: Vec<_> = [0, 2, 1, 1].map(|arm| Episode::whole(starts[0], vec![arm])).into();
    let all = || -> Result<(), BoxError> {
        check_policy(&mdp, &faulty(fault), &starts, 0, 1e-9)?;
        check_proposals(&mdp, &faulty(fault), &starts, 2, 1e-9)?;
        check_cursor(&mdp, &faulty(fault), &starts, 0, 2, 1e-9)?;
        check_learner(&mdp, &mut faulty(fault), &episodes, 0, 1e-9)?;
        check_gradient(&mdp, || faulty(fault), &episodes, 0, 1e-5, 1e-6)
    };
    all().err().map(|error| error.to_string())
}

#[test]
fn each_broken_law_is_found() {
    let check = |fault, expected: &str| {
        let message = first_violation(fault).unwrap_or_else(|| panic!("{fault:?} is not found"));
        assert!(message.contains(expected), "{fault:?}: {message}");
    };
    assert_eq!(first_violation(Fault::None), None);
    check(Fault::ForgetsTheGenerator, "the same generator gave different actions");
    check(Fault::SamplesTheForbidden, "sample gave an action that is not allowed");
    check(Fault::LooksAtTheBatch, "batch composition: the log-probabilities of decision 0 of episode 0");
    check(Fault::ScoresInfinity, "decision 0 of episode 0 is scored -inf");
    check(Fault::ProposesWrongNumbers, "proposal 0 says");
    check(Fault::CursorForgets, "a cursor is one opened at its states");
    check(Fault::CursorMixesCandidates, "several actions of a row are scored as one by one");
    check(Fault::ForwardDiffers, "forward is score");
    check(Fault::Overwrites, "backward adds up");
    check(Fault::TurnsTheGradient, "finite differences along the gradient");
    check(Fault::ShowsACopy, "a visitor writes the gradient");
}

#[test]
fn a_slope_is_checked_against_its_function() {
    let square = |moved: f64| Ok((3.0 + moved) * (3.0 + moved));
    assert!(check_slope(square, 6.0, 1e-5, 1e-8).is_ok());
    assert!(check_slope(square, 5.9, 1e-5, 1e-8).is_err());
}

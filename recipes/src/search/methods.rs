//! Runs the method that the settings name.
use ::search::{
    Beam, BestOfN, DiverseBeam, EarlyStopping, Found, Greedy, LeafEvaluation, LogProbs, Mcts, Method, Outcome,
    OutcomeOf, Rerank, Sampling, Search, Smc,
};
use engine::Noise;
use mdp::{Mdp, Rng};
use policies::{Policy, PolicyError};

use super::{Cast, pairs};
use crate::divided::{Sent, Travels, chunks, in_turns, places};
use crate::sampled::SearchNumbers;
use crate::settings::{EarlyStoppingName, SearchMethod, SearchScore, Values};
use crate::{Call, Failure};

/// Rows that are searched side by side, about: bounds the memory of a step, and how long a wish to stop waits.
const ROWS: usize = 64;

/// Searches from every start, as [`each`] does, and keeps all outcomes.
pub(super) fn all<M: Mdp<Action: Travels>, P: Policy<M>>(
    call: &Call<'_>,
    mdp: &M,
    cast: &Cast<P>,
    starts: (&[M::State], &[usize]),
    run: impl Fn(&mut Running<'_, '_, M>) -> ::search::Result<Vec<OutcomeOf<M>>>,
) -> Result<Vec<OutcomeOf<M>>, Failure> {
    let mut outcomes = Vec::with_capacity(starts.0.len());
    each(call, mdp, cast, starts, run, |_, outcome| {
        outcomes.push(outcome);
        Ok(())
    })?;
    Ok(outcomes)
}

/// Searches from every start, for at most `longest` decisions each, some starts at a time; each has a stream of chance of its
/// own. `run` makes the method, and `done` gets the index and the outcome of each start, in order. Several processes divide the
/// starts, and that of the leader alone gets anything.
pub(super) fn each<M: Mdp<Action: Travels>, P: Policy<M>>(
    call: &Call<'_>,
    mdp: &M,
    cast: &Cast<P>,
    (starts, longest): (&[M::State], &[usize]),
    run: impl Fn(&mut Running<'_, '_, M>) -> ::search::Result<Vec<OutcomeOf<M>>>,
    mut done: impl FnMut(usize, OutcomeOf<M>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let values = &call.values;
    let (score, verifying) = sought::<M, P>(values, cast);
    let search = Search { budget: values.search.budget(), ..Search::new(mdp, &cast.policy, &score) };
    let noise = Noise::new(values.run.seed());
    let at_once = (ROWS / rows(values).max(1)).max(1);
    let bar = call.reporter.bar("search", starts.len());
    let of = |chunk: usize| places(chunk, at_once, starts.len());
    let work = |chunk: usize| {
        let mut rngs: Vec<Rng> = of(chunk).map(|i| noise.stream("search", i as u64)).collect();
        let (starts, longest) = (&starts[of(chunk)], &longest[of(chunk)]);
        let mut running = Running { call, search, verifying: verifying.as_ref(), starts, longest, rngs: &mut rngs };
        Ok(run(&mut running)?.into_iter().map(Sent::of).collect::<Vec<_>>())
    };
    in_turns(call.reporter.ranks(), chunks(starts.len(), at_once), work, |chunk, outcomes| {
        for (i, outcome) in of(chunk).zip(outcomes) {
            done(i, outcome.from(&starts[i]))?;
        }
        bar.set_position(of(chunk).end as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// The number of rows of a start.
fn rows(values: &Values) -> usize {
    match values.search.method() {
        SearchMethod::Greedy | SearchMethod::Mcts => 1,
        SearchMethod::Sample => n(values),
        SearchMethod::Refinements => values.search.width().saturating_mul(values.search.pictures()),
        SearchMethod::BestOf
        | SearchMethod::Beam
        | SearchMethod::Diverse
        | SearchMethod::Smc
        | SearchMethod::Verifier => values.search.width(),
    }
}

/// The score that guides the search, and the one that ranks its samples if that is another.
fn sought<'p, M: Mdp, P: Policy<M>>(values: &Values, cast: &'p Cast<P>) -> (LogProbs<'p, M>, Option<LogProbs<'p, M>>) {
    let beta = || values.objective.beta();
    let reference = cast.reference.as_ref().filter(|_| values.search.score() == SearchScore::Implicit);
    if let Some(verifier) = &cast.verifier {
        let ranks = match reference {
            Some(reference) => LogProbs::implicit_reward_of(beta(), verifier, reference),
            None => LogProbs::likelihood_of(verifier),
        };
        return (LogProbs::likelihood(), Some(ranks));
    }
    let score = match (reference, &cast.guides) {
        (Some(reference), _) => LogProbs::implicit_reward(beta(), reference),
        (None, Some([tuned, untuned])) => LogProbs::weak_to_strong(values.search.strength(), tuned, untuned),
        (None, None) => LogProbs::likelihood(),
    };
    (score, None)
}

/// A search that is about to run from some starts.
pub(super) struct Running<'a, 's, M: Mdp> {
    pub(super) call: &'a Call<'a>,
    search: Search<'s, M>,
    verifying: Option<&'a LogProbs<'s, M>>,
    starts: &'a [M::State],
    longest: &'a [usize],
    rngs: &'a mut [Rng],
}

impl<M: Mdp> Running<'_, '_, M> {
    /// Runs a method, unless a stop is requested.
    pub(super) fn by(&mut self, method: &dyn Method<M>) -> ::search::Result<Vec<OutcomeOf<M>>> {
        let reporter = self.call.reporter;
        let mut watch = |_: ::search::Progress<'_>| {
            if reporter.is_stopped() { Err(PolicyError::Interrupted) } else { Ok(()) }
        };
        self.search.run_watched(method, self.starts, self.longest, self.rngs, &mut watch)
    }
}

impl<M: Mdp<Action: PartialEq>> Running<'_, '_, M> {
    /// Runs the method that the settings name; `candidates` continuations are looked at for each row of a beam.
    pub(super) fn named(&mut self, candidates: usize) -> ::search::Result<Vec<OutcomeOf<M>>> {
        let values = &self.call.values;
        let (n, width) = (n(values), values.search.width());
        match values.search.method() {
            SearchMethod::Greedy => {
                let is_likelihood = values.search.score() == SearchScore::Likelihood;
                self.by(&Greedy { among: if is_likelihood { 1 } else { width } })
            }
            SearchMethod::Sample => self.by(&Sampling { n }),
            SearchMethod::BestOf => self.by(&BestOfN { n: width, keep: n }),
            SearchMethod::Beam | SearchMethod::Refinements => self.by(&beam(values, n, candidates)),
            SearchMethod::Diverse => {
                let (groups, penalty) = (values.search.groups(), values.search.diversity());
                self.by(&DiverseBeam { beam: beam(values, n, candidates), groups, penalty })
            }
            SearchMethod::Mcts => {
                let (simulations, exploration) = (values.search.simulations(), values.search.exploration());
                self.by(&Mcts { simulations, width, exploration, evaluation: LeafEvaluation::Rollouts(1), n })
            }
            SearchMethod::Smc => self.by(&Smc { n: width, threshold: values.search.threshold() }),
            SearchMethod::Verifier => {
                let (method, likelihood) = (Sampling { n: width }, LogProbs::likelihood());
                let score = self.verifying.unwrap_or(&likelihood);
                self.by(&Rerank { method: &method, score, keep: n })
            }
        }
    }
}

/// The number of episodes to return: of pairs all that there are, so that sides can be chosen among them.
pub(super) fn n(values: &Values) -> usize {
    if values.label.pairs().is_some() { pairs::n_searched(values) } else { values.sample.n() }
}

/// A beam by the settings that returns its `n` best.
pub(super) fn beam(values: &Values, n: usize, candidates: usize) -> Beam {
    let early_stopping = match values.search.early_stopping() {
        EarlyStoppingName::True => EarlyStopping::WhenFull,
        EarlyStoppingName::False => EarlyStopping::Heuristic,
        EarlyStoppingName::Never => EarlyStopping::Never,
    };
    let (width, length_penalty) = (values.search.width(), values.search.length_penalty());
    Beam { width, n, length_penalty, early_stopping, candidates }
}

/// The finished pictures of an outcome, each with its numbers.
pub(super) fn described<'o, S, A>(
    values: &Values,
    outcome: &'o Outcome<S, A>,
) -> impl Iterator<Item = (&'o Found<S, A>, SearchNumbers)> {
    all_described(values, outcome).filter(|(found, _)| found.is_finished)
}

/// All of an outcome, each with its numbers.
pub(super) fn all_described<'o, S, A>(
    values: &Values,
    outcome: &'o Outcome<S, A>,
) -> impl Iterator<Item = (&'o Found<S, A>, SearchNumbers)> {
    let (evaluations, method) = (outcome.spent.evaluations, values.search.method());
    outcome.found.iter().zip(pairs::ranks(&outcome.found)).map(move |(found, rank)| {
        let numbers = SearchNumbers {
            rank,
            score: found.score,
            log_prob: found.log_prob(),
            length: found.length(),
            evaluations,
            weight: (method == SearchMethod::Smc).then_some(found.weight),
        };
        (found, numbers)
    })
}

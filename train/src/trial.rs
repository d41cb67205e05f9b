//! What a step costs, before the first is taken.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mdp::{Channels, Mdp, weights};
use objectives::Scores;
use policies::Learner;

use crate::evaluate::read;
use crate::ranks::{Numbers, exchange};
use crate::safeguard::guard;
use crate::step::{Loss, Reference, Slice, SliceOf, StepAt, evaluate_scores};
use crate::training::{batch, slices};
use crate::{ReferenceCache, Source, TrainError, Training};

/// A measured first step that was discarded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Seconds that a whole step takes at this speed.
    pub step_seconds: f64,
    /// Mean size of an example, in [`Source::UNIT`].
    pub size: f64,
    /// Number of trained parameters.
    pub parameters: usize,
}

impl<M: Mdp, S: Source<Mdp = M>> Training<'_, M, S> {
    /// Number of training examples.
    pub fn examples(&self) -> usize {
        self.data.len()
    }

    /// Number of held-out examples of an evaluation.
    pub fn eval_examples(&self) -> usize {
        self.held_out.map_or(0, |data| data.len().min(self.settings.eval_examples))
    }

    /// Measures the first micro-batch of the first step: reads, scores and backpropagates it, and discards the gradient.
    /// Neither the policy nor the reference's cache changes.
    ///
    /// # Errors
    /// As the first step of [`run`](Self::run).
    pub fn try_step<L: Learner<M>>(&self, policy: &mut L) -> Result<Trial, TrainError> {
        if self.data.is_empty() {
            return Err(TrainError::Empty("training"));
        }
        self.prepare(policy)?;
        let failed = |source| TrainError::of_policy(0, source);
        let begun = Instant::now();
        let slices = batch(self.data, &self.settings, (0, self.ranks.size()))?;
        let reading = begun.elapsed().as_secs_f64();
        let examples: usize = slices.iter().map(|slice| slice.examples.len()).sum();
        let Some(slice) = slices.first() else { return Err(TrainError::Empty("training")) };
        let begun = Instant::now();
        let mut reference = Reference { policy: self.reference, cache: ReferenceCache::default() };
        let loss = Loss { objective: self.objective, measure: &|slice, scores| self.data.measure(slice, scores) };
        let (numbers, tape) = policy.forward(self.mdp, &slice.episodes).map_err(failed)?;
        let at = StepAt::of(&self.settings, 0, self.settings.schedule(self.data.len()));
        let other = at.reference_numbers(self.mdp, policy, &mut reference, self.objective, slice)?;
        let scores = Scores { policy: &numbers, reference: other.as_ref(), weights: &weights(&slice.episodes) };
        let (mut evaluation, _) = evaluate_scores(loss, slice, scores, 0)?;
        if let Some(share) = at.safeguard {
            guard(policy, &tape, slice, &mut evaluation.slopes, (share, 0))?;
        }
        policy.backward(tape, &evaluation.slopes).map_err(failed)?;
        let seconds = begun.elapsed().as_secs_f64();
        let mut parameters = 0;
        let counted = policy.visit_gradients(&mut |_, slopes| {
            parameters += slopes.len();
            Ok(())
        });
        counted.and_then(|()| policy.discard_gradient()).map_err(failed)?;
        let tried = slice.examples.len().max(1) as f64;
        Ok(Trial {
            step_seconds: reading + seconds * examples as f64 / tried,
            size: slice.size as f64 / tried,
            parameters,
        })
    }

    /// Computes the reference's numbers of all examples that a run reads, to the bit as the run does, and writes them to the
    /// [`cache`](Self::cache); those that it has are kept. `scored` hears how many there are, and of how many; `stop` ends the work early, with
    /// what is known written. Returns both numbers.
    ///
    /// # Errors
    /// There is no reference; unreadable data; a cache of another reference or other data.
    pub fn precompute(
        &self,
        scored: &mut dyn FnMut(usize, usize),
        stop: &AtomicBool,
    ) -> Result<(usize, usize), TrainError> {
        let key = self.cache_key()?;
        let mut reference = Reference { policy: self.reference, cache: self.load_cache(&key)? };
        let walk = self.walk();
        let wanted: BTreeSet<usize> = walk.iter().flatten().copied().collect();
        let mut known = wanted.iter().filter(|index| reference.cache.contains(**index)).count();
        for part in walk.chunks(self.ranks.size()) {
            if part.iter().flatten().all(|index| reference.cache.contains(*index)) {
                continue;
            }
            scored(known, wanted.len());
            // Of several processes the first decides.
            let mut is_stopped = vec![u8::from(stop.load(Ordering::Relaxed))];
            self.ranks.broadcast(&mut is_stopped);
            if is_stopped == [1] {
                break;
            }
            let before = reference.cache.len();
            self.fill(&mut reference, part)?;
            known += reference.cache.len() - before;
        }
        if let Some(path) = self.cache.as_ref().filter(|_| self.ranks.is_leader()) {
            reference.cache.save(path, &key)?;
        }
        Ok((known, wanted.len()))
    }

    /// Computes the reference's numbers of slices, one by each rank, for all.
    fn fill(&self, reference: &mut Reference<'_, M>, part: &[Vec<usize>]) -> Result<(), TrainError> {
        // All of a slice is read, as in a run: which examples are computed side by side decides the last bits.
        let read = |indices: &Vec<usize>| Ok(Slice::new(read(self.data, indices.iter().copied(), "training")?));
        let slices = part.iter().map(read).collect::<Result<Vec<SliceOf<S>>, TrainError>>()?;
        let own = slices.iter().skip(self.ranks.rank()).step_by(self.ranks.size());
        let own = own.map(|slice| Ok((Channels::from(reference.numbers(self.mdp, slice, 0)?), None)));
        let own: Result<Vec<Numbers>, TrainError> = own.collect();
        for (slice, (numbers, _)) in slices.iter().zip(exchange(self.ranks, own, part.len())?) {
            reference.remember(slice, &numbers.log_probs);
        }
        Ok(())
    }

    /// The examples of a run of these settings, slice by slice in the order of its steps.
    fn walk(&self) -> Vec<Vec<usize>> {
        let steps = self.settings.total_steps(self.data.len());
        (0..steps).flat_map(|step| slices(self.data, &self.settings, (step, self.ranks.size()))).collect()
    }
}

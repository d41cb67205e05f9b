//! Training data of hybrid problems: one source for each half.
//!
//! Eq. 15 of the paper is a choice of weights: the outer half's decisions have weight beta, the inner half's gamma
//! times the weight from its own source (T omega(lambda_t) / K for denoising draws). The loss is an ordinary link of
//! the difference of two returns, with the expectation over draws inside it.

use mdp::hybrid::{Handoff, Hybrid, Runs};
use mdp::{Episode, EpisodeOf, Mdp, Steps, weights};
use objectives::{Feedback, Scores};
use policies::BoxError;

use crate::step::Slice;
use crate::{Item, Measures, Source};

/// Two sources zipped: items `i` of both are the two halves of example `i`. Each side of a pair has its own refinement
/// and the result generated from it.
#[derive(Debug)]
pub struct HybridSource<'a, A: Source, B: Source, H> {
    mdp: &'a Hybrid<A::Mdp, B::Mdp, H>,
    outer: A,
    inner: B,
    weights: (f64, f64),
    names: [&'static str; 2],
}

impl<'a, A, B, H> HybridSource<'a, A, B, H>
where
    A: Source,
    B: Source<Feedback = A::Feedback>,
{
    /// Joins sources of equal length; `weights` are beta and gamma, `names` the halves' names in the records.
    ///
    /// # Errors
    /// The lengths differ.
    pub fn new(
        mdp: &'a Hybrid<A::Mdp, B::Mdp, H>,
        (outer, inner): (A, B),
        weights: (f64, f64),
        names: [&'static str; 2],
    ) -> Result<Self, BoxError> {
        if outer.len() != inner.len() {
            return Err(format!("{} examples of one half and {} of the other", outer.len(), inner.len()).into());
        }
        Ok(Self { mdp, outer, inner, weights, names })
    }
}

impl<A, B, H> Source for HybridSource<'_, A, B, H>
where
    A: Source,
    B: Source<Feedback = A::Feedback>,
    H: Handoff<A::Mdp, B::Mdp>,
{
    type Mdp = Hybrid<A::Mdp, B::Mdp, H>;
    type Feedback = A::Feedback;

    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.outer.len()
    }

    /// The inner half's index: its draws differ from epoch to epoch.
    fn index_in_epoch(&self, example: usize, epoch: usize) -> usize {
        self.inner.index_in_epoch(example, epoch)
    }

    fn item(&self, index: usize) -> Result<Item<Self::Mdp, Self::Feedback>, BoxError> {
        let outer = self.outer.item(index % self.outer.len().max(1))?;
        let inner = self.inner.item(index)?;
        if outer.episodes.len() != inner.episodes.len() {
            let (refined, made) = (outer.episodes.len(), inner.episodes.len());
            return Err(format!("{refined} sides of one half and {made} of the other").into());
        }
        let halves = outer.episodes.into_iter().zip(inner.episodes);
        let episodes = halves.map(|(outer, inner)| self.mdp.join(outer, inner, self.weights)).collect();
        Ok(Item { episodes, feedback: outer.feedback, size: outer.size + inner.size })
    }

    /// Joins the halves' fingerprints and weights.
    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(format!("{} {} {:?}", self.outer.fingerprint()?, self.inner.fingerprint()?, self.weights))
    }

    fn measure(&self, slice: &Slice<Self::Mdp, Self::Feedback>, scores: Scores<'_>) -> Measures {
        let mut measures = Measures::default();
        let mut halves = (Vec::new(), Vec::new());
        for episode in &slice.episodes {
            // What crosses the hand-off has not been scored.
            let Some((outer, inner)) = self.mdp.split(episode) else { return measures };
            halves.0.push(outer);
            halves.1.push(inner);
        }
        let runs = Runs::of(&slice.episodes);
        let policy = runs.unweave(&scores.policy.log_probs);
        let reference = scores.reference.map(|reference| runs.unweave(reference));
        let weights = (weights(&halves.0), weights(&halves.1));
        if let Some(reference) = &reference {
            let outer = returns(&policy.0, &reference.0, &weights.0);
            let inner = returns(&policy.1, &reference.1, &weights.1);
            let is_idle: Vec<bool> = halves.0.iter().map(is_idle).collect();
            by_half(&mut measures, self.names, &slice.feedback, (&outer, &inner), &is_idle);
        }
        let [outer, _] = self.names;
        for episode in halves.0.iter().filter(|episode| !is_idle(episode)) {
            measures.add(&format!("length/{outer}"), episode.n_decisions() as f64);
        }
        let (of_outer, of_inner) = reference.map_or((None, None), |(outer, inner)| (Some(outer), Some(inner)));
        measures.join(half(&self.outer, slice, halves.0, (policy.0, of_outer, weights.0)));
        measures.join(half(&self.inner, slice, halves.1, (policy.1, of_inner, weights.1)));
        measures
    }
}

/// Whether all weights of an episode are 0: no policy took its decisions.
fn is_idle<S, A>(episode: &Episode<S, A>) -> bool {
    episode.pieces.iter().all(|piece| piece.weight == 0.0 || piece.actions.is_empty())
}

/// The weighted log-ratio of each episode: its half's reward, beta or gamma included.
fn returns(policy: &Steps, reference: &Steps, weights: &Steps) -> Vec<f64> {
    let decisions =
        |(p, r): (&[f64], &[f64]), w: &[f64]| -> f64 { p.iter().zip(r).zip(w).map(|((p, r), w)| w * (p - r)).sum() };
    policy.rows().zip(reference.rows()).zip(weights.rows()).map(|(rows, w)| decisions(rows, w)).collect()
}

/// - `rewards/<half>/chosen`, `rewards/<half>/rejected`: each half's part of the rewards.
/// - `margins/<half>`: its part of the margin; the two add up to `rewards/margins`.
/// - `margin_share/<half>`: `|margin|` over the sum of both halves'.
/// - `accuracies/<half>`: the share of pairs in which its part alone prefers the better side.
///
/// Pairs whose outer halves are both idle are excluded from the shares and the outer half's accuracy.
fn by_half<F: Feedback>(
    measures: &mut Measures,
    names: [&'static str; 2],
    feedback: &[F],
    (outer, inner): (&[f64], &[f64]),
    is_idle: &[bool],
) {
    for feedback in feedback {
        let (Some(chosen), Some(rejected)) = (feedback.chosen(), feedback.rejected()) else { continue };
        let margin = |returns: &[f64]| returns[chosen] - returns[rejected];
        let total = margin(outer).abs() + margin(inner).abs();
        let is_idle = is_idle[chosen] && is_idle[rejected];
        for (name, returns) in names.into_iter().zip([outer, inner]) {
            measures.add(&format!("rewards/{name}/chosen"), returns[chosen]);
            measures.add(&format!("rewards/{name}/rejected"), returns[rejected]);
            measures.add(&format!("margins/{name}"), margin(returns));
            if !(is_idle && name == names[0]) {
                measures.add(&format!("accuracies/{name}"), if margin(returns) > 0.0 { 1.0 } else { 0.0 });
            }
            if total > 0.0 && !is_idle {
                measures.add(&format!("margin_share/{name}"), margin(returns).abs() / total);
            }
        }
    }
}

/// The metrics of one half's source on its part of the numbers.
fn half<M, S, F>(
    source: &S,
    slice: &Slice<M, F>,
    episodes: Vec<EpisodeOf<S::Mdp>>,
    (policy, reference, weights): (Steps, Option<Steps>, Steps),
) -> Measures
where
    M: Mdp,
    S: Source<Feedback = F>,
    F: Feedback,
{
    let slice = Slice {
        examples: slice.examples.clone(),
        counts: slice.counts.clone(),
        episodes,
        feedback: slice.feedback.clone(),
        size: slice.size,
    };
    source.measure(&slice, Scores { policy: &policy.into(), reference: reference.as_ref(), weights: &weights })
}

#[cfg(test)]
mod tests;

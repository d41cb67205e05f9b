//! Training and saving of a pair: each half from its own slopes, in its own folder.

use std::path::Path;

use mdp::hybrid::{Handoff, Hybrid, Runs};
use mdp::{Channels, EpisodeOf, Mdp};

use super::{Pair, Parts, nothing, weave_channels};
use crate::policy::{Learner, Persist, VisitGradient, VisitSingle};
use crate::{Peers, PolicyError, Shares};

/// The state of a pair's backward pass: the tapes of the trained halves and the positions of their numbers.
#[derive(Debug)]
pub struct PairTape<S, T> {
    outer: Option<S>,
    inner: Option<T>,
    runs: Runs,
}

/// Scores a half, with a tape if it is trained and has decisions.
fn forward_half<M: Mdp, P: Learner<M>>(
    policy: &P,
    mdp: &M,
    episodes: &[EpisodeOf<M>],
    learns: bool,
) -> Result<(Channels, Option<P::Tape>), PolicyError> {
    if let Some(nothing) = nothing(episodes) {
        return Ok((nothing, None));
    }
    if !learns {
        return Ok((policy.score(mdp, episodes)?, None));
    }
    let (numbers, tape) = policy.forward(mdp, episodes)?;
    Ok((numbers, Some(tape)))
}

impl<A, B, H, P, Q> Learner<Hybrid<A, B, H>> for Pair<P, Q>
where
    A: Mdp,
    B: Mdp,
    H: Handoff<A, B>,
    P: Learner<A>,
    Q: Learner<B>,
{
    type Tape = PairTape<P::Tape, Q::Tape>;

    fn forward(
        &self,
        mdp: &Hybrid<A, B, H>,
        episodes: &[EpisodeOf<Hybrid<A, B, H>>],
    ) -> Result<(Channels, Self::Tape), PolicyError> {
        let Parts { outer, inner, runs } = Parts::of(mdp, episodes)?;
        let (of_outer, outer) = forward_half(&self.outer, &mdp.outer, &outer, self.outer_learns())?;
        let (of_inner, inner) = forward_half(&self.inner, &mdp.inner, &inner, self.inner_learns())?;
        Ok((weave_channels(&runs, &of_outer, &of_inner), PairTape { outer, inner, runs }))
    }

    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), PolicyError> {
        let (of_outer, of_inner) = tape.runs.unweave(&slopes.log_probs);
        let (mut of_outer, mut of_inner) = (Channels::from(of_outer), Channels::from(of_inner));
        if let Some(divergence) = &slopes.divergence {
            let (outer, inner) = tape.runs.unweave(divergence);
            (of_outer.divergence, of_inner.divergence) = (Some(outer), Some(inner));
        }
        if let Some(tape) = tape.outer {
            self.outer.backward(tape, &of_outer)?;
        }
        if let Some(tape) = tape.inner {
            self.inner.backward(tape, &of_inner)?;
        }
        Ok(())
    }

    /// The trained halves in turn, each under its name.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        let [outer, inner] = self.names;
        if self.outer_learns() {
            self.outer.visit_gradients(&mut |name, slopes| visit(&format!("{outer}.{name}"), slopes))?;
        }
        if self.inner_learns() {
            self.inner.visit_gradients(&mut |name, slopes| visit(&format!("{inner}.{name}"), slopes))?;
        }
        Ok(())
    }

    fn has_single_gradients(&self) -> bool {
        let outer = !self.outer_learns() || self.outer.has_single_gradients();
        outer && (!self.inner_learns() || self.inner.has_single_gradients())
    }

    fn visit_single_gradients(&mut self, visit: &mut VisitSingle<'_>) -> Result<(), PolicyError> {
        if self.outer_learns() {
            self.outer.visit_single_gradients(visit)?;
        }
        if self.inner_learns() {
            self.inner.visit_single_gradients(visit)?;
        }
        Ok(())
    }

    fn join(&mut self, peers: &dyn Peers) -> Result<(), PolicyError> {
        if self.outer_learns() {
            self.outer.join(peers)?;
        }
        if self.inner_learns() {
            self.inner.join(peers)?;
        }
        Ok(())
    }

    fn sums_gradient(&self) -> bool {
        let outer = !self.outer_learns() || self.outer.sums_gradient();
        outer && (!self.inner_learns() || self.inner.sums_gradient())
    }

    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        if self.outer_learns() {
            self.outer.sum_gradient()?;
        }
        if self.inner_learns() {
            self.inner.sum_gradient()?;
        }
        Ok(())
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        let norms = Learner::<Hybrid<A, B, H>>::gradient_norms(self)?;
        Ok(norms.into_iter().fold(0.0, |whole, (_, norm)| whole.hypot(norm)))
    }

    fn gradient_norms(&self) -> Result<Vec<(&'static str, f64)>, PolicyError> {
        let [outer, inner] = self.names;
        let mut norms = Vec::new();
        if self.outer_learns() {
            norms.push((outer, self.outer.gradient_norm()?));
        }
        if self.inner_learns() {
            norms.push((inner, self.inner.gradient_norm()?));
        }
        Ok(norms)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), PolicyError> {
        if self.outer_learns() {
            self.outer.scale_gradient(factor)?;
        }
        if self.inner_learns() {
            self.inner.scale_gradient(factor)?;
        }
        Ok(())
    }

    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        if self.outer_learns() {
            self.outer.discard_gradient()?;
        }
        if self.inner_learns() {
            self.inner.discard_gradient()?;
        }
        Ok(())
    }

    /// Clips both gradients as one: both halves are scaled by the same factor, and if either gradient is not finite
    /// neither half is updated.
    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        let norm = clip::<Hybrid<A, B, H>>(self, max_gradient_norm)?;
        if norm.is_finite() && self.outer_learns() {
            self.outer.update(rate * self.rates.0, None)?;
        }
        if norm.is_finite() && self.inner_learns() {
            self.inner.update(rate * self.rates.1, None)?;
        }
        Ok(norm)
    }

    fn update_share(
        &mut self,
        rate: f64,
        max_gradient_norm: Option<f64>,
        shares: &dyn Shares,
    ) -> Result<f64, PolicyError> {
        let norm = clip::<Hybrid<A, B, H>>(self, max_gradient_norm)?;
        if norm.is_finite() && self.outer_learns() {
            self.outer.update_share(rate * self.rates.0, None, shares)?;
        }
        if norm.is_finite() && self.inner_learns() {
            self.inner.update_share(rate * self.rates.1, None, shares)?;
        }
        Ok(norm)
    }
}

/// Scales the gradient down to a norm, and returns the norm before; one that is not finite stays.
fn clip<M: Mdp>(learner: &mut impl Learner<M>, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
    let norm = learner.gradient_norm()?;
    if let Some(most) = max_gradient_norm.filter(|most| norm.is_finite() && norm > *most) {
        learner.scale_gradient(most / norm)?;
    }
    Ok(norm)
}

/// Each half is saved in a subfolder of its name, in its own format.
impl<P: Persist, Q: Persist> Persist for Pair<P, Q> {
    /// Writes the trained halves.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        let [outer, inner] = self.names.map(|name| folder.join(name));
        if self.outer_learns() {
            self.outer.save_checkpoint(&made(&outer)?)?;
        }
        if self.inner_learns() {
            self.inner.save_checkpoint(&made(&inner)?)?;
        }
        Ok(())
    }

    /// Both halves' shares are completed before either's failure is returned, for all processes do so.
    fn save_checkpoint_of_shares(&self, folder: Option<&Path>, shares: &dyn Shares) -> Result<(), PolicyError> {
        let within = |name: &str| folder.map(|folder| made(&folder.join(name))).transpose();
        let [outer, inner] = [within(self.names[0])?, within(self.names[1])?];
        let save_outer = || self.outer.save_checkpoint_of_shares(outer.as_deref(), shares);
        let save_inner = || self.inner.save_checkpoint_of_shares(inner.as_deref(), shares);
        let saved =
            [self.outer_learns().then(save_outer).transpose(), self.inner_learns().then(save_inner).transpose()];
        saved.into_iter().try_for_each(|saved| saved.map(drop))
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        let [outer, inner] = self.names.map(|name| folder.join(name));
        if self.outer_learns() {
            self.outer.restore_checkpoint(&outer)?;
        }
        if self.inner_learns() {
            self.inner.restore_checkpoint(&inner)?;
        }
        Ok(())
    }

    /// Writes both halves, trained or not.
    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        let [outer, inner] = self.names.map(|name| folder.join(name));
        self.outer.export(&made(&outer)?)?;
        self.inner.export(&made(&inner)?)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        Ok(format!("{} {}", self.outer.fingerprint()?, self.inner.fingerprint()?))
    }
}

fn made(folder: &Path) -> Result<std::path::PathBuf, PolicyError> {
    std::fs::create_dir_all(folder).map_err(|e| PolicyError::io(folder, e))?;
    Ok(folder.to_path_buf())
}

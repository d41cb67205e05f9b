//! The safeguard of the better side: a rule of the update, whatever the loss.
use mdp::{Channels, Mdp};
use objectives::Feedback;
use policies::Learner;

use crate::source::Slice;
use crate::{Measures, TrainError};

/// Scales the slopes of each pair's worse side, so that to first order a step raises the better side's number: of images, its
/// error never rises.
///
/// With g the gradient of the loss at the outputs of each side, a step moves the better side's number by g_c (g_c + lambda g_r).
/// If the two work against each other, g_c g_r < 0, then lambda is at most (1 - share) |g_c|^2 / -(g_c g_r), and never above 1: what
/// remains of the better side's own progress is at least `share` of it. The measure `safeguard` is lambda, by pair.
///
/// The outputs stand in for the parameters: the rule is exact for a model that gives both sides' outputs one shift.
///
/// # Errors
/// An episode of several pairs; a policy without [`Learner::output_products`].
///
/// # References
/// Fu et al. 2025, arXiv:2511.03317. Its released code has one lambda for all pairs of a micro-batch, this has one for each.
pub(crate) fn guard<M: Mdp, L: Learner<M>, F: Feedback>(
    learner: &L,
    tape: &L::Tape,
    slice: &Slice<M, F>,
    slopes: &mut Channels,
    (share, step): (f64, usize),
) -> Result<Measures, TrainError> {
    let mut measures = Measures::default();
    let failed = |source| TrainError::of_policy(step, source);
    let sides = slice.feedback.iter().filter_map(|feedback| Some((feedback.chosen()?, feedback.rejected()?)));
    let mut used = vec![false; slice.episodes.len()];
    for (chosen, rejected) in sides {
        if std::mem::replace(&mut used[chosen], true) || std::mem::replace(&mut used[rejected], true) {
            return Err(failed("the safeguard is for pairs, and here a side is in several".into()));
        }
        let steps = &slopes.log_probs;
        let n = steps.row(chosen).len().min(steps.row(rejected).len());
        let of = |other: usize| -> Result<f64, TrainError> {
            let pairs: Vec<[(usize, usize); 2]> = (0..n).map(|i| [(chosen, i), (other, i)]).collect();
            let products = learner.output_products(tape, &pairs).map_err(failed)?;
            let weighed = products.iter().zip(&pairs);
            Ok(weighed.map(|(product, [(a, i), (b, j)])| product * steps.row(*a)[*i] * steps.row(*b)[*j]).sum())
        };
        let (own, against) = (of(chosen)?, -of(rejected)?);
        let lambda = if against > 0.0 { ((1.0 - share) * own / against).min(1.0) } else { 1.0 };
        measures.add("safeguard", lambda);
        slopes.log_probs.row_mut(rejected).iter_mut().for_each(|slope| *slope *= lambda);
    }
    Ok(measures)
}

#[cfg(test)]
mod tests {
    use mdp::{Channels, EpisodeOf, Finite, Mdp as _, Rng, Steps};
    use objectives::{Comparison, Link, Logistic, Objective, Pairwise, Scores};
    use policies::{Learner, Policy, PolicyError, Proposal, VisitGradient};

    use super::*;
    use crate::Item;

    /// Where the two sides lie.
    const SIDES: [[f64; 2]; 2] = [[1.0, 0.5], [0.9, 0.8]];

    /// A point whose number for a side is minus its squared distance: its outputs are its parameters, the same for both.
    struct Point([f64; 2], [f64; 2]);

    impl Point {
        fn away(&self, side: usize) -> [f64; 2] {
            [0, 1].map(|i| self.0[i] - SIDES[side][i])
        }
    }

    impl Policy<Finite> for Point {
        fn propose(
            &self,
            _: &Finite,
            _: &[<Finite as Mdp>::State],
            _: usize,
            _: &mut Rng,
        ) -> Result<Vec<Vec<Proposal<<Finite as Mdp>::Action>>>, PolicyError> {
            Err("a point proposes nothing".into())
        }

        fn sample(
            &self,
            _: &Finite,
            _: &[<Finite as Mdp>::State],
            _: &mut Rng,
        ) -> Result<Vec<<Finite as Mdp>::Action>, PolicyError> {
            Err("a point draws nothing".into())
        }

        fn score(&self, _: &Finite, episodes: &[EpisodeOf<Finite>]) -> Result<Channels, PolicyError> {
            let number = |side: usize| [-self.away(side).iter().map(|x| x * x).sum::<f64>()];
            Ok((0..episodes.len()).map(number).collect::<Steps>().into())
        }
    }

    impl Learner<Finite> for Point {
        type Tape = ();

        fn forward(&self, mdp: &Finite, episodes: &[EpisodeOf<Finite>]) -> Result<(Channels, ()), PolicyError> {
            Ok((self.score(mdp, episodes)?, ()))
        }

        fn backward(&mut self, (): (), slopes: &Channels) -> Result<(), PolicyError> {
            for (side, row) in slopes.log_probs.rows().enumerate() {
                let away = self.away(side);
                (0..2).for_each(|i| self.1[i] -= 2.0 * row[0] * away[i]);
            }
            Ok(())
        }

        fn output_products(&self, (): &(), pairs: &[[(usize, usize); 2]]) -> Result<Vec<f64>, PolicyError> {
            let product = |[(a, _), (b, _)]: &[(usize, usize); 2]| {
                self.away(*a).iter().zip(self.away(*b)).map(|(a, b)| 4.0 * a * b).sum()
            };
            Ok(pairs.iter().map(product).collect())
        }

        fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
            visit("point", &mut self.1)
        }

        fn gradient_norm(&self) -> Result<f64, PolicyError> {
            Ok(self.1[0].hypot(self.1[1]))
        }

        fn update(&mut self, rate: f64, _: Option<f64>) -> Result<f64, PolicyError> {
            let norm = self.gradient_norm()?;
            (0..2).for_each(|i| self.0[i] -= rate * std::mem::take(&mut self.1[i]));
            Ok(norm)
        }
    }

    /// The better side's number after many small steps, and the lambda of the last.
    fn followed<L: Link>(link: L, share: Option<f64>, is_rising: bool) -> (f64, f64) {
        let mdp = Finite::bandit(2);
        let episodes = [0, 1].map(|action| mdp::Episode::whole(mdp.start(&0), vec![action])).to_vec();
        let item = Item { episodes, feedback: vec![Comparison::new(0, 1)], size: 2 };
        let slice = Slice::<Finite, Comparison>::new([(0, item)]);
        let mut point = Point([0.2, 0.1], [0.0; 2]);
        let reference = point.score(&mdp, &slice.episodes).unwrap().log_probs;
        let (objective, weights) = (Pairwise::new(link), reference.filled(1.0));
        let (mut before, mut lambda) = (reference.row(0)[0], 1.0);
        for _ in 0..200 {
            let (numbers, ()) = point.forward(&mdp, &slice.episodes).unwrap();
            assert!(!is_rising || numbers.log_probs.row(0)[0] >= before, "{numbers:?} after {before}");
            before = numbers.log_probs.row(0)[0];
            let scores = Scores { policy: &numbers, reference: Some(&reference), weights: &weights };
            let mut slopes = objective.evaluate(&slice.feedback, scores).unwrap().slopes;
            if let Some(share) = share {
                let measured = guard(&point, &(), &slice, &mut slopes, (share, 0)).unwrap();
                lambda = measured.means().next().unwrap().1;
            }
            point.backward((), &slopes).unwrap();
            point.update(1e-3, None).unwrap();
        }
        (before, lambda)
    }

    #[test]
    fn the_better_side_never_falls_and_keeps_its_share() {
        let plain = followed(Logistic::new(8.0).unwrap(), None, false).0;
        let (guarded, lambda) = followed(Logistic::new(8.0).unwrap(), Some(0.5), true);
        assert!(plain < guarded, "{plain} {guarded}");
        assert!((0.0..1.0).contains(&lambda), "{lambda}");
        // All of its own progress kept: the worse side has no say where it works against it.
        let (alone, lambda) = followed(Logistic::new(8.0).unwrap(), Some(1.0), true);
        assert!(alone > guarded && lambda == 0.0, "{alone} {guarded} {lambda}");
    }

    #[test]
    fn a_side_of_several_pairs_is_refused() {
        let mdp = Finite::bandit(3);
        let episodes = [0, 1, 1].map(|action| mdp::Episode::whole(mdp.start(&0), vec![action])).to_vec();
        let feedback = vec![Comparison::new(0, 1), Comparison::new(0, 2)];
        let slice = Slice::<Finite, Comparison>::new([(0, Item { episodes, feedback, size: 3 })]);
        let mut slopes = Channels::from(Steps::from_iter([[-1.0], [0.5], [0.5]]));
        let refused = guard(&Point([0.0; 2], [0.0; 2]), &(), &slice, &mut slopes, (0.9, 0)).unwrap_err();
        assert!(refused.to_string().contains("in several"), "{refused}");
    }
}

//! Sources as the loop takes them, against expectations with a closed form.
//!
//! One pixel, and a policy that predicts the noise as `SLOPE` times what it sees. From an image x_0 the expected squared
//! error at a level of signal s and noise n is then (1 - SLOPE n)^2 + (SLOPE s x_0)^2.

use std::sync::Arc;

use mdp::diffusion::{Condition, Conditioning};
use mdp::diffusion::{DenoisingAction, DenoisingState, NoiseSchedule, Omega};
use mdp::{Channels, EpisodeOf, Rng};
use objectives::Comparison;
use policies::{Policy, PolicyError, Proposal};

use super::*;
use crate::Source as _;

const SLOPE: f64 = 0.6;
const IMAGES: [f32; 2] = [0.8, -0.3];
const EXAMPLES: usize = 20_000;
const UNITS: Units = Units { reduction: ErrorReduction::Sum, half: false, horizon: 1.0, omega: Omega::Constant };

/// Predicts the noise by a line; of drawn latents it says what it was told to.
struct Line {
    log_probs: Vec<f64>,
}

impl Policy<ImageMdp> for Line {
    fn propose(
        &self,
        _: &ImageMdp,
        _: &[DenoisingState<Condition>],
        _: usize,
        _: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<DenoisingAction>>>, PolicyError> {
        Err("it is only asked for scores".into())
    }

    fn sample(
        &self,
        _: &ImageMdp,
        _: &[DenoisingState<Condition>],
        _: &mut Rng,
    ) -> Result<Vec<DenoisingAction>, PolicyError> {
        Err("it is only asked for scores".into())
    }

    fn score(&self, _: &ImageMdp, episodes: &[EpisodeOf<ImageMdp>]) -> Result<Channels, PolicyError> {
        let score = |(done, state, action): (usize, &DenoisingState<Condition>, &DenoisingAction)| match action {
            DenoisingAction::Next(_) => self.log_probs[done],
            DenoisingAction::Toward { noise, .. } => {
                let seen = state.latent.as_ref().map_or(f64::NAN, |latent| f64::from(latent[0]));
                -(f64::from(noise[0]) - SLOPE * seen).powi(2)
            }
        };
        let row = |episode: &EpisodeOf<ImageMdp>| -> Vec<f64> {
            let pieces = episode.pieces.iter();
            let decisions = pieces.flat_map(|piece| {
                let start = &piece.start;
                piece.actions.iter().enumerate().map(move |(n, action)| (start.done + n, start, action))
            });
            decisions.map(score).collect()
        };
        let steps: mdp::Steps = episodes.iter().map(row).collect();
        Ok(steps.into())
    }
}

fn schedule() -> Arc<NoiseSchedule> {
    Arc::new(NoiseSchedule::linear(10, 0.01, 0.3).unwrap())
}

fn nobody() -> Condition {
    Arc::new(Conditioning::none())
}

fn images() -> Vec<ImageExample> {
    let side = |value: f32| Finished { latent: [value].into(), condition: nobody() };
    vec![ImageExample { sides: IMAGES.map(side).into(), preference: 1.0 }; EXAMPLES]
}

/// The mean weighted return of each side over many examples, with its standard error.
fn mean_returns(draws: DrawPlan) -> [(f64, f64); 2] {
    let (images, mdp) = (images(), ImageMdp::full(schedule(), 1));
    let source = ImageSource::<Comparison>::new(&images, mdp.clone(), draws, UNITS, Scheme::Forward);
    let policy = Line { log_probs: Vec::new() };
    let mut sums = [(0.0, 0.0); 2];
    for index in 0..EXAMPLES {
        let episodes = source.item(index).unwrap().episodes;
        let scores = policy.score(&mdp, &episodes).unwrap().log_probs;
        for (side, (sum, squares)) in sums.iter_mut().enumerate() {
            assert_eq!(scores.row(side).len(), episodes[side].weights().len());
            let total: f64 = scores.row(side).iter().zip(episodes[side].weights()).map(|(s, w)| s * w).sum();
            (*sum, *squares) = (*sum + total, *squares + total * total);
        }
    }
    let n = EXAMPLES as f64;
    sums.map(|(sum, squares)| (sum / n, ((squares / n - (sum / n).powi(2)) / n).sqrt()))
}

/// Minus the expected squared error, each timestep counting `share` of it.
fn exact(image: f32, share: impl Fn(usize) -> f64) -> f64 {
    let schedule = schedule();
    let error = |t| {
        let level = schedule.level(t);
        (1.0 - SLOPE * level.noise).powi(2) + (SLOPE * level.signal * f64::from(image)).powi(2)
    };
    -(0..schedule.len()).map(|t| share(t) * error(t)).sum::<f64>()
}

fn draws(per_example: usize, timesteps: Timesteps, noise: NoiseSharing) -> DrawPlan {
    DrawPlan { seed: 5, per_example, sets: 1, timesteps, noise, given: None }
}

/// Within four standard errors: one honest run in sixteen thousand fails, and the seed is fixed.
fn assert_unbiased(draws: DrawPlan, share: impl Fn(usize) -> f64) {
    let name = format!("{draws:?}");
    for ((mean, error), image) in mean_returns(draws).into_iter().zip(IMAGES) {
        let expected = exact(image, &share);
        assert!((mean - expected).abs() < 4.0 * error, "{name}: {mean} for {expected}, error {error}");
        // The interval would notice a weight that is a tenth off.
        assert!(4.0 * error < 0.1 * expected.abs(), "{name}: {error} says little");
    }
}

#[test]
fn every_kind_of_draw_estimates_the_same_mean_over_all_timesteps() {
    let uniform = |_| 0.1;
    for noise in [NoiseSharing::Shared, NoiseSharing::Independent] {
        for timesteps in [Timesteps::Uniform, Timesteps::Stratified] {
            for k in [1, 3] {
                assert_unbiased(draws(k, timesteps, noise), uniform);
            }
        }
    }
    for timesteps in [Timesteps::Uniform, Timesteps::Stratified] {
        assert_unbiased(draws(4, timesteps, NoiseSharing::Antithetic), uniform);
    }
}

/// Logit-normal draws carry no weight, as in the field: they are another objective, in which a timestep counts as often as
/// it is drawn.
#[test]
fn logit_normal_draws_weigh_timesteps_as_often_as_they_are_drawn() {
    let source = draws(1, Timesteps::LogitNormal, NoiseSharing::Shared);
    // Phi(logit((t + 1) / 10)) - Phi(logit(t / 10)): Phi of -2.197225, -1.386294, -0.847298, -0.405465 and 0 is 0.014002,
    // 0.082828, 0.198414, 0.342567 and 0.5.
    let half = [0.014_002, 0.068_826, 0.115_586, 0.144_153, 0.157_432];
    let share = |t: usize| half[t.min(9 - t)];
    let mut counts = [0.0; 10];
    for example in 0..EXAMPLES {
        counts[source.draw(example, 0, 1, 1, 10).unwrap().timestep] += 1.0;
    }
    for (t, count) in counts.into_iter().enumerate() {
        let n = EXAMPLES as f64;
        let deviation = (n * share(t) * (1.0 - share(t))).sqrt();
        assert!((count - n * share(t)).abs() < 4.0 * deviation, "{t}: {count} of {n}");
    }
    assert_unbiased(source, share);
    let uniform = exact(IMAGES[0], |_| 0.1);
    assert!((exact(IMAGES[0], share) - uniform).abs() > 0.02);
}

/// A decision counts by how likely it and all before it are: ratios of 2, 1/4 and 8 are weights of 2, 1/2 and 4.
#[test]
fn importance_weights_are_products_along_the_trajectory() {
    let mdp = ImageMdp::new(schedule(), vec![6, 4, 2], 1);
    let log_probs: Vec<f64> = [2.0f64, 0.25, 8.0].map(f64::ln).into();
    let trajectories = Trajectories {
        conditions: vec![nobody(); 2],
        latents: vec![vec![[0.0f32].into(); 4]; 2],
        behaviour: vec![vec![0.0; 3], log_probs.clone()],
        pairs: vec![(0, 1)],
    };
    let weights = |most| trajectories.importance(&Line { log_probs: log_probs.clone() }, &mdp, most).unwrap();
    let near = |found: &[f64], expected: [f64; 3]| {
        found.len() == 3 && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12)
    };
    let exact = weights(f64::INFINITY);
    assert!(near(&exact[0], [2.0, 0.5, 4.0]), "{exact:?}");
    assert!(near(&exact[1], [1.0; 3]), "{exact:?}");
    assert!(near(&weights(3.0)[0], [2.0, 0.5, 3.0]));
    // And that is how much each piece of an episode counts.
    let source = TrajectorySource::<Comparison>::new(&trajectories, mdp, UNITS, 0).with_importance(exact);
    let episodes = source.item(0).unwrap().episodes;
    assert!(near(&episodes[0].weights(), [2.0, 0.5, 4.0]), "{:?}", episodes[0].weights());
}

/// Images with known noise: 0.25 of the better one, -0.5 of the worse one.
struct Known(Vec<ImageExample>);

impl Images for Known {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        self.0.example(index)
    }

    fn prior_noise(&self, _index: usize) -> Result<Option<Vec<Latent>>, BoxError> {
        Ok(Some(vec![[0.25].into(), [-0.5].into()]))
    }
}

#[test]
fn each_side_has_the_noise_that_it_was_made_of() {
    let (images, mdp) = (Known(images()), ImageMdp::full(schedule(), 1));
    let plan = draws(3, Timesteps::Stratified, NoiseSharing::Prior);
    let source = ImageSource::<Comparison>::new(&images, mdp.clone(), plan.clone(), UNITS, Scheme::Forward);
    let item = source.item(5).unwrap();
    for (side, expected) in [0.25f32, -0.5].into_iter().enumerate() {
        for piece in &item.episodes[side].pieces {
            let [DenoisingAction::Toward { clean, noise }] = &piece.actions[..] else { panic!("forward noising") };
            assert_eq!(noise[..], [expected]);
            let t = schedule().len() - 1 - piece.start.done;
            assert_eq!(piece.start.latent.as_ref().unwrap()[..], schedule().noised(clean, noise, t)[..]);
        }
    }
    let plain = self::images();
    let unknown = ImageSource::<Comparison>::new(&plain, mdp, plan, UNITS, Scheme::Forward);
    assert!(unknown.item(0).unwrap_err().to_string().contains("not known from which noise"));
}

/// The feedback of an example.
fn feedback<F: FromImages>(images: &Vec<ImageExample>, index: usize) -> Result<Vec<F>, String> {
    let plan = draws(1, Timesteps::Uniform, NoiseSharing::Shared);
    let source = ImageSource::<F>::new(images, ImageMdp::full(schedule(), 1), plan, UNITS, Scheme::Forward);
    let item = source.item(index).map_err(|error| error.to_string())?;
    assert_eq!(item.size, item.episodes.len());
    Ok(item.feedback)
}

#[test]
fn lists_are_rankings_and_pairs_and_single_images_are_liked_or_not() {
    let side = |value: f32| Finished { latent: [value].into(), condition: nobody() };
    let example =
        |values: &[f32], preference| ImageExample { sides: values.iter().copied().map(side).collect(), preference };
    let images = vec![example(&[1.0, 2.0, 3.0], 1.0), example(&[1.0, 2.0], 0.25), example(&[1.0], 0.0)];
    let pairs = feedback::<Comparison>(&images, 0).unwrap();
    assert_eq!(pairs.iter().map(|c| (c.first, c.second)).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
    assert_eq!(feedback::<Ranking>(&images, 0).unwrap(), [Ranking { best_first: vec![0, 1, 2] }]);
    assert_eq!(feedback::<Ranking>(&images, 1).unwrap(), [Ranking { best_first: vec![1, 0] }]);
    let liked =
        |index| feedback::<Label>(&images, index).map(|labels| labels.iter().map(|l| l.desirable).collect::<Vec<_>>());
    assert_eq!(liked(1).unwrap(), [false, true]);
    assert_eq!(liked(2).unwrap(), [false]);
    assert!(liked(0).unwrap_err().contains("plackett-luce"));
    assert!(feedback::<Comparison>(&images, 2).unwrap_err().contains("there is only one"));
    assert_eq!(feedback::<Demonstration>(&images, 0).unwrap().len(), 1);
}

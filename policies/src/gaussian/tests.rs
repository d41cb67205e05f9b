use mdp::control::{BinPicking, Recorded, Scene};
use mdp::{Channels, Episode, EpisodeOf, Mdp, Rng, Steps};
use rand::SeedableRng as _;
use std::sync::Arc;

use super::*;
use crate::laws::{self, check_slope};
use crate::{Learner, Persist, Policy};

const SPREADS: [Spread; 2] = [Spread::Fixed { std: 0.5 }, Spread::Learned { low: 0.1, high: 2.0 }];

fn scenes(n: usize) -> Vec<mdp::control::Picking> {
    let mut rng = Rng::seed_from_u64(5);
    (0..n).map(|_| BinPicking::default().start(&Scene::draw(&mut rng))).collect()
}

/// A table that has moved from its beginning, and short episodes that it sampled.
fn learned(spread: Spread) -> (GaussianTable, Vec<EpisodeOf<BinPicking>>) {
    let mdp = BinPicking { horizon: 3, ..BinPicking::default() };
    let mut table = GaussianTable::new(0.5, 3, spread).unwrap();
    let episodes = table.rollout(&mdp, &scenes(4), &mut Rng::seed_from_u64(1)).unwrap();
    step(&mdp, &mut table, &episodes, 0.05);
    (table, episodes)
}

/// Raises the likelihood of episodes.
fn step(mdp: &BinPicking, table: &mut GaussianTable, episodes: &[EpisodeOf<BinPicking>], rate: f64) {
    let (numbers, tape) = table.forward(mdp, episodes).unwrap();
    Learner::<BinPicking>::backward(table, tape, &numbers.log_probs.filled(-1.0).into()).unwrap();
    Learner::<BinPicking>::update(table, rate, None).unwrap();
}

#[test]
fn a_log_density_is_that_of_the_textbook() {
    // -ln(2 sqrt(2 pi)) - (1/2)^2 / 2 = -1.6120857 - 0.125 for a deviation of 1 at a standard deviation of 2.
    let gaussian = Gaussian { mean: vec![1.0], log_std: vec![2f64.ln()] };
    assert!((gaussian.log_prob(&[2.0]) + 1.612_085_713_764_618 + 0.125).abs() < 1e-12);
    // The entropy of a standard normal is (1 + ln 2 pi) / 2.
    let normal = Gaussian { mean: vec![0.0; 2], log_std: vec![0.0; 2] };
    assert!((normal.entropy() - 2.0 * 1.418_938_533_204_672_7).abs() < 1e-12);
    // KL(N(1, 4) || N(0, 1)) = ln(1/2) + (4 + 1) / 2 - 1/2.
    let standard = Gaussian { mean: vec![0.0], log_std: vec![0.0] };
    assert!((standard.divergence_from(&gaussian) - (2.0 - 2f64.ln())).abs() < 1e-12);
    assert!(gaussian.divergence_from(&gaussian).abs() < 1e-15);
}

#[test]
fn the_divergence_is_minus_the_expected_log_ratio() {
    let reference = Gaussian { mean: vec![0.3, -1.0], log_std: vec![-0.5, 0.2] };
    let policy = Gaussian { mean: vec![0.0, -0.5], log_std: vec![-0.2, 0.4] };
    let (mut rng, n) = (Rng::seed_from_u64(2), 200_000);
    let ratio = |_| {
        let action = reference.draw(&mut rng);
        policy.log_prob(&action) - reference.log_prob(&action)
    };
    let mean = (0..n).map(ratio).sum::<f64>() / f64::from(n);
    // The log-ratio's standard deviation is below 1: five standard errors are 0.011.
    assert!((mean + policy.divergence_from(&reference)).abs() < 0.011, "{mean}");
}

#[test]
fn slopes_are_those_of_finite_differences() {
    let (action, reference) = ([0.7, -0.2], Gaussian { mean: vec![0.1, 0.4], log_std: vec![-0.3, 0.1] });
    for spread in SPREADS {
        let outputs: Vec<f64> = [0.3, -0.6, 0.4, -0.9][..spread.n_outputs(2)].to_vec();
        let of_log_prob = spread.to_outputs(&outputs, spread.gaussian(&outputs).slopes_of_log_prob(&action));
        let of_divergence = spread.to_outputs(&outputs, spread.gaussian(&outputs).slopes_of_divergence(&reference));
        for i in 0..outputs.len() {
            let moved = |offset: f64| {
                let mut outputs = outputs.clone();
                outputs[i] += offset;
                spread.gaussian(&outputs)
            };
            check_slope(|by| Ok(moved(by).log_prob(&action)), of_log_prob[i], 1e-5, 1e-8).unwrap();
            check_slope(|by| Ok(moved(by).divergence_from(&reference)), of_divergence[i], 1e-5, 1e-8).unwrap();
        }
    }
}

#[test]
fn a_table_keeps_the_laws() {
    let mdp = BinPicking { horizon: 3, ..BinPicking::default() };
    for spread in SPREADS {
        let (table, episodes) = learned(spread);
        laws::check_policy(&mdp, &table, &scenes(4), 7, 1e-9).unwrap();
        laws::check_cursor(&mdp, &table, &scenes(3), 7, 3, 1e-9).unwrap();
        laws::check_learner(&mdp, &mut table.clone(), &episodes, 7, 1e-9).unwrap();
        laws::check_gradient(&mdp, || table.clone(), &episodes, 7, 1e-5, 1e-6).unwrap();
        // With the divergence, of which slopes are taken too.
        let other = Arc::new(GaussianTable::new(0.5, 3, spread).unwrap());
        let apart = || table.clone().with_reference(Arc::clone(&other));
        assert!(apart().score(&mdp, &episodes).unwrap().divergence.is_some());
        laws::check_gradient(&mdp, apart, &episodes, 7, 1e-5, 1e-6).unwrap();
    }
}

#[test]
fn every_visited_cell_gets_a_gradient() {
    let mdp = BinPicking { horizon: 3, ..BinPicking::default() };
    let (mut table, episodes) = learned(SPREADS[1]);
    let (numbers, tape) = table.forward(&mdp, &episodes).unwrap();
    Learner::<BinPicking>::backward(&mut table, tape, &numbers.log_probs.filled(1.0).into()).unwrap();
    let mut n_rows = 0;
    let mut visit = |cell: &str, slopes: &mut [f64]| {
        n_rows += 1;
        assert!(slopes.iter().all(|slope| *slope != 0.0), "{cell}: {slopes:?}");
        Ok(())
    };
    Learner::<BinPicking>::visit_gradients(&mut table, &mut visit).unwrap();
    assert_eq!(n_rows, table.len());
}

#[test]
fn imitation_finds_the_mean_and_the_width() {
    // One cell, and the maximum-likelihood Gaussian of 1, 2 and 3: mean 2, variance 2/3.
    let mdp = Recorded { observation_size: 1, action_size: 1 };
    let episode = |action: f32| Recorded::episode([(&[0.5f32][..], &[action][..])]);
    let episodes = [episode(1.0), episode(2.0), episode(3.0)];
    let mut table = GaussianTable::new(1.0, 1, Spread::Learned { low: 0.1, high: 10.0 }).unwrap();
    for _ in 0..2000 {
        let (numbers, tape) = table.forward(&mdp, &episodes).unwrap();
        Learner::<Recorded>::backward(&mut table, tape, &numbers.log_probs.filled(-1.0 / 3.0).into()).unwrap();
        Learner::<Recorded>::update(&mut table, 0.1, None).unwrap();
    }
    let gaussian = &table.gaussians(&mdp, &[mdp.start(&Arc::from([0.5f32]))]).unwrap()[0];
    assert!((gaussian.mean[0] - 2.0).abs() < 1e-6 && (gaussian.log_std[0] - 0.5 * (2f64 / 3.0).ln()).abs() < 1e-6);
}

#[test]
fn a_checkpoint_is_the_table_to_the_bit() {
    let (table, _) = learned(SPREADS[1]);
    let folder = tempfile::tempdir().unwrap();
    table.save_checkpoint(folder.path()).unwrap();
    let mut restored = GaussianTable::new(0.5, 3, SPREADS[1]).unwrap();
    restored.restore_checkpoint(folder.path()).unwrap();
    assert_eq!(restored, table);
    assert_eq!(restored.fingerprint().unwrap(), table.fingerprint().unwrap());
    let other = GaussianTable::new(0.5, 3, SPREADS[0]).unwrap().restore_checkpoint(folder.path());
    assert!(other.unwrap_err().to_string().contains("6 outputs, but the table has 3"));
}

#[test]
fn what_does_not_fit_is_refused() {
    for spread in [Spread::Fixed { std: 0.0 }, Spread::Learned { low: 1.0, high: 0.5 }] {
        assert!(GaussianTable::new(0.5, 3, spread).unwrap_err().to_string().contains("above 0"));
    }
    assert!(GaussianTable::new(f64::NAN, 3, SPREADS[0]).is_err());
    let (mdp, (mut table, _)) = (BinPicking::default(), learned(SPREADS[0]));
    let short = [Episode::whole(scenes(1)[0], vec![vec![0.0; 2]])];
    assert!(table.score(&mdp, &short).unwrap_err().to_string().contains("decision 0 of episode 0"));
    let far = [Episode::whole(scenes(1)[0], vec![vec![1e200; 3]])];
    assert!(table.score(&mdp, &far).unwrap_err().is_divergence());
    let mdp = BinPicking { horizon: 3, ..mdp };
    let one = table.rollout(&mdp, &scenes(1), &mut Rng::seed_from_u64(0)).unwrap();
    let (_, tape) = table.forward(&mdp, &one).unwrap();
    let wrong = Channels::from(Steps::from_iter([[1.0]]));
    assert!(Learner::<BinPicking>::backward(&mut table, tape, &wrong).is_err());
}

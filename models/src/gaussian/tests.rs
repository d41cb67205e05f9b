use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::Recompute;
use engine::optim::{AdamW, Sgd};
use engine::{Noise, lora};
use mdp::control::{BinPicking, Picking, Recorded, Scene};
use mdp::{EpisodeOf, Mdp, Rng};
use policies::gaussian::Spread;
use policies::{Learner, Persist, Policy, laws};
use rand::SeedableRng as _;

use super::{GaussianConfig, GaussianMlp, LearnerOptions};
use crate::formats::{load_gaussian, load_gaussian_to_train};

const SPREADS: [Spread; 2] = [Spread::Fixed { std: 0.5 }, Spread::Learned { low: 0.1, high: 2.0 }];

fn config(spread: Spread) -> GaussianConfig {
    let moments = (0..8).map(|i| (0.1 * f64::from(i), 0.5 + 0.1 * f64::from(i)));
    GaussianConfig::new(&mdp(), vec![6, 5], spread).standardised(moments)
}

fn tensors(config: &GaussianConfig, dtype: DType) -> BTreeMap<String, Tensor> {
    let tensors = config.initial_tensors(&Noise::new(3), &Device::Cpu).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect()
}

fn learner(spread: Spread, dtype: DType, training: LearnerOptions) -> GaussianMlp {
    let config = config(spread);
    let tensors = tensors(&config, dtype);
    GaussianMlp::trainable(config, tensors, training).unwrap()
}

fn plain() -> LearnerOptions {
    LearnerOptions::new(Box::new(Sgd::new(0.0).unwrap()))
}

fn mdp() -> BinPicking {
    BinPicking { horizon: 4, ..BinPicking::default() }
}

fn starts(n: usize) -> Vec<Picking> {
    let mut rng = Rng::seed_from_u64(5);
    (0..n).map(|_| mdp().start(&Scene::draw(&mut rng))).collect()
}

fn episodes(policy: &GaussianMlp) -> Vec<EpisodeOf<BinPicking>> {
    policy.rollout(&mdp(), &starts(5), &mut Rng::seed_from_u64(1)).unwrap()
}

#[test]
fn it_keeps_the_laws_in_double_precision() {
    for spread in SPREADS {
        let fresh = || learner(spread, DType::F64, plain());
        let episodes = episodes(&fresh());
        laws::check_policy(&mdp(), &fresh(), &starts(5), 7, 1e-9).unwrap();
        laws::check_cursor(&mdp(), &fresh(), &starts(3), 7, 3, 1e-9).unwrap();
        laws::check_learner(&mdp(), &mut fresh(), &episodes, 7, 1e-9).unwrap();
        laws::check_gradient(&mdp(), fresh, &episodes, 7, 1e-5, 1e-6).unwrap();
        let reference = Arc::new(learner(spread, DType::F64, plain()).frozen_copy().unwrap());
        let apart = || {
            let mut policy = fresh();
            step(&mut policy, &episodes, 0.01);
            policy.with_reference(Arc::clone(&reference))
        };
        assert!(apart().score(&mdp(), &episodes).unwrap().divergence.unwrap().values().iter().all(|kl| *kl > 0.0));
        laws::check_gradient(&mdp(), apart, &episodes, 7, 1e-5, 1e-6).unwrap();
    }
}

#[test]
fn it_keeps_the_laws_in_single_precision() {
    for spread in SPREADS {
        let fresh = || learner(spread, DType::F32, plain());
        laws::check_policy(&mdp(), &fresh(), &starts(5), 7, 1e-4).unwrap();
        laws::check_learner(&mdp(), &mut fresh(), &episodes(&fresh()), 7, 1e-4).unwrap();
    }
}

fn step(policy: &mut GaussianMlp, episodes: &[EpisodeOf<BinPicking>], rate: f64) {
    let (numbers, tape) = policy.forward(&mdp(), episodes).unwrap();
    Learner::<BinPicking>::backward(policy, tape, &numbers.log_probs.filled(-1.0).into()).unwrap();
    Learner::<BinPicking>::update(policy, rate, None).unwrap();
}

#[test]
fn every_parameter_gets_a_gradient_and_it_is_that_of_finite_differences() {
    for spread in SPREADS {
        let policy = learner(spread, DType::F64, plain());
        let episodes = episodes(&policy);
        let mut learned = learner(spread, DType::F64, plain());
        let (numbers, tape) = learned.forward(&mdp(), &episodes).unwrap();
        Learner::<BinPicking>::backward(&mut learned, tape, &numbers.log_probs.filled(1.0).into()).unwrap();
        for (name, shape) in config(spread).tensor_shapes() {
            let gradient = learned.gradients().unwrap().get(&name).unwrap_or_else(|| panic!("{name} has no gradient"));
            let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert!(gradient.iter().all(|slope| *slope != 0.0), "{name}");
            let at = shape.iter().product::<usize>() / 2;
            let sum = |offset: f64| {
                let config = config(spread);
                let mut tensors = tensors(&config, DType::F64);
                let mut values = tensors[&name].flatten_all().unwrap().to_vec1::<f64>().unwrap();
                values[at] += offset;
                tensors.insert(name.clone(), Tensor::from_vec(values, shape.clone(), &Device::Cpu).unwrap());
                let moved = GaussianMlp::frozen(config, tensors).unwrap();
                Ok(moved.score(&mdp(), &episodes)?.log_probs.values().iter().sum())
            };
            laws::check_slope(sum, gradient[at], 1e-5, 1e-7).unwrap();
        }
    }
}

#[test]
fn what_is_recomputed_changes_no_gradient() {
    let norm = |recompute| {
        let training = LearnerOptions { recompute, ..plain() };
        let mut policy = learner(SPREADS[1], DType::F32, training);
        let episodes = episodes(&policy);
        let (numbers, tape) = policy.forward(&mdp(), &episodes).unwrap();
        Learner::<BinPicking>::backward(&mut policy, tape, &numbers.log_probs.filled(1.0).into()).unwrap();
        Learner::<BinPicking>::gradient_norm(&policy).unwrap()
    };
    assert_eq!(norm(Recompute::Nothing).to_bits(), norm(Recompute::Blocks).to_bits());
}

#[test]
fn it_is_written_and_read_back_and_training_goes_on_to_the_bit() {
    let adam = || {
        let optimizer = Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.0).unwrap());
        LearnerOptions { ema: Some(0.5), ..LearnerOptions::new(optimizer) }
    };
    for spread in SPREADS {
        let (folder, mut policy) = (tempfile::tempdir().unwrap(), learner(spread, DType::F32, adam()));
        let episodes = episodes(&policy);
        step(&mut policy, &episodes, 0.01);
        policy.save_checkpoint(folder.path()).unwrap();
        let mut resumed = learner(spread, DType::F32, adam());
        resumed.restore_checkpoint(folder.path()).unwrap();
        step(&mut policy, &episodes, 0.01);
        step(&mut resumed, &episodes, 0.01);
        assert_eq!(policy.fingerprint().unwrap(), resumed.fingerprint().unwrap());
        // The export has the averages.
        let model = folder.path().join("model");
        policy.export(&model).unwrap();
        let read = load_gaussian(&model, &Device::Cpu).unwrap();
        let averaged = policy.averaged().unwrap().unwrap();
        assert_eq!(read.config(), policy.config());
        assert_eq!(read.fingerprint().unwrap(), averaged.fingerprint().unwrap());
        assert_ne!(read.fingerprint().unwrap(), policy.fingerprint().unwrap());
        let again = load_gaussian_to_train(&model, plain(), &Device::Cpu).unwrap();
        assert_eq!(again.fingerprint().unwrap(), averaged.fingerprint().unwrap());
    }
}

#[test]
fn damaged_folders_are_refused_by_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    learner(SPREADS[0], DType::F32, plain()).export(&model).unwrap();
    let text = std::fs::read_to_string(model.join("config.json")).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(model.join("config.json"), text.replace(from, to)).unwrap();
        load_gaussian(&model, &Device::Cpu).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("gaussian_mlp", "llama", "`model_type`: must be gaussian_mlp, not llama"),
        ("\"std\": 0.5", "\"std\": 0", "`std`: must be a positive number"),
        ("\"std\": 0.5", "\"other\": 0", "`least_std`: is missing"),
        ("\"observation_size\": 8", "\"observation_size\": 9", "means and deviations"),
        ("\"action_size\": 3", "\"action_size\": 2", "misshapen"),
        ("tanh", "relu", "must be tanh, not relu"),
    ] {
        let message = refused(from, to);
        assert!(message.contains(expected) && message.contains("model"), "{message}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let policy = learner(SPREADS[0], DType::F32, plain());
    let other = Recorded { observation_size: 2, action_size: 3 };
    let message = policy.score(&other, &[]).unwrap_err().to_string();
    assert!(message.contains("expected observations of 8, actions of 3, got observations of 2"), "{message}");
    let frozen = policy.frozen_copy().unwrap();
    assert!(Learner::<BinPicking>::forward(&frozen, &mdp(), &episodes(&frozen)).is_err());
    let adapters = lora::LoraConfig {
        rank: 1,
        alpha: 1.0,
        rslora: false,
        targets: lora::LoraTargets::AllLinear,
        extra: lora::LoraExtra::None,
    };
    let training = LearnerOptions { lora: Some(adapters), ..plain() };
    let config = config(SPREADS[0]);
    let tensors = tensors(&config, DType::F32);
    assert!(GaussianMlp::trainable(config, tensors, training).unwrap_err().to_string().contains("adapters"));
}

//! A language model and a denoiser as one policy: the laws, and a gradient for every parameter of both.

use std::path::Path;
use std::sync::Arc;

use hybrid_dpo::engine::Gradients;
use hybrid_dpo::engine::optim::Sgd;
use hybrid_dpo::mdp::diffusion::{DenoisingAction, DenoisingMdp, DenoisingState};
use hybrid_dpo::mdp::hybrid::{Half, Handoff, Hybrid};
use hybrid_dpo::mdp::token::{TokenMdp, TokenState};
use hybrid_dpo::mdp::{self, Episode, EpisodeOf, Mdp, Piece, Rng, Steps};
use hybrid_dpo::models::Prompted;
use hybrid_dpo::models::causal::{CausalLm, LearnerOptions};
use hybrid_dpo::models::denoiser::{Condition, Denoiser, Framing, LatentShape, SamplerConfig};
use hybrid_dpo::models::formats::{self, DiffusersFolder};
use hybrid_dpo::models::sampler::{Sampler, Variance};
use hybrid_dpo::models::scheduler::Scheduler;
use hybrid_dpo::policies::{Learner, Pair, Policy, laws};
use rand_chacha::rand_core::SeedableRng as _;

type Problem = Hybrid<TokenMdp, DenoisingMdp<Condition>, Prompted>;
type Models = Pair<CausalLm, Denoiser>;

const SHAPE: LatentShape = LatentShape { height: 4, width: 4, channels: 4 };

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The tiny Stable Diffusion after the tiny Llama, with three steps of chance.
fn world() -> (Problem, Models) {
    let cpu = candle_core::Device::Cpu;
    let refiner =
        formats::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/embedded/chimera/refiner"), &cpu).unwrap();
    let tokenizer = refiner.tokenizer().unwrap().clone();
    let folder = DiffusersFolder::open(&golden("companions/sd")).unwrap();
    let texts = Arc::new(folder.conditioner(&cpu).unwrap().unwrap());
    let scheduler = folder.component("scheduler").unwrap().path.join("scheduler_config.json");
    let scheduler = Scheduler::parse(&scheduler, &std::fs::read_to_string(&scheduler).unwrap()).unwrap();
    let outer = TokenMdp { vocabulary: refiner.config.vocabulary as u32, eos: tokenizer.eos.clone(), max_length: 12 };
    let inner = DenoisingMdp::new(Arc::clone(&scheduler.schedule), vec![900, 500, 100], SHAPE.size());
    let mdp = Hybrid { outer, inner, handoff: Prompted::new(tokenizer, texts, Framing::whole(8, 8)) };
    let training = || LearnerOptions::new(Box::new(Sgd::new(0.0).unwrap()));
    let refiner = refiner.trainable(training()).unwrap();
    let files = formats::load_denoiser(folder.denoiser(), &cpu).unwrap();
    let acting = SamplerConfig::plain(Sampler::Ddpm { variance: Variance::Large });
    let generator = files.trainable(scheduler.prediction, SHAPE, acting, training()).unwrap();
    (mdp, Pair::new(refiner, generator).named(["refiner", "generator"]))
}

fn starts(mdp: &Problem, models: &Models) -> Vec<<Problem as Mdp>::State> {
    let _ = models;
    let tokens: Arc<[u32]> = [3, 40, 50, 60].into();
    vec![mdp.start(&tokens); 3]
}

#[test]
fn a_language_model_and_a_denoiser_are_a_lawful_policy() {
    let (mdp, models) = world();
    let episodes = laws::check_policy(&mdp, &models, &starts(&mdp, &models), 1, 1e-3).unwrap();
    for episode in &episodes {
        let (words, picture) = mdp.split(episode).expect("no piece crosses the hand-off");
        assert!(!words.pieces[0].actions.is_empty());
        // The noise and three steps.
        assert_eq!(picture.pieces[0].actions.len(), 4);
        // The generator was told what the refiner wrote.
        let written = mdp.handoff.text(&words.pieces[0].actions).unwrap();
        assert_eq!(picture.pieces[0].start.context, mdp.handoff.condition(&written).unwrap());
    }
}

#[test]
fn what_is_handed_over_is_the_text_and_different_texts_differ() {
    let (mdp, _) = world();
    let enter =
        |response: Vec<u32>| mdp.handoff.enter(&[&TokenState { prompt: [3].into(), response }]).unwrap().remove(0);
    let (one, other) = (enter(vec![260, 270, 0]), enter(vec![280, 0]));
    assert_ne!(one, other);
    assert_eq!(one, enter(vec![260, 270, 0]));
    assert_eq!(enter(vec![0]), mdp.handoff.condition("").unwrap());
    assert_eq!(mdp.handoff.truncated(), 0);
    enter([260; 200].into());
    enter([260; 200].into());
    assert_eq!(mdp.handoff.truncated(), 1);
    assert_eq!(mdp.handoff.truncated_texts(), [mdp.handoff.text(&[260; 200]).unwrap()].into());
}

/// A side of a pair: what the refiner drew with this seed, and a picture of its own to denoise, weighed with beta and gamma.
fn side(mdp: &Problem, models: &Models, seed: u64, picture_is: f32, weights: (f64, f64)) -> EpisodeOf<Problem> {
    let mut rng = Rng::seed_from_u64(seed);
    let drawn = models.rollout(mdp, &starts(mdp, models)[..1], &mut rng).unwrap().remove(0);
    let (words, picture) = mdp.split(&drawn).unwrap();
    let latent = |value: f32| -> Arc<[f32]> { (0..SHAPE.size()).map(|i| value + i as f32 / 50.0).collect() };
    let start = DenoisingState { latent: Some(latent(picture_is)), done: 1, ..picture.pieces[0].start.clone() };
    let toward = DenoisingAction::Toward { clean: latent(-0.5), noise: latent(0.7) };
    let picture = Episode { pieces: vec![Piece { start, actions: vec![toward], weight: 1.0 }] };
    mdp.join(words, picture, weights)
}

#[test]
fn every_parameter_of_both_halves_gets_a_gradient() {
    let (mdp, mut models) = world();
    let episode = side(&mdp, &models, 2, 0.3, (0.5, 2.0));
    assert!(episode.pieces.iter().any(|piece| matches!(piece.start, Half::Inner(_))));
    let (numbers, tape) = models.forward(&mdp, &[episode]).unwrap();
    Learner::<Problem>::backward(&mut models, tape, &numbers.log_probs.filled(1.0).into()).unwrap();
    for (half, gradients, parameters) in [
        ("refiner", models.outer.gradients().unwrap(), models.outer.parameters()),
        ("generator", models.inner.gradients().unwrap(), models.inner.parameters()),
    ] {
        let with: std::collections::BTreeSet<&str> = gradients.iter().map(|(name, _)| name).collect();
        for (name, _) in parameters.iter() {
            assert!(with.contains(name), "{half}: {name} has no gradient");
        }
    }
    let norms = Learner::<Problem>::gradient_norms(&models).unwrap();
    assert!(norms.iter().all(|(_, norm)| *norm > 0.0), "{norms:?}");
}

/// Slopes of -log sigmoid of the margin of the first episode over the second with an offset, and the margin without it.
fn logistic(numbers: &Steps, weights: &Steps, offset: f64) -> (f64, Steps) {
    assert!(numbers.same_shape(weights));
    let total =
        |i: usize| numbers.row(i).iter().zip(weights.row(i)).map(|(number, weight)| number * weight).sum::<f64>();
    let margin = total(0) - total(1);
    let slope = -1.0 / (1.0 + (margin + offset).exp());
    let mut slopes = weights.clone();
    slopes.row_mut(0).iter_mut().for_each(|weight| *weight *= slope);
    slopes.row_mut(1).iter_mut().for_each(|weight| *weight *= -slope);
    (margin, slopes)
}

/// Eq. 15 and 16 with networks: the gradient of each half is that of the half alone with the other's margin as an offset.
#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn each_half_has_the_gradient_it_has_alone_with_the_others_margin_as_an_offset() {
    let (mdp, mut joint) = world();
    // Weights that leave both margins large enough to matter to the other half, and small enough not to drown it.
    let weights = (0.1, 0.02);
    let pair = [side(&mdp, &joint, 2, 0.3, weights), side(&mdp, &joint, 3, -0.4, weights)];
    let (numbers, tape) = joint.forward(&mdp, &pair).unwrap();
    let slopes = logistic(&numbers.log_probs, &mdp::weights(&pair), 0.0).1;
    Learner::<Problem>::backward(&mut joint, tape, &slopes.into()).unwrap();

    let (words, pictures): (Vec<_>, Vec<_>) = pair.iter().map(|side| mdp.split(side).unwrap()).unzip();
    let alone = |words_offset: f64, pictures_offset: f64| {
        let (_, mut models) = world();
        let (of_words, words_tape) = models.outer.forward(&mdp.outer, &words).unwrap();
        let (of_pictures, pictures_tape) = models.inner.forward(&mdp.inner, &pictures).unwrap();
        let of_words = logistic(&of_words.log_probs, &mdp::weights(&words), words_offset);
        let of_pictures = logistic(&of_pictures.log_probs, &mdp::weights(&pictures), pictures_offset);
        models.outer.backward(words_tape, &of_words.1.into()).unwrap();
        models.inner.backward(pictures_tape, &of_pictures.1.into()).unwrap();
        (models, of_words.0, of_pictures.0)
    };
    let (without, words_margin, pictures_margin) = alone(0.0, 0.0);
    assert!(words_margin.abs() > 0.1 && pictures_margin.abs() > 0.1, "{words_margin} {pictures_margin}");
    let (with, ..) = alone(pictures_margin, words_margin);
    let difference = |ours: &Gradients, theirs: &Gradients| {
        let flat = |gradients: &Gradients| -> Vec<f32> {
            let values =
                gradients.iter().map(|(_, gradient)| gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            values.flatten().collect()
        };
        let (ours, theirs) = (flat(ours), flat(theirs));
        assert_eq!(ours.len(), theirs.len());
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let apart = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| f64::from(a - b)));
        apart / norm(&mut theirs.iter().map(|&value| f64::from(value)))
    };
    let (of_words, of_pictures) = (joint.outer.gradients().unwrap(), joint.inner.gradients().unwrap());
    for (half, joint, with, without) in [
        ("refiner", of_words, with.outer.gradients().unwrap(), without.outer.gradients().unwrap()),
        ("generator", of_pictures, with.inner.gradients().unwrap(), without.inner.gradients().unwrap()),
    ] {
        let (apart, apart_without) = (difference(joint, with), difference(joint, without));
        assert!(apart < 1e-5, "{half}: {apart}");
        assert!(apart_without > 0.01, "{half}: the offset makes no difference, {apart_without}");
    }
}

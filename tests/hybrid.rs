//! A language model and a denoiser as one policy: the laws, and a gradient for every parameter of both.

use std::path::Path;
use std::sync::Arc;

use hybrid_dpo::engine::checkpoint::Keep;
use hybrid_dpo::engine::optim::Sgd;
use hybrid_dpo::mdp::diffusion::{DenoisingAction, DenoisingMdp, DenoisingState};
use hybrid_dpo::mdp::hybrid::{Half, Handoff, Hybrid};
use hybrid_dpo::mdp::token::{TokenMdp, TokenState};
use hybrid_dpo::mdp::{Episode, EpisodeOf, Mdp, Piece, Rng};
use hybrid_dpo::policies::causal::{CausalLm, Training};
use hybrid_dpo::policies::denoiser::sampler::{Sampler, Variance};
use hybrid_dpo::policies::denoiser::{Acting, Condition, Denoiser, DenoiserTraining, Framing, Shape};
use hybrid_dpo::policies::formats::{self, DiffusersFolder, Scheduler};
use hybrid_dpo::policies::{Learner, Pair, Policy, Prompted, laws};
use rand_chacha::rand_core::SeedableRng as _;

type Problem = Hybrid<TokenMdp, DenoisingMdp<Condition>, Prompted>;
type Models = Pair<CausalLm, Denoiser>;

const SHAPE: Shape = Shape { height: 4, width: 4, channels: 4 };

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The tiny Stable Diffusion after the tiny Llama, with three steps of chance.
fn world() -> (Problem, Models) {
    let cpu = candle_core::Device::Cpu;
    let refiner =
        formats::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bins/embedded/chimera/refiner"), &cpu).unwrap();
    let tokenizer = refiner.tokenizer().unwrap().clone();
    let folder = DiffusersFolder::open(&golden("companions/sd")).unwrap();
    let texts = Arc::new(folder.conditioner(&cpu).unwrap().unwrap());
    let scheduler = folder.part("scheduler").unwrap().path.join("scheduler_config.json");
    let scheduler = Scheduler::parse(&scheduler, &std::fs::read_to_string(&scheduler).unwrap()).unwrap();
    let outer = TokenMdp { vocabulary: refiner.config.vocabulary as u32, eos: tokenizer.eos.clone(), max_length: 12 };
    let inner = DenoisingMdp::new(Arc::clone(&scheduler.schedule), vec![900, 500, 100], SHAPE.size());
    let mdp = Hybrid { outer, inner, handoff: Prompted::new(tokenizer, texts, Framing::whole(8, 8)) };
    let training =
        Training { optimizer: Box::new(Sgd::new(0.0).unwrap()), lora: None, seed: 0, keep: Keep::Activations };
    let refiner = CausalLm::trainable(refiner, training).unwrap();
    let training = DenoiserTraining {
        optimizer: Box::new(Sgd::new(0.0).unwrap()),
        lora: None,
        seed: 0,
        keep: Keep::Activations,
        ema: None,
    };
    let files = formats::load_unet(folder.unet(), &cpu).unwrap();
    let acting = Acting::plain(Sampler::Ddpm { variance: Variance::Large });
    let generator = Denoiser::trainable(files, scheduler.prediction, SHAPE, acting, training).unwrap();
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
    assert!(mdp.handoff.take_failure().is_none());
}

#[test]
fn what_is_handed_over_is_the_text_and_different_texts_differ() {
    let (mdp, _) = world();
    let enter = |response: Vec<u32>| mdp.handoff.enter(&TokenState { prompt: [3].into(), response });
    let (one, other) = (enter(vec![260, 270, 0]), enter(vec![280, 0]));
    assert_ne!(one, other);
    assert_eq!(one, enter(vec![260, 270, 0]));
    assert_eq!(enter(vec![0]), mdp.handoff.condition("").unwrap());
    assert_eq!(mdp.handoff.truncated(), 0);
    enter([260; 200].into());
    assert_eq!(mdp.handoff.truncated(), 1);
}

#[test]
fn every_parameter_of_both_halves_gets_a_gradient() {
    let (mdp, mut models) = world();
    let mut rng = Rng::seed_from_u64(2);
    let drawn = models.rollout(&mdp, &starts(&mdp, &models)[..1], &mut rng).unwrap().remove(0);
    let (words, picture) = mdp.split(&drawn).unwrap();
    let latent = |value: f32| -> Arc<[f32]> { (0..SHAPE.size()).map(|i| value + i as f32 / 50.0).collect() };
    let start = DenoisingState { latent: Some(latent(0.3)), done: 1, ..picture.pieces[0].start.clone() };
    let toward = DenoisingAction::Toward { clean: latent(-0.5), noise: latent(0.7) };
    let picture = Episode { pieces: vec![Piece { start, actions: vec![toward], weight: 1.0 }] };
    let episode: EpisodeOf<Problem> = mdp.join(words, picture, (0.5, 2.0));
    assert!(episode.pieces.iter().any(|piece| matches!(piece.start, Half::Inner(_))));
    let (numbers, tape) = models.forward(&mdp, &[episode]).unwrap();
    Learner::<Problem>::backward(&mut models, tape, &numbers.log_probs.filled(1.0).into()).unwrap();
    for (half, gradients, parameters) in [
        ("refiner", models.outer.gradients().unwrap(), models.outer.parameters()),
        ("generator", models.inner.gradients().unwrap(), &models.inner.unet().parameters),
    ] {
        let with: std::collections::BTreeSet<&str> = gradients.iter().map(|(name, _)| name).collect();
        for (name, _) in parameters.iter() {
            assert!(with.contains(name), "{half}: {name} has no gradient");
        }
    }
    let norms = Learner::<Problem>::gradient_norms(&models).unwrap();
    assert!(norms.iter().all(|(_, norm)| *norm > 0.0), "{norms:?}");
}

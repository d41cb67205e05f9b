//! Trains a prompt refiner and an image generator on one preference in your own program.
//!
//! The two are one policy of a hybrid MDP: tokens, then denoising steps, with the generator's own text encoder between.
//! People compare the final images, and one loss trains both (the paper's Eq. 15 and 16). The trainer is that of
//! examples 02 and 03.
//!
//! Run it with `cargo run --release --example 04_refiner_and_generator`; it takes about a minute.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use hybrid_dpo::datasets::synthetic::chimera::{ChimeraProblem, EDGE, Split, refiner_prompt, refiner_response};
use hybrid_dpo::datasets::{Example, ExampleKind, Response};
use hybrid_dpo::engine::optim::AdamW;
use hybrid_dpo::mdp::diffusion::{Omega, Prediction};
use hybrid_dpo::mdp::hybrid::Hybrid;
use hybrid_dpo::mdp::token::TokenMdp;
use hybrid_dpo::models::Prompted;
use hybrid_dpo::models::causal::{CausalLm, LearnerOptions};
use hybrid_dpo::models::denoiser::{Denoiser, Framing, LatentShape, SamplerConfig};
use hybrid_dpo::models::formats::{DenoiserFiles, DiffusersFolder, ModelFiles, ModelTokenizer, load, load_denoiser};
use hybrid_dpo::models::sampler::Sampler;
use hybrid_dpo::models::scheduler::Scheduler;
use hybrid_dpo::objectives::{Comparison, Logistic, Pairwise};
use hybrid_dpo::policies::{BoxError, Pair, TrainedHalf};
use hybrid_dpo::train::diffusion::{
    DrawPlan, ErrorReduction, Finished, ImageExample, ImageMdp, ImageSource, NoiseSharing, Scheme, Timesteps, Units,
};
use hybrid_dpo::train::hybrid::HybridSource;
use hybrid_dpo::train::token::TokenSource;
use hybrid_dpo::train::{Settings, Training};

const NAMES: [&str; 2] = ["refiner", "generator"];
const MAX_LENGTH: usize = 96;

/// The problem: a refined prompt, then an image.
type Mdp = Hybrid<TokenMdp, ImageMdp, Prompted>;
/// The policy: a language model, then a denoiser.
type Models = Pair<CausalLm, Denoiser>;
/// Pairs for both halves: the tokens of refined prompts, and their images.
type Pairs = (Vec<Example>, Vec<ImageExample>);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/embedded/chimera").join(name)
}

/// Pairs of a split, the better side first.
fn pairs(split: Split, n: u64, tokenizer: &ModelTokenizer, handoff: &Prompted) -> Result<Pairs, BoxError> {
    let (mut words, mut pictures) = (Vec::new(), Vec::new());
    for index in 0..n {
        let pair = ChimeraProblem::new(0).with_null_share(0.0).pair(split, index);
        let sides = [&pair.chosen, &pair.rejected];
        let answer = |refined: &str| -> Result<Response, BoxError> {
            let mut tokens = tokenizer.encode(&refiner_response(refined))?;
            tokens.push(tokenizer.eos[0]);
            Ok(tokens.into())
        };
        let responses = sides.iter().map(|side| answer(&side.refined)).collect::<Result<_, _>>()?;
        let prompt = tokenizer.encode(&refiner_prompt(&pair.request))?.into();
        words.push(Example::new(index, prompt, responses, ExampleKind::Pair));
        let finished = sides.iter().map(|side| -> Result<Finished, BoxError> {
            let latent = Arc::clone(side.scene.render().values());
            Ok(Finished { latent, condition: handoff.condition(&side.refined)? })
        });
        pictures.push(ImageExample { sides: finished.collect::<Result<_, _>>()?, preference: 1.0 });
    }
    Ok((words, pictures))
}

/// A trainable refiner and generator, and the frozen reference of both.
fn policies(
    refiner: ModelFiles,
    unet: DenoiserFiles,
    prediction: Prediction,
    shape: LatentShape,
) -> Result<(Models, Models), BoxError> {
    let adam = || AdamW::new((0.9, 0.999), 1e-8, 0.0).map(Box::new);
    let acting = SamplerConfig::plain(Sampler::Ddim { eta: 0.0 });
    let frozen = unet.clone().frozen(prediction, shape, acting.clone())?;
    let reference = Pair::new(refiner.clone().frozen()?, frozen);
    let outer = refiner.trainable(LearnerOptions::new(adam()?))?;
    let inner = unet.trainable(prediction, shape, acting, LearnerOptions::new(adam()?))?;
    Ok((Pair::new(outer, inner).named(NAMES).learning(TrainedHalf::Both), reference))
}

fn main() -> Result<(), BoxError> {
    let (refiner, generator) = (load(&folder("refiner"), &Device::Cpu)?, DiffusersFolder::open(&folder("generator"))?);
    let unet = load_denoiser(generator.denoiser(), &Device::Cpu)?;
    let texts = generator.conditioner(&Device::Cpu)?.ok_or("the generator reads no text")?;
    let path = folder("generator/scheduler/scheduler_config.json");
    let scheduler = Scheduler::parse(&path, &std::fs::read_to_string(&path)?)?;
    let (tokenizer, shape) = (refiner.tokenizer()?.clone(), LatentShape { height: EDGE, width: EDGE, channels: 3 });

    // The hybrid MDP: what the refiner wrote is what the generator is told.
    let vocabulary = refiner.config.vocabulary as u32;
    let mdp = Mdp {
        outer: TokenMdp { vocabulary, eos: tokenizer.eos.clone(), max_length: MAX_LENGTH },
        inner: ImageMdp::full(Arc::clone(&scheduler.schedule), shape.size()),
        handoff: Prompted::new(tokenizer.clone(), Arc::new(texts), Framing::whole(EDGE, EDGE)),
    };
    let (timesteps, noise) = (Timesteps::Uniform, NoiseSharing::Shared);
    let draws = DrawPlan { seed: 0, per_example: 1, sets: 1, timesteps, noise, given: None };
    let units = Units { reduction: ErrorReduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
    let source = |(words, pictures)| {
        let words = TokenSource::<Comparison>::new(words, MAX_LENGTH);
        let pictures =
            ImageSource::<Comparison>::new(pictures, mdp.inner.clone(), draws.clone(), units, Scheme::Forward);
        // beta per nat of the refiner, gamma per unit of the generator's squared error.
        HybridSource::new(&mdp, (words, pictures.of_prediction(scheduler.prediction)), (0.3, 100.0), NAMES)
    };
    let train = pairs(Split::Train, 512, &tokenizer, &mdp.handoff)?;
    let held_out = pairs(Split::Validation, 64, &tokenizer, &mdp.handoff)?;
    let data = source((&train.0, &train.1))?;
    let held_out = source((&held_out.0, &held_out.1))?;

    // One policy of two halves, and one loss.
    let (mut policy, reference) = policies(refiner, unet, scheduler.prediction, shape)?;
    let objective = Pairwise::new(Logistic::new(1.0)?);
    let settings = Settings { batch_size: 8, micro_batch_size: 8, rate: 1e-4, warmup_steps: 5, ..Settings::default() };
    let training = Training::new(&mdp, &data, &objective).reference(&reference).settings(settings);
    for (step, learned) in training.steps(&mut policy)?.enumerate() {
        println!("step {step:>2}: loss {:.4}", learned?.loss);
    }
    let shown = training.evaluate(&policy, &held_out)?;
    println!(
        "{} held-out pairs, accuracy {:.3}",
        shown.examples,
        shown.metric("rewards/accuracies").unwrap_or_default()
    );
    Ok(())
}

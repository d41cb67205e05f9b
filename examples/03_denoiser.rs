//! Trains a denoiser on image preferences in your own program (Diffusion-DPO).
//!
//! The model is a diffusers folder (the small one that this repository trains itself), the data are in-memory pairs of
//! images. Denoisers and language models share one training loop: only the data source differs from example 02.
//!
//! Run it with `cargo run --release --example 03_denoiser`; it takes about half a minute.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use hybrid_dpo::datasets::images::ImagePair;
use hybrid_dpo::datasets::synthetic::shapes::{EDGE, ShapesProblem, Split};
use hybrid_dpo::engine::optim::AdamW;
use hybrid_dpo::mdp::diffusion::Omega;
use hybrid_dpo::models::clip::TextConditioner;
use hybrid_dpo::models::denoiser::{Framing, LatentShape, LearnerOptions, SamplerConfig};
use hybrid_dpo::models::formats::{DiffusersFolder, load_denoiser};
use hybrid_dpo::models::sampler::Sampler;
use hybrid_dpo::models::scheduler::Scheduler;
use hybrid_dpo::objectives::{Comparison, Logistic, Pairwise};
use hybrid_dpo::policies::BoxError;
use hybrid_dpo::train::diffusion::{
    DrawPlan, ErrorReduction, Finished, ImageExample, ImageMdp, ImageSource, NoiseSharing, Scheme, Timesteps, Units,
};
use hybrid_dpo::train::{Settings, Training};

/// Image pairs with one caption each, the better image first.
fn pairs(split: Split, n: usize, texts: &TextConditioner) -> Result<Vec<ImageExample>, BoxError> {
    let example = |pair: ImagePair| -> Result<ImageExample, BoxError> {
        let condition = texts.encode(&[&pair.caption], Framing::whole(EDGE, EDGE))?.conditions.remove(0);
        let side = |latent: &Arc<[f32]>| Finished { latent: Arc::clone(latent), condition: Arc::clone(&condition) };
        Ok(ImageExample { sides: vec![side(pair.chosen.values()), side(pair.rejected.values())], preference: 1.0 })
    };
    ShapesProblem::new(0).pairs(split, n).map(example).collect()
}

fn main() -> Result<(), BoxError> {
    let folder = DiffusersFolder::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/embedded/shapes"))?;
    let files = load_denoiser(folder.denoiser(), &Device::Cpu)?;
    let path = folder.path.join("scheduler/scheduler_config.json");
    let scheduler = Scheduler::parse(&path, &std::fs::read_to_string(&path)?)?;
    let texts = folder.conditioner(&Device::Cpu)?.ok_or("the folder has no text encoder")?;

    // Pictures to decisions of the denoising MDP: a timestep and noise each.
    let shape = LatentShape { height: EDGE, width: EDGE, channels: 3 };
    let (pairs, held_out) = (pairs(Split::Train, 512, &texts)?, pairs(Split::Validation, 64, &texts)?);
    let mdp = ImageMdp::full(Arc::clone(&scheduler.schedule), shape.size());
    let (timesteps, noise) = (Timesteps::Uniform, NoiseSharing::Shared);
    let draws = DrawPlan { seed: 0, per_example: 1, sets: 1, timesteps, noise, given: None };
    let units = Units { reduction: ErrorReduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
    let source = |images| {
        let source = ImageSource::<Comparison>::new(images, mdp.clone(), draws.clone(), units, Scheme::Forward);
        source.of_prediction(scheduler.prediction)
    };
    let (data, held_out) = (source(&pairs), source(&held_out));

    // The same trainer as of a language model.
    let acting = SamplerConfig::plain(Sampler::Ddim { eta: 0.0 });
    let (prediction, optimizer) = (scheduler.prediction, Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.0)?));
    let reference = files.clone().frozen(prediction, shape, acting.clone())?;
    let mut policy = files.trainable(prediction, shape, acting, LearnerOptions::new(optimizer))?;
    let objective = Pairwise::new(Logistic::new(300.0)?);
    let settings = Settings { batch_size: 8, micro_batch_size: 8, rate: 5e-4, warmup_steps: 5, ..Settings::default() };
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

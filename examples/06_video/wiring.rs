//! Connects the video problem to the trainer: a hand-off, two models and data. A new problem needs no more.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use hybrid_dpo::datasets::synthetic::motion::{
    self, Clip, Code, EDGE, FRAMES, Motion, MotionPair, MotionProblem, Plan, Request, Split,
};
use hybrid_dpo::datasets::{Example, ExampleKind};
use hybrid_dpo::engine::optim::{AdamW, Optimizer};
use hybrid_dpo::engine::{EngineError, Noise};
use hybrid_dpo::mdp::diffusion::Omega;
use hybrid_dpo::mdp::hybrid::Hybrid;
use hybrid_dpo::mdp::token::TokenMdp;
use hybrid_dpo::models::causal::{CausalConfig, CausalLm, LearnerOptions};
use hybrid_dpo::models::denoiser::{Denoiser, DenoiserConfig, Framing, LatentShape, SamplerConfig};
use hybrid_dpo::models::formats::{Extras, HuggingFaceExport, ModelTokenizer};
use hybrid_dpo::models::sampler::Sampler;
use hybrid_dpo::models::scheduler::Scheduler;
use hybrid_dpo::models::unet::UNetConfig;
use hybrid_dpo::models::{Codebook, ModelError};
use hybrid_dpo::policies::{BoxError, Pair};
use hybrid_dpo::train::diffusion::{
    DrawPlan, ErrorReduction, Finished, FromImages, ImageExample, ImageMdp, ImageSource, Images, NoiseSharing, Scheme,
    Timesteps, Units,
};
use hybrid_dpo::train::hybrid::HybridSource;
use hybrid_dpo::train::token::{Examples, FromExample, TokenSource};
use serde_json::json;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Codes token by token, then a clip.
pub(crate) type VideoMdp = Hybrid<TokenMdp, ImageMdp, Codebook>;
/// The planner and the decoder.
pub(crate) type Models = Pair<CausalLm, Denoiser>;
/// The training data of both halves.
pub(crate) type Source<'a, F> = HybridSource<'a, TokenSource<'a, F>, ImageSource<'a, F>, Codebook>;

/// The parts of a model: its configuration and its tensors.
pub(crate) type Parts<C> = (C, BTreeMap<String, Tensor>);

/// The names of the halves.
pub(crate) const NAMES: [&str; 2] = ["planner", "decoder"];
/// Maximum number of tokens of a request and its codes.
const MAX_LENGTH: usize = 32;

/// The shape of a clip for the denoiser: frames are channels.
pub(crate) const SHAPE: LatentShape = LatentShape { height: EDGE, width: EDGE, channels: FRAMES };

/// The sampler of clips.
pub(crate) const SAMPLER: Sampler = Sampler::Ddim { eta: 0.0 };

/// Sizes of the models.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Width of the planner.
    pub(crate) planner: usize,
    /// Number of blocks.
    pub(crate) n_layers: usize,
    /// Channels of the decoder, from the highest to the lowest resolution.
    pub(crate) decoder: [usize; 4],
}

/// The problem and its resources.
#[derive(Debug)]
pub(crate) struct Video {
    pub(crate) mdp: VideoMdp,
    pub(crate) scheduler: Scheduler,
    tokenizer: ModelTokenizer,
    extras: Extras,
}

impl Video {
    pub(crate) fn new() -> Result<Self> {
        let mut extras = Extras::default();
        extras.insert("tokenizer.json", motion::tokenizer_json().into_bytes());
        let settings = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": motion::END_OF_TEXT });
        extras.insert("tokenizer_config.json", settings.to_string().into_bytes());
        let tokenizer = ModelTokenizer::from_extras(Path::new("motion"), &extras, None)?.ok_or("no tokenizer")?;
        // The network predicts a velocity, which is the clip itself where there is nothing but noise, so a narrow one need not
        // carry the noise of all frames through. Most timesteps are noisy: flat shapes show through much noise.
        let scheduler = json!({
            "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4,
            "beta_end": 0.04, "rescale_betas_zero_snr": true, "prediction_type": "v_prediction",
            "timestep_spacing": "trailing", "clip_sample": true, "set_alpha_to_one": true,
        });
        let scheduler = Scheduler::parse(Path::new("scheduler"), &scheduler.to_string())?;
        let codes: Vec<Code> = Code::all().collect();
        let table = codes.iter().flat_map(Code::vector).collect();
        let handoff = Codebook::new(motion::code_token(&codes[0]), table, codes.len(), FRAMES)?
            .with_pooled(Framing::whole(EDGE, EDGE));
        let vocabulary = tokenizer.n_tokens() as u32;
        let outer = TokenMdp { vocabulary, eos: tokenizer.eos.clone(), max_length: MAX_LENGTH };
        let inner = ImageMdp::full(Arc::clone(&scheduler.schedule), SHAPE.size());
        Ok(Self { mdp: Hybrid { outer, inner, handoff }, scheduler, tokenizer, extras })
    }

    /// The tokens of the planner's prompt.
    pub(crate) fn prompt(&self, request: Request) -> std::result::Result<Vec<u32>, ModelError> {
        self.tokenizer.encode(&motion::planner_prompt(&request))
    }

    /// The tokens of the planner's response, EOS included.
    pub(crate) fn response(&self, codes: &[Code]) -> Vec<u32> {
        codes.iter().map(motion::code_token).chain(self.mdp.outer.eos.first().copied()).collect()
    }

    /// A clip with the codes it is conditioned on.
    pub(crate) fn finished(&self, codes: &[Code; FRAMES], shown: &[Code; FRAMES]) -> Finished {
        let condition = self.mdp.handoff.condition(&self.response(codes));
        Finished { latent: Arc::clone(Clip::render(shown).values()), condition }
    }

    /// A randomly initialised Llama.
    pub(crate) fn untrained_planner(&self, size: Size, seed: u64) -> Result<Parts<CausalConfig>> {
        let config = CausalConfig::from_json(json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": self.tokenizer.n_tokens(),
            "hidden_size": size.planner, "intermediate_size": 8 * size.planner / 3, "num_hidden_layers": size.n_layers,
            "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": size.planner / 4,
            "max_position_embeddings": MAX_LENGTH, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "initializer_range": 0.06, "bos_token_id": 0, "eos_token_id": 0,
        }))?;
        let tensors = config.initial_tensors(&Noise::new(seed), &Device::Cpu)?;
        Ok((config, tensors))
    }

    /// A randomly initialised UNet that attends to one code per frame.
    pub(crate) fn untrained_decoder(&self, size: Size, seed: u64) -> Result<Parts<DenoiserConfig>> {
        let config = UNetConfig::from_json(json!({
            "_class_name": "UNet2DConditionModel", "sample_size": EDGE,
            "in_channels": SHAPE.channels, "out_channels": SHAPE.channels,
            "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
            "block_out_channels": size.decoder, "layers_per_block": 1, "attention_head_dim": 4, "cross_attention_dim": self.mdp.handoff.width(),
            "norm_num_groups": 8, "norm_eps": 1e-5, "act_fn": "silu", "use_linear_projection": true,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": self.mdp.handoff.width() + 6 * 4,
        }))?;
        let tensors = config.initial_tensors(&Noise::new(seed), &Device::Cpu)?;
        Ok((config.into(), tensors))
    }

    /// A trainable planner; it is exported with the tokenizer of the problem.
    pub(crate) fn planner(&self, (config, tensors): Parts<CausalConfig>) -> Result<CausalLm> {
        let exporter = HuggingFaceExport { extras: self.extras.clone(), ..HuggingFaceExport::default() };
        Ok(CausalLm::trainable(config, tensors, LearnerOptions::new(optimizer()?))?.with_exporter(exporter))
    }

    /// A trainable decoder; with a decay, its export is the moving average of its weights.
    pub(crate) fn decoder(&self, (config, tensors): Parts<DenoiserConfig>, ema: Option<f64>) -> Result<Denoiser> {
        let training = LearnerOptions { ema, ..LearnerOptions::new(optimizer()?) };
        let acting = SamplerConfig::plain(SAMPLER);
        Ok(Denoiser::trainable(config, tensors, self.scheduler.prediction, SHAPE, acting, training)?)
    }

    /// Both models, frozen.
    pub(crate) fn frozen(&self, planner: Parts<CausalConfig>, decoder: Parts<DenoiserConfig>) -> Result<Models> {
        let acting = SamplerConfig::plain(SAMPLER);
        let decoder = Denoiser::frozen(decoder.0, decoder.1, self.scheduler.prediction, SHAPE, acting)?;
        Ok(Pair::new(CausalLm::frozen(planner.0, planner.1)?, decoder).named(NAMES))
    }

    /// A training source of clips.
    pub(crate) fn clips<'a, F: FromImages>(&self, images: &'a dyn Images, draws: DrawPlan) -> ImageSource<'a, F> {
        let units = Units { reduction: ErrorReduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
        ImageSource::new(images, self.mdp.inner.clone(), draws, units, Scheme::Forward)
            .of_prediction(self.scheduler.prediction)
    }

    /// A training source of pairs for both halves; `weights` are beta per nat of codes and gamma per unit of halved
    /// mean squared error.
    pub(crate) fn pairs<'a, F: FromExample + FromImages>(
        &'a self,
        pairs: &'a Pairs<'a>,
        draws: DrawPlan,
        weights: (f64, f64),
    ) -> Result<Source<'a, F>> {
        let codes = TokenSource::new(pairs, MAX_LENGTH);
        HybridSource::new(&self.mdp, (codes, self.clips(pairs, draws)), weights, NAMES)
    }
}

/// New timesteps and noise in every epoch; `per_example` draws inside one loss.
pub(crate) fn draws(seed: u64, per_example: usize) -> DrawPlan {
    let (timesteps, noise) = (Timesteps::Stratified, NoiseSharing::Shared);
    DrawPlan { seed, per_example, sets: 1000, timesteps, noise, given: None }
}

fn optimizer() -> std::result::Result<Box<dyn Optimizer>, EngineError> {
    Ok(Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.01)?))
}

/// The planner's demonstrations.
pub(crate) struct Plans<'a> {
    pub(crate) video: &'a Video,
    pub(crate) problem: MotionProblem,
    pub(crate) n: usize,
}

impl Examples for Plans<'_> {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> std::result::Result<Example, BoxError> {
        let Plan { request, planned } = self.problem.plan(Split::Train, index as u64);
        example(self.video, index, request, &[planned], ExampleKind::Demonstration)
    }
}

/// The decoder's demonstrations.
pub(crate) struct Drawings<'a> {
    pub(crate) video: &'a Video,
    pub(crate) problem: MotionProblem,
    pub(crate) n: usize,
}

impl Images for Drawings<'_> {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> std::result::Result<ImageExample, BoxError> {
        let drawn = self.problem.drawn(Split::Train, index as u64);
        Ok(ImageExample { sides: vec![self.video.finished(&drawn.codes, &drawn.shown)], preference: 1.0 })
    }
}

/// Pairs of whole answers: example `i` of both halves is the same pair.
pub(crate) struct Pairs<'a> {
    pub(crate) video: &'a Video,
    pub(crate) problem: MotionProblem,
    pub(crate) split: Split,
    pub(crate) n: usize,
}

impl Pairs<'_> {
    fn pair(&self, index: usize) -> MotionPair {
        self.problem.pair(self.split, index as u64)
    }
}

impl Examples for Pairs<'_> {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> std::result::Result<Example, BoxError> {
        let MotionPair { request, chosen, rejected } = self.pair(index);
        example(self.video, index, request, &[chosen.planned, rejected.planned], ExampleKind::Pair)
    }
}

impl Images for Pairs<'_> {
    fn len(&self) -> usize {
        self.n
    }

    fn example(&self, index: usize) -> std::result::Result<ImageExample, BoxError> {
        let MotionPair { chosen, rejected, .. } = self.pair(index);
        let sides = [chosen, rejected].map(|side| self.video.finished(&side.planned.codes(), &side.shown.codes()));
        Ok(ImageExample { sides: sides.into(), preference: 1.0 })
    }
}

fn example(
    video: &Video,
    index: usize,
    request: Request,
    planned: &[Motion],
    kind: ExampleKind,
) -> std::result::Result<Example, BoxError> {
    let responses = planned.iter().map(|planned| video.response(&planned.codes()).into()).collect();
    Ok(Example::new(index as u64, video.prompt(request)?.into(), responses, kind))
}

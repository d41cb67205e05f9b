//! The words that settings take, each list an enum.

use datasets::pairs::Modality;
use serde::{Deserialize, Serialize};
use toml::Value;
use train::Decay;

use super::{Kind, Setting};

/// Defines an enum whose variants are words of the command line and of config files.
macro_rules! choices {
    ($($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $help:literal])+ $variant:ident = $word:literal,)+ })+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $help])+ #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// The words of all.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word in config files and on the command line.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Setting for $name {
            const KIND: Kind = Kind::Choice(Self::WORDS);
            type Read<'a> = Self;

            fn read(&self) -> Self {
                *self
            }

            fn to_value(&self) -> Option<Value> {
                Some(Value::String(self.word().to_owned()))
            }

            fn from_value(value: &Value) -> Option<Self> {
                let word = value.as_str()?;
                Self::ALL.iter().copied().find(|choice| choice.word() == word)
            }
        }
    )+};
}

choices! {
    /// The optimisers.
    OptimizerName {
        /// RMSprop.
        Rmsprop = "rmsprop",
        /// AdamW.
        Adamw = "adamw",
        /// Stochastic gradient descent.
        Sgd = "sgd",
    }

    /// Defaults of known runs.
    Preset {
        /// The paper's TL;DR run.
        Tldr = "tldr",
        /// TRL's `DPOTrainer`.
        Trl = "trl",
        /// The released Diffusion-DPO code on Stable Diffusion 1.5.
        SalesforceSd15 = "salesforce-sd15",
        /// The Diffusion-DPO script of diffusers.
        Diffusers2500 = "diffusers-2500",
        /// Flow matching, in the units of Flow-GRPO's online DPO.
        FlowGrpo100 = "flow-grpo-100",
        /// verl-omni's offline DPO of Stable Diffusion 3.5 medium, with adapters.
        VerlOmniSd35 = "verl-omni-sd35",
        /// Flow-Factory's DPO of FLUX.1 dev, with adapters.
        FlowFactoryFlux = "flow-factory-flux",
        /// The paper's units (Eq. 15).
        Paper = "paper",
    }

    /// The layouts of records.
    FormatName {
        /// Detected by the fields of the first record.
        Auto = "auto",
        /// TRL's columns.
        Trl = "trl",
        /// OpenAI's comparisons of summaries.
        Tldr = "tldr",
        /// Anthropic's HH.
        Hh = "hh",
        /// UltraFeedback.
        Ultrafeedback = "ultrafeedback",
        /// Answers with labels.
        Kto = "kto",
        /// Ranked answers.
        Ranked = "ranked",
        /// Trees of answers.
        Tree = "tree",
        /// Demonstrations.
        Demonstration = "demonstration",
    }

    /// The tokenisation of prompt and answer.
    TokenizationName {
        /// Separately.
        Separate = "separate",
        /// Jointly, then split (as TRL).
        Joint = "joint",
    }

    /// The handling of a broken record or image.
    Broken {
        /// An error.
        Fail = "fail",
        /// Skipped and counted.
        Skip = "skip",
    }

    /// The prediction type of the network.
    PredictionName {
        /// That of the model's scheduler.
        Auto = "auto",
        /// The noise.
        Epsilon = "epsilon",
        /// The velocity v.
        V = "v",
        /// The flow from image to noise.
        Flow = "flow",
    }

    /// The dtype of exported weights.
    SaveDtype {
        /// That of the model's own file.
        Auto = "auto",
        /// 32 bits.
        F32 = "f32",
        /// 16 bits, IEEE.
        F16 = "f16",
        /// 16 bits, bfloat.
        Bf16 = "bf16",
    }

    /// Whether both sides of a pair are flipped together.
    FlipSides {
        /// Both or none.
        Together = "together",
        /// Independently.
        Apart = "apart",
    }

    /// The handling of transparent pixels.
    TransparencyName {
        /// Composited on white.
        White = "white",
        /// The alpha channel is dropped.
        Drop = "drop",
    }

    /// The resampling filter of resized images.
    ResizeFilter {
        /// Lanczos, three lobes.
        Lanczos = "lanczos",
        /// Bicubic.
        Bicubic = "bicubic",
        /// Bilinear.
        Bilinear = "bilinear",
    }

    /// The rounding of the longer side and of the centre crop's position.
    ResizeRounding {
        /// To the nearest.
        Nearest = "nearest",
        /// As torchvision does.
        Torchvision = "torchvision",
    }

    /// The scheme that turns a finished image into scored decisions.
    Scheme {
        /// Forward noising (Diffusion-DPO).
        Forward = "forward",
        /// One reverse step is drawn.
        Half = "half",
        /// A stored reverse trajectory.
        Trajectory = "trajectory",
    }

    /// The distribution of timesteps.
    TimestepsName {
        /// Uniform.
        Uniform = "uniform",
        /// One per stratum.
        Stratified = "stratified",
        /// Logit-normal.
        LogitNormal = "logit-normal",
    }

    /// The noise of the two sides and the draws of a pair.
    NoiseName {
        /// Shared by both sides.
        Shared = "shared",
        /// Independent for each side.
        Independent = "independent",
        /// Every second draw is the negative of the one before.
        Antithetic = "antithetic",
        /// That from which each side was made.
        Prior = "prior",
    }

    /// The reduction of squared errors over a latent.
    ReductionName {
        /// Their sum.
        Sum = "sum",
        /// Their mean.
        Mean = "mean",
    }

    /// The timestep weighting omega.
    OmegaName {
        /// 1.
        Constant = "constant",
        /// The signal-to-noise ratio.
        Snr = "snr",
        /// The signal-to-noise ratio, clipped.
        MinSnr = "min-snr",
    }

    /// The sampler of images.
    SamplerName {
        /// Ancestral sampling.
        Ddpm = "ddpm",
        /// DDIM.
        Ddim = "ddim",
        /// Euler's method.
        Euler = "euler",
        /// DPM-Solver++, second order, multistep.
        DpmSolver = "dpm++2m",
        /// Stochastic steps of flow matching, which have a density.
        FlowSde = "flow-sde",
    }

    /// Which half of a hybrid learns.
    Update {
        /// Both.
        Both = "both",
        /// The refiner.
        Refiner = "refiner",
        /// The generator.
        Generator = "generator",
    }

    /// The ways to search.
    SearchMethod {
        /// Always what adds most to the score.
        Greedy = "greedy",
        /// Draws.
        Sample = "sample",
        /// The best of some draws.
        BestOf = "best-of",
        /// Beam search.
        Beam = "beam",
        /// Diverse beam search.
        Diverse = "diverse",
        /// Monte-Carlo tree search.
        Mcts = "mcts",
        /// The best of some draws by another model's score.
        Verifier = "verifier",
        /// Sequential Monte Carlo.
        Smc = "smc",
        /// Refined prompts with pictures below each.
        Refinements = "refinements",
    }

    /// The score that a search maximises.
    SearchScore {
        /// The log-likelihood.
        Likelihood = "likelihood",
        /// beta times the log-ratio to the reference.
        Implicit = "implicit",
        /// The log-likelihood and the log-ratio of a small pair of models.
        Ratio = "ratio",
    }

    /// When a beam that is full ends, in transformers' words.
    EarlyStoppingName {
        /// At once.
        True = "true",
        /// When what goes on is no better at its present length.
        False = "false",
        /// When what goes on cannot become better.
        Never = "never",
    }

    /// The reference of each round.
    RoundReference {
        /// The policy that sampled its pairs.
        Moved = "moved",
        /// The starting policy.
        Fixed = "fixed",
    }

    /// The precision of matrix products and convolutions.
    ComputePrecision {
        /// f32
        F32 = "f32",
        /// bf16, with sums, weights and all else in f32
        Bf16 = "bf16",
        /// bf16 on a CPU with instructions for it (AMX or AVX512-BF16), else f32
        Auto = "auto",
    }

    /// How quantised weights are held in memory.
    BasePrecision {
        /// In their blocks where the file has them, on the CPU.
        Auto = "auto",
        /// In their blocks.
        Quantised = "quantised",
        /// Dequantised.
        F32 = "f32",
    }
}

/// The words of the kinds of decision problems.
pub(super) const MODALITIES: &[&str] = &["token", "diffusion", "hybrid"];

impl Setting for Modality {
    const KIND: Kind = Kind::Choice(MODALITIES);
    type Read<'a> = Self;

    fn read(&self) -> Self {
        *self
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::String(self.name().to_owned()))
    }

    fn from_value(value: &Value) -> Option<Self> {
        let word = value.as_str()?;
        Self::ALL.into_iter().find(|modality| modality.name() == word)
    }
}

/// The words of [`Decay`].
pub(super) const DECAYS: &[&str] = &["constant", "linear", "cosine"];

/// The learning-rate schedule after the warm-up, an enum of `train`.
impl Setting for Decay {
    const KIND: Kind = Kind::Choice(DECAYS);
    type Read<'a> = Self;

    fn read(&self) -> Self {
        *self
    }

    fn to_value(&self) -> Option<Value> {
        Value::try_from(self).ok()
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.clone().try_into().ok()
    }
}

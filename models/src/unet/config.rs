//! The config of a UNet, read from `config.json` and validated.

use std::fmt;

use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::image_batch::InputWidths;

/// The supported classes of diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UNetClass {
    /// `UNet2DModel`: images without a caption.
    Unconditional,
    /// `UNet2DConditionModel`: images conditioned on a caption.
    Conditional,
}

impl UNetClass {
    /// The `_class_name` of `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unconditional => "UNet2DModel",
            Self::Conditional => "UNet2DConditionModel",
        }
    }

    /// The class that a `config.json` names.
    pub(super) fn of(source: &Value) -> Result<Self, ModelError> {
        let found = Fields::new(source).required_text("_class_name")?;
        let classes = [Self::Unconditional, Self::Conditional];
        classes
            .into_iter()
            .find(|class| class.name() == found)
            .ok_or_else(|| ModelError::Architecture { found, supported: classes.map(Self::name).join(", ") })
    }
}

/// The attention after the residual blocks of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockAttention {
    /// Nothing (`DownBlock2D`, `UpBlock2D`).
    None,
    /// Self-attention over the pixels (`AttnDownBlock2D`, `AttnUpBlock2D`).
    Pixels,
    /// Transformers with cross-attention to the caption (`CrossAttnDownBlock2D`, `CrossAttnUpBlock2D`).
    Caption,
}

/// The size change between two levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resampling {
    /// By a convolution.
    Convolution,
    /// By a residual block with average pooling, or with nearest-neighbour upsampling.
    Resnet,
}

/// One side of a level: its down block or its up block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LevelSide {
    /// The attention after each residual block.
    pub attention: BlockAttention,
    /// The size change after it, if any.
    pub resampling: Option<Resampling>,
    /// The head size of [`BlockAttention::Pixels`].
    pub head_size: usize,
}

/// Fingerprints of models are made of this text, so it keeps the name that the type once had.
impl fmt::Debug for LevelSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attention, resampling, head_size } = self;
        let mut shown = f.debug_struct("Side");
        shown.field("attention", attention).field("resampling", resampling).field("head_size", head_size).finish()
    }
}

/// A resolution level, with its down and up block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Channels.
    pub width: usize,
    /// Residual blocks of the down block; the up block has one more.
    pub n_layers: usize,
    /// The down block.
    pub down: LevelSide,
    /// The up block.
    pub up: LevelSide,
    /// The number of heads of [`BlockAttention::Caption`].
    pub n_heads: usize,
    /// Width of the caption's hidden states.
    pub context: usize,
    /// Transformer blocks after each residual block.
    pub n_transformer_layers: usize,
    /// Whether the transformers have cross-attention twice and no self-attention.
    pub only_caption: bool,
}

/// The middle block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// Nothing.
    None,
    /// One residual block.
    Resnet,
    /// Two residual blocks with self-attention of the given head size between them, if any.
    Resnets(Option<usize>),
    /// Two residual blocks with a transformer between them.
    Caption,
}

/// SDXL's addition to the timestep embedding (`text_time`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTime {
    /// The embedding size of each of the six sizes.
    pub channels: usize,
    /// Width of the pooled caption and the six embeddings together.
    pub input: usize,
}

/// The validated shape of a UNet.
///
/// It is read from diffusers' `config.json` of a `UNet2DModel` or `UNet2DConditionModel`, with diffusers' defaults for
/// switches; sizes have no defaults: a config without them is an error. Dropout is not applied.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// The class.
    pub class: UNetClass,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Height and width of the training images, if the file has them.
    pub sample_size: Option<(usize, usize)>,
    /// Whether inputs are between 0 and 1, to be mapped to -1 and 1.
    pub center_input: bool,
    /// Whether cosines come before sines in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// diffusers' `freq_shift` (`downscale_freq_shift` of the timestep embedding).
    pub frequency_shift: f64,
    /// Width of the timestep embedding after its MLP.
    pub time_width: usize,
    /// SDXL's addition to that embedding.
    pub text_time: Option<TextTime>,
    /// The resolution levels, largest first.
    pub levels: Vec<Level>,
    /// The middle block.
    pub middle: Middle,
    /// The divisor of the residual sums in the middle block.
    pub middle_scale: f64,
    /// Groups of a group norm.
    pub n_groups: usize,
    /// Groups of the norm of the middle block's self-attention.
    pub n_middle_groups: usize,
    /// Epsilon of the norms of residual blocks.
    pub norm_epsilon: f64,
    /// Zero padding of downsampling convolutions; 0 pads a row below and a column to the right.
    pub downsample_padding: usize,
    /// Whether the projections of transformers are linear layers rather than 1x1 convolutions.
    pub linear_projection: bool,
    /// The kernel size of the first convolution.
    pub in_kernel: usize,
    /// The kernel size of the last convolution.
    pub out_kernel: usize,
    /// The whole file, for saving.
    pub source: Value,
}

impl UNetConfig {
    /// The file's contents.
    pub fn to_json(&self) -> Value {
        self.source.clone()
    }

    /// All settings that affect the model's output, as text for a fingerprint.
    pub fn settings(&self) -> String {
        format!("{:?}", Self { source: Value::Null, sample_size: None, ..self.clone() })
    }

    /// The recommended factor of image height and width.
    pub fn size_factor(&self) -> usize {
        self.levels[1..].iter().fold(1, |factor, _| factor * 2)
    }

    /// Width of the caption's hidden states, if the model has cross-attention.
    pub fn context_width(&self) -> Option<usize> {
        let looks = |side: LevelSide| side.attention == BlockAttention::Caption;
        let looking = self.levels.iter().find(|level| looks(level.down) || looks(level.up));
        let middle = self.levels.last().filter(|_| self.middle == Middle::Caption);
        looking.or(middle).map(|level| level.context)
    }

    /// Width of the pooled caption, if the model uses one.
    pub fn pooled_width(&self) -> Option<usize> {
        self.text_time.map(|text_time| text_time.input - 6 * text_time.channels)
    }

    /// The widths of the network's inputs.
    pub(super) fn inputs(&self) -> InputWidths {
        InputWidths {
            channels: self.in_channels,
            context: self.context_width(),
            pooled: self.pooled_width(),
            has_sizes: self.text_time.is_some(),
        }
    }

    pub(super) fn check_widths(&self) -> Result<(), ModelError> {
        for (index, level) in self.levels.iter().enumerate() {
            let width = level.width;
            let wrong = |key: &str, reason: String| Err(ModelError::config(key, format!("level {index}: {reason}")));
            if !width.is_multiple_of(self.n_groups) {
                return wrong(
                    "norm_num_groups",
                    format!("{width} channels are no multiple of {} groups", self.n_groups),
                );
            }
            let is_last = index + 1 == self.levels.len();
            let middle = is_last && self.middle == Middle::Caption;
            let looks = [level.down, level.up].iter().any(|side| side.attention == BlockAttention::Caption);
            if (looks || middle) && !width.is_multiple_of(level.n_heads) {
                return wrong(
                    "attention_head_dim",
                    format!("{width} channels are no multiple of {} heads", level.n_heads),
                );
            }
            let mut sizes: Vec<usize> = [level.down, level.up]
                .iter()
                .filter(|side| side.attention == BlockAttention::Pixels)
                .map(|side| side.head_size)
                .collect();
            if let (true, Middle::Resnets(Some(size))) = (is_last, self.middle) {
                sizes.push(size);
            }
            if let Some(size) = sizes.into_iter().find(|size| !width.is_multiple_of(*size)) {
                return wrong("attention_head_dim", format!("{width} channels are no multiple of heads of {size}"));
            }
        }
        let width = self.levels.last().map_or(0, |level| level.width);
        if !width.is_multiple_of(self.n_middle_groups) {
            let reason = format!("{width} channels are no multiple of {} groups", self.n_middle_groups);
            return Err(ModelError::config("attn_norm_num_groups", reason));
        }
        Ok(())
    }
}

//! What a `config.json` says of a UNet, checked.

use serde_json::Value;

use super::declared::table;
use super::settings::Settings;
use crate::ModelError;
use crate::fields::Fields;

/// The classes of diffusers that are built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UNetClass {
    /// `UNet2DModel`: images without a caption.
    Unconditional,
    /// `UNet2DConditionModel`: images that look at a caption.
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
    fn of(source: &Value) -> Result<Self, ModelError> {
        let found = Fields::new(source).required_text("_class_name")?;
        let classes = [Self::Unconditional, Self::Conditional];
        classes
            .into_iter()
            .find(|class| class.name() == found)
            .ok_or_else(|| ModelError::Architecture { found, supported: classes.map(Self::name).join(", ") })
    }
}

/// What follows the residual blocks of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockAttention {
    /// Nothing (`DownBlock2D`, `UpBlock2D`).
    None,
    /// Attention over the pixels (`AttnDownBlock2D`, `AttnUpBlock2D`).
    Pixels,
    /// Transformers over the pixels that look at the caption too (`CrossAttnDownBlock2D`, `CrossAttnUpBlock2D`).
    Caption,
}

/// How the size of images changes between two levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resampling {
    /// By a convolution.
    Convolution,
    /// By a residual block around a mean of four pixels, or around pixels repeated four times.
    Resnet,
}

/// One side of a level: its way down, or its way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// What follows each residual block.
    pub attention: BlockAttention,
    /// How the size of images changes after it, if it does.
    pub resampling: Option<Resampling>,
    /// Coordinates of a head of [`BlockAttention::Pixels`].
    pub head_size: usize,
}

/// One size of images, on the way down and on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Channels.
    pub width: usize,
    /// Residual blocks on the way down; there is one more on the way up.
    pub n_layers: usize,
    /// The way down.
    pub down: Side,
    /// The way up.
    pub up: Side,
    /// Heads of [`BlockAttention::Caption`].
    pub n_heads: usize,
    /// Width of the caption's hidden states.
    pub context: usize,
    /// Transformer blocks after each residual block.
    pub n_transformer_layers: usize,
    /// Whether the transformers look at the caption only, twice, and not at the pixels.
    pub only_caption: bool,
}

/// What lies between the way down and the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// Nothing.
    None,
    /// One residual block.
    Resnet,
    /// Two residual blocks, and attention over the pixels between them, with heads of so many coordinates, if any.
    Resnets(Option<usize>),
    /// Two residual blocks and a transformer between them.
    Caption,
}

/// What is added to the embedding of the time (SDXL's `text_time`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTime {
    /// Coordinates of the embedding of each of the six sizes.
    pub channels: usize,
    /// Width of the pooled caption and the six embeddings together.
    pub input: usize,
}

/// A UNet's shape, checked.
///
/// It is read from diffusers' `config.json` of a `UNet2DModel` or `UNet2DConditionModel`, with diffusers' defaults for
/// switches; sizes have none, as a config without them is a broken one. Dropout is not applied.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// The class.
    pub class: UNetClass,
    /// Channels of images that come in.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Height and width of the images that the model was made for, if the file says so.
    pub sample_size: Option<(usize, usize)>,
    /// Whether images come in between 0 and 1, to be moved to between -1 and 1.
    pub center_input: bool,
    /// Whether cosines come before sines in the embedding of a time.
    pub flip_sin_to_cos: bool,
    /// How many fewer steps the frequencies of that embedding take to their end.
    pub frequency_shift: f64,
    /// Width of the embedding of a time after its MLP.
    pub time_width: usize,
    /// What SDXL adds to that embedding.
    pub text_time: Option<TextTime>,
    /// The sizes of images, from the largest to the smallest.
    pub levels: Vec<Level>,
    /// What lies between.
    pub middle: Middle,
    /// What the sums of the middle's residual blocks are divided by.
    pub middle_scale: f64,
    /// Groups of channels in a norm.
    pub n_groups: usize,
    /// Groups in the norm of the middle's attention over pixels.
    pub n_middle_groups: usize,
    /// Added to the variance in norms of residual blocks.
    pub norm_epsilon: f64,
    /// Zeros around images that a convolution makes smaller; with 0 there is a row below and a column to the right.
    pub downsample_padding: usize,
    /// Whether transformers are entered and left by matrices and not by convolutions of one pixel.
    pub linear_projection: bool,
    /// Height and width of the first convolution's kernel.
    pub in_kernel: usize,
    /// Height and width of the last convolution's kernel.
    pub out_kernel: usize,
    /// The whole file, for saving.
    pub source: Value,
}

impl UNetConfig {
    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// A class that is not built here, a missing or impossible size, a block, a norm, an embedding or another variant
    /// that is not built here; each names the key and its value.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        let Value::Object(fields) = &source else {
            return Err(ModelError::config("config.json", "the file must hold an object"));
        };
        let class = UNetClass::of(&source)?;
        let table = table(class);
        table.refuse(fields)?;
        let known = Value::Object(table.known(fields));
        let mut config = Settings::new(&known, class).config()?;
        table.check_kinds(fields)?;
        config.check_widths()?;
        config.source = source;
        Ok(config)
    }

    /// The file as it was read.
    pub fn to_json(&self) -> Value {
        self.source.clone()
    }

    /// Everything that changes the model's numbers, as text for a fingerprint.
    pub fn settings(&self) -> String {
        format!("{:?}", Self { source: Value::Null, sample_size: None, ..self.clone() })
    }

    /// What the height and the width of images should be a multiple of.
    pub fn size_factor(&self) -> usize {
        self.levels[1..].iter().fold(1, |factor, _| factor * 2)
    }

    /// Width of the caption's hidden states, where the model looks at a caption.
    pub fn context_width(&self) -> Option<usize> {
        let looks = |side: Side| side.attention == BlockAttention::Caption;
        let looking = self.levels.iter().find(|level| looks(level.down) || looks(level.up));
        let middle = self.levels.last().filter(|_| self.middle == Middle::Caption);
        looking.or(middle).map(|level| level.context)
    }

    /// Width of the pooled caption, where the model wants one.
    pub fn pooled_width(&self) -> Option<usize> {
        self.text_time.map(|text_time| text_time.input - 6 * text_time.channels)
    }

    fn check_widths(&self) -> Result<(), ModelError> {
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

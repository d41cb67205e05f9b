//! Converts diffusers' `config.json` to the shape of a UNet.

use serde_json::Value;

use super::config::{BlockAttention, Level, LevelSide, Middle, Resampling, TextTime, UNetClass, UNetConfig};
use super::declared::table;
use crate::ModelError;
use crate::fields::Fields;

/// An upper bound on all counts, so that the count of a damaged file allocates little.
const MOST: usize = 1 << 20;
/// An upper bound on the layers of a level.
const MOST_LAYERS: usize = 256;

impl UNetConfig {
    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// An unsupported class, block, norm, embedding or other variant, a missing or invalid size; each names the key and
    /// its value.
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
}

/// A `config.json` with its class.
struct Settings<'a> {
    source: &'a Value,
    fields: Fields<'a>,
    class: UNetClass,
}

impl<'a> Settings<'a> {
    /// Selects the fields that the class declares.
    fn new(source: &'a Value, class: UNetClass) -> Self {
        Self { source, fields: Fields::new(source), class }
    }

    fn config(&self) -> Result<UNetConfig, ModelError> {
        let levels = self.levels()?;
        let n_groups = self.size("norm_num_groups", 32)?;
        let first = levels[0].width;
        let kernel = |key: &str| match self.size(key, 3)? {
            size if size % 2 == 1 => Ok(size),
            size => Err(unsupported(key, &Value::from(size), "an odd number")),
        };
        Ok(UNetConfig {
            class: self.class,
            in_channels: self.required("in_channels")?,
            out_channels: self.required("out_channels")?,
            sample_size: self.sample_size()?,
            center_input: self.fields.flag("center_input_sample", false)?,
            flip_sin_to_cos: self.fields.flag("flip_sin_to_cos", true)?,
            frequency_shift: self.number("freq_shift", 0.)?,
            time_width: self.size("time_embedding_dim", 4 * first)?,
            text_time: self.text_time()?,
            middle: self.middle()?,
            middle_scale: self.fields.positive("mid_block_scale_factor", 1.)?,
            n_groups,
            n_middle_groups: self.size("attn_norm_num_groups", n_groups)?,
            norm_epsilon: self.fields.positive("norm_eps", 1e-5)?,
            downsample_padding: self.padding()?,
            linear_projection: self.fields.flag("use_linear_projection", false)?,
            in_kernel: kernel("conv_in_kernel")?,
            out_kernel: kernel("conv_out_kernel")?,
            levels,
            source: Value::Null,
        })
    }

    fn levels(&self) -> Result<Vec<Level>, ModelError> {
        let down = self.blocks("down_block_types", "Down")?;
        let up = self.blocks("up_block_types", "Up")?;
        let n = down.len();
        if up.len() != n {
            return Err(ModelError::config(
                "up_block_types",
                format!("has {} blocks for {n} on the way down", up.len()),
            ));
        }
        let widths = self.per_level("block_out_channels", n, None)?;
        let layers = self.per_level("layers_per_block", n, None)?;
        let contexts = self.contexts(n, &[&down[..], &up[..]].concat())?;
        let transformers = self.per_level("transformer_layers_per_block", n, Some(1))?;
        let only = self.flags("only_cross_attention", n)?;
        let heads = self.per_level("attention_head_dim", n, Some(8))?;
        if let Some(most) = layers.iter().chain(&transformers).find(|&&layers| layers > MOST_LAYERS) {
            return Err(ModelError::config("layers_per_block", format!("{most} layers are more than any model has")));
        }
        let sides = self.sides(&widths, &heads, [&down, &up])?;
        let level = |(index, (down, up)): (usize, (LevelSide, LevelSide))| Level {
            width: widths[index],
            n_layers: layers[index],
            down,
            up,
            n_heads: heads[index],
            context: contexts[index],
            n_transformer_layers: transformers[index],
            only_caption: only[index],
        };
        Ok(sides.into_iter().enumerate().map(level).collect())
    }

    /// Both sides of each level, from the lists of down and up blocks.
    fn sides(
        &self,
        widths: &[usize],
        heads: &[usize],
        [down, up]: [&[BlockAttention]; 2],
    ) -> Result<Vec<(LevelSide, LevelSide)>, ModelError> {
        let (going_down, going_up) = (self.resampling("downsample_type")?, self.resampling("upsample_type")?);
        let has_one_head = self.has_one_head();
        let n = widths.len();
        let side = |index: usize, place: usize, attention, resampling, is_end: bool| LevelSide {
            attention,
            // Blocks without self-attention support only convolutions, whatever the setting says.
            resampling: (!is_end).then_some(match attention {
                BlockAttention::Pixels => resampling,
                BlockAttention::None | BlockAttention::Caption => Resampling::Convolution,
            }),
            // In diffusers the list of blocks is reversed for the up side, but that of head sizes is not.
            head_size: if has_one_head { widths[index] } else { heads[place] },
        };
        let both = |index: usize| {
            let place = n - 1 - index;
            let on_the_way_down = side(index, index, down[index], going_down, index + 1 == n);
            (on_the_way_down, side(index, place, up[place], going_up, index == 0))
        };
        Ok((0..n).map(both).collect())
    }

    /// Whether self-attention has one head, as wide as the level.
    fn has_one_head(&self) -> bool {
        self.class == UNetClass::Unconditional && self.source.get("attention_head_dim").is_some_and(Value::is_null)
    }

    fn blocks(&self, key: &str, way: &str) -> Result<Vec<BlockAttention>, ModelError> {
        let names = self.source.get(key).and_then(Value::as_array).filter(|names| !names.is_empty());
        let names = names.ok_or_else(|| ModelError::config(key, "must be a list of blocks"))?;
        let (plain, pixels) = (format!("{way}Block2D"), format!("Attn{way}Block2D"));
        let caption = format!("CrossAttn{way}Block2D");
        let block = |name: &Value| match name.as_str().map(|name| name.strip_prefix("UNetRes").unwrap_or(name)) {
            Some(name) if name == plain => Ok(BlockAttention::None),
            Some(name) if name == pixels => Ok(BlockAttention::Pixels),
            Some(name) if name == caption && self.class == UNetClass::Conditional => Ok(BlockAttention::Caption),
            _ if self.class == UNetClass::Conditional => {
                Err(unsupported(key, name, &format!("{plain}, {pixels}, {caption}")))
            }
            _ => Err(unsupported(key, name, &format!("{plain}, {pixels}"))),
        };
        names.iter().map(block).collect()
    }

    fn middle(&self) -> Result<Middle, ModelError> {
        const KEY: &str = "mid_block_type";
        let given = match (self.source.get(KEY), self.class) {
            (Some(Value::Null), _) => return Ok(Middle::None),
            (Some(given), _) => given.clone(),
            (None, UNetClass::Unconditional) => Value::from("UNetMidBlock2D"),
            (None, UNetClass::Conditional) => Value::from("UNetMidBlock2DCrossAttn"),
        };
        match (given.as_str(), self.class) {
            (Some("UNetMidBlock2D"), UNetClass::Conditional) => Ok(Middle::Resnet),
            (Some("UNetMidBlock2D"), UNetClass::Unconditional) => {
                let widths = self.source["block_out_channels"].as_array();
                let width = widths.and_then(|widths| widths.last()?.as_u64()).unwrap_or(1) as usize;
                let size = if self.has_one_head() { width } else { self.size("attention_head_dim", 8)? };
                Ok(Middle::Resnets(self.fields.flag("add_attention", true)?.then_some(size)))
            }
            (Some("UNetMidBlock2DCrossAttn"), UNetClass::Conditional) => Ok(Middle::Caption),
            (_, UNetClass::Conditional) => {
                Err(unsupported(KEY, &given, "UNetMidBlock2DCrossAttn, UNetMidBlock2D, null"))
            }
            _ => Err(unsupported(KEY, &given, "UNetMidBlock2D, null")),
        }
    }

    fn text_time(&self) -> Result<Option<TextTime>, ModelError> {
        if self.fields.text("addition_embed_type")?.is_none() {
            return Ok(None);
        }
        let channels = self.required("addition_time_embed_dim")?;
        let key = "projection_class_embeddings_input_dim";
        let input = self.required(key)?;
        if input <= 6 * channels {
            let reason = format!("{input} leaves no room for a pooled caption beside 6 embeddings of {channels}");
            return Err(ModelError::config(key, reason));
        }
        Ok(Some(TextTime { channels, input }))
    }

    /// Caption widths of the levels; levels without cross-attention need none.
    fn contexts(&self, n: usize, blocks: &[BlockAttention]) -> Result<Vec<usize>, ModelError> {
        let looks = blocks.contains(&BlockAttention::Caption) || self.middle()? == Middle::Caption;
        self.per_level("cross_attention_dim", n, (!looks).then_some(1))
    }

    fn resampling(&self, key: &str) -> Result<Resampling, ModelError> {
        match self.fields.text(key)?.as_deref() {
            None | Some("conv") => Ok(Resampling::Convolution),
            Some("resnet") => Ok(Resampling::Resnet),
            Some(other) => Err(unsupported(key, &Value::from(other), "conv, resnet")),
        }
    }

    fn padding(&self) -> Result<usize, ModelError> {
        match self.number("downsample_padding", 1.)? {
            0. => Ok(0),
            1. => Ok(1),
            other => Err(unsupported("downsample_padding", &Value::from(other), "0, 1")),
        }
    }

    fn sample_size(&self) -> Result<Option<(usize, usize)>, ModelError> {
        match self.source.get("sample_size") {
            Some(Value::Array(list)) if list.len() == 2 => {
                let sizes: Vec<usize> = list.iter().filter_map(|size| Some(size.as_u64()? as usize)).collect();
                let [height, width] = sizes[..] else {
                    return Err(ModelError::config("sample_size", "must be one or two positive whole numbers"));
                };
                Ok(Some((height, width)))
            }
            _ => Ok(self.fields.size("sample_size")?.map(|size| (size, size))),
        }
    }

    fn size(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        bounded(key, self.fields.size(key)?.unwrap_or(default))
    }

    fn required(&self, key: &str) -> Result<usize, ModelError> {
        bounded(key, self.fields.required_size(key)?)
    }

    /// A number of any sign.
    fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.source.get(key).filter(|value| !value.is_null()) {
            None => Ok(default),
            Some(value) => {
                value.as_f64().ok_or_else(|| ModelError::config(key, format!("must be a number, not {value}")))
            }
        }
    }

    /// One size for all levels or a list of them.
    fn per_level(&self, key: &str, n: usize, default: Option<usize>) -> Result<Vec<usize>, ModelError> {
        let Some(Value::Array(list)) = self.source.get(key) else {
            return match (self.fields.size(key)?, default) {
                (Some(size), _) | (None, Some(size)) => Ok(vec![bounded(key, size)?; n]),
                (None, None) => Err(ModelError::config(key, "is missing")),
            };
        };
        if list.len() != n {
            return Err(ModelError::config(key, format!("has {} entries for {n} levels", list.len())));
        }
        let one = |value: &Value| match value.as_u64().filter(|&size| size > 0) {
            Some(size) => bounded(key, size as usize),
            None => Err(unsupported(key, value, "positive whole numbers")),
        };
        list.iter().map(one).collect()
    }

    fn flags(&self, key: &str, n: usize) -> Result<Vec<bool>, ModelError> {
        let Some(Value::Array(list)) = self.source.get(key) else {
            return Ok(vec![self.fields.flag(key, false)?; n]);
        };
        let flags: Option<Vec<bool>> = list.iter().map(Value::as_bool).collect();
        let flags = flags.filter(|flags| flags.len() == n);
        flags.ok_or_else(|| ModelError::config(key, format!("must be {n} times true or false")))
    }
}

fn bounded(key: &str, size: usize) -> Result<usize, ModelError> {
    if size <= MOST { Ok(size) } else { Err(ModelError::config(key, format!("{size} is more than any model has"))) }
}

fn unsupported(key: &str, given: &Value, supported: &str) -> ModelError {
    ModelError::config(key, format!("{given} is not supported; supported: {supported}"))
}

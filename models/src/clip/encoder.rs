//! The transformer blocks of both halves of CLIP.

use std::collections::BTreeMap;

use candle_core::Tensor;
use engine::Parameters;
use engine::ops::{self, Heads, WeightLayout};
use serde_json::Value;

use super::activation::{ClipActivation, activation};
use crate::ModelError;
use crate::fields::Fields;

/// An upper bound on layers, so that the count of a damaged file allocates little.
const MOST_LAYERS: usize = 1000;

/// The shape of the blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Blocks {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) activation: ClipActivation,
    pub(super) norm_epsilon: f64,
}

impl Blocks {
    pub(super) fn from_json(source: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        let blocks = Self {
            width: fields.required_size("hidden_size")?,
            inner: fields.required_size("intermediate_size")?,
            n_layers: fields.required_size("num_hidden_layers")?,
            n_heads: fields.required_size("num_attention_heads")?,
            activation: activation(fields)?,
            norm_epsilon: fields.positive("layer_norm_eps", 1e-5)?,
        };
        if blocks.n_layers > MOST_LAYERS {
            return Err(ModelError::config("num_hidden_layers", format!("{} is beyond any encoder", blocks.n_layers)));
        }
        if !blocks.width.is_multiple_of(blocks.n_heads) {
            let reason = format!("{} numbers can't be shared by {} heads", blocks.width, blocks.n_heads);
            return Err(ModelError::config("num_attention_heads", reason));
        }
        Ok(blocks)
    }

    pub(super) fn heads(&self) -> Heads {
        Heads { query: self.n_heads, key_value: self.n_heads, size: self.width / self.n_heads }
    }

    /// Every tensor of the blocks, and its shape.
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (width, inner) = (self.width, self.inner);
        let mut shapes = BTreeMap::new();
        for layer in 0..self.n_layers {
            let mut of_layer =
                |name: &str, shape: &[usize]| with_bias(&mut shapes, &format!("encoder.layers.{layer}.{name}"), shape);
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                of_layer(&format!("self_attn.{name}"), &[width, width]);
            }
            of_layer("layer_norm1", &[width]);
            of_layer("layer_norm2", &[width]);
            of_layer("mlp.fc1", &[inner, width]);
            of_layer("mlp.fc2", &[width, inner]);
        }
        shapes
    }
}

/// Adds a weight and its bias.
pub(super) fn with_bias(shapes: &mut BTreeMap<String, Vec<usize>>, name: &str, shape: &[usize]) {
    shapes.insert(format!("{name}.weight"), shape.to_vec());
    shapes.insert(format!("{name}.bias"), shape[..1].to_vec());
}

/// The frozen weights of one half with its blocks.
#[derive(Debug)]
pub(super) struct Encoder {
    blocks: Blocks,
    parameters: Parameters,
}

impl Encoder {
    pub(super) fn new(blocks: Blocks, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        Ok(Self { blocks, parameters: Parameters::frozen(tensors)? })
    }

    /// One block on the residual stream, `[T, width]`; `attend` is its attention pattern.
    pub(super) fn block(
        &self,
        x: &Tensor,
        layer: usize,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor, Heads) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor, ModelError> {
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        let normal = self.norm(x, &name("layer_norm1"))?;
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|p| self.linear(&normal, &name(&format!("self_attn.{p}"))));
        let attended = attend(&q?, &k?, &v?, self.blocks.heads())?;
        let x = ops::add(x, &self.linear(&attended, &name("self_attn.out_proj"))?)?;
        let inner = self.linear(&self.norm(&x, &name("layer_norm2"))?, &name("mlp.fc1"))?;
        let inner = match self.blocks.activation {
            ClipActivation::QuickGelu => ops::quick_gelu(&inner)?,
            ClipActivation::Gelu => ops::gelu(&inner)?,
        };
        Ok(ops::add(&x, &self.linear(&inner, &name("mlp.fc2"))?)?)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, ModelError> {
        Ok(self.parameters.get(name)?)
    }

    pub(super) fn weight(&self, name: &str) -> Result<&Tensor, ModelError> {
        self.tensor(&format!("{name}.weight"))
    }

    pub(super) fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        let bias = self.parameters.find(&format!("{name}.bias"));
        Ok(ops::layer_norm(x, self.weight(name)?, bias, self.blocks.norm_epsilon)?)
    }

    pub(super) fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        let bias = self.parameters.find(&format!("{name}.bias"));
        Ok(ops::linear(x, self.weight(name)?, bias, WeightLayout::OutIn)?)
    }
}

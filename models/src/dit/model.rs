//! The public transformer.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};
use engine::lora::LoraConfig;
use engine::ops::WeightLayout;

use super::config::DitConfig;
use super::forward::Forward;
use super::rows::Rows;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass, Weights};
use crate::tensors;

/// A denoiser: diffusers' `PixArtTransformer2DModel` or `DiTTransformer2DModel`.
///
/// # Laws
/// The prediction for an image does not depend on the other images of its batch, to rounding.
#[derive(Debug)]
pub struct DitTransformer {
    /// The model's config.
    pub config: DitConfig,
    pub(crate) weights: Weights,
}

impl DitTransformer {
    /// A frozen model: a reference, a sampler.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: DitConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(config.class(), &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, weights: Weights::frozen(tensors)? })
    }

    /// A trainable model: all weights, or adapters on a frozen base, initialised from `seed`.
    ///
    /// # Errors
    /// As [`DitTransformer::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: DitConfig,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        tensors::check(config.class(), &config.tensor_shapes(), &tensors)?;
        let weights = Weights::trainable(tensors, lora, &config.adaptable_layers(), &[])?;
        Ok(Self { config, weights })
    }

    /// The prediction, with one graph that reaches all trainable tensors.
    ///
    /// # Shapes
    /// `[N*H*W, predicted channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, or images of an unsupported size.
    pub fn forward(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Training)
    }

    /// The prediction without a graph.
    ///
    /// # Shapes
    /// As in [`DitTransformer::forward`].
    ///
    /// # Errors
    /// As in [`DitTransformer::forward`].
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Scoring)
    }

    fn predict(&self, batch: &ImageBatch, pass: Pass) -> Result<Tensor, ModelError> {
        let rows = Rows::of(&self.config, batch)?;
        let forward = self.pass(batch, &rows, pass);
        let mut carried = forward.enter()?;
        for layer in 0..self.config.n_layers {
            carried = forward.block(layer, &carried)?;
        }
        Ok(forward.leave(&carried)?)
    }

    fn pass<'a>(&'a self, batch: &'a ImageBatch, rows: &'a Rows, pass: Pass) -> Forward<'a> {
        let layers = Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn };
        Forward { config: &self.config, batch, rows, layers }
    }

    /// The prediction as the output of a tape; each block is a segment.
    ///
    /// The output equals [`DitTransformer::forward`]'s bit for bit.
    ///
    /// # Shapes
    /// As in [`DitTransformer::forward`].
    ///
    /// # Errors
    /// As in [`DitTransformer::forward`].
    pub fn run_tape(
        self: &Arc<Self>,
        batch: Arc<ImageBatch>,
        recompute: Recompute,
    ) -> Result<Tape<'static>, ModelError> {
        let rows = Rows::of(&self.config, &batch)?;
        let context = Arc::new(TapeContext { model: Arc::clone(self), batch, rows });
        let mut tape = Tape::from_sources(|| context.forward().enter(), recompute)?;
        for layer in 0..self.config.n_layers {
            let context = Arc::clone(&context);
            tape.run_all(move |carried| context.forward().block(layer, carried))?;
        }
        tape.run_all_kept(|carried| -> Result<Vec<Tensor>, EngineError> {
            Ok(vec![context.forward().leave(carried)?])
        })?;
        Ok(tape)
    }
}

/// The state shared by the segments of a tape.
struct TapeContext {
    model: Arc<DitTransformer>,
    batch: Arc<ImageBatch>,
    rows: Rows,
}

impl TapeContext {
    fn forward(&self) -> Forward<'_> {
        self.model.pass(&self.batch, &self.rows, Pass::Training)
    }
}

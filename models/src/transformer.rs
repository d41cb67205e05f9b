//! Transformers that denoise: what all families do with their blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};
use engine::lora::LoraConfig;
use engine::ops::WeightLayout;

use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, NetworkConfig, Pass, Weights};
use crate::tensors;

/// A family of transformers, by its config: what comes before, in and behind its blocks.
///
/// Between them it carries a list of tensors, whose order is the family's own.
pub(crate) trait Family: NetworkConfig + Clone + Send + Sync + 'static {
    /// The layout of a batch's rows.
    type Rows: Send + Sync + 'static;

    /// Tensors that are never trained.
    const FIXED: &'static [&'static str] = &[];

    /// Checks a batch and lays out its rows.
    fn rows(&self, batch: &ImageBatch) -> Result<Self::Rows, ModelError>;

    /// The number of steps between the embeddings and the last layer: blocks, and what joins their streams.
    fn n_steps(&self) -> usize;

    /// The tensors before the first step.
    fn enter(forward: &Forward<'_, Self>) -> Result<Vec<Tensor>, EngineError>;

    /// The tensors after a step.
    fn step(forward: &Forward<'_, Self>, index: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError>;

    /// The prediction, `[N*H*W, channels]`.
    fn leave(forward: &Forward<'_, Self>, carried: &[Tensor]) -> Result<Tensor, EngineError>;
}

/// A pass over a batch.
#[derive(Debug)]
pub(crate) struct Forward<'a, C: Family> {
    pub(crate) config: &'a C,
    pub(crate) batch: &'a ImageBatch,
    pub(crate) rows: &'a C::Rows,
    pub(crate) layers: Layers<'a>,
}

impl<C: Family> Forward<'_, C> {
    /// The rows of the batch's captions.
    pub(crate) fn captions(&self) -> Result<&Tensor, EngineError> {
        self.batch.contexts.as_ref().map(|contexts| &contexts.rows).ok_or_else(|| missing("captions"))
    }
}

/// What a batch lacks that its check has found there.
pub(crate) fn missing(what: &str) -> EngineError {
    EngineError::MissingTensor { name: format!("the {what} of the batch") }
}

/// A transformer that denoises, of the family of its config.
///
/// # Laws
/// The prediction for an image does not depend on the other images of its batch, to rounding.
#[derive(Debug)]
pub struct Transformer<C> {
    /// The model's config.
    pub config: C,
    pub(crate) weights: Weights,
}

#[expect(private_bounds, reason = "families are those that are built here")]
impl<C: Family> Transformer<C> {
    /// A frozen model: a reference, a sampler.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: C, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(config.class(), &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, weights: Weights::frozen(tensors)? })
    }

    /// A trainable model: all weights but tables of positions, or adapters on a frozen base, initialised from `seed`.
    ///
    /// # Errors
    /// As [`Transformer::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: C,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        tensors::check(config.class(), &config.tensor_shapes(), &tensors)?;
        let weights = Weights::trainable(tensors, lora, &config.adaptable_layers(), C::FIXED)?;
        Ok(Self { config, weights })
    }

    /// The same model with other weights.
    pub(crate) fn with_weights(&self, weights: Weights) -> Self {
        Self { config: self.config.clone(), weights }
    }

    /// The prediction, with one graph that reaches all trainable tensors.
    ///
    /// # Shapes
    /// `[N*H*W, C]`, rows as in the batch, with the channels that its config predicts.
    ///
    /// # Errors
    /// A batch of the wrong widths, images of an unsupported size, captions that are too long.
    pub fn forward(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Training)
    }

    /// The prediction without a graph.
    ///
    /// # Shapes
    /// As in [`Transformer::forward`].
    ///
    /// # Errors
    /// As in [`Transformer::forward`].
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Scoring)
    }

    fn predict(&self, batch: &ImageBatch, pass: Pass) -> Result<Tensor, ModelError> {
        let rows = self.config.rows(batch)?;
        let forward = self.pass(batch, &rows, pass);
        let mut carried = C::enter(&forward)?;
        for index in 0..self.config.n_steps() {
            carried = C::step(&forward, index, &carried)?;
        }
        Ok(C::leave(&forward, &carried)?)
    }

    fn pass<'a>(&'a self, batch: &'a ImageBatch, rows: &'a C::Rows, pass: Pass) -> Forward<'a, C> {
        let layers = Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn };
        Forward { config: &self.config, batch, rows, layers }
    }

    /// The prediction as the output of a tape; each step is a segment.
    ///
    /// The output equals [`Transformer::forward`]'s bit for bit.
    ///
    /// # Shapes
    /// As in [`Transformer::forward`].
    ///
    /// # Errors
    /// As in [`Transformer::forward`].
    pub fn run_tape(
        self: &Arc<Self>,
        batch: Arc<ImageBatch>,
        recompute: Recompute,
    ) -> Result<Tape<'static>, ModelError> {
        let rows = self.config.rows(&batch)?;
        let kept = Arc::new(Kept { model: Arc::clone(self), batch, rows });
        let mut tape = Tape::from_sources(|| C::enter(&kept.forward()), recompute)?;
        for index in 0..self.config.n_steps() {
            let kept = Arc::clone(&kept);
            tape.run_all(move |carried| C::step(&kept.forward(), index, carried))?;
        }
        tape.run_all_kept(|carried| -> Result<Vec<Tensor>, EngineError> {
            Ok(vec![C::leave(&kept.forward(), carried)?])
        })?;
        Ok(tape)
    }
}

/// The state shared by the segments of a tape.
struct Kept<C: Family> {
    model: Arc<Transformer<C>>,
    batch: Arc<ImageBatch>,
    rows: C::Rows,
}

impl<C: Family> Kept<C> {
    fn forward(&self) -> Forward<'_, C> {
        self.model.pass(&self.batch, &self.rows, Pass::Training)
    }
}

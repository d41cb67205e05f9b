//! The segmented forward pass for training.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};

use super::blocks::JointBlock;
use super::model::Sd3Transformer;
use super::streams::Streams;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass};

impl Sd3Transformer {
    /// The prediction as the output of a tape; each block is a segment.
    ///
    /// The output equals [`Sd3Transformer::forward`]'s bit for bit.
    ///
    /// # Shapes
    /// `[N*H*W, out_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, or images of an unsupported size.
    pub fn run_tape(
        self: &Arc<Self>,
        batch: Arc<ImageBatch>,
        recompute: Recompute,
    ) -> Result<Tape<'static>, ModelError> {
        let streams = Streams::of(&self.config, &batch)?;
        let pass = Arc::new(TapeContext { model: Arc::clone(self), batch, streams });
        let mut tape = Tape::from_sources(|| pass.enter(), recompute)?;
        for layer in 0..self.config.n_layers {
            let pass = Arc::clone(&pass);
            tape.run_all(move |carried| pass.block(layer, carried))?;
        }
        tape.run_all_kept(|carried| pass.leave(carried))?;
        Ok(tape)
    }
}

/// The state shared by the segments of a tape.
struct TapeContext {
    model: Arc<Sd3Transformer>,
    batch: Arc<ImageBatch>,
    streams: Streams,
}

/// Indices of the carried tensors; the last block ends the captions.
const PATCHES: usize = 0;
const TIME: usize = 1;
const CAPTION: usize = 2;

impl TapeContext {
    fn layers(&self) -> Layers<'_> {
        self.model.layers(Pass::Training)
    }

    fn enter(&self) -> Result<Vec<Tensor>, EngineError> {
        let (patches, caption, time) = self.model.enter(&self.batch, &self.streams, self.layers())?;
        Ok(vec![patches, time, caption])
    }

    fn block(&self, layer: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let block = JointBlock { config: &self.model.config, streams: &self.streams, layers: self.layers(), layer };
        let (patches, caption) = block.run(&carried[PATCHES], &carried[CAPTION], &carried[TIME])?;
        Ok([patches, carried[TIME].clone()].into_iter().chain(caption).collect())
    }

    fn leave(&self, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        Ok(vec![self.model.leave(&carried[PATCHES], &carried[TIME], &self.streams, self.layers())?])
    }
}

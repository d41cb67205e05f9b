//! The segmented forward pass for training.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};

use super::blocks::FluxBlock;
use super::model::FluxTransformer;
use super::places::Places;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass};

impl FluxTransformer {
    /// The prediction as the output of a tape; each block is a segment.
    ///
    /// The output equals [`FluxTransformer::forward`]'s bit for bit.
    ///
    /// # Shapes
    /// `[N*H*W, out_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, or images of an odd side.
    pub fn run_tape(
        self: &Arc<Self>,
        batch: Arc<ImageBatch>,
        recompute: Recompute,
    ) -> Result<Tape<'static>, ModelError> {
        let places = Places::of(&self.config, &batch)?;
        let pass = Arc::new(TapeContext { model: Arc::clone(self), batch, places });
        let mut tape = Tape::from_sources(|| pass.enter(), recompute)?;
        for layer in 0..self.config.n_layers {
            let pass = Arc::clone(&pass);
            tape.run_all(move |carried| pass.double(layer, carried))?;
        }
        for layer in 0..self.config.n_single_layers {
            let pass = Arc::clone(&pass);
            tape.run_all(move |carried| pass.single(layer, carried))?;
        }
        tape.run_all_kept(|carried| pass.leave(carried))?;
        Ok(tape)
    }
}

/// The state shared by the segments of a tape.
struct TapeContext {
    model: Arc<FluxTransformer>,
    batch: Arc<ImageBatch>,
    places: Places,
}

/// Indices of the carried tensors: before the first block of one stream both streams, then their joint rows.
const ROWS: usize = 0;
const TIME: usize = 1;
const CAPTION: usize = 2;

impl TapeContext {
    fn layers(&self) -> Layers<'_> {
        self.model.layers(Pass::Training)
    }

    fn block(&self, layer: usize) -> FluxBlock<'_> {
        FluxBlock { config: &self.model.config, places: &self.places, layers: self.layers(), layer }
    }

    fn enter(&self) -> Result<Vec<Tensor>, EngineError> {
        let (patches, caption, time) = self.model.enter(&self.batch, &self.places, self.layers())?;
        Ok(vec![patches, time, caption])
    }

    fn double(&self, layer: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let time = &carried[TIME];
        let (patches, caption) = self.block(layer).double(&carried[ROWS], &carried[CAPTION], time)?;
        Ok(vec![patches, time.clone(), caption])
    }

    fn single(&self, layer: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let (block, time) = (self.block(layer), &carried[TIME]);
        let rows = match carried.get(CAPTION) {
            Some(caption) => block.single(&block.joint(&carried[ROWS], caption)?, time)?,
            None => block.single(&carried[ROWS], time)?,
        };
        Ok(vec![rows, time.clone()])
    }

    fn leave(&self, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        Ok(vec![self.model.leave(&carried[ROWS], &carried[TIME], &self.places, self.layers())?])
    }
}

//! The segmented forward pass for training.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};

use super::blocks::StreamBlock;
use super::config::Stack;
use super::model::{ZImageTransformer, joined};
use super::rows::Rows;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass};

impl ZImageTransformer {
    /// The prediction as the output of a tape; each block is a segment.
    ///
    /// The output equals [`ZImageTransformer::forward`]'s bit for bit.
    ///
    /// # Shapes
    /// `[N*H*W, in_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, images of an unsupported size, captions that are too long.
    pub fn run_tape(
        self: &Arc<Self>,
        batch: Arc<ImageBatch>,
        recompute: Recompute,
    ) -> Result<Tape<'static>, ModelError> {
        let rows = Rows::of(&self.config, &batch)?;
        let pass = Arc::new(TapeContext { model: Arc::clone(self), batch, rows });
        let mut tape = Tape::from_sources(|| pass.enter(), recompute)?;
        for stack in [Stack::Patches, Stack::Caption, Stack::Joint] {
            if stack == Stack::Joint {
                let pass = Arc::clone(&pass);
                tape.run_all(move |carried| pass.join(carried))?;
            }
            for layer in 0..stack.n_layers(&self.config) {
                let pass = Arc::clone(&pass);
                tape.run_all(move |carried| pass.block(stack, layer, carried))?;
            }
        }
        tape.run_all_kept(|carried| pass.leave(carried))?;
        Ok(tape)
    }
}

/// The state shared by the segments of a tape.
struct TapeContext {
    model: Arc<ZImageTransformer>,
    batch: Arc<ImageBatch>,
    rows: Rows,
}

/// Indices of the carried tensors; the joined stream takes the place of the patches and ends the captions.
const PATCHES: usize = 0;
const TIME: usize = 1;
const CAPTION: usize = 2;

impl TapeContext {
    fn layers(&self) -> Layers<'_> {
        self.model.layers(Pass::Training)
    }

    fn enter(&self) -> Result<Vec<Tensor>, EngineError> {
        let [patches, caption, time] = self.model.enter(&self.batch, &self.rows, self.layers())?;
        Ok(vec![patches, time, caption])
    }

    fn block(&self, stack: Stack, layer: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let (place, stream) = match stack {
            Stack::Patches => (PATCHES, &self.rows.of_patches),
            Stack::Caption => (CAPTION, &self.rows.of_captions),
            Stack::Joint => (PATCHES, &self.rows.joint),
        };
        let block = StreamBlock { config: &self.model.config, stream, layers: self.layers(), stack, layer };
        let mut carried = carried.to_vec();
        carried[place] = block.run(&carried[place], &carried[TIME])?;
        Ok(carried)
    }

    fn join(&self, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        Ok(vec![joined(&carried[PATCHES], &carried[CAPTION], &self.rows)?, carried[TIME].clone()])
    }

    fn leave(&self, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        Ok(vec![self.model.leave(&carried[PATCHES], &carried[TIME], &self.rows, self.layers())?])
    }
}

//! The segmented forward pass for training.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::checkpoint::{Recompute, Tape};
use engine::ops::Grid;

use super::model::{Step, UNet};
use super::plan::{Skip, grids};
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass};

/// Indices of the pixels, the timestep embedding and the first skip connection among the carried tensors.
const PIXELS: usize = 0;
const TIME: usize = 1;
const SKIPS: usize = 2;

impl UNet {
    /// The prediction as the output of a tape; each residual block with its attention is a segment.
    ///
    /// The output equals [`UNet::forward`]'s bit for bit.
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
        batch.check(self.config.inputs())?;
        let grids = grids(&self.config, &self.segments, batch.grid)?;
        let pass = Arc::new(TapeContext { model: Arc::clone(self), batch, grids });
        let mut tape = Tape::from_sources(|| pass.enter(), recompute)?;
        for index in 0..self.segments.len() {
            let pass = Arc::clone(&pass);
            tape.run_all(move |carried| pass.segment(index, carried))?;
        }
        tape.run_all_kept(|carried| pass.leave(carried))?;
        Ok(tape)
    }
}

/// The state shared by the segments of a tape.
struct TapeContext {
    model: Arc<UNet>,
    batch: Arc<ImageBatch>,
    /// The output grid of each segment.
    grids: Vec<Grid>,
}

impl TapeContext {
    fn layers(&self) -> Layers<'_> {
        self.model.layers(Pass::Training)
    }

    fn enter(&self) -> Result<Vec<Tensor>, EngineError> {
        let (x, time) = self.model.enter(&self.batch, self.layers())?;
        Ok(vec![x.clone(), time, x])
    }

    fn segment(&self, index: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let segment = &self.model.segments[index];
        let grid = if index == 0 { self.batch.grid } else { self.grids[index - 1] };
        let step = Step { segment, grid, next: self.grids[index], contexts: self.batch.contexts.as_ref() };
        let (skip, kept) = match carried.split_last() {
            Some((skip, kept)) if segment.skip == Skip::Takes => (Some(skip), kept),
            _ => (None, carried),
        };
        let x = step.run(&carried[PIXELS], &carried[TIME], skip, self.layers())?;
        let mut all = vec![x.clone(), carried[TIME].clone()];
        all.extend_from_slice(&kept[SKIPS..]);
        if segment.skip == Skip::Leaves {
            all.push(x);
        }
        Ok(all)
    }

    fn leave(&self, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        Ok(vec![self.model.leave(&carried[PIXELS], self.batch.grid, self.layers())?])
    }
}

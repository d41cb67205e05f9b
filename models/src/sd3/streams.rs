//! The layout of a batch's rows in both streams, and in their joint attention.

use std::ops::{Deref, Range};
use std::sync::Arc;

use engine::ops::{Block, Grid};

use super::config::Sd3Config;
use super::positions::cropped;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::joint_rows::{JointRows, own};

/// Where the rows of each image's patches and caption are, and the positions of its patches.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The grid of patches.
    pub(super) patches: Grid,
    /// The rows of the position table for an image.
    pub(super) positions: Vec<u32>,
    /// The rows of both streams.
    rows: JointRows,
    /// The attention of each image's patches alone.
    pub(super) patch_blocks: Arc<[Block]>,
}

impl Streams {
    /// Checks a batch and lays out its rows.
    ///
    /// # Errors
    /// A batch of the wrong widths, images that are no multiple of the patch or larger than the position table.
    pub(super) fn of(config: &Sd3Config, batch: &ImageBatch) -> Result<Self, ModelError> {
        batch.check(config.inputs())?;
        let Grid { images, height, width } = batch.grid;
        let (side, most) = (config.patch, config.patch * config.positions);
        let fits = |size: usize| size > 0 && size.is_multiple_of(side) && size <= most;
        if !fits(height) || !fits(width) {
            return Err(ModelError::Argument {
                what: "the size of the images".to_owned(),
                expected: format!("multiples of {side} up to {most}"),
                got: format!("{height} by {width}"),
            });
        }
        let patches = Grid { images, height: height / side, width: width / side };
        let positions = cropped(config.positions, patches.height, patches.width);
        let of_image: &[Range<usize>] = batch.contexts.as_ref().map_or(&[], |contexts| &contexts.of_image);
        let rows = JointRows::new(patches.pixels(), of_image);
        Ok(Self { patches, positions, patch_blocks: own(&rows.patch_ends), rows })
    }
}

impl Deref for Streams {
    type Target = JointRows;

    fn deref(&self) -> &JointRows {
        &self.rows
    }
}

//! The layout of a batch's rows in both streams, and in their joint attention.

use std::ops::Range;
use std::sync::Arc;

use engine::ops::{Block, Grid};

use super::config::Sd3Config;
use super::positions::cropped;
use crate::ModelError;
use crate::image_batch::ImageBatch;

/// Where the rows of each image's patches and caption are.
///
/// In joint attention the rows of an image are its patches, then its caption's tokens, image by image.
#[derive(Debug)]
pub(super) struct Streams {
    /// The grid of patches.
    pub(super) patches: Grid,
    /// The rows of the position table for an image.
    pub(super) positions: Vec<u32>,
    /// The row of the projected captions for each row of the caption stream; captions may be shared, this stream is not,
    /// as it depends on the time.
    pub(super) captions: Vec<u32>,
    /// The end of each image's patches.
    pub(super) patch_ends: Arc<[usize]>,
    /// The end of each image's caption.
    pub(super) caption_ends: Arc<[usize]>,
    /// For each row of the joint attention the row of both streams, the caption's after all patches.
    pub(super) joint: Vec<u32>,
    /// The joint row of each row of patches.
    pub(super) patches_of_joint: Vec<u32>,
    /// The joint row of each row of captions.
    pub(super) captions_of_joint: Vec<u32>,
    /// The joint attention of each image.
    pub(super) joint_blocks: Arc<[Block]>,
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
        Ok(Self::laid_out(patches, positions, of_image))
    }

    fn laid_out(patches: Grid, positions: Vec<u32>, of_image: &[Range<usize>]) -> Self {
        let n = patches.pixels();
        let ends = |lengths: &dyn Fn(usize) -> usize| -> Arc<[usize]> {
            let mut end = 0;
            (0..patches.images)
                .map(|image| {
                    end += lengths(image);
                    end
                })
                .collect()
        };
        let caption_ends = ends(&|image| of_image[image].len());
        let (mut joint, mut patches_of_joint, mut captions_of_joint) = (Vec::new(), Vec::new(), Vec::new());
        for (image, (range, end)) in of_image.iter().zip(caption_ends.iter()).enumerate() {
            let length = range.len();
            let (start, caption) = (joint.len() as u32, patches.rows() + end - length);
            patches_of_joint.extend(start..start + n as u32);
            captions_of_joint.extend(start + n as u32..start + (n + length) as u32);
            joint.extend((image * n) as u32..((image + 1) * n) as u32);
            joint.extend(caption as u32..(caption + length) as u32);
        }
        let joint_ends = ends(&|image| n + of_image[image].len());
        let patch_ends = ends(&|_| n);
        Self {
            patches,
            positions,
            captions: of_image.iter().flat_map(|range| range.start as u32..range.end as u32).collect(),
            joint_blocks: own(&joint_ends),
            patch_blocks: own(&patch_ends),
            patch_ends,
            caption_ends,
            joint,
            patches_of_joint,
            captions_of_joint,
        }
    }
}

/// Attention within each group of consecutive rows.
fn own(ends: &[usize]) -> Arc<[Block]> {
    let start = |index: usize| if index == 0 { 0 } else { ends[index - 1] };
    let block = |(index, &end): (usize, &usize)| Block { queries: start(index)..end, keys: start(index)..end };
    ends.iter().enumerate().map(block).collect()
}

//! The building blocks of a UNet; their names are diffusers'.

mod attention;
mod resample;
mod resnet;
mod transformer;

pub(super) use attention::PixelAttention;
use resample::mean_of_four;
pub(super) use resample::{Down, Up};
pub(super) use resnet::{Change, Resnet};
pub(super) use transformer::Transformer;

use std::ops::Range;
use std::sync::Arc;

use engine::ops::{Block, Grid};

/// Self-attention blocks: each image's pixels see all pixels of the image.
pub(super) fn own_pixels(grid: Grid) -> Arc<[Block]> {
    let pixels = grid.height * grid.width;
    let rows = |image: usize| image * pixels..(image + 1) * pixels;
    (0..grid.images).map(|image| Block { queries: rows(image), keys: rows(image) }).collect()
}

/// Cross-attention blocks: each image's pixels see the rows of its caption.
pub(super) fn captions(grid: Grid, of_image: &[Range<usize>]) -> Arc<[Block]> {
    let pixels = grid.height * grid.width;
    let block = |(image, keys): (usize, &Range<usize>)| Block {
        queries: image * pixels..(image + 1) * pixels,
        keys: keys.clone(),
    };
    of_image.iter().enumerate().map(block).collect()
}

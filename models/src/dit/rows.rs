//! The layout of a batch's rows.

use std::ops::Range;
use std::sync::Arc;

use engine::ops::{Block, Grid};

use super::config::{DitConditioning, DitConfig};
use super::positions::positions;
use crate::ModelError;
use crate::image_batch::ImageBatch;

/// An upper bound on the side of an image in patches.
const MOST_PATCHES: usize = 1 << 12;

/// Where the rows of each image's patches are, and what they attend to.
#[derive(Debug)]
pub(crate) struct Rows {
    /// The grid of patches.
    pub(super) patches: Grid,
    /// The positions of an image's patches, `[patches, width]`.
    pub(super) positions: Vec<f32>,
    /// The end of each image's patches.
    pub(super) ends: Arc<[usize]>,
    /// The attention of each image's patches to themselves.
    pub(super) own: Arc<[Block]>,
    /// Their attention to the caption, whose rows images may share; none without captions.
    pub(super) captions: Arc<[Block]>,
}

impl Rows {
    /// Checks a batch and lays out its rows.
    ///
    /// # Errors
    /// A batch of the wrong widths, without sizes or classes where they are read, images that are no multiple of the patch.
    pub(super) fn of(config: &DitConfig, batch: &ImageBatch) -> Result<Self, ModelError> {
        batch.check(config.inputs())?;
        check_told(config, batch)?;
        let Grid { images, height, width } = batch.grid;
        let side = config.patch;
        let fits = |size: usize| size > 0 && size.is_multiple_of(side) && size / side <= MOST_PATCHES;
        if !fits(height) || !fits(width) {
            let expected = format!("multiples of {side} up to {}", side * MOST_PATCHES);
            return Err(wrong("the size of the images", expected, format!("{height} by {width}")));
        }
        // diffusers' class puts the patches together as a square.
        if height != width && config.class() == DitConfig::DIT {
            let expected = format!("squares, which a {} makes", DitConfig::DIT);
            return Err(wrong("the size of the images", expected, format!("{height} by {width}")));
        }
        let patches = Grid { images, height: height / side, width: width / side };
        let n = patches.pixels();
        let of_image: &[Range<usize>] = match (&config.told, &batch.contexts) {
            (DitConditioning::Captions { .. }, Some(contexts)) => &contexts.of_image,
            (DitConditioning::Captions { .. }, None) | (DitConditioning::Classes { .. }, _) => &[],
        };
        let queries = |image: usize| image * n..(image + 1) * n;
        let caption = |(image, keys): (usize, &Range<usize>)| Block { queries: queries(image), keys: keys.clone() };
        Ok(Self {
            patches,
            positions: positions(patches.height, patches.width, config.width(), config.span()),
            ends: (1..=images).map(|image| image * n).collect(),
            own: (0..images).map(|image| Block { queries: queries(image), keys: queries(image) }).collect(),
            captions: of_image.iter().enumerate().map(caption).collect(),
        })
    }
}

/// Checks the sizes or classes of the images.
fn check_told(config: &DitConfig, batch: &ImageBatch) -> Result<(), ModelError> {
    let images = batch.grid.images;
    match config.told {
        DitConditioning::Captions { has_sizes: false, .. } => Ok(()),
        DitConditioning::Captions { has_sizes: true, .. } => match &batch.time_ids {
            Some(sizes) if sizes.len() == images && sizes.iter().all(|s| s[4] > 0. && s[5] > 0.) => Ok(()),
            Some(sizes) => {
                let expected = format!("{images} times six, each with a height and width to make above 0");
                Err(wrong("the sizes of the images", expected, format!("{sizes:?}")))
            }
            None => Err(wrong("the sizes of the images", format!("{images} times six"), "none".to_owned())),
        },
        DitConditioning::Classes { n } => {
            let expected = format!("{images} numbers from 0 to {n}, which is no class");
            match &batch.classes {
                Some(classes) if classes.len() == images && classes.iter().all(|class| *class as usize <= n) => Ok(()),
                Some(classes) => Err(wrong("the classes of the images", expected, format!("{classes:?}"))),
                None => Err(wrong("the classes of the images", expected, "none".to_owned())),
            }
        }
    }
}

fn wrong(what: &str, expected: String, got: String) -> ModelError {
    ModelError::Argument { what: what.to_owned(), expected, got }
}

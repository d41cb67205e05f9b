//! The layout of a batch: rows of packed latents and of captions, and the angles of their places.

use std::ops::{Deref, Range};

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{AxialRope, Grid, Pairing};

use super::config::{FluxConfig, PATCH};
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::joint_rows::JointRows;

/// The base of the rotary embedding, a constant in diffusers.
const BASE: f64 = 10_000.;

/// Where the rows of each image's patches and caption are.
#[derive(Debug)]
pub(crate) struct Places {
    /// The grid of patches.
    pub(super) patches: Grid,
    /// The angles of the joint rows: tokens of captions are all at one place.
    pub(super) angles: AxialRope,
    /// The rows of both streams.
    rows: JointRows,
}

impl Places {
    /// Checks a batch and lays out its rows.
    ///
    /// # Errors
    /// A batch of the wrong widths, images of an odd side.
    pub(super) fn of(config: &FluxConfig, batch: &ImageBatch) -> Result<Self, ModelError> {
        batch.check(config.inputs())?;
        let Grid { images, height, width } = batch.grid;
        let fits = |size: usize| size > 0 && size.is_multiple_of(PATCH);
        if !fits(height) || !fits(width) {
            return Err(ModelError::Argument {
                what: "the size of the images".to_owned(),
                expected: format!("multiples of {PATCH}"),
                got: format!("{height} by {width}"),
            });
        }
        let patches = Grid { images, height: height / PATCH, width: width / PATCH };
        let of_image: &[Range<usize>] = batch.contexts.as_ref().map_or(&[], |contexts| &contexts.of_image);
        let angles = angles(config, patches, of_image)?;
        Ok(Self { patches, angles, rows: JointRows::new(patches.pixels(), of_image) })
    }

    /// Packs each square of latents into one row: channel by channel, the square's rows.
    ///
    /// # Shapes
    /// From `[N*H*W, channels]` to `[N*H/2*W/2, 4 channels]`.
    pub(super) fn pack(&self, x: &Tensor, channels: usize) -> Result<Tensor, EngineError> {
        let Grid { images, height, width } = self.patches;
        let x = x.reshape((images * height, PATCH, width, PATCH, channels))?.permute((0, 2, 4, 1, 3))?;
        Ok(x.contiguous()?.reshape((self.patches.rows(), PATCH * PATCH * channels))?)
    }

    /// The inverse of [`pack`](Self::pack).
    pub(super) fn unpack(&self, x: &Tensor, channels: usize) -> Result<Tensor, EngineError> {
        let Grid { images, height, width } = self.patches;
        let x = x.reshape((images * height, width, channels, PATCH, PATCH))?.permute((0, 3, 1, 4, 2))?;
        Ok(x.contiguous()?.reshape((self.patches.rows() * PATCH * PATCH, channels))?)
    }
}

impl Deref for Places {
    type Target = JointRows;

    fn deref(&self) -> &JointRows {
        &self.rows
    }
}

/// The angles of the joint rows of images.
fn angles(config: &FluxConfig, patches: Grid, of_image: &[Range<usize>]) -> Result<AxialRope, ModelError> {
    let mut places = vec![[0, 0, 0]];
    places.extend((0..patches.pixels()).map(|at| [0, (at / patches.width) as u32, (at % patches.width) as u32]));
    let of = |range: &Range<usize>| (1..=patches.pixels() as u32).chain(vec![0; range.len()]);
    let rows = of_image.iter().flat_map(of).collect();
    Ok(AxialRope::new(BASE, &config.axes, Pairing::Interleaved, &places, rows)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use engine::ops::Grid;

    use super::*;

    #[test]
    fn a_square_of_latents_is_a_row() {
        // One image of four by two pixels and two channels: tens are pixels, row by row, ones channels.
        let x: Vec<f32> = (0..8).flat_map(|pixel| [10. * pixel as f32, 10. * pixel as f32 + 1.]).collect();
        let x = Tensor::from_vec(x, (8, 2), &Device::Cpu).unwrap();
        let patches = Grid { images: 1, height: 2, width: 1 };
        let angles = AxialRope::new(BASE, &[2], Pairing::Interleaved, &[[0]], vec![0; 2]).unwrap();
        let places = Places { patches, angles, rows: JointRows::new(2, &[]) };
        let packed = places.pack(&x, 2).unwrap();
        assert_eq!(packed.to_vec2::<f32>().unwrap()[0], [0., 10., 20., 30., 1., 11., 21., 31.]);
        assert_eq!(places.unpack(&packed, 2).unwrap().to_vec2::<f32>().unwrap(), x.to_vec2::<f32>().unwrap());
    }
}

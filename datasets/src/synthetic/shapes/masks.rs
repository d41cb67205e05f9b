//! The shapes that a picture is compared with.

use std::sync::LazyLock;

use super::render::{EDGE, coverage};
use super::scene::{Position, Shape, Size};
use crate::images::Pixels;

/// A shape of one size at one place, as a pattern over the pixels.
pub(super) struct Mask {
    pub(super) shape: Shape,
    pub(super) size: Size,
    pub(super) position: Position,
    /// How much of each pixel is covered, less the mean.
    centred: Vec<f32>,
    /// The mean that was taken off.
    mean: f32,
    /// The sum of squares of `centred`.
    square: f32,
}

/// What is left of a picture when it is explained by one mask, one paint and one ground.
pub(super) struct Fit {
    /// The sum of squares that the mask explains.
    pub(super) explained: f32,
    pub(super) paint: [f32; 3],
    pub(super) ground: [f32; 3],
}

impl Mask {
    /// Fits paint and ground by least squares to a picture whose mean colour is known.
    pub(super) fn fit(&self, values: &[f32], mean: [f32; 3]) -> Fit {
        let mut product = [0.0_f32; 3];
        for (covered, colour) in self.centred.iter().zip(values.chunks_exact(Pixels::CHANNELS)) {
            for (product, value) in product.iter_mut().zip(colour) {
                *product += covered * value;
            }
        }
        let slopes = product.map(|product| product / self.square);
        let ground = [0, 1, 2].map(|channel| mean[channel] - slopes[channel] * self.mean);
        Fit {
            explained: product.iter().map(|product| product * product / self.square).sum(),
            paint: [0, 1, 2].map(|channel| ground[channel] + slopes[channel]),
            ground,
        }
    }
}

/// Every shape and size around every whole pixel from 2 to 14; the drawn places are 4, 8 and 12.
pub(super) static MASKS: LazyLock<Vec<Mask>> = LazyLock::new(|| {
    let centres = (2..=14).flat_map(|down| (2..=14).map(move |right| (down, right)));
    let outlines = Shape::ALL.into_iter().flat_map(|shape| Size::ALL.map(|size| (shape, size)));
    let at = |centre, (shape, size)| mask(shape, size, centre);
    let masks = centres.flat_map(|centre| outlines.clone().filter_map(move |outline| at(centre, outline)));
    masks.collect()
});

fn mask(shape: Shape, size: Size, (down, right): (usize, usize)) -> Option<Mask> {
    // Below 6 is the first third of the places, above 10 the last.
    let third = |centre: usize| usize::from(centre >= 6) + usize::from(centre > 10);
    let covered = coverage(shape, size, (down as f32, right as f32));
    let mean = covered.iter().sum::<f32>() / (EDGE * EDGE) as f32;
    let centred: Vec<f32> = covered.iter().map(|covered| covered - mean).collect();
    let square = centred.iter().map(|value| value * value).sum();
    Some(Mask { shape, size, position: Position::at(third(down), third(right))?, centred, mean, square })
}

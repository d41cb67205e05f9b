//! The oracle's shape masks.

use std::sync::LazyLock;

use super::render::coverage;
use super::scene::{Position, Shape, Size};
use crate::synthetic::pattern::Pattern;

/// A shape of one size at one position, as a pattern.
pub(super) struct Mask {
    pub(super) shape: Shape,
    pub(super) size: Size,
    pub(super) position: Position,
    pub(super) pattern: Pattern,
}

/// Every shape and size around every pixel from 2 to 14; scenes use 4, 8 and 12.
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
    let pattern = Pattern::new(&coverage(shape, size, (down as f32, right as f32)));
    Some(Mask { shape, size, position: Position::at(third(down), third(right))?, pattern })
}

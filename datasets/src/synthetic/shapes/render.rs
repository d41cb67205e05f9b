//! Rendering of scenes.

use super::scene::{Position, Scene, Shape, Size};
use crate::images::Pixels;

/// Height and width of images.
pub const EDGE: usize = 16;

/// Sampling points per pixel side; the share of points inside the shape is the pixel's coverage.
const POINTS: usize = 8;

impl Position {
    /// The middle of the position, in pixels down and right from the top left corner.
    pub(super) fn centre(self) -> (f32, f32) {
        let (row, column) = self.place();
        (4.0 * (row + 1) as f32, 4.0 * (column + 1) as f32)
    }
}

impl Scene {
    /// Renders the scene with antialiasing by area.
    pub fn render(&self) -> Pixels {
        let covered = coverage(self.shape, self.size, self.position.centre());
        let (paint, ground) = (self.colour.values(), self.background.values());
        Pixels::from_fn(EDGE, EDGE, |row, column, channel| {
            ground[channel] + covered[row * EDGE + column] * (paint[channel] - ground[channel])
        })
    }
}

/// The coverage of each pixel by a shape, 0 to 1, in row-major order.
pub(super) fn coverage(shape: Shape, size: Size, (down, right): (f32, f32)) -> Vec<f32> {
    let offset = |point: usize| (point as f32 + 0.5) / POINTS as f32;
    let of_pixel = |pixel: usize| {
        let (row, column) = ((pixel / EDGE) as f32, (pixel % EDGE) as f32);
        let is_inside = |point: &usize| {
            let y = row + offset(point / POINTS) - down;
            let x = column + offset(point % POINTS) - right;
            contains(shape, x / size.radius(), y / size.radius())
        };
        (0..POINTS * POINTS).filter(is_inside).count() as f32 / (POINTS * POINTS) as f32
    };
    (0..EDGE * EDGE).map(of_pixel).collect()
}

/// Whether a shape of radius 1 around the origin contains a point; `y` goes down.
fn contains(shape: Shape, x: f32, y: f32) -> bool {
    let (across, up_or_down) = (x.abs(), y.abs());
    match shape {
        Shape::Circle => x * x + y * y <= 1.0,
        Shape::Square => across.max(up_or_down) <= 0.9,
        Shape::Triangle => up_or_down <= 0.95 && across <= (y + 0.95) / 1.9,
        Shape::Cross => across.max(up_or_down) <= 1.0 && across.min(up_or_down) <= 0.3,
    }
}

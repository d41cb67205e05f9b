//! Rendering of scenes.

use super::scene::{Body, Head, Scene};
use crate::images::Pixels;

/// Height and width of images.
pub const EDGE: usize = 24;

/// The first row of a head's sprite; rows above are empty.
const HEAD_ROW: usize = 1;

impl Scene {
    /// Renders the scene: every pixel has the creature's colour or the field's.
    pub fn render(&self) -> Pixels {
        let painted = silhouette(self.head, self.body);
        let (paint, ground) = (self.colour.values(), self.field.values());
        Pixels::from_fn(
            EDGE,
            EDGE,
            |row, column, channel| {
                if painted[row * EDGE + column] { paint[channel] } else { ground[channel] }
            },
        )
    }
}

/// The creature's pixel mask in row-major order.
pub(super) fn silhouette(head: Head, body: Body) -> Vec<bool> {
    let (body, head_column) = body.sprite();
    let mut painted = vec![false; EDGE * EDGE];
    let mut paint = |rows: &[&str], top: usize, left: usize| {
        for (row, signs) in rows.iter().enumerate() {
            for (column, sign) in signs.bytes().enumerate() {
                painted[(top + row) * EDGE + left + column] |= sign == b'#';
            }
        }
    };
    let head = head.sprite();
    paint(head, HEAD_ROW, head_column);
    paint(body, HEAD_ROW + head.len(), 0);
    painted
}

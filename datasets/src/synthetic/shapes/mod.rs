//! The embedded problem `builtin:shapes`: draw the shape that the caption asks for.
//!
//! An image of 16 x 16 pixels shows one [`Shape`] of one [`Colour`], [`Size`] and [`Position`] on a plain
//! [`Background`], and its caption describes these four attributes ("a small red circle in the top left"), but not the
//! background. There are 432 combinations of attributes. [`Oracle`] recognises the attributes of any image, and
//! [`Scene::from_caption`] parses any caption, which is enough to judge a model.
//!
//! [`ShapesProblem::demonstration`] gives captions that are wrong at a known rate per attribute: a model that imitates them
//! draws wrong images at that rate, which preferences ([`ShapesProblem::pair`]) can then correct.
//!
//! # Hold-out
//! A scene's split is a function of its shape, colour and position ([`Scene::split`]): of the 216 triples, 21 are for
//! validation and 22 for tests, each in both sizes and on both backgrounds. No image and no caption of the training
//! split, wrong captions and rejected images included, contains a held-out triple; every pair of the three does occur
//! in training.
//!
//! Everything is a pure function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::shapes::{Oracle, ShapesProblem, Scene, Split};
//!
//! let pair = ShapesProblem::new(0).pair(Split::Train, 0);
//! let wanted = Scene::from_caption(&pair.caption).expect("a caption of this grammar");
//! assert_eq!(Oracle::score(&wanted, &pair.chosen.render()), 4.0);
//! assert_eq!(Oracle::score(&wanted, &pair.rejected.render()), 4.0 - pair.differing.len() as f64);
//! ```

mod captions;
mod masks;
mod oracle;
mod problem;
mod render;
mod scene;
#[cfg(test)]
mod tests;

pub use captions::{Phrasing, WORDS};
pub use oracle::{Detection, Oracle};
pub use problem::{ShapesDemonstration, ShapesPair, ShapesProblem};
pub use render::EDGE;
pub use scene::{Attribute, Background, Colour, Position, Scene, Shape, Size};

pub use super::{ComparisonOutcome, Split};

//! The embedded problem `builtin:shapes`: draw the shape that the caption asks for.
//!
//! A picture of 16 x 16 pixels shows one [`Shape`] of one [`Colour`], [`Size`] and [`Position`] on a plain
//! [`Background`], and its caption tells the four attributes ("a small red circle in the top left"); the background is
//! nobody's wish. There are 432 combinations of attributes. [`Oracle`] reads any picture back, and
//! [`Scene::from_caption`] any caption, so nothing but the two is needed to judge a model.
//!
//! [`Problem::demonstration`] gives captions that are wrong on purpose, each attribute now and then: a model that
//! imitates them draws the wrong thing as often, which is what preferences ([`Problem::pair`]) can then tell it.
//!
//! # What is held out
//! A scene's split is decided by its shape, colour and position ([`Scene::split`]): of the 216 triples, 21 are for
//! validation and 22 for tests, each in both sizes and on both backgrounds. No picture and no caption of the training
//! split, wrong captions and rejected pictures included, shows a triple that is held out; every two of the three do
//! occur together in training.
//!
//! Everything is a pure function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::shapes::{Oracle, Problem, Scene, Split};
//!
//! let pair = Problem::new(0).pair(Split::Train, 0);
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
pub use oracle::{Oracle, Reading};
pub use problem::{Demonstration, Problem, ShapesPair};
pub use render::EDGE;
pub use scene::{Attribute, Background, Colour, Position, Scene, Shape, Size};

pub use super::{Outcome, Split};

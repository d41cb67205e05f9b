//! The embedded problem `builtin:chimera`: refine a request, then draw it.
//!
//! A [`Request`] asks for a creature by its name ("a red minotaur on a white field"). A refiner writes a prompt for it,
//! best of all one that tells the creature's parts ("the head of a bull on the body of a man in red on a white field"),
//! and a generator draws a picture of 24 x 24 pixels from the refined prompt alone: one [`Head`] on one [`Body`], of one
//! [`Colour`] on one [`Field`]. [`Oracle`] reads any picture back and [`Wanted::from_request`] any request, so nothing
//! but the two is needed to judge a refiner and a generator together.
//!
//! # What there is to learn
//! The grammar knows several [`Manner`]s of refined prompts, and both halves of the embedded model are taught badly on
//! purpose. The refiner's demonstrations ([`Problem::refinement`]) use every manner, now and then say something wrong or
//! leave something out ([`Problem::WRONG_RATE`], [`Problem::OMISSION_RATE`]); the generator's
//! ([`Problem::demonstration`]) are wrong more often in some manners than in others ([`Manner::error_rates`]). So a
//! refiner gets better by refining well, in the manner that its generator knows best, a generator by drawing what it is
//! told, and both at once by preferences over their joint answers ([`Problem::pair`]).
//!
//! # What is held out
//! A scene's split is decided by its four attributes ([`Scene::split`]), and a request's by the scene that it wants: of
//! 576 scenes 58 are for validation and 58 for tests, of the 256 that can be asked for 25 and 26. Nothing of the training
//! split, wrong prompts and rejected pictures included, tells or shows a scene that is held out; every two attributes do
//! occur together in training.
//!
//! Everything is a pure function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::chimera::{Oracle, Problem, Split, Wanted};
//!
//! let pair = Problem::new(0).pair(Split::Train, 0);
//! let wanted = Wanted::from_request(&pair.request).expect("a request of this grammar");
//! let score = |scene: datasets::synthetic::chimera::Scene| Oracle::score(&wanted, &scene.render());
//! assert!(score(pair.chosen.scene) > score(pair.rejected.scene));
//! assert_eq!(score(wanted.scene), 1.0);
//! ```

mod creatures;
mod oracle;
mod problem;
mod refined;
mod render;
mod requests;
mod scene;
mod sprites;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub use creatures::Creature;
pub use oracle::{Oracle, Reading};
pub use problem::{ChimeraPair, Demonstration, Problem, Refinement, Side, refiner_prompt, refiner_response};
pub use refined::{Manner, Said};
pub use render::EDGE;
pub use requests::{Asking, Request, Wanted};
pub use scene::{Attribute, Body, Colour, Field, Head, Scene};
pub use tokens::{END_OF_TEXT, tokenizer, tokenizer_json};
pub use words::WORDS;

pub use super::{Outcome, Split};

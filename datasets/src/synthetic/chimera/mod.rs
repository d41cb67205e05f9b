//! The embedded problem `builtin:chimera`: refine a request, then draw it.
//!
//! A [`Request`] names a creature ("a red minotaur on a white field"). A refiner writes a prompt for it, ideally one
//! that describes the creature's parts ("the head of a bull on the body of a man in red on a white field"), and a
//! generator draws an image of 24 x 24 pixels from the refined prompt alone: one [`Head`] on one [`Body`], of one
//! [`Colour`] on one [`Field`]. [`Oracle`] recognises the attributes of any image and [`Wanted::from_request`] parses
//! any request, which is enough to judge a refiner and a generator together.
//!
//! # Training signal
//! The grammar has several [`Manner`]s of refined prompts, and both halves of the embedded model are trained on
//! imperfect data. The refiner's demonstrations ([`ChimeraProblem::refinement`]) use every manner, and are sometimes wrong or
//! incomplete ([`ChimeraProblem::WRONG_RATE`], [`ChimeraProblem::OMISSION_RATE`]); the generator's ([`ChimeraProblem::demonstration`]) have
//! different error rates for different manners ([`Manner::error_rates`]). So a refiner improves by refining correctly
//! in the manner that its generator knows best, a generator by drawing its prompt, and both at once by preferences over
//! their joint answers ([`ChimeraProblem::pair`]).
//!
//! # Hold-out
//! A scene's split is a function of its four attributes ([`Scene::split`]), and a request's split that of its scene: of
//! 576 scenes 58 are for validation and 58 for tests, of the 256 that can be requested 25 and 26. The training split,
//! wrong prompts and rejected images included, contains no held-out scene; every pair of attributes does occur in
//! training.
//!
//! Everything is a pure function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::chimera::{Oracle, ChimeraProblem, Split, Wanted};
//!
//! let pair = ChimeraProblem::new(0).pair(Split::Train, 0);
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
pub use oracle::{Detection, Oracle};
pub use problem::{
    ChimeraDemonstration, ChimeraPair, ChimeraProblem, ChimeraSide, Refinement, refiner_prompt, refiner_response,
};
pub use refined::{Manner, Said};
pub use render::EDGE;
pub use requests::{Asking, Request, Wanted};
pub use scene::{Attribute, Body, Colour, Field, Head, Scene};
pub use tokens::{END_OF_TEXT, tokenizer, tokenizer_json};
pub use words::WORDS;

pub use super::{ComparisonOutcome, Split};

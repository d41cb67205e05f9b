//! The problem of the video example: plan a motion as a sequence of codes, then draw the clip.
//!
//! A [`Request`] asks for a moving shape ("a circle moves right slowly"). A planner writes a [`Code`] for each of
//! [`FRAMES`] frames, which gives the shape and its position, and a decoder draws the [`Clip`] from the codes alone:
//! [`FRAMES`] frames of [`EDGE`] x [`EDGE`] pixels. [`Oracle`] recognises the shapes of any clip frame by frame and
//! then the motion, and [`Wanted::from_request`] parses any request, which is enough to judge a planner and a decoder
//! together.
//!
//! # Training signal
//! Both halves are trained on imperfect data. The planner's demonstrations ([`MotionProblem::plan`]) sometimes have another
//! motion than requested ([`MotionProblem::WRONG_RATE`]). The decoder's ([`MotionProblem::drawn`]) sometimes show another shape or
//! the opposite direction, more often the more codes are near the rim ([`Code::is_at_rim`], [`MotionProblem::error_rate`]).
//! So a planner improves by planning the request and avoiding the rim where it can, a decoder by drawing the codes, and
//! both at once by preferences over whole answers ([`MotionProblem::pair`]).
//!
//! # Hold-out
//! Each of the 24 motions (shape, direction, speed) has four phrasings: one is used only in tests, and for every other
//! motion a second one only in validation ([`Request::split`]). Motions are not held out: a planner that never saw one,
//! not even by mistake, has learned that it does not occur.
//!
//! Everything is a pure function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::motion::{Clip, Oracle, MotionProblem, Split, Wanted};
//!
//! let pair = MotionProblem::new(0).pair(Split::Train, 0);
//! let wanted = Wanted::from_request(&pair.request.text()).expect("a request of this grammar");
//! let score = |side: &datasets::synthetic::motion::MotionSide| Oracle::score(&wanted, &Clip::render(&side.shown.codes()));
//! assert!(score(&pair.chosen) > score(&pair.rejected));
//! ```

mod clip;
mod code;
mod oracle;
mod problem;
mod request;
mod scene;
mod shape;
#[cfg(test)]
mod tests;
mod tokens;

pub use clip::Clip;
pub use code::Code;
pub use oracle::{Detection, Oracle, Seen};
pub use problem::{Drawn, MotionPair, MotionProblem, MotionSide, Plan};
pub use request::{Asking, Request, WORDS};
pub use scene::{Direction, Motion, Speed, Wanted};
pub use shape::{Axis, EDGE, FRAMES, Shape};
pub use tokens::{END_OF_TEXT, code_token, planner_prompt, planner_response, tokenizer, tokenizer_json};

pub use super::{ComparisonOutcome, Split};

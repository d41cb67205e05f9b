//! The problem of the video example: plan a motion as a sequence of codes, then draw the clip.
//!
//! A [`Request`] asks for a shape that moves ("a circle moves right slowly"). A planner writes a [`Code`] for each of
//! [`FRAMES`] frames, which says what is to be seen where in that frame, and a decoder draws the [`Clip`] from the codes
//! alone: [`FRAMES`] frames of [`EDGE`] x [`EDGE`] pixels. [`Oracle`] reads any clip back, frame by frame and then as a
//! motion, and [`Wanted::from_request`] any request, so nothing but the two is needed to judge a planner and a decoder
//! together.
//!
//! # What there is to learn
//! Both halves are taught badly on purpose. The planner's demonstrations ([`Problem::plan`]) are now and then of another
//! motion than was asked for ([`Problem::WRONG_RATE`]). The decoder's ([`Problem::drawn`]) show another shape or go the
//! other way, the more often the more of the codes are near the rim ([`Code::is_at_rim`], [`Problem::error_rate`]). So a
//! planner gets better by planning what is asked for and by keeping away from the rim where it can, a decoder by drawing
//! what the codes say, and both at once by preferences over whole answers ([`Problem::pair`]).
//!
//! # What is held out
//! Each of the 24 motions (shape, direction, speed) can be asked for in four ways, one of which only tests use, and one
//! more, for every other motion, only validation ([`Request::split`]). Motions are not held out: a planner that has never
//! been shown one, not even by mistake, has been taught that it does not occur.
//!
//! Everything is a pure function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::motion::{Clip, Oracle, Problem, Split, Wanted};
//!
//! let pair = Problem::new(0).pair(Split::Train, 0);
//! let wanted = Wanted::from_request(&pair.request.text()).expect("a request of this grammar");
//! let score = |side: &datasets::synthetic::motion::Side| Oracle::score(&wanted, &Clip::render(&side.shown.codes()));
//! assert!(score(&pair.chosen) > score(&pair.rejected));
//! ```

mod clip;
mod code;
mod oracle;
mod problem;
mod request;
mod scene;
#[cfg(test)]
mod tests;
mod tokens;

pub use clip::{Clip, EDGE, FRAMES};
pub use code::Code;
pub use oracle::{Oracle, Reading, Seen};
pub use problem::{Drawn, MotionPair, Plan, Problem, Side};
pub use request::{Asking, Request, WORDS};
pub use scene::{Axis, Direction, Motion, Shape, Speed, Wanted};
pub use tokens::{END_OF_TEXT, code_token, planner_prompt, planner_response, tokenizer, tokenizer_json};

pub use super::{Outcome, Split};

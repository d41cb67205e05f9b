//! Problems with known answers, made on the spot.
//!
//! A synthetic problem is a pure function of a seed: nothing is downloaded or stored, and whoever reads a result can
//! check it, because the grammar that made the data also knows what is right.
//!
//! * [`tldr`]: short posts, good and bad summaries, and an oracle that counts the facts of any summary.

pub mod tldr;

//! The family of pairwise losses: each is a formula of the chosen return c and the rejected return r; the margin is D =
//! c - r.
mod clamped;
mod margin;
mod mixed;
mod sides;

pub use clamped::Clamped;
pub use margin::{Exo, Hinge, Ipo, Logistic, Robust, Simpo};
pub use mixed::{DiscoPop, Dpop, Linear};
pub use sides::{ApoDown, ApoZero, Bco, ChosenLikelihood, Cpl, Nca, Orpo, Sppo};

//! The loss family: each a formula of the chosen return c and the rejected return r (their difference is the margin D).
mod clamped;
mod margin;
mod sides;

pub use clamped::Clamped;
pub use margin::{Exo, Hinge, Ipo, Logistic, Robust, Simpo};
pub use sides::{ApoDown, ApoZero, Bco, ChosenLikelihood, Cpl, Nca, Orpo, Sppo};

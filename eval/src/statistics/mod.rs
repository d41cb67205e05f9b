//! What judgements say: win rates with intervals, at equal length, and between systems; agreement.
mod agreement;
mod bootstrap;
mod length;
mod position;

pub use self::agreement::{LabellerAgreement, agreements};
pub use self::bootstrap::{Interval, difference, interval};
pub use self::length::{LengthControlled, Lengths, length_controlled};
pub use self::position::Positions;

//! The claims of the paper as measurements on the embedded problems.
mod figure;
mod result;
mod setup;
mod statistics;
mod theory;

pub use self::figure::Figure;
pub use self::result::{Chart, Claim, FigureResult, Holds, Point, Rule, Series, Table};
pub use self::setup::{Scale, Setup};
pub use self::statistics::Measured;

/// The result of anything here.
pub(crate) type Result<T> = std::result::Result<T, recipes::Failure>;

pub fn run(figure: Figure, setup: &Setup<'_>) -> std::result::Result<FigureResult, recipes::Failure> {
    theory::run(setup)
}

//! Pages and plots of training runs.
//!
//! - [`plot`]: a [`plot::Chart`] of numbers becomes an SVG file.
//! - [`page`]: sections, tables and figures become one HTML file that needs nothing from elsewhere.
//! - [`heat`]: texts on the colours of their tokens' numbers.
//! - [`Run`]: what the folder of a training run holds.
//! - [`compare`]: the page of one run, or of several beside each other.
//!
//! Nothing here runs a model, reads the clock or draws a random number: equal files give equal bytes. Nothing is written;
//! the pages and plots are returned.
mod compare;
mod curves;
mod error;
pub mod heat;
mod html;
pub mod page;
pub mod plot;
mod run;

pub use compare::{Report, compare};
pub use error::Error;
pub use run::{ReferenceRun, Run};

//! Pages and plots of training runs.
//!
//! - [`plot`]: a [`plot::Chart`] of numbers becomes an SVG file.
//! - [`page`]: sections, tables and figures become one HTML file that needs nothing from elsewhere.
//!
//! Nothing here runs a model, reads the clock or draws a random number: equal input gives equal bytes.
mod error;
pub mod page;
pub mod plot;

pub use error::Error;

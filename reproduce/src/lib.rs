//! The claims of the paper as measurements on the embedded problems.
//!
//! A [`Figure`] is a part of the paper; [`reproduce`] trains, searches and measures for it, and returns a
//! [`FigureResult`]: claims with numbers, intervals and verdicts, tables and charts. A verdict follows from a number by
//! the [`Rule`] that is written beside it, and from nothing else.
//!
//! All that is trained is kept below the folder of results and used again, so that a stopped reproduction goes on.
//!
//! # References
//! Rafailov et al., "From r to Q*: Your Language Model is Secretly a Q-Function", 2024, arXiv:2404.12358.
//!
//! # Examples
//! ```
//! use reproduce::{Figure, Holds, Scale, Setup};
//!
//! let folder = tempfile::tempdir()?;
//! let out = folder.path().join("out");
//! let setup = Setup { out, seed: 0, scale: Scale::Quick, reporter: &recipes::QUIET };
//! let mut lemma = None;
//! reproduce::reproduce(&[Figure::Theory], &setup, &mut |result| lemma = Some(result.claims[0].holds))?;
//! assert_eq!(lemma, Some(Holds::Yes));
//! assert!(setup.out.join("index.html").is_file());
//! # Ok::<(), recipes::Failure>(())
//! ```
// A choice that is added must be decided everywhere.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
mod agents;
mod beams;
mod cpl;
mod credit;
mod diffusion;
mod dynamics;
mod figure;
mod fit;
mod folder;
mod hybrid;
mod language;
mod page;
mod result;
mod runs;
mod setup;
mod small;
mod statistics;
mod theory;
mod trees;
mod verifier;
mod video;

use std::path::PathBuf;

use recipes::Failure;

pub use self::figure::Figure;
pub use self::result::{Chart, Claim, FigureResult, Holds, Point, Rule, Series, Table};
pub use self::setup::{Scale, Setup};
pub use self::statistics::Measured;

// The wiring of video, and how it learns, are files of an example, which call this workspace's crates by the facade's name. The facade
// depends on this crate, so the name stands for this crate here.
extern crate self as hybrid_dpo;
#[expect(clippy::single_component_path_imports, reason = "names them as the facade does")]
pub(crate) use {datasets, engine, mdp, models, objectives, policies, train};

/// The result of anything here.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Measures figures and writes what came of them: for each a JSON file and its charts as SVG, and `index.html` about all
/// that the folder has. `shown` receives each result. Figures that the folder has already are not measured again.
///
/// Returns the path of the page.
///
/// # Errors
/// A folder that holds something else, or results of other settings; training and searching that fails; a stop.
pub fn reproduce(
    figures: &[Figure],
    setup: &Setup<'_>,
    shown: &mut dyn FnMut(&FigureResult),
) -> std::result::Result<PathBuf, Failure> {
    let _lock = folder::open(setup)?;
    for &figure in figures {
        let result = match folder::read(setup, figure)? {
            Some(known) => known,
            None => measure(figure, setup)?,
        };
        shown(&result);
    }
    folder::write_page(setup)
}

/// Measures a figure and writes it.
fn measure(figure: Figure, setup: &Setup<'_>) -> Result<FigureResult> {
    setup.go_on()?;
    setup.reporter.info(&format!("{figure}: {}", figure.title()));
    let result = match figure {
        Figure::Theory => theory::run(setup),
        Figure::Credit => credit::run(setup),
        Figure::Beams => beams::run(setup),
        Figure::Dynamics => dynamics::run(setup),
        Figure::Cpl => cpl::run(setup),
        Figure::Diffusion => diffusion::run(setup),
        Figure::Hybrid => hybrid::run(setup),
        Figure::Video => video::run(setup),
        Figure::Verifier => verifier::run(setup),
        Figure::Agents => agents::run(setup),
        Figure::Trees => trees::run(setup),
    }?;
    folder::write(setup, &result)?;
    Ok(result)
}

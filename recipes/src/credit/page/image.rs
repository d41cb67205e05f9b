//! The page of pictures: the reward laid over them, whole and by timesteps.
use std::ops::Range;

use ::report::page::Section;

use super::picture::{STYLE, Scales, figure};
use super::{document, summary_section, table};
use crate::Failure;
use crate::credit::image::SHOWN;
use crate::credit::{ImageCredit, StepSummary};

/// What the colours are.
pub(super) const ABOUT: &str =
    "Red is less reward, blue is more, laid over the pale picture. Maps by timestep are as if all draws were there.";

/// The page of pictures.
///
/// # Errors
/// A picture can't be encoded.
pub(super) fn page(credit: &ImageCredit) -> Result<String, Failure> {
    let mut steps = steps_section(&credit.steps);
    if let Some((right, pairs)) = credit.accuracy {
        steps = steps.text(&format!("margin above 0: {right} of {pairs} pairs"));
    }
    let mut pictures = first(Section::new("Pictures"), SHOWN, credit.examples().count());
    let scales = Scales::of(credit.pictures.iter().filter(|picture| picture.index < SHOWN));
    let parts = parts(&credit.steps);
    for sides in credit.examples().take(SHOWN) {
        let caption = sides[0].caption.as_deref().unwrap_or_default();
        pictures = pictures.heading(&format!("{} {caption}", sides[0].index));
        for picture in sides {
            pictures = pictures.html(figure(picture, scales, &parts)?);
        }
    }
    let summary = credit.summary.as_ref().map(summary_section).unwrap_or_default();
    Ok(document(ABOUT).style(STYLE).section(steps).section(summary).section(pictures).to_html())
}

/// The timesteps of each map.
pub(super) fn parts(steps: &StepSummary) -> Vec<Range<usize>> {
    steps.rows.iter().map(|row| row.timesteps.clone()).collect()
}

/// The rewards by timestep.
pub(super) fn steps_section(steps: &StepSummary) -> Section {
    Section::new("Rewards by timestep").table(&table(&steps.cells())).text(&steps.explained())
}

/// Adds a note where a page does not show all.
pub(super) fn first(section: Section, shown: usize, of: usize) -> Section {
    if of > shown { section.text(&format!("The first {shown} of {of} are shown.")) } else { section }
}

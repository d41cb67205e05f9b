//! The page of pictures: the reward laid over them, whole and by timesteps.
use std::fmt::Write as _;
use std::ops::Range;

use super::picture::{STYLE, Scales, figure};
use super::{document, escaped, summary_table, table};
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
pub(in crate::credit) fn page(credit: &ImageCredit) -> Result<String, Failure> {
    let mut body = steps_table(&credit.steps);
    if let Some((right, pairs)) = credit.accuracy {
        let _ = write!(body, "<p>margin above 0: {right} of {pairs} pairs</p>");
    }
    body.push_str(&credit.summary.as_ref().map(summary_table).unwrap_or_default());
    body.push_str(&first(SHOWN, credit.examples().count()));
    let shown = credit.examples().take(SHOWN);
    let scales = Scales::of(credit.pictures.iter().filter(|picture| picture.index < SHOWN));
    let parts = parts(&credit.steps);
    for sides in shown {
        let caption = sides[0].caption.as_deref().unwrap_or_default();
        let _ = write!(body, "<section><h2>{} {}</h2>", sides[0].index, escaped(caption));
        for picture in sides {
            body.push_str(&figure(picture, scales, &parts)?);
        }
        body.push_str("</section>");
    }
    Ok(document(STYLE, ABOUT, &body))
}

/// The timesteps of each map.
pub(super) fn parts(steps: &StepSummary) -> Vec<Range<usize>> {
    steps.rows.iter().map(|row| row.timesteps.clone()).collect()
}

/// The table of rewards by timestep.
pub(super) fn steps_table(steps: &StepSummary) -> String {
    format!("{}<p>{}</p>", table(&steps.cells()), escaped(&steps.explained()))
}

/// A note where a page does not show all.
pub(super) fn first(shown: usize, of: usize) -> String {
    if of > shown { format!("<p>The first {shown} of {of} are shown.</p>") } else { String::new() }
}

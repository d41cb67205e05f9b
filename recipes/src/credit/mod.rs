//! `credit`: which decisions the reward is laid on, and whether these are the wrong ones: tokens of answers, denoising
//! steps and regions of pictures, or both halves of a hybrid.
mod hybrid;
mod image;
mod measures;
mod page;
mod steps;
mod summary;
mod text;

use std::path::{Path, PathBuf};

use train::can_write;

use crate::settings::{CreditSettings, Modality, Values, at};
use crate::{Call, Failure};

pub use self::hybrid::{CreditedPair, CreditedSide, HalfRow, PairCredit, ShareSummary};
pub use self::image::{CreditedPicture, ImageCredit};
pub use self::steps::{StepRow, StepSummary};
pub use self::summary::{CreditSummary, MeasureSummary};
pub use self::text::{CreditedAnswer, TextCredit};

/// The credit of decisions, by kind of problem.
#[derive(Clone, Debug, PartialEq)]
pub enum Credit {
    /// Of the tokens of answers.
    Text(TextCredit),
    /// Of the denoising steps and the regions of pictures.
    Image(ImageCredit),
    /// Of both halves of a hybrid.
    Pairs(Box<PairCredit>),
}

/// Lays the reward on decisions, by a model and its reference, and measures how well that and rivals of it find what is
/// wrong, where this is known.
///
/// Lines go to `run.out`, a page of heat maps to `credit.html`, where these name files.
///
/// # Errors
/// Settings that make no sense, and files that can't be read or written. Nothing is written then.
pub fn credit(call: Call<'_, impl CreditSettings>) -> Result<Credit, Failure> {
    let call = &call.untyped();
    match call.values.run.mdp() {
        Modality::Token => text::credit(call).map(Credit::Text),
        Modality::Diffusion => image::credit(call).map(Credit::Image),
        Modality::Hybrid => hybrid::credit(call).map(|credit| Credit::Pairs(Box::new(credit))),
    }
}

/// The files to write.
struct Outputs {
    /// Lines, `run.out`.
    lines: Option<PathBuf>,
    /// A page, `credit.html`.
    page: Option<PathBuf>,
}

impl Outputs {
    /// What the settings name, which can be written.
    fn of(values: &Values) -> Result<Self, Failure> {
        let outputs =
            Self { lines: values.run.out().map(PathBuf::from), page: values.credit.html().map(PathBuf::from) };
        for path in [&outputs.lines, &outputs.page].into_iter().flatten() {
            can_write(path)?;
        }
        if let (Some(lines), Some(page)) = (&outputs.lines, &outputs.page)
            && is_same_file(lines, page)
        {
            let (out, html) = (&at::run::out, &at::credit::html);
            return Err(Failure::usage(format!("{out} and {html} are both {}; name two files", page.display())));
        }
        Ok(outputs)
    }
}

/// Whether two names are of one file, which need not be there.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        path.canonicalize()
            .or_else(|_| Ok::<_, std::io::Error>(folder.canonicalize()?.join(path.file_name().unwrap_or_default())))
    };
    one == other || whole(one).ok().is_some_and(|one| whole(other).is_ok_and(|other| one == other))
}

/// A setting that must be there.
fn needed(given: Option<&str>, text: &str) -> Result<String, Failure> {
    given.map(str::to_owned).ok_or_else(|| Failure::usage(text))
}

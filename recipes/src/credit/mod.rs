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

use train::{can_write, write_lines};

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
    let call = &call.found(crate::keys::CREDIT)?;
    let outputs = Outputs::of(&call.values)?;
    let has_page = outputs.page.is_some();
    let credit = match call.values.run.mdp() {
        Modality::Token => text::credit(call).map(Credit::Text),
        Modality::Diffusion => image::credit(call, has_page).map(Credit::Image),
        Modality::Hybrid => hybrid::credit(call, has_page).map(|credit| Credit::Pairs(Box::new(credit))),
    }?;
    outputs.write(&credit)?;
    if credit.is_zero() {
        let [model, reference] = match credit {
            Credit::Text(_) | Credit::Image(_) => [at::model::model, at::model::reference],
            Credit::Pairs(_) => [at::hybrid::refiner, at::hybrid::refiner_reference],
        };
        call.reporter.notice(&format!(
            "every reward is 0: {model} and {reference} are the same policy; name as {reference} the model before it learned \
             preferences"
        ));
    }
    Ok(credit)
}

impl Credit {
    /// Whether there are rewards and all of them are 0, as of a policy that is its own reference.
    fn is_zero(&self) -> bool {
        fn largest(rewards: impl Iterator<Item = f64>) -> Option<f64> {
            rewards.map(f64::abs).reduce(f64::max)
        }
        let of_answer = |answer: &CreditedAnswer| largest(answer.columns[0].1.iter().copied());
        let of_picture = |picture: &CreditedPicture| largest(picture.draws.iter().copied());
        let rewards: Vec<Option<f64>> = match self {
            Self::Text(credit) => credit.answers.iter().map(of_answer).collect(),
            Self::Image(credit) => credit.pictures.iter().map(of_picture).collect(),
            Self::Pairs(credit) => {
                let sides = credit.pairs.iter().flat_map(|pair| &pair.sides);
                sides.flat_map(|side| [of_answer(&side.answer), of_picture(&side.picture)]).collect()
            }
        };
        largest(rewards.into_iter().flatten()).is_some_and(|largest| largest <= 0.0)
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

    /// Writes what is named; the page is made before anything is written.
    fn write(&self, credit: &Credit) -> Result<(), Failure> {
        let page = self.page.as_ref().map(|path| page::of(credit).map(|page| (path, page))).transpose()?;
        match (credit, self.lines.as_deref()) {
            (_, None) => {}
            (Credit::Text(credit), Some(out)) => write_lines(out, credit.answers.iter().map(CreditedAnswer::to_json))?,
            (Credit::Image(credit), Some(out)) => image::write_credit(credit, out)?,
            (Credit::Pairs(credit), Some(out)) => hybrid::write_credit(credit, out)?,
        }
        page.map_or(Ok(()), |(path, page)| page::write(path, &page))
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

//! Which denoising steps and which regions of a picture the reward is laid on.
pub(super) mod maps;
mod output;
mod rivals;
#[cfg(test)]
mod tests;

use std::path::Path;

use ::report::heat::Scale;
use datasets::images::{ImageKind, Pixels, TensorKind, column_names, picture_kind, tensor_kind};
use datasets::synthetic::Split;
use mdp::diffusion::{Latent, LatentShape};
use objectives::{Comparison, Demonstration};
use policies::BoxError;
use train::Source as _;
use train::diffusion::FromImages;

use self::maps::{Errors, RewardMaps};
use super::measures::{Bootstrap, auroc};
use super::needed;
use super::steps::{Drawn, StepSummary};
use super::summary::{CreditSummary, Kind, Words, labelled, summarise};
use crate::embedded::{EmbeddedImages, WrongPixels, is_embedded};
use crate::judged_pairs::is_pair_folder;
use crate::score::diffusion::{PictureScoring, check_pair};
use crate::settings::{Loss, Values};
use crate::{Call, Failure, denoiser};

pub(super) use self::output::Lines;

/// The kinds of credit, each with its name and its title. More is better for all of them.
const MEASURES: [Kind; 6] = [
    ("reward", "reward"),
    ("policy", "policy error alone"),
    ("reference", "reference error alone"),
    ("centre", "distance to the centre"),
    ("brightness", "brightness"),
    ("contrast", "contrast"),
];

/// The words of the table.
const WORDS: Words = Words { examples: "pictures", regions: "regions", places: "pixels" };

/// Draws of a picture unless the settings say otherwise.
const DRAWS: usize = 16;

/// Embedded examples unless the settings say otherwise.
const BUILTIN_EXAMPLES: usize = 128;

/// Examples whose pictures are on a page.
pub(super) const SHOWN: usize = 48;

/// The credit of all pictures, and where it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageCredit {
    /// The pictures, in the data's order: of a pair the better one first.
    pub pictures: Vec<CreditedPicture>,
    /// Where in the timesteps the reward lies.
    pub steps: StepSummary,
    /// How well wrong pixels are found; `None` where no picture has one that is known.
    pub summary: Option<CreditSummary>,
    /// Pairs with a margin above 0, of how many; `None` of single pictures.
    pub accuracy: Option<(usize, usize)>,
}

/// A picture with the credit of its draws and places.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditedPicture {
    /// The number of its example, from 0.
    pub index: usize,
    /// `chosen` or `rejected` of a pair, or `image`.
    pub side: &'static str,
    /// Its caption, where it is known.
    pub caption: Option<String>,
    /// Rows and columns of its maps: of latents where the model has an autoencoder.
    pub grid: (usize, usize),
    /// The timestep of each draw.
    pub timesteps: Vec<usize>,
    /// The reward of each draw; their sum is the reward of the picture.
    pub draws: Vec<f64>,
    /// The credit by kind: its name, and a number for each place, row by row. The first is `reward`, which adds up to the
    /// reward of the picture; errors are negative means over draws, so that more is better.
    pub columns: Vec<(&'static str, Vec<f64>)>,
    /// By part of the timesteps, the map of the reward if all draws were there; `None` without draws.
    pub by_steps: Vec<Option<Vec<f64>>>,
    /// Whether each place is wrong, where that is known.
    pub wrong: Option<Vec<bool>>,
    /// What it looks like, where it is asked for: at most as large as the model makes it.
    pub pixels: Option<Pixels>,
    /// The summed squared errors over all draws, of the policy and of the reference.
    pub errors: (f64, f64),
}

impl CreditedPicture {
    /// A picture of its maps, with two of its kinds of error.
    pub(super) fn of((index, side): (usize, &'static str), (height, width): (usize, usize), maps: RewardMaps) -> Self {
        let n = maps.timesteps.len().max(1) as f64;
        let mean = |map: &[f64]| map.iter().map(|error| -error / n).collect::<Vec<f64>>();
        let columns = vec![
            (MEASURES[0].0, maps.reward),
            (MEASURES[1].0, mean(&maps.error)),
            (MEASURES[2].0, mean(&maps.reference_error)),
        ];
        let errors = (maps.error.iter().sum(), maps.reference_error.iter().sum());
        let (timesteps, draws, by_steps) = (maps.timesteps, maps.of_draws, maps.by_steps);
        let grid = (height, width);
        let (caption, wrong, pixels) = (None, None, None);
        Self { index, side, caption, grid, timesteps, draws, columns, by_steps, wrong, pixels, errors }
    }

    /// The reward: beta and weights times the reference's error less the policy's.
    pub fn reward(&self) -> f64 {
        self.draws.iter().sum()
    }

    /// The map of the reward.
    pub fn map(&self) -> &[f64] {
        &self.columns[0].1
    }
}

impl ImageCredit {
    /// The examples: one picture, or two of a pair.
    pub fn examples(&self) -> impl Iterator<Item = &[CreditedPicture]> {
        self.pictures.chunk_by(|a, b| a.index == b.index)
    }

    /// The scale of colours of whole maps.
    pub fn scale(&self) -> Scale {
        Scale::of_differences(self.pictures.iter().flat_map(|picture| picture.map().iter().copied()))
    }
}

/// Lays the reward of pictures on draws and places; a page shows the first of them.
pub(super) fn credit(call: &Call<'_>, has_page: bool) -> Result<ImageCredit, Failure> {
    let mut call = Call { values: call.values.clone(), reporter: call.reporter };
    let name = needed(call.values.model.model(), "credit needs `model.model`")?;
    let without = "credit needs `model.reference`: the model before it learned preferences";
    needed(call.values.model.reference(), without)?;
    let single = prepare(&mut call.values)?;
    let beta = crate::score::beta(&call.values)?;
    let scored = PictureScoring::open(&name, Split::Test, &call)?;
    let bins = parts(&call.values, scored.mdp.schedule.len())?;
    let asked = PictureCrediting { scored: &scored, beta, bins, is_shown: has_page };
    let pictures = if single { asked.all::<Demonstration>(&call)? } else { asked.all::<Comparison>(&call)? };
    Ok(assemble(pictures, (bins, scored.mdp.schedule.len()), call.values.run.seed()))
}

/// Writes a line for each picture.
pub(super) fn write_credit(credit: &ImageCredit, out: &Path) -> Result<(), Failure> {
    let mut lines = Lines::new(out);
    credit.pictures.iter().try_for_each(|picture| lines.push_picture(picture))?;
    lines.finish()
}

/// Sets defaults, and says whether the data are single pictures.
fn prepare(values: &mut Values) -> Result<bool, Failure> {
    denoiser::general_presets(values);
    values.preset(|settings| {
        settings.diffusion.draws_per_pair = Some(DRAWS);
        if settings.data.data.first().is_some_and(is_embedded) {
            settings.data.limit = Some(BUILTIN_EXAMPLES);
        }
    });
    // The config file of a training run may set another share.
    values.set(|settings| settings.data.eval_share = 0.0);
    let single = match (values.data.latents(), values.data.data()) {
        (Some(path), _) => tensor_kind(Path::new(path))? == TensorKind::Latents(ImageKind::Captioned),
        (None, Some(name)) if is_embedded(name) => {
            let known = EmbeddedImages::all().find(|(images, _)| images.name == name);
            known.is_some_and(|(images, _)| (images.example)(0, Split::Test, 0).pictures.len() == 1)
        }
        (None, Some(name)) if is_pair_folder(Path::new(name)) => false,
        (None, Some(name)) => {
            refuse_spans(Path::new(name))?;
            picture_kind(Path::new(name))? == Some(ImageKind::Captioned)
        }
        (None, None) => return Err(Failure::usage("credit needs `data.data` or `data.latents`")),
    };
    values.set(|settings| settings.objective.name = if single { Loss::Sft } else { Loss::Dpo });
    Ok(single)
}

/// Refuses records that say which characters are wrong.
fn refuse_spans(path: &Path) -> Result<(), Failure> {
    let Some((origin, names)) = column_names(path)? else { return Ok(()) };
    if !names.iter().any(|name| name == "spans") {
        return Ok(());
    }
    let text =
        "`spans` are of texts, and these are pictures; which of their pixels are wrong is known of embedded data alone";
    Err(Failure::failed(format!("{origin}: {text}")))
}

/// How many equal parts the timesteps are put in.
pub(super) fn parts(values: &Values, n_timesteps: usize) -> Result<usize, Failure> {
    let bins = values.credit.timestep_bins();
    if (1..=n_timesteps).contains(&bins) {
        return Ok(bins);
    }
    Err(Failure::usage(format!("`credit.timestep_bins` takes 1 to {n_timesteps}, the model's timesteps, not {bins}")))
}

/// What is asked of a model and its data.
struct PictureCrediting<'a> {
    scored: &'a PictureScoring,
    beta: f64,
    bins: usize,
    /// Whether there is a page, which shows pictures.
    is_shown: bool,
}

impl PictureCrediting<'_> {
    fn all<F: FromImages>(&self, call: &Call<'_>) -> Result<Vec<CreditedPicture>, Failure> {
        let PictureScoring { mdp, policy, reference: Some(reference), .. } = self.scored else {
            return Err(Failure::usage("credit needs `model.reference`"));
        };
        let errors = Errors { mdp, policy, reference, beta: self.beta, bins: self.bins };
        let source = self.scored.source::<F>();
        let bar = call.reporter.bar("credit", source.len());
        let mut pictures = Vec::new();
        for index in 0..source.len() {
            let failed = |error: BoxError| Failure::failed(format!("example {index}: {error}"));
            let episodes = source.item(index).map_err(failed)?.episodes;
            check_pair(episodes.len()).map_err(failed)?;
            let maps = errors.split(&episodes).map_err(failed)?;
            pictures.extend(self.of_example(index, maps)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(pictures)
    }

    fn of_example(&self, index: usize, maps: Vec<RewardMaps>) -> Result<Vec<CreditedPicture>, Failure> {
        let data = &self.scored.data;
        let failed = |error: BoxError| Failure::failed(format!("example {index}: {error}"));
        let caption = data.train.caption(index).map_err(failed)?;
        let example = data.train.example(index).map_err(failed)?;
        let sides: &[&'static str] = if maps.len() == 1 { &["image"] } else { &["chosen", "rejected"] };
        let mut pictures = Vec::with_capacity(maps.len());
        for ((maps, side), finished) in maps.into_iter().zip(sides).zip(&example.sides) {
            let mut picture = CreditedPicture::of((index, side), (data.shape.height, data.shape.width), maps);
            picture.caption.clone_from(&caption);
            let is_shown = self.is_shown && index < SHOWN;
            if is_shown || data.wrong_pixels.is_some() {
                picture.pixels = pixels(&self.scored.loaded, data.shape, &finished.latent)?;
            }
            if let Some(wrong_pixels) = data.wrong_pixels {
                compare(&mut picture, wrong_pixels);
            }
            pictures.push(picture);
        }
        Ok(pictures)
    }
}

/// What a latent looks like; `None` where no autoencoder is there to say.
pub(super) fn pixels(
    loaded: &denoiser::Loaded,
    shape: LatentShape,
    latent: &Latent,
) -> Result<Option<Pixels>, Failure> {
    if loaded.vae.is_none() && ![1, 3].contains(&shape.channels) {
        return Ok(None);
    }
    denoiser::decode(loaded.vae.as_deref(), shape, latent).map(Some)
}

/// Adds which pixels are wrong, and the rivals that need no model.
fn compare(picture: &mut CreditedPicture, wrong_pixels: WrongPixels) {
    let (Some(pixels), Some(caption)) = (&picture.pixels, &picture.caption) else { return };
    if (pixels.height(), pixels.width()) != picture.grid {
        return;
    }
    picture.wrong = wrong_pixels(caption, pixels);
    let rivals =
        [rivals::centre(pixels.height(), pixels.width()), rivals::brightness(pixels), rivals::contrast(pixels)];
    picture.columns.extend(MEASURES[3..].iter().map(|(name, _)| *name).zip(rivals));
}

/// Summarises pictures by timesteps and regions.
fn assemble(pictures: Vec<CreditedPicture>, (bins, n): (usize, usize), seed: u64) -> ImageCredit {
    let examples: Vec<&[CreditedPicture]> = pictures.chunk_by(|a, b| a.index == b.index).collect();
    let is_paired = examples.iter().all(|sides| sides.len() == 2);
    let names: &[&'static str] = if is_paired { &["chosen", "rejected", "margin"] } else { &["reward"] };
    let drawn: Vec<Drawn> = examples.iter().map(|sides| drawn(sides)).collect();
    let mut steps = StepSummary::of(names, &drawn, (bins, n), seed);
    let margin = |sides: &[CreditedPicture]| sides[0].reward() - sides[1].reward();
    let positive = examples.iter().filter(|sides| is_paired && margin(sides) > 0.0).count();
    let accuracy = is_paired.then_some((positive, examples.len()));
    let known: Vec<&CreditedPicture> =
        pictures.iter().filter(|picture| picture.wrong.as_ref().is_some_and(|wrong| wrong.contains(&true))).collect();
    let summary = regions(&known, seed);
    find_by_steps(&mut steps, &known, seed);
    ImageCredit { pictures, steps, summary, accuracy }
}

/// The rewards of an example's draws by side, and of a pair their margin.
pub(super) fn drawn(sides: &[CreditedPicture]) -> Drawn {
    let mut rewards: Vec<Vec<f64>> = sides.iter().map(|side| side.draws.clone()).collect();
    if let [chosen, rejected] = sides {
        rewards.push(chosen.draws.iter().zip(&rejected.draws).map(|(chosen, rejected)| chosen - rejected).collect());
    }
    Drawn { timesteps: sides.first().map_or_else(Vec::new, |side| side.timesteps.clone()), rewards }
}

/// How well each kind of credit finds the wrong pixels.
fn regions(known: &[&CreditedPicture], seed: u64) -> Option<CreditSummary> {
    let n = known.first()?.columns.len();
    let of = |column: usize| known.iter().map(|picture| picture.columns[column].1.clone()).collect();
    let credit: Vec<Vec<Vec<f64>>> = (0..n).map(of).collect();
    let wrong: Vec<Vec<bool>> = known.iter().filter_map(|picture| picture.wrong.clone()).collect();
    summarise(&MEASURES, &credit, &wrong, (seed, WORDS))
}

/// How well the map of each part of the timesteps finds the wrong pixels, over pictures that have draws there.
fn find_by_steps(steps: &mut StepSummary, known: &[&CreditedPicture], seed: u64) {
    let bins = steps.rows.len();
    let rows = steps.rows.iter_mut().map(Some).chain([None]).enumerate();
    let mut whole = None;
    for (bin, row) in rows {
        let of = |picture: &&CreditedPicture| {
            let map = if bin == bins { Some(picture.map().to_vec()) } else { picture.by_steps[bin].clone() };
            map.zip(picture.wrong.clone())
        };
        let (maps, wrong): (Vec<Vec<f64>>, Vec<Vec<bool>>) = known.iter().filter_map(of).unzip();
        let found = auroc(&labelled(&maps, &wrong), &Bootstrap::new(seed, maps.len()));
        match row {
            Some(row) => row.auroc = found,
            None => whole = found,
        }
    }
    steps.whole.auroc = whole;
}

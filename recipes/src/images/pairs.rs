//! Judged pairs of pictures from a folder that `sample` made (`label.pairs`).
use std::path::Path;
use std::sync::Arc;

use datasets::holdout::{PromptHash, hold_out};
use datasets::pairs::Modality;
use mdp::diffusion::{Latent, LatentShape};
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};

use super::{Captions, ImageData};
use crate::denoiser::Loaded;
use crate::judged_pairs::{JudgedPairs, mark, prior_noise};
use crate::settings::{Loss, NoiseName};
use crate::{Call, Failure, holdout};

/// The losses without ties.
const TAKES_NO_TIES: [Loss; 4] = [Loss::Kto, Loss::PlackettLuce, Loss::Aot, Loss::AotUnpaired];

/// Some judged pairs of a folder.
struct JudgedImages {
    judged: Arc<JudgedPairs>,
    rows: Vec<usize>,
    captions: Arc<Captions>,
    /// The folder's seed and the size of its latents, where each side gets the noise from which it was made.
    prior: Option<(u64, usize)>,
}

impl Images for JudgedImages {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let row = *self.rows.get(index).ok_or_else(|| format!("there is no example {index}"))?;
        let preference = &self.judged.preferences[row];
        let condition = self.captions.condition(request(&self.judged, row))?;
        let side = |side| -> Result<Finished, BoxError> {
            Ok(Finished { latent: self.judged.latent(preference, side)?.into(), condition: Arc::clone(&condition) })
        };
        let [better, worse] = preference.order();
        Ok(ImageExample { sides: vec![side(better)?, side(worse)?], preference: preference.strength() })
    }

    fn caption(&self, index: usize) -> Result<Option<String>, BoxError> {
        let row = *self.rows.get(index).ok_or_else(|| format!("there is no example {index}"))?;
        Ok(Some(request(&self.judged, row).to_owned()))
    }

    fn prior_noise(&self, index: usize) -> Result<Option<Vec<Latent>>, BoxError> {
        let Some((seed, size)) = self.prior else { return Ok(None) };
        let row = *self.rows.get(index).ok_or_else(|| format!("there is no example {index}"))?;
        let preference = &self.judged.preferences[row];
        let pair = self.judged.folder.get(preference.index).ok_or_else(|| format!("there is no pair {row}"))?;
        let noise = |side| prior_noise(seed, pair.side(side).seed, size);
        Ok(Some(preference.order().map(noise).to_vec()))
    }
}

/// The seed of a folder whose sides this program drew from streams of noise that are theirs: the noise of each can be drawn again.
fn seed_of(judged: &JudgedPairs) -> Result<u64, Failure> {
    let settings = judged.folder.settings();
    let path = judged.folder.path().display();
    if settings.get("search").is_some_and(|search| !search.is_null()) {
        return Err(Failure::failed(format!(
            "{path}: its pictures were searched for, so `diffusion.noise` prior is not known"
        )));
    }
    let seed = settings.get("seed").and_then(serde_json::Value::as_u64);
    seed.ok_or_else(|| {
        Failure::failed(format!(
            "{path}: `diffusion.noise` prior needs the `seed` of its settings, which `sample` writes"
        ))
    })
}

/// The distinct captions of some pairs, in order.
fn distinct<'a>(captions: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for caption in captions {
        if found.len() < 64 && !found.iter().any(|known| known == caption) {
            found.push(caption.to_owned());
        }
    }
    found
}

/// The judged pairs of a folder, and the shape of their latents, which is the model's.
fn judged(path: &Path, loaded: &Loaded, call: &Call<'_>) -> Result<(Arc<JudgedPairs>, LatentShape), Failure> {
    let mut judged = JudgedPairs::open(path, &[Modality::Diffusion], &call.values, call.reporter)?;
    if TAKES_NO_TIES.contains(&call.values.objective.name()) {
        judged.leave_ties_out(path)?;
    }
    call.reporter.info(judged.describe());
    let missing = || Failure::failed(format!("{}: there are no latents", path.display()));
    let shape = judged.folder.latent_shape().ok_or_else(missing)?;
    let ours = loaded.shape(&call.values)?;
    if shape != ours {
        return Err(Failure::failed(format!("{}: latents of {shape}, the model makes {ours}", path.display())));
    }
    Ok((Arc::new(judged), shape))
}

/// Opens a folder of judged pairs; all pairs of a request go to the same side of the hold-out.
pub(super) fn open(path: &Path, loaded: &Loaded, call: &Call<'_>) -> Result<ImageData, Failure> {
    let values = &call.values;
    let (judged, shape) = judged(path, loaded, call)?;
    let is_prior = values.diffusion.noise() == NoiseName::Prior;
    let prior = is_prior.then(|| Ok::<_, Failure>((seed_of(&judged)?, shape.size()))).transpose()?;
    let n = judged.preferences.len().min(values.data.limit().unwrap_or(usize::MAX));
    let share = holdout::eval_share(values)?;
    let requests: Vec<&str> = (0..n).map(|row| request(&judged, row)).collect();
    let (rest, held_out) = hold_out(requests.iter().copied().map(PromptHash::of_plain), share, values.run.seed())?;
    holdout::check_rest(share, rest.len(), n, "pairs")?;
    let captions = Arc::new(Captions::new(loaded, shape));
    captions.say_cut(&requests, call.reporter)?;
    let watched_captions = distinct(held_out.iter().chain(&rest).map(|&row| request(&judged, row)));
    let images = |rows| -> Arc<dyn Images> {
        Arc::new(JudgedImages { judged: Arc::clone(&judged), rows, captions: Arc::clone(&captions), prior })
    };
    Ok(ImageData {
        fingerprint: format!(
            "{} {n} {share}{} {}",
            judged.fingerprint(),
            mark(&held_out),
            loaded.encoders_fingerprint()?
        ),
        held_out: (!held_out.is_empty()).then(|| images(held_out)),
        train: images(rest),
        shape,
        captions: Arc::clone(&captions),
        rows: None,
        problem: None,
        wrong_pixels: None,
        watched_captions,
        summary: format!("; latents of {shape}"),
    })
}

fn request(judged: &JudgedPairs, row: usize) -> &str {
    judged.folder.get(judged.preferences[row].index).map_or("", |pair| &pair.request)
}

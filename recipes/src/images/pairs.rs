//! Judged pairs of pictures from a folder that `sample` made (`label.pairs`).
use std::path::Path;
use std::sync::Arc;

use datasets::holdout::{PromptHash, hold_out};
use datasets::pairs::Modality;
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};

use super::{Captions, ImageData};
use crate::denoiser::Loaded;
use crate::judged_pairs::{JudgedPairs, mark};
use crate::{Call, Failure, holdout};

/// Some judged pairs of a folder.
struct JudgedImages {
    judged: Arc<JudgedPairs>,
    rows: Vec<usize>,
    captions: Arc<Captions>,
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

/// Opens a folder of judged pairs; all pairs of a request go to the same side of the hold-out.
pub(super) fn open(path: &Path, loaded: &Loaded, call: &Call<'_>) -> Result<ImageData, Failure> {
    let values = &call.values;
    let judged = Arc::new(JudgedPairs::open(path, &[Modality::Diffusion], values, call.reporter)?);
    call.reporter.info(judged.describe());
    let missing = || Failure::failed(format!("{}: there are no latents", path.display()));
    let shape = judged.folder.latent_shape().ok_or_else(missing)?;
    let ours = loaded.shape(values)?;
    if shape != ours {
        return Err(Failure::failed(format!("{}: latents of {shape}, the model makes {ours}", path.display())));
    }
    let n = judged.preferences.len().min(values.data.limit().unwrap_or(usize::MAX));
    let share = holdout::eval_share(values)?;
    let requests: Vec<&str> = (0..n).map(|row| request(&judged, row)).collect();
    let (rest, held_out) = hold_out(requests.iter().copied().map(PromptHash::of_plain), share, values.run.seed())?;
    holdout::check_rest(share, rest.len(), n, "pairs")?;
    let captions = Arc::new(Captions::new(loaded, shape));
    captions.say_cut(&requests, call.reporter)?;
    let watched_captions = distinct(held_out.iter().chain(&rest).map(|&row| request(&judged, row)));
    let images = |rows| -> Arc<dyn Images> {
        Arc::new(JudgedImages { judged: Arc::clone(&judged), rows, captions: Arc::clone(&captions) })
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

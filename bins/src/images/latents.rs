//! Latents from a file, with what is told of them.
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use datasets::images::{HiddenValues, ImageKind, LatentContext, LatentShape, Latents};
use policies::BoxError;
use policies::denoiser::{Condition, Conditioning, Hidden, Shape};
use train::diffusion::{Finished, ImageExample, Images};

use super::{Captions, Opened};
use crate::Failure;
use crate::denoiser::Loaded;
use crate::values::Values;

/// A file of latents by position; equal contexts are one condition.
pub(super) struct LatentImages {
    pub(super) latents: Latents,
    pub(super) positions: Vec<usize>,
    conditions: Mutex<std::collections::HashMap<usize, Condition>>,
}

/// Conditions that are kept; beyond that all are forgotten and read again.
const KEPT: usize = 4096;

impl LatentImages {
    pub(super) fn new(latents: Latents, positions: Vec<usize>) -> Self {
        Self { latents, positions, conditions: Mutex::default() }
    }

    /// The condition of a row of the contexts, once in memory.
    fn condition(&self, row: Option<usize>, context: &LatentContext) -> Condition {
        let Some(row) = row else { return Arc::new(conditioning(context)) };
        let mut kept = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        Arc::clone(kept.entry(row).or_insert_with(|| Arc::new(conditioning(context))))
    }
}

impl Images for LatentImages {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let position = *self.positions.get(index).ok_or("there is no such example")?;
        let pair = self.latents.get(position)?;
        let shared = Arc::ptr_eq(&pair.chosen_context, &pair.rejected_context);
        let chosen = self.condition(shared.then(|| self.latents.context_row(position)), &pair.chosen_context);
        let rejected = if shared { Arc::clone(&chosen) } else { self.condition(None, &pair.rejected_context) };
        let mut sides = vec![Finished { latent: pair.chosen, condition: chosen }];
        sides.extend(pair.rejected.map(|latent| Finished { latent, condition: rejected }));
        Ok(ImageExample { sides, preference: 1.0 })
    }
}

/// What a denoiser is told, from what a file says.
pub(crate) fn conditioning(context: &LatentContext) -> Conditioning {
    let hidden = context.hidden.as_ref().map(|HiddenValues { values, length, width }| Hidden {
        values: values.clone(),
        length: *length,
        width: *width,
    });
    Conditioning { hidden, pooled: context.pooled.clone(), time_ids: context.time_ids }
}

/// What a file says, from what a denoiser is told.
pub(crate) fn context(conditioning: &Conditioning) -> LatentContext {
    let hidden = conditioning.hidden.as_ref().map(|Hidden { values, length, width }| HiddenValues {
        values: values.clone(),
        length: *length,
        width: *width,
    });
    LatentContext { hidden, pooled: conditioning.pooled.clone(), time_ids: conditioning.time_ids }
}

/// Which examples are wanted of a file.
pub(crate) fn kind(values: &Values) -> ImageKind {
    if values.word("objective.name") == "sft" { ImageKind::Captioned } else { ImageKind::Pairs }
}

/// The shape of a file's latents.
pub(crate) fn to_shape(LatentShape { channels, height, width }: LatentShape) -> Shape {
    Shape { height, width, channels }
}

/// Contexts that the model can't read are refused before there is a folder.
fn check_context(path: &Path, latents: &Latents, loaded: &Loaded) -> Result<(), Failure> {
    let Some(width) = loaded.context_width() else { return Ok(()) };
    let found = latents.get(0)?.chosen_context.hidden.as_ref().map(|hidden| hidden.width);
    if found == Some(width) {
        return Ok(());
    }
    let found = found.map_or_else(|| "there are none in it".to_owned(), |found| format!("its own have width {found}"));
    Err(Failure::failed(format!("{}: the model reads contexts of width {width}, and {found}", path.display())))
}

/// Opens `--latents`; the last share of the examples is held out.
pub(super) fn open(path: &Path, loaded: &Loaded, values: &Values) -> Result<Opened, Failure> {
    let latents = Latents::open(path, kind(values))?;
    let shape = to_shape(latents.shape());
    check_context(path, &latents, loaded)?;
    let n = latents.len().min(values.count("data.limit").unwrap_or(usize::MAX));
    let share = super::eval_share(values)?;
    let held_out = if share > 0.0 { ((n as f64 * share).ceil() as usize).min(n - 1) } else { 0 };
    let empty = latents.empty_context()?.map(|context| Arc::new(conditioning(&context)));
    let fingerprint = format!("{} {n} {held_out}", latents.fingerprint());
    let held_out_images: Option<Arc<dyn Images>> = if let Some(other) = values.text("data.eval_data") {
        let latents = Latents::open(Path::new(other), kind(values))?;
        if to_shape(latents.shape()) != shape {
            return Err(Failure::failed(format!("--eval-data {other}: latents of another shape than {shape}")));
        }
        let all = (0..latents.len()).collect();
        Some(Arc::new(LatentImages::new(latents, all)))
    } else if held_out > 0 {
        let latents = Latents::open(path, kind(values))?;
        Some(Arc::new(LatentImages::new(latents, (n - held_out..n).collect())))
    } else {
        None
    };
    let kept = if values.text("data.eval_data").is_some() { n } else { n - held_out };
    Ok(Opened {
        train: Arc::new(LatentImages::new(latents, (0..kept).collect())),
        held_out: held_out_images,
        shape,
        fingerprint,
        captions: Arc::new(Captions::new(loaded, shape).with_empty(empty)),
        is_shapes: false,
        wishes: Vec::new(),
        said: String::new(),
    })
}

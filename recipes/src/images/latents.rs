//! Latent files with their captions or contexts.
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use datasets::holdout::{PromptHash, hold_out};
use datasets::images::{HiddenValues, ImageKind, LatentContext, Latents};
use models::denoiser::{Condition, Conditioning, Hidden};
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};

use super::{Captions, ImageData};
use crate::denoiser::Loaded;
use crate::settings::{Loss, Values, at};
use crate::{Failure, holdout};

/// A latent file by index; examples with equal contexts share one condition.
pub(super) struct LatentImages {
    pub(super) latents: Latents,
    pub(super) positions: Vec<usize>,
    conditions: Mutex<std::collections::HashMap<usize, Condition>>,
}

/// The capacity of the condition cache; a full cache is cleared.
const KEPT: usize = 4096;

impl LatentImages {
    pub(super) fn new(latents: Latents, positions: Vec<usize>) -> Self {
        Self { latents, positions, conditions: Mutex::default() }
    }

    /// The condition of a context row, cached.
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

    fn caption(&self, index: usize) -> Result<Option<String>, BoxError> {
        let position = *self.positions.get(index).ok_or("there is no such example")?;
        Ok(self.latents.caption(position).map(str::to_owned))
    }
}

/// Converts a file's context into a denoiser's condition.
pub(crate) fn conditioning(context: &LatentContext) -> Conditioning {
    let hidden = context.hidden.as_ref().map(|HiddenValues { values, length, width }| Hidden {
        values: values.clone(),
        length: *length,
        width: *width,
    });
    Conditioning { hidden, pooled: context.pooled.clone(), time_ids: context.time_ids, class: context.class }
}

/// Converts a denoiser's condition into a file's context.
pub(crate) fn context(conditioning: &Conditioning) -> LatentContext {
    let hidden = conditioning.hidden.as_ref().map(|Hidden { values, length, width }| HiddenValues {
        values: values.clone(),
        length: *length,
        width: *width,
    });
    let pooled = conditioning.pooled.clone();
    LatentContext { hidden, pooled, time_ids: conditioning.time_ids, class: conditioning.class }
}

/// The kind of examples to read.
pub(crate) fn kind(values: &Values) -> ImageKind {
    if values.objective.name() == Loss::Sft { ImageKind::Captioned } else { ImageKind::Pairs }
}

/// Refuses contexts that the model can't read, before a run folder is made.
fn check_context(path: &Path, latents: &Latents, loaded: &Loaded) -> Result<(), Failure> {
    let told = latents.get(0)?.chosen_context;
    let hidden = told.hidden.as_ref().map(|hidden| hidden.width);
    let parts = [
        ("contexts", loaded.context_width(), hidden),
        ("pooled texts (`pooled`)", loaded.pooled_width(), told.pooled.as_ref().map(Vec::len)),
    ];
    for (what, width, found) in parts {
        let Some(width) = width.filter(|width| found != Some(*width)) else { continue };
        let found =
            found.map_or_else(|| "there are none in it".to_owned(), |found| format!("its own have width {found}"));
        let text = format!("{}: the model reads {what} of width {width}, and {found}", path.display());
        return Err(Failure::failed(text));
    }
    if loaded.files.config.reads_sizes() && told.time_ids.is_none() {
        let text = format!("{}: the model reads sizes (`time_ids`), and there are none in it", path.display());
        return Err(Failure::failed(text));
    }
    let Some(n) = loaded.files.config.n_classes() else { return Ok(()) };
    let found = match latents.highest_class() {
        Some(class) if class as usize <= n => return Ok(()),
        Some(class) => format!("one of its own is {class}"),
        None => "there are none in it".to_owned(),
    };
    Err(Failure::failed(format!(
        "{}: the model reads classes (`class_labels`) from 0 to {n}, the last for none, and {found}",
        path.display()
    )))
}

/// Caption dropout needs the condition of an empty caption, from the file or an encoder.
fn check_empty(path: &Path, loaded: &Loaded, captions: &Captions, values: &Values) -> Result<(), Failure> {
    let share = values.diffusion.empty_share();
    if share <= 0.0 || loaded.context_width().is_none() {
        return Ok(());
    }
    let (needed, found) = (captions.empty()?.hidden.as_ref().map(|hidden| hidden.width), loaded.context_width());
    if needed == found {
        return Ok(());
    }
    let by = match values.train.preset() {
        Some(preset) if !values.is_typed(&at::diffusion::empty_share) => format!(" (of `train.preset` {preset})"),
        _ => String::new(),
    };
    Err(Failure::usage(format!(
        "{}: `diffusion.empty_share` {share}{by} hides captions, and what the empty caption tells is not known: note its row of \
         `context` as `empty_context` in the file, name a `model.model` with its text_encoder/ and tokenizer/, or give \
         `diffusion.empty_share` 0",
        path.display()
    )))
}

/// Splits `n` examples into training and held-out ones; equal captions or contexts go to the same side.
fn split(latents: &Latents, n: usize, values: &Values) -> Result<(Vec<usize>, Vec<usize>), Failure> {
    let share = holdout::eval_share(values)?;
    if share == 0.0 || values.data.eval_data().is_some() {
        return Ok(((0..n).collect(), Vec::new()));
    }
    let told = (0..n).map(|index| latents.told(index).map(|told| PromptHash::of_plain(&told)));
    let (rest, held_out) = hold_out(told.collect::<Result<Vec<_>, _>>()?, share, values.run.seed())?;
    holdout::check_rest(share, rest.len(), n, "examples")?;
    Ok((rest, held_out))
}

/// Opens `data.latents`; a share of the captions or contexts is held out.
pub(super) fn open(path: &Path, loaded: &Loaded, values: &Values) -> Result<ImageData, Failure> {
    let latents = Latents::open(path, kind(values))?;
    let shape = latents.shape();
    check_context(path, &latents, loaded)?;
    let n = latents.len().min(values.data.limit().unwrap_or(usize::MAX));
    let empty = latents.empty_context()?.map(|context| Arc::new(conditioning(&context)));
    let captions = Captions::new(loaded, shape).with_empty(empty);
    check_empty(path, loaded, &captions, values)?;
    let (rest, held_out) = split(&latents, n, values)?;
    let fingerprint = format!("{} {n} {}", latents.fingerprint(), blake3::hash(format!("{held_out:?}").as_bytes()));
    let held_out_images: Option<Arc<dyn Images>> = if let Some(other) = values.data.eval_data() {
        let latents = Latents::open(Path::new(other), kind(values))?;
        if latents.shape() != shape {
            return Err(Failure::failed(format!("`data.eval_data` {other}: latents of another shape than {shape}")));
        }
        let all = (0..latents.len()).collect();
        Some(Arc::new(LatentImages::new(latents, all)))
    } else if held_out.is_empty() {
        None
    } else {
        Some(Arc::new(LatentImages::new(Latents::open(path, kind(values))?, held_out)))
    };
    Ok(ImageData {
        train: Arc::new(LatentImages::new(latents, rest.clone())),
        held_out: held_out_images,
        rows: Some(rest),
        shape,
        fingerprint,
        captions: Arc::new(captions),
        problem: None,
        wrong_pixels: None,
        watched_captions: Vec::new(),
        summary: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use datasets::images::{ContextLayout, LatentLayout, LatentNotes, LatentShape, LatentWriter};

    use super::*;

    /// Twelve examples with four captions or contexts in turn, each three times.
    fn latents(path: &Path, is_indexed: bool, captions: &[String]) -> Latents {
        let rows = if is_indexed { 4 } else { 12 };
        let shape = LatentShape { channels: 1, height: 1, width: 1 };
        let contexts = ContextLayout { rows, hidden: Some((1, 2)), ..ContextLayout::default() };
        let layout = LatentLayout { kind: ImageKind::Pairs, examples: 12, shape, contexts };
        let mut writer = LatentWriter::create(path, layout).unwrap();
        for example in 0..12 {
            writer.write(example, &[example as f32], Some(&[0.5])).unwrap();
        }
        for row in 0..rows {
            let hidden = HiddenValues { values: vec![(row % 4) as f32, 1.0], length: 1, width: 2 };
            writer.write_context(row, &LatentContext { hidden: Some(hidden), ..LatentContext::default() }).unwrap();
        }
        let context_of: Vec<usize> = if is_indexed { (0..12).map(|example| example % 4).collect() } else { Vec::new() };
        writer.finish(LatentNotes { fingerprint: "", context_of: &context_of, empty: None, captions }).unwrap();
        Latents::open(path, ImageKind::Pairs).unwrap()
    }

    fn held_out(latents: &Latents, seed: &str) -> Vec<usize> {
        let mut values = Values::default();
        for set in ["run.mdp=diffusion", "data.eval_share=0.25", &format!("run.seed={seed}")] {
            values.merge_set(set).unwrap();
        }
        let (rest, held_out) = split(latents, 12, &values).unwrap();
        let mut all = [&rest[..], &held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        held_out
    }

    /// A name, whether examples share rows of contexts, captions, and which examples belong together.
    type Case<'a> = (&'a str, bool, &'a [String], fn(usize) -> usize);

    #[test]
    fn what_is_told_is_held_out_whole_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let captions: Vec<String> = (0..12).map(|example| format!("caption {}", example / 3)).collect();
        let cases: [Case<'_>; 3] = [
            ("rows", true, &[], |example| example % 4),
            ("values", false, &[], |example| example % 4),
            ("captions", true, &captions, |example| example / 3),
        ];
        for (name, is_indexed, captions, group) in cases {
            let latents = latents(&folder.path().join(name), is_indexed, captions);
            let mut seen = std::collections::BTreeSet::new();
            for seed in ["0", "1", "2", "3", "4", "5", "6", "7"] {
                let held_out = held_out(&latents, seed);
                assert_eq!(held_out, self::held_out(&latents, seed));
                if !captions.is_empty() {
                    // Files of pictures hold out the same captions.
                    let captions = captions.iter().map(|caption| PromptHash::of_plain(caption));
                    assert_eq!(held_out, hold_out(captions, 0.25, seed.parse().unwrap()).unwrap().1);
                }
                assert_eq!(held_out.len(), 3, "{name}, seed {seed}");
                assert!(held_out.iter().all(|&example| group(example) == group(held_out[0])), "{name}: {held_out:?}");
                seen.insert(group(held_out[0]));
            }
            assert!(seen.len() > 1, "{name}: {seen:?}");
        }
    }
}

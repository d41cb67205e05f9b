//! Hybrid pairs from disk: pair folders with judgements, and records.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datasets::holdout::{PromptHash, hold_out};
use datasets::pairs::{self, HybridRecord, Refined};
use mdp::diffusion::Latent;
use models::Prompted;
use policies::BoxError;
use train::diffusion::Images;
use train::token::Examples;

use super::complete::{Completing, asked, complete, say_missing};
use super::{HybridData, JudgedPair, PairData, PairSource, RefinedSide};
use crate::hybrid::Files;
use crate::judged_pairs::{JudgedPairs, mark};
use crate::{Call, Failure, holdout};

/// Opens the judged pairs of a pair folder that are not ties, or records from other programs.
pub(super) fn open<'a>(
    path: &Path,
    (files, handoff): (&'a Files, &'a Prompted),
    call: &Call<'_>,
    completing: Option<Completing<'_>>,
) -> Result<HybridData<'a>, Failure> {
    let values = &call.values;
    let is_asked = completing.is_some() && asked(values)? > 0;
    let completing = completing.filter(|_| is_asked);
    let (pairs, fingerprint): (Arc<dyn PairSource>, String) = if path.is_dir() {
        let folder =
            FolderPairs::open(path, files, call, completing.map_or(Completes::Nothing, |_| Completes::Prompts))?;
        let fingerprint = folder.0.fingerprint();
        (Arc::new(folder), fingerprint)
    } else {
        let records = RecordPairs::open(path, files)?;
        let fingerprint = records.fingerprint()?;
        (Arc::new(records), fingerprint)
    };
    let n = pairs.len().min(values.data.limit().unwrap_or(usize::MAX));
    let (pairs, completions) = if let Some(completing) = completing {
        complete(pairs, n, (files, handoff), (call, completing))?
    } else {
        say_missing(&*pairs, n, call)?;
        (pairs, None)
    };
    let data = |rows| PairData { pairs: Arc::clone(&pairs), rows, prompt_format: &files.prompt_format, handoff };
    let all = data((0..n).collect());
    check_all(&all, path, files)?;
    check_texts(&all, path, call)?;
    if handoff.truncated() > 0 {
        let n = handoff.truncated();
        call.reporter.info(&format!(
            "{n} different refined prompts are longer than the text encoder reads; it does not see their end"
        ));
    }
    let share = holdout::eval_share(values)?;
    let prompts = (0..n).map(|row| all.pairs.request(row).map(|request| PromptHash::of_plain(&request)));
    let prompts = prompts.collect::<Result<Vec<_>, _>>().map_err(|error| Failure::failed(error.to_string()))?;
    let (rest, held_out) = hold_out(prompts, share, values.run.seed())?;
    holdout::check_rest(share, rest.len(), n, "pairs")?;
    let completed = completions.as_ref().map_or(String::new(), |lines| format!(" {}", blake3::hash(lines.as_bytes())));
    let fingerprint = format!("{fingerprint} {n} {share}{}{completed}", mark(&held_out));
    let held_out = (!held_out.is_empty()).then(|| data(held_out));
    Ok(HybridData { train: data(rest), held_out, fingerprint, completions, problem: None })
}

/// Reads every picture and prompt once, so that broken data is reported before training.
fn check_all(all: &PairData<'_>, path: &Path, files: &Files) -> Result<(), Failure> {
    for index in 0..all.len() {
        let broken = |error: BoxError| Failure::failed(format!("{}: pair {index}: {error}", path.display()));
        Examples::example(all, index).map_err(broken)?;
        let images = Images::example(all, index).map_err(broken)?;
        if let Some(side) = images.sides.iter().find(|side| side.latent.len() != files.shape.size()) {
            let (found, ours) = (side.latent.len(), files.shape);
            let text = format!("{}: pair {index}: {found} numbers, the generator makes {ours}", path.display());
            return Err(Failure::failed(text));
        }
    }
    Ok(())
}

/// Checks that tokens decode to the recorded prompts and that the generator's tokenizer distinguishes prompts; counts
/// empty ones.
fn check_texts(all: &PairData<'_>, path: &Path, call: &Call<'_>) -> Result<(), Failure> {
    let broken = |error: BoxError| Failure::failed(format!("{}: {error}", path.display()));
    let (mut texts, mut n_empty) = (BTreeSet::new(), 0);
    for index in 0..all.len() {
        for side in all.judged(index).map_err(broken)?.sides {
            if !side.tokens.is_empty() && !side.is_null {
                let read = all.handoff.text(&side.tokens)?;
                if read != side.text.trim() {
                    let text = format!(
                        "{}: pair {index}: the refiner's tokenizer reads its tokens as {read:?}, and its refined prompt \
                         is {:?}: another refiner, with another tokenizer, made these pairs",
                        path.display(),
                        side.text
                    );
                    return Err(Failure::failed(text));
                }
            }
            let text = if side.tokens.is_empty() { side.text } else { all.handoff.text(&side.tokens)? };
            n_empty += usize::from(text.is_empty());
            texts.insert(text);
        }
    }
    let conditions = texts.iter().map(|text| all.handoff.condition(text)).collect::<Result<Vec<_>, _>>()?;
    if conditions.len() > 1 && conditions.iter().all(|condition| *condition == conditions[0]) {
        let text = format!(
            "{}: the generator's tokenizer reads all {} different refined prompts alike, so the refiner's text does not \
             fit it",
            path.display(),
            texts.len()
        );
        return Err(Failure::failed(text));
    }
    if n_empty > 0 {
        call.reporter.info(&format!("{n_empty} refined prompts are empty; the generator is told nothing by them"));
    }
    Ok(())
}

/// What is done about pairs without refined prompts.
#[derive(Clone, Copy)]
enum Completes {
    Nothing,
    Prompts,
}

/// A pair folder's judged pairs.
struct FolderPairs(JudgedPairs);

impl FolderPairs {
    /// Opens a folder of hybrid pairs, or of a denoiser's pairs, which have no refined prompts, to complete them.
    fn open(path: &Path, files: &Files, call: &Call<'_>, completes: Completes) -> Result<Self, Failure> {
        let modalities: &[pairs::Modality] = match completes {
            Completes::Nothing => &[pairs::Modality::Hybrid],
            Completes::Prompts => &[pairs::Modality::Hybrid, pairs::Modality::Diffusion],
        };
        let judged = JudgedPairs::open(path, modalities, &call.values, call.reporter)?;
        if let Some(shape) = judged.folder.latent_shape() {
            let ours = files.shape;
            if (shape.height, shape.width, shape.channels) != (ours.height, ours.width, ours.channels) {
                let text = format!("{}: latents of {shape:?}, the generator makes {ours}", path.display());
                return Err(Failure::failed(text));
            }
        }
        call.reporter.info(judged.describe());
        Ok(Self(judged))
    }
}

impl PairSource for FolderPairs {
    fn len(&self) -> usize {
        self.0.preferences.len()
    }

    fn judged(&self, index: usize) -> Result<JudgedPair, BoxError> {
        let preference = &self.0.preferences[index];
        let missing = || format!("there is no pair {}", preference.index);
        let pair = self.0.folder.get(preference.index).ok_or_else(missing)?;
        let side = |side| match &pair.side(side).refined {
            Some(Refined { text, tokens, is_null }) => {
                RefinedSide { text: text.clone(), tokens: tokens.clone(), is_null: *is_null, is_missing: false }
            }
            None => RefinedSide { text: pair.request.clone(), tokens: Vec::new(), is_null: true, is_missing: true },
        };
        let sides = preference.order().map(side);
        Ok(JudgedPair { request: pair.request.clone(), sides, preference: preference.strength() })
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        let preference = &self.0.preferences[index];
        let [better, worse] = preference.order();
        Ok([self.0.latent(preference, better)?.into(), self.0.latent(preference, worse)?.into()])
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        let place = self.0.preferences[index].index;
        Ok(self.0.folder.get(place).ok_or_else(|| format!("there is no pair {place}"))?.request.clone())
    }
}

/// Judged records from other programs: picture files, for a generator without an autoencoder.
struct RecordPairs {
    records: Vec<HybridRecord>,
    size: usize,
}

impl RecordPairs {
    fn open(path: &Path, files: &Files) -> Result<Self, Failure> {
        if files.generator.vae.is_some() || files.shape.height != files.shape.width {
            let text = format!(
                "{}: pictures without latents are for generators of square pixels; this one makes latents, so give a \
                 pair folder (sample `run.mdp` hybrid `label.pairs` makes them)",
                path.display()
            );
            return Err(Failure::failed(text));
        }
        Ok(Self { records: pairs::hybrid::read(path)?, size: files.shape.height })
    }

    fn fingerprint(&self) -> Result<String, Failure> {
        let mut hasher = blake3::Hasher::new();
        for record in &self.records {
            hasher.update(record.request.as_bytes());
            for side in [&record.chosen, &record.rejected] {
                hasher.update(side.refined.as_deref().unwrap_or_default().as_bytes());
                for value in side.pixels(self.size)?.values().iter() {
                    hasher.update(&value.to_le_bytes());
                }
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

impl PairSource for RecordPairs {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn judged(&self, index: usize) -> Result<JudgedPair, BoxError> {
        let record = &self.records[index];
        let side = |side: &pairs::HybridSide| {
            let text = side.refined.clone().unwrap_or_else(|| record.request.clone());
            let is_missing = side.refined.is_none();
            RefinedSide { text, tokens: Vec::new(), is_null: is_missing, is_missing }
        };
        let sides = [side(&record.chosen), side(&record.rejected)];
        Ok(JudgedPair { request: record.request.clone(), sides, preference: 1.0 })
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        let HybridRecord { chosen, rejected, .. } = &self.records[index];
        Ok([Arc::clone(chosen.pixels(self.size)?.values()), Arc::clone(rejected.pixels(self.size)?.values())])
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        Ok(self.records[index].request.clone())
    }
}

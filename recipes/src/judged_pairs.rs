//! Pair folders as training data: their judgements, for any kind of side.
use std::path::Path;

use datasets::PairFolder;
use datasets::pairs::{Modality, Preference, Side};
use engine::{Noise, Rng};
use mdp::chance::standard_normal;
use mdp::diffusion::Latent;

use crate::settings::Values;
use crate::{Failure, Reporter};

/// Whether a path is a pair folder.
pub(crate) fn is_pair_folder(path: &Path) -> bool {
    path.join("pairs.json").is_file()
}

/// The stream of chance from which a side of pictures is drawn, by its number.
pub(crate) fn side_stream(seed: u64, number: u64) -> Rng {
    Noise::new(seed).stream("pair", number)
}

/// The noise from which a side of a folder with this seed was made: its stream begins with it.
pub(crate) fn prior_noise(seed: u64, number: u64, size: usize) -> Latent {
    let mut rng = side_stream(seed, number);
    (0..size).map(|_| standard_normal(&mut rng) as f32).collect()
}

/// The judged pairs of a folder.
pub(crate) struct JudgedPairs {
    pub(crate) folder: PairFolder,
    pub(crate) preferences: Vec<Preference>,
    summary: String,
}

impl JudgedPairs {
    /// Opens a folder of pairs of one of these kinds; with `data.all_pairs` it takes every pair, with `a` preferred.
    pub(crate) fn open(
        path: &Path,
        modalities: &[Modality],
        values: &Values,
        reporter: &dyn Reporter,
    ) -> Result<Self, Failure> {
        let name = path.display();
        let folder = PairFolder::open(path)?;
        if !modalities.contains(&folder.modality()) {
            let (found, wanted) = (folder.modality(), modalities.first().copied().unwrap_or_default());
            let lacks_prompts = (found, wanted) == (Modality::Diffusion, Modality::Hybrid);
            let hint = if lacks_prompts { "; `hybrid.complete_refinements` gives them refined prompts" } else { "" };
            return Err(Failure::failed(format!(
                "{name}: {found} pairs, `run.mdp` {wanted} takes {wanted} ones{hint}"
            )));
        }
        let n = folder.len();
        if values.data.all_pairs() {
            let preferences = (0..n).map(|index| Preference { index, a_is_better: 1.0, labellers: 0 }).collect();
            return Ok(Self { folder, preferences, summary: format!("{n} pairs, a first") });
        }
        let labels = folder.labels()?;
        if let Some(cut) = labels.cut() {
            reporter.notice(&format!("{cut}: cut off while it was written, and left out"));
        }
        let preferences = labels.preferences();
        if preferences.is_empty() {
            let text = format!("{name}: nobody has judged its pairs yet; see `label::Server` and judge");
            return Err(Failure::failed(text));
        }
        let ties = preferences.iter().filter(|preference| preference.a_is_better == 0.5).count();
        let summary = format!("{} of {n} pairs are judged, {ties} of them as ties", preferences.len());
        Ok(Self { folder, preferences, summary })
    }

    /// Drops ties, for losses without them.
    pub(crate) fn leave_ties_out(&mut self, path: &Path) -> Result<(), Failure> {
        self.preferences.retain(|preference| preference.a_is_better != 0.5);
        if self.preferences.is_empty() {
            return Err(Failure::failed(format!(
                "{}: every judged pair is a tie, of which this loss can't learn",
                path.display()
            )));
        }
        Ok(())
    }

    /// A one-line description.
    pub(crate) fn describe(&self) -> &str {
        &self.summary
    }

    /// A fingerprint of pairs and judgements.
    pub(crate) fn fingerprint(&self) -> String {
        let mut judgements = blake3::Hasher::new();
        for preference in &self.preferences {
            judgements.update(format!("{} {},", preference.index, preference.a_is_better).as_bytes());
        }
        format!("{} {}", self.folder.id(), judgements.finalize().to_hex())
    }

    /// The latent of one side of a judged pair.
    pub(crate) fn latent(&self, preference: &Preference, side: Side) -> Result<Vec<f32>, policies::BoxError> {
        let latent = self.folder.latent(preference.index, side)?;
        Ok(latent.ok_or_else(|| format!("pair {}: no latent", preference.index))?)
    }
}

/// The fingerprint part of the held-out rows; empty if there are none.
pub(crate) fn mark(held_out: &[usize]) -> String {
    if held_out.is_empty() { String::new() } else { format!(" {}", blake3::hash(format!("{held_out:?}").as_bytes())) }
}

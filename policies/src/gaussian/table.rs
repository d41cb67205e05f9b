use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mdp::control::{Continuous, Control};
use mdp::{Channels, EpisodeOf, Rng};

use super::scored::{Decided, Decisions, GaussianOutputs, unfit};
use super::{Gaussian, Spread};
use crate::{Learner, Persist, Policy, PolicyError, Proposal, VisitGradient};

/// The cell of an observation.
type Cell = Vec<i64>;

/// A table of Gaussians, one for each cell of a grid over observations that training has visited. Others have outputs 0.
///
/// An update is a plain gradient step, so training can be followed by hand; it is exact in `f64`. The number of cells grows with
/// the power of the observation's size: for more than a few numbers take a network.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianTable {
    width: f64,
    action_size: usize,
    spread: Spread,
    outputs: BTreeMap<Cell, Vec<f64>>,
    gradient: BTreeMap<Cell, Vec<f64>>,
    reference: Option<Arc<GaussianTable>>,
}

impl GaussianTable {
    /// A table without rows; cells are `width` wide in each coordinate of an observation.
    ///
    /// # Errors
    /// A width or a spread that is not a positive number.
    pub fn new(width: f64, action_size: usize, spread: Spread) -> Result<Self, PolicyError> {
        if !(width > 0.0 && width.is_finite()) {
            return Err(unfit("the width of a cell", "a number above 0", width.to_string()));
        }
        let (outputs, gradient) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { width, action_size, spread: spread.checked()?, outputs, gradient, reference: None })
    }

    /// Enables the divergence channel: KL(reference || policy) in every state (Eq. 14).
    #[must_use]
    pub fn with_reference(mut self, reference: Arc<Self>) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Number of cells with a row.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether no cell has a row.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    fn cell(&self, observation: &[f64]) -> Cell {
        observation.iter().map(|number| (number / self.width).floor() as i64).collect()
    }

    fn blank(&self) -> Vec<f64> {
        vec![0.0; self.spread.n_outputs(self.action_size)]
    }

    fn decided<M: Continuous>(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, Decided), PolicyError> {
        if mdp.action_size() != self.action_size {
            let (ours, theirs) = (self.action_size.to_string(), mdp.action_size().to_string());
            return Err(unfit("numbers of an action", ours, theirs));
        }
        let decisions = Decisions::of_episodes(mdp, episodes)?;
        let outputs = self.outputs(&decisions.observations)?;
        let of_reference = |reference: &Arc<Self>| -> Result<Vec<Gaussian>, PolicyError> {
            let outputs = reference.outputs(&decisions.observations)?;
            Ok(outputs.iter().map(|outputs| reference.spread.gaussian(outputs)).collect())
        };
        let reference = self.reference.as_ref().map(of_reference).transpose()?;
        decisions.scored(self.spread, outputs, reference)
    }

    /// Cells and outputs as bit patterns: decimal numbers in JSON may change their last digit.
    fn bits(&self) -> Vec<(&Cell, Vec<u64>)> {
        self.outputs.iter().map(|(cell, row)| (cell, row.iter().map(|output| output.to_bits()).collect())).collect()
    }
}

impl GaussianOutputs for GaussianTable {
    fn spread(&self) -> Spread {
        self.spread
    }

    fn outputs(&self, observations: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        let of_cell = |observation: &Vec<f64>| self.outputs.get(&self.cell(observation)).cloned();
        Ok(observations.iter().map(|observation| of_cell(observation).unwrap_or_else(|| self.blank())).collect())
    }
}

impl<M: Continuous> Policy<M> for GaussianTable {
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<Control>>>, PolicyError> {
        self.draws(mdp, states, k, rng)
    }

    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<Control>, PolicyError> {
        self.draw(mdp, states, rng)
    }

    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        Ok(self.decided(mdp, episodes)?.0)
    }

    fn identity(&self) -> Result<Option<String>, PolicyError> {
        Persist::fingerprint(self).map(Some)
    }
}

impl<M: Continuous> Learner<M> for GaussianTable {
    type Tape = Decided;

    fn forward(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, Decided), PolicyError> {
        self.decided(mdp, episodes)
    }

    fn backward(&mut self, tape: Decided, slopes: &Channels) -> Result<(), PolicyError> {
        let slopes = tape.slopes(self.spread, slopes)?;
        for (observation, slopes) in tape.observations().iter().zip(slopes) {
            let blank = self.blank();
            let row = self.gradient.entry(self.cell(observation)).or_insert(blank);
            row.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        }
        Ok(())
    }

    /// The reference is that of [`with_reference`](GaussianTable::with_reference).
    fn provide_divergence(&mut self, _reference: Option<&dyn Policy<M>>) -> Result<(), PolicyError> {
        let missing =
            "the objective needs the divergence from the reference: `GaussianTable::with_reference` provides it";
        self.reference.is_some().then_some(()).ok_or_else(|| missing.into())
    }

    /// Names rows by their cells.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        let blank = self.blank();
        for cell in self.outputs.keys() {
            self.gradient.entry(cell.clone()).or_insert_with(|| blank.clone());
        }
        self.gradient.iter_mut().try_for_each(|(cell, slopes)| visit(&format!("{cell:?}"), slopes))
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        Ok(self.gradient.values().flatten().map(|slope| slope * slope).sum::<f64>().sqrt())
    }

    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        self.gradient.clear();
        Ok(())
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        let norm = Learner::<M>::gradient_norm(self)?;
        let gradient = std::mem::take(&mut self.gradient);
        let scale = max_gradient_norm.filter(|most| norm > *most).map_or(1.0, |most| most / norm);
        for (cell, slopes) in gradient {
            let blank = self.blank();
            let row = self.outputs.entry(cell).or_insert(blank);
            row.iter_mut().zip(slopes).for_each(|(output, slope)| *output -= rate * scale * slope);
        }
        Ok(norm)
    }
}

/// File name of a saved table.
const FILE: &str = "gaussian-table.json";

impl Persist for GaussianTable {
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec(&self.bits()).map_err(|error| damaged(&path, &error))?;
        fs::write(&path, text).map_err(|error| PolicyError::io(&path, error))
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        let path = folder.join(FILE);
        let text = fs::read(&path).map_err(|error| PolicyError::io(&path, error))?;
        let rows: Vec<(Cell, Vec<u64>)> = serde_json::from_slice(&text).map_err(|error| damaged(&path, &error))?;
        let expected = self.spread.n_outputs(self.action_size);
        if let Some((cell, row)) = rows.iter().find(|(_, row)| row.len() != expected) {
            let reason = format!("the cell {cell:?} has {} outputs, but the table has {expected}", row.len());
            return Err(PolicyError::format(path, reason));
        }
        let numbers = |row: Vec<u64>| row.into_iter().map(f64::from_bits).collect();
        self.outputs = rows.into_iter().map(|(cell, row)| (cell, numbers(row))).collect();
        self.gradient.clear();
        Ok(())
    }

    /// Writes the checkpoint file: tables have no other format.
    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        self.save_checkpoint(folder)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        let bits = serde_json::to_vec(&self.bits()).map_err(PolicyError::other)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {:?} ", self.width, self.spread).as_bytes()).update(&bits);
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn damaged(path: &Path, error: &serde_json::Error) -> PolicyError {
    PolicyError::format(path, format!("broken JSON: {error}"))
}

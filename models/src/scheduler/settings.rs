use std::path::{Path, PathBuf};

use mdp::MdpError;
use mdp::diffusion::{NoiseSchedule, Prediction, Spacing};
use serde_json::{Map, Value};

use super::declared::TABLES;
use super::python_json;
use crate::ModelError;
use crate::sampler::Variance;

/// A constructor of a schedule from the number of timesteps and the first and last beta.
type Make = fn(usize, f64, f64) -> Result<NoiseSchedule, MdpError>;

/// The file's fields, with its path for messages.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) map: Map<String, Value>,
}

impl Settings {
    /// Reads the fields of a file.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ModelError> {
        match python_json::parse(text).map_err(|e| ModelError::json(path, &e))? {
            Value::Object(map) => Ok(Self { path: path.to_path_buf(), map }),
            _ => Err(ModelError::format(path, "not a JSON object")),
        }
    }

    /// Checks the type of every field that a scheduler declares.
    pub(super) fn check_kinds(&self) -> Result<(), ModelError> {
        let checked = TABLES.iter().try_for_each(|(_, table)| table.check_kinds(&self.map));
        checked.map_err(|misfit| self.error(misfit.key, &misfit.reason))
    }

    pub(super) fn error(&self, key: &str, reason: &str) -> ModelError {
        ModelError::format(&self.path, format!("`{key}`: {reason}"))
    }

    pub(super) fn refuse(&self, error: &MdpError) -> ModelError {
        ModelError::format(&self.path, error.to_string())
    }

    /// A field; `null` counts as missing.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        // Null is false in Python, whatever the default.
        let Some(value) = self.map.get(key) else { return Ok(default) };
        let flag = if value.is_null() { Some(false) } else { value.as_bool() };
        flag.ok_or_else(|| self.error(key, &format!("expected true or false, got {value}")))
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().ok_or_else(|| self.error(key, &format!("expected a number, got {value}")))
    }

    pub(super) fn count(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        // A schedule stores a few numbers per timestep; more than a million timesteps are unrealistic.
        let count = count.filter(|count| *count <= 1_000_000);
        count.ok_or_else(|| self.error(key, &format!("expected a count of at most a million, got {value}")))
    }

    /// The value of a field that names one of `choices`.
    pub(super) fn one_of<T: Copy>(
        &self,
        key: &str,
        default: Option<T>,
        choices: &[(&str, T)],
    ) -> Result<T, ModelError> {
        let supported = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.error(key, &format!("is missing; supported: {}", supported()))),
            (Some(value), _) => {
                let found = choices.iter().find(|(name, _)| value.as_str() == Some(*name));
                let reason = || format!("{value} is not supported; supported: {}", supported());
                found.map(|(_, meaning)| *meaning).ok_or_else(|| self.error(key, &reason()))
            }
        }
    }

    pub(super) fn betas(&self) -> Result<NoiseSchedule, ModelError> {
        // Flow levels in a scheduler made for betas.
        if self.flag("use_flow_sigmas", false)? {
            return Err(self.error("use_flow_sigmas", "flow's noise levels in this scheduler are not supported"));
        }
        let schedule = match self.get("trained_betas") {
            Some(betas) => {
                let betas: Option<Vec<f64>> =
                    betas.as_array().and_then(|betas| betas.iter().map(Value::as_f64).collect());
                let betas = betas.ok_or_else(|| self.error("trained_betas", "expected a list of numbers"))?;
                NoiseSchedule::from_betas(&betas)
            }
            None => self.named_betas()?,
        };
        let schedule = schedule.map_err(|e| self.refuse(&e))?;
        if !self.flag("rescale_betas_zero_snr", false)? {
            return Ok(schedule);
        }
        if schedule.signal(0) <= schedule.signal(schedule.len() - 1) {
            return Err(self.error("rescale_betas_zero_snr", "needs two timesteps at least"));
        }
        Ok(schedule.with_zero_terminal_snr())
    }

    pub(super) fn named_betas(&self) -> Result<Result<NoiseSchedule, MdpError>, ModelError> {
        let n = self.count("num_train_timesteps", 1000)?;
        let (start, end) = (self.number("beta_start", 1e-4)?, self.number("beta_end", 0.02)?);
        let choices: [(&str, Make); 3] = [
            ("linear", NoiseSchedule::linear),
            ("scaled_linear", NoiseSchedule::scaled_linear),
            ("squaredcos_cap_v2", |n, _, _| NoiseSchedule::squared_cosine(n)),
        ];
        let make = self.one_of("beta_schedule", Some(choices[0].1), &choices)?;
        Ok(make(n, start, end))
    }

    pub(super) fn flow(&self) -> Result<NoiseSchedule, ModelError> {
        let (n, shift) = (self.count("num_train_timesteps", 1000)?, self.number("shift", 1.0)?);
        // Which of them matters for a shift by size alone, and diffusers checks it at once.
        self.one_of("time_shift_type", Some(()), &[("exponential", ()), ("linear", ())])?;
        // A shift that depends on the image size is not part of the training levels.
        let shift = if self.flag("use_dynamic_shifting", false)? { 1.0 } else { shift };
        NoiseSchedule::flow(n, shift).map_err(|e| self.refuse(&e))
    }

    /// The shift for images of this many tokens: linear in their number, between those of two sizes, as pipelines compute
    /// it.
    pub(super) fn dynamic_shift(&self, tokens: usize) -> Result<f64, ModelError> {
        let few = self.count("base_image_seq_len", 256)? as f64;
        let many = self.count("max_image_seq_len", 4096)? as f64;
        let (low, high) = (self.number("base_shift", 0.5)?, self.number("max_shift", 1.15)?);
        if few == many {
            return Err(self.error("max_image_seq_len", "must differ from base_image_seq_len"));
        }
        let mu = low + (high - low) / (many - few) * (tokens as f64 - few);
        let kinds = [("exponential", mu.exp()), ("linear", mu)];
        self.one_of("time_shift_type", Some(mu.exp()), &kinds)
    }

    pub(super) fn prediction(&self) -> Result<Prediction, ModelError> {
        let choices = [("epsilon", Prediction::Epsilon), ("v_prediction", Prediction::Velocity)];
        self.one_of("prediction_type", Some(Prediction::Epsilon), &choices)
    }

    pub(super) fn spacing(&self) -> Result<Option<Spacing>, ModelError> {
        let leading = Spacing::Leading { offset: self.count("steps_offset", 0)? };
        let choices =
            [("leading", Some(leading)), ("linspace", Some(Spacing::Linspace)), ("trailing", Some(Spacing::Trailing))];
        self.one_of("timestep_spacing", Some(None), &choices)
    }

    pub(super) fn variance(&self) -> Result<Variance, ModelError> {
        let choices =
            [("fixed_small", Variance::Small), ("fixed_small_log", Variance::Small), ("fixed_large", Variance::Large)];
        self.one_of("variance_type", Some(Variance::Small), &choices)
    }
}

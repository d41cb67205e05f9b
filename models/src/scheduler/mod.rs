//! `scheduler_config.json` of a diffusers folder: noise schedule, prediction type, sampling.

mod declared;
mod python_json;
mod settings;

use std::path::Path;
use std::sync::Arc;

use mdp::MdpError;
use mdp::diffusion::{NoiseLevel, NoiseSchedule, Prediction, Spacing};
use serde_json::Value;

use crate::ModelError;
use crate::sampler::{Sampler, SamplerSteps, SamplingPlan, Variance};
use settings::Settings;

/// The supported schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// `DDPMScheduler`
    Ddpm,
    /// `DDIMScheduler`
    Ddim,
    /// `PNDMScheduler`, as in Stable Diffusion 1.x; DDIM's steps are used instead of its own.
    Pndm,
    /// `EulerDiscreteScheduler`
    Euler,
    /// `DPMSolverMultistepScheduler`
    DpmSolver,
    /// `FlowMatchEulerDiscreteScheduler`
    FlowMatch,
}

const KINDS: [(&str, SchedulerKind); 6] = [
    ("DDPMScheduler", SchedulerKind::Ddpm),
    ("DDIMScheduler", SchedulerKind::Ddim),
    ("PNDMScheduler", SchedulerKind::Pndm),
    ("EulerDiscreteScheduler", SchedulerKind::Euler),
    ("DPMSolverMultistepScheduler", SchedulerKind::DpmSolver),
    ("FlowMatchEulerDiscreteScheduler", SchedulerKind::FlowMatch),
];

/// A scheduler's validated settings. Those that affect only sampling are checked by [`Scheduler::plan`], so a model
/// with an unsupported sampler can still be trained.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// The kind of scheduler.
    pub kind: SchedulerKind,
    /// The signal and noise levels of the training timesteps.
    pub schedule: Arc<NoiseSchedule>,
    /// The prediction type.
    pub prediction: Prediction,
    /// The timestep spacing in the file.
    spacing: Option<Spacing>,
    steps_offset: usize,
    /// The number of an image's patches, if the shift depends on it and it is known.
    tokens: Option<usize>,
    /// Whether samplers of flow matching visit evenly spaced levels.
    is_even: bool,
    settings: Settings,
    text: String,
}

impl Scheduler {
    /// Reads a scheduler's file.
    ///
    /// # Errors
    /// An unreadable file, or as for [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|e| ModelError::io(path, e))?;
        Self::parse(path, &text)
    }

    /// Parses a scheduler's file; `path` is for messages.
    ///
    /// # Errors
    /// Broken JSON; an unsupported scheduler, beta schedule or prediction type; numbers that make no schedule.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ModelError> {
        let settings = Settings::parse(path, text)?;
        let kind = settings.one_of("_class_name", None, &KINDS)?;
        let is_flow = kind == SchedulerKind::FlowMatch;
        let scheduler = Self {
            kind,
            schedule: Arc::new(if is_flow { settings.flow()? } else { settings.betas()? }),
            prediction: if is_flow { Prediction::Flow } else { settings.prediction()? },
            spacing: settings.spacing()?,
            steps_offset: settings.count("steps_offset", 0)?,
            tokens: None,
            is_even: false,
            settings,
            text: text.to_owned(),
        };
        scheduler.settings.check_kinds()?;
        Ok(scheduler)
    }

    /// The scheduler with another `prediction_type`, for a network that differs from its file.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), and flow matching, which has only one prediction type.
    pub fn with_prediction(&self, name: &str) -> Result<Self, ModelError> {
        if self.kind == SchedulerKind::FlowMatch {
            let reason = format!("is of flow matching, which predicts no {name}");
            return Err(self.settings.error("_class_name", &reason));
        }
        let mut map = self.settings.map.clone();
        map.insert("prediction_type".to_owned(), Value::from(name));
        Self::parse(&self.settings.path, &python_json::print(&Value::Object(map)))
    }

    /// The file as it was read, for saving.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sampler of the named scheduler.
    ///
    /// # Errors
    /// A learned or unknown variance.
    pub fn sampler(&self) -> Result<Sampler, ModelError> {
        Ok(match self.kind {
            SchedulerKind::Ddpm => Sampler::Ddpm { variance: self.variance()? },
            SchedulerKind::Ddim | SchedulerKind::Pndm => Sampler::Ddim { eta: 0.0 },
            SchedulerKind::Euler | SchedulerKind::FlowMatch => self.euler()?,
            SchedulerKind::DpmSolver => Sampler::DpmSolverPlusPlus2M,
        })
    }

    /// Euler's method with the file's settings: flow matching may redraw all noise in every step
    /// (`stochastic_sampling`).
    ///
    /// # Errors
    /// A setting of the wrong type.
    pub fn euler(&self) -> Result<Sampler, ModelError> {
        let draws = self.kind == SchedulerKind::FlowMatch && self.settings.flag("stochastic_sampling", false)?;
        Ok(if draws { Sampler::Renoise } else { Sampler::Euler })
    }

    /// The plan of `sampler` with `n_steps` steps: the steps of diffusers' scheduler of that name made from this file
    /// (`DDIMScheduler.from_config` and similar), whatever scheduler the file names. A missing setting has that
    /// scheduler's default, not that of the named one.
    ///
    /// With [`Spacing::Trailing`] some numbers of steps (61 of 1000, for example) make diffusers visit an extra
    /// timestep, -1, by a rounding error. It is omitted here.
    ///
    /// # Errors
    /// An unsupported setting that affects sampling; more steps than timesteps; errors of [`SamplerSteps::new`].
    pub fn plan(&self, sampler: Sampler, n_steps: usize) -> Result<SamplingPlan, ModelError> {
        self.check_sampling(sampler)?;
        let shifts = self.shifts()?;
        let (schedule, timesteps) = self.route(sampler, n_steps, shifts).map_err(|e| self.settings.refuse(&e))?;
        let mut strides = sampler.strides(&schedule, &timesteps, self.last_level(sampler)?);
        let is_solver = matches!(sampler, Sampler::Euler | Sampler::DpmSolverPlusPlus2M);
        if is_solver && self.kind != SchedulerKind::FlowMatch {
            for stride in &mut strides {
                (stride.from, stride.to) = (with_a_trace(stride.from), with_a_trace(stride.to));
            }
        }
        // diffusers scales Euler's initial noise by the largest noise / signal, which ignores the image's share.
        let visits_the_noisiest = !matches!(self.spacing(sampler), Spacing::Leading { .. });
        let is_short = sampler == Sampler::Euler && self.kind != SchedulerKind::FlowMatch && visits_the_noisiest;
        let initial_deviation = if is_short { strides[0].from.noise } else { 1.0 };
        let sampling = SamplerSteps::new(sampler, self.prediction, strides, self.clip()?)?;
        Ok(SamplingPlan { schedule, timesteps, sampling, initial_deviation })
    }

    /// The timestep spacing of `sampler`.
    pub fn spacing(&self, sampler: Sampler) -> Spacing {
        self.spacing.unwrap_or(match sampler {
            Sampler::Ddpm { .. } | Sampler::Ddim { .. } => Spacing::Leading { offset: self.steps_offset },
            Sampler::Euler | Sampler::Renoise | Sampler::FlowSde { .. } | Sampler::DpmSolverPlusPlus2M => {
                Spacing::Linspace
            }
        })
    }

    /// The clipping range of an estimated image in DDPM and DDIM: diffusers clip by default, also where they replace a
    /// scheduler that does not.
    ///
    /// # Errors
    /// A setting of the wrong type.
    pub fn clip(&self) -> Result<Option<f64>, ModelError> {
        let clips = self.settings.flag("clip_sample", self.kind != SchedulerKind::FlowMatch)?;
        Ok(if clips { Some(self.settings.number("clip_sample_range", 1.0)?) } else { None })
    }

    /// The variance of ancestral sampling.
    ///
    /// # Errors
    /// A learned or unknown variance.
    pub fn variance(&self) -> Result<Variance, ModelError> {
        self.settings.variance()
    }

    /// Disables clipping of estimated images: a clipped decision has no score.
    #[must_use]
    pub fn without_clipping(mut self) -> Self {
        self.settings.map.insert("clip_sample".to_owned(), Value::Bool(false));
        self
    }

    /// Whether sampling depends on the size of the images (`use_dynamic_shifting` of flow matching).
    pub fn depends_on_size(&self) -> bool {
        let is_dynamic = self.settings.map.get("use_dynamic_shifting").and_then(Value::as_bool).unwrap_or(false);
        self.kind == SchedulerKind::FlowMatch && is_dynamic
    }

    /// Sets the number of an image's tokens: patches of a transformer. [`depends_on_size`](Self::depends_on_size) tells
    /// whether it matters.
    #[must_use]
    pub fn for_tokens(self, tokens: usize) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Spaces the levels of flow matching evenly from 1 to 1 / n before their shift, as FLUX.1's pipeline does, rather than
    /// between the training levels; other schedulers stay as they are.
    #[must_use]
    pub fn with_even_levels(self) -> Self {
        Self { is_even: true, ..self }
    }

    /// The level after steps of `sampler` below timestep 0: the image, or the cleanest timestep.
    ///
    /// # Errors
    /// A setting of the wrong type.
    pub fn last_level(&self, sampler: Sampler) -> Result<NoiseLevel, ModelError> {
        Ok(if self.ends_at_image(sampler)? { NoiseLevel::IMAGE } else { self.schedule.level(0) })
    }

    /// The shift of the training levels, and that of a sampler's levels; both are 1 for all but flow matching.
    fn shifts(&self) -> Result<(f64, f64), ModelError> {
        if !self.depends_on_size() {
            let shift = self.settings.number("shift", 1.0)?;
            return Ok((shift, shift));
        }
        let reason = "the shift depends on the size of the images, which is not known here";
        let tokens = self.tokens.ok_or_else(|| self.settings.error("use_dynamic_shifting", reason))?;
        Ok((1.0, self.settings.dynamic_shift(tokens)?))
    }

    fn route(
        &self,
        sampler: Sampler,
        n: usize,
        (training, sampling): (f64, f64),
    ) -> Result<(Arc<NoiseSchedule>, Vec<usize>), MdpError> {
        let n_train = self.schedule.len();
        let made = |levels: NoiseSchedule| (Arc::new(levels), (0..n).rev().collect());
        if self.kind == SchedulerKind::FlowMatch && self.is_even {
            return Ok(made(NoiseSchedule::flow_levels_even(n_train, sampling, n)?));
        }
        if self.kind == SchedulerKind::FlowMatch {
            return Ok(made(NoiseSchedule::flow_levels_shifted(n_train, training, sampling, n)?));
        }
        let spacing = self.spacing(sampler);
        Ok(match (sampler, spacing) {
            (Sampler::Euler, Spacing::Linspace) => {
                let mut times = spacing.times(n_train, n)?;
                times.reverse();
                made(self.schedule.at_times(&times)?)
            }
            (Sampler::DpmSolverPlusPlus2M, _) => (Arc::clone(&self.schedule), spacing.solver_timesteps(n_train, n)?),
            _ => (Arc::clone(&self.schedule), spacing.timesteps(n_train, n)?),
        })
    }

    /// Whether the last step leads to the image rather than the cleanest timestep.
    fn ends_at_image(&self, sampler: Sampler) -> Result<bool, ModelError> {
        match sampler {
            _ if self.kind == SchedulerKind::FlowMatch => Ok(true),
            Sampler::Ddpm { .. } => Ok(true),
            Sampler::Ddim { .. } => self.settings.flag("set_alpha_to_one", true),
            Sampler::Euler | Sampler::Renoise | Sampler::FlowSde { .. } | Sampler::DpmSolverPlusPlus2M => {
                self.settings.one_of("final_sigmas_type", Some(true), &[("zero", true), ("sigma_min", false)])
            }
        }
    }

    /// Refuses settings with which diffusers would sample differently.
    fn check_sampling(&self, sampler: Sampler) -> Result<(), ModelError> {
        if self.euler()? == Sampler::Renoise && sampler != Sampler::Renoise {
            let reason = "the noise is drawn anew in every step by the euler sampler only";
            return Err(self.settings.error("stochastic_sampling", reason));
        }
        let refused = declared::of_sampler(self.kind, sampler).refuse(&self.settings.map);
        refused.map_err(|misfit| self.settings.error(misfit.key, &format!("sampling with {}", misfit.reason)))
    }
}

/// diffusers' solvers divide by the signal, so zero signal is replaced by 2^-12 of the image.
fn with_a_trace(level: NoiseLevel) -> NoiseLevel {
    let least = 2f64.powi(-12);
    if level.signal > 0.0 { level } else { NoiseLevel { signal: least, noise: (1.0 - least * least).sqrt() } }
}

#[cfg(test)]
mod tests;

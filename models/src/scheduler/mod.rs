//! `scheduler_config.json` of a diffusers folder: the noise schedule, what the model predicts, how it is sampled.

mod declared;
mod python_json;
mod settings;

use std::path::Path;
use std::sync::Arc;

use mdp::MdpError;
use mdp::diffusion::{NoiseLevel, NoiseSchedule, Prediction, Spacing};
use serde_json::Value;

use crate::ModelError;
use crate::sampler::{Sampler, Sampling, SamplingPlan, Variance};
use settings::Settings;

/// The schedulers whose settings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// `DDPMScheduler`
    Ddpm,
    /// `DDIMScheduler`
    Ddim,
    /// `PNDMScheduler`, as in Stable Diffusion 1.x; DDIM's steps stand in for its own.
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

/// A scheduler's settings, checked. Those that only change sampling are looked at when it is sampled
/// ([`Scheduler::plan`]), so a model can be trained whose own sampler is not built here.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// Which scheduler it is.
    pub kind: SchedulerKind,
    /// How much signal and noise each of the training timesteps has.
    pub schedule: Arc<NoiseSchedule>,
    /// What the model predicts.
    pub prediction: Prediction,
    /// What the file says of the timesteps that a sampler visits.
    spacing: Option<Spacing>,
    steps_offset: usize,
    settings: Settings,
    text: String,
}

impl Scheduler {
    /// Reads a scheduler's file.
    ///
    /// # Errors
    /// The file can't be read, or as for [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|e| ModelError::io(path, e))?;
        Self::parse(path, &text)
    }

    /// Checks a scheduler's file; `path` is for messages.
    ///
    /// # Errors
    /// Broken JSON; a scheduler, a beta schedule or a prediction that isn't built here; numbers that make no schedule.
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
            settings,
            text: text.to_owned(),
        };
        scheduler.settings.check_kinds()?;
        Ok(scheduler)
    }

    /// The same file with another `prediction_type`, for a network that predicts something else than the file says.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), and a scheduler of flow matching, which knows one prediction.
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

    /// The sampler that the file names.
    ///
    /// # Errors
    /// A variance that is learned, or isn't known.
    pub fn sampler(&self) -> Result<Sampler, ModelError> {
        Ok(match self.kind {
            SchedulerKind::Ddpm => Sampler::Ddpm { variance: self.variance()? },
            SchedulerKind::Ddim | SchedulerKind::Pndm => Sampler::Ddim { eta: 0.0 },
            SchedulerKind::Euler | SchedulerKind::FlowMatch => self.euler()?,
            SchedulerKind::DpmSolver => Sampler::DpmSolverPlusPlus2M,
        })
    }

    /// Euler's method as the file has it: flow matching may draw all noise anew in every step (`stochastic_sampling`).
    ///
    /// # Errors
    /// A setting of the wrong type.
    pub fn euler(&self) -> Result<Sampler, ModelError> {
        let draws = self.kind == SchedulerKind::FlowMatch && self.settings.flag("stochastic_sampling", false)?;
        Ok(if draws { Sampler::Renoise } else { Sampler::Euler })
    }

    /// The way of `sampler` through `n_steps` steps: what diffusers' scheduler of that name does when it is made from this
    /// file (`DDIMScheduler.from_config` and its like), whatever scheduler the file names. A setting that the file does
    /// not have is that scheduler's default, not the default of the one the file names.
    ///
    /// With [`Spacing::Trailing`] some numbers of steps (61 of 1000, say) make diffusers visit one timestep more, -1, by
    /// a rounding error. It is left out here.
    ///
    /// # Errors
    /// A setting that changes sampling and isn't built here; more steps than timesteps; what
    /// [`Sampling::new`] refuses.
    pub fn plan(&self, sampler: Sampler, n_steps: usize) -> Result<SamplingPlan, ModelError> {
        self.check_sampling(sampler)?;
        let (schedule, timesteps) = self.route(sampler, n_steps).map_err(|e| self.settings.refuse(&e))?;
        let mut strides = sampler.strides(&schedule, &timesteps, self.last_level(sampler)?);
        let is_solver = matches!(sampler, Sampler::Euler | Sampler::DpmSolverPlusPlus2M);
        if is_solver && self.kind != SchedulerKind::FlowMatch {
            for stride in &mut strides {
                (stride.from, stride.to) = (with_a_trace(stride.from), with_a_trace(stride.to));
            }
        }
        // diffusers scales Euler's first noise by the largest noise / signal, which forgets the image's share.
        let visits_the_noisiest = !matches!(self.spacing(sampler), Spacing::Leading { .. });
        let is_short = sampler == Sampler::Euler && self.kind != SchedulerKind::FlowMatch && visits_the_noisiest;
        let initial_deviation = if is_short { strides[0].from.noise } else { 1.0 };
        let sampling = Sampling::new(sampler, self.prediction, strides, self.clip()?)?;
        Ok(SamplingPlan { schedule, timesteps, sampling, initial_deviation })
    }

    /// Which timesteps `sampler` visits.
    pub fn spacing(&self, sampler: Sampler) -> Spacing {
        self.spacing.unwrap_or(match sampler {
            Sampler::Ddpm { .. } | Sampler::Ddim { .. } => Spacing::Leading { offset: self.steps_offset },
            Sampler::Euler | Sampler::Renoise | Sampler::DpmSolverPlusPlus2M => Spacing::Linspace,
        })
    }

    /// How far from 0 DDPM and DDIM let an estimated image be: diffusers' clip by default, also where they stand in for a
    /// scheduler that never does.
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
    /// One that is learned, or isn't known.
    pub fn variance(&self) -> Result<Variance, ModelError> {
        self.settings.variance()
    }

    /// The same, with estimated images as they are: a clipped decision has no score.
    #[must_use]
    pub fn without_clipping(mut self) -> Self {
        self.settings.map.insert("clip_sample".to_owned(), Value::Bool(false));
        self
    }

    /// Where the steps of `sampler` lead that end below timestep 0: to the image, or to the cleanest timestep only.
    ///
    /// # Errors
    /// A setting of the wrong type.
    pub fn last_level(&self, sampler: Sampler) -> Result<NoiseLevel, ModelError> {
        Ok(if self.ends_at_image(sampler)? { NoiseLevel::IMAGE } else { self.schedule.level(0) })
    }

    fn route(&self, sampler: Sampler, n: usize) -> Result<(Arc<NoiseSchedule>, Vec<usize>), MdpError> {
        let n_train = self.schedule.len();
        let made = |levels: NoiseSchedule| (Arc::new(levels), (0..n).rev().collect());
        if self.kind == SchedulerKind::FlowMatch {
            let shift = self.settings.map.get("shift").and_then(Value::as_f64).unwrap_or(1.0);
            return Ok(made(NoiseSchedule::flow_levels(n_train, shift, n)?));
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

    /// Whether the last step leads to the image, or to the cleanest timestep only.
    fn ends_at_image(&self, sampler: Sampler) -> Result<bool, ModelError> {
        match sampler {
            _ if self.kind == SchedulerKind::FlowMatch => Ok(true),
            Sampler::Ddpm { .. } => Ok(true),
            Sampler::Ddim { .. } => self.settings.flag("set_alpha_to_one", true),
            Sampler::Euler | Sampler::Renoise | Sampler::DpmSolverPlusPlus2M => {
                self.settings.one_of("final_sigmas_type", Some(true), &[("zero", true), ("sigma_min", false)])
            }
        }
    }

    /// Refuses settings of the file under which diffusers would sample otherwise.
    fn check_sampling(&self, sampler: Sampler) -> Result<(), ModelError> {
        if self.euler()? == Sampler::Renoise && sampler != Sampler::Renoise {
            let reason = "the noise is drawn anew in every step by the euler sampler only";
            return Err(self.settings.error("stochastic_sampling", reason));
        }
        let refused = declared::of_sampler(self.kind, sampler).refuse(&self.settings.map);
        refused.map_err(|misfit| self.settings.error(misfit.key, &format!("sampling with {}", misfit.reason)))
    }
}

/// diffusers' solvers divide by the signal, so where there is none they take it to be 2^-12 of the image.
fn with_a_trace(level: NoiseLevel) -> NoiseLevel {
    let least = 2f64.powi(-12);
    if level.signal > 0.0 { level } else { NoiseLevel { signal: least, noise: (1.0 - least * least).sqrt() } }
}

#[cfg(test)]
mod tests;

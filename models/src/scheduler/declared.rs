//! The fields of diffusers' schedulers, and their handling.
//!
//! Whatever scheduler a file names, a sampler is made from it as diffusers makes its scheduler from another one's file:
//! declared fields are read and others ignored. So unsupported settings are looked up in the sampler's table, and types
//! are checked for all declared fields of any file.

use super::SchedulerKind;
use crate::fields::declared::Kind::{Flag, Number, Numbers, Text, Whole};
use crate::fields::declared::{Field, Table, harmless, honoured, refused};
use crate::sampler::Sampler;

/// All tables, by class.
pub(super) const TABLES: [(SchedulerKind, Table); 6] = [
    (SchedulerKind::Ddpm, DDPM),
    (SchedulerKind::Ddim, DDIM),
    (SchedulerKind::Pndm, PNDM),
    (SchedulerKind::Euler, EULER),
    (SchedulerKind::DpmSolver, SOLVER),
    (SchedulerKind::FlowMatch, FLOW),
];

/// The table of a sampler's scheduler class; flow matching has one for all.
pub(super) fn of_sampler(kind: SchedulerKind, sampler: Sampler) -> Table {
    match (kind, sampler) {
        (SchedulerKind::FlowMatch, _) => FLOW,
        (_, Sampler::Ddpm { .. }) => DDPM,
        (_, Sampler::Ddim { .. }) => DDIM,
        (_, Sampler::Euler | Sampler::Renoise | Sampler::FlowSde { .. }) => EULER,
        (_, Sampler::DpmSolverPlusPlus2M) => SOLVER,
    }
}

const NO: &[&str] = &["false"];

// Common to all but flow matching.
const TIMESTEPS: Field = honoured("num_train_timesteps", Whole);
const BETA_START: Field = honoured("beta_start", Number);
const BETA_END: Field = honoured("beta_end", Number);
const BETA_SCHEDULE: Field = honoured("beta_schedule", Text);
const TRAINED_BETAS: Field = honoured("trained_betas", Numbers).or_null();
const PREDICTION: Field = honoured("prediction_type", Text);
const SPACING: Field = honoured("timestep_spacing", Text);
const OFFSET: Field = honoured("steps_offset", Whole);
const ZERO_SNR: Field = honoured("rescale_betas_zero_snr", Flag);
const FINAL_SIGMAS: Field = honoured("final_sigmas_type", Text);
const CLIPS: Field = honoured("clip_sample", Flag);
const CLIP_RANGE: Field = honoured("clip_sample_range", Number);
const THRESHOLDING: Field = refused("thresholding", NO);
// Only with thresholding.
const THRESHOLD_RATIO: Field = harmless("dynamic_thresholding_ratio", Number);
const THRESHOLD_MAX: Field = harmless("sample_max_value", Number);
const KARRAS: Field = refused("use_karras_sigmas", NO);
const EXPONENTIAL: Field = refused("use_exponential_sigmas", NO);
const BETA_SIGMAS: Field = refused("use_beta_sigmas", NO);
// Only with dynamic shifting.
const TIME_SHIFT: Field = harmless("time_shift_type", Text);

const DDPM: Table = Table(&[
    TIMESTEPS,
    BETA_START,
    BETA_END,
    BETA_SCHEDULE,
    TRAINED_BETAS,
    PREDICTION,
    SPACING,
    OFFSET,
    ZERO_SNR,
    CLIPS,
    CLIP_RANGE,
    THRESHOLDING,
    THRESHOLD_RATIO,
    THRESHOLD_MAX,
    // Null if it comes from a solver's file.
    honoured("variance_type", Text).or_null(),
]);

const DDIM: Table = Table(&[
    TIMESTEPS,
    BETA_START,
    BETA_END,
    BETA_SCHEDULE,
    TRAINED_BETAS,
    PREDICTION,
    SPACING,
    OFFSET,
    ZERO_SNR,
    CLIPS,
    CLIP_RANGE,
    THRESHOLDING,
    THRESHOLD_RATIO,
    THRESHOLD_MAX,
    honoured("set_alpha_to_one", Flag),
]);

const PNDM: Table = Table(&[
    TIMESTEPS,
    BETA_START,
    BETA_END,
    BETA_SCHEDULE,
    TRAINED_BETAS,
    PREDICTION,
    SPACING,
    OFFSET,
    honoured("set_alpha_to_one", Flag),
    // Settings of its own steps, for which DDIM's are used.
    harmless("skip_prk_steps", Flag),
]);

const EULER: Table = Table(&[
    TIMESTEPS,
    BETA_START,
    BETA_END,
    BETA_SCHEDULE,
    TRAINED_BETAS,
    PREDICTION,
    SPACING,
    OFFSET,
    ZERO_SNR,
    FINAL_SIGMAS,
    KARRAS,
    EXPONENTIAL,
    BETA_SIGMAS,
    refused("interpolation_type", &["linear"]),
    refused("timestep_type", &["discrete"]),
    refused("sigma_min", &[]),
    refused("sigma_max", &[]),
]);

const SOLVER: Table = Table(&[
    TIMESTEPS,
    BETA_START,
    BETA_END,
    BETA_SCHEDULE,
    TRAINED_BETAS,
    PREDICTION,
    SPACING,
    OFFSET,
    ZERO_SNR,
    FINAL_SIGMAS,
    KARRAS,
    EXPONENTIAL,
    BETA_SIGMAS,
    THRESHOLDING,
    THRESHOLD_RATIO,
    THRESHOLD_MAX,
    TIME_SHIFT,
    refused("use_lu_lambdas", NO),
    refused("use_flow_sigmas", NO),
    // Only with flow noise levels.
    harmless("flow_shift", Number),
    harmless("use_dynamic_shifting", Flag),
    refused("solver_order", &["2"]),
    refused("algorithm_type", &["dpmsolver++"]),
    refused("solver_type", &["midpoint"]),
    refused("lower_order_final", &["true"]),
    refused("euler_at_final", NO),
    refused("lambda_min_clipped", &["-Infinity", "-inf"]),
    // The solver draws no noise; a learned variance would be a network output.
    refused("variance_type", &["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"]),
]);

const FLOW: Table = Table(&[
    TIMESTEPS,
    honoured("time_shift_type", Text),
    KARRAS,
    EXPONENTIAL,
    BETA_SIGMAS,
    honoured("shift", Number),
    honoured("stochastic_sampling", Flag),
    // A shift that depends on the size of the image.
    honoured("use_dynamic_shifting", Flag),
    honoured("base_shift", Number).or_null(),
    honoured("max_shift", Number).or_null(),
    honoured("base_image_seq_len", Whole),
    honoured("max_image_seq_len", Whole),
    refused("invert_sigmas", NO),
    refused("shift_terminal", &[]),
]);

#[cfg(test)]
mod tests {
    use super::super::KINDS;
    use super::*;
    use crate::fields::declared::golden;

    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        assert_eq!(TABLES.len(), KINDS.len());
        for ((name, kind), (of, table)) in KINDS.into_iter().zip(TABLES) {
            assert_eq!(kind, of);
            golden::check(name, table);
        }
    }
}

//! Timesteps, noise and units of a diffusion run, from settings.
use std::path::Path;
use std::sync::Arc;

use datasets::images::{self, Latents};
use mdp::diffusion::LatentShape;
use mdp::diffusion::Omega;
use train::diffusion::{DrawPlan, ErrorReduction, FixedDraws, NoiseSharing, Timesteps, Units};

use crate::Failure;
use crate::settings::{DRAWS_PER_PAIR, NoiseName, OmegaName, ReductionName, TimestepsName, Values, at};

/// The units of squared errors.
pub(crate) fn units(values: &Values) -> Result<Units, Failure> {
    let horizon = values.diffusion.horizon();
    if !(horizon.is_finite() && horizon > 0.0) {
        return Err(Failure::usage(format!("`diffusion.horizon` takes a positive number, not {horizon}")));
    }
    let gamma = values.diffusion.min_snr_gamma();
    if !(gamma.is_finite() && gamma > 0.0) {
        return Err(Failure::usage(format!("`diffusion.min_snr_gamma` takes a positive number, not {gamma}")));
    }
    let omega = match values.diffusion.omega() {
        OmegaName::Snr => Omega::Snr,
        OmegaName::MinSnr => Omega::MinSnr { gamma },
        OmegaName::Constant => Omega::Constant,
    };
    let reduction = match values.diffusion.reduction() {
        ReductionName::Sum => ErrorReduction::Sum,
        ReductionName::Mean => ErrorReduction::Mean,
    };
    Ok(Units { reduction, half: values.diffusion.half(), horizon, omega })
}

/// The share of examples that learn without a condition.
pub(crate) fn empty_share(values: &Values) -> Result<f64, Failure> {
    let share = values.diffusion.empty_share();
    if !(0.0..1.0).contains(&share) {
        let text = format!("`diffusion.empty_share` takes a number from 0 to below 1, not {share}");
        return Err(Failure::usage(text));
    }
    Ok(share)
}

/// The draws of a training run; those from a file must cover `n` examples of one shape.
pub(crate) fn draws(values: &Values, given: Option<FixedDraws>) -> Result<DrawPlan, Failure> {
    let (per_example, sets) =
        (values.diffusion.draws_per_pair().unwrap_or(DRAWS_PER_PAIR), values.diffusion.draw_sets());
    for (field, n) in [(&at::diffusion::draws_per_pair, per_example), (&at::diffusion::draw_sets, sets)] {
        if n == 0 {
            return Err(Failure::usage(format!("{field} takes at least 1")));
        }
    }
    let noise = match values.diffusion.noise() {
        NoiseName::Independent => NoiseSharing::Independent,
        NoiseName::Antithetic => NoiseSharing::Antithetic,
        NoiseName::Prior => NoiseSharing::Prior,
        NoiseName::Shared => NoiseSharing::Shared,
    };
    if noise == NoiseSharing::Antithetic && per_example < 2 {
        return Err(Failure::usage("`diffusion.noise` antithetic needs `diffusion.draws_per_pair` of at least 2"));
    }
    Ok(DrawPlan {
        seed: values.run.seed(),
        per_example: inside(given.as_ref(), per_example),
        sets,
        timesteps: match values.diffusion.timesteps() {
            TimestepsName::Stratified => Timesteps::Stratified,
            TimestepsName::LogitNormal => Timesteps::LogitNormal,
            TimestepsName::Uniform => Timesteps::Uniform,
        },
        noise,
        given: given.map(Arc::new),
    })
}

/// Draws inside one sigmoid: the number in the file, else the requested one.
fn inside(given: Option<&FixedDraws>, asked: usize) -> usize {
    given.and_then(|given| given.draws.first()).map_or(asked, Vec::len)
}

/// The draws of `score`: those of a draw file, else `diffusion.draws_per_pair`.
pub(crate) fn for_scores(values: &Values, given: Option<FixedDraws>) -> Result<DrawPlan, Failure> {
    let per_example = values.diffusion.draws_per_pair().unwrap_or(DRAWS_PER_PAIR);
    if per_example == 0 {
        return Err(Failure::usage("`diffusion.draws_per_pair` takes at least 1"));
    }
    Ok(DrawPlan {
        seed: values.run.seed(),
        per_example: inside(given.as_ref(), per_example),
        sets: 1,
        timesteps: Timesteps::Uniform,
        noise: NoiseSharing::Shared,
        given: given.map(Arc::new),
    })
}

/// A file of draws: `timesteps` and `noise`, for latents from a file.
pub(crate) fn read_given(path: &Path, values: &Values, n_timesteps: usize) -> Result<FixedDraws, Failure> {
    let needed = || Failure::usage("`diffusion.draws` goes with `data.latents`: it holds noise for each of them");
    let latents = values.data.latents().ok_or_else(needed)?;
    let latents = Latents::open(Path::new(latents), crate::images::latents::kind(values))?;
    let draws = images::DrawFile::open(path, &latents, n_timesteps)?;
    given(&draws, latents.len())
}

/// The draws of some rows of a file, in their order.
pub(crate) fn of_rows(given: FixedDraws, rows: Option<&[usize]>) -> FixedDraws {
    match rows {
        None => given,
        Some(rows) => FixedDraws { draws: rows.iter().map(|&row| given.draws[row].clone()).collect() },
    }
}

/// Reads a draw file for `n` examples with latents of this shape.
pub(crate) fn read_given_for(
    path: &Path,
    examples: (usize, LatentShape),
    n_timesteps: usize,
) -> Result<FixedDraws, Failure> {
    given(&images::DrawFile::open_for(path, examples, n_timesteps)?, examples.0)
}

fn given(draws: &images::DrawFile, n: usize) -> Result<FixedDraws, Failure> {
    let of_example = |index| Ok(draws.get(index)?.into_iter().map(|draw| (draw.timestep, draw.noise)).collect());
    Ok(FixedDraws { draws: (0..n).map(of_example).collect::<Result<_, Failure>>()? })
}

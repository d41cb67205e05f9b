//! `eval`: how well a model tells the better of two answers, with intervals.
mod evaluation;
mod interval;
mod rows;

use std::path::PathBuf;

use datasets::synthetic::Split;
use train::{can_write, write_whole};

pub use self::evaluation::{Evaluation, Measurement};
use crate::embedded::is_embedded;
use crate::origin::{origin_of, run_of};
use crate::score::token::{Depth, ScoredTexts};
use crate::score::{Scored, diffusion, hybrid, token};
use crate::settings::{EvaluationSettings, Field, Modality, Values, at};
use crate::sources::names;
use crate::{Call, Failure, Reporter, denoiser};

/// Measures a model on preferences: accuracy, margin, divergence and perplexity, each with its 95% interval.
///
/// Of a run or an adapter the reference is what it came from, and the settings that scores depend on are the run's, unless
/// others are given. Of embedded data the test split is read, of files with parts validation or else test. The result is
/// also written as JSON to `run.out` where that names a file.
///
/// # Errors
/// Invalid settings; models or data that can't be read; a file that can't be written.
pub fn eval(call: Call<'_, impl EvaluationSettings>) -> Result<Evaluation, Failure> {
    let mut call = call.found(crate::keys::EVAL)?;
    let out = call.out().map(PathBuf::from);
    out.as_deref().map_or(Ok(()), can_write)?;
    follow_run(&mut call.values, call.reporter)?;
    if call.values.run.mdp() != Modality::Token {
        call.values.set(|settings| settings.data.eval_share = 0.0);
    }
    let seed = call.values.run.seed();
    let evaluation = match call.values.run.mdp() {
        Modality::Token => {
            let ScoredTexts { lines, divergences } = token::run(&call, Depth::Divergence, "eval")?;
            Evaluation::measure(&lines, &divergences, seed)
        }
        Modality::Diffusion => {
            denoiser::general_presets(&mut call.values);
            choose_pictures(&mut call.values);
            Evaluation::of_scores(&diffusion::score(&call, Split::Test, "eval")?, seed)
        }
        Modality::Hybrid => {
            choose_pictures(&mut call.values);
            Evaluation::of_scores(&hybrid::score(&mut call, Split::Test, "eval")?, seed)
        }
    };
    let evaluation = evaluation.described(&call.values);
    out.map_or(Ok(()), |out| {
        write_whole(&out, |file| {
            serde_json::to_writer_pretty(&mut *file, &evaluation)?;
            std::io::Write::write_all(file, b"\n")
        })
    })?;
    Ok(evaluation)
}

/// Summarises the lines of [`score`](crate::score()): what [`eval()`] says, without the divergence, which scores do not have.
/// The seed is that of the bootstrap.
pub fn summarise(lines: &[Scored], seed: u64) -> Evaluation {
    Evaluation::of_scores(lines, seed)
}

/// Embedded pictures are drawn as they are asked for: as many as texts, unless `data.limit` says otherwise; of others the
/// held-out part is read.
fn choose_pictures(values: &mut Values) {
    if values.data.data().is_some_and(is_embedded) {
        values.preset(|settings| settings.data.limit = Some(crate::text::MEASURED));
    } else if values.run.mdp() == Modality::Diffusion && values.data.data().is_some() {
        values.preset(|settings| "held-out".clone_into(&mut settings.data.split));
    }
}

/// The settings that scores depend on, which a run says unless the user does.
const FOLLOWED: [&Field; 15] = [
    &at::objective::beta,
    &at::objective::gamma,
    &at::data::max_length,
    &at::data::max_prompt_length,
    &at::data::truncation,
    &at::data::tokenization,
    &at::data::image_size,
    &at::diffusion::reduction,
    &at::diffusion::half,
    &at::diffusion::horizon,
    &at::diffusion::omega,
    &at::diffusion::min_snr_gamma,
    &at::model::prediction,
    &at::model::scheduler,
    &at::hybrid::template,
];

/// Sets the reference to what the model came from, and the settings of its run.
fn follow_run(values: &mut Values, reporter: &dyn Reporter) -> Result<(), Failure> {
    let Some(name) = values.model.model().map(str::to_owned) else { return Ok(()) };
    let run = run_of(&name)?;
    if let Some(run) = &run {
        values.follow(run, &FOLLOWED);
        let learned = names(run.data.sources());
        if let Some(data) = values.data.data().filter(|data| learned.contains(data) && !is_embedded(data)) {
            reporter.notice(&format!("{name} has learned from {data}: these numbers are of examples that it has seen"));
        }
    }
    if values.run.mdp() == Modality::Hybrid {
        let Some(run) = run else { return Ok(()) };
        values.preset(|settings| {
            let before = [run.hybrid.refiner_reference(), run.hybrid.generator_reference()];
            let start = [run.hybrid.refiner(), run.hybrid.generator()];
            settings.hybrid.refiner_reference = before[0].or(start[0]).map(str::to_owned);
            settings.hybrid.generator_reference = before[1].or(start[1]).map(str::to_owned);
        });
        return Ok(());
    }
    if values.model.reference().is_none()
        && let Some(origin) = origin_of(&name, values.run.mdp())?
    {
        reporter.info(&format!("`model.reference` {origin}, which {name} came from"));
        values.preset(|settings| settings.model.reference = Some(origin));
    }
    Ok(())
}

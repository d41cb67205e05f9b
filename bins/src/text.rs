//! Text data: what `--data` names, tokenised for a model.
use std::path::Path;

use datasets::synthetic::tldr::{Problem, Split};
use datasets::{Dataset, DatasetError, Example, OnBad, Reading, TokenSettings, Tokenise, Tokenization, Truncation};
use policies::BoxError;
use policies::formats::ModelFiles;
use train::token::Examples;

use crate::values::Values;
use crate::{Failure, model};

/// How many embedded pairs a run sees unless `--limit` says otherwise.
const BUILTIN_PAIRS: usize = 12_000;

/// A data set as the training loop takes it.
pub(crate) struct Data(pub(crate) Dataset);

impl Examples for Data {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn example(&self, index: usize) -> Result<Example, BoxError> {
        Ok(self.0.get(index)?)
    }
}

/// Which part of embedded data is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    HeldOut,
}

/// The tokeniser of a model, with the settings.
pub(crate) fn tokenise(files: &ModelFiles, values: &Values) -> Result<Tokenise, Failure> {
    let tokenizer = files.tokenizer()?;
    let Some(&eos) = tokenizer.eos.first() else {
        let text = format!("{}: the model names no end-of-text token (eos_token)", files.path.display());
        return Err(Failure::failed(text));
    };
    let settings = TokenSettings {
        bos: tokenizer.bos,
        prepend_bos: tokenizer.add_bos,
        max_length: values.count("data.max_length").unwrap_or(512),
        max_prompt_length: values.count("data.max_prompt_length").unwrap_or(256),
        truncation: match values.word("data.truncation") {
            "keep-start" => Some(Truncation::KeepStart),
            "keep-end" => Some(Truncation::KeepEnd),
            _ => None,
        },
        tokenization: match values.word("data.tokenization") {
            "joint" => Tokenization::Joint,
            _ => Tokenization::Separate,
        },
        ..TokenSettings::new(eos)
    };
    Tokenise::new(tokenizer.tokenizer(), model::template(files)?, settings).map_err(|error| match error {
        DatasetError::Setting { name, value, hint } => Failure::usage(format!(
            "--{} is {value}: {}",
            name.replace('_', "-"),
            hint.replace("max_prompt_length", "--max-prompt-length")
        )),
        other => other.into(),
    })
}

/// Lengths within what the model can see, and room for an answer: defaults shrink to fit, a given length that is more
/// than the model's is an error.
pub(crate) fn fit_lengths(values: &mut Values, files: &ModelFiles) -> Result<(), Failure> {
    let most = files.config.max_positions;
    let mut wanted = values.count("data.max_length").unwrap_or(512);
    if wanted > most {
        if values.is_given("data.max_length") {
            let text = format!("--max-length {wanted} is more than the {most} positions of {}", files.path.display());
            return Err(Failure::usage(text));
        }
        wanted = most;
        values.preset("data.max_length", &wanted.to_string());
    }
    if values.count("data.max_prompt_length").unwrap_or(256) >= wanted {
        values.preset("data.max_prompt_length", &(wanted / 2).to_string());
    }
    Ok(())
}

/// Opens what a data argument names.
pub(crate) fn open(name: &str, part: Part, tokenise: &Tokenise, values: &Values) -> Result<Dataset, Failure> {
    let limit = values.count("data.limit");
    if limit == Some(0) {
        return Err(Failure::usage("--limit takes at least 1"));
    }
    if let Some(builtin) = name.strip_prefix("builtin:") {
        return builtin_data(builtin, part, tokenise, values, limit);
    }
    let format = values.word("data.format");
    let reading = Reading {
        format: if format == "auto" { None } else { Some(format.parse()?) },
        on_bad: if values.word("data.on_bad") == "skip" { OnBad::Skip } else { OnBad::Fail },
        split: None,
    };
    let data = datasets::open(Path::new(name), reading, tokenise)?;
    match limit {
        Some(limit) if limit < data.len() => Ok(data.select(&(0..limit).collect::<Vec<_>>())?),
        _ => Ok(data),
    }
}

fn builtin_data(
    name: &str,
    part: Part,
    tokenise: &Tokenise,
    values: &Values,
    limit: Option<usize>,
) -> Result<Dataset, Failure> {
    let problem = Problem::new(values.count("run.seed").unwrap_or(0) as u64);
    let (split, most) = match part {
        Part::Train => (Split::Train, limit.unwrap_or(BUILTIN_PAIRS)),
        Part::HeldOut => (Split::Validation, values.count("train.eval_examples").unwrap_or(256)),
    };
    let full = format!("builtin:{name}");
    match name {
        "tldr" => Ok(Dataset::from_records(&full, problem.pair_records(split, most as u64), tokenise)?),
        "tldr-demonstrations" => {
            Ok(Dataset::from_records(&full, problem.demonstration_records(split, most as u64), tokenise)?)
        }
        _ => {
            let text =
                format!("there is no embedded data `{full}`; there are builtin:tldr and builtin:tldr-demonstrations");
            Err(Failure::usage(text))
        }
    }
}

/// Training and held-out examples.
pub(crate) fn open_split(tokenise: &Tokenise, values: &Values) -> Result<(Dataset, Option<Dataset>), Failure> {
    let name = values.text("data.data").ok_or_else(|| Failure::usage("--data is needed with --model"))?;
    let data = open(name, Part::Train, tokenise, values)?;
    if let Some(held_out) = values.text("data.eval_data") {
        return Ok((data, Some(open(held_out, Part::HeldOut, tokenise, values)?)));
    }
    let share = values.number("data.eval_share").unwrap_or(0.0);
    if !(0.0..1.0).contains(&share) {
        return Err(Failure::usage(format!("--eval-share takes a number from 0 to below 1, not {share}")));
    }
    if share == 0.0 {
        return Ok((data, None));
    }
    if name.starts_with("builtin:") {
        let held_out = open(name, Part::HeldOut, tokenise, values)?;
        return Ok((data, Some(held_out)));
    }
    let (rest, held_out) = data.hold_out(share, values.count("run.seed").unwrap_or(0) as u64)?;
    if rest.is_empty() {
        let text = format!("--eval-share {share} holds all {} examples out and leaves none to learn from", data.len());
        return Err(Failure::usage(text));
    }
    Ok((rest, Some(held_out)))
}

//! Text data from `data.data`, tokenised for a model.
mod idle;
mod training;

use std::ops::Range;
use std::path::Path;

use datasets::pairs::Modality;
use datasets::synthetic::Split;
use datasets::{
    Dataset, DatasetError, Format, OnBad, Opening, ReadOptions, ReadingChoices, TokenSettings, Tokenise, Tokenization,
    TreePairs, Truncation,
};
use models::causal::GenerationConfig;
use models::formats::{ModelFiles, ModelTokenizer};

use crate::columns::columns;
use crate::embedded::{EmbeddedTexts, is_embedded, listed};
use crate::judged_pairs::{JudgedPairs, is_pair_folder};
use crate::settings::{Broken, FormatName, Loss, TokenizationName, TreePairsName, TruncationName, Values, at};
use crate::{Failure, Reporter, model};

pub(crate) use self::idle::{refuse_idle, refuse_idle_template};
pub(crate) use self::training::{MixedTexts, TrainingTexts, open_split};

/// Losses of labelled answers, which can't use a tie.
const TAKES_NO_TIES: [Loss; 5] = [Loss::Kto, Loss::PlackettLuce, Loss::Sft, Loss::Aot, Loss::AotUnpaired];

/// The sampling settings of answers.
pub(crate) fn generation(values: &Values, tokenizer: &ModelTokenizer, max_new: usize) -> GenerationConfig {
    GenerationConfig {
        temperature: values.sample.temperature(),
        top_k: values.sample.top_k(),
        top_p: values.sample.top_p(),
        min_p: values.sample.min_p(),
        repetition_penalty: values.sample.repetition_penalty(),
        max_new,
        eos: tokenizer.eos.clone(),
        vocabulary: Some(tokenizer.n_tokens()),
    }
}

/// A part of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    /// What is held out of training; of embedded data the validation split.
    HeldOut,
    /// What a finished model is measured on; of embedded data the test split.
    Measured,
}

/// Embedded examples that a model is measured on, unless `data.limit` says otherwise.
pub(crate) const MEASURED: usize = 512;

/// The tokenisation of a model under the settings.
pub(crate) fn tokenise(files: &ModelFiles, values: &Values) -> Result<Tokenise, Failure> {
    let settings = TokenSettings {
        max_length: values.data.max_length(),
        max_prompt_length: Some(values.data.max_prompt_length()).filter(|most| *most > 0),
        truncation: match values.data.truncation() {
            TruncationName::Auto => None,
            TruncationName::KeepStart => Some(Truncation::KeepStart),
            TruncationName::KeepEnd => Some(Truncation::KeepEnd),
            TruncationName::KeepBoth => Some(Truncation::KeepBoth),
        },
        tokenization: match values.data.tokenization() {
            TokenizationName::Joint => Tokenization::Joint,
            TokenizationName::Separate => Tokenization::Separate,
        },
        vocabulary: Some(files.config.vocabulary),
        ..settings_of(files.tokenizer()?)?
    };
    with_templates(files.tokenizer()?, settings).map_err(|error| match error {
        DatasetError::Setting { name, value, hint } => Failure::usage(format!(
            "`data.{name}` is {value}: {}",
            hint.replace("max_prompt_length", "`data.max_prompt_length`")
        )),
        other => other.into(),
    })
}

/// The tokenisation of a model without length limits, for callers that check lengths.
pub(crate) fn plain_tokenise(files: &ModelFiles) -> Result<Tokenise, Failure> {
    plain_tokenise_of(files.tokenizer()?)
}

/// The same for a tokenizer alone.
pub(crate) fn plain_tokenise_of(tokenizer: &ModelTokenizer) -> Result<Tokenise, Failure> {
    Ok(with_templates(tokenizer, settings_of(tokenizer)?)?)
}

/// The tokens that begin and end texts, BOS and EOS.
fn settings_of(tokenizer: &ModelTokenizer) -> Result<TokenSettings, Failure> {
    let Some(&eos) = tokenizer.eos.first() else {
        let text = format!("{}: the model names no end-of-text token (eos_token)", tokenizer.path.display());
        return Err(Failure::failed(text));
    };
    Ok(TokenSettings { ends: tokenizer.eos.clone(), bos: tokenizer.bos, ..TokenSettings::new(eos) })
}

fn with_templates(tokenizer: &ModelTokenizer, settings: TokenSettings) -> Result<Tokenise, DatasetError> {
    let tools = if tokenizer.chat_templates.len() > 1 { model::template(tokenizer, true)? } else { None };
    Ok(Tokenise::new(tokenizer.tokenizer(), model::template(tokenizer, false)?, settings)?.with_tool_template(tools))
}

/// Fits lengths to the model's context and leaves room for an answer: defaults shrink, a given length above the model's
/// is an error.
pub(crate) fn fit_lengths(values: &mut Values, files: &ModelFiles) -> Result<(), Failure> {
    let most = files.config.max_positions;
    let mut wanted = values.data.max_length();
    if wanted < 2 {
        return Err(Failure::usage(format!(
            "`data.max_length` takes at least 2 (a prompt and an answer), not {wanted}"
        )));
    }
    if wanted > most {
        if values.is_given(&at::data::max_length) {
            let text =
                format!("`data.max_length` {wanted} is more than the {most} positions of {}", files.path.display());
            return Err(Failure::usage(text));
        }
        wanted = most;
        values.preset(|settings| settings.data.max_length = wanted);
    }
    if values.data.max_prompt_length() >= wanted {
        values.preset(|settings| settings.data.max_prompt_length = wanted / 2);
    }
    Ok(())
}

/// Opens the data set of a setting.
pub(crate) fn open(
    name: &str,
    part: Part,
    tokenise: &Tokenise,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<Dataset, Failure> {
    let limit = values.data.limit();
    if limit == Some(0) {
        return Err(Failure::usage("`data.limit` takes at least 1"));
    }
    if is_embedded(name) {
        if !matches!(values.data.split(), "auto" | "train" | "held-out") {
            return Err(Failure::usage(
                "`data.split` is for files: embedded data is always learned from its train split",
            ));
        }
        return embedded(name, part, tokenise, values, limit);
    }
    let reading = reading(part, values)?;
    let path = Path::new(name);
    if is_pair_folder(path) {
        let mut judged = JudgedPairs::open(path, &[Modality::Token], values, reporter)?;
        if TAKES_NO_TIES.contains(&values.objective.name()) {
            judged.leave_ties_out(path)?;
        }
        judged.preferences.truncate(reading.limit.map_or(usize::MAX, |limit| limit as usize));
        let records = judged.folder.records(&judged.preferences)?;
        return Ok(Dataset::from_records(name, records, tokenise, reading.on_bad)?);
    }
    let bar = std::cell::OnceCell::new();
    let mut progress = |n: usize| bar.get_or_init(|| reporter.bar("tokenise", 0)).set_position(n as u64);
    let cache = reporter.token_cache();
    let opening = Opening { cache: cache.as_ref(), progress: Some(&mut progress) };
    let opened = datasets::open_with(path, reading.clone(), tokenise, opening);
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    let opened = opened.map_err(|error| unread(error, &reading))?;
    if opened.is_from_cache {
        reporter.info(&format!("tokens of {name} read from the cache"));
    }
    if let Some(error) = opened.unwritten {
        reporter.info(&format!("tokens of {name} are not kept for the next start: {error}"));
    }
    Ok(opened.data)
}

/// Turns a read error into a failure that names the setting to change.
pub(crate) fn unread(error: DatasetError, reading: &ReadOptions) -> Failure {
    match (&error, &reading.split) {
        (DatasetError::NoShards { .. }, Some(_)) => {
            Failure::failed(format!("{error} (`data.split` says which part is read; all: every one)"))
        }
        _ => error.into(),
    }
}

/// The read options of a file; a held-out file that the user names has no limit.
fn reading(part: Part, values: &Values) -> Result<ReadOptions, Failure> {
    Ok(ReadOptions {
        format: format_of(values.data.format()),
        split: split(part, values),
        limit: values.data.limit().filter(|_| part != Part::HeldOut).map(|limit| limit as u64),
        on_bad: on_bad(values.data.on_bad()),
        columns: columns(values, Modality::Token)?,
        choices: choices(values),
    })
}

/// How records are read that can be read in several ways.
fn choices(values: &Values) -> ReadingChoices {
    ReadingChoices {
        assistant_only: values.data.assistant_only(),
        tree_pairs: match values.data.tree_pairs() {
            TreePairsName::List => TreePairs::List,
            TreePairsName::Adjacent => TreePairs::Adjacent,
            TreePairsName::All => TreePairs::All,
            TreePairsName::BestWorst => TreePairs::BestWorst,
            TreePairsName::Forest => TreePairs::Forest,
        },
    }
}

/// The format of a setting; `None`: detected from the first record.
fn format_of(name: FormatName) -> Option<Format> {
    Some(match name {
        FormatName::Auto => return None,
        FormatName::Trl => Format::Trl,
        FormatName::Tldr => Format::Tldr,
        FormatName::Hh => Format::Hh,
        FormatName::Ultrafeedback => Format::Ultrafeedback,
        FormatName::Kto => Format::Kto,
        FormatName::Ranked => Format::Ranked,
        FormatName::Tree => Format::Tree,
        FormatName::Demonstration => Format::Demonstration,
    })
}

/// The policy for broken records.
pub(crate) fn on_bad(broken: Broken) -> OnBad {
    match broken {
        Broken::Skip => OnBad::Skip,
        Broken::Fail => OnBad::Fail,
    }
}

/// The split to read of files with splits; `None`: all.
pub(crate) fn split(part: Part, values: &Values) -> Option<datasets::SplitChoice> {
    match (values.data.split(), part) {
        ("all", _) => None,
        ("held-out", _) | ("auto", Part::HeldOut | Part::Measured) => Some(datasets::SplitChoice::HeldOut),
        ("auto" | "train", Part::Train) | ("train", Part::HeldOut | Part::Measured) => {
            Some(datasets::SplitChoice::Train)
        }
        (name, _) => Some(datasets::SplitChoice::Named(name.to_owned())),
    }
}

fn embedded(
    name: &str,
    part: Part,
    tokenise: &Tokenise,
    values: &Values,
    limit: Option<usize>,
) -> Result<Dataset, Failure> {
    let Some(texts) = EmbeddedTexts::all().find(|texts| texts.name == name) else {
        let known = listed(EmbeddedTexts::all().map(|texts| texts.name));
        return Err(Failure::usage(format!("there is no embedded data `{name}`; there are {known}")));
    };
    let (split, most) = match part {
        Part::Train => (Split::Train, limit.unwrap_or(texts.usual_n)),
        Part::HeldOut => (Split::Validation, values.train.eval_examples()),
        Part::Measured => (Split::Test, limit.unwrap_or(MEASURED)),
    };
    let records = (texts.records)(values.run.seed(), split, most as u64);
    Ok(Dataset::from_records(name, records, tokenise, OnBad::Fail)?)
}

/// The text of tokens, and the characters that each covers; those of one character all cover it.
pub(crate) fn places(tokenizer: &ModelTokenizer, tokens: &[u32]) -> Result<(String, Vec<Range<usize>>), Failure> {
    let whole = tokenizer.decode_bytes(tokens)?;
    let mut ends = vec![0];
    for n in 1..=tokens.len() {
        let end = tokenizer.decode_bytes(&tokens[..n])?.len();
        ends.push(end.clamp(ends[n - 1], whole.len()));
    }
    let text = String::from_utf8_lossy(&whole).into_owned();
    let n_characters = text.chars().count();
    // Characters that have begun before a byte, and whether the last of them goes on behind it.
    let begun = |byte: usize| String::from_utf8_lossy(&whole[..byte]).chars().count().min(n_characters);
    let goes_on = |byte: usize| usize::from(whole.get(byte).is_some_and(|next| next & 0xC0 == 0x80));
    let place = |pair: &[usize]| {
        let end = begun(pair[1]);
        begun(pair[0]).saturating_sub(goes_on(pair[0])).min(end)..end
    };
    Ok((text, ends.windows(2).map(place).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[&str], part: Part) -> ReadOptions {
        let mut values = Values::default();
        for setting in settings {
            values.merge_set(setting).unwrap();
        }
        reading(part, &values).unwrap()
    }

    #[test]
    fn auto_learns_from_the_train_split_and_holds_out_another() {
        use datasets::SplitChoice::{HeldOut, Named, Train};
        let splits = |settings: &[&str]| [Part::Train, Part::HeldOut].map(|part| read(settings, part).split);
        assert_eq!(splits(&[]), [Some(Train), Some(HeldOut)]);
        assert_eq!(splits(&["data.split=all"]), [None, None]);
        assert_eq!(splits(&["data.split=train"]), [Some(Train), Some(Train)]);
        let named = || Some(Named("test_prefs".to_owned()));
        assert_eq!(splits(&["data.split=test_prefs"]), [named(), named()]);
    }

    #[test]
    fn the_limit_is_for_the_data_not_for_eval_data() {
        let limits = [Part::Train, Part::HeldOut].map(|part| read(&["data.limit=7"], part).limit);
        assert_eq!(limits, [Some(7), None]);
        assert_eq!(read(&[], Part::Train).limit, None);
    }
}

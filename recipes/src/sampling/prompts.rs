//! Reads prompts.
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use datasets::synthetic::Split;
use datasets::{ColumnMap, Prompt, Text};

use crate::columns::columns;
use crate::embedded::{find, is_embedded, listed, owner, problems};
use crate::origin::origin_of;
use crate::settings::{Modality, Values};
use crate::{Failure, Reporter, denoiser, model};

/// Embedded prompts, and pictures of a model that reads none, unless `sample.limit` says otherwise.
pub(super) const BUILTIN_PROMPTS: usize = 8;

/// Where prompts come from.
pub(crate) enum PromptSource {
    /// The texts of `sample.prompt`.
    Texts(Vec<String>),
    /// A file, a folder, or an embedded problem.
    Named(String),
}

impl PromptSource {
    /// What the settings name, else the embedded problem `own` of the model.
    ///
    /// # Errors
    /// There is neither.
    pub(crate) fn of(values: &Values, own: Option<&'static str>) -> Result<Self, Failure> {
        let texts = values.sample.prompt();
        if !texts.is_empty() {
            return Ok(Self::Texts(texts.to_vec()));
        }
        let named = values.sample.prompts().or(own).map(|name| Self::Named(name.to_owned()));
        named.ok_or_else(|| {
            Failure::usage(
                "there is nothing to answer: give `sample.prompt` TEXT (once for each), or `sample.prompts` FILE of records or \
                 lines of text, - for standard input; only embedded models have prompts of their own",
            )
        })
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Texts(_) => "`sample.prompt`",
            Self::Named(name) => name,
        }
    }

    /// The prompts, as many as the settings limit them to.
    pub(crate) fn read(&self, values: &Values, reporter: &dyn Reporter) -> Result<Vec<Prompt>, Failure> {
        let mut prompts = match self {
            Self::Texts(texts) => texts.iter().map(|text| Text::Plain(text.clone()).into()).collect(),
            Self::Named(name) => read_prompts(name, values, reporter)?,
        };
        prompts.truncate(values.sample.limit().unwrap_or(usize::MAX));
        Ok(prompts)
    }
}

/// The embedded problem of a model, or of what a run or an adapter came from.
pub(crate) fn own_problem(name: &str, mdp: Modality) -> Option<&'static str> {
    /// Runs that began with runs, as rounds do.
    const MOST: usize = 1000;
    let mut name = name.to_owned();
    for _ in 0..MOST {
        // The base of an adapter is known wherever the run that it began with is.
        let base = match mdp {
            Modality::Diffusion => denoiser::base_of(&name),
            Modality::Token | Modality::Hybrid => model::base_of(&name),
        };
        if let Some(known) = [Some(name.clone()), base.ok()].into_iter().flatten().find(|name| is_embedded(name)) {
            return owner(&known, mdp).map(|problem| problem.name);
        }
        name = origin_of(&name, mdp).ok().flatten()?;
    }
    None
}

/// The prompts that `sample.prompts` names.
pub(crate) fn read_prompts(source: &str, values: &Values, reporter: &dyn Reporter) -> Result<Vec<Prompt>, Failure> {
    let n = values.sample.limit().unwrap_or(BUILTIN_PROMPTS) as u64;
    if is_embedded(source) {
        return embedded_prompts(source, Split::Test, 0..n, values);
    }
    from_file(source, values, reporter)
}

/// Prompts of an embedded problem, by their numbers in a split.
pub(crate) fn embedded_prompts(
    source: &str,
    split: Split,
    numbers: Range<u64>,
    values: &Values,
) -> Result<Vec<Prompt>, Failure> {
    let seed = values.run.seed();
    let Some(problem) = find(source) else {
        let known = listed(problems().map(|problem| problem.name));
        return Err(Failure::usage(format!("there are no embedded prompts `{source}`; there are {known}")));
    };
    Ok(numbers.map(|index| Text::Plain((problem.prompt)(seed, split, index)).into()).collect())
}

/// The prompts in a file or folder: what its records ask, or one a line of text.
fn from_file(source: &str, values: &Values, reporter: &dyn Reporter) -> Result<Vec<Prompt>, Failure> {
    let path = Path::new(source);
    let columns = columns(values, values.run.mdp())?;
    let is_text = path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("txt"));
    let prompts = if datasets::reading::holds_records(path)? {
        from_records(path, &columns, values, reporter)?
    } else if columns != ColumnMap::default() {
        let text = format!("`data.map` is for files of records: {source} holds lines of text, which have no columns");
        return Err(Failure::usage(text));
    } else if is_text || !path.is_file() {
        from_lines(path)?
    } else {
        let known = "records (JSON lines, a JSON array, .csv, each also with gzip or zstd, Parquet, a folder of them) or lines of text (.txt)";
        return Err(Failure::failed(format!("{source}: neither its name nor its first bytes are those of {known}")));
    };
    if prompts.is_empty() {
        return Err(Failure::failed(format!("{source}: there are no prompts in it")));
    }
    Ok(prompts)
}

/// Reads the prompts of records; of a folder with parts those of the training part, as of `data.data`.
fn from_records(
    path: &Path,
    columns: &ColumnMap,
    values: &Values,
    reporter: &dyn Reporter,
) -> Result<Vec<Prompt>, Failure> {
    let source = path.display();
    let shards = datasets::reading::shards(path, Some(&datasets::SplitChoice::Train))?;
    if let Some(part) = &shards.part {
        reporter.info(&format!("{source}: {part}"));
    }
    let makes_pictures = values.run.mdp() == Modality::Diffusion;
    let ask = if makes_pictures { datasets::formats::caption } else { datasets::formats::prompt };
    let mut not_read: BTreeMap<String, usize> = BTreeMap::new();
    let mut prompts = Vec::new();
    for file in shards.files {
        for row in datasets::reading::rows(&file)? {
            let (origin, record) = columns.renamed(row?, prompts.is_empty())?;
            let asked = ask(&origin, &record)?;
            asked.not_read.into_iter().for_each(|name| *not_read.entry(name).or_default() += 1);
            prompts.push(asked.prompt);
        }
    }
    if !not_read.is_empty() {
        let names: Vec<String> = not_read.iter().map(|(name, n)| format!("{name} ({n})")).collect();
        reporter.info(&format!("{source}: not read: {}", names.join(", ")));
    }
    Ok(prompts)
}

fn from_lines(path: &Path) -> Result<Vec<Prompt>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.trim().is_empty());
    Ok(lines.map(|line| Text::Plain(line.to_owned()).into()).collect())
}

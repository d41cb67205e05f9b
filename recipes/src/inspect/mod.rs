//! `inspect`.
mod images;
mod run;
mod shown;

use std::fmt;
use std::path::{Path, PathBuf};

use datasets::{Audit, ImageAudit, PairFolder};
use models::formats::{Holding, ModelFiles};

use crate::embedded::{ModelKind, owner, usual};
use crate::keys::{Subject, idle};
use crate::settings::{InspectionSettings, Modality};
use crate::{Call, Failure, denoiser, model, named, text, torchscript};

pub use shown::{ShownAnswer, ShownRecord, ShownRun};

/// A description. It is displayed as text: the heading, the rows, the audit, the tables.
#[derive(Clone, Debug)]
pub struct Description {
    /// The subject.
    pub heading: String,
    /// Names and values.
    pub rows: Vec<(String, String)>,
    /// The audit of a data set; `None` for other subjects.
    pub audit: Option<DataAudit>,
    /// Tables of a run's metrics.
    pub tables: Vec<String>,
    /// The first records of text data as the model reads them, as many as `data.show`; they are not displayed.
    pub records: Vec<ShownRecord>,
}

/// The audit of a data set, by its kind.
#[derive(Clone, Debug)]
pub enum DataAudit {
    /// Of texts.
    Texts(Box<Audit>),
    /// Of pictures.
    Pictures(Box<ImageAudit>),
}

impl fmt::Display for DataAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Texts(audit) => audit.fmt(f),
            Self::Pictures(audit) => audit.fmt(f),
        }
    }
}

impl Description {
    fn of(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), rows: Vec::new(), audit: None, tables: Vec::new(), records: Vec::new() }
    }

    fn audited(heading: String, audit: DataAudit) -> Self {
        Self { audit: Some(audit), ..Self::of(heading) }
    }

    fn with_rows<N: Into<String>>(heading: impl Into<String>, rows: impl IntoIterator<Item = (N, String)>) -> Self {
        Self { rows: rows.into_iter().map(|(name, value)| (name.into(), value)).collect(), ..Self::of(heading) }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading)?;
        self.rows.iter().try_for_each(|(name, value)| write!(f, "\n  {name:<14}{value}"))?;
        self.audit.as_ref().map_or(Ok(()), |audit| write!(f, "\n{audit}"))?;
        self.tables.iter().try_for_each(|table| write!(f, "\n\n{table}"))
    }
}

/// Describes a model, a data set, a run, a pair folder or a tensor file.
///
/// Of data, `model.model` is the model whose tokenizer reads it.
///
/// # Errors
/// Settings that nothing reads; unreadable files.
pub fn inspect(call: Call<'_, impl InspectionSettings>, path: Option<PathBuf>) -> Result<Description, Failure> {
    let call = &call.found(crate::keys::INSPECT)?;
    let path = path.map(|path| named::find_any(path, call.reporter)).transpose()?;
    let subject = subject(path.as_deref(), call.values.data.data(), call.values.model.model())?;
    idle::refuse_beside(&subject, &call.values)?;
    let path = path.unwrap_or_default();
    let name = path.display().to_string();
    match subject {
        Subject::Model => Ok(inspect_model(&model::load_held(&name, &call.values, Holding::Quantised)?)),
        Subject::Denoiser => images::inspect_denoiser(&name, &call.values),
        Subject::Texts(data, model) => inspect_data(call, &data, &model),
        Subject::Pictures(data, model) => images::inspect_pictures(&data, model.as_deref(), &call.values),
        Subject::Run => run::inspect(&path),
        Subject::Pairs => inspect_pairs(&path),
        Subject::Tensors => images::inspect_tensors(&name),
    }
}

/// Finds out what is inspected.
fn subject(path: Option<&Path>, data: Option<&str>, model: Option<&str>) -> Result<Subject, Failure> {
    // Without `model.model`, the embedded model's tokenizer reads texts.
    let texts = |data: &str, model: &str| Subject::Texts(data.to_owned(), model.to_owned());
    let reader = model.unwrap_or(usual(Modality::Token).model_name(ModelKind::Language));
    let read = |data: &str| match model.filter(|model| denoiser::is_one(model)) {
        Some(model) => Subject::Pictures(data.to_owned(), Some(model.to_owned())),
        None if model.is_none() && images::is_pictures(data) => Subject::Pictures(data.to_owned(), None),
        None => texts(data, reader),
    };
    let Some(path) = path else {
        let data = data.ok_or_else(|| Failure::usage("inspect what? Name a model, a data set or a run"))?;
        return Ok(read(data));
    };
    let name = path.display().to_string();
    if let Some(data) = data {
        check_reader(&name, data, model)?;
    }
    Ok(match data {
        Some(data) if denoiser::is_one(&name) => Subject::Pictures(data.to_owned(), Some(name)),
        Some(data) => texts(data, &name),
        None if model.is_some() && path.join("pairs.json").is_file() => texts(&name, reader),
        None if is_run(path) => Subject::Run,
        None if path.join("pairs.json").is_file() => Subject::Pairs,
        None if denoiser::is_one(&name) => Subject::Denoiser,
        None if name.ends_with(".safetensors") => Subject::Tensors,
        None if torch::find(&name).is_some() => Subject::Model,
        None if is_data(path) || is_text_data(&name) => {
            refuse_runs(path)?;
            read(&name)
        }
        None => Subject::Model,
    })
}

/// Whether a name is that of embedded texts rather than a model.
fn is_text_data(name: &str) -> bool {
    owner(name, Modality::Token)
        .is_some_and(|problem| name != problem.name && problem.texts.iter().any(|texts| texts.name == name))
}

fn is_run(path: &Path) -> bool {
    path.join("config.toml").is_file() && path.join("checkpoints").is_dir()
}

/// Checks that what is named beside `data.data` may be the model that reads it, and that no other is named.
fn check_reader(name: &str, data: &str, model: Option<&str>) -> Result<(), Failure> {
    if datasets::reading::is_named_records(name) {
        let text =
            format!("{name} and `data.data` {data} are two data sets: name one, and its model with `model.model`");
        return Err(Failure::usage(text));
    }
    match model {
        Some(model) => {
            let text = format!("`model.model` {model}: {name} is the model that reads `data.data` already");
            Err(Failure::usage(text))
        }
        None => Ok(()),
    }
}

/// Refuses a folder of runs, whose files are no records.
fn refuse_runs(path: &Path) -> Result<(), Failure> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut runs: Vec<String> =
        entries.map(|entry| entry.path()).filter(|path| is_run(path)).map(|path| path.display().to_string()).collect();
    if runs.is_empty() {
        return Ok(());
    }
    runs.sort();
    let more = if runs.len() > 3 { ", .." } else { "" };
    runs.truncate(3);
    let text = format!(
        "{}: a folder of runs ({}{more}): name one of them, or compare them with the verb `report`",
        path.display(),
        runs.join(", ")
    );
    Err(Failure::usage(text))
}

fn is_data(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    datasets::reading::is_named_records(name)
        || (path.is_dir()
            && !path.join("config.json").is_file()
            && !path.join("adapter_config.json").is_file()
            && models::formats::gguf_files(path).is_empty())
}

fn inspect_data(call: &Call<'_>, data: &str, model: &str) -> Result<Description, Failure> {
    let (mut values, files) = (call.values.clone(), model::load_held(model, &call.values, Holding::Quantised)?);
    text::fit_lengths(&mut values, &files)?;
    let tokenise = text::tokenise(&files, &values)?;
    let data_set = text::open(data, text::Part::Train, &tokenise, &values, call.reporter)?;
    text::refuse_idle(&values, data_set.audit())?;
    let audit = DataAudit::Texts(Box::new(data_set.audit().clone()));
    let records = shown::records(&data_set, files.tokenizer()?, values.data.show())?;
    Ok(Description { records, ..Description::audited(format!("{data}, with the tokenizer of {model}"), audit) })
}

fn inspect_model(files: &ModelFiles) -> Description {
    let config = &files.config;
    let n = files.n_parameters();
    let mut rows = vec![
        ("architecture", torchscript::architecture(config).to_owned()),
        ("parameters", format!("{n} ({:.1} MB in f32)", n as f64 * 4.0 / 1e6)),
        ("layers", config.n_layers.to_string()),
        ("width", config.width.to_string()),
        ("vocabulary", config.vocabulary.to_string()),
        ("positions", config.max_positions.to_string()),
        ("tied", config.tied.to_string()),
    ];
    if config.external.is_some() {
        rows.retain(|(name, _)| !matches!(*name, "layers" | "width" | "tied"));
    }
    let ignored = config.ignored_settings();
    if !ignored.is_empty() {
        rows.push(("ignored", format!("{} (no settings of this architecture in transformers)", ignored.join(", "))));
    }
    match &files.tokenizer {
        None => rows.push(("tokenizer", "none".into())),
        Some(tokenizer) => {
            rows.push(("tokenizer", format!("{} tokens, EOS {:?}", tokenizer.n_tokens(), tokenizer.eos)));
            let begins =
                if tokenizer.prefix.is_empty() { "nothing".to_owned() } else { format!("{:?}", tokenizer.prefix) };
            rows.push(("before texts", begins));
            let names: Vec<&str> = tokenizer.chat_templates.keys().map(String::as_str).collect();
            rows.push(("chat template", if names.is_empty() { "no".to_owned() } else { names.join(", ") }));
            if tokenizer.n_tokens() > config.vocabulary {
                let text = format!("tokens from {} on have no row in the embedding: resize it", config.vocabulary);
                rows.push(("odd", text));
            }
            rows.extend(tokenizer.notes.iter().map(|note| ("note", note.clone())));
        }
    }
    Description::with_rows(files.path.display().to_string(), rows)
}

/// Describes a pair folder and its judgements.
fn inspect_pairs(path: &Path) -> Result<Description, Failure> {
    let pairs = PairFolder::open(path)?;
    let labels = pairs.labels()?;
    let preferences = labels.preferences();
    let ties = preferences.iter().filter(|preference| preference.a_is_better == 0.5).count();
    let mut rows = vec![
        ("modality", pairs.modality().name().to_owned()),
        ("pairs", pairs.len().to_string()),
        ("id", pairs.id().to_owned()),
        ("judged", format!("{} ({ties} ties)", preferences.len())),
    ];
    let labellers = labels.labellers().into_iter().map(|name| format!("{name} ({})", labels.count(name)));
    rows.push(("by", labellers.collect::<Vec<_>>().join(", ")));
    if let Some(agreement) = labels.agreement() {
        let kappa = agreement.kappa.map(|kappa| format!(", {} {kappa:.2}", agreement.kind.name())).unwrap_or_default();
        rows.push(("agreement", format!("{:.0}% of {}{kappa}", agreement.share * 100.0, agreement.pairs)));
    }
    Ok(Description::with_rows(path.display().to_string(), rows))
}

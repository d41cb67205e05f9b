//! `judge`: an oracle, a reward model, or the implicit reward of a run compares the pairs of a folder.
pub(crate) mod reward;

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use datasets::pairs::{
    Judge, Judgement, JudgementChange, JudgementLog, LabelChoice, Modality, PairFolder, Side, StoredResult,
};
use datasets::synthetic::ComparisonOutcome;
use train::statistics::wilson;

use self::reward::JudgeReward;
use crate::embedded::{Oracle, problems};
use crate::settings::{Broken, DRAWS_PER_PAIR, Data, Diffusion, Hybrid, JudgingSettings, Model, Run, Settings, Values};
use crate::trained::open_run;
use crate::{Call, Failure, Reporter, score};

/// The labeller name of the oracle.
const ORACLE: &str = "oracle";

/// Pairs that are judged between writes of the label log.
const AT_ONCE: usize = 16;

/// The default number of noise draws per side with which a denoiser judges; a run with more uses its own.
const DRAWS: usize = 16;

/// Compares the pairs that the judge has not compared yet, and adds its judgements to the folder's labels.
///
/// # Errors
/// Invalid settings, a judge for other kinds of pairs, unreadable or unwritable files.
pub fn judge(call: Call<'_, impl JudgingSettings>) -> Result<JudgeCounts, Failure> {
    let call = call.untyped();
    let folder =
        call.values.label.pairs().ok_or_else(|| Failure::usage("judge what? Name a folder: `label.pairs` DIR"))?;
    judge_all(Path::new(folder), call.values.judge.judge(), call.values.run.device(), call.reporter)
}

/// The counts of a judge's choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JudgeCounts {
    /// Side a is better.
    pub a: usize,
    /// Ties.
    pub ties: usize,
    /// Side b is better.
    pub b: usize,
}

impl fmt::Display for JudgeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, ties, b } = self;
        write!(f, "{a} times a, {b} times b, {ties} ties")?;
        let (won, n) = (self.won(), (a + b + ties) as f64);
        let (low, high) = wilson(won, n);
        if n > 0.0 { write!(f, "; a wins {:.3} (95% {low:.3} to {high:.3})", won / n) } else { Ok(()) }
    }
}

impl JudgeCounts {
    /// The number of wins of side a, with ties as one half.
    pub fn won(&self) -> f64 {
        self.a as f64 + 0.5 * self.ties as f64
    }

    /// Counts choices.
    pub(crate) fn of(choices: impl IntoIterator<Item = LabelChoice>) -> Self {
        choices.into_iter().fold(Self::default(), |counts, choice| match choice {
            LabelChoice::A => Self { a: counts.a + 1, ..counts },
            LabelChoice::B => Self { b: counts.b + 1, ..counts },
            LabelChoice::Tie | LabelChoice::Skip => Self { ties: counts.ties + 1, ..counts },
        })
    }
}

/// Checks the name of a judge before any pairs exist.
pub(crate) fn check(judge: &str) -> Result<(), Failure> {
    let path = Path::new(judge);
    match judge {
        ORACLE | "people" => Ok(()),
        _ if JudgeReward::is_folder(path) => Ok(()),
        _ if open_run(path).is_ok() && path.join("model").is_dir() => Ok(()),
        _ => Err(Failure::usage(format!(
            "`judge.judge` takes oracle, people (with `rounds.rounds`), the folder of a reward model (..ForSequenceClassification \
             for texts, CLIPModel for pictures) or of a finished run, not `{judge}`"
        ))),
    }
}

/// Checks that a judge can compare pairs of this kind before any exist; loads a reward model to do so.
pub(crate) fn check_for(judge: &str, modality: Modality, device: &str) -> Result<(), Failure> {
    check(judge)?;
    match judge {
        ORACLE | "people" => Ok(()),
        folder if JudgeReward::is_folder(Path::new(folder)) => JudgeReward::load(folder, modality, device).map(drop),
        run => settings_of(run, modality).map(drop),
    }
}

/// The settings of a run that judges pairs of this kind.
fn settings_of(run: &str, modality: Modality) -> Result<Values, Failure> {
    let mut values = Values::default();
    values.merge_file(&Path::new(run).join("config.toml"))?;
    let mdp = values.run.mdp();
    if mdp != modality {
        let text = format!(
            "`judge.judge` {run} is a run of `run.mdp` {}, and the pairs are of {}",
            mdp.name(),
            modality.name()
        );
        return Err(Failure::failed(text));
    }
    Ok(values)
}

/// Adds a judgement of every pair that this judge has not judged.
pub(crate) fn judge_all(
    path: &Path,
    judge: &str,
    device: &str,
    reporter: &dyn Reporter,
) -> Result<JudgeCounts, Failure> {
    check(judge)?;
    let pairs = PairFolder::open(path)?;
    let mut log = JudgementLog::open(&pairs)?;
    let (name, by) = match judge {
        "people" => {
            return Err(Failure::usage(format!("people judge with: `label::Server` `label.pairs` {}", path.display())));
        }
        ORACLE => (ORACLE.to_owned(), Judge::Oracle),
        folder if JudgeReward::is_folder(Path::new(folder)) => {
            (labeller("reward", folder, folder.as_ref())?, Judge::Model)
        }
        run => (labeller("run", run, &Path::new(run).join("model"))?, Judge::Model),
    };
    let open: Vec<usize> = (0..pairs.len()).filter(|index| log.labels().choice(*index, &name).is_none()).collect();
    if !open.is_empty() {
        let comparer = Comparer::of(judge, &pairs, device, reporter)?;
        let bar = reporter.bar("judge", open.len());
        for indices in open.chunks(AT_ONCE) {
            for (&index, choice) in indices.iter().zip(comparer.choices(&pairs, indices)?) {
                log.append(&Judgement { index, labeller: name.clone(), by, change: JudgementChange::Chosen(choice) })?;
            }
            bar.inc(indices.len() as u64);
        }
        bar.finish_and_clear();
    }
    reporter.info(&format!("{} pairs judged by {name}", pairs.len()));
    Ok(JudgeCounts::of((0..pairs.len()).filter_map(|index| log.labels().choice(index, &name))))
}

/// A comparer of the two sides of pairs.
enum Comparer {
    Oracle,
    JudgeReward(JudgeReward),
    /// The reward margins of a run, side a minus side b, by pair.
    Run(Vec<f64>),
}

impl Comparer {
    fn of(judge: &str, pairs: &PairFolder, device: &str, reporter: &dyn Reporter) -> Result<Self, Failure> {
        Ok(match judge {
            ORACLE => Self::Oracle,
            folder if JudgeReward::is_folder(Path::new(folder)) => {
                let reward = JudgeReward::load(folder, pairs.modality(), device)?;
                reward.say_truncated(folder, pairs, reporter)?;
                Self::JudgeReward(reward)
            }
            run => Self::Run(margins(pairs, run, device, reporter)?),
        })
    }

    fn choices(&self, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<LabelChoice>, Failure> {
        let margins = match self {
            Self::Oracle => return indices.iter().map(|index| compare(pairs, *index)).collect(),
            Self::JudgeReward(reward) => reward.margins(pairs, indices)?,
            Self::Run(margins) => indices.iter().map(|index| margins[*index]).collect(),
        };
        let by_sign = |(margin, index): (f64, &usize)| match margin.partial_cmp(&0.0) {
            Some(Ordering::Greater) => Ok(LabelChoice::A),
            Some(Ordering::Less) => Ok(LabelChoice::B),
            Some(Ordering::Equal) => Ok(LabelChoice::Tie),
            None => Err(Failure::failed(format!(
                "{}: the judge's rewards of pair {index} are no numbers; its weights overflow or are damaged",
                pairs.path().display()
            ))),
        };
        margins.into_iter().zip(indices).map(by_sign).collect()
    }
}

/// The labeller name of a model: kind, folder name, and a hash of the weights, to tell models with the same folder name
/// apart.
fn labeller(kind: &str, folder: &str, model: &Path) -> Result<String, Failure> {
    let wrong = |path: &Path, error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![model.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| wrong(&folder, error))? {
            let path = entry.map_err(|error| wrong(&folder, error))?.path();
            // A reward model's folder may hold checkpoints and training logs, which do not affect its scores.
            if kind == "run" && path.is_dir() {
                folders.push(path);
            } else if kind == "run" || is_of_model(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for path in &files {
        let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
        read.map_err(|error| wrong(path, error))?;
    }
    let whole = std::fs::canonicalize(folder)?;
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(32).collect();
    Ok(format!("{kind} {name} {}", &hasher.finalize().to_hex()[..8]))
}

/// Whether a file affects the output of a Hugging Face model.
fn is_of_model(path: &Path) -> bool {
    const SETTINGS: [&str; 8] = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "merges.txt",
        "preprocessor_config.json",
        "processor_config.json",
    ];
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_weight = name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".index.json"));
    is_weight || name == "chat_template.jinja" || SETTINGS.contains(&name)
}

/// The implicit reward margins of a run, `a` minus `b`: beta times the log-ratio of its policy to its reference.
fn margins(pairs: &PairFolder, run: &str, device: &str, reporter: &dyn Reporter) -> Result<Vec<f64>, Failure> {
    let values = settings_of(run, pairs.modality())?.derived(|settings| scoring(settings, pairs, run, device));
    let scored = score::score(Call { values, reporter }).map_err(|failure| {
        Failure::failed(format!("`judge.judge` {run}, whose rewards need what it began with: {failure}"))
    })?;
    let mut margins = vec![f64::NAN; pairs.len()];
    for line in scored {
        let finite = line.margin().filter(|margin| margin.is_finite());
        if let (Some(to), Some(margin)) = (margins.get_mut(line.index as usize), finite) {
            *to = margin;
        }
    }
    Ok(margins)
}

/// The settings of a scoring of all pairs: those of the run, whose policy is compared with its reference, or else with the
/// model that it began with.
fn scoring(of: Settings, pairs: &PairFolder, run: &str, device: &str) -> Settings {
    let (model, hybrid) = (of.model, of.hybrid);
    let draws_per_pair = match pairs.modality() {
        Modality::Token => of.diffusion.draws_per_pair,
        Modality::Diffusion | Modality::Hybrid => {
            Some(of.diffusion.draws_per_pair.unwrap_or(DRAWS_PER_PAIR).max(DRAWS))
        }
    };
    Settings {
        run: Run { device: device.to_owned(), out: None, ..of.run },
        model: Model { model: Some(run.to_owned()), reference: model.reference.or(model.model), ..model },
        hybrid: Hybrid {
            refiner: None,
            refiner_reference: hybrid.refiner_reference.or(hybrid.refiner),
            generator: None,
            generator_reference: hybrid.generator_reference.or(hybrid.generator),
            ..hybrid
        },
        data: Data {
            data: pairs.path().display().to_string().into(),
            eval_data: None,
            eval_share: 0.0,
            limit: None,
            latents: None,
            all_pairs: true,
            on_bad: Broken::Fail,
            ..of.data
        },
        diffusion: Diffusion { draws: None, draws_per_pair, ..of.diffusion },
        ..of
    }
}

/// Compares a pair with the oracle that recognises its request.
fn compare(pairs: &PairFolder, index: usize) -> Result<LabelChoice, Failure> {
    let name = pairs.path().display();
    let pair = pairs.get(index).ok_or_else(|| Failure::failed(format!("{name}: there is no pair {index}")))?;
    let unknown = || {
        Failure::failed(format!(
            "{name}: pair {index} asks for `{}`, and the oracle knows the embedded problems only ({}); people judge the rest: \
             `label::Server`",
            pair.request.chars().take(80).collect::<String>(),
            problems().map(|problem| problem.name).collect::<Vec<_>>().join(", ")
        ))
    };
    if let (Modality::Token, StoredResult::Response(a), StoredResult::Response(b)) =
        (pairs.modality(), &pair.a.made, &pair.b.made)
    {
        return Oracle::compare_texts(&pair.request, a, b).map(choice).ok_or_else(unknown);
    }
    let picture = |side| -> Result<_, Failure> {
        let missing = || Failure::failed(format!("{name}: pair {index} has no picture {side}"));
        pairs.pixels(index, side)?.ok_or_else(missing)
    };
    let (a, b) = (picture(Side::A)?, picture(Side::B)?);
    Oracle::compare_pictures(&pair.request, &a, &b).map(choice).ok_or_else(unknown)
}

fn choice(outcome: ComparisonOutcome) -> LabelChoice {
    match outcome {
        ComparisonOutcome::Win => LabelChoice::A,
        ComparisonOutcome::Tie => LabelChoice::Tie,
        ComparisonOutcome::Loss => LabelChoice::B,
    }
}

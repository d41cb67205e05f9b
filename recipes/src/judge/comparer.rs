//! Judges that give numbers or rules: the oracle, reward models and runs.
use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use datasets::pairs::{Judge, LabelChoice, Modality, PairFolder, Side, StoredResult};
use datasets::synthetic::ComparisonOutcome;

use super::reward::JudgeReward;
use super::{ORACLE, plain_name};
use crate::embedded::{Oracle, problems};
use crate::settings::{Broken, DRAWS_PER_PAIR, Data, Diffusion, Hybrid, Model, Run, Settings, Values};
use crate::{Call, Failure, Reporter, device, score};

/// The default number of noise draws per side with which a denoiser judges; a run with more uses its own.
const DRAWS: usize = 16;

/// The settings of a run that judges pairs of this kind.
pub(super) fn settings_of(run: &str, modality: Modality) -> Result<Values, Failure> {
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

/// The labeller's name of a judge, and its kind.
pub(super) fn labeller_of(judge: &str, values: &Values) -> Result<(String, Judge), Failure> {
    let template = values.data.chat_template();
    let named = |labeller: String| match device::kept(values) {
        Some(precision) => format!("{labeller} {precision}"),
        None => labeller,
    };
    match judge {
        ORACLE => Ok((ORACLE.to_owned(), Judge::Oracle)),
        folder if JudgeReward::is_folder(Path::new(folder)) => {
            Ok((named(labeller("reward", folder, (folder.as_ref(), template))?), Judge::Model))
        }
        run => Ok((named(labeller("run", run, (&Path::new(run).join("model"), template))?), Judge::Model)),
    }
}

/// A comparer of the two sides of pairs.
pub(super) enum Comparer {
    Oracle,
    JudgeReward(JudgeReward),
    /// The reward margins of a run, side a minus side b, by pair.
    Run(Vec<f64>),
}

impl Comparer {
    pub(super) fn of(
        judge: &str,
        pairs: &PairFolder,
        values: &Values,
        reporter: &dyn Reporter,
    ) -> Result<Self, Failure> {
        if pairs.modality() != Modality::Token && values.data.chat_template().is_some() {
            return Err(Failure::usage("`data.chat_template` is for judges of texts, and the pairs are pictures"));
        }
        Ok(match judge {
            ORACLE => Self::Oracle,
            folder if JudgeReward::is_folder(Path::new(folder)) => {
                let reward = JudgeReward::load(folder, pairs.modality(), values)?;
                reward.say_truncated(folder, pairs, reporter)?;
                Self::JudgeReward(reward)
            }
            run => Self::Run(margins(pairs, run, values, reporter)?),
        })
    }

    /// Whether several processes divide the pairs: of others the leader has all that a choice takes.
    pub(super) fn is_divided(&self) -> bool {
        match self {
            Self::JudgeReward(_) => true,
            Self::Oracle | Self::Run(_) => false,
        }
    }

    /// How much better side a is than side b, of some pairs; of an oracle the sign alone.
    pub(super) fn margins(&self, pairs: &PairFolder, indices: &[usize]) -> Result<Vec<f64>, Failure> {
        match self {
            Self::Oracle => indices.iter().map(|index| compare(pairs, *index)).collect(),
            Self::JudgeReward(reward) => reward.margins(pairs, indices),
            Self::Run(margins) => Ok(indices.iter().map(|index| margins[*index]).collect()),
        }
    }

    /// The choices that margins mean.
    pub(super) fn choices(
        pairs: &PairFolder,
        indices: &[usize],
        margins: Vec<f64>,
    ) -> Result<Vec<LabelChoice>, Failure> {
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

/// The labeller name of a model: kind, folder name, and a hash of the weights and of a chat template in place of its own, to
/// tell models with the same folder name apart.
fn labeller(kind: &str, folder: &str, (model, template): (&Path, Option<&str>)) -> Result<String, Failure> {
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
    files.extend(template.map(PathBuf::from));
    let mut hasher = blake3::Hasher::new();
    for path in &files {
        let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
        read.map_err(|error| wrong(path, error))?;
    }
    let whole = std::fs::canonicalize(folder)?;
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(format!("{kind} {} {}", plain_name(name), &hasher.finalize().to_hex()[..8]))
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
fn margins(pairs: &PairFolder, run: &str, judging: &Values, reporter: &dyn Reporter) -> Result<Vec<f64>, Failure> {
    let values = settings_of(run, pairs.modality())?.derived(|settings| scoring(settings, pairs, run, judging));
    let place = format!("`judge.judge` {run}, whose rewards need what it began with");
    let scored = score::score(Call { values, reporter }).map_err(|failure| failure.within(&place))?;
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
/// model that it began with. A chat template of the judge takes the place of the run's.
fn scoring(of: Settings, pairs: &PairFolder, run: &str, judging: &Values) -> Settings {
    let (model, hybrid) = (of.model, of.hybrid);
    let draws_per_pair = match pairs.modality() {
        Modality::Token => of.diffusion.draws_per_pair,
        Modality::Diffusion | Modality::Hybrid => {
            Some(of.diffusion.draws_per_pair.unwrap_or(DRAWS_PER_PAIR).max(DRAWS))
        }
    };
    Settings {
        run: Run { device: judging.run.device().to_owned(), precision: judging.run.precision(), out: None, ..of.run },
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
            chat_template: judging.data.chat_template().map(str::to_owned).or(of.data.chat_template),
            on_bad: Broken::Fail,
            ..of.data
        },
        diffusion: Diffusion { draws: None, draws_per_pair, ..of.diffusion },
        ..of
    }
}

/// Compares a pair with the oracle that recognises its request: 1 where side a is better, -1 where side b is.
fn compare(pairs: &PairFolder, index: usize) -> Result<f64, Failure> {
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
        return Oracle::compare_texts(&pair.request, a, b).map(sign).ok_or_else(unknown);
    }
    let picture = |side| -> Result<_, Failure> {
        let missing = || Failure::failed(format!("{name}: pair {index} has no picture {side}"));
        pairs.pixels(index, side)?.ok_or_else(missing)
    };
    let (a, b) = (picture(Side::A)?, picture(Side::B)?);
    Oracle::compare_pictures(&pair.request, &a, &b).map(sign).ok_or_else(unknown)
}

fn sign(outcome: ComparisonOutcome) -> f64 {
    match outcome {
        ComparisonOutcome::Win => 1.0,
        ComparisonOutcome::Tie => 0.0,
        ComparisonOutcome::Loss => -1.0,
    }
}

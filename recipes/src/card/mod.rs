//! The model card (README.md) beside an exported model.
mod licence;

use std::fmt::Write as _;
use std::path::Path;

use hub::Name;
use serde_json::Value;
use train::{is_all_tied, write_whole};

use self::licence::licence_of;
use crate::origin::run_of;
use crate::settings::{Loss, Modality, Values};
use crate::sources::names;
use crate::trained::Trained;
use crate::{Failure, Reporter, torchscript};

/// The name of a card.
const NAME: &str = "README.md";

/// The line around the front matter.
const FENCE: &str = "\u{2d}--\n";

/// What a card is about.
pub(crate) struct Subject<'a> {
    /// The model's name.
    pub(crate) title: &'a str,
    /// The model, file or run that it was made of.
    pub(crate) source: &'a str,
    /// The folder of the run that trained it, if there is one.
    pub(crate) run: Option<&'a Path>,
    /// How it came from the source, as a sentence.
    pub(crate) made: String,
}

/// The software that loads a folder, by the files in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Transformers,
    Peft,
    Diffusers,
    DiffusersAdapter,
    /// PyTorch itself, of a language model and of a denoiser.
    TorchScript {
        denoises: bool,
    },
    /// A refiner and a generator in folders of their own.
    Both,
}

impl Library {
    fn of(folder: &Path) -> Self {
        let has = |name: &str| folder.join(name).exists();
        if has("refiner") && has("generator") {
            Self::Both
        } else if has("policy.pt") {
            Self::TorchScript { denoises: torchscript::denoises(&folder.display().to_string()) }
        } else if has("adapter_config.json") {
            Self::Peft
        } else if has(crate::denoiser::LORA_FILE) {
            Self::DiffusersAdapter
        } else if has("model_index.json")
            || has("unet")
            || has("transformer")
            || has("diffusion_pytorch_model.safetensors")
        {
            Self::Diffusers
        } else {
            Self::Transformers
        }
    }

    /// The name in the front matter, and the task.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Transformers => ("transformers", "text-generation"),
            Self::Peft => ("peft", "text-generation"),
            Self::TorchScript { denoises: false } => ("pytorch", "text-generation"),
            Self::TorchScript { denoises: true } => ("pytorch", "text-to-image"),
            Self::Diffusers | Self::DiffusersAdapter | Self::Both => ("diffusers", "text-to-image"),
        }
    }

    fn usage(self, base: &str) -> String {
        match self {
            Self::Transformers => "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
                model = AutoModelForCausalLM.from_pretrained(\".\")\ntokenizer = AutoTokenizer.from_pretrained(\".\")"
                .to_owned(),
            Self::Peft => format!(
                "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
                 model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base:?}), \".\")"
            ),
            Self::Diffusers => {
                "from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained(\".\")"
                    .to_owned()
            }
            Self::DiffusersAdapter => format!(
                "from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained({base:?})\n\
                 pipeline.load_lora_weights(\".\")"
            ),
            Self::TorchScript { .. } => {
                "import torch\n\npolicy = torch.jit.load(\"policy.pt\")  # policy.json says what goes in and comes out"
                    .to_owned()
            }
            Self::Both => "# refiner/ is for transformers (or peft), generator/ for diffusers".to_owned(),
        }
    }
}

/// Writes the card of a run that has ended into its `model/`. A card that can't be written is no reason to lose the run, so
/// that is only said.
pub(crate) fn of_trained(trained: &Trained, reporter: &dyn Reporter) {
    let folder = trained.folder.join("model");
    if !folder.is_dir() {
        return;
    }
    let title = trained.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let made = "Trained on preferences with hybrid-dpo.".to_owned();
    let subject = Subject { title: &title, source: "", run: Some(&trained.folder), made };
    if let Err(failure) = write(&folder, &subject) {
        reporter.notice(&format!("the model card is not written: {failure}"));
    }
}

/// Writes the card of the model in a folder.
///
/// # Errors
/// The run's files are damaged; the card can't be written.
pub(crate) fn write(folder: &Path, subject: &Subject<'_>) -> Result<(), Failure> {
    let text = text(folder, subject)?;
    Ok(write_whole(&folder.join(NAME), |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

/// The card of the model in a folder.
fn text(folder: &Path, subject: &Subject<'_>) -> Result<String, Failure> {
    let library = Library::of(folder);
    let run = match subject.run {
        Some(path) => run_of(&path.display().to_string())?,
        None => None,
    };
    let base = run.as_ref().map_or_else(|| subject.source.to_owned(), base_of_run);
    let licence = licence_of(&base);
    let named = without_commit(&base);
    let mut text = front_matter(library, &named, run.as_ref(), licence.as_deref());
    let _ = writeln!(text, "\n# {}\n\n{}", line(subject.title), subject.made);
    if let (Some(run), Some(path)) = (&run, subject.run) {
        text.push_str("\n## Training\n\n| | |\n|---|---|\n");
        for (name, value) in facts(run, &base) {
            let _ = writeln!(text, "| {name} | {} |", cell(&value));
        }
        text.push_str(&metrics(path));
    }
    let _ = writeln!(text, "\n## Use\n\n```python\n{}\n```", library.usage(&named));
    let said = licence.map_or_else(
        || {
            format!(
                "Unknown: `{}` names none that was found. The terms of the base model and of the data apply.",
                line(&shown(&base))
            )
        },
        |licence| format!("That of the base model, as its card says: {licence}. The terms of the data apply as well."),
    );
    let _ = writeln!(text, "\n## Licence\n\n{said}");
    Ok(text)
}

/// The front matter that the Hugging Face Hub reads. JSON texts are YAML texts.
fn front_matter(library: Library, base: &str, run: Option<&Values>, licence: Option<&str>) -> String {
    let (name, task) = library.names();
    let licence = licence.unwrap_or("unknown");
    let mut text = format!("{FENCE}library_name: {name}\npipeline_tag: {task}\nlicense: {}\n", quoted(licence));
    if is_hub_id(base) {
        let _ = writeln!(text, "base_model: {}", quoted(base));
    }
    let data = run.map(|run| names(run.data.sources())).unwrap_or_default();
    for (at, name) in data.into_iter().map(without_commit).filter(|name| is_hub_id(name)).enumerate() {
        let heading = if at == 0 { "datasets:\n" } else { "" };
        let _ = writeln!(text, "{heading}- {}", quoted(&name));
    }
    text.push_str("tags:\n- hybrid-dpo\n");
    if let Some(run) = run {
        let _ = writeln!(text, "- {}", run.objective.name());
    }
    text.push_str(FENCE);
    text
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The parts of a text, `base+adapter` or two models, each through `change` if it is a path in the Hugging Face cache.
fn in_cache(text: &str, change: impl Fn(Name) -> String) -> String {
    let named = |part: &str| Name::of_path(Path::new(part)).map(&change);
    // A source may have its weight behind it.
    let weighted =
        |part: &str| part.rsplit_once(':').and_then(|(path, weight)| Some(format!("{}:{weight}", named(path)?)));
    let of = |part: &str| named(part).or_else(|| weighted(part)).unwrap_or_else(|| part.to_owned());
    let between = |text: &str, sign: &str| text.split(sign).map(of).collect::<Vec<_>>().join(sign);
    if text.contains(BETWEEN) { between(text, BETWEEN) } else { between(text, "+") }
}

/// The name of a path in the cache with its commit; other texts as they are.
pub(crate) fn shown(text: &str) -> String {
    in_cache(text, |name| name.to_string())
}

/// The name alone, as links of the hub have it.
fn without_commit(text: &str) -> String {
    in_cache(text, |name| name.repository)
}

/// `owner/name`, which is not a path here.
fn is_hub_id(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_of_name)
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name)) && !Path::new(name).exists()
}

/// Stands between the halves of a hybrid.
const BETWEEN: &str = " and ";

fn base_of_run(run: &Values) -> String {
    match run.run.mdp() {
        Modality::Hybrid => {
            let halves = [run.hybrid.refiner(), run.hybrid.generator()];
            halves.into_iter().flatten().collect::<Vec<_>>().join(BETWEEN)
        }
        Modality::Token | Modality::Diffusion => run.model.model().unwrap_or_default().to_owned(),
    }
}

/// What a run's settings say.
fn facts(run: &Values, base: &str) -> Vec<(&'static str, String)> {
    let code = |text: &str| format!("`{}`", shown(text));
    let mut facts = vec![("base model", code(base)), ("kind of problem", run.run.mdp().name().to_owned())];
    if let Some(reference) = run.model.reference() {
        facts.push(("reference", code(reference)));
    }
    let other = || run.data.latents().or(run.sample.prompts());
    let data = match run.data.sources() {
        [] => other().map_or_else(|| "pairs of its own, judged in rounds".to_owned(), code),
        sources => sources.iter().map(|source| code(source)).collect::<Vec<_>>().join(", "),
    };
    facts.push(("data", data));
    let losses = run.objective.losses();
    facts.push(("objective", if losses.is_empty() { run.objective.name().to_string() } else { losses.join(", ") }));
    if run.objective.name() != Loss::Sft {
        facts.push(("beta", run.objective.beta().to_string()));
    }
    if let Some(rank) = run.model.lora_rank() {
        facts.push(("adapters", format!("LoRA, rank {rank}, alpha {}", run.model.lora_alpha())));
    }
    let optimizer = &run.optimizer;
    let schedule = format!("{:?} schedule", optimizer.schedule()).to_lowercase();
    let rates = format!("learning rate {}, {} warm-up steps, {schedule}", optimizer.lr(), optimizer.warmup_steps());
    facts.push(("optimiser", format!("{}, {rates}", optimizer.name())));
    facts.push(("batch size", run.train.batch_size().to_string()));
    facts.push(("seed", run.run.seed().to_string()));
    facts
}

/// The metrics shown, by label.
const SHOWN: [(&str, &str); 5] = [
    ("loss", "loss"),
    ("reward accuracy", "rewards/accuracies"),
    ("reward margin, nats", "rewards/margins"),
    ("KL(reference, model) per token, nats", "divergence"),
    ("accuracy of single draws", "implicit_accuracy"),
];

/// The held-out metrics of a run, before and after; nothing where none was measured.
fn metrics(run: &Path) -> String {
    let lines = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(run.join(name)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let evaluated: Vec<Value> = lines("metrics.jsonl").into_iter().filter(|line| line["split"] == "eval").collect();
    let (Some(first), Some(last)) = (evaluated.first(), evaluated.last()) else { return String::new() };
    let details = lines("report/evaluations.jsonl").pop().unwrap_or_default();
    let examples = details["examples"].as_u64().map_or_else(String::new, |n| format!(", {n} examples"));
    let step = last["step"].as_u64().unwrap_or_default();
    let mut text = format!("\n## Held-out metrics (step {step}{examples})\n\n| | before | after |\n|---|---|---|\n");
    for (label, name) in SHOWN {
        let value = |line: &Value| line[name].as_f64().map(|value| format!("{value:.4}"));
        let (Some(mut before), Some(mut after)) = (value(first), value(last)) else { continue };
        // A policy that equals its reference prefers neither side.
        let is_accuracy = name == "rewards/accuracies" || name == "implicit_accuracy";
        let is_tied = |line: &Value| is_accuracy && is_all_tied(|name| line[name].as_f64());
        for (line, shown) in [(first, &mut before), (last, &mut after)] {
            if is_tied(line) {
                "all tied".clone_into(shown);
            }
        }
        let interval = &details["intervals"][name];
        if let (Some(low), Some(high), false) = (interval[0].as_f64(), interval[1].as_f64(), is_tied(last)) {
            let _ = write!(after, " (95%: {low:.4} to {high:.4})");
        }
        let _ = writeln!(text, "| {label} | {before} | {after} |");
    }
    text
}

/// Text of one line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text of a table's cell.
fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(run: Option<&'a Path>, source: &'a str) -> Subject<'a> {
        Subject { title: "first", source, run, made: "Exported.".to_owned() }
    }

    #[test]
    fn the_card_of_a_run_has_its_facts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "config.toml",
            "[run]\nmdp = \"token\"\n[model]\nmodel = \"owner/base\"\nlora_rank = 4\n[data]\ndata = \"a|b.jsonl\"\n\
             [objective]\nname = \"ipo\"\nbeta = 0.25\n",
        );
        write(
            "metrics.jsonl",
            "{\"split\":\"eval\",\"step\":0,\"loss\":0.6931}\n{\"split\":\"train\",\"step\":1,\"loss\":9}\n\
             {\"split\":\"eval\",\"step\":8,\"loss\":0.5}\n",
        );
        write("adapter_config.json", "{}");
        let text = text(folder.path(), &subject(Some(folder.path()), "")).unwrap();
        for part in [
            "---\nlibrary_name: peft\n",
            "license: \"unknown\"",
            "base_model: \"owner/base\"",
            "- ipo\n---\n",
            "| beta | 0.25 |",
            "| data | `a\\|b.jsonl` |",
            "LoRA, rank 4",
            "## Held-out metrics (step 8)",
            "| loss | 0.6931 | 0.5000 |",
            "Unknown: `owner/base` names none",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(!text.contains("datasets:"), "{text}");
    }

    #[test]
    fn what_came_from_the_hub_is_named_with_its_commit() {
        let folder = tempfile::tempdir().unwrap();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let [model, data] =
            ["models--org--base", "datasets--org--data"].map(|name| format!("/c/{name}/snapshots/{commit}"));
        let config = format!("[model]\nmodel = \"{model}\"\n[data]\ndata = \"{data}\"\n");
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let text = text(folder.path(), &subject(Some(folder.path()), "")).unwrap();
        for part in [
            "base_model: \"org/base\"".to_owned(),
            "datasets:\n- \"org/data\"".to_owned(),
            format!("| base model | `org/base@{commit}` |"),
            format!("| data | `org/data@{commit}` |"),
        ] {
            assert!(text.contains(&part), "no {part} in\n{text}");
        }
        assert!(!text.contains("/c/"), "{text}");
    }

    #[test]
    fn the_licence_of_the_base_goes_along() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "---\nlanguage: en\nlicense: apache-2.0\n---\n# base\n").unwrap();
        let base = folder.path().display().to_string();
        let text = text(folder.path(), &subject(None, &base)).unwrap();
        assert!(text.contains("license: \"apache-2.0\"") && !text.contains("base_model"), "{text}");
        assert!(text.contains("as its card says: apache-2.0") && !text.contains("## Training"), "{text}");
    }
}

//! `train`.
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use datasets::Dataset;
use mdp::token::TokenMdp;
use objectives::Objective;
use policies::causal::{CausalLm, Sampling};
use policies::formats::{ModelFiles, ModelTokenizer};
use policies::{Persist, Policy};
use train::token::{FromExample, TokenSource};
use train::{
    CacheKey, Decay, Ending, Hooks, Outcome, Problem, ReferenceCache, RunFolder, Settings, can_write, run, write_whole,
};

use crate::keys::{KEYS, TRAIN};
use crate::objective::{Chosen, choose};
use crate::text::{self, Data};
use crate::values::Values;
use crate::{Call, Failure, console, model, summary};

/// Trains, or goes on training.
pub(crate) fn train(mut call: Call, resume: Option<&PathBuf>) -> Result<ExitCode, Failure> {
    if let Some(path) = resume {
        take_up(&mut call.values, path)?;
    }
    let embedded = presets(&mut call.values)?;
    let objective = choose(&call.values)?;
    let settings = settings(&call.values)?;
    model::optimizer(&call.values)?;
    // From here on an interrupt is a wish to stop at the next step.
    let stop = stop_flag()?;
    let setup = Setup::open(call, settings, embedded)?;
    match objective {
        Chosen::Comparisons(objective) => setup.run(objective.as_ref(), resume, stop),
        Chosen::Rankings(objective) => setup.run(objective.as_ref(), resume, stop),
        Chosen::Labels(objective) => setup.run(objective.as_ref(), resume, stop),
        Chosen::Demonstrations(objective) => setup.run(objective.as_ref(), resume, stop),
    }
}

/// A resumed run has the settings it was started with.
fn take_up(values: &mut Values, path: &Path) -> Result<(), Failure> {
    if let Some(key) = KEYS.iter().find(|key| values.is_given(key.path) && !matches!(key.flag, "device" | "mdp")) {
        let text = format!("--{} can't be given with --resume: the run goes on with the settings it has", key.flag);
        return Err(Failure::usage(text));
    }
    RunFolder::open(path)?;
    values.merge_file(&path.join("config.toml"))?;
    Ok(())
}

/// Defaults of known runs. Says whether this is the embedded one.
fn presets(values: &mut Values) -> Result<bool, Failure> {
    let embedded = values.text("model.model").is_none() && values.text("data.data").is_none();
    if embedded {
        for (path, value) in EMBEDDED {
            values.preset(path, value);
        }
    }
    if values.text("model.model").is_none() {
        return Err(Failure::usage("--data needs --model (or give neither, for the embedded problem)"));
    }
    let preset: &[(&'static str, &str)] = match values.text("train.preset") {
        Some("tldr") => &[
            ("train.batch_size", "128"),
            ("train.micro_batch_size", "16"),
            ("train.epochs", "1"),
            ("data.format", "tldr"),
        ],
        Some("trl") => TRL,
        _ => &[],
    };
    for (path, value) in preset {
        values.preset(path, value);
    }
    if values.text("train.preset") == Some("trl") && values.word("objective.name") == "ipo" {
        values.preset("objective.per_token", "true");
    }
    Ok(embedded)
}

/// The embedded run: about a minute on two cores.
const EMBEDDED: &[(&str, &str)] = &[
    ("model.model", "builtin:tldr"),
    ("data.data", "builtin:tldr"),
    ("data.limit", "8192"),
    ("data.max_length", "256"),
    ("data.max_prompt_length", "192"),
    ("objective.beta", "0.3"),
    ("optimizer.lr", "3e-5"),
    ("optimizer.warmup_steps", "10"),
    ("train.batch_size", "32"),
    ("train.micro_batch_size", "16"),
    ("train.eval_every", "64"),
];

/// What TRL's DPOTrainer does unless told otherwise.
const TRL: &[(&str, &str)] = &[
    ("optimizer.name", "adamw"),
    ("optimizer.lr", "1e-6"),
    ("optimizer.warmup_steps", "0"),
    ("optimizer.schedule", "linear"),
    ("optimizer.max_grad_norm", "1"),
    ("data.tokenization", "joint"),
    ("data.max_length", "1024"),
    ("data.max_prompt_length", "1023"),
    ("train.batch_size", "8"),
    ("train.epochs", "3"),
];

fn settings(values: &Values) -> Result<Settings, Failure> {
    let count = |path| values.count(path).unwrap_or_default();
    let number = |path| values.number(path).unwrap_or_default();
    let settings = Settings {
        seed: count("run.seed") as u64,
        batch_size: count("train.batch_size"),
        micro_batch_size: count("train.micro_batch_size"),
        epochs: count("train.epochs"),
        max_steps: values.count("train.max_steps"),
        rate: number("optimizer.lr"),
        warmup_steps: count("optimizer.warmup_steps"),
        decay: match values.word("optimizer.schedule") {
            "linear" => Decay::Linear,
            "cosine" => Decay::Cosine,
            _ => Decay::Constant,
        },
        max_gradient_norm: values.number("optimizer.max_grad_norm"),
        eval_every: count("train.eval_every"),
        eval_examples: count("train.eval_examples"),
        save_every: count("train.save_every"),
        keep_checkpoints: count("train.keep_checkpoints"),
        beta: number("objective.beta"),
    };
    settings.checked().map_err(|error| Failure::usage(format!("--{error}")))
}

/// Set by ctrl-C and by the system's wish to end the program.
fn stop_flag() -> Result<&'static AtomicBool, Failure> {
    static STOP: OnceLock<AtomicBool> = OnceLock::new();
    let stop = STOP.get_or_init(|| AtomicBool::new(false));
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            console::notice("stopped without saving");
            #[expect(clippy::disallowed_methods, reason = "the second interrupt must not wait for the step to end")]
            std::process::exit(130);
        }
        console::notice("stopping after this step, with a checkpoint; once more stops at once");
    })?;
    Ok(stop)
}

/// Everything a run needs but its objective.
struct Setup {
    call: Call,
    settings: Settings,
    embedded: bool,
    learner: CausalLm,
    reference: Arc<CausalLm>,
    tokenizer: ModelTokenizer,
    data: Data,
    held_out: Option<Data>,
    mdp: TokenMdp,
}

impl Setup {
    fn open(mut call: Call, settings: Settings, embedded: bool) -> Result<Self, Failure> {
        let name = call.values.word("model.model").to_owned();
        let files = model::load(&name, &call.values)?;
        text::fit_lengths(&mut call.values, &files)?;
        let tokenizer = files.tokenizer()?.clone();
        let tokenise = text::tokenise(&files, &call.values)?;
        let (data, held_out) = text::open_split(&tokenise, &call.values)?;
        call.console.info(&describe(&name, &files, &data, held_out.as_ref()));
        call.console.info(&data.audit().to_string());
        let mdp = TokenMdp {
            vocabulary: files.config.vocabulary as u32,
            eos: tokenizer.eos.clone(),
            max_length: call.values.count("data.max_length").unwrap_or(512),
        };
        let reference = match call.values.text("model.reference") {
            Some(other) => Arc::new(CausalLm::frozen(model::load_beside(&files, other, &call.values)?)?),
            None => Arc::new(CausalLm::frozen(files.clone())?),
        };
        let mut learner = model::learner(files, &call.values)?;
        if call.values.word("objective.name") == "tdpo" {
            learner = learner.with_reference(Arc::clone(&reference))?;
        }
        // The two must agree on the vocabulary whether or not this run measures their divergence.
        learner.diagnosed_against(Arc::clone(&reference))?;
        let held_out = held_out.filter(|data| !data.is_empty()).map(Data);
        Ok(Self { call, settings, embedded, learner, reference, tokenizer, data: Data(data), held_out, mdp })
    }

    /// A new run's folder with its settings in it, or that of the run that goes on.
    fn folder(&mut self, resume: Option<&PathBuf>) -> Result<RunFolder, Failure> {
        if let Some(path) = resume {
            let folder = RunFolder::open(path)?;
            self.call.values.settle("run.out", &path.display().to_string());
            return Ok(folder);
        }
        let path = match self.call.values.text("run.out") {
            Some(path) => PathBuf::from(path),
            None => fresh_folder(self.call.values.word("objective.name")),
        };
        let folder = RunFolder::create(&path)?;
        self.call.values.settle("run.out", &path.display().to_string());
        let config = self.call.values.to_toml(TRAIN);
        write_whole(&folder.join("config.toml"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
        Ok(folder)
    }

    fn run<F: FromExample>(
        mut self,
        objective: &dyn Objective<Feedback = F>,
        resume: Option<&PathBuf>,
        stop: &AtomicBool,
    ) -> Result<ExitCode, Failure> {
        let key = CacheKey {
            model: self.reference.fingerprint()?,
            data: format!("{} {}", self.data.0.fingerprint(), std::any::type_name::<F>()),
        };
        let cache = self.call.values.text("train.reference_cache").map(PathBuf::from);
        // What can be refused is refused before there is a folder and before hours of work.
        match &cache {
            Some(path) if path.exists() && resume.is_none() => drop(ReferenceCache::load(path, &key)?),
            Some(path) => can_write(path)?,
            None => {}
        }
        let folder = &self.folder(resume)?;
        let _lock = folder.lock()?;
        let data = TokenSource::<F>::new(&self.data, self.mdp.max_length);
        let held_out = self.held_out.as_ref().map(|held_out| TokenSource::<F>::new(held_out, self.mdp.max_length));
        let needed = objective.needs().reference || self.call.values.word("objective.name") != "sft";
        let problem = Problem {
            mdp: &self.mdp,
            data: &data,
            held_out: held_out.as_ref(),
            reference: needed.then_some(self.reference.as_ref() as &dyn Policy<TokenMdp>),
            objective,
            key,
            cache,
        };
        let hooks = self.hooks();
        let console = &mut self.call.console;
        let outcome = run(&problem, &mut self.learner, &self.settings, folder, &hooks, console, stop)?;
        drop(hooks);
        self.finish(&outcome, folder)
    }

    fn hooks<'a>(&self) -> Hooks<'a, TokenMdp, CausalLm> {
        let reference = Arc::clone(&self.reference);
        let n = self.call.values.count("train.n_samples").unwrap_or(0);
        let prompts = sample_prompts(self.held_out.as_ref().unwrap_or(&self.data), n);
        let (tokenizer, seed, mdp) = (self.tokenizer.clone(), self.settings.seed, self.mdp.clone());
        let with_reference = self.call.values.word("objective.name") != "sft";
        let of_mdp = mdp.clone();
        Hooks {
            diagnose: with_reference.then(|| -> Box<dyn Fn(&CausalLm, &[_]) -> _> {
                Box::new(move |learner: &CausalLm, episodes: &[_]| {
                    learner.diagnosed_against(Arc::clone(&reference))?.score(&of_mdp, episodes)
                })
            }),
            sample: (n > 0).then(|| -> Box<dyn Fn(&CausalLm) -> _> {
                Box::new(move |learner: &CausalLm| {
                    let sampling = Sampling { eos: mdp.eos.clone(), max_new: 128, ..Sampling::default() };
                    let prompts = prompts.clone();
                    crate::sample::draw(learner, &tokenizer, &prompts, &sampling, mdp.max_length, seed)
                        .map_err(|failure| failure.to_string().into())
                })
            }),
        }
    }

    fn finish(self, outcome: &Outcome, folder: &RunFolder) -> Result<ExitCode, Failure> {
        let path = folder.path().display();
        if outcome.ending == Ending::Interrupted {
            let text = format!("stopped after step {}; go on with: hybrid-dpo train --resume {path}", outcome.steps);
            console::notice(&text);
            return Ok(ExitCode::from(130));
        }
        let win_rate = if self.embedded || self.call.values.word("data.data").starts_with("builtin:tldr") {
            self.call.console.info("the oracle compares samples of both models");
            Some(summary::oracle_win_rate(&self.learner, &self.reference, &self.tokenizer, self.settings.seed)?)
        } else {
            None
        };
        console::result(&summary::table(outcome, win_rate.as_ref()));
        console::result(&format!("\nrun folder   {path}"));
        console::result(&format!(
            "next         hybrid-dpo sample --model {path} --prompts {} --n 2",
            self.prompts_hint()
        ));
        Ok(ExitCode::SUCCESS)
    }

    fn prompts_hint(&self) -> &'static str {
        if self.embedded || self.call.values.word("data.data").starts_with("builtin:tldr") {
            "builtin:tldr"
        } else {
            "prompts.txt"
        }
    }
}

fn describe(name: &str, files: &ModelFiles, data: &Dataset, held_out: Option<&Dataset>) -> String {
    let n: usize = files.tensors.values().map(candle_core::Tensor::elem_count).sum();
    format!(
        "model {name}: {}, {:.1}M parameters; {} training examples, {} held out",
        files.config.architecture.model_type(),
        n as f64 / 1e6,
        data.len(),
        held_out.map_or(0, Dataset::len)
    )
}

/// `runs/OBJECTIVE-N` with the first free N.
fn fresh_folder(objective: &str) -> PathBuf {
    (1..100_000)
        .map(|n| PathBuf::from(format!("runs/{objective}-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| PathBuf::from("runs/last"))
}

/// The first `n` different prompts.
fn sample_prompts(data: &Data, n: usize) -> Vec<Vec<u32>> {
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    for example in data.0.iter().map_while(Result::ok) {
        let prompt = example.prompt.to_vec();
        if prompts.len() >= n {
            break;
        }
        if !prompts.contains(&prompt) {
            prompts.push(prompt);
        }
    }
    prompts
}

//! Trains language models.
use std::sync::Arc;

use ::train::token::{FromExample, Texts, TokenSource};
use ::train::{CacheKey, Decay, Hooks, RunFolder, Samples, TrainError};
use datasets::Dataset;
use mdp::chance::{Order, derived_seed};
use mdp::token::TokenMdp;
use models::causal::{CausalLm, GenerationConfig};
use models::formats::{ModelFiles, ModelTokenizer};
use objectives::Objective;
use policies::{Persist, Policy};

use super::token_rewards::TokenRewards;
use super::{FinishedRun, Suggestion, Task, Trained};
use crate::embedded::{EmbeddedTexts, WinRate, owner, usual};
use crate::objective::AnyObjective;
use crate::settings::{FormatName, Loss, Modality, OptimizerName, Preset, Settings, TokenizationName, Values};
use crate::text;
use crate::{Failure, adapters, dropout, model, summary};

/// Trains a language model.
pub(super) fn train(task: Task<'_>, objective: AnyObjective) -> Result<Trained, Failure> {
    let setup = Setup::open(task)?;
    match objective {
        AnyObjective::Comparisons(objective) => setup.run(objective.as_ref()),
        AnyObjective::Rankings(objective) => setup.run(objective.as_ref()),
        AnyObjective::Labels(objective) => setup.run(objective.as_ref()),
        AnyObjective::Demonstrations(objective) => setup.run(objective.as_ref()),
    }
}

/// Defaults of known runs.
pub(super) fn presets(values: &mut Values) -> Result<(), Failure> {
    if values.objective.name() == Loss::D3po {
        return Err(Failure::usage("`objective.name` d3po is for `run.mdp` diffusion"));
    }
    if values.model.model().is_none() && values.data.data().is_none() {
        (usual(Modality::Token).preset)(values);
    }
    if values.model.model().is_none() {
        return Err(Failure::usage("`data.data` needs `model.model` (or give neither, for the embedded problem)"));
    }
    match values.train.preset() {
        None => {}
        Some(Preset::Tldr) => values.preset(|settings| {
            settings.train.batch_size = 128;
            settings.train.micro_batch_size = 16;
            settings.train.epochs = Some(1);
            settings.data.format = FormatName::Tldr;
        }),
        Some(Preset::Trl) => values.preset(trl),
        Some(other @ (Preset::SalesforceSd15 | Preset::Diffusers2500 | Preset::FlowGrpo100 | Preset::Paper)) => {
            return Err(Failure::usage(format!("`train.preset` {other} is for `run.mdp` diffusion")));
        }
    }
    if values.train.preset() == Some(Preset::Trl) && values.objective.name() == Loss::Ipo {
        values.preset(|settings| settings.objective.per_token = true);
    }
    Ok(())
}

/// The defaults of TRL's DPOTrainer.
fn trl(settings: &mut Settings) {
    settings.optimizer.name = OptimizerName::Adamw;
    settings.optimizer.lr = 1e-6;
    settings.optimizer.warmup_steps = 0;
    settings.optimizer.schedule = Decay::Linear;
    settings.optimizer.max_grad_norm = 1.0;
    settings.data.tokenization = TokenizationName::Joint;
    settings.data.max_length = 1024;
    settings.data.max_prompt_length = 0;
    settings.train.batch_size = 8;
    settings.train.epochs = Some(3);
}

/// The model, reference and data of a run.
struct Setup<'a> {
    task: Task<'a>,
    learner: CausalLm,
    reference: Arc<CausalLm>,
    tokenizer: ModelTokenizer,
    data: Dataset,
    held_out: Option<Dataset>,
    mdp: TokenMdp,
}

impl<'a> Setup<'a> {
    fn open(mut task: Task<'a>) -> Result<Self, Failure> {
        let call = &mut task.call;
        let name = call.values.model.model().unwrap_or_default().to_owned();
        let files = model::load(&name, &call.values)?;
        model::say_ignored(&files, call.reporter);
        text::fit_lengths(&mut call.values, &files)?;
        let tokenizer = files.tokenizer()?.clone();
        let tokenise = text::tokenise(&files, &call.values)?;
        let (data, held_out) = text::open_split(&tokenise, &call.values, call.reporter)?;
        tokenizer.notes.iter().for_each(|note| call.reporter.info(note));
        call.reporter.info(&describe(&name, &files, &data, held_out.as_ref()));
        call.reporter.info(&data.audit().to_string());
        dropout::note(&files.path, call.reporter);
        let mdp = TokenMdp {
            vocabulary: files.config.vocabulary as u32,
            eos: tokenizer.eos.clone(),
            max_length: call.values.data.max_length(),
        };
        let continues_adapter = model::continues_adapter(&files, &call.values);
        let reference = match call.values.model.reference() {
            Some(other) => Some(model::load_beside(&files, other, &call.values)?.frozen()?),
            None if continues_adapter => None,
            None => Some(files.clone().frozen()?),
        };
        let learner = model::learner(files, &call.values)?;
        let reference = Arc::new(reference.map_or_else(|| learner.frozen_copy(), Ok)?);
        if continues_adapter {
            adapters::set_lora(learner.lora(), &mut call.values);
        }
        // Both need the same vocabulary whether or not this run measures their divergence.
        learner.diagnosed_against(Arc::clone(&reference))?;
        let learner = learner.with_diagnostics();
        let held_out = held_out.filter(|data| !data.is_empty());
        Ok(Self { task, learner, reference, tokenizer, data, held_out, mdp })
    }

    /// Checks that the data has the objective's kind of feedback, by its first examples.
    fn check_fits<F: FromExample>(&self) -> Result<(), Failure> {
        for (what, data) in [("training", Some(&self.data)), ("held-out", self.held_out.as_ref())] {
            let Some(data) = data else { continue };
            let unfit = |source| TrainError::Data { what, index: 0, source: Box::new(source) };
            F::from_example(&data.get(0)?).map_err(unfit)?;
        }
        Ok(())
    }

    fn run<F: FromExample>(mut self, objective: &dyn Objective<Feedback = F>) -> Result<Trained, Failure> {
        let key = CacheKey {
            model: self.reference.fingerprint()?,
            data: format!("{} {}", self.data.fingerprint(), std::any::type_name::<F>()),
        };
        self.check_fits::<F>()?;
        self.task.check_cache(&key)?;
        let data = TokenSource::<F>::new(&self.data, self.mdp.max_length);
        let held_out = self.held_out.as_ref().map(|held_out| TokenSource::<F>::new(held_out, self.mdp.max_length));
        let hooks = self.hooks();
        let compared = self.is_compared().then_some(self.reference.as_ref() as &dyn Policy<TokenMdp>);
        let training = self.task.training((&self.mdp, &data, objective), compared, key).held_out(held_out.as_ref());
        let ran = self.task.learn(&training, &mut self.learner, &hooks)?;
        drop(hooks);
        self.finish(ran)
    }

    /// Whether evaluations compare with the reference: for all losses but imitation, also those that need none.
    fn is_compared(&self) -> bool {
        self.task.call.values.objective.name() != Loss::Sft
    }

    fn hooks<'h>(&self) -> Hooks<'h, TokenMdp, CausalLm> {
        let reference = Arc::clone(&self.reference);
        let n = self.task.call.values.train.n_samples();
        let seed = self.task.settings.seed;
        let prompts = sample_prompts(self.held_out.as_ref().unwrap_or(&self.data), n, seed);
        let (tokenizer, mdp) = (self.tokenizer.clone(), self.mdp.clone());
        let is_compared = self.is_compared();
        let of_mdp = mdp.clone();
        Hooks {
            diagnose: is_compared.then(|| -> Box<dyn Fn(&CausalLm, &[_]) -> _> {
                Box::new(move |learner: &CausalLm, episodes: &[_]| {
                    learner.diagnosed_against(Arc::clone(&reference))?.score(&of_mdp, episodes)
                })
            }),
            sample: (n > 0).then(|| -> Box<dyn Fn(&CausalLm) -> _> {
                Box::new(move |learner: &CausalLm| {
                    let sampling = GenerationConfig { eos: mdp.eos.clone(), ..GenerationConfig::default() };
                    let prompts = prompts.clone();
                    crate::sample::draw(learner, &tokenizer, &prompts, &sampling, mdp.max_length, seed)
                        .map(|texts| Box::new(Texts(texts)) as Box<dyn Samples>)
                        .map_err(|failure| failure.to_string().into())
                })
            }),
        }
    }

    /// Writes held-out answers with the rewards of their tokens, as many as a run shows samples.
    fn write_token_rewards(&self, folder: &RunFolder) -> Result<(), Failure> {
        let (values, n) = (&self.task.call.values, self.task.call.values.train.n_samples());
        if values.objective.name() == Loss::Sft || n == 0 {
            return Ok(());
        }
        let data = self.held_out.as_ref().unwrap_or(&self.data);
        let name = values.data.data().unwrap_or_default();
        let rewards = TokenRewards {
            policy: &self.learner,
            reference: &self.reference,
            tokenizer: &self.tokenizer,
            mdp: &self.mdp,
            beta: values.objective.beta(),
            texts: EmbeddedTexts::all().find(|texts| texts.name == name),
        };
        rewards.write(&folder.report()?.join("token_rewards.jsonl"), data, n, self.task.settings.seed)
    }

    fn finish(self, ran: FinishedRun) -> Result<Trained, Failure> {
        if ran.is_interrupted() {
            return Ok(ran.interrupted());
        }
        self.write_token_rewards(&ran.folder)?;
        // The oracle of embedded data compares sampled answers.
        let problem = owner(self.task.call.values.data.data().unwrap_or_default(), Modality::Token);
        let n = self.task.prompts;
        let win_rate = match problem {
            Some(problem) if n > 0 => {
                self.task.call.reporter.info("the oracle compares samples of both models");
                let draws = (self.task.settings.seed, n);
                summary::oracle_win_rate(problem, &self.learner, &self.reference, &self.tokenizer, draws)?
            }
            _ => None,
        };
        let prompts = problem.map_or("prompts.txt", |problem| problem.name).to_owned();
        let table = summary::table(&ran.outcome, win_rate.as_ref(), "tokens");
        let judged = win_rate.as_ref().map(WinRate::judged).unwrap_or_default();
        Ok(Trained { judged, ..ran.finished(table, false, Suggestion::Sample { mdp: Modality::Token, prompts }) })
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

/// Up to `n` distinct prompts, chosen by the seed.
fn sample_prompts(data: &Dataset, n: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    let order = Order::new(derived_seed(seed, "samples to look at", 0), 0, data.len());
    for example in order.from(0).map_while(|index| data.get(index).ok()) {
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

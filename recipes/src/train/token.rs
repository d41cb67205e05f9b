//! Trains language models.
use std::sync::Arc;

use ::train::token::{FromExample, Texts, TokenSource};
use ::train::{CacheKey, Decay, Hooks, RunFolder, Samples, Source, TrainError};
use candle_core::DType;
use datasets::Dataset;
use mdp::chance::{Order, derived_seed};
use mdp::token::TokenMdp;
use models::causal::{CausalLm, GenerationConfig};
use models::formats::{ModelFiles, ModelTokenizer};
use objectives::{Needs, Objective, ObjectiveError};
use policies::{Persist, Policy};

use super::Task;
use super::judged::{Answers, JudgedPrompt, judged_prompts};
use super::token_rewards::TokenRewards;
use super::trainer::{self, Learned, Lessons, Problem, TrainerResult, with_reference};
use crate::embedded::{EmbeddedTexts, WinRate, owner, usual};
use crate::judged_pairs::is_pair_folder;
use crate::objective::{self, AnyObjective};
use crate::settings::{FormatName, Loss, Modality, OptimizerName, Preset, Settings, TokenizationName, Values};
use crate::sources::{names, sources};
use crate::text::{self, MixedTexts, TrainingTexts};
use crate::trained::{Suggestion, Trained};
use crate::{Failure, Reporter, adapters, dropout, model, summary, torchscript};

/// Trains a language model.
pub(super) fn train(mut task: Task<'_>, objective: AnyObjective) -> Result<Trained, Failure> {
    let (setup, learner) = Setup::open(&mut task)?;
    match objective {
        AnyObjective::Comparisons(objective) => setup.run(task, learner, objective.as_ref()),
        AnyObjective::Rankings(objective) => setup.run(task, learner, objective.as_ref()),
        AnyObjective::Labels(objective) => setup.run(task, learner, objective.as_ref()),
        AnyObjective::Demonstrations(objective) => setup.run(task, learner, objective.as_ref()),
    }
}

/// Defaults of known runs.
pub(super) fn presets(values: &mut Values) -> Result<(), Failure> {
    for name in objective::names(values)? {
        if matches!(name, Loss::D3po | Loss::Linear) {
            return Err(Failure::usage(format!("`objective.name` {name} is for `run.mdp` diffusion")));
        }
    }
    sources(values.data.data.all())?;
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
        Some(
            other @ (Preset::SalesforceSd15
            | Preset::Diffusers2500
            | Preset::FlowGrpo100
            | Preset::VerlOmniSd35
            | Preset::FlowFactoryFlux
            | Preset::Paper),
        ) => {
            return Err(Failure::usage(format!("`train.preset` {other} is for `run.mdp` diffusion")));
        }
    }
    of_loss(values)
}

/// Defaults that a loss has.
fn of_loss(values: &mut Values) -> Result<(), Failure> {
    let names = objective::names(values)?;
    let is_of_several = !values.objective.losses().is_empty();
    // TRL's imitation among other losses is per token; that of its SFTTrainer is another program's.
    let is_averaged = |name: &Loss| *name == Loss::Ipo || *name == Loss::Sft && is_of_several;
    if values.train.preset() == Some(Preset::Trl) && names.iter().any(is_averaged) {
        values.preset(|settings| settings.objective.per_token = true);
    }
    // Where only sorted batches read it, it is 0, as in their paper.
    let is_sorted = |name: &Loss| matches!(name, Loss::Aot | Loss::AotUnpaired);
    let is_smoothed = |name: &Loss| matches!(name, Loss::Cdpo | Loss::Robust | Loss::Exo);
    if names.iter().any(is_sorted) && !names.iter().any(is_smoothed) {
        values.preset(|settings| settings.objective.label_smoothing = 0.0);
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

/// The reference and data of a run.
struct Setup {
    reference: Arc<CausalLm>,
    tokenizer: ModelTokenizer,
    data: Dataset,
    held_out: Option<Dataset>,
    mixed: Option<MixedTexts>,
    mdp: TokenMdp,
    /// Whether evaluations compare with the reference: for all losses but imitation, also those that need none.
    is_compared: bool,
    /// Prompts of the samples that the run shows, and their seed.
    shown: (Vec<Vec<u32>>, u64),
    /// Prompts on which the policy is compared with the start.
    judged: Vec<JudgedPrompt>,
}

impl Setup {
    fn open(task: &mut Task<'_>) -> Result<(Self, CausalLm), Failure> {
        let call = &mut task.call;
        let name = call.values.model.model().unwrap_or_default().to_owned();
        let files = model::load(&name, &call.values)?;
        model::say_ignored(&files, call.reporter);
        text::fit_lengths(&mut call.values, &files)?;
        let tokenizer = files.tokenizer()?.clone();
        let tokenise = text::tokenise(&files, &call.values)?;
        let TrainingTexts { data, held_out, mixed } = text::open_split(&tokenise, &call.values, call.reporter)?;
        text::refuse_idle(&call.values, data.audit())?;
        tokenizer.notes.iter().for_each(|note| call.reporter.info(note));
        call.reporter.info(&describe(&name, &files, &data, held_out.as_ref()));
        call.reporter.info(&data.audit().to_string());
        dropout::note(&files.path, call.reporter);
        if task.purpose != super::Purpose::Precompute {
            model::say_rounded(&files, &call.values, call.reporter);
        }
        let stored = files.stored;
        let judged = judged_prompts(call, &files, held_out.as_ref().filter(|data| !data.is_empty()).unwrap_or(&data))?;
        let mdp = TokenMdp {
            vocabulary: files.config.vocabulary as u32,
            eos: tokenizer.eos.clone(),
            max_length: call.values.data.max_length(),
        };
        let (learner, reference) = learner_and_reference(files, &mut call.values)?;
        task.usual = if learner.lora().is_some() { DType::F32 } else { stored };
        let call = &task.call;
        // Both need the same vocabulary whether or not this run measures their divergence.
        learner.diagnosed_against(Arc::clone(&reference))?;
        let held_out = held_out.filter(|data| !data.is_empty());
        let (n, seed) = (call.values.train.n_samples(), task.settings.seed);
        let shown = (sample_prompts(held_out.as_ref().unwrap_or(&data), n, seed), seed);
        let is_compared = call.values.objective.name() != Loss::Sft;
        let setup = Self { reference, tokenizer, data, held_out, mixed, mdp, is_compared, shown, judged };
        Ok((setup, learner.with_diagnostics()))
    }

    /// Checks that the data has the objective's kind of feedback, and nothing that it has no place for: by the first example,
    /// or by all where records differ in kind or have weights, margins or soft labels of their own, so that no run ends at a
    /// later one.
    fn check_fits<F: FromExample>(
        &self,
        objective: &dyn Objective<Feedback = F>,
        reporter: &dyn Reporter,
    ) -> Result<(), Failure> {
        let [.., n_soft] = self.data.audit().weighted;
        if n_soft > 0 && !F::SOFT_LABELS {
            reporter.notice(&format!(
                "{n_soft} records have a soft label below 1, which this `objective.name` does not use: their better side counts \
                 whole (dpo uses them)"
            ));
        }
        // A source that does not fit is named before a record of it.
        for part in self.mixed.iter().flat_map(|mixed| &mixed.parts).filter(|part| part.size > 0) {
            F::from_example(&self.data.get(part.first)?)
                .map_err(|unfit| Failure::failed(format!("{}: {unfit}", part.name)))?;
        }
        for (what, data) in [("training", Some(&self.data)), ("held-out", self.held_out.as_ref())] {
            let Some(data) = data else { continue };
            let audit = data.audit();
            let is_even = audit.weighted == [0; 3] && audit.kinds.len() < 2;
            for index in 0..if is_even { 1 } else { data.len() } {
                let example = data.get(index)?;
                let unfit = |source| TrainError::Data { what, index, source };
                F::from_example(&example).map_err(|wrong| unfit(Box::new(wrong)))?;
                if example.margin != 0.0 && !objective.takes_margins() {
                    let refused = ObjectiveError::Margin { feedback: index, margin: example.margin };
                    return Err(unfit(Box::new(refused)).into());
                }
            }
        }
        Ok(())
    }

    fn run<'s, F: FromExample>(
        &'s self,
        mut task: Task<'_>,
        mut learner: CausalLm,
        objective: &dyn Objective<Feedback = F>,
    ) -> Result<Trained, Failure> {
        self.check_fits(objective, task.call.reporter)?;
        let source = |data: &'s Dataset| TokenSource::<F>::new(data, self.mdp.max_length);
        let mixture = self.mixed.as_ref().and_then(|mixed| mixed.mixture.as_ref());
        let (data, held_out) = (source(&self.data).mixed(mixture), self.held_out.as_ref().map(source));
        let identity = mixture.map(|mixture| format!("{} ", mixture.identity())).unwrap_or_default();
        let key = CacheKey {
            model: self.reference.fingerprint()?,
            data: format!("{} {identity}{}", self.data.fingerprint(), std::any::type_name::<F>()),
        };
        task.size = Some(n_tokens(&self.data, &|example| data.index_in_epoch(example, 0)));
        task.sources = self.mixed.iter().flat_map(MixedTexts::lines).collect();
        let lessons = Lessons { mdp: &self.mdp, data: &data, held_out: held_out.as_ref(), objective, key };
        trainer::run(&mut task, self, &mut learner, lessons)
    }

    /// Writes held-out answers with the rewards of their tokens, as many as a run shows samples.
    fn write_token_rewards(&self, task: &Task<'_>, policy: &CausalLm, folder: &RunFolder) -> Result<(), Failure> {
        let (values, n) = (&task.call.values, task.call.values.train.n_samples());
        if values.objective.name() == Loss::Sft || n == 0 {
            return Ok(());
        }
        let data = self.held_out.as_ref().unwrap_or(&self.data);
        let name = values.data.data().unwrap_or_default();
        let rewards = TokenRewards {
            policy,
            reference: &self.reference,
            tokenizer: &self.tokenizer,
            mdp: &self.mdp,
            beta: values.objective.beta(),
            texts: EmbeddedTexts::all().find(|texts| texts.name == name),
        };
        rewards.write(&folder.report()?.join("token_rewards.jsonl"), data, n, task.settings.seed)
    }
}

impl Problem for Setup {
    type Mdp = TokenMdp;
    type Learner = CausalLm;

    fn reference(&self) -> &dyn Policy<TokenMdp> {
        self.reference.as_ref()
    }

    fn is_compared(&self, _: Needs) -> bool {
        self.is_compared
    }

    fn hooks(&self) -> Hooks<'_, TokenMdp, CausalLm> {
        let (prompts, seed) = (&self.shown.0, self.shown.1);
        Hooks {
            judge: None,
            diagnose: self.is_compared.then(|| -> Box<dyn Fn(&CausalLm, &[_]) -> _> {
                Box::new(|learner: &CausalLm, episodes: &[_]| {
                    learner.diagnosed_against(Arc::clone(&self.reference))?.score(&self.mdp, episodes)
                })
            }),
            sample: (!prompts.is_empty()).then(|| -> Box<dyn Fn(&CausalLm) -> _> {
                Box::new(move |learner: &CausalLm| {
                    let sampling = GenerationConfig { eos: self.mdp.eos.clone(), ..GenerationConfig::default() };
                    crate::sampling::draw(learner, &self.tokenizer, prompts, &sampling, self.mdp.max_length, seed)
                        .map(|texts| Box::new(Texts(texts)) as Box<dyn Samples>)
                        .map_err(|failure| failure.to_string().into())
                })
            }),
        }
    }

    fn answers(&self, learner: &CausalLm) -> Result<Answers, Failure> {
        let averaged = learner.averaged()?;
        let learner = averaged.as_ref().unwrap_or(learner);
        let prompts: Vec<Vec<u32>> = self.judged.iter().map(|prompt| prompt.tokens.clone()).collect();
        let sampling = GenerationConfig { eos: self.mdp.eos.clone(), ..GenerationConfig::default() };
        let drawn = crate::sampling::draw(
            learner,
            &self.tokenizer,
            &prompts,
            &sampling,
            self.mdp.max_length,
            derived_seed(self.shown.1, "judged answers", 0),
        )?;
        let requests = self.judged.iter().map(|prompt| prompt.request.clone());
        Ok(Answers::Texts(requests.zip(drawn.into_iter().map(|drawn| drawn.response)).collect()))
    }

    fn judge<S: Source<Mdp = TokenMdp>>(&self, learned: &Learned<'_, Self, S>) -> Result<TrainerResult, Failure> {
        let &Learned { task, learner, outcome, folder, .. } = learned;
        self.write_token_rewards(task, learner, folder)?;
        // The oracle of embedded data compares sampled answers.
        let problem = owner(task.call.values.data.data().unwrap_or_default(), Modality::Token);
        let n = task.prompts;
        let win_rate = match problem {
            Some(problem) if n > 0 => {
                task.call.reporter.info("the oracle compares samples of both models");
                let draws = (task.settings.seed, n);
                let averaged = learner.averaged()?;
                let learner = averaged.as_ref().unwrap_or(learner);
                summary::oracle_win_rate(problem, learner, &self.reference, &self.tokenizer, draws)?
            }
            _ => None,
        };
        let names = names(task.call.values.data.sources());
        let data = names.first().copied();
        let data = data.filter(|data| problem.is_some() || !is_pair_folder(data.as_ref()));
        let prompts = problem.map(|problem| problem.name).or(data).map(str::to_owned);
        let is_chat = problem.is_none() && self.tokenizer.chat_template(false).is_some();
        Ok(TrainerResult::Finished {
            table: summary::table(outcome, win_rate.as_ref(), "tokens"),
            judged: win_rate.as_ref().map(WinRate::judged).unwrap_or_default(),
            has_pictures: false,
            suggestion: if is_chat { Suggestion::Chat } else { Suggestion::Sample { mdp: Modality::Token, prompts } },
        })
    }
}

/// The learner, and the frozen reference beside which it learns.
fn learner_and_reference(files: ModelFiles, values: &mut Values) -> Result<(CausalLm, Arc<CausalLm>), Failure> {
    let continues_adapter = model::continues_adapter(&files, values);
    let named = (values.model.reference(), continues_adapter);
    let frozen = |files: &ModelFiles, named: Option<&str>| match named {
        Some(other) => Ok(model::load_beside(files, other, values)?.frozen()?),
        None => Ok(files.clone().frozen()?),
    };
    let learner = |files| model::learner(files, values);
    let (learner, reference) = with_reference(files, named, frozen, learner, CausalLm::frozen_copy)?;
    if continues_adapter {
        adapters::set_lora(learner.lora(), values);
    }
    Ok((learner, reference))
}

fn describe(name: &str, files: &ModelFiles, data: &Dataset, held_out: Option<&Dataset>) -> String {
    let n = files.n_parameters();
    format!(
        "model {name}: {}, {:.1}M parameters; {} training examples, {} held out",
        torchscript::architecture(&files.config),
        n as f64 / 1e6,
        data.len(),
        held_out.map_or(0, Dataset::len)
    )
}

/// The number of tokens of the examples of an epoch, each prompt counted once.
fn n_tokens(data: &Dataset, in_epoch: &dyn Fn(usize) -> usize) -> usize {
    let of = |example| data.get(in_epoch(example)).map_or(0, |example| example.n_tokens());
    (0..data.len()).map(of).sum()
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

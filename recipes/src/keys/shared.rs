//! Settings that every kind of problem has.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use crate::settings::{Modality, at};

use super::needs::Data::{Embedded, Files, Latents, Pairs, Trajectories};
use super::needs::Need::{From, Never, NotOne, One, Such, With, Without};
use super::needs::{ANY, DIFFUSION, FIXED, HYBRID, NO_OTHER, TOKEN, WITHOUT_REFERENCE, When};
use super::{ALL, CREDIT, DATA, INSPECT, JUDGE, Key, LABEL, REPORT, REPRODUCE, SAMPLE, SCORE, SEARCH, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::run::mdp, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT),
    key(&at::run::seed, ALL | LABEL | SEARCH | CREDIT | REPRODUCE).when(&[When(SEARCH, TOKEN, Such(|here| here.searches_by_chance(), "would do nothing: this search draws nothing")), When(SCORE, TOKEN, Such(|here| here.is_by_chance(), "is for embedded data and untrained models: nothing else is drawn here")), When(SAMPLE, TOKEN, Such(|here| here.samples_by_chance(), "would do nothing: `sample.temperature` 0 takes the likeliest token")), When(SCORE, DIFFUSION, Without(&at::diffusion::draws, "it gives every timestep and all noise")), When(INSPECT, TOKEN, From(&[Embedded])), When(INSPECT, DIFFUSION, Never("decides nothing that is shown here")), When(INSPECT, ANY, Such(|here| here.mdp.is_some(), "decides nothing that is shown here"))]),
    key(&at::run::device, ALL | JUDGE | SEARCH | CREDIT).when(&[When(INSPECT, ANY, Such(|here| here.loads, "is for what loads a model, and nothing is loaded here")), When(JUDGE, ANY, NotOne(&at::judge::judge, &["oracle", "people"]))]),
    key(&at::run::out, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT | REPORT | REPRODUCE).when(&[When(SAMPLE, ANY, Without(&at::label::pairs, "it names the folder to write"))]),
    key(&at::model::model, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).when(&[When(TRAIN, HYBRID, Never("is for one model; a hybrid has two: `hybrid.refiner`, `hybrid.generator`, `hybrid.refiner_reference` and `hybrid.generator_reference`")), When(SCORE | SAMPLE | SEARCH | CREDIT, HYBRID, Such(|here| !here.names_both_halves(), "is for a hybrid run, and both of its halves are named: `hybrid.refiner` and `hybrid.generator`"))]),
    key(&at::model::reference, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).when(&[When(SEARCH, ANY, One(&at::search::score, &["implicit"])), When(TRAIN | SCORE | SAMPLE | SEARCH | CREDIT, HYBRID, Never("is for one model; a hybrid has two: `hybrid.refiner`, `hybrid.generator`, `hybrid.refiner_reference` and `hybrid.generator_reference`")), When(SAMPLE, ANY, Such(|here| here.samples_beside_another(), NO_OTHER)), When(TRAIN, TOKEN, NotOne(&at::objective::name, &["sft"])), When(TRAIN, DIFFUSION, Such(|here| here.compares_denoisers(), "is for losses that read a reference, this one does not")), When(TRAIN, ANY, Such(|here| here.reference_is_fixed(), FIXED))]),
    key(&at::model::lora_rank, TRAIN),
    key(&at::model::lora_alpha, TRAIN).when(&[When(TRAIN, ANY, With(&[&at::model::lora_rank]))]),
    key(&at::model::lora_targets, TRAIN).when(&[When(TRAIN, ANY, With(&[&at::model::lora_rank]))]),
    key(&at::model::rslora, TRAIN).when(&[When(TRAIN, ANY, With(&[&at::model::lora_rank]))]),
    key(&at::model::activation_checkpointing, TRAIN),
    key(&at::model::save_dtype, TRAIN),
    key(&at::model::ema, TRAIN),
    key(&at::data::data, DATA | CREDIT).when(&[When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), When(TRAIN | SCORE | CREDIT, DIFFUSION, Without(&at::data::latents, "it stands in for `data.data`")), When(TRAIN, DIFFUSION, Without(&at::diffusion::trajectories, "its file holds the examples"))]),
    key(&at::data::eval_data, TRAIN).when(&[When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds compare policies on prompts that are held out")), When(TRAIN, DIFFUSION, From(&[Files, Latents])), When(TRAIN, HYBRID, Never("would do nothing: hybrid runs hold requests of `data.data` out, a share of `data.eval_share`"))]),
    key(&at::data::eval_share, TRAIN).off("0").when(&[When(TRAIN, ANY, Without(&at::data::eval_data, "nothing is held out of `data.data` then")), When(TRAIN, ANY, Such(|here| here.splits(), "is for data from files: of an embedded problem `train.eval_examples` others are drawn"))]),
    key(&at::data::format, DATA).only(Modality::Token).when(&[When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), When(DATA, ANY, From(&[Files]))]),
    key(&at::data::limit, DATA | CREDIT).when(&[When(TRAIN, ANY, Without(&at::rounds::rounds, "`rounds.pairs` says how many pairs there are")), When(TRAIN, DIFFUSION, From(&[Embedded, Files, Pairs, Latents])), When(INSPECT, TOKEN, From(&[Embedded, Files, Pairs])), When(INSPECT, DIFFUSION, From(&[Files])), When(INSPECT, ANY, Such(|here| here.mdp.is_some(), "is for data, and this is none"))]),
    key(&at::data::split, DATA | CREDIT).when(&[When(CREDIT, TOKEN, Never("would do nothing: all records are read")), When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), When(TRAIN | SCORE | CREDIT, HYBRID, Never("would do nothing: hybrid records name no parts")), When(DATA | CREDIT, ANY, From(&[Files]))]),
    key(&at::objective::name, TRAIN),
    key(&at::objective::beta, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).when(&[When(SAMPLE, ANY, With(&[&at::sample::search])), When(SAMPLE | SEARCH, ANY, One(&at::search::score, &["implicit"])), When(TRAIN, TOKEN, NotOne(&at::objective::name, &["sft"])), When(TRAIN, DIFFUSION, NotOne(&at::objective::name, &["sft"])), When(SCORE, TOKEN, With(&[&at::model::reference])), When(SCORE, DIFFUSION, With(&[&at::model::reference])), When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference]))]),
    key(&at::objective::gamma, TRAIN | SCORE | CREDIT).when(&[When(TRAIN, TOKEN, One(&at::objective::name, &["simpo"])), When(TRAIN, DIFFUSION, One(&at::objective::name, &["simpo"])), When(SCORE | CREDIT, ANY, One(&at::run::mdp, &["hybrid"])), When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference]))]),
    key(&at::objective::label_smoothing, TRAIN).when(&[When(TRAIN, ANY, One(&at::objective::name, &["cdpo", "robust", "exo"]))]),
    key(&at::objective::bias, TRAIN).when(&[When(TRAIN, ANY, One(&at::objective::name, &["cpl"]))]),
    key(&at::objective::sft_weight, TRAIN).off("0").when(&[When(TRAIN, ANY, NotOne(&at::objective::name, &["sft", "kto", "plackett-luce"]))]),
    key(&at::optimizer::name, TRAIN),
    key(&at::optimizer::lr, TRAIN),
    key(&at::optimizer::weight_decay, TRAIN).off("0").when(&[When(TRAIN, ANY, One(&at::optimizer::name, &["adamw"]))]),
    key(&at::optimizer::momentum, TRAIN).off("0").when(&[When(TRAIN, ANY, One(&at::optimizer::name, &["sgd"]))]),
    key(&at::optimizer::warmup_steps, TRAIN),
    key(&at::optimizer::schedule, TRAIN),
    key(&at::optimizer::max_grad_norm, TRAIN),
    key(&at::train::preset, TRAIN).when(&[When(TRAIN, HYBRID, Never("is for one model, a hybrid has its own defaults"))]),
    key(&at::train::batch_size, TRAIN),
    key(&at::train::micro_batch_size, TRAIN | SCORE).when(&[When(SCORE, ANY, One(&at::run::mdp, &["token"]))]),
    key(&at::train::epochs, TRAIN),
    key(&at::train::max_steps, TRAIN),
    key(&at::train::eval_every, TRAIN).off("0").when(&[When(TRAIN, ANY, Such(|here| here.holds_out() || here.shows_samples(), "would do nothing: no example is held out and no sample is drawn"))]),
    key(&at::train::eval_examples, TRAIN).off("0").when(&[When(TRAIN, ANY, Such(|here| here.holds_out(), "would do nothing: no example is held out; `data.eval_share` or `data.eval_data` says which are"))]),
    key(&at::train::n_samples, TRAIN).off("0").when(&[When(TRAIN, DIFFUSION, From(&[Embedded, Files, Pairs, Trajectories]))]),
    key(&at::train::save_every, TRAIN),
    key(&at::train::keep_checkpoints, TRAIN),
    key(&at::train::reference_cache, TRAIN).when(&[When(TRAIN, ANY, NotOne(&at::objective::name, WITHOUT_REFERENCE)), When(TRAIN, ANY, Without(&at::rounds::rounds, "every round has other pairs"))]),
    key(&at::sample::prompts, SAMPLE | SEARCH | TRAIN).when(&[When(TRAIN, ANY, With(&[&at::rounds::rounds]))]),
    key(&at::sample::n, SAMPLE | SEARCH).when(&[When(SEARCH, ANY, NotOne(&at::search::method, &["greedy", "smc"])), When(SAMPLE, ANY, Such(|here| here.reads_n(), "would do nothing: `sample.search` greedy finds one answer, smc as many as `search.width`"))]),
    key(&at::sample::limit, SAMPLE | SEARCH),
];

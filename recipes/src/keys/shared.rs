//! Settings that every kind of problem has.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path to a method is not general enough for `Predicate`"
)]

use crate::settings::{Modality, at};

use super::requirements::Data::{Embedded, Files, Latents, Pairs, Trajectories};
use super::requirements::Requirement::{AnyGiven, DataFrom, Never, NoneOf, NotGiven, OneOf, Predicate};
use super::requirements::{
    ANY, COMPARES, Condition, DIFFUSION, FIXED, HYBRID, NO_OTHER, TOKEN, WITHOUT_FOLLOWING, WITHOUT_PAIRS,
    WITHOUT_REFERENCE,
};
use super::{
    ALL, CREDIT, DATA, EVAL, EXPORTS, INSPECT, JUDGE, Key, LABEL, REFERS, REPORT, REPRODUCE, SAMPLE, SCORE, SCORES,
    SEARCH, TRAIN, key,
};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::run::mdp, REFERS | SCORES | SAMPLE | SEARCH | CREDIT),
    key(&at::run::seed, ALL | LABEL | JUDGE | SEARCH | CREDIT | REPRODUCE).when(&[Condition(SEARCH, TOKEN, Predicate(|here| here.searches_by_chance(), "would do nothing: this search draws nothing")), Condition(SCORE, TOKEN, Predicate(|here| here.is_by_chance(), "is for embedded data and untrained models: nothing else is drawn here")), Condition(SAMPLE, TOKEN, Predicate(|here| here.samples_by_chance(), "would do nothing: `sample.temperature` 0 takes the likeliest token")), Condition(SCORE, DIFFUSION, NotGiven(&at::diffusion::draws, "it gives every timestep and all noise")), Condition(INSPECT, TOKEN, DataFrom(&[Embedded])), Condition(INSPECT, DIFFUSION, Never("decides nothing that is shown here")), Condition(INSPECT, ANY, Predicate(|here| here.mdp.is_some(), "decides nothing that is shown here"))]),
    key(&at::run::device, ALL | EXPORTS | JUDGE | SEARCH | CREDIT).when(&[Condition(INSPECT, ANY, Predicate(|here| here.loads, "is for what loads a model, and nothing is loaded here")), Condition(JUDGE, ANY, NoneOf(&at::judge::judge, &["oracle", "people", "openai"]))]),
    key(&at::run::threads, ALL | EXPORTS | SEARCH | CREDIT | JUDGE | REPRODUCE).when(&[Condition(INSPECT, ANY, Predicate(|here| here.loads, "is for what loads a model, and nothing is loaded here")), Condition(JUDGE, ANY, NoneOf(&at::judge::judge, &["oracle", "people", "openai"]))]),
    key(&at::run::precision, REFERS | SCORES | SAMPLE | SEARCH | CREDIT | JUDGE).when(&[Condition(JUDGE, ANY, NoneOf(&at::judge::judge, &["oracle", "people", "openai"]))]),
    key(&at::run::out, TRAIN | SCORES | EXPORTS | SAMPLE | SEARCH | CREDIT | JUDGE | REPORT | REPRODUCE).when(&[Condition(SAMPLE, ANY, NotGiven(&at::label::pairs, "it names the folder to write"))]),
    key(&at::model::model, REFERS | SCORES | EXPORTS | SAMPLE | SEARCH | CREDIT | INSPECT).when(&[Condition(INSPECT, ANY, DataFrom(&[Embedded, Files, Pairs])), Condition(TRAIN | SCORES | SAMPLE | SEARCH | CREDIT, HYBRID, Predicate(|here| !here.names_both_halves(), "is for a hybrid run, and both of its halves are named: `hybrid.refiner` and `hybrid.generator`"))]),
    key(&at::model::reference, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).when(&[Condition(SEARCH, ANY, OneOf(&at::search::score, &["implicit"])), Condition(TRAIN | SCORES | SAMPLE | SEARCH | CREDIT, HYBRID, Never("is for one model; a hybrid has two: `hybrid.refiner`, `hybrid.generator`, `hybrid.refiner_reference` and `hybrid.generator_reference`")), Condition(SAMPLE, ANY, Predicate(|here| here.samples_beside_another(), NO_OTHER)), Condition(TRAIN, TOKEN, NoneOf(&at::objective::name, &["sft"])), Condition(TRAIN, DIFFUSION, Predicate(|here| here.compares_denoisers(), "is for losses that read a reference, this one does not")), Condition(TRAIN, ANY, Predicate(|here| here.reference_is_fixed(), FIXED))]),
    key(&at::model::lora_rank, REFERS),
    key(&at::model::lora_alpha, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::model::lora_rank]))]),
    key(&at::model::lora_targets, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::model::lora_rank]))]),
    key(&at::model::rslora, TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::model::lora_rank]))]),
    key(&at::model::dora, TRAIN).off("false").when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::model::lora_rank]))]),
    key(&at::model::lora_bias, TRAIN).off("false").when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::model::lora_rank]))]),
    key(&at::model::activation_checkpointing, TRAIN),
    key(&at::model::save_dtype, TRAIN | EXPORTS),
    key(&at::model::ema, TRAIN),
    key(&at::model::reference_ema, TRAIN).when(&[Condition(TRAIN, HYBRID, Never("is for one model, a hybrid's references are fixed")), Condition(TRAIN, ANY, NoneOf(&at::objective::name, WITHOUT_FOLLOWING)), Condition(TRAIN, ANY, NotGiven(&at::model::reference, "that is the reference, and is fixed")), Condition(TRAIN, ANY, NotGiven(&at::train::reference_cache, "numbers of a reference that moves can't be kept")), Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds have a reference each"))]),
    key(&at::data::data, DATA | CREDIT).when(&[Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), Condition(TRAIN | SCORES | CREDIT, DIFFUSION, NotGiven(&at::data::latents, "it stands in for `data.data`")), Condition(TRAIN, DIFFUSION, NotGiven(&at::diffusion::trajectories, "its file holds the examples"))]),
    key(&at::data::eval_data, REFERS).when(&[Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds compare policies on prompts that are held out")), Condition(TRAIN, DIFFUSION, DataFrom(&[Files, Latents])), Condition(TRAIN, HYBRID, Never("would do nothing: hybrid runs hold requests of `data.data` out, a share of `data.eval_share`"))]),
    key(&at::data::eval_share, REFERS).off("0").when(&[Condition(TRAIN, ANY, NotGiven(&at::data::eval_data, "nothing is held out of `data.data` then")), Condition(TRAIN, ANY, Predicate(|here| here.splits(), "is for data from files: of an embedded problem `train.eval_examples` others are drawn"))]),
    key(&at::data::format, DATA).only(Modality::Token).when(&[Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), Condition(DATA, ANY, DataFrom(&[Files]))]),
    key(&at::data::map, DATA | SAMPLE | SEARCH).when(&[Condition(SAMPLE | SEARCH, ANY, Predicate(|here| here.asks_of_file(), "is for `sample.prompts` FILE of records")), Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), Condition(DATA, HYBRID, Never("would do nothing: hybrid records have their own columns")), Condition(DATA, ANY, DataFrom(&[Files]))]),
    key(&at::data::limit, DATA | CREDIT).when(&[Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "`rounds.pairs` says how many pairs there are")), Condition(TRAIN, DIFFUSION, DataFrom(&[Embedded, Files, Pairs, Latents])), Condition(INSPECT, TOKEN, DataFrom(&[Embedded, Files, Pairs])), Condition(INSPECT, DIFFUSION, DataFrom(&[Files])), Condition(INSPECT, ANY, Predicate(|here| here.mdp.is_some(), "is for data, and this is none"))]),
    key(&at::data::split, DATA | CREDIT).when(&[Condition(CREDIT, TOKEN, Never("would do nothing: all records are read")), Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")), Condition(TRAIN | SCORES | CREDIT, HYBRID, Never("would do nothing: hybrid records name no parts")), Condition(DATA | CREDIT, ANY, DataFrom(&[Files]))]),
    key(&at::objective::name, REFERS).when(&[Condition(TRAIN, ANY, NotGiven(&at::objective::losses, "it names the losses"))]),
    key(&at::objective::losses, REFERS),
    key(&at::objective::beta, TRAIN | SCORES | SAMPLE | SEARCH | CREDIT).when(&[Condition(SAMPLE, ANY, AnyGiven(&[&at::sample::search])), Condition(SAMPLE | SEARCH, ANY, OneOf(&at::search::score, &["implicit"])), Condition(TRAIN, TOKEN, NoneOf(&at::objective::name, &["sft"])), Condition(TRAIN, DIFFUSION, NoneOf(&at::objective::name, &["sft"])), Condition(SCORE, TOKEN, AnyGiven(&[&at::model::reference])), Condition(SCORE, DIFFUSION, AnyGiven(&[&at::model::reference])), Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])), Condition(EVAL, ANY, COMPARES)]),
    key(&at::objective::gamma, TRAIN | SCORES | CREDIT).when(&[Condition(TRAIN, TOKEN, OneOf(&at::objective::name, &["simpo"])), Condition(TRAIN, DIFFUSION, OneOf(&at::objective::name, &["simpo"])), Condition(SCORES | CREDIT, ANY, OneOf(&at::run::mdp, &["hybrid"])), Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])), Condition(EVAL, ANY, COMPARES)]),
    key(&at::objective::label_smoothing, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["cdpo", "robust", "exo", "aot", "aot-unpaired"]))]),
    key(&at::objective::tau, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["discopop"]))]),
    key(&at::objective::penalty, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["dpop"]))]),
    key(&at::objective::moving_delta, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["bco"]))]),
    key(&at::objective::desirable_weight, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["kto"]))]),
    key(&at::objective::undesirable_weight, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["kto"]))]),
    key(&at::objective::bias, TRAIN).when(&[Condition(TRAIN, ANY, OneOf(&at::objective::name, &["cpl"]))]),
    key(&at::objective::sft_weight, TRAIN).off("0").when(&[Condition(TRAIN, ANY, NoneOf(&at::objective::name, WITHOUT_PAIRS)), Condition(TRAIN, ANY, NotGiven(&at::objective::losses, "sft is one of them there, with its weight"))]),
    key(&at::optimizer::name, TRAIN),
    key(&at::optimizer::lr, TRAIN),
    key(&at::optimizer::weight_decay, TRAIN).off("0").when(&[Condition(TRAIN, ANY, OneOf(&at::optimizer::name, &["adamw"]))]),
    key(&at::optimizer::momentum, TRAIN).off("0").when(&[Condition(TRAIN, ANY, OneOf(&at::optimizer::name, &["sgd"]))]),
    key(&at::optimizer::warmup_steps, TRAIN),
    key(&at::optimizer::schedule, TRAIN),
    key(&at::optimizer::max_grad_norm, TRAIN),
    key(&at::optimizer::shard, TRAIN),
    key(&at::train::preset, REFERS).when(&[Condition(TRAIN, HYBRID, Never("is for one model, a hybrid has its own defaults"))]),
    key(&at::train::batch_size, REFERS),
    key(&at::train::micro_batch_size, REFERS | SCORES).when(&[Condition(SCORES, ANY, OneOf(&at::run::mdp, &["token"]))]),
    key(&at::train::epochs, REFERS),
    key(&at::train::max_steps, REFERS),
    key(&at::train::eval_every, TRAIN).off("0").when(&[Condition(TRAIN, ANY, Predicate(|here| here.holds_out() || here.shows_samples(), "would do nothing: no example is held out and no sample is drawn"))]),
    key(&at::train::eval_examples, TRAIN).off("0").when(&[Condition(TRAIN, ANY, Predicate(|here| here.holds_out(), "would do nothing: no example is held out; `data.eval_share` or `data.eval_data` says which are"))]),
    key(&at::train::n_samples, TRAIN).off("0").when(&[Condition(TRAIN, DIFFUSION, DataFrom(&[Embedded, Files, Pairs, Trajectories]))]),
    key(&at::train::save_every, TRAIN),
    key(&at::train::save_minutes, TRAIN).when(&[Condition(TRAIN, ANY, NotGiven(&at::train::save_every, "checkpoints are then saved by steps alone"))]),
    key(&at::train::keep_checkpoints, TRAIN),
    key(&at::train::best_metric, TRAIN).off("none").when(&[Condition(TRAIN, ANY, Predicate(|here| here.holds_out(), "would do nothing: no example is held out; `data.eval_share` or `data.eval_data` says which are"))]),
    key(&at::train::early_stopping_patience, TRAIN).when(&[Condition(TRAIN, ANY, Predicate(|here| here.holds_out(), "would do nothing: no example is held out; `data.eval_share` or `data.eval_data` says which are")), Condition(TRAIN, ANY, NoneOf(&at::train::best_metric, &["none"])), Condition(TRAIN, ANY, Predicate(|here| here.values.train.eval_every > 0, "goes with `train.eval_every`, which says how often is looked"))]),
    key(&at::train::reference_cache, REFERS).when(&[Condition(TRAIN, ANY, NoneOf(&at::objective::name, WITHOUT_REFERENCE)), Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "every round has other pairs"))]),
    key(&at::sample::prompts, SAMPLE | SEARCH | TRAIN).when(&[Condition(TRAIN, ANY, AnyGiven(&[&at::rounds::rounds]))]),
    key(&at::sample::prompt, SAMPLE | SEARCH).when(&[Condition(SAMPLE | SEARCH, ANY, NotGiven(&at::sample::prompts, "that names the prompts"))]),
    key(&at::sample::n, SAMPLE | SEARCH).when(&[Condition(SEARCH, ANY, NoneOf(&at::search::method, &["greedy", "smc"])), Condition(SAMPLE, ANY, Predicate(|here| here.reads_n(), "would do nothing: `sample.search` greedy finds one answer, smc as many as `search.width`"))]),
    key(&at::sample::limit, SAMPLE | SEARCH),
];

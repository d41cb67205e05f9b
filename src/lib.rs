//! Preference learning for models of any kind.
//!
//! A language model, a denoiser, and the two in a row are policies of decision problems, and one preference loss trains
//! them all (Rafailov et al. 2024, "From r to Q*"). Each crate is a room of that house:
//!
//! | room | what is in it |
//! |---|---|
//! | [`mdp`] | problems as values: [`mdp::Mdp`], tokens, denoising, hybrids, exact solutions of small ones |
//! | [`policies`] | what a model is asked: [`policies::Policy`], [`policies::Learner`], [`policies::Pair`], a table of logits |
//! | [`search`] | beams, samples, trees and particles over any policy, by likelihood, implicit reward or a score of one's own |
//! | [`objectives`] | losses of numbers: DPO and its family, ranked lists, demonstrations |
//! | [`train`] | the loop: [`train::Training`], sources of examples, run folders, TensorBoard |
//! | [`report`] | pages and plots: [`report::compare`] of runs, [`report::page`] and [`report::plot`] for pages of one's own |
//! | [`eval`] | judges behind an API, and what judgements say: win rates, at equal length, agreement |
//! | [`hub`] | models and data sets by name: the Hugging Face cache, downloads into it |
//! | [`datasets`] | records, chats, images, pair folders; embedded problems with oracles |
//! | [`models`] | language models, UNets, text encoders, autoencoders, and the files of Hugging Face and GGUF |
//! | [`torch`] | policies of TorchScript and of LibTorch's modules (feature `torch`) |
//! | [`engine`] | tensors: kernels, layers with gradients, optimisers, adapters |
//! | [`recipes`] | whole jobs from settings: training, scoring, sampling, judging, reports |
//!
//! # Where to begin
//! - **A job as the command line does it, from a program**: [`recipes::train`], [`recipes::score`], [`recipes::sample`] and
//!   [`recipes::judge`] take settings such as [`recipes::settings::TokenTraining`] and return values.
//! - **A model and data of your own**: [`train::Training`] takes a problem, a source of examples and a loss. The examples
//!   `02_language_model`, `03_denoiser` and `04_refiner_and_generator` are such programs.
//! - **A problem of your own**: three functions of [`mdp::Mdp`] (example `05_your_own_mdp`; `06_video` is a hybrid).
//! - **A world of your own**: tools, users, opponents that reply are one function of [`mdp::World`] (example `07_agent`).
//! - **A loss of your own**: [`objectives::Link`] of a margin, or [`objectives::Objective`] of all numbers.
pub use {datasets, engine, eval, hub, mdp, models, objectives, policies, recipes, report, search, torch, train};

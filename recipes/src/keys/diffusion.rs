//! Settings of denoisers.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use crate::settings::{Modality, at};

use super::needs::Data::{Absent, Files, Latents, Pairs};
use super::needs::Need::{From, NotOne, One, Such, With, Without};
use super::needs::{ANY, DIFFUSION, HYBRID, When};
use super::{CREDIT, DATA, INSPECT, Key, SAMPLE, SCORE, SEARCH, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::model::prediction, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid(),
    key(&at::model::scheduler, TRAIN | SCORE | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid(),
    key(&at::data::latents, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).when(&[
        When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")),
        When(TRAIN, ANY, NotOne(&at::diffusion::scheme, &["trajectory"])),
    ]),
    key(&at::data::image_size, DATA | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN | SCORE | CREDIT, DIFFUSION, From(&[Files, Pairs])),
        When(INSPECT, ANY, From(&[Absent, Files])),
    ]),
    key(&at::data::flip, TRAIN).only(Modality::Diffusion).when(&[When(TRAIN, ANY, From(&[Files]))]),
    key(&at::data::flip_sides, TRAIN).only(Modality::Diffusion).when(&[When(TRAIN, ANY, From(&[Files]))]),
    key(&at::data::transparency, DATA | CREDIT)
        .only(Modality::Diffusion)
        .when(&[When(TRAIN | SCORE | CREDIT, DIFFUSION, From(&[Files])), When(INSPECT, ANY, From(&[Files]))]),
    key(&at::data::exif, DATA | CREDIT)
        .only(Modality::Diffusion)
        .when(&[When(TRAIN | SCORE | CREDIT, DIFFUSION, From(&[Files])), When(INSPECT, ANY, From(&[Files]))]),
    key(&at::data::resize_filter, DATA | CREDIT)
        .only(Modality::Diffusion)
        .when(&[When(TRAIN | SCORE | CREDIT, DIFFUSION, From(&[Files])), When(INSPECT, ANY, From(&[Files]))]),
    key(&at::data::resize_rounding, DATA | CREDIT)
        .only(Modality::Diffusion)
        .when(&[When(TRAIN | SCORE | CREDIT, DIFFUSION, From(&[Files])), When(INSPECT, ANY, From(&[Files]))]),
    key(&at::data::on_bad_image, DATA | CREDIT).only(Modality::Diffusion).when(&[When(
        DATA | CREDIT,
        ANY,
        From(&[Files]),
    )]),
    key(&at::data::latent_cache, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).when(&[
        When(TRAIN | SCORE | CREDIT, ANY, From(&[Files])),
        When(
            TRAIN | SCORE | CREDIT,
            ANY,
            Such(|here| here.encodes(), "is for models with an autoencoder (vae/), and this one has none"),
        ),
    ]),
    key(&at::diffusion::scheme, TRAIN).only(Modality::Diffusion),
    key(&at::diffusion::draws_per_pair, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[When(
        TRAIN | SCORE | CREDIT,
        ANY,
        Without(&at::diffusion::draws, "it gives every draw"),
    )]),
    key(&at::diffusion::draw_sets, TRAIN).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, NotOne(&at::diffusion::scheme, &["trajectory"])),
        When(TRAIN, ANY, Without(&at::diffusion::draws, "it gives every draw")),
    ]),
    key(&at::diffusion::draws, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, NotOne(&at::diffusion::scheme, &["trajectory"])),
        When(TRAIN, ANY, Without(&at::rounds::rounds, "every round has other pairs")),
        When(TRAIN | SCORE | CREDIT, DIFFUSION, From(&[Latents])),
    ]),
    key(&at::diffusion::timesteps, TRAIN).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, NotOne(&at::diffusion::scheme, &["trajectory"])),
        When(TRAIN, ANY, Without(&at::diffusion::draws, "it gives every draw")),
        When(
            TRAIN,
            ANY,
            Such(
                |here| !here.has_one_stratum(),
                "stratified is for `diffusion.draws_per_pair` of at least 2: the one draw of a pair is uniform",
            ),
        ),
    ]),
    key(&at::diffusion::noise, TRAIN).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, NotOne(&at::diffusion::scheme, &["trajectory"])),
        When(TRAIN, ANY, Without(&at::diffusion::draws, "it gives every draw")),
    ]),
    key(&at::diffusion::reduction, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(SCORE, DIFFUSION, With(&[&at::model::reference])),
        When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
    ]),
    key(&at::diffusion::half, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, One(&at::diffusion::scheme, &["forward"])),
        When(SCORE, DIFFUSION, With(&[&at::model::reference])),
        When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
    ]),
    key(&at::diffusion::horizon, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, NotOne(&at::diffusion::scheme, &["trajectory"])),
        When(SCORE, DIFFUSION, With(&[&at::model::reference])),
        When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
    ]),
    key(&at::diffusion::omega, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN, DIFFUSION, One(&at::diffusion::scheme, &["forward"])),
        When(SCORE, DIFFUSION, With(&[&at::model::reference])),
        When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
    ]),
    key(&at::diffusion::min_snr_gamma, TRAIN | SCORE | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        When(TRAIN | SCORE | CREDIT, ANY, One(&at::diffusion::omega, &["min-snr"])),
        When(SCORE, DIFFUSION, With(&[&at::model::reference])),
        When(SCORE, HYBRID, With(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
    ]),
    key(&at::diffusion::empty_share, TRAIN).only(Modality::Diffusion).in_hybrid().when(&[When(
        TRAIN,
        DIFFUSION,
        NotOne(&at::diffusion::scheme, &["trajectory"]),
    )]),
    key(&at::diffusion::trajectories, TRAIN).only(Modality::Diffusion).when(&[
        When(TRAIN, ANY, Without(&at::rounds::rounds, "rounds make finished images")),
        When(TRAIN, ANY, One(&at::diffusion::scheme, &["trajectory"])),
    ]),
    key(&at::diffusion::importance_clip, TRAIN).only(Modality::Diffusion).when(&[When(
        TRAIN,
        ANY,
        One(&at::diffusion::scheme, &["trajectory"]),
    )]),
    key(&at::diffusion::clamp, TRAIN).only(Modality::Diffusion).when(&[When(
        TRAIN,
        ANY,
        One(&at::objective::name, &["d3po"]),
    )]),
    key(&at::sample::sampler, TRAIN | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[When(
        TRAIN,
        ANY,
        Such(|here| here.draws_pictures(), "would do nothing: this run draws none, neither samples nor trajectories"),
    )]),
    key(&at::sample::steps, TRAIN | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[When(
        TRAIN,
        ANY,
        Such(|here| here.draws_pictures(), "would do nothing: this run draws none, neither samples nor trajectories"),
    )]),
    key(&at::sample::eta, TRAIN | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[
        When(
            TRAIN,
            ANY,
            Such(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        When(TRAIN | SAMPLE | SEARCH, ANY, One(&at::sample::sampler, &["ddim"])),
    ]),
    key(&at::sample::guidance, TRAIN | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[When(
        TRAIN,
        ANY,
        Such(|here| here.is_guided(), "would do nothing: this run draws nothing, neither samples nor trajectories"),
    )]),
    key(&at::sample::save_trajectories, SAMPLE).only(Modality::Diffusion).when(&[
        When(SAMPLE, ANY, Without(&at::label::pairs, "it names the folder to write")),
        When(SAMPLE, ANY, Without(&at::sample::search, "trajectories are drawn, to be learned from as they were")),
    ]),
];

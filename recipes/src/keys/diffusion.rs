//! Settings of denoisers.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path to a method is not general enough for `Predicate`"
)]

use crate::settings::{Modality, at};

use super::requirements::Data::{Absent, Files, Latents, Pairs};
use super::requirements::Requirement::{AnyGiven, DataFrom, NoneOf, NotGiven, OneOf, Predicate};
use super::requirements::{ANY, COMPARES, Condition, DIFFUSION, HYBRID, WITHOUT_PAIRS};
use super::{CREDIT, DATA, EVAL, INSPECT, Key, REFERS, SAMPLE, SCORE, SCORES, SEARCH, TRAIN, key};

/// The settings.
pub(super) const KEYS: &[Key] = &[
    key(&at::model::prediction, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid(),
    key(&at::model::scheduler, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid(),
    key(&at::data::latents, REFERS | SCORES | CREDIT).only(Modality::Diffusion).when(&[
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make their own pairs, of `sample.prompts`")),
        Condition(TRAIN, ANY, NoneOf(&at::diffusion::scheme, &["trajectory"])),
    ]),
    key(&at::data::image_size, DATA | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN | SCORES | CREDIT, DIFFUSION, DataFrom(&[Files, Pairs])),
        Condition(INSPECT, ANY, DataFrom(&[Absent, Files])),
    ]),
    key(&at::data::flip, REFERS).only(Modality::Diffusion).when(&[Condition(TRAIN, ANY, DataFrom(&[Files]))]),
    key(&at::data::flip_sides, REFERS).only(Modality::Diffusion).when(&[Condition(TRAIN, ANY, DataFrom(&[Files]))]),
    key(&at::data::transparency, DATA | CREDIT).only(Modality::Diffusion).when(&[
        Condition(TRAIN | SCORES | CREDIT, DIFFUSION, DataFrom(&[Files])),
        Condition(INSPECT, ANY, DataFrom(&[Files])),
    ]),
    key(&at::data::exif, DATA | CREDIT).only(Modality::Diffusion).when(&[
        Condition(TRAIN | SCORES | CREDIT, DIFFUSION, DataFrom(&[Files])),
        Condition(INSPECT, ANY, DataFrom(&[Files])),
    ]),
    key(&at::data::resize_filter, DATA | CREDIT).only(Modality::Diffusion).when(&[
        Condition(TRAIN | SCORES | CREDIT, DIFFUSION, DataFrom(&[Files])),
        Condition(INSPECT, ANY, DataFrom(&[Files])),
    ]),
    key(&at::data::resize_rounding, DATA | CREDIT).only(Modality::Diffusion).when(&[
        Condition(TRAIN | SCORES | CREDIT, DIFFUSION, DataFrom(&[Files])),
        Condition(INSPECT, ANY, DataFrom(&[Files])),
    ]),
    key(&at::data::on_bad_image, DATA | CREDIT).only(Modality::Diffusion).when(&[Condition(
        DATA | CREDIT,
        ANY,
        DataFrom(&[Files]),
    )]),
    key(&at::data::latent_cache, REFERS | SCORES | CREDIT).only(Modality::Diffusion).when(&[
        Condition(TRAIN | SCORES | CREDIT, ANY, DataFrom(&[Files])),
        Condition(
            TRAIN | SCORES | CREDIT,
            ANY,
            Predicate(|here| here.encodes(), "is for models with an autoencoder (vae/), and this one has none"),
        ),
    ]),
    key(&at::diffusion::scheme, REFERS).only(Modality::Diffusion),
    key(&at::diffusion::draws_per_pair, REFERS | SCORES | CREDIT)
        .only(Modality::Diffusion)
        .in_hybrid()
        .when(&[Condition(TRAIN | SCORES | CREDIT, ANY, NotGiven(&at::diffusion::draws, "it gives every draw"))]),
    key(&at::diffusion::draw_sets, REFERS).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, NoneOf(&at::diffusion::scheme, &["trajectory"])),
        Condition(TRAIN, ANY, NotGiven(&at::diffusion::draws, "it gives every draw")),
    ]),
    key(&at::diffusion::draws, REFERS | SCORES | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, NoneOf(&at::diffusion::scheme, &["trajectory"])),
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "every round has other pairs")),
        Condition(TRAIN | SCORES | CREDIT, DIFFUSION, DataFrom(&[Latents])),
    ]),
    key(&at::diffusion::timesteps, REFERS).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, NoneOf(&at::diffusion::scheme, &["trajectory"])),
        Condition(TRAIN, ANY, NotGiven(&at::diffusion::draws, "it gives every draw")),
        Condition(
            TRAIN,
            ANY,
            Predicate(
                |here| !here.has_one_stratum(),
                "stratified is for `diffusion.draws_per_pair` of at least 2: the one draw of a pair is uniform",
            ),
        ),
    ]),
    key(&at::diffusion::noise, REFERS).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, NoneOf(&at::diffusion::scheme, &["trajectory"])),
        Condition(TRAIN, ANY, NotGiven(&at::diffusion::draws, "it gives every draw")),
    ]),
    key(&at::diffusion::reduction, REFERS | SCORES | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(SCORE, DIFFUSION, AnyGiven(&[&at::model::reference])),
        Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
        Condition(EVAL, ANY, COMPARES),
    ]),
    key(&at::diffusion::half, REFERS | SCORES | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, OneOf(&at::diffusion::scheme, &["forward"])),
        Condition(SCORE, DIFFUSION, AnyGiven(&[&at::model::reference])),
        Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
        Condition(EVAL, ANY, COMPARES),
    ]),
    key(&at::diffusion::horizon, REFERS | SCORES | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, NoneOf(&at::diffusion::scheme, &["trajectory"])),
        Condition(SCORE, DIFFUSION, AnyGiven(&[&at::model::reference])),
        Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
        Condition(EVAL, ANY, COMPARES),
    ]),
    key(&at::diffusion::omega, REFERS | SCORES | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN, DIFFUSION, OneOf(&at::diffusion::scheme, &["forward"])),
        Condition(SCORE, DIFFUSION, AnyGiven(&[&at::model::reference])),
        Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
        Condition(EVAL, ANY, COMPARES),
    ]),
    key(&at::diffusion::min_snr_gamma, REFERS | SCORES | CREDIT).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(TRAIN | SCORES | CREDIT, ANY, OneOf(&at::diffusion::omega, &["min-snr"])),
        Condition(SCORE, DIFFUSION, AnyGiven(&[&at::model::reference])),
        Condition(SCORE, HYBRID, AnyGiven(&[&at::hybrid::refiner_reference, &at::hybrid::generator_reference])),
        Condition(EVAL, ANY, COMPARES),
    ]),
    key(&at::diffusion::empty_share, REFERS).only(Modality::Diffusion).in_hybrid().when(&[Condition(
        TRAIN,
        DIFFUSION,
        NoneOf(&at::diffusion::scheme, &["trajectory"]),
    )]),
    key(&at::diffusion::trajectories, REFERS).only(Modality::Diffusion).when(&[
        Condition(TRAIN, ANY, NotGiven(&at::rounds::rounds, "rounds make finished images")),
        Condition(TRAIN, ANY, OneOf(&at::diffusion::scheme, &["trajectory"])),
    ]),
    key(&at::diffusion::importance_clip, REFERS).only(Modality::Diffusion).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::diffusion::scheme, &["trajectory"]),
    )]),
    key(&at::diffusion::clamp, TRAIN).only(Modality::Diffusion).when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["d3po"]),
    )]),
    key(&at::objective::least_weight, TRAIN).only(Modality::Diffusion).off("0").when(&[Condition(
        TRAIN,
        ANY,
        OneOf(&at::objective::name, &["linear"]),
    )]),
    key(&at::objective::safeguard, TRAIN).only(Modality::Diffusion).when(&[Condition(
        TRAIN,
        ANY,
        NoneOf(&at::objective::name, WITHOUT_PAIRS),
    )]),
    key(&at::sample::sampler, REFERS | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[Condition(
        TRAIN,
        ANY,
        Predicate(
            |here| here.draws_pictures(),
            "would do nothing: this run draws none, neither samples nor trajectories",
        ),
    )]),
    key(&at::sample::steps, REFERS | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[Condition(
        TRAIN,
        ANY,
        Predicate(
            |here| here.draws_pictures(),
            "would do nothing: this run draws none, neither samples nor trajectories",
        ),
    )]),
    key(&at::sample::eta, REFERS | SAMPLE | SEARCH).only(Modality::Diffusion).in_hybrid().when(&[
        Condition(
            TRAIN,
            ANY,
            Predicate(
                |here| here.draws_pictures(),
                "would do nothing: this run draws none, neither samples nor trajectories",
            ),
        ),
        Condition(TRAIN | SAMPLE | SEARCH, ANY, OneOf(&at::sample::sampler, &["ddim", "flow-sde"])),
    ]),
    key(&at::sample::guidance, REFERS | SCORES | SAMPLE | SEARCH | CREDIT).only(Modality::Diffusion).in_hybrid().when(
        &[
            Condition(
                TRAIN,
                ANY,
                Predicate(
                    |here| here.is_guided() || here.embeds_guidance(),
                    "would do nothing: this run draws nothing, neither samples nor trajectories",
                ),
            ),
            Condition(
                SCORES | CREDIT,
                ANY,
                Predicate(
                    |here| here.embeds_guidance(),
                    "would do nothing: nothing is drawn, and the model is told of no guidance (as FLUX.1 dev is)",
                ),
            ),
        ],
    ),
    key(&at::sample::save_trajectories, SAMPLE).only(Modality::Diffusion).when(&[
        Condition(SAMPLE, ANY, NotGiven(&at::label::pairs, "it names the folder to write")),
        Condition(
            SAMPLE,
            ANY,
            NotGiven(&at::sample::search, "trajectories are drawn, to be learned from as they were"),
        ),
    ]),
];

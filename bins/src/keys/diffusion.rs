//! Settings of denoisers.
#![expect(clippy::redundant_closure_for_method_calls, reason = "a path to a method is not general enough for `Such`")]

use super::Kind::{Choice, Count, Number, Switch, Text};
use super::needs::Data::{Absent, Files, Latents, Pairs};
use super::needs::Need::{From, NotOne, One, Such, With, Without};
use super::needs::When;
use super::{DATA, INSPECT, Key, SAMPLE, SCORE, TRAIN, Verbs, key};

const fn of_images(
    path: &'static str,
    flag: &'static str,
    kind: super::Kind,
    default: &'static str,
    verbs: Verbs,
    help: &'static str,
) -> Key {
    key(path, flag, kind, default, verbs, help).only("diffusion")
}

/// The settings.
pub(super) const KEYS: &[Key] = &[
    of_images(
        "model.prediction",
        "prediction",
        Choice(&["auto", "epsilon", "v", "flow"]),
        "auto",
        TRAIN | SCORE | SAMPLE,
        "What the network predicts; auto: what the model's scheduler says",
    )
    .in_hybrid(),
    of_images(
        "model.scheduler",
        "scheduler",
        Text,
        "",
        TRAIN | SCORE | SAMPLE,
        "A scheduler_config.json in place of the model's own",
    )
    .in_hybrid(),
    of_images(
        "model.save_dtype",
        "save-dtype",
        Choice(&["f32", "f16", "bf16"]),
        "f32",
        TRAIN,
        "The type of the weights that a finished run writes",
    )
    .in_hybrid(),
    of_images("model.ema", "ema", Number, "", TRAIN, "Averages the weights with this decay and exports the average")
        .in_hybrid().when(&[When(TRAIN, "hybrid", NotOne("hybrid.update", &["refiner"]))]),
    of_images(
        "data.latents",
        "latents",
        Text,
        "",
        TRAIN | SCORE,
        "A .safetensors file of latents and contexts that stands in for --data",
    ).when(&[When(TRAIN, "", Without("rounds.rounds", "rounds make their own pairs, of --prompts")), When(TRAIN, "", NotOne("diffusion.scheme", &["trajectory"]))]),
    of_images(
        "data.image_size",
        "image-size",
        Count,
        "",
        DATA | SAMPLE,
        "Images are resized and cropped to this; else the model's",
    )
    .in_hybrid().when(&[When(TRAIN | SCORE, "diffusion", From(&[Files, Pairs])), When(INSPECT, "", From(&[Absent, Files]))]),
    of_images("data.flip", "flip", Switch, "false", TRAIN, "Mirrors every second image").when(&[When(TRAIN, "", From(&[Files]))]),
    of_images(
        "data.flip_sides",
        "flip-sides",
        Choice(&["together", "apart"]),
        "together",
        TRAIN,
        "flip: both sides of a pair alike, or each by itself",
    ).when(&[When(TRAIN, "", From(&[Files]))]),
    of_images(
        "data.transparency",
        "transparency",
        Choice(&["white", "drop"]),
        "white",
        DATA,
        "What is transparent is put on white, or seen as if it were not",
    ).when(&[When(TRAIN | SCORE, "diffusion", From(&[Files])), When(INSPECT, "", From(&[Files]))]),
    of_images("data.exif", "exif", Switch, "true", DATA, "Turns images as their EXIF data say").when(&[When(TRAIN | SCORE, "diffusion", From(&[Files])), When(INSPECT, "", From(&[Files]))]),
    of_images(
        "data.resize_filter",
        "resize-filter",
        Choice(&["lanczos", "bicubic", "bilinear"]),
        "lanczos",
        DATA,
        "How pixels are weighed when an image is scaled, as Pillow does it",
    ).when(&[When(TRAIN | SCORE, "diffusion", From(&[Files])), When(INSPECT, "", From(&[Files]))]),
    of_images(
        "data.resize_rounding",
        "resize-rounding",
        Choice(&["nearest", "torchvision"]),
        "nearest",
        DATA,
        "How the longer side and the place of the middle square are rounded",
    ).when(&[When(TRAIN | SCORE, "diffusion", From(&[Files])), When(INSPECT, "", From(&[Files]))]),
    of_images(
        "data.on_bad_image",
        "on-bad-image",
        Choice(&["fail", "skip"]),
        "fail",
        DATA,
        "What to do with an unreadable image; skipped ones are counted",
    ).when(&[When(DATA, "", From(&[Files]))]),
    of_images(
        "data.latent_cache",
        "latent-cache",
        Text,
        "",
        TRAIN | SCORE,
        "A file that encoded images and texts are read from where it exists and fits, else written to",
    ).when(&[When(TRAIN | SCORE, "", From(&[Files])), When(TRAIN | SCORE, "", Such(|here| here.encodes(), "is for models with an autoencoder (vae/), and this one has none"))]),
    of_images(
        "diffusion.scheme",
        "scheme",
        Choice(&["forward", "half", "trajectory"]),
        "forward",
        TRAIN,
        "What turns a finished image into scored decisions",
    ),
    of_images(
        "diffusion.draws_per_pair",
        "draws-per-pair",
        Count,
        "",
        TRAIN | SCORE,
        "Decisions inside one sigmoid; else 1, of trajectories all",
    )
    .in_hybrid().when(&[When(TRAIN | SCORE, "", Without("diffusion.draws", "it gives every draw"))]),
    of_images(
        "diffusion.draw_sets",
        "draw-sets",
        Count,
        "1",
        TRAIN,
        "Sets of draws a pair has; epochs take them in turn, and the reference is computed once for each",
    )
    .in_hybrid().when(&[When(TRAIN, "diffusion", NotOne("diffusion.scheme", &["trajectory"])), When(TRAIN, "", Without("diffusion.draws", "it gives every draw"))]),
    of_images("diffusion.draws", "draws", Text, "", TRAIN | SCORE, "A .safetensors file of timesteps and noise to use")
        .in_hybrid().when(&[When(TRAIN, "diffusion", NotOne("diffusion.scheme", &["trajectory"])), When(TRAIN, "", Without("rounds.rounds", "every round has other pairs")), When(TRAIN | SCORE, "diffusion", From(&[Latents]))]),
    of_images(
        "diffusion.timesteps",
        "timesteps",
        Choice(&["uniform", "stratified", "logit-normal"]),
        "uniform",
        TRAIN,
        "How timesteps are drawn",
    )
    .in_hybrid().when(&[When(TRAIN, "diffusion", NotOne("diffusion.scheme", &["trajectory"])), When(TRAIN, "", Without("diffusion.draws", "it gives every draw")), When(TRAIN, "", Such(|here| !here.has_one_stratum(), "stratified is for --draws-per-pair of at least 2: the one draw of a pair is uniform"))]),
    of_images(
        "diffusion.noise",
        "noise",
        Choice(&["shared", "independent", "antithetic"]),
        "shared",
        TRAIN,
        "Which noise the two sides and the draws of a pair get",
    )
    .in_hybrid().when(&[When(TRAIN, "diffusion", NotOne("diffusion.scheme", &["trajectory"])), When(TRAIN, "", Without("diffusion.draws", "it gives every draw"))]),
    of_images(
        "diffusion.reduction",
        "reduction",
        Choice(&["sum", "mean"]),
        "mean",
        TRAIN | SCORE,
        "How the squared errors of a latent's numbers add up",
    )
    .in_hybrid().when(&[When(SCORE, "diffusion", With(&["model.reference"])), When(SCORE, "hybrid", With(&["hybrid.refiner_reference", "hybrid.generator_reference"]))]),
    of_images(
        "diffusion.half",
        "half",
        Switch,
        "true",
        TRAIN | SCORE,
        "The factor 1/2 of the released Diffusion-DPO code",
    )
    .in_hybrid().when(&[When(TRAIN, "diffusion", One("diffusion.scheme", &["forward"])), When(SCORE, "diffusion", With(&["model.reference"])), When(SCORE, "hybrid", With(&["hybrid.refiner_reference", "hybrid.generator_reference"]))]),
    of_images("diffusion.horizon", "horizon", Number, "1", TRAIN | SCORE, "The factor T of the paper; 1: beta has it")
        .in_hybrid().when(&[When(TRAIN, "diffusion", NotOne("diffusion.scheme", &["trajectory"])), When(SCORE, "diffusion", With(&["model.reference"])), When(SCORE, "hybrid", With(&["hybrid.refiner_reference", "hybrid.generator_reference"]))]),
    of_images(
        "diffusion.omega",
        "omega",
        Choice(&["constant", "snr", "min-snr"]),
        "constant",
        TRAIN | SCORE,
        "omega(lambda_t), the weight of a timestep",
    )
    .in_hybrid().when(&[When(TRAIN, "diffusion", One("diffusion.scheme", &["forward"])), When(SCORE, "diffusion", With(&["model.reference"])), When(SCORE, "hybrid", With(&["hybrid.refiner_reference", "hybrid.generator_reference"]))]),
    of_images(
        "diffusion.min_snr_gamma",
        "min-snr-gamma",
        Number,
        "5",
        TRAIN | SCORE,
        "min-snr: where the weight is cut",
    )
    .in_hybrid().when(&[When(TRAIN | SCORE, "", One("diffusion.omega", &["min-snr"])), When(SCORE, "diffusion", With(&["model.reference"])), When(SCORE, "hybrid", With(&["hybrid.refiner_reference", "hybrid.generator_reference"]))]),
    of_images(
        "diffusion.empty_share",
        "empty-share",
        Number,
        "0",
        TRAIN,
        "The share of examples shown without their caption, for classifier-free guidance",
    )
    .in_hybrid().when(&[When(TRAIN, "diffusion", NotOne("diffusion.scheme", &["trajectory"]))]),
    of_images(
        "diffusion.trajectories",
        "trajectories",
        Text,
        "",
        TRAIN,
        "scheme trajectory: a file of trajectories and preferences, as sample --save-trajectories writes",
    ).when(&[When(TRAIN, "", Without("rounds.rounds", "rounds make finished images")), When(TRAIN, "", One("diffusion.scheme", &["trajectory"]))]),
    of_images(
        "diffusion.importance_clip",
        "importance-clip",
        Number,
        "",
        TRAIN,
        "scheme trajectory: weighs decisions by their likelihood under the start over that of their maker, at most this",
    ).when(&[When(TRAIN, "", One("diffusion.scheme", &["trajectory"]))]),
    of_images(
        "diffusion.clamp",
        "clamp",
        Number,
        "0.1",
        TRAIN,
        "d3po: likelihood ratios are kept within 1 plus and minus this",
    ).when(&[When(TRAIN, "", One("objective.name", &["d3po"]))]),
    of_images(
        "sample.sampler",
        "sampler",
        Choice(&["ddpm", "ddim", "euler", "dpm++2m"]),
        "ddim",
        TRAIN | SAMPLE,
        "How images are drawn",
    )
    .in_hybrid().when(&[When(TRAIN, "", Such(|here| here.draws_pictures(), "would do nothing: this run draws none, neither samples nor trajectories"))]),
    of_images("sample.steps", "sample-steps", Count, "20", TRAIN | SAMPLE, "Denoising steps of an image").in_hybrid().when(&[When(TRAIN, "", Such(|here| here.draws_pictures(), "would do nothing: this run draws none, neither samples nor trajectories"))]),
    of_images("sample.eta", "eta", Number, "0", TRAIN | SAMPLE, "ddim: the share of fresh noise in every step")
        .in_hybrid().when(&[When(TRAIN, "", Such(|here| here.draws_pictures(), "would do nothing: this run draws none, neither samples nor trajectories")), When(TRAIN | SAMPLE, "", One("sample.sampler", &["ddim"]))]),
    of_images("sample.guidance", "guidance", Number, "1", TRAIN | SAMPLE, "Classifier-free guidance; 1 or less: none")
        .in_hybrid().when(&[When(TRAIN, "", Such(|here| here.is_guided(), "would do nothing: this run draws nothing, neither samples nor trajectories"))]),
    of_images(
        "sample.save_trajectories",
        "save-trajectories",
        Text,
        "",
        SAMPLE,
        "A file for every latent on the way and its log-density; with --data builtin:shapes judged by the oracle",
    ).when(&[When(SAMPLE, "", Without("label.pairs", "it names the folder to write"))]),
];

//! Pictures as plain values, and what somebody preferred among them.
//!
//! [`Pixels`] is a picture as a denoiser sees it. An [`ImagePair`] is a caption with a better and a worse picture, a
//! [`CaptionedImage`] is one to imitate.
//!
//! [`open`] reads a file or a folder of shards and gives an [`ImageDataset`]. Two layouts are known, by their columns,
//! each as JSON lines (`.gz` or not) or Parquet:
//! * Pick-a-Pic: `caption`, `jpg_0`, `jpg_1`, `label_0` (1: the first picture is better, 0: the second, 0.5: a tie, left
//!   out and counted); rows without a label or without a picture's bytes are left out and counted;
//! * `prompt` or `caption`, with `chosen` and `rejected`, or with `image`.
//!
//! A picture is a path relative to the file's folder, or bytes, or a group of `bytes` and `path`; PNG, JPEG and WebP are
//! read, of animations the first picture. It is turned as its EXIF data say, put on white where it is transparent, scaled
//! (Lanczos) until its shorter side is the wanted size, and cut to the middle square, unless a [`Preparation`] says
//! otherwise; its values go from -1 to 1.
//!
//! [`latents`] reads pictures that an encoder has been at, with given draws or not, and keeps them in a cache;
//! [`trajectories`] keeps what a sampler did, for replay.

mod audit;
mod contexts;
mod dataset;
pub(crate) mod decode;
mod detect;
#[cfg(test)]
mod golden_tests;
pub mod latents;
mod pixels;
mod preparation;
mod raw_pictures;
mod resample;
mod rows;
#[cfg(test)]
mod tensor_tests;
pub(crate) mod tensors;
#[cfg(test)]
mod tests;
pub mod trajectories;

pub use audit::ImageAudit;
pub use contexts::{ContextLayout, HiddenValues, LatentContext};
pub use dataset::{ImageDataset, ImageKind, ImageSettings, Mirror, Sides, open};
pub use detect::{TensorKind, picture_kind, tensor_kind};
pub use latents::{Draws, GivenDraw, LatentLayout, LatentNotes, LatentPair, LatentShape, LatentWriter, Latents};
pub use pixels::Pixels;
pub use preparation::{Alpha, LongSide, Middle, Orientation, Preparation};
pub use resample::Filter;
pub use trajectories::{Trajectories, Trajectory, TrajectoryLayout, TrajectoryNotes, TrajectoryWriter};

/// A caption, and two pictures for it of which one was preferred.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePair {
    /// Its number in the data, from 0.
    pub index: usize,
    /// What was asked for.
    pub caption: String,
    /// The better picture.
    pub chosen: Pixels,
    /// The worse picture.
    pub rejected: Pixels,
}

/// A picture to imitate, and its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptionedImage {
    /// Its number in the data, from 0.
    pub index: usize,
    /// What the picture shows.
    pub caption: String,
    /// The picture.
    pub image: Pixels,
}

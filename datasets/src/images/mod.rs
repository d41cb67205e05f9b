//! Image preference data as plain values.
//!
//! [`Pixels`] is an image as a denoiser sees it. An [`ImagePair`] is a caption with a better and a worse image, a
//! [`CaptionedImage`] is one to imitate.
//!
//! [`open`] reads a file or a folder of shards as an [`ImageDataset`]. Two layouts are known, by their columns, each as
//! JSON lines (`.gz` or not) or Parquet:
//! * Pick-a-Pic: `caption`, `jpg_0`, `jpg_1`, `label_0` (1: the first image is better, 0: the second, 0.5: a tie, skipped
//!   and counted); rows without a label or an image's bytes are skipped and counted;
//! * `prompt` or `caption`, with `chosen` and `rejected`, with `images` (a ranked list), with `image`, or with `image` and `label`.
//!
//! An image is a path relative to the file's folder, or bytes, or a group of `bytes` and `path`, in PNG, JPEG or WebP
//! (the first frame of an animation). By default it is rotated by its EXIF orientation, composited on white, resized
//! (Lanczos) until its shorter side has the target size, and cropped to the middle square; a [`Preparation`] changes
//! this. Values are from -1 to 1.

mod audit;
mod contexts;
mod dataset;
pub(crate) mod decode;
mod detect;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod judged_tests;
mod kind;
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
pub use dataset::{ImageDataset, ImageSettings, Mirror, PairFlip, open};
pub use detect::{TensorKind, column_names, picture_kind, tensor_kind};
pub use kind::ImageKind;
pub use latents::{DrawFile, GivenDraw, LatentLayout, LatentNotes, LatentPair, LatentWriter, Latents};
pub use mdp::diffusion::LatentShape;
pub use pixels::Pixels;
pub use preparation::{Alpha, LongSide, Middle, Orientation, Preparation};
pub use resample::Filter;
pub use rows::COLUMNS;
pub use trajectories::{Trajectory, TrajectoryFile, TrajectoryLayout, TrajectoryNotes, TrajectoryWriter};

/// A caption with a preferred and a rejected image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePair {
    /// The index in the data, from 0.
    pub index: usize,
    /// The caption.
    pub caption: String,
    /// The better image.
    pub chosen: Pixels,
    /// The worse image.
    pub rejected: Pixels,
}

/// An image to imitate, and its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptionedImage {
    /// The index in the data, from 0.
    pub index: usize,
    /// The caption.
    pub caption: String,
    /// The image.
    pub image: Pixels,
}

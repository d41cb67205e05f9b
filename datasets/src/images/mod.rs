//! Pictures as plain values, and what somebody preferred among them.
//!
//! [`Pixels`] is a picture as a denoiser sees it. An [`ImagePair`] is a caption with a better and a worse picture, a
//! [`CaptionedImage`] is one to imitate.

mod pixels;

pub use pixels::Pixels;

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

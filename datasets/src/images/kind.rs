//! Pairs or single images.

/// The images used of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// A better and a worse image, or a ranked list of images.
    Pairs,
    /// Those, or one image and whether it is liked.
    Judged,
    /// One image to imitate: the only one, or the better one.
    Captioned,
}

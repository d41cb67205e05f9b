//! Counts of anomalies found in images.

use std::collections::BTreeMap;
use std::fmt;

use super::preparation::{Alpha, Orientation, Preparation};
use crate::skipped::Skipped;

/// The audited properties of an image.
pub(super) struct ImageFacts {
    pub(super) size: (usize, usize),
    pub(super) is_transparent: bool,
    pub(super) is_turned: bool,
}

/// Counts over a set of images, shown before training and by `inspect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ImageAudit {
    /// Records used with a better and a worse image.
    pub pairs: u64,
    /// Records used with a ranked list of more images.
    pub lists: u64,
    /// Records used with one image.
    pub captioned: u64,
    /// Those of them whose image is not liked.
    pub disliked: u64,
    /// Records skipped because they or their images are broken.
    pub skipped: Skipped,
    /// Records omitted because the images are tied.
    pub ties: u64,
    /// Records omitted because they have no label.
    pub unlabelled: u64,
    /// Records omitted because an image has no bytes in the file.
    pub missing: u64,
    /// Empty captions.
    pub empty_captions: u64,
    /// Pairs of two equal images, which have no gradient.
    pub identical_pairs: u64,
    /// Captions truncated by the text encoder; counted by the caller that has one.
    pub cut_captions: u64,
    /// Images with transparency, composited on white.
    pub flattened: u64,
    /// Images with transparency whose alpha channel was dropped.
    pub uncovered: u64,
    /// Images whose EXIF orientation was ignored.
    pub unturned: u64,
    /// Images enlarged to the target size.
    pub enlarged: u64,
    /// Images cropped to the middle square.
    pub cropped: u64,
    /// Height and width of the prepared images.
    pub size: usize,
    /// Number of images by size, as `WIDTHxHEIGHT`.
    pub sizes: BTreeMap<String, u64>,
}

impl ImageAudit {
    /// Maximum number of sizes shown.
    const SIZES_SHOWN: usize = 6;

    /// Counts the anomalies of one image, given the preparation.
    pub(super) fn add_original(&mut self, original: &ImageFacts, preparation: Preparation) {
        self.add_size(original.size);
        let is_white = preparation.alpha == Alpha::White;
        self.flattened += u64::from(original.is_transparent && is_white);
        self.uncovered += u64::from(original.is_transparent && !is_white);
        self.unturned += u64::from(original.is_turned && preparation.orientation == Orientation::Stored);
    }

    /// Counts an image's size, as height and width.
    pub(super) fn add_size(&mut self, (height, width): (usize, usize)) {
        *self.sizes.entry(format!("{width}x{height}")).or_default() += 1;
        self.enlarged += u64::from(height.min(width) < self.size);
        self.cropped += u64::from(height != width);
    }

    /// Number of records used.
    pub fn examples(&self) -> u64 {
        self.pairs + self.lists + self.captioned
    }

    /// The non-zero counts worth attention, each with an explanation.
    pub fn findings(&self) -> Vec<(u64, &'static str)> {
        let all = [
            (self.skipped.count, "broken records left out"),
            (self.ties, "ties left out: both pictures were called equally good"),
            (self.unlabelled, "records left out: nobody said which picture is better"),
            (self.missing, "records left out: a picture has no bytes"),
            (self.empty_captions, "captions without a letter"),
            (self.identical_pairs, "pairs of two equal pictures: they teach nothing"),
            (self.cut_captions, "captions longer than the text encoder reads: it does not see their end"),
            (self.flattened, "pictures with something transparent, put on white"),
            (self.uncovered, "pictures with something transparent, used as if it were not"),
            (self.unturned, "pictures that their EXIF data turn, used as they lie in the file"),
            (self.enlarged, "pictures smaller than wanted, enlarged"),
            (self.cropped, "pictures that are no squares; the middle is used"),
        ];
        all.into_iter().filter(|&(count, _)| count > 0).collect()
    }
}

impl fmt::Display for ImageAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let liked = self.captioned - self.disliked;
        let single = if self.disliked > 0 { (liked, "liked pictures") } else { (liked, "captioned pictures") };
        let kinds = [(self.pairs, "pairs"), (self.lists, "ranked lists"), single, (self.disliked, "disliked pictures")];
        let kinds: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        writeln!(f, "{} examples: {}", self.examples(), kinds.join(", "))?;
        let mut sizes: Vec<(u64, &str)> = self.sizes.iter().map(|(size, &count)| (count, &**size)).collect();
        sizes.sort_by(|first, second| second.cmp(first));
        let mut shown: Vec<String> =
            sizes.iter().take(Self::SIZES_SHOWN).map(|(count, size)| format!("{size} ({count})")).collect();
        if sizes.len() > Self::SIZES_SHOWN {
            shown.push(format!("{} others", sizes.len() - Self::SIZES_SHOWN));
        }
        write!(f, "sizes: {}; used as {1}x{1}", shown.join(", "), self.size)?;
        let findings = self.findings();
        if findings.is_empty() {
            write!(f, "\nnothing left out, nothing odd")?;
        }
        for (count, meaning) in findings {
            write!(f, "\n{count:>8} {meaning}")?;
        }
        for message in &self.skipped.messages {
            write!(f, "\n         left out: {message}")?;
        }
        Ok(())
    }
}

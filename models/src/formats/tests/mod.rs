//! Small files of every format, valid and damaged.

mod damage;
mod diffusers;
mod hugging_face;
mod other_formats;
mod parts;
mod quantised;
mod ties;
mod tokenizers;
mod write;

use std::path::Path;

use candle_core::Device;

use super::{ModelFiles, load};

fn read(path: &Path) -> ModelFiles {
    load(path, &Device::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that a path is refused with a message that contains all of `expected`.
fn check_refused(path: &Path, expected: &[&str]) {
    let message = load(path, &Device::Cpu).map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
    for part in expected {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

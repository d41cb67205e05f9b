//! Makes captioned pictures and preferences of two vendors' drawings of the same emoji.
//!
//! `cargo run -p datasets --example emoji_pairs -- EMOJI OUT [SIZE]` reads `EMOJI/data.json` (emojibase's labels, each
//! with its `hexcode`) and `EMOJI/{google,twitter}/CODE.png`, and writes to `OUT`:
//!
//! * `demonstrations.jsonl`: `caption`, `image`, `vendor`; both vendors' drawings of every caption to learn from;
//! * `train.jsonl`: `prompt`, `chosen` (google), `rejected` (twitter) of the same captions;
//! * `test.jsonl`: the same of one caption in five, held out by a hash of its text;
//! * `images/VENDOR/CODE.png`: the drawings on white, `SIZE` x `SIZE` (32 unless given).
//!
//! The same input gives the same files to the byte.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example speaks with its user")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

type ComparisonOutcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const PREFERRED: &str = "google";
const OTHER: &str = "twitter";

fn main() -> ComparisonOutcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [emoji, out] => write_all(Path::new(emoji), Path::new(out), 32),
        [emoji, out, size] => write_all(Path::new(emoji), Path::new(out), size.parse()?),
        _ => Err("usage: emoji_pairs EMOJI OUT [SIZE]".into()),
    }
}

fn write_all(emoji: &Path, out: &Path, size: u32) -> ComparisonOutcome {
    let labels: Vec<Value> = serde_json::from_slice(&fs::read(emoji.join("data.json"))?)?;
    let (preferred, other) = (drawings(&emoji.join(PREFERRED))?, drawings(&emoji.join(OTHER))?);
    for vendor in [PREFERRED, OTHER] {
        fs::create_dir_all(out.join("images").join(vendor))?;
    }
    let lines = |name: &str| File::create(out.join(name)).map(BufWriter::new);
    let (mut shown, mut train, mut test) =
        (lines("demonstrations.jsonl")?, lines("train.jsonl")?, lines("test.jsonl")?);
    let mut counts = [0; 3];
    for label in &labels {
        let text = |field: &str| label[field].as_str().ok_or(format!("a label without {field}: {label}"));
        let (caption, code) = (text("label")?, code(text("hexcode")?));
        let (Some(chosen), Some(rejected)) = (preferred.get(&code), other.get(&code)) else {
            counts[2] += 1;
            continue;
        };
        let chosen = draw(chosen, out, PREFERRED, &code, size)?;
        let rejected = draw(rejected, out, OTHER, &code, size)?;
        let is_held_out = blake3::hash(caption.as_bytes()).as_bytes()[0].is_multiple_of(5);
        counts[usize::from(is_held_out)] += 1;
        let pairs = if is_held_out { &mut test } else { &mut train };
        writeln!(pairs, "{}", json!({"prompt": caption, "chosen": chosen, "rejected": rejected}))?;
        for (vendor, image) in [(PREFERRED, chosen), (OTHER, rejected)].into_iter().filter(|_| !is_held_out) {
            writeln!(shown, "{}", json!({"caption": caption, "image": image, "vendor": vendor}))?;
        }
    }
    for mut file in [shown, train, test] {
        file.flush()?;
    }
    let [n_train, n_test, n_missing] = counts;
    println!("{n_train} pairs to learn from, {n_test} held out; {n_missing} labels that one vendor did not draw");
    Ok(())
}

/// The drawings in a folder, by code.
fn drawings(folder: &Path) -> ComparisonOutcome<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            found.insert(code(name), path);
        }
    }
    Ok(found)
}

/// A code as both the labels and the files have it: vendors differ in where they put the sign that asks for colours.
fn code(text: &str) -> String {
    text.to_ascii_lowercase().split('-').filter(|part| *part != "fe0f").collect::<Vec<_>>().join("-")
}

/// Writes a drawing on white in its size, and tells its path within the folder.
fn draw(drawing: &Path, out: &Path, vendor: &str, code: &str, size: u32) -> ComparisonOutcome<String> {
    let rgba = image::open(drawing).map_err(|error| format!("{}: {error}", drawing.display()))?.into_rgba8();
    let flat = RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    });
    let path = format!("images/{vendor}/{code}.png");
    resize(&flat, size, size, FilterType::Lanczos3).save(out.join(&path))?;
    Ok(path)
}

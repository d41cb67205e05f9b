//! `samples/step-N.png`, a sheet of pictures, and `samples/step-N.pictures.jsonl`, where on it each of them is.
use std::io::Cursor;
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits};
use serde_json::{Map, Value};

use super::lines::{self, damaged};
use crate::Error;

/// The largest sheet that a page holds, in bytes of its file.
pub(crate) const LARGEST: usize = 1 << 24;

/// The most bytes of pixels that are read.
const MOST: usize = 1 << 30;

/// A sheet of pictures as a PNG file, and its parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sheet {
    /// The file; empty where it is larger than a page holds.
    pub(crate) png: Vec<u8>,
    /// The size of the file, in bytes.
    pub(crate) n_bytes: usize,
    /// The pictures on it; none in runs of earlier versions.
    pub(crate) tiles: Vec<Tile>,
}

/// A picture of a sheet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tile {
    /// What was asked for.
    pub(crate) prompt: String,
    /// The text below it on the sheet.
    pub(crate) caption: String,
    /// A PNG file of it alone.
    pub(crate) png: Vec<u8>,
}

impl Sheet {
    /// Reads the sheet of a step; one that is too large for a page is not looked into.
    pub(super) fn read(folder: &Path, step: usize) -> Result<Self, Error> {
        let path = folder.join(format!("step-{step}.png"));
        let png = lines::bytes(&path)?.unwrap_or_default();
        let n_bytes = png.len();
        if n_bytes > LARGEST {
            return Ok(Self { png: Vec::new(), n_bytes, tiles: Vec::new() });
        }
        let pixels = Pixels::decode(&png).map_err(|what| Error::malformed(&path, what))?;
        let path = folder.join(format!("step-{step}.pictures.jsonl"));
        let (lines, _) = lines::read(&path)?.unwrap_or_default();
        let tile = |(number, fields): &lines::Line| tile(fields, &pixels).map_err(|what| damaged(&path, *number, what));
        let tiles = lines.iter().map(tile).collect::<Result<_, Error>>()?;
        Ok(Self { png, n_bytes, tiles })
    }
}

fn tile(fields: &Map<String, Value>, sheet: &Pixels) -> Result<Tile, String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is not a text"));
    let number = |name: &str| {
        let number = fields.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| format!("`{name}` is not a count"))
    };
    let place = [number("left")?, number("top")?, number("width")?, number("height")?];
    let png = sheet.part(place).ok_or_else(|| {
        let [left, top, width, height] = place;
        let (wide, high) = (sheet.width, sheet.height);
        format!("{width} x {height} pixels at {left}, {top} are not on the sheet, which has {wide} x {high}")
    })?;
    Ok(Tile { prompt: text("prompt")?.to_owned(), caption: text("caption")?.to_owned(), png })
}

/// The pixels of a PNG file, each of whole bytes.
struct Pixels {
    width: usize,
    height: usize,
    /// Bytes of a pixel.
    size: usize,
    kind: (ColorType, BitDepth),
    bytes: Vec<u8>,
}

impl Pixels {
    fn decode(png: &[u8]) -> Result<Self, String> {
        let broken = |error: png::DecodingError| format!("is not a PNG file, or is damaged: {error}");
        let mut decoder = Decoder::new_with_limits(Cursor::new(png), Limits { bytes: MOST });
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(broken)?;
        let n = reader.output_buffer_size().filter(|n| *n <= MOST).ok_or("has more pixels than are read")?;
        let mut bytes = vec![0; n];
        let info = reader.next_frame(&mut bytes).map_err(broken)?;
        // What is behind the pixels has to be there too.
        reader.finish().map_err(broken)?;
        let kind = (info.color_type, info.bit_depth);
        let size = info.color_type.samples() * if info.bit_depth == BitDepth::Sixteen { 2 } else { 1 };
        Ok(Self { width: info.width as usize, height: info.height as usize, size, kind, bytes })
    }

    /// A part as a PNG file of its own; `None` where it is empty or not within the whole.
    fn part(&self, [left, top, width, height]: [usize; 4]) -> Option<Vec<u8>> {
        let is_within =
            |start: usize, n: usize, all: usize| n > 0 && start.checked_add(n).is_some_and(|end| end <= all);
        if !is_within(left, width, self.width) || !is_within(top, height, self.height) {
            return None;
        }
        let row = |y: usize| {
            let start = (y * self.width + left) * self.size;
            self.bytes.get(start..start + width * self.size)
        };
        let bytes: Vec<u8> = (top..top + height).map(row).collect::<Option<Vec<_>>>()?.concat();
        let mut png = Vec::new();
        let mut encoder = Encoder::new(&mut png, width.try_into().ok()?, height.try_into().ok()?);
        encoder.set_color(self.kind.0);
        encoder.set_depth(self.kind.1);
        let mut writer = encoder.write_header().ok()?;
        writer.write_image_data(&bytes).ok()?;
        writer.finish().ok()?;
        Some(png)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A grey PNG file.
    pub(crate) fn grey(width: u32, height: u32, bytes: &[u8]) -> Vec<u8> {
        let mut png = Vec::new();
        let mut writer = Encoder::new(&mut png, width, height).write_header().unwrap();
        writer.write_image_data(bytes).unwrap();
        writer.finish().unwrap();
        png
    }

    #[test]
    fn parts_are_cut_out_and_only_from_within() {
        let pixels = Pixels::decode(&grey(3, 2, &[1, 2, 3, 4, 5, 6])).unwrap();
        let part = Pixels::decode(&pixels.part([1, 0, 2, 2]).unwrap()).unwrap();
        assert_eq!((part.width, part.height, &part.bytes[..]), (2, 2, &[2, 3, 5, 6][..]));
        for outside in [[2, 0, 2, 1], [0, 2, 1, 1], [0, 0, 0, 1], [usize::MAX, 0, 2, 1]] {
            assert_eq!(pixels.part(outside), None);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_damaged() {
        let whole = grey(3, 2, &[1, 2, 3, 4, 5, 6]);
        for end in 0..whole.len() {
            assert!(Pixels::decode(&whole[..end]).is_err(), "{end} of {}", whole.len());
        }
    }
}

//! Lines about pictures, with their maps in them or beside them.
use std::io::Cursor;
use std::path::{Path, PathBuf};

use ::image::{ImageBuffer, ImageFormat, Luma};
use serde_json::{Value, json};
use train::{write_lines, write_whole};

use super::CreditedPicture;
use crate::Failure;

/// The most places whose map is in a line; larger maps are files beside the lines.
const IN_LINE: usize = 64 * 64;

/// Lines of a file that is written whole at the end, and the maps beside it.
pub(in crate::credit) struct Lines<'a> {
    out: &'a Path,
    written: Vec<Value>,
    maps: Vec<(PathBuf, Vec<u8>)>,
}

impl<'a> Lines<'a> {
    /// Lines of a file.
    pub(in crate::credit) fn new(out: &'a Path) -> Self {
        Self { out, written: Vec::new(), maps: Vec::new() }
    }

    /// A line of its own about a picture.
    pub(in crate::credit) fn push_picture(&mut self, picture: &CreditedPicture) -> Result<(), Failure> {
        let mut line = json!({ "index": picture.index, "side": picture.side, "caption": picture.caption });
        self.describe(picture, &mut line)?;
        self.written.push(line);
        Ok(())
    }

    /// A finished line.
    pub(in crate::credit) fn push(&mut self, line: Value) {
        self.written.push(line);
    }

    /// Adds to a line what is known of a picture.
    pub(in crate::credit) fn describe(&mut self, picture: &CreditedPicture, line: &mut Value) -> Result<(), Failure> {
        line["reward"] = picture.reward().into();
        line["error"] = picture.errors.0.into();
        line["reference_error"] = picture.errors.1.into();
        line["timesteps"] = json!(picture.timesteps);
        line["step_rewards"] = json!(picture.draws);
        let width = picture.grid.1;
        if picture.map().len() <= IN_LINE {
            line["map"] = picture.map().chunks(width).map(|row| json!(row)).collect();
        } else {
            line["map"] = self.beside(picture)?;
        }
        if let Some(wrong) = &picture.wrong {
            line["wrong"] = wrong.chunks(width).map(|row| json!(row)).collect();
        }
        Ok(())
    }

    /// A map as a picture of 16 bits: black is the least credit, white the most.
    fn beside(&mut self, picture: &CreditedPicture) -> Result<Value, Failure> {
        let out = self.out;
        let stem = out.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let path = out.with_file_name(format!("{stem}-{:05}-{}.png", picture.index, picture.side));
        let (bytes, least, most) = grey(picture)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        self.maps.push((path, bytes));
        Ok(json!({ "file": name, "black": least, "white": most }))
    }

    /// Writes the lines after the maps; no new file stays if one can't be written.
    pub(in crate::credit) fn finish(self) -> Result<(), Failure> {
        let write =
            |(path, bytes): &(PathBuf, Vec<u8>)| write_whole(path, |file| std::io::Write::write_all(file, bytes));
        let new: Vec<&PathBuf> = self.maps.iter().map(|(path, _)| path).filter(|path| !path.exists()).collect();
        let written = self.maps.iter().try_for_each(write).and_then(|()| write_lines(self.out, &self.written));
        if written.is_err() {
            // What was there before is another run's.
            for path in new {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(written?)
    }
}

/// A map as a PNG, and the credit of black and white.
fn grey(picture: &CreditedPicture) -> Result<(Vec<u8>, f64, f64), Failure> {
    let map = picture.map();
    let least = map.iter().copied().fold(f64::INFINITY, f64::min);
    let most = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let reach = (most - least).max(f64::MIN_POSITIVE);
    let levels = map.iter().map(|credit| ((credit - least) / reach * f64::from(u16::MAX)).round() as u16).collect();
    let (height, width) = picture.grid;
    let grey: Option<ImageBuffer<Luma<u16>, Vec<u16>>> = ImageBuffer::from_raw(width as u32, height as u32, levels);
    let grey =
        grey.ok_or_else(|| Failure::failed(format!("a map of {} places is no {height} x {width}", map.len())))?;
    let mut bytes = Cursor::new(Vec::new());
    grey.write_to(&mut bytes, ImageFormat::Png)?;
    Ok((bytes.into_inner(), least, most))
}

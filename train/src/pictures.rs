//! Contact sheets of generated images with captions.
use std::io::Cursor;
use std::path::Path;

use font8x8::UnicodeFonts as _;
use image::{ImageFormat, Rgb, RgbImage};

use serde_json::json;

use crate::{Samples, Showcase, TrainError, write_lines, write_whole};

/// A generated image and its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The prompt it was asked for with; pictures of one prompt are shown beside each other.
    pub prompt: String,
    /// The text below it: the prompt, or the prompt and what became of it.
    pub caption: String,
    /// Its pixels.
    pub pixels: RgbImage,
}

impl Picture {
    /// Converts numbers in [-1, 1] in the order height, width, channel, with one channel (grey) or three; values
    /// outside are clamped. The caption is the prompt too. `None` for other sizes.
    pub fn from_unit(caption: &str, (width, height): (u32, u32), values: &[f32]) -> Option<Self> {
        let byte = |value: f32| (value.clamp(-1.0, 1.0) * 127.5 + 127.5).round() as u8;
        let n = (width * height) as usize;
        let bytes: Vec<u8> = match values.len() {
            len if len == 3 * n => values.iter().map(|&value| byte(value)).collect(),
            len if len == n => values.iter().flat_map(|&value| [byte(value); 3]).collect(),
            _ => return None,
        };
        let pixels = RgbImage::from_raw(width, height, bytes)?;
        Some(Self { prompt: caption.to_owned(), caption: caption.to_owned(), pixels })
    }

    /// Sets a prompt other than the caption.
    #[must_use]
    pub fn of_prompt(self, prompt: &str) -> Self {
        Self { prompt: prompt.to_owned(), ..self }
    }
}

/// Images for inspection: a contact sheet in the run's samples and in TensorBoard, and beside it a line for each image that
/// says where on the sheet it is; nothing if empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures(pub Vec<Picture>);

impl Samples for Pictures {
    fn write(&self, to: &mut Showcase<'_>) -> Result<(), TrainError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let layout = Layout::of(&self.0, COLUMNS, SIDE);
        let sheet = layout.sheet(&self.0);
        let path = to.folder.join(format!("step-{}.png", to.step));
        save_png(&path, &sheet)?;
        let line = |(i, picture): (u32, &Picture)| {
            let ((left, top), zoom) = (layout.place(i), layout.zoom);
            json!({
                "prompt": picture.prompt, "caption": picture.caption, "left": left, "top": top,
                "width": picture.pixels.width() * zoom, "height": picture.pixels.height() * zoom,
            })
        };
        write_lines(&to.folder.join(format!("step-{}.pictures.jsonl", to.step)), (0..).zip(&self.0).map(line))?;
        let bytes = std::fs::read(&path).map_err(TrainError::io(&path))?;
        to.events.image("samples", to.step, sheet.dimensions(), bytes)
    }
}

/// The columns of a sheet of samples, and the least size of its images.
const COLUMNS: u32 = 8;
const SIDE: u32 = 64;

const LETTER: u32 = 8;
const MARGIN: u32 = 6;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([40, 40, 40]);

/// Arranges images in `columns`, each with its caption below; small ones are enlarged to at least `side` pixels.
pub fn contact_sheet(pictures: &[Picture], columns: u32, side: u32) -> RgbImage {
    Layout::of(pictures, columns, side).sheet(pictures)
}

/// Where the images of a contact sheet are.
struct Layout {
    /// The factor by which images are enlarged.
    zoom: u32,
    columns: u32,
    /// The height of an image's place without its caption.
    cell: u32,
    /// The width and height of a place with its margin.
    place: (u32, u32),
    captions: Vec<Vec<String>>,
}

impl Layout {
    fn of(pictures: &[Picture], columns: u32, side: u32) -> Self {
        let largest = pictures.iter().map(|picture| picture.pixels.width().max(picture.pixels.height())).max();
        let largest = largest.unwrap_or(1).max(1);
        let zoom = side.div_ceil(largest).max(1);
        let (cell, letters) = (largest * zoom, (largest * zoom / LETTER).max(1) as usize);
        let captions: Vec<Vec<String>> = pictures.iter().map(|picture| wrap(&picture.caption, letters)).collect();
        let lines = captions.iter().map(Vec::len).max().unwrap_or(0) as u32;
        let place = (cell + MARGIN, cell + lines * (LETTER + 2) + 2 * MARGIN);
        Self { zoom, columns: columns.clamp(1, (pictures.len() as u32).max(1)), cell, place, captions }
    }

    /// The left and the upper end of an image.
    fn place(&self, i: u32) -> (u32, u32) {
        (MARGIN + i % self.columns * self.place.0, MARGIN + i / self.columns * self.place.1)
    }

    fn sheet(&self, pictures: &[Picture]) -> RgbImage {
        let (columns, zoom) = (self.columns, self.zoom);
        let rows = (pictures.len() as u32).div_ceil(columns).max(1);
        let size = (columns * self.place.0 + MARGIN, rows * self.place.1 + MARGIN);
        let mut sheet = RgbImage::from_pixel(size.0, size.1, PAPER);
        for (i, (picture, lines)) in (0u32..).zip(pictures.iter().zip(&self.captions)) {
            let (left, top) = self.place(i);
            for (x, y, &colour) in picture.pixels.enumerate_pixels() {
                for (dx, dy) in (0..zoom * zoom).map(|k| (k % zoom, k / zoom)) {
                    sheet.put_pixel(left + x * zoom + dx, top + y * zoom + dy, colour);
                }
            }
            for (n, line) in (0u32..).zip(lines) {
                write(&mut sheet, left, top + self.cell + 3 + n * (LETTER + 2), line);
            }
        }
        sheet
    }
}

/// Wraps text to lines of at most `width` letters, at word boundaries where possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (n, part) in letters.chunks(width).enumerate() {
            let part: String = part.iter().collect();
            match lines.last_mut() {
                Some(line) if n == 0 && line.chars().count() + 1 + part.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&part);
                }
                _ => lines.push(part),
            }
        }
    }
    lines
}

fn write(sheet: &mut RgbImage, left: u32, top: u32, line: &str) {
    for (n, letter) in (0u32..).zip(line.chars()) {
        let glyph = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
        for (row, bits) in (0u32..).zip(glyph.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default()) {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                let (x, y) = (left + n * LETTER + column, top + row);
                if x < sheet.width() && y < sheet.height() {
                    sheet.put_pixel(x, y, INK);
                }
            }
        }
    }
}

/// Encodes the image as PNG.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// Writes an image as a PNG file, atomically.
pub fn save_png(path: &Path, picture: &RgbImage) -> Result<(), TrainError> {
    let bytes = png(picture).map_err(|error| TrainError::Malformed {
        path: path.to_owned(),
        what: format!("no PNG can be made: {error}"),
    })?;
    write_whole(path, |file| std::io::Write::write_all(file, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_bytes_and_too_large_ones_are_cut() {
        let picture = Picture::from_unit("", (2, 1), &[-1.0, 0.0, 1.0, -3.0, 0.5, 9.0]).unwrap();
        assert_eq!(picture.pixels.as_raw(), &[0, 128, 255, 0, 191, 255]);
        assert_eq!(
            Picture::from_unit("", (2, 1), &[0.0, 1.0]).unwrap().pixels.as_raw(),
            &[128, 128, 128, 255, 255, 255]
        );
        assert!(Picture::from_unit("", (2, 1), &[0.0; 4]).is_none());
    }

    #[test]
    fn captions_break_between_words() {
        assert_eq!(wrap("a small red circle", 9), ["a small", "red", "circle"]);
        assert_eq!(wrap("extraordinary", 5), ["extra", "ordin", "ary"]);
    }

    #[test]
    fn a_sheet_enlarges_its_pictures_and_writes_below_them() {
        let red = RgbImage::from_pixel(4, 4, Rgb([255, 0, 0]));
        let one = Picture { prompt: "a red one".into(), caption: "a red one".into(), pixels: red };
        let pictures = vec![one; 3];
        let sheet = contact_sheet(&pictures, 2, 32);
        assert_eq!(sheet.dimensions(), (2 * (32 + MARGIN) + MARGIN, 2 * (32 + 3 * 10 + 2 * MARGIN) + MARGIN));
        assert_eq!((sheet.get_pixel(6, 6).0, sheet.get_pixel(37, 37).0), ([255, 0, 0], [255, 0, 0]));
        assert!(sheet.pixels().any(|&pixel| pixel == INK));
        assert!(png(&sheet).unwrap().starts_with(b"\x89PNG"));
        let (left, top) = Layout::of(&pictures, 2, 32).place(2);
        assert_eq!((sheet.get_pixel(left, top).0, sheet.get_pixel(left - 1, top - 1).0), ([255, 0, 0], PAPER.0));
    }
}

//! Decoding of image files to [`Pixels`] of one size, with bounded memory.
//!
//! The declared size is checked before allocation, and large images are decoded one at a time, so that memory stays
//! below about a gigabyte for any file.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::metadata::Orientation as Turn;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::pixels::Pixels;
use super::preparation::{Alpha, Orientation, Preparation};

/// Maximum number of pixels: Pillow's warning threshold.
const MOST_PIXELS: u64 = 89_478_485;

/// Maximum size of a decoded image, in bytes.
const MOST_DECODED: u64 = 512 << 20;

/// Images above this decoded size, in bytes, are decoded one at a time.
const LARGE: u64 = 64 << 20;

/// Maximum size of an image file, in bytes.
const MOST_ENCODED: u64 = 256 << 20;

/// A decoded image at its original size.
pub(crate) struct Original {
    image: RgbImage,
    preparation: Preparation,
    /// Whether it has transparent pixels.
    pub(crate) is_transparent: bool,
    /// Whether its EXIF data rotate or mirror it.
    pub(crate) is_turned: bool,
}

impl Original {
    /// Height and width in the file, after EXIF orientation if that is applied.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.image.height() as usize, self.image.width() as usize)
    }

    /// The image at its original size.
    pub(crate) fn pixels(&self) -> Pixels {
        Pixels::from_rgb8(&self.image)
    }

    /// The image with its shorter side resized to `size`, cropped to the middle square.
    pub(crate) fn square(&self, size: usize) -> Pixels {
        Pixels::from_rgb8(&self.preparation.square(&self.image, size))
    }
}

/// Reads an image file.
///
/// The error describes the fault as the end of a sentence about the image.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    // A pipe would wait, and a device never ends.
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err("cannot be read: it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MOST_ENCODED + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MOST_ENCODED {
        return Err(format!("is too large: its file has more than {MOST_ENCODED} bytes"));
    }
    Ok(bytes)
}

/// Decodes PNG, JPEG or WebP (the first frame of an animation).
///
/// The error describes the fault as the end of a sentence about the image.
pub(crate) fn decode(bytes: &[u8], preparation: Preparation) -> Result<Original, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let Some(format) = reader.format() else {
        let what = if bytes.is_empty() { "has no bytes" } else { "is of no known kind; PNG, JPEG and WebP are known" };
        return Err(what.to_owned());
    };
    // The JPEG decoder fills what is missing with grey and says nothing.
    let is_whole = match format {
        ImageFormat::Jpeg => is_whole_jpeg(bytes),
        ImageFormat::Png => bytes.windows(8).any(|end| end == b"IEND\xae\x42\x60\x82"),
        _ => true,
    };
    if !is_whole {
        return Err("is cut off: its data don't come to their end".to_owned());
    }
    let broken = |error: ImageError| match error {
        ImageError::Limits(_) => format!("is too large: {error}"),
        _ => format!("cannot be decoded: {error}"),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    check_size(&decoder)?;
    let turn = decoder.orientation().map_err(broken)?;
    let _alone = (decoder.total_bytes() > LARGE).then(|| {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    });
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if preparation.orientation == Orientation::Exif {
        image.apply_orientation(turn);
    }
    let (image, is_transparent) = opaque(image, preparation.alpha);
    Ok(Original { image, preparation, is_transparent, is_turned: turn != Turn::NoTransforms })
}

/// Refuses images without pixels or above the limits.
fn check_size(decoder: &impl ImageDecoder) -> Result<(), String> {
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err("has no pixels".to_owned());
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_DECODED {
        return Err(format!(
            "is too large: {width} x {height} pixels; at most {MOST_PIXELS} in all are read, and \
                            {MOST_DECODED} bytes of them; make it smaller"
        ));
    }
    Ok(())
}

/// Converts to RGB, and tells whether any pixel was transparent.
fn opaque(image: DynamicImage, alpha: Alpha) -> (RgbImage, bool) {
    if !image.color().has_alpha() {
        return (image.into_rgb8(), false);
    }
    let rgba = image.into_rgba8();
    let is_transparent = rgba.pixels().any(|pixel| pixel.0[3] < u8::MAX);
    let image = RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, opacity] = rgba.get_pixel(x, y).0.map(u32::from);
        let opacity = if alpha == Alpha::White { opacity } else { 255 };
        Rgb([red, green, blue].map(|value| ((value * opacity + 255 * (255 - opacity) + 127) / 255) as u8))
    });
    (image, is_transparent)
}

/// Whether a JPEG is complete, up to its end marker.
///
/// The search begins after the first scan's header, because an EXIF thumbnail has its own marker; within a scan the
/// marker cannot occur by chance.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        if marker == 0xff {
            at += 1;
            continue;
        }
        let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
        at += 2 + usize::from(high) * 256 + usize::from(low);
        if marker == 0xda {
            return bytes.get(at..).is_some_and(|rest| rest.windows(2).any(|pair| pair == [0xff, 0xd9]));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{Rgba, RgbaImage, imageops};

    use super::*;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn read(bytes: &[u8]) -> Result<Original, String> {
        decode(bytes, Preparation::default())
    }

    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 40]))
    }

    #[test]
    fn every_format_is_read_and_what_is_cut_off_is_refused() {
        let image = DynamicImage::from(ramp(40, 30));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let bytes = encoded(&image, format);
            let found = read(&bytes).unwrap();
            assert_eq!((found.size(), found.is_transparent), ((30, 40), false));
            let middle = found.square(30).values()[(15 * 30 + 15) * 3];
            assert!((middle - (20.0 / 40.0 * 2.0 - 1.0)).abs() < 0.06, "{format:?}: {middle}");
            for share in [0.0, 0.1, 0.5, 0.9, 0.99] {
                let part = &bytes[..(bytes.len() as f64 * share) as usize];
                assert!(read(part).is_err(), "{format:?}, {share} of it");
            }
        }
    }

    #[test]
    fn a_jpeg_inside_the_header_is_not_the_end() {
        let mut bytes = Vec::new();
        let thumbnail = encoded(&ramp(8, 8).into(), ImageFormat::Jpeg);
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.encode_image(&DynamicImage::from(ramp(40, 30))).unwrap();
        let mut with_inside = bytes[..2].to_vec();
        with_inside.extend([0xff, 0xe5]);
        with_inside.extend((thumbnail.len() as u16 + 2).to_be_bytes());
        with_inside.extend(&thumbnail);
        with_inside.extend(&bytes[2..]);
        assert!(read(&with_inside).is_ok());
        assert!(read(&with_inside[..with_inside.len() - 2]).is_err());
    }

    #[test]
    fn what_is_transparent_lies_on_white() {
        let image = RgbaImage::from_fn(4, 4, |x, _| Rgba([0, 0, 0, [0, 128, 255, 255][x as usize]]));
        let found = read(&encoded(&image.into(), ImageFormat::Png)).unwrap();
        let row: Vec<f32> = (0..4).map(|column| found.square(4).values()[column * 3]).collect();
        assert!(found.is_transparent);
        assert_eq!((row[0], row[2], row[3]), (1.0, -1.0, -1.0));
        assert!(row[1].abs() < 0.01, "{row:?}");
        let opaque = RgbaImage::from_pixel(4, 4, Rgba([1, 2, 3, 255]));
        assert!(!read(&encoded(&opaque.into(), ImageFormat::Png)).unwrap().is_transparent);
    }

    #[test]
    fn the_middle_of_the_scaled_picture_is_taken() {
        // Thirds of red, green and blue, 60 x 20: the middle square is green.
        for (width, height) in [(60, 20), (20, 60), (6, 2)] {
            let third = width.max(height) / 3;
            let image = RgbImage::from_fn(width, height, |x, y| {
                let mut colour = [0; 3];
                colour[(x.max(y) / third) as usize] = 255;
                Rgb(colour)
            });
            let long = width > height;
            let image = if long { image } else { imageops::rotate90(&imageops::rotate270(&image)) };
            let found = read(&encoded(&image.into(), ImageFormat::Png)).unwrap().square(10);
            assert_eq!((found.height(), found.width()), (10, 10));
            assert_eq!(found.values()[(5 * 10 + 5) * 3..][..3], [-1.0, 1.0, -1.0]);
        }
    }
}

//! A picture with its maps laid over it, as images within the page.
use std::fmt::Write as _;
use std::io::Cursor;
use std::ops::Range;

use ::image::{DynamicImage, ImageFormat, Rgba, RgbaImage, imageops};
use ::report::heat::Scale;
use ::report::page::{Html, data_url};

use crate::Failure;
use crate::credit::CreditedPicture;

/// Styles of pictures: they lie pale and grey below their maps.
pub(super) const STYLE: &str = "\
.maps{display:flex;flex-wrap:wrap;gap:.6em;margin:.3em 0 .8em}.maps>div{width:6em;font-size:.8em;line-height:1.3}\
.over{position:relative;width:100%;border:1px solid #8884}.over i,.over img{display:block;width:100%;height:100%}\
.over img{position:absolute;inset:0}.over i{background:var(--p) 0 0/100% 100%}\
.maps:not(.smooth) :is(i,img){image-rendering:pixelated}.over i.under{filter:grayscale(1);opacity:.3}\
@media print{.over{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// The longest side of a picture on a page, in pixels.
const LONGEST: u32 = 256;

/// The colours of less and of more, and of wrong regions.
const LESS: [u8; 3] = [214, 48, 39];
const MORE: [u8; 3] = [49, 110, 214];
const WRONG: [u8; 3] = [230, 150, 0];

/// The scales of a page's maps: of whole ones, and of those by timesteps.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    pub(super) whole: Scale,
    pub(super) by_steps: Scale,
}

impl Scales {
    pub(super) fn of<'a>(pictures: impl Iterator<Item = &'a CreditedPicture> + Clone) -> Self {
        let whole = Scale::of_differences(pictures.clone().flat_map(|picture| picture.map().iter().copied()));
        let maps = pictures.flat_map(|picture| picture.by_steps.iter().flatten().flatten().copied());
        Self { whole, by_steps: Scale::of_differences(maps) }
    }
}

/// A picture, the map of its whole reward, what is wrong in it, and a map for each part of the timesteps.
pub(super) fn figure(picture: &CreditedPicture, scales: Scales, parts: &[Range<usize>]) -> Result<Html, Failure> {
    let (height, width) = picture.grid;
    let mut text = format!("<figure><figcaption>{}: reward {:+.3}</figcaption>", picture.side, picture.reward());
    let seen = picture.pixels.as_ref().map(|pixels| shown(&pixels.to_rgb8().into())).transpose()?;
    let is_smooth = picture.pixels.as_ref().is_some_and(|pixels| (pixels.height(), pixels.width()) != picture.grid);
    let class = if is_smooth { "maps smooth" } else { "maps" };
    let under = seen.as_ref().map_or_else(String::new, |seen| format!("--p:url({seen});"));
    let _ = write!(text, "<div class=\"{class}\" style=\"{under}--r:{width}/{height}\">");
    let mut panel = |title: &str, over: Option<String>, is_pale: bool| {
        let class = if is_pale { " class=under" } else { "" };
        let over = over.map_or_else(String::new, |over| format!("<img alt=\"{title}\" src=\"{over}\">"));
        let _ = write!(
            text,
            "<div><div class=over style=\"aspect-ratio:var(--r)\"><i{class}></i>{over}</div>{title}</div>"
        );
    };
    if seen.is_some() {
        panel("picture", None, false);
    }
    panel("all timesteps", Some(heat(picture.map(), picture.grid, scales.whole)?), true);
    if let Some(wrong) = picture.wrong.as_ref().filter(|wrong| wrong.contains(&true)) {
        panel("known to be wrong", Some(mask(wrong, picture.grid)?), true);
    }
    for (range, map) in parts.iter().zip(&picture.by_steps) {
        let title = format!("t {}-{}", range.start, range.end.saturating_sub(1));
        match map {
            Some(map) => panel(&title, Some(heat(map, picture.grid, scales.by_steps)?), true),
            None => panel(&format!("{title}: no draw"), None, true),
        }
    }
    Ok(Html::markup(text + "</div></figure>"))
}

/// A map in red and blue, transparent where there is no credit.
fn heat(map: &[f64], grid: (usize, usize), scale: Scale) -> Result<String, Failure> {
    let colour = |credit: f64| {
        let strength = scale.strength(credit);
        let [red, green, blue] = if strength < 0.0 { LESS } else { MORE };
        Rgba([red, green, blue, (strength.abs() * 242.0).round() as u8])
    };
    laid(grid, |place| map.get(place).map_or(Rgba([0; 4]), |credit| colour(*credit)))
}

fn mask(wrong: &[bool], grid: (usize, usize)) -> Result<String, Failure> {
    let [red, green, blue] = WRONG;
    laid(grid, |place| if wrong.get(place) == Some(&true) { Rgba([red, green, blue, 220]) } else { Rgba([0; 4]) })
}

/// A picture of colours by place.
fn laid((height, width): (usize, usize), colour: impl Fn(usize) -> Rgba<u8>) -> Result<String, Failure> {
    let image = RgbaImage::from_fn(width as u32, height as u32, |x, y| colour(y as usize * width + x as usize));
    encoded(&image.into())
}

/// A picture at no more than the longest side of a page.
fn shown(image: &DynamicImage) -> Result<String, Failure> {
    if image.width().max(image.height()) <= LONGEST {
        return encoded(image);
    }
    encoded(&image.resize(LONGEST, LONGEST, imageops::FilterType::Triangle))
}

/// A PNG within a page.
fn encoded(image: &DynamicImage) -> Result<String, Failure> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(data_url("image/png", &bytes.into_inner()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn decoded(uri: &str) -> RgbaImage {
        let bytes = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        ::image::load_from_memory(&bytes).unwrap().to_rgba8()
    }

    #[test]
    fn a_map_is_red_where_credit_is_less_and_clear_where_there_is_none() {
        let map = [-1.0, 0.0, 0.5, 1.0];
        let image = decoded(&heat(&map, (2, 2), Scale::of_differences(map.into_iter())).unwrap());
        assert_eq!(image.get_pixel(0, 0).0, [214, 48, 39, 242]);
        assert_eq!((image.get_pixel(1, 0).0[3], image.get_pixel(0, 1).0), (0, [49, 110, 214, 121]));
        let image = decoded(&mask(&[true, false], (1, 2)).unwrap());
        assert_eq!([image.get_pixel(0, 0).0[3], image.get_pixel(1, 0).0[3]], [220, 0]);
    }

    #[test]
    fn large_pictures_are_made_smaller() {
        let uri = shown(&RgbaImage::new(1024, 512).into()).unwrap();
        assert_eq!(decoded(&uri).dimensions(), (256, 128));
    }
}

//! The data of the problem, by seed, split and index.

use std::path::Path;
use std::sync::Arc;

use super::Split;
use super::refined::{Manner, Said};
use super::requests::{Request, Wanted};
use super::scene::{Attribute, Scene};
use crate::images::CaptionedImage;
use crate::record::{Answers, Origin, PreferenceRecord};
use crate::synthetic::draw::Draw;

/// One of two answers to a request: a refined prompt, and what was drawn for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The refined prompt.
    pub refined: String,
    /// What the picture shows.
    pub scene: Scene,
}

/// A request with a better and a worse answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChimeraPair {
    /// What was asked for.
    pub request: String,
    /// What the request wants to see.
    pub wanted: Wanted,
    /// The answer whose picture has more of the wanted attributes.
    pub chosen: Side,
    /// The answer whose picture has fewer.
    pub rejected: Side,
    /// Whether there was no refiner: both refined prompts are the request, and only the pictures differ.
    pub is_null: bool,
}

/// A request with one refined prompt, helpful or not: what the refiner is taught by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refinement {
    /// What was asked for.
    pub request: Request,
    /// The refined prompt.
    pub refined: String,
    /// How it is put.
    pub manner: Manner,
    /// What it says; with [`Manner::Request`], what the request means.
    pub said: Said,
}

/// A refined prompt with one picture, right or wrong: what the generator is taught by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The refined prompt.
    pub caption: String,
    /// How it is put.
    pub manner: Manner,
    /// What it says; with [`Manner::Request`], what the request means.
    pub said: Said,
    /// What the picture shows.
    pub shown: Scene,
}

impl Refinement {
    /// The refinement as a record that was read at `origin`.
    pub fn into_record(self, origin: Origin) -> PreferenceRecord {
        let answers = Answers::Demonstration(refiner_response(&self.refined).as_str().into());
        let prompt = refiner_prompt(&self.request.text()).as_str().into();
        PreferenceRecord::new(origin, prompt, answers)
    }
}

impl Demonstration {
    /// The demonstration with its picture drawn.
    pub fn render(&self, index: usize) -> CaptionedImage {
        CaptionedImage { index, caption: self.caption.clone(), image: self.shown.render() }
    }
}

/// What the refiner reads.
pub fn refiner_prompt(request: &str) -> String {
    format!("request: {request}\nprompt:")
}

/// What the refiner writes for a refined prompt, before the end of its text.
pub fn refiner_response(refined: &str) -> String {
    format!(" {refined}")
}

/// The problem of one seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    seed: u64,
    null_share: f64,
}

impl Problem {
    /// How often a refined prompt is wrong about one attribute.
    pub const WRONG_RATE: f64 = 0.2;
    /// How often a refined prompt leaves one attribute out; it may be wrong about another.
    ///
    /// With [`Manner::SHARES`] a quarter of all refined prompts say everything, rightly and in the best manner.
    pub const OMISSION_RATE: f64 = 0.2;
    /// The share of pairs without a refiner, unless told otherwise.
    pub const NULL_SHARE: f64 = 0.25;

    /// The problem of a seed, with [`Self::NULL_SHARE`].
    pub fn new(seed: u64) -> Self {
        Self { seed, null_share: Self::NULL_SHARE }
    }

    /// The same problem with another share of pairs without a refiner, 0 to 1.
    #[must_use]
    pub fn with_null_share(self, null_share: f64) -> Self {
        Self { null_share, ..self }
    }

    /// The pair number `index` of a split: two answers as the embedded refiner and generator give them, of different
    /// worth.
    pub fn pair(&self, split: Split, index: u64) -> ChimeraPair {
        let mut draw = self.stream("pair", split, index);
        let request = Request::draw(split, &mut draw);
        let wanted = Wanted { scene: request.scene() };
        let is_null = draw.chance(self.null_share);
        loop {
            let [first, second] = [0, 1].map(|_| side(split, &request, is_null, &mut draw));
            let (worth, other) = (wanted.share(&first.scene), wanted.share(&second.scene));
            if worth == other || is_null != (first.refined == second.refined) {
                continue;
            }
            let (chosen, rejected) = if worth > other { (first, second) } else { (second, first) };
            return ChimeraPair { request: request.text(), wanted, chosen, rejected, is_null };
        }
    }

    /// The refinement number `index` of a split.
    pub fn refinement(&self, split: Split, index: u64) -> Refinement {
        let mut draw = self.stream("refinement", split, index);
        let request = Request::draw(split, &mut draw);
        let (manner, said) = refine(split, &request, &mut draw);
        Refinement { request, refined: said.text(manner, &request.text()), manner, said }
    }

    /// The generator's demonstration number `index` of a split; any head may be on any body where no name is told.
    pub fn demonstration(&self, split: Split, index: u64) -> Demonstration {
        let mut draw = self.stream("demonstration", split, index);
        let manner = draw.choose_by(&Manner::ALL, &Manner::SHARES);
        let request = Request::draw(split, &mut draw);
        let said = match manner {
            Manner::Request => Said::all(request.scene()),
            _ => omitting(Said::all(any(split, &mut draw)), &mut draw),
        };
        let shown = imagine(split, manner, said, &mut draw);
        Demonstration { caption: said.text(manner, &request.text()), manner, said, shown }
    }

    /// The first `count` refinements of a split as records; each one's line is its index plus one.
    pub fn refinement_records(self, split: Split, count: u64) -> impl Iterator<Item = PreferenceRecord> {
        let file: Arc<Path> = Path::new(&format!("builtin:chimera-refiner/{}", split.name())).into();
        (0..count).map(move |index| self.refinement(split, index).into_record(Origin::line(&file, index + 1)))
    }

    /// The first `count` demonstrations of a split, drawn.
    pub fn demonstrations(self, split: Split, count: usize) -> impl Iterator<Item = CaptionedImage> {
        (0..count).map(move |index| self.demonstration(split, index as u64).render(index))
    }

    fn stream(&self, purpose: &str, split: Split, index: u64) -> Draw {
        Draw::new("hybrid-dpo builtin:chimera", purpose, &[self.seed, split as u64, index])
    }
}

/// A refined prompt and a picture as the embedded models make them.
fn side(split: Split, request: &Request, is_null: bool, draw: &mut Draw) -> Side {
    let (manner, said) =
        if is_null { (Manner::Request, Said::all(request.scene())) } else { refine(split, request, draw) };
    Side { refined: said.text(manner, &request.text()), scene: imagine(split, manner, said, draw) }
}

/// What the embedded refiner makes of a request.
fn refine(split: Split, request: &Request, draw: &mut Draw) -> (Manner, Said) {
    let manner = draw.choose_by(&Manner::ALL, &Manner::SHARES);
    if manner == Manner::Request {
        return (manner, Said::all(request.scene()));
    }
    let mut scene = request.scene();
    if draw.chance(Problem::WRONG_RATE) {
        let attribute = draw.choose(&Attribute::ALL);
        scene = until_allowed(split, || request.scene().altered(&[attribute], draw));
    }
    (manner, omitting(Said::all(scene), draw))
}

/// Leaves one attribute out as often as refined prompts do.
fn omitting(said: Said, draw: &mut Draw) -> Said {
    if draw.chance(Problem::OMISSION_RATE) { said.without(draw.choose(&Attribute::ALL)) } else { said }
}

/// What the embedded generator makes of a refined prompt: what isn't told is anything.
fn imagine(split: Split, manner: Manner, said: Said, draw: &mut Draw) -> Scene {
    until_allowed(split, || {
        let is_wrong = |attribute: &Attribute| said.tells(*attribute) && draw.chance(manner.error_rate(*attribute));
        let wrong: Vec<Attribute> = Attribute::ALL.into_iter().filter(is_wrong).collect();
        said.scene(Scene::any(draw)).altered(&wrong, draw)
    })
}

/// Any scene of a split.
fn any(split: Split, draw: &mut Draw) -> Scene {
    loop {
        let scene = Scene::any(draw);
        if scene.split() == split {
            return scene;
        }
    }
}

/// Draws until a split may show the scene: training shows and tells nothing that is held out.
fn until_allowed(split: Split, mut scene: impl FnMut() -> Scene) -> Scene {
    loop {
        let scene = scene();
        if split != Split::Train || scene.split() == Split::Train {
            return scene;
        }
    }
}

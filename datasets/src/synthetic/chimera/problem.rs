//! The problem's data by seed, split and index.

use std::path::Path;
use std::sync::Arc;

use super::Split;
use super::refined::{Manner, Said};
use super::requests::{Request, Wanted};
use super::scene::{Attribute, Scene};
use crate::images::CaptionedImage;
use crate::record::{Answers, Origin, PreferenceRecord};
use crate::synthetic::draw::RandomDraws;

/// One of two answers to a request: a refined prompt and its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChimeraSide {
    /// The refined prompt.
    pub refined: String,
    /// The attributes of the image.
    pub scene: Scene,
}

/// A request with a better and a worse answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChimeraPair {
    /// The request.
    pub request: String,
    /// The requested scene.
    pub wanted: Wanted,
    /// The answer whose image has more of the requested attributes.
    pub chosen: ChimeraSide,
    /// The answer whose picture has fewer.
    pub rejected: ChimeraSide,
    /// Whether there was no refiner: both refined prompts are the request, and only the images differ.
    pub is_null: bool,
}

/// A refiner demonstration: a request with one refined prompt, helpful or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refinement {
    /// The request.
    pub request: Request,
    /// The refined prompt.
    pub refined: String,
    /// The manner of the refined prompt.
    pub manner: Manner,
    /// The content of the refined prompt; with [`Manner::Request`], the meaning of the request.
    pub said: Said,
}

/// A generator demonstration: a refined prompt with one image, right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChimeraDemonstration {
    /// The refined prompt.
    pub caption: String,
    /// The manner of the refined prompt.
    pub manner: Manner,
    /// The content of the refined prompt; with [`Manner::Request`], the meaning of the request.
    pub said: Said,
    /// The attributes of the image.
    pub shown: Scene,
}

impl Refinement {
    /// Converts the refinement to a record at `origin`.
    pub fn into_record(self, origin: Origin) -> PreferenceRecord {
        let answers = Answers::Demonstration(refiner_response(&self.refined).as_str().into());
        let prompt = refiner_prompt(&self.request.text()).as_str().into();
        PreferenceRecord::new(origin, prompt, answers)
    }
}

impl ChimeraDemonstration {
    /// Renders the demonstration.
    pub fn render(&self, index: usize) -> CaptionedImage {
        CaptionedImage { index, caption: self.caption.clone(), image: self.shown.render() }
    }
}

/// The refiner's prompt for a request.
pub fn refiner_prompt(request: &str) -> String {
    format!("request: {request}\nprompt:")
}

/// The refiner's response for a refined prompt, without EOS.
pub fn refiner_response(refined: &str) -> String {
    format!(" {refined}")
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChimeraProblem {
    seed: u64,
    null_share: f64,
}

impl ChimeraProblem {
    /// Probability that a refined prompt is wrong about one attribute.
    pub const WRONG_RATE: f64 = 0.2;
    /// Probability that a refined prompt omits one attribute; it may be wrong about another.
    ///
    /// With [`Manner::SHARES`] a quarter of all refined prompts are complete, correct and in the best manner.
    pub const OMISSION_RATE: f64 = 0.2;
    /// Default share of pairs without a refiner.
    pub const NULL_SHARE: f64 = 0.25;

    /// Creates the problem of a seed, with [`Self::NULL_SHARE`].
    pub fn new(seed: u64) -> Self {
        Self { seed, null_share: Self::NULL_SHARE }
    }

    /// Sets the share of pairs without a refiner, 0 to 1.
    #[must_use]
    pub fn with_null_share(self, null_share: f64) -> Self {
        Self { null_share, ..self }
    }

    /// Pair `index` of a split: two answers as of the embedded refiner and generator, with different scores.
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

    /// Refinement `index` of a split.
    pub fn refinement(&self, split: Split, index: u64) -> Refinement {
        let mut draw = self.stream("refinement", split, index);
        let request = Request::draw(split, &mut draw);
        let (manner, said) = refine(split, &request, &mut draw);
        Refinement { request, refined: said.text(manner, &request.text()), manner, said }
    }

    /// Generator demonstration `index` of a split; without a creature's name, any head may be on any body.
    pub fn demonstration(&self, split: Split, index: u64) -> ChimeraDemonstration {
        let mut draw = self.stream("demonstration", split, index);
        let manner = draw.choose_by(&Manner::ALL, &Manner::SHARES);
        let request = Request::draw(split, &mut draw);
        let said = match manner {
            Manner::Request => Said::all(request.scene()),
            Manner::Parts | Manner::Terse | Manner::Halves => omitting(Said::all(any(split, &mut draw)), &mut draw),
        };
        let shown = imagine(split, manner, said, &mut draw);
        ChimeraDemonstration { caption: said.text(manner, &request.text()), manner, said, shown }
    }

    /// The first `count` refinements of a split as records; a record's line is its index plus one.
    pub fn refinement_records(self, split: Split, count: u64) -> impl Iterator<Item = PreferenceRecord> {
        let file: Arc<Path> = Path::new(&format!("builtin:chimera-refiner/{}", split.name())).into();
        (0..count).map(move |index| self.refinement(split, index).into_record(Origin::line(&file, index + 1)))
    }

    /// The first `count` demonstrations of a split, rendered.
    pub fn demonstrations(self, split: Split, count: usize) -> impl Iterator<Item = CaptionedImage> {
        (0..count).map(move |index| self.demonstration(split, index as u64).render(index))
    }

    fn stream(&self, purpose: &str, split: Split, index: u64) -> RandomDraws {
        RandomDraws::new("hybrid-dpo builtin:chimera", purpose, &[self.seed, split as u64, index])
    }
}

/// A refined prompt and an image as of the embedded models.
fn side(split: Split, request: &Request, is_null: bool, draw: &mut RandomDraws) -> ChimeraSide {
    let (manner, said) =
        if is_null { (Manner::Request, Said::all(request.scene())) } else { refine(split, request, draw) };
    ChimeraSide { refined: said.text(manner, &request.text()), scene: imagine(split, manner, said, draw) }
}

/// A refined prompt as of the embedded refiner.
fn refine(split: Split, request: &Request, draw: &mut RandomDraws) -> (Manner, Said) {
    let manner = draw.choose_by(&Manner::ALL, &Manner::SHARES);
    if manner == Manner::Request {
        return (manner, Said::all(request.scene()));
    }
    let mut scene = request.scene();
    if draw.chance(ChimeraProblem::WRONG_RATE) {
        let attribute = draw.choose(&Attribute::ALL);
        scene = until_allowed(split, || request.scene().altered(&[attribute], draw));
    }
    (manner, omitting(Said::all(scene), draw))
}

/// Omits one attribute at the rate of refined prompts.
fn omitting(said: Said, draw: &mut RandomDraws) -> Said {
    if draw.chance(ChimeraProblem::OMISSION_RATE) { said.without(draw.choose(&Attribute::ALL)) } else { said }
}

/// An image as of the embedded generator; attributes missing in the prompt are random.
fn imagine(split: Split, manner: Manner, said: Said, draw: &mut RandomDraws) -> Scene {
    until_allowed(split, || {
        let is_wrong = |attribute: &Attribute| said.tells(*attribute) && draw.chance(manner.error_rate(*attribute));
        let wrong: Vec<Attribute> = Attribute::ALL.into_iter().filter(is_wrong).collect();
        said.scene(Scene::any(draw)).altered(&wrong, draw)
    })
}

/// A random scene of a split.
fn any(split: Split, draw: &mut RandomDraws) -> Scene {
    loop {
        let scene = Scene::any(draw);
        if scene.split() == split {
            return scene;
        }
    }
}

/// Draws until the scene is allowed in the split: training contains no held-out scene.
fn until_allowed(split: Split, mut scene: impl FnMut() -> Scene) -> Scene {
    loop {
        let scene = scene();
        if split != Split::Train || scene.split() == Split::Train {
            return scene;
        }
    }
}

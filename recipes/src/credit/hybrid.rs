//! What of the reward of a hybrid is laid on words and what on pictures.
use std::fmt;
use std::path::Path;

use datasets::synthetic::Split;
use mdp::EpisodeOf;
use policies::{BoxError, Policy as _};
use serde_json::{Value, json};
use train::Source as _;
use train::diffusion::Images as _;

use super::image::maps::Errors;
use super::image::{Lines, SHOWN, drawn, parts, pixels};
use super::measures::Bootstrap;
use super::steps::{StepSummary, aligned, percent, signed};
use super::{CreditedAnswer, CreditedPicture};
use crate::Estimate;
use crate::hybrid::{PromptedMdp, data};
use crate::score::hybrid::Halves;
use crate::{Call, Failure};

/// Draws of a picture unless the settings say otherwise.
const DRAWS: usize = 16;

/// Embedded pairs unless the settings say otherwise.
const BUILTIN_PAIRS: usize = 128;

/// The credit of both halves of hybrid pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct PairCredit {
    /// The pairs, in the data's order.
    pub pairs: Vec<CreditedPair>,
    /// What of the margin is of words, and what of pictures.
    pub shares: ShareSummary,
    /// Where in the timesteps the pictures' reward lies.
    pub steps: StepSummary,
}

/// A pair with the credit of both halves.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditedPair {
    /// Its number, from 0.
    pub index: usize,
    /// The request.
    pub request: String,
    /// The better side, and the worse one.
    pub sides: [CreditedSide; 2],
    /// The margin of words and that of pictures; together they are the margin.
    pub margins: (f64, f64),
    /// Whether a refiner wrote a side: where both are the request itself, words have no margin.
    pub is_refined: bool,
}

/// A refined prompt and its picture, with their credit.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditedSide {
    /// The refined prompt; its credit is beta times the log-ratio of each token, 0 where no refiner wrote it.
    pub answer: CreditedAnswer,
    /// The picture; its reward has the weight gamma.
    pub picture: CreditedPicture,
}

impl CreditedPair {
    /// The margin: what the better side's return is above the worse one's.
    pub fn margin(&self) -> f64 {
        self.margins.0 + self.margins.1
    }
}

/// What of the margins is of words and what of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareSummary {
    /// Words, pictures, and both together.
    pub rows: [HalfRow; 3],
    /// Pairs, over which intervals are.
    pub pairs: usize,
    /// Those of them that a refiner wrote a side of: magnitudes are compared in these.
    pub refined: usize,
}

/// One half's part.
#[derive(Clone, Debug, PartialEq)]
pub struct HalfRow {
    /// `words`, `pictures` or `both`.
    pub name: &'static str,
    /// Its mean margin.
    pub margin: Option<Estimate>,
    /// Its sum of margins over that of both halves; it may be below 0 or above 1.
    pub share: Option<Estimate>,
    /// The mean of |its margin| over the sum of both halves' magnitudes, from 0 to 1.
    pub magnitude: Option<Estimate>,
    /// The share of pairs in which it alone prefers the better side; of words, of pairs that a refiner wrote a side of.
    pub accuracy: Option<Estimate>,
}

impl ShareSummary {
    fn of(pairs: &[CreditedPair], seed: u64) -> Self {
        let bootstrap = Bootstrap::new(seed, pairs.len());
        let both: Vec<f64> = pairs.iter().map(CreditedPair::margin).collect();
        let is_refined: Vec<f64> = pairs.iter().map(|pair| f64::from(u8::from(pair.is_refined))).collect();
        let row = |name, half: &dyn Fn(&CreditedPair) -> f64| {
            let margins: Vec<f64> = pairs.iter().map(half).collect();
            let right: Vec<f64> = margins.iter().map(|margin| f64::from(u8::from(*margin > 0.0))).collect();
            let magnitude = |pair: &CreditedPair| {
                let all = pair.margins.0.abs() + pair.margins.1.abs();
                if pair.is_refined && all > 0.0 { half(pair).abs() / all } else { 0.0 }
            };
            let magnitudes: Vec<f64> = pairs.iter().map(magnitude).collect();
            HalfRow {
                name,
                margin: bootstrap.mean(&margins),
                share: bootstrap.ratio(&margins, &both),
                magnitude: bootstrap.ratio(&magnitudes, &is_refined).filter(|_| name != "both"),
                // Where nobody refined, words prefer nothing.
                accuracy: if name == "words" { bootstrap.ratio(&right, &is_refined) } else { bootstrap.mean(&right) },
            }
        };
        let rows = [
            row("words", &|pair| pair.margins.0),
            row("pictures", &|pair| pair.margins.1),
            row("both", &CreditedPair::margin),
        ];
        Self { rows, pairs: pairs.len(), refined: pairs.iter().filter(|pair| pair.is_refined).count() }
    }

    /// The cells of a table, its head first.
    pub(super) fn cells(&self) -> Vec<Vec<String>> {
        let head = ["half", "margin", "share of the margin", "share of magnitudes", "prefers the better side"];
        let none = || "-".to_owned();
        let row = |row: &HalfRow| {
            let percents = [row.share, row.magnitude, row.accuracy];
            let mut cells = vec![row.name.to_owned(), row.margin.map_or_else(none, |it| signed(&it))];
            cells.extend(percents.map(|share| share.map_or_else(none, |it| percent(&it))));
            cells
        };
        std::iter::once(head.map(str::to_owned).into()).chain(self.rows.iter().map(row)).collect()
    }

    /// What the numbers are.
    pub(super) fn explained(&self) -> String {
        format!(
            "pairs: {}, with a side that a refiner wrote: {}; magnitudes, and what words prefer, are of the latter; 95% intervals over pairs",
            self.pairs, self.refined
        )
    }
}

/// A table.
impl fmt::Display for ShareSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", aligned(&self.cells()), self.explained())
    }
}

/// Lays the reward of hybrid pairs on words and pictures; a page shows the first of them.
pub(super) fn credit(call: &Call<'_>, has_page: bool) -> Result<PairCredit, Failure> {
    let mut call = Call { values: call.values.clone(), reporter: call.reporter };
    let values = &mut call.values;
    if values.data.data().is_none() {
        return Err(Failure::usage("credit needs `data.data`: a pair folder, or hybrid records"));
    }
    if values.hybrid.refiner_reference().is_none() && values.hybrid.generator_reference().is_none() {
        let text = "credit needs `hybrid.refiner_reference` or `hybrid.generator_reference`: the models before they learned \
                    preferences; a half without one is its own reference";
        return Err(Failure::usage(text));
    }
    values.preset(|settings| {
        settings.diffusion.draws_per_pair = Some(DRAWS);
        if settings.data.data.first().is_some_and(crate::embedded::is_embedded) {
            settings.data.limit = Some(BUILTIN_PAIRS);
        }
    });
    // The config file of a training run may set another share.
    values.set(|settings| settings.data.eval_share = 0.0);
    let halves = Halves::load(&mut call)?;
    let n_timesteps = halves.mdp.inner.schedule.len();
    let bins = parts(&call.values, n_timesteps)?;
    let opened = data::open_split(&halves.files, &halves.mdp.handoff, Split::Test, &call)?;
    let pairs = all(&halves, &opened.train, (bins, has_page), &call)?;
    let seed = call.values.run.seed();
    let drawn: Vec<_> = pairs.iter().map(|pair| drawn(&pair.sides.clone().map(|side| side.picture))).collect();
    let steps = StepSummary::of(&["chosen", "rejected", "margin"], &drawn, (bins, n_timesteps), seed);
    Ok(PairCredit { shares: ShareSummary::of(&pairs, seed), pairs, steps })
}

/// Writes a line for each pair.
pub(super) fn write_credit(credit: &PairCredit, out: &Path) -> Result<(), Failure> {
    let mut lines = Lines::new(out);
    for pair in &credit.pairs {
        let line = line(pair, &mut lines)?;
        lines.push(line);
    }
    lines.finish()
}

fn line(pair: &CreditedPair, lines: &mut Lines<'_>) -> Result<Value, Failure> {
    let mut line = json!({
        "index": pair.index, "request": pair.request, "margin": pair.margin(),
        "margin_refiner": pair.margins.0, "margin_generator": pair.margins.1,
    });
    for side in &pair.sides {
        let mut described = json!({});
        lines.describe(&side.picture, &mut described)?;
        // The words are described as answers are; the text is what was refined.
        let mut words = side.answer.to_json();
        words["refined"] = words["text"].take();
        for name in ["refined", "tokens", "offsets", "log_ratio"] {
            described[name] = words[name].take();
        }
        line[side.picture.side] = described;
    }
    Ok(line)
}

fn all(
    halves: &Halves,
    data: &data::PairData<'_>,
    (bins, is_shown): (usize, bool),
    call: &Call<'_>,
) -> Result<Vec<CreditedPair>, Failure> {
    let source = halves.source(data, &call.values)?;
    let bar = call.reporter.bar("credit", source.len());
    let mut pairs = Vec::with_capacity(source.len());
    for index in 0..source.len() {
        let failed = |error: BoxError| Failure::failed(format!("pair {index}: {error}"));
        let episodes = source.item(index).map_err(failed)?.episodes;
        let mut pair = of_pair(halves, &episodes, index, bins).map_err(failed)?;
        pair.request = data.request(index).map_err(failed)?;
        if is_shown && index < SHOWN {
            let example = data.example(index).map_err(failed)?;
            for (side, finished) in pair.sides.iter_mut().zip(&example.sides) {
                side.picture.pixels = pixels(&halves.files.generator, halves.files.shape, &finished.latent)?;
            }
        }
        pairs.push(pair);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(pairs)
}

/// Splits the return of each side by half, and each half's by token, draw and place.
fn of_pair(
    halves: &Halves,
    episodes: &[EpisodeOf<PromptedMdp>],
    index: usize,
    bins: usize,
) -> Result<CreditedPair, BoxError> {
    let Halves { mdp, policy, reference: Some(reference), files, .. } = halves else {
        return Err("there is no reference".into());
    };
    let crosses = || "a piece of its episodes crosses the hand-off";
    let split: Vec<_> = episodes.iter().map(|episode| mdp.split(episode)).collect::<Option<_>>().ok_or_else(crosses)?;
    let (words, pictures): (Vec<_>, Vec<_>) = split.into_iter().unzip();
    let own = policy.outer.score(&mdp.outer, &words)?.log_probs;
    let other = reference.outer.score(&mdp.outer, &words)?.log_probs;
    let errors = Errors { mdp: &mdp.inner, policy: &policy.inner, reference: &reference.inner, beta: 1.0, bins };
    let maps = errors.split(&pictures)?;
    let (mut sides, mut is_refined) = (Vec::with_capacity(2), false);
    for ((at, maps), (words, side)) in maps.into_iter().enumerate().zip(words.iter().zip(["chosen", "rejected"])) {
        let weights = words.weights();
        is_refined |= weights.iter().any(|weight| *weight != 0.0);
        let ratios = own.row(at).iter().zip(other.row(at)).zip(&weights).map(|((p, r), weight)| weight * (p - r));
        let tokens: Vec<u32> = words.pieces.iter().flat_map(|piece| piece.actions.iter().copied()).collect();
        let (text, places) = files.prompt_format.read(&tokens)?;
        let columns = vec![("log_ratio", ratios.collect())];
        let (origin, spans, wrong) = (format!("pair {index}"), None, None);
        let answer = CreditedAnswer {
            index,
            origin,
            side,
            text,
            spans,
            tokens,
            places,
            wrong,
            given: None,
            unmeasured: None,
            columns,
        };
        let picture = CreditedPicture::of((index, side), (files.shape.height, files.shape.width), maps);
        sides.push(CreditedSide { answer, picture });
    }
    let sides: [CreditedSide; 2] = sides.try_into().map_err(|_| "a pair has two sides")?;
    let return_of = |side: &CreditedSide| side.answer.columns[0].1.iter().sum::<f64>();
    let of_words = return_of(&sides[0]) - return_of(&sides[1]);
    let of_pictures = sides[0].picture.reward() - sides[1].picture.reward();
    Ok(CreditedPair { index, request: String::new(), sides, margins: (of_words, of_pictures), is_refined })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(margins: (f64, f64), is_refined: bool) -> CreditedPair {
        let side = |side| CreditedSide {
            answer: CreditedAnswer {
                index: 0,
                origin: String::new(),
                side,
                text: String::new(),
                spans: None,
                tokens: Vec::new(),
                places: Vec::new(),
                wrong: None,
                given: None,
                unmeasured: None,
                columns: vec![("log_ratio", Vec::new())],
            },
            picture: CreditedPicture::of((0, side), (1, 1), super::super::image::maps::RewardMaps::default()),
        };
        CreditedPair { index: 0, request: String::new(), sides: ["chosen", "rejected"].map(side), margins, is_refined }
    }

    #[test]
    fn shares_are_of_the_sum_and_magnitudes_of_refined_pairs() {
        let pairs = [pair((1.0, 1.0), true), pair((-1.0, 3.0), true), pair((0.0, 2.0), false)];
        let summary = ShareSummary::of(&pairs, 0);
        let [words, pictures, both] = &summary.rows;
        let value = |estimate: Option<Estimate>| estimate.unwrap().value;
        assert_eq!((value(words.share), value(pictures.share), value(both.share)), (0.0, 1.0, 1.0));
        assert!((value(words.magnitude) - 0.375).abs() < 1e-12 && (value(pictures.magnitude) - 0.625).abs() < 1e-12);
        assert_eq!((value(both.margin), both.magnitude), (2.0, None));
        assert_eq!((value(words.accuracy), value(pictures.accuracy)), (0.5, 1.0));
        assert_eq!((summary.pairs, summary.refined), (3, 2));
        let text = summary.to_string();
        assert!(text.contains("words      +0.000 (") && text.contains("with a side that a refiner wrote: 2"), "{text}");
    }
}

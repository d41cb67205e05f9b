//! What an example adds to each measure.
use crate::score::{AnswerScore, AnswerScores, PictureScore, PictureScores, RefinedScores, Scored, Scores};

/// The measures that an example adds to.
pub(super) trait Measures {
    /// A share: 1 right, 0 wrong, a half for a tie.
    fn share(&mut self, name: &'static str, right: f64);

    /// A quotient of sums.
    fn ratio(&mut self, name: &'static str, numerator: f64, denominator: f64);
}

/// Adds an example, whose rewards are `beta` times log-ratios where that is known.
pub(super) fn add(scored: &Scored, to: &mut impl Measures) {
    match &scored.scores {
        Scores::Texts(texts) => add_texts(&texts.answers, to),
        Scores::Pictures(pictures) => add_pictures(pictures, to),
        Scores::Refined(refined) => add_refined(refined, to),
    }
}

/// 1 for a positive number, 0 for a negative one, a half for 0.
fn won(difference: f64) -> f64 {
    if difference > 0.0 {
        1.0
    } else if difference < 0.0 {
        0.0
    } else {
        0.5
    }
}

fn add_margin(margin: Option<f64>, to: &mut impl Measures) {
    if let Some(margin) = margin {
        to.share("rewards/accuracies", won(margin));
        to.ratio("rewards/margins", margin, 1.0);
    }
}

fn add_texts(answers: &AnswerScores, to: &mut impl Measures) {
    match answers {
        AnswerScores::Pair { chosen, rejected, margin } => {
            add_margin(*margin, to);
            add_sides(chosen, rejected, to);
        }
        AnswerScores::Ranked { ranked } => {
            if let [best, .., worst] = &ranked[..] {
                if let (Some(best), Some(worst)) = (log_ratio(best), log_ratio(worst)) {
                    to.share("rewards/accuracies", won(best - worst));
                }
                add_sides(best, worst, to);
            }
        }
        AnswerScores::Forest { answers, comparisons } => {
            for &[better, worse] in comparisons {
                let (better, worse) = (&answers[better], &answers[worse]);
                if let (Some(best), Some(worst)) = (log_ratio(better), log_ratio(worse)) {
                    to.share("rewards/accuracies", won(best - worst));
                }
                add_sides(better, worse, to);
            }
        }
        AnswerScores::Labelled { completion, label: true } | AnswerScores::Demonstration { completion } => {
            add_side(completion, CHOSEN, to);
        }
        AnswerScores::Labelled { completion, label: false } => add_side(completion, REJECTED, to),
    }
}

/// The names of an answer's log-ratio, its perplexity, and that of the reference.
type SideNames = [&'static str; 3];

const CHOSEN: SideNames = ["log_ratios/chosen", "perplexity/chosen", "perplexity/reference/chosen"];
const REJECTED: SideNames = ["log_ratios/rejected", "perplexity/rejected", "perplexity/reference/rejected"];

fn add_sides(chosen: &AnswerScore, rejected: &AnswerScore, to: &mut impl Measures) {
    to.share(
        "accuracies/likelihood",
        won(weighted(chosen, &chosen.log_probs) - weighted(rejected, &rejected.log_probs)),
    );
    add_side(chosen, CHOSEN, to);
    add_side(rejected, REJECTED, to);
}

fn add_side(answer: &AnswerScore, [ratio, own, reference]: SideNames, to: &mut impl Measures) {
    if let Some(log_ratio) = log_ratio(answer) {
        to.ratio(ratio, log_ratio, 1.0);
    }
    to.ratio(own, -total(&answer.log_probs), answer.log_probs.len() as f64);
    if let Some(log_probs) = &answer.reference_log_probs {
        to.ratio(reference, -total(log_probs), log_probs.len() as f64);
    }
}

fn total(log_probs: &[f64]) -> f64 {
    log_probs.iter().sum()
}

/// The sum of an answer's numbers with the weights of its turns.
fn weighted(answer: &AnswerScore, log_probs: &[f64]) -> f64 {
    answer.response.scored_weights().iter().zip(log_probs).map(|(weight, number)| weight * number).sum()
}

fn log_ratio(answer: &AnswerScore) -> Option<f64> {
    let reference = answer.reference_log_probs.as_ref();
    reference.map(|reference| weighted(answer, &answer.log_probs) - weighted(answer, reference))
}

fn add_pictures(pictures: &PictureScores, to: &mut impl Measures) {
    add_margin(pictures.margin, to);
    let PictureScore { error: chosen, reference_error: of_chosen } = pictures.chosen;
    let PictureScore { error: rejected, reference_error: of_rejected } = pictures.rejected;
    to.share("accuracies/errors", won(rejected - chosen));
    to.ratio("errors/chosen", chosen, 1.0);
    to.ratio("errors/rejected", rejected, 1.0);
    for (name, error) in [("errors/reference/chosen", of_chosen), ("errors/reference/rejected", of_rejected)] {
        if let Some(error) = error {
            to.ratio(name, error, 1.0);
        }
    }
}

fn add_refined(refined: &RefinedScores, to: &mut impl Measures) {
    add_margin(refined.margin, to);
    for (share, margin, of) in [
        ("accuracies/refiner", "rewards/margins/refiner", refined.margin_refiner),
        ("accuracies/generator", "rewards/margins/generator", refined.margin_generator),
    ] {
        if let Some(of) = of {
            to.share(share, won(of));
            to.ratio(margin, of, 1.0);
        }
    }
    let (chosen, rejected) = (&refined.chosen, &refined.rejected);
    for (name, side) in [("perplexity/chosen", chosen), ("perplexity/rejected", rejected)] {
        to.ratio(name, -total(&side.log_probs), side.log_probs.len() as f64);
    }
    to.share("accuracies/errors", won(rejected.error - chosen.error));
    to.ratio("errors/chosen", chosen.error, 1.0);
    to.ratio("errors/rejected", rejected.error, 1.0);
}

//! Claims, tables and charts of the verifier.
use super::{AMONG, BETA, Numbers, Proposer, Way};
use crate::result::{Chart, Claim, Point, Rule, Series, Table};
use crate::small::Lesson;
use crate::statistics::Measured;
use crate::{Figure, FigureResult, Setup};

/// The index of the most samples.
const MOST: usize = AMONG.len() - 1;

pub(super) fn figure(setup: &Setup<'_>, all: &[Numbers]) -> FigureResult {
    let sizes = setup.sizes().reasoning;
    let [problems, samples] = sizes.tried;
    let about = format!(
        "A small language model that learned sums from imperfect demonstrations ({} steps of {}) tries {problems} \
         problems {samples} times each. It imitates its right answers (STaR, {} steps), and learns by DPO from pairs of right and wrong ones \
         ({} steps, beta {BETA}); the latter is the verifier, too. Answers to {} test problems are chosen among up to {} samples by a vote, by \
         likelihoods and by the implicit reward ({} seeds). Demonstrations have a habitual mistake, which is likelier than the right way: more \
         samples repeat it.",
        sizes.base_steps,
        Lesson::BATCH,
        sizes.steps[0],
        sizes.steps[1],
        sizes.tests,
        AMONG[MOST],
        setup.sizes().seeds,
    );
    let charts = Proposer::ALL.map(|proposer| chart(all, proposer)).into();
    FigureResult { figure: Figure::Verifier, about, claims: claims(all), tables: vec![table(all), data(all)], charts }
}

/// Accuracies of a choice by seed.
fn accuracies(all: &[Numbers], proposer: Proposer, way: Way, among: usize) -> Vec<f64> {
    all.iter().map(|numbers| numbers.accuracy[proposer as usize][way as usize][among]).collect()
}

/// Accuracies of one sample by seed.
fn one(all: &[Numbers], proposer: Proposer) -> Vec<f64> {
    accuracies(all, proposer, Way::Vote, 0)
}

/// A claim that the first accuracies are higher.
fn higher(place: &str, claim: &str, what: &str, (ours, theirs): (Vec<f64>, Vec<f64>)) -> Claim {
    Claim::new(place, claim, what, Measured::of_differences(&ours, &theirs), Rule::Above(0.0))
}

fn claims(all: &[Numbers]) -> Vec<Claim> {
    let mut claims = vec![
        higher(
            "Section 6, reasoning",
            "A model improves by imitating its own right answers (STaR)",
            "accuracy of one sample after STaR less that of the base",
            (one(all, Proposer::Star), one(all, Proposer::Base)),
        ),
        higher(
            "Section 6, reasoning",
            "STaR is improved by the filtered answers as dispreferred ones",
            "accuracy of one sample after DPO less that after STaR, from the same answers",
            (one(all, Proposer::Dpo), one(all, Proposer::Star)),
        ),
    ];
    claims.extend(rankings(all));
    claims.extend(pointing(all));
    claims
}

/// The verifier's rankings of samples of STaR.
fn rankings(all: &[Numbers]) -> [Claim; 4] {
    let chosen = |proposer, way| accuracies(all, proposer, way, MOST);
    let ranked = || chosen(Proposer::Star, Way::Likelihood);
    [
        higher(
            "Section 5.2, V-STaR",
            "The verifier's likelihood ranks the answers of STaR",
            "accuracy of the likeliest by the verifier of 16 samples of STaR less that of one sample",
            (ranked(), one(all, Proposer::Star)),
        ),
        higher(
            "Section 5.2, V-STaR",
            "The verifier's likelihood chooses better than a vote",
            "accuracy of the likeliest by the verifier of 16 samples of STaR less that of their majority vote",
            (ranked(), chosen(Proposer::Star, Way::Vote)),
        ),
        higher(
            "Section 5.2, V-STaR",
            "Answers of STaR, ranked by the verifier, are better than those of a search on the verifier itself",
            "accuracy of the likeliest by the verifier of 16 samples, of STaR less of the verifier",
            (ranked(), chosen(Proposer::Dpo, Way::Likelihood)),
        ),
        higher(
            "own",
            "The implicit reward ranks better than the likelihood of the same verifier",
            "accuracy of the best rewarded of 16 samples of STaR less that of the likeliest",
            (chosen(Proposer::Star, Way::Reward), ranked()),
        ),
    ]
}

/// The step that the reward blames.
fn pointing(all: &[Numbers]) -> Option<Claim> {
    let shares: Vec<[f64; 2]> = all.iter().map(|numbers| numbers.pointing).collect::<Option<_>>()?;
    let differences: Vec<f64> = shares.iter().map(|[reward, base]| reward - base).collect();
    Some(Claim::new(
        "own",
        "Pairs of whole answers teach which step is wrong: the reward points at it better than the base's log-probability",
        "share of wrong answers whose result of least implicit reward is the first wrong one, less that by the base's log-probability",
        Measured::over_seeds(&differences),
        Rule::Above(0.0),
    ))
}

fn table(all: &[Numbers]) -> Table {
    let counts = AMONG.map(|k| if k == 1 { "1 sample".to_owned() } else { format!("{k} samples") });
    let columns: Vec<&str> = ["answers of", "chosen by"].into_iter().chain(counts.iter().map(String::as_str)).collect();
    let mut table = Table::new("Accuracy of the choice among samples", &columns);
    for proposer in Proposer::ALL {
        for way in Way::ALL {
            let cell = |at: usize| Measured::over_seeds(&accuracies(all, proposer, way, at)).to_string();
            let [one, two, four, eight, sixteen] = [0, 1, 2, 3, 4].map(cell);
            table.push([proposer.name().to_owned(), way.name().to_owned(), one, two, four, eight, sixteen]);
        }
    }
    table
}

fn data(all: &[Numbers]) -> Table {
    let mut table = Table::new(
        "What was learned from, and what the reward points at, by seed",
        &[
            "seed",
            "right answers",
            "pairs",
            "first wrong result has the least reward",
            "the least log-probability by the base",
        ],
    );
    for (nth, numbers) in all.iter().enumerate() {
        let share = |at: usize| numbers.pointing.map_or_else(|| "-".to_owned(), |shares| format!("{:.3}", shares[at]));
        let [right, pairs] = numbers.learned_from.map(|n| n.to_string());
        table.push([(nth + 1).to_string(), right, pairs, share(0), share(1)]);
    }
    table
}

fn chart(all: &[Numbers], proposer: Proposer) -> Chart {
    let (name, title) = match proposer {
        Proposer::Base => ("verifier-base", "Accuracy of the choice among samples of the base"),
        Proposer::Star => ("verifier-star", "Accuracy of the choice among samples of STaR"),
        Proposer::Dpo => ("verifier-dpo", "Accuracy of the choice among samples of the verifier"),
    };
    let series = |way: Way| Series {
        name: way.name().to_owned(),
        points: (0..AMONG.len())
            .map(|at| Point { x: AMONG[at] as f64, y: Measured::over_seeds(&accuracies(all, proposer, way, at)) })
            .collect(),
    };
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        x_label: "samples".to_owned(),
        y_label: "accuracy".to_owned(),
        is_log: true,
        series: Way::ALL.into_iter().map(series).collect(),
    }
}

//! Figure 2 and Section 5.2: likelihood search on policies that learned by DPO.
use std::fmt;

use recipes::settings::{
    Data, Model, Objective, Run, Sample, Search, SearchMethod, SearchScore, TokenSampling, TokenSearch,
};
use recipes::{Call, SampledAnswer, SearchNumbers};
use serde::{Deserialize, Serialize};

use crate::language::{BASE, Post, answer, posts};
use crate::result::{Chart, Claim, FigureResult, Point, Rule, Series, Table};
use crate::runs::FinishedRun;
use crate::statistics::{Measured, mean};
use crate::{Figure, Result, Setup};

/// The width after which the paper sees a fall.
const PEAK: usize = 5;

/// A search, as a row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// One draw.
    Sample,
    /// A beam of a width, with the exponent of the length that scores are divided by.
    Beam(usize, f64),
    /// The likeliest of so many draws.
    Likeliest(usize),
    /// The best rewarded of so many draws.
    Rewarded(usize),
    /// A tree of so many simulations.
    Mcts(usize),
    /// So many particles, weighted by the implicit reward.
    Smc(usize),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sample => f.write_str("one sample"),
            Self::Beam(1, _) => f.write_str("1 beam (greedy)"),
            Self::Beam(width, 1.0) => write!(f, "{width} beams"),
            Self::Beam(width, penalty) => write!(f, "{width} beams, length penalty {penalty}"),
            Self::Likeliest(n) => write!(f, "likeliest of {n}"),
            Self::Rewarded(n) => write!(f, "best implicit reward of {n}"),
            Self::Mcts(n) => write!(f, "MCTS, {n} simulations"),
            Self::Smc(n) => write!(f, "SMC, {n} particles"),
        }
    }
}

impl Way {
    /// The searches that one policy of every kind runs.
    fn all(setup: &Setup<'_>) -> Vec<Self> {
        let widths = setup.sizes().widths;
        let many = widths.last().copied().unwrap_or(PEAK);
        let mut ways = Self::of_figure(setup);
        ways.extend([Self::Beam(PEAK, 0.0), Self::Beam(many, 0.0)]);
        ways.extend([Self::Likeliest(PEAK), Self::Likeliest(many), Self::Rewarded(PEAK), Self::Rewarded(many)]);
        ways.extend([Self::Mcts(PEAK), Self::Mcts(many), Self::Smc(PEAK), Self::Smc(many)]);
        ways.dedup();
        ways
    }

    /// Those of the paper's figure, and a sample.
    fn of_figure(setup: &Setup<'_>) -> Vec<Self> {
        let beams = setup.sizes().widths.iter().map(|width| Self::Beam(*width, 1.0));
        std::iter::once(Self::Sample).chain(beams).collect()
    }

    /// The name of the kind, for the curves.
    fn family(self) -> &'static str {
        match self {
            Self::Sample => "one sample",
            Self::Beam(_, 1.0) => "beams",
            Self::Beam(..) => "beams, no length penalty",
            Self::Likeliest(_) => "likeliest of n",
            Self::Rewarded(_) => "best implicit reward of n",
            Self::Mcts(_) => "MCTS",
            Self::Smc(_) => "SMC",
        }
    }

    /// The word for files.
    fn word(self) -> String {
        match self {
            Self::Sample => "sample".to_owned(),
            Self::Beam(width, penalty) => format!("beam-{width}-{penalty}"),
            Self::Likeliest(n) => format!("likeliest-{n}"),
            Self::Rewarded(n) => format!("rewarded-{n}"),
            Self::Mcts(n) => format!("mcts-{n}"),
            Self::Smc(n) => format!("smc-{n}"),
        }
    }

    fn settings(self) -> Search {
        let usual = Search::default();
        let of = |method, width, score| Search { method, width, score, ..Search::default() };
        match self {
            Self::Sample => Search { method: SearchMethod::Sample, ..usual },
            Self::Beam(width, length_penalty) => {
                Search { length_penalty, ..of(SearchMethod::Beam, width, SearchScore::Likelihood) }
            }
            Self::Likeliest(n) => of(SearchMethod::BestOf, n, SearchScore::Likelihood),
            Self::Rewarded(n) => of(SearchMethod::BestOf, n, SearchScore::Implicit),
            Self::Mcts(simulations) => Search { simulations, ..of(SearchMethod::Mcts, 4, SearchScore::Likelihood) },
            Self::Smc(n) => of(SearchMethod::Smc, n, SearchScore::Implicit),
        }
    }
}

/// Means over prompts of what a search found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Searched {
    /// The win rate over one sample of the start.
    win_rate: f64,
    /// The win rate over the chosen summary, which has all facts right: ties at best.
    win_rate_chosen: f64,
    /// The oracle's score.
    score: f64,
    /// Tokens, the end included.
    length: f64,
    /// Policy evaluations a prompt.
    evaluations: f64,
}

/// A search with its results by seed.
struct Row {
    beta: f64,
    way: Way,
    by_seed: Vec<Searched>,
}

impl Row {
    fn over_seeds(&self, number: impl Fn(&Searched) -> f64) -> Measured {
        Measured::over_seeds(&self.by_seed.iter().map(number).collect::<Vec<_>>())
    }
}

/// Searches with every policy.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let mut rows: Vec<Row> = Vec::new();
    for &beta in setup.sizes().betas {
        let ways = if beta == setup.middle_beta() { Way::all(setup) } else { Way::of_figure(setup) };
        rows.extend(ways.into_iter().map(|way| Row { beta, way, by_seed: Vec::new() }));
    }
    for seed in setup.seeds() {
        let start = setup.kept(&format!("start-answers-{seed}"), || start_answers(setup, seed))?;
        for row in &mut rows {
            let policy = setup.policy(row.beta, seed)?;
            let name = format!("search-beta-{}-{}-seed-{seed}", row.beta, row.way.word());
            row.by_seed.push(setup.kept(&name, || searched(setup, &policy, row, (seed, &start)))?);
        }
    }
    let sizes = setup.sizes();
    let about = format!(
        "{} policies that learned by DPO ({} betas, {} seeds) search for summaries of {} held-out posts each. The oracle counts facts. A win is over one sample of the start, \
         ties counting half: the chosen summaries, the paper's opponents, have every fact right here, so that nothing can win \
         over them. Beams divide by the length, as transformers does by default. Intervals are over seeds; claims are about \
         the mean of the betas.",
        sizes.betas.len() as u64 * sizes.seeds,
        sizes.betas.len(),
        sizes.seeds,
        sizes.prompts
    );
    Ok(FigureResult {
        figure: Figure::Beams,
        about,
        claims: claims(setup, &rows),
        tables: vec![table(&rows)],
        charts: charts(setup, &rows),
    })
}

/// One sample of the start for each post.
fn start_answers(setup: &Setup<'_>, seed: u64) -> Result<Vec<String>> {
    let sampling = TokenSampling {
        run: Run { seed, ..Run::default() },
        model: Model { model: Some(BASE.to_owned()), ..Model::default() },
        data: Data { max_length: 256, ..Data::default() },
        sample: prompts(setup),
        ..TokenSampling::default()
    };
    let lines = recipes::sample(Call { values: sampling, reporter: &setup.hushed() })?;
    lines.iter().map(|line| Ok(answer(line)?.response.clone())).collect()
}

fn prompts(setup: &Setup<'_>) -> Sample {
    Sample { prompts: Some(BASE.to_owned()), limit: Some(setup.sizes().prompts), ..Sample::default() }
}

fn searched(setup: &Setup<'_>, policy: &FinishedRun, row: &Row, (seed, start): (u64, &[String])) -> Result<Searched> {
    let search = row.way.settings();
    let implicit = search.score == SearchScore::Implicit;
    let objective = if implicit { Objective { beta: row.beta, ..Objective::default() } } else { Objective::default() };
    let searching = TokenSearch {
        run: Run { seed, ..Run::default() },
        model: Model { model: Some(policy.model()), ..Model::default() },
        data: Data { max_length: 256, ..Data::default() },
        sample: prompts(setup),
        search,
        objective,
    };
    let lines = recipes::search(Call { values: searching, reporter: &setup.hushed() })?;
    let best = lines.iter().filter_map(|line| Some((line, line.search.filter(|search| search.rank == 1)?)));
    let posts = posts(seed, start.len());
    let mut all = Vec::new();
    for ((post, (line, search)), start) in posts.iter().zip(best).zip(start) {
        all.push(of_answer(post, (answer(line)?, search), start));
    }
    let of = |number: fn(&Searched) -> f64| mean(all.iter().map(number));
    Ok(Searched {
        win_rate: of(|one| one.win_rate),
        win_rate_chosen: of(|one| one.win_rate_chosen),
        score: of(|one| one.score),
        length: of(|one| one.length),
        evaluations: of(|one| one.evaluations),
    })
}

fn of_answer(post: &Post, (answer, search): (&SampledAnswer, SearchNumbers), start: &str) -> Searched {
    let answer = &answer.response;
    Searched {
        win_rate: post.win(answer, start),
        win_rate_chosen: post.win(answer, &post.chosen),
        score: post.score(answer).score,
        length: search.length as f64,
        evaluations: search.evaluations as f64,
    }
}

/// A number of a way by seed, the mean over betas.
fn by_seed(rows: &[Row], way: Way, number: fn(&Searched) -> f64) -> Vec<f64> {
    let of_way: Vec<&Row> = rows.iter().filter(|row| row.way == way).collect();
    let n = of_way.first().map_or(0, |row| row.by_seed.len());
    (0..n).map(|seed| mean(of_way.iter().map(|row| number(&row.by_seed[seed])))).collect()
}

fn claims(setup: &Setup<'_>, rows: &[Row]) -> Vec<Claim> {
    let widths = setup.sizes().widths;
    let many = widths.last().copied().unwrap_or(PEAK);
    let wins = |way| by_seed(rows, way, |one| one.win_rate);
    let (one, five, most) = (Way::Beam(1, 1.0), Way::Beam(PEAK, 1.0), Way::Beam(many, 1.0));
    let mut claims = vec![
        Claim::new(
            "Figure 2, left",
            "Five beams win more often than one, by 10 to 15 points in the paper",
            "win rate of 5 beams less that of 1 beam",
            Measured::of_differences(&wins(five), &wins(one)),
            Rule::Above(0.0),
        ),
        Claim::new(
            "Section 5.2",
            "Five beams win more often than samples of the same policy",
            "win rate of 5 beams less that of one sample",
            Measured::of_differences(&wins(five), &wins(Way::Sample)),
            Rule::Above(0.0),
        ),
        Claim::new(
            "Figure 2, left",
            "More than five beams win less often again",
            format!("win rate of {many} beams less that of 5 beams"),
            Measured::of_differences(&wins(most), &wins(five)),
            Rule::Below(0.0),
        ),
    ];
    claims.push(longer(rows, five, most, many));
    claims.push(at_equal_evaluations(setup, rows, five));
    claims
}

/// The length of the answers of many beams.
fn longer(rows: &[Row], five: Way, most: Way, many: usize) -> Claim {
    let lengths = |way| by_seed(rows, way, |one| one.length);
    let ratio: Vec<f64> = lengths(most).iter().zip(lengths(five)).map(|(most, five)| most / five).collect();
    Claim::new(
        "Figure 2, right",
        "The length of answers explodes with more than five beams",
        format!("tokens of answers of {many} beams over those of 5; a tenth more counts as longer"),
        Measured::over_seeds(&ratio),
        Rule::Above(1.1),
    )
}

/// Beams beside samples that cost about the same.
fn at_equal_evaluations(setup: &Setup<'_>, rows: &[Row], five: Way) -> Claim {
    let middle: Vec<Row> = rows
        .iter()
        .filter(|row| row.beta == setup.middle_beta())
        .map(|row| Row { beta: row.beta, way: row.way, by_seed: row.by_seed.clone() })
        .collect();
    let of_middle = |way| by_seed(&middle, way, |one| one.win_rate);
    Claim::new(
        "own",
        "At about the same number of evaluations, five beams win more often than the likeliest of five samples",
        format!("difference of win rates at beta {}", setup.middle_beta()),
        Measured::of_differences(&of_middle(five), &of_middle(Way::Likeliest(PEAK))),
        Rule::Above(0.0),
    )
}

fn table(rows: &[Row]) -> Table {
    let columns =
        ["beta", "search", "win rate over a start's sample", "over the chosen", "score", "tokens", "evaluations"];
    let mut table = Table::new("Summaries found by search; ties count half", &columns);
    for row in rows {
        table.push([
            row.beta.to_string(),
            row.way.to_string(),
            row.over_seeds(|one| one.win_rate).to_string(),
            row.over_seeds(|one| one.win_rate_chosen).to_string(),
            row.over_seeds(|one| one.score).to_string(),
            row.over_seeds(|one| one.length).to_string(),
            format!("{:.0}", row.over_seeds(|one| one.evaluations).value),
        ]);
    }
    table
}

fn charts(setup: &Setup<'_>, rows: &[Row]) -> Vec<Chart> {
    let by_width = |name: &str, title: &str, label: &str, number: fn(&Searched) -> f64| {
        let of_beta = |beta: f64| {
            let beams = rows.iter().filter(|row| row.beta == beta).filter_map(|row| match row.way {
                Way::Beam(width, 1.0) => Some(Point { x: width as f64, y: row.over_seeds(number) }),
                Way::Beam(..) | Way::Sample | Way::Likeliest(_) | Way::Rewarded(_) | Way::Mcts(_) | Way::Smc(_) => None,
            });
            Series { name: format!("beta {beta}"), points: beams.collect() }
        };
        let series = setup.sizes().betas.iter().map(|beta| of_beta(*beta)).collect();
        chart(name, title, ("beams", label), series)
    };
    let mut families: Vec<Series> = Vec::new();
    for row in rows.iter().filter(|row| row.beta == setup.middle_beta()) {
        let point = Point { x: row.over_seeds(|one| one.evaluations).value, y: row.over_seeds(|one| one.win_rate) };
        match families.iter_mut().find(|series| series.name == row.way.family()) {
            Some(series) => series.points.push(point),
            None => families.push(Series { name: row.way.family().to_owned(), points: vec![point] }),
        }
    }
    let win_rate = "win rate over a sample of the start";
    vec![
        by_width("beams-win-rate", "Win rate by number of beams", win_rate, |one| one.win_rate),
        by_width("beams-length", "Length of answers by number of beams", "tokens", |one| one.length),
        chart(
            "beams-evaluations",
            "Win rate by evaluations spent",
            ("policy evaluations a prompt", win_rate),
            families,
        ),
    ]
}

fn chart(name: &str, title: &str, (x_label, y_label): (&str, &str), series: Vec<Series>) -> Chart {
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        y_label: y_label.to_owned(),
        is_log: true,
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(beta: f64, way: Way, wins: [f64; 2]) -> Row {
        let one = |win_rate| Searched { win_rate, win_rate_chosen: 0.0, score: 0.0, length: 10.0, evaluations: 20.0 };
        Row { beta, way, by_seed: wins.map(one).to_vec() }
    }

    #[test]
    fn numbers_are_means_of_betas_by_seed() {
        let way = Way::Beam(5, 1.0);
        let rows = [row(0.1, way, [0.2, 0.4]), row(0.3, way, [0.4, 0.8]), row(0.3, Way::Sample, [0.0, 0.0])];
        let wins = by_seed(&rows, way, |one| one.win_rate);
        assert!((wins[0] - 0.3).abs() < 1e-12 && (wins[1] - 0.6).abs() < 1e-12);
    }
}

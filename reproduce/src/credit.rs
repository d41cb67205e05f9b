//! Figure 1 and Section 5.1: which tokens the implicit reward is laid on, and whether two errors are both found.
use std::collections::BTreeMap;
use std::ops::Range;

use datasets::synthetic::tldr::{Oracle, Split, TldrProblem};
use recipes::settings::{Data, Model, Objective, Run, TokenCredit};
use recipes::{Call, Credit, CreditedAnswer, Failure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use train::write_lines;

use crate::language::BASE;
use crate::result::{Chart, Claim, FigureResult, Point, Rule, Series, Table};
use crate::runs::FinishedRun;
use crate::statistics::{Measured, mean};
use crate::{Figure, Result, Setup};

/// The implicit reward among the kinds of credit.
const OURS: &str = "log_ratio";
/// The rival that has seen no preference.
const RIVAL: &str = "reference";
/// The most lowest tokens that are looked at.
const DEPTH: usize = 5;
/// The number of them in the claim about two errors.
const LOOKED_AT: usize = 3;

/// What the credit of one policy says of answers with one error and with two.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measures {
    /// AUROC, average precision and pointing accuracy of each kind of credit, by its name.
    kinds: BTreeMap<String, [f64; 3]>,
    /// The titles of the kinds.
    titles: BTreeMap<String, String>,
    /// The share of wrong tokens: the pointing accuracy of chance.
    chance: f64,
    stitching: Stitching,
}

/// Shares of answers with two errors, and of those with one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stitching {
    /// Both of two errors are among the k lowest tokens, for k from 1.
    both: Vec<f64>,
    /// The same by chance.
    both_by_chance: Vec<f64>,
    /// A lone error is among the k lowest tokens.
    lone: Vec<f64>,
    /// A lone error is the lowest token by chance.
    lone_by_chance: f64,
    /// The later of two errors is the lowest token, the earlier aside.
    second: f64,
}

/// Measures the credit of every policy.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let mut by_beta: Vec<(f64, Vec<Measures>)> = Vec::new();
    for &beta in setup.sizes().betas {
        let mut by_seed = Vec::new();
        for seed in setup.seeds() {
            let policy = setup.policy(beta, seed)?;
            let name = format!("credit-beta-{beta}-seed-{seed}");
            by_seed.push(setup.kept(&name, || measured(setup, &policy, beta, seed))?);
        }
        by_beta.push((beta, by_seed));
    }
    let about = format!(
        "The policies of the beams ({} betas, {} seeds) lay their implicit reward on the tokens of {} held-out summaries each, half of \
         them with one wrong fact and half with two; what is wrong is known. The lower the reward, the likelier an error. \
         Claims are about the mean of the betas, intervals are over seeds.",
        by_beta.len(),
        setup.sizes().seeds,
        2 * setup.sizes().answers
    );
    let tables = vec![kinds(setup, &by_beta)?, stitching_table(&by_beta)];
    Ok(FigureResult { figure: Figure::Credit, about, claims: claims(&by_beta), tables, charts: vec![chart(&by_beta)] })
}

/// A file of held-out answers with one wrong fact and with two, as many of each.
fn answers(setup: &Setup<'_>, seed: u64) -> Result<String> {
    let path = setup.out.join("runs").join(format!("answers-with-errors-{seed}.jsonl"));
    let (problem, n) = (TldrProblem::new(seed), setup.sizes().answers);
    let (mut left, mut lines) = ([n, n], Vec::new());
    for index in 0.. {
        if left == [0, 0] {
            break;
        }
        let pair = problem.pair(Split::Test, index);
        let spans = Oracle::wrong_spans(&pair.facts, &pair.rejected);
        let Some(left) = spans.len().checked_sub(1).and_then(|at| left.get_mut(at)).filter(|left| **left > 0) else {
            continue;
        };
        *left -= 1;
        let spans: Vec<[usize; 2]> = spans.iter().map(|span| [span.start, span.end]).collect();
        lines.push(json!({ "prompt": pair.prompt, "response": pair.rejected, "spans": spans }));
    }
    write_lines(&path, &lines)?;
    Ok(path.display().to_string())
}

fn measured(setup: &Setup<'_>, policy: &FinishedRun, beta: f64, seed: u64) -> Result<Measures> {
    let work = TokenCredit {
        run: Run { seed, ..Run::default() },
        model: Model { model: Some(policy.model()), reference: Some(BASE.to_owned()), ..Model::default() },
        data: Data { data: answers(setup, seed)?.into(), max_length: 256, ..Data::default() },
        objective: Objective { beta, ..Objective::default() },
        ..TokenCredit::default()
    };
    let Credit::Text(credit) = recipes::credit(Call { values: work, reporter: &setup.hushed() })? else {
        return Err(Failure::failed("credit of a language model is of texts"));
    };
    let summary = credit.summary.ok_or_else(|| Failure::failed("no answer has an error"))?;
    let value = |estimate: Option<recipes::Estimate>| estimate.map_or(f64::NAN, |estimate| estimate.value);
    let numbers = summary
        .rows
        .iter()
        .map(|row| (row.name.to_owned(), [value(row.auroc), value(row.average_precision), value(row.pointing)]));
    Ok(Measures {
        kinds: numbers.collect(),
        titles: summary.rows.iter().map(|row| (row.name.to_owned(), row.title.to_owned())).collect(),
        chance: summary.wrong as f64 / summary.places as f64,
        stitching: stitched(&credit.answers),
    })
}

/// Where the errors of an answer are among its tokens, the least credit first.
struct Ranked {
    /// Tokens, end tokens aside.
    n: usize,
    /// The place of each error in the order of credit, from 0, the errors in the order of the text.
    ranks: Vec<usize>,
}

impl Ranked {
    /// The ranks of an answer whose errors are one token each; others are not compared with chance so easily.
    fn of(answer: &CreditedAnswer) -> Option<Self> {
        let (wrong, (_, credit)) = (answer.wrong.as_ref()?, answer.columns.first()?);
        let mut order: Vec<usize> = (0..credit.len()).filter(|at| !answer.places[*at].is_empty()).collect();
        order.sort_by(|a, b| credit[*a].total_cmp(&credit[*b]));
        let meets = |place: &Range<usize>, span: &Range<usize>| place.start < span.end && span.start < place.end;
        let rank = |span: &Range<usize>| {
            let own = |at: &&usize| wrong[**at] && meets(&answer.places[**at], span);
            let ranks: Vec<usize> = order.iter().enumerate().filter(|(_, at)| own(at)).map(|(rank, _)| rank).collect();
            (ranks.len() == 1).then(|| ranks[0])
        };
        let ranks: Vec<usize> = answer.spans.as_ref()?.iter().map(rank).collect::<Option<_>>()?;
        Some(Self { n: order.len(), ranks })
    }

    /// Whether every error is among the k lowest tokens.
    fn has_all_within(&self, k: usize) -> bool {
        self.ranks.iter().all(|rank| *rank < k)
    }
}

fn stitched(answers: &[CreditedAnswer]) -> Stitching {
    let ranked: Vec<Ranked> = answers.iter().filter_map(Ranked::of).collect();
    of_ranked(&ranked)
}

fn of_ranked(ranked: &[Ranked]) -> Stitching {
    let with = |n: usize| ranked.iter().filter(move |answer| answer.ranks.len() == n);
    let share = |n: usize, is: &dyn Fn(&Ranked) -> bool| mean(with(n).map(|answer| f64::from(u8::from(is(answer)))));
    let by_chance = |k: usize| {
        let pairs = |n: usize| (n * n.saturating_sub(1)) as f64;
        mean(with(2).map(|answer| pairs(k) / pairs(answer.n)))
    };
    Stitching {
        both: (1..=DEPTH).map(|k| share(2, &|answer| answer.has_all_within(k))).collect(),
        both_by_chance: (1..=DEPTH).map(by_chance).collect(),
        lone: (1..=DEPTH).map(|k| share(1, &|answer| answer.has_all_within(k))).collect(),
        lone_by_chance: mean(with(1).map(|answer| 1.0 / answer.n as f64)),
        // Lowest without the first: nothing is below it but perhaps the first.
        second: share(2, &|answer| answer.ranks[1] == usize::from(answer.ranks[0] < answer.ranks[1])),
    }
}

/// A number by seed, the mean over betas.
fn by_seed(by_beta: &[(f64, Vec<Measures>)], number: impl Fn(&Measures) -> f64) -> Vec<f64> {
    let n = by_beta.first().map_or(0, |(_, by_seed)| by_seed.len());
    (0..n).map(|seed| mean(by_beta.iter().map(|(_, by_seed)| number(&by_seed[seed])))).collect()
}

fn kind(measures: &Measures, name: &str, at: usize) -> f64 {
    measures.kinds.get(name).map_or(f64::NAN, |numbers| numbers[at])
}

fn claims(by_beta: &[(f64, Vec<Measures>)]) -> Vec<Claim> {
    let number = |of: &dyn Fn(&Measures) -> f64| Measured::over_seeds(&by_seed(by_beta, of));
    vec![
        Claim::new(
            "Figure 1",
            "The implicit reward of a token is low where the answer is wrong",
            "AUROC of the reward for wrong tokens; 0.5 is chance",
            number(&|one| kind(one, OURS, 0)),
            Rule::Above(0.5),
        ),
        Claim::new(
            "Figure 1",
            "The token of least reward is an error",
            "share of answers whose token of least reward is wrong, less the share of wrong tokens",
            number(&|one| kind(one, OURS, 2) - one.chance),
            Rule::Above(0.0),
        ),
        Claim::new(
            "Section 5.1, stitching",
            "Two errors in one answer are both found",
            format!("share of answers with two errors that has both among its {LOOKED_AT} lowest tokens, less chance"),
            number(&|one| one.stitching.both[LOOKED_AT - 1] - one.stitching.both_by_chance[LOOKED_AT - 1]),
            Rule::Above(0.0),
        ),
        Claim::new(
            "Section 5.1, stitching",
            "An error after another is found as well as one alone",
            "share of second errors that are the lowest token but for the first, less the share of lone errors that are \
             the lowest token; a tenth less is allowed",
            number(&|one| one.stitching.second - one.stitching.lone[0]),
            Rule::AtLeast(-0.1),
        ),
        Claim::new(
            "own",
            "Preferences do this: the reward finds errors better than the reference's log-probability, which has seen none",
            "AUROC of the reward less that of the reference alone",
            number(&|one| kind(one, OURS, 0) - kind(one, RIVAL, 0)),
            Rule::Above(0.0),
        ),
    ]
}

fn kinds(setup: &Setup<'_>, by_beta: &[(f64, Vec<Measures>)]) -> Result<Table> {
    let mut table = Table::new(
        "How well kinds of credit find wrong tokens, the least credit first",
        &["beta", "credit", "AUROC", "average precision", "pointing accuracy"],
    );
    for (beta, by_seed) in by_beta {
        let first = by_seed.first().ok_or_else(|| Failure::failed("no seed"))?;
        // The rivals are the same for all betas, or nearly so.
        let is_shown = |name: &&String| *beta == setup.middle_beta() || name.as_str() == OURS;
        for name in first.kinds.keys().filter(is_shown) {
            let cell = |at: usize| {
                Measured::over_seeds(&by_seed.iter().map(|one| kind(one, name, at)).collect::<Vec<_>>()).to_string()
            };
            let title = first.titles.get(name).cloned().unwrap_or_else(|| name.clone());
            table.push([beta.to_string(), title, cell(0), cell(1), cell(2)]);
        }
    }
    let chance = by_seed(by_beta, |one| one.chance);
    let share = Measured::over_seeds(&chance).to_string();
    table.push(["-".to_owned(), "chance".to_owned(), "0.500".to_owned(), share.clone(), share]);
    Ok(table)
}

fn stitching_table(by_beta: &[(f64, Vec<Measures>)]) -> Table {
    let columns = ["lowest tokens", "a lone error is among them", "two errors both are", "both by chance"];
    let mut table = Table::new("Stitching: errors among the lowest tokens of an answer, mean of the betas", &columns);
    for k in 0..DEPTH {
        let cell = |of: &dyn Fn(&Stitching) -> f64| {
            Measured::over_seeds(&by_seed(by_beta, |one| of(&one.stitching))).to_string()
        };
        table.push([
            (k + 1).to_string(),
            cell(&|one| one.lone[k]),
            cell(&|one| one.both[k]),
            cell(&|one| one.both_by_chance[k]),
        ]);
    }
    table
}

fn chart(by_beta: &[(f64, Vec<Measures>)]) -> Chart {
    let series = |name: &str, of: &dyn Fn(&Stitching, usize) -> f64| Series {
        name: name.to_owned(),
        points: (0..DEPTH)
            .map(|k| Point {
                x: (k + 1) as f64,
                y: Measured::over_seeds(&by_seed(by_beta, |one| of(&one.stitching, k))),
            })
            .collect(),
    };
    Chart {
        name: "credit-stitching".to_owned(),
        title: "Errors among the lowest tokens of an answer".to_owned(),
        x_label: "lowest tokens".to_owned(),
        y_label: "share of answers".to_owned(),
        is_log: false,
        series: vec![
            series("one error, found", &|one, k| one.lone[k]),
            series("two errors, both found", &|one, k| one.both[k]),
            series("two errors, by chance", &|one, k| one.both_by_chance[k]),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_errors_are_counted_by_rank() {
        let answer = |ranks: &[usize]| Ranked { n: 10, ranks: ranks.to_vec() };
        let found = of_ranked(&[answer(&[0]), answer(&[4]), answer(&[1, 0]), answer(&[0, 1]), answer(&[0, 2])]);
        assert_eq!(found.lone, [0.5, 0.5, 0.5, 0.5, 1.0]);
        assert_eq!(found.both[..3], [0.0, 2.0 / 3.0, 1.0]);
        assert!((found.both_by_chance[1] - 2.0 / 90.0).abs() < 1e-12);
        assert!((found.lone_by_chance - 0.1).abs() < 1e-12);
        // The third's second error has another token below it that is no error.
        assert!((found.second - 2.0 / 3.0).abs() < 1e-12);
    }
}

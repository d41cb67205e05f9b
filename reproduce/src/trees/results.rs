//! Claims and tables of conversation trees.
use super::{BATCH, BETA, Numbers, Quality, Way};
use crate::result::{Claim, FigureResult, Rule, Table};
use crate::small::Lesson;
use crate::statistics::{Measured, mean};
use crate::{Figure, Setup};

pub(super) fn figure(setup: &Setup<'_>, all: &[Numbers]) -> FigureResult {
    let sizes = setup.sizes().trees;
    let about = format!(
        "A clerk, a small language model, repeats in each of three turns what a user has brought; it learned from demonstrations that \
         are often wrong or rude ({} steps of {}). Trees of conversations have four ranked replies to every user's turn, 28 in \
         all. From the same {} trees it learns by DPO (beta {BETA}, one pass in {} steps): each tree as one forest, in which what replies \
         share is computed once; every pair of siblings by itself; pairs of neighbouring ranks; the best and the worst. Accuracy is of \
         the implicit reward on all pairs of {} held-out trees, grades (0 to 3) are of replies to held-out users, {} seeds.",
        sizes.base_steps,
        Lesson::BATCH,
        sizes.trees,
        sizes.trees.div_ceil(BATCH),
        sizes.tests,
        setup.sizes().seeds,
    );
    let claims = cost(all).into_iter().chain(learning(all)).chain(comparisons(all)).collect();
    let tables = vec![tokens(all), ways(all), turns(all)];
    FigureResult { figure: Figure::Trees, about, claims, tables, charts: Vec::new() }
}

fn over_seeds(all: &[Numbers], number: impl Fn(&Numbers) -> f64) -> Measured {
    Measured::over_seeds(&all.iter().map(number).collect::<Vec<_>>())
}

fn accuracies(all: &[Numbers], way: Way) -> Vec<f64> {
    all.iter().map(|numbers| numbers.ways[way as usize].accuracy).collect()
}

fn grade(quality: &Quality) -> f64 {
    mean(quality.grades)
}

/// What a forest saves, and that it is the same loss.
fn cost(all: &[Numbers]) -> [Claim; 2] {
    let of = |numbers: &Numbers, way: Way| numbers.ways[way as usize].tokens as f64;
    [
        Claim::new(
            "Section 6, multi-turn",
            "A conversation as one forest costs less than its pairs of siblings",
            "tokens computed by all pairs, each with its prompt shared, over those of the forests",
            over_seeds(all, |numbers| of(numbers, Way::All) / of(numbers, Way::Forest)),
            Rule::Above(1.0),
        ),
        Claim::new(
            "Section 6, multi-turn",
            "It has the same loss",
            "greatest difference between the loss of a held-out forest and the mean of its pairs'",
            Measured::exact(all.iter().map(|numbers| numbers.losses.difference).fold(0.0, f64::max)),
            Rule::Below(1e-4),
        ),
    ]
}

/// What is learned.
fn learning(all: &[Numbers]) -> [Claim; 2] {
    let gained = |numbers: &Numbers, grade: &dyn Fn(&Quality) -> f64| {
        grade(&numbers.ways[Way::Forest as usize].quality) - grade(&numbers.base)
    };
    [
        Claim::new(
            "Section 6, multi-turn",
            "A policy learns from trees of conversations",
            "mean grade of replies after DPO on forests less that before",
            over_seeds(all, |numbers| gained(numbers, &grade)),
            Rule::Above(0.0),
        ),
        Claim::new(
            "Section 6, multi-turn",
            "It does so in the last turn, too, behind turns that are given",
            "mean grade of replies to the third turn after DPO on forests less that before",
            over_seeds(all, |numbers| gained(numbers, &|quality| quality.grades[quality.grades.len() - 1])),
            Rule::Above(0.0),
        ),
    ]
}

/// By which pairs it is learned.
fn comparisons(all: &[Numbers]) -> [Claim; 3] {
    let less = |ours, theirs| Measured::of_differences(&accuracies(all, ours), &accuracies(all, theirs));
    [
        Claim::new(
            "own",
            "Forests teach what their pairs teach",
            "held-out accuracy of forests less that of all pairs; 0.02 less is allowed",
            less(Way::Forest, Way::All),
            Rule::AtLeast(-0.02),
        ),
        Claim::new(
            "own",
            "All pairs of siblings teach more than those of neighbouring ranks",
            "held-out accuracy of all pairs less that of adjacent pairs, as many steps",
            less(Way::All, Way::Adjacent),
            Rule::Above(0.0),
        ),
        Claim::new(
            "own",
            "All pairs of siblings teach more than the best and the worst",
            "held-out accuracy of all pairs less that of the best and the worst, as many steps",
            less(Way::All, Way::BestWorst),
            Rule::Above(0.0),
        ),
    ]
}

fn tokens(all: &[Numbers]) -> Table {
    let mut table = Table::new(
        "Tokens that a pass computes, with what an item shares once",
        &["items", "comparisons", "tokens", "of the forests'"],
    );
    for way in Way::ALL {
        let of = |numbers: &Numbers| numbers.ways[way as usize].tokens as f64;
        let ratio = |numbers: &Numbers| of(numbers) / numbers.ways[Way::Forest as usize].tokens as f64;
        let comparisons = over_seeds(all, |numbers| numbers.ways[way as usize].comparisons as f64);
        table.push([
            way.name().to_owned(),
            comparisons.to_string(),
            over_seeds(all, of).to_string(),
            over_seeds(all, ratio).to_string(),
        ]);
    }
    let unshared = |numbers: &Numbers| numbers.unshared as f64;
    let ratio = |numbers: &Numbers| unshared(numbers) / numbers.ways[Way::Forest as usize].tokens as f64;
    let comparisons = over_seeds(all, |numbers| numbers.ways[Way::All as usize].comparisons as f64);
    table.push([
        "all pairs, nothing shared".to_owned(),
        comparisons.to_string(),
        over_seeds(all, unshared).to_string(),
        over_seeds(all, ratio).to_string(),
    ]);
    table
}

fn ways(all: &[Numbers]) -> Table {
    let columns = ["learned from", "held-out accuracy", "mean grade", "right lists", "good manner"];
    let mut table = Table::new("What is learned, by the pairs that are compared", &columns);
    let cells = |quality: &dyn Fn(&Numbers) -> Quality| {
        let cell = |number: fn(&Quality) -> f64| over_seeds(all, |numbers| number(&quality(numbers))).to_string();
        [cell(grade), cell(|quality| quality.right), cell(|quality| quality.polite)]
    };
    let [grade, right, polite] = cells(&|numbers| numbers.base);
    table.push(["nothing (the base)".to_owned(), "-".to_owned(), grade, right, polite]);
    for way in Way::ALL {
        let [grade, right, polite] = cells(&|numbers| numbers.ways[way as usize].quality);
        let accuracy = Measured::over_seeds(&accuracies(all, way)).to_string();
        table.push([way.name().to_owned(), accuracy, grade, right, polite]);
    }
    table
}

fn turns(all: &[Numbers]) -> Table {
    let mut table = Table::new("Mean grade of replies by turn", &["learned from", "first", "second", "third"]);
    let mut push = |name: &str, quality: &dyn Fn(&Numbers) -> Quality| {
        let [first, second, third] =
            [0, 1, 2].map(|at| over_seeds(all, |numbers| quality(numbers).grades[at]).to_string());
        table.push([name.to_owned(), first, second, third]);
    };
    push("nothing (the base)", &|numbers| numbers.base);
    for way in Way::ALL {
        push(way.name(), &|numbers| numbers.ways[way as usize].quality);
    }
    table
}

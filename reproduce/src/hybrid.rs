//! Figure 4 and Appendix D: a refiner and a generator that learn from one preference.
use std::path::Path;

use datasets::images::Pixels;
use datasets::synthetic::chimera::{Oracle, Wanted};
use recipes::settings::{
    Data, Hybrid, HybridSampling, HybridSearch, HybridTraining, Model, Objective, Optimizer, OptimizerName, Run,
    Sample, Search, SearchMethod, Train,
};
use recipes::{Call, Failure, Sampled};
use serde::{Deserialize, Serialize};
use train::Decay;

use crate::result::{Claim, FigureResult, Rule, Table};
use crate::runs::FinishedRun;
use crate::statistics::{Measured, mean};
use crate::{Figure, Result, Setup};

/// The rows of a comparison, as runs name them.
const ROWS: [&str; 5] = ["base", "refiner alone", "generator alone", "both, separately", "joint"];
/// Refined prompts of a search, and pictures of each.
const WIDTH: [usize; 2] = [4, 2];
/// The data and prompts.
const PROBLEM: &str = "builtin:chimera";

/// What a way of choosing pictures gives, as means over requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Chosen {
    /// The oracle's score.
    score: f64,
    /// Evaluations of either half a request; 0 where they are not counted.
    evaluations: f64,
}

/// Ways of choosing a picture by the joint policy, with their names.
const WAYS: [(&str, Option<SearchMethod>); 3] = [
    ("one sample", None),
    ("likeliest of 8 refinements, a picture each", Some(SearchMethod::BestOf)),
    ("beam over refinements, 2 pictures of each of 4", Some(SearchMethod::Refinements)),
];

/// Trains both halves jointly and alone, and searches refinements.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let (mut runs, mut chosen) = (Vec::new(), vec![Vec::new(); WAYS.len()]);
    for seed in setup.seeds() {
        let run = setup.run(&format!("chimera-seed-{seed}"), training(setup, seed), setup.sizes().pictures)?;
        for ((_, method), by_seed) in WAYS.iter().zip(&mut chosen) {
            let word = method.map_or("sample".to_owned(), |method| method.to_string());
            let name = format!("chimera-{word}-seed-{seed}");
            by_seed.push(setup.kept(&name, || pictures(setup, &run, *method, seed, &name))?);
        }
        runs.push(run);
    }
    let sizes = setup.sizes();
    let about = format!(
        "A refiner rewrites requests for a generator of pictures, and both learn from preferences between pictures (Eq. 15 and 16): \
         jointly, and each half with the other held still ({} steps of 8 pairs, the same pairs; {} seeds). The oracle scores \
         pictures of {} test requests by the share of what was asked for. Pictures of {} of them are then searched for.",
        sizes.hybrid_steps, sizes.seeds, sizes.pictures, sizes.requests
    );
    Ok(FigureResult {
        figure: Figure::Hybrid,
        about,
        claims: claims(&runs, &chosen)?,
        tables: vec![table(&runs)?, search_table(&chosen)],
        charts: Vec::new(),
    })
}

/// The embedded run at another size.
fn training(setup: &Setup<'_>, seed: u64) -> HybridTraining {
    let sizes = setup.sizes();
    let batch_size = 8;
    HybridTraining {
        run: Run { seed, ..Run::default() },
        hybrid: Hybrid { compare: true, ..halves() },
        data: Data {
            data: PROBLEM.into(),
            limit: Some(batch_size * sizes.hybrid_steps),
            max_length: 96,
            ..Data::default()
        },
        objective: Objective { beta: 0.3, gamma: 100.0, sft_weight: 0.1, ..Objective::default() },
        optimizer: Optimizer {
            name: OptimizerName::Adamw,
            lr: 1e-4,
            warmup_steps: (sizes.hybrid_steps / 8).min(10),
            schedule: Decay::Cosine,
            max_grad_norm: 1.0,
            ..Optimizer::default()
        },
        train: Train {
            batch_size,
            micro_batch_size: batch_size,
            max_steps: Some(sizes.hybrid_steps),
            eval_examples: 0,
            n_samples: 0,
            ..Train::default()
        },
        ..HybridTraining::default()
    }
}

fn halves() -> Hybrid {
    Hybrid {
        refiner: Some(format!("{PROBLEM}-refiner")),
        generator: Some(format!("{PROBLEM}-generator")),
        refiner_lr: Some(1e-3),
        ..Hybrid::default()
    }
}

/// Scores the first picture of each request, found in a way.
fn pictures(
    setup: &Setup<'_>,
    run: &FinishedRun,
    method: Option<SearchMethod>,
    seed: u64,
    name: &str,
) -> Result<Chosen> {
    let out = setup.out.join("runs").join(format!("{name}.jsonl"));
    let of_run = Run { seed, out: Some(out.display().to_string()), ..Run::default() };
    let model = Model { model: Some(run.model()), ..Model::default() };
    let sample = Sample { prompts: Some(PROBLEM.to_owned()), limit: Some(setup.sizes().requests), ..Sample::default() };
    let data = Data { max_length: 96, ..Data::default() };
    let reporter = &setup.hushed();
    let lines = match method {
        None => {
            let work = HybridSampling { run: of_run, model, sample, data, ..HybridSampling::default() };
            recipes::sample(Call { values: work, reporter })?
        }
        Some(method) => {
            let [refinements, pictures] = WIDTH;
            let width = if method == SearchMethod::Refinements { refinements } else { refinements * pictures };
            let search = Search { method, width, pictures, ..Search::default() };
            let work = HybridSearch { run: of_run, model, sample, data, search, ..HybridSearch::default() };
            recipes::search(Call { values: work, reporter })?
        }
    };
    scored(&lines, &out)
}

/// The means of pictures beside a file, the first of each request.
fn scored(lines: &[Sampled], out: &Path) -> Result<Chosen> {
    let (mut scores, mut evaluations) = (Vec::new(), Vec::new());
    for line in lines.iter().filter(|line| line.search.is_none_or(|search| search.rank == 1)) {
        let request = line.prompt();
        let picture = line.image().ok_or_else(|| Failure::failed("a hybrid policy answers with pictures"))?;
        let picture = out.with_file_name(picture);
        let wanted = Wanted::from_request(request)
            .ok_or_else(|| Failure::failed(format!("the oracle knows no request `{request}`")))?;
        let picture = image::open(&picture).map_err(|e| Failure::failed(format!("{}: {e}", picture.display())))?;
        scores.push(Oracle::score(&wanted, &Pixels::from_rgb8(&picture.to_rgb8())));
        evaluations.push(line.search.map_or(0.0, |search| search.evaluations as f64));
    }
    Ok(Chosen { score: mean(scores), evaluations: mean(evaluations) })
}

fn scores(runs: &[FinishedRun], row: &str) -> Result<Vec<f64>> {
    runs.iter().map(|run| Ok(run.of(row)?.score)).collect()
}

fn wins(runs: &[FinishedRun], row: &str) -> Result<Vec<f64>> {
    runs.iter().map(|run| run.of(row)?.win_rate.ok_or_else(|| Failure::failed("no win rate"))).collect()
}

fn claims(runs: &[FinishedRun], chosen: &[Vec<Chosen>]) -> Result<Vec<Claim>> {
    let joint = scores(runs, "joint")?;
    let mut claims = vec![Claim::new(
        "Appendix D",
        "The whole system can be optimised end to end with the hybrid DPO objective",
        "win rate of the joint policy over the start",
        Measured::over_seeds(&wins(runs, "joint")?),
        Rule::Above(0.5),
    )];
    for (row, claim) in [
        ("refiner alone", "Joint training is better than training the refiner alone"),
        ("generator alone", "Joint training is better than training the generator alone"),
        (
            "both, separately",
            "Joint training fits the halves to each other: it is better than both halves trained separately",
        ),
    ] {
        claims.push(Claim::new(
            "Figure 4, Appendix D",
            claim,
            format!("score of joint less that of {row}"),
            Measured::of_differences(&joint, &scores(runs, row)?),
            Rule::Above(0.0),
        ));
    }
    let by_way = |way: usize| chosen[way].iter().map(|chosen| chosen.score).collect::<Vec<f64>>();
    for (way, (name, ..)) in WAYS.iter().enumerate().skip(1) {
        claims.push(Claim::new(
            "Section 5.2, Appendix D",
            "Search by likelihood on the joint policy finds better pictures than samples",
            format!("score, {name}, less that of one sample"),
            Measured::of_differences(&by_way(way), &by_way(0)),
            Rule::Above(0.0),
        ));
    }
    Ok(claims)
}

fn table(runs: &[FinishedRun]) -> Result<Table> {
    let columns = ["policy", "score", "win rate over the base"];
    let mut table = Table::new("Joint training and halves, pictures of test requests", &columns);
    for row in ROWS {
        let win = if row == ROWS[0] { "-".to_owned() } else { Measured::over_seeds(&wins(runs, row)?).to_string() };
        table.push([row.to_owned(), Measured::over_seeds(&scores(runs, row)?).to_string(), win]);
    }
    Ok(table)
}

fn search_table(chosen: &[Vec<Chosen>]) -> Table {
    let columns = ["picture of the joint policy", "score", "evaluations a request"];
    let mut table = Table::new("Search over refinements and their pictures, by likelihood", &columns);
    for ((name, method), by_seed) in WAYS.iter().zip(chosen) {
        let of = |number: fn(&Chosen) -> f64| Measured::over_seeds(&by_seed.iter().map(number).collect::<Vec<_>>());
        let spent = of(|chosen| chosen.evaluations).value;
        let spent = if method.is_some() { format!("{spent:.0}") } else { "-".to_owned() };
        table.push([(*name).to_owned(), of(|chosen| chosen.score).to_string(), spent]);
    }
    table
}

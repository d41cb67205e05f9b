//! Figure 3, left, and Section 5.3: the rewards of chosen and rejected answers during training, by the start.
use datasets::synthetic::tldr::{Split, TldrProblem};
use recipes::settings::{Data, Loss, Model, Objective, Run, Sample, TokenSampling, TokenScoring};
use recipes::{AnswerScores, Call, Failure, Scored, Scores, TextScores};
use serde::{Deserialize, Serialize};
use serde_json::json;
use train::write_lines;

use crate::language::{BASE, Dpo, answer, training};
use crate::result::{Chart, Claim, FigureResult, Rule, Series, Table};
use crate::runs::{FinishedRun, mean_curve};
use crate::statistics::{Measured, mean};
use crate::{Figure, Result, Setup};

/// The rejected side of pairs of which one side alone is scored.
const OTHER: &str = " nothing";

/// Where DPO starts from, and what it stays close to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The base after SFT on the chosen answers: the paper's usual recipe.
    Chosen,
    /// The base after SFT on the chosen and the rejected answers.
    Both,
    /// The base, whose demonstrations were of other posts.
    Base,
    /// Random weights: no SFT at all.
    Untrained,
}

impl Start {
    const ALL: [Self; 4] = [Self::Chosen, Self::Both, Self::Base, Self::Untrained];

    fn name(self) -> &'static str {
        match self {
            Self::Chosen => "SFT on chosen",
            Self::Both => "SFT on both",
            Self::Base => "base (other demonstrations)",
            Self::Untrained => "without SFT (random weights)",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Both => "both",
            Self::Base => "base",
            Self::Untrained => "untrained",
        }
    }
}

/// The curves of all seeds from one start.
struct Curves {
    start: Start,
    runs: Vec<FinishedRun>,
    /// The mean reward of the reference's own answers by seed; empty where it has none.
    own: Vec<Own>,
}

/// The reward of the reference's own answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Own {
    /// The mean over answers of the implicit reward, in nats times beta.
    reward: f64,
}

/// Trains from every start.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let mut all = Vec::new();
    for start in Start::ALL {
        all.push(curves(setup, start)?);
    }
    let sizes = setup.sizes();
    let about = format!(
        "The embedded language model learns by DPO from pairs of summaries (beta {}, {} steps of 32 pairs, {} seeds) after SFT \
         on the chosen answers ({} steps), after SFT on both, as it is, and from random weights. Rewards are those of \
         {} held-out pairs; intervals are over seeds.",
        setup.middle_beta(),
        sizes.dpo_steps,
        sizes.seeds,
        sizes.sft_steps,
        sizes.held_out
    );
    let (claims, table) = (claims(&all)?, table(&all)?);
    Ok(FigureResult { figure: Figure::Dynamics, about, claims, tables: vec![table], charts: charts(&all)? })
}

fn curves(setup: &Setup<'_>, start: Start) -> Result<Curves> {
    let (mut runs, mut own) = (Vec::new(), Vec::new());
    for seed in setup.seeds() {
        let model = model(setup, start, seed)?;
        let sizes = setup.sizes();
        let finished = if start == Start::Base {
            setup.policy(setup.middle_beta(), seed)?
        } else {
            let dpo = Dpo { start: &model, ..Dpo::of_base(setup.middle_beta(), seed, sizes.dpo_steps) };
            setup.run(&format!("dpo-after-{}-seed-{seed}", start.word()), dpo.settings(sizes.held_out), 0)?
        };
        // Random weights end few answers, and what is cut is no answer of theirs.
        if start != Start::Untrained {
            let name = format!("own-answers-{}-seed-{seed}", start.word());
            own.push(setup.kept(&name, || own_answers(setup, (&model, &finished), seed, &name))?);
        }
        runs.push(finished);
    }
    Ok(Curves { start, runs, own })
}

/// The model that a start is, trained where it is not embedded.
fn model(setup: &Setup<'_>, start: Start, seed: u64) -> Result<String> {
    let data = match start {
        Start::Base => return Ok(BASE.to_owned()),
        Start::Untrained => return Ok(format!("{BASE}-untrained")),
        Start::Chosen => BASE.to_owned(),
        Start::Both => both_answers(setup, seed)?,
    };
    let sizes = setup.sizes();
    let objective = Objective { name: Loss::Sft, ..Objective::default() };
    let settings = training(BASE, &data, (seed, sizes.sft_steps), (1e-4, 0), objective);
    Ok(setup.run(&format!("sft-{}-seed-{seed}", start.word()), settings, 0)?.model())
}

/// A file with the chosen and the rejected answers of the training pairs as demonstrations.
fn both_answers(setup: &Setup<'_>, seed: u64) -> Result<String> {
    let path = setup.out.join("runs").join(format!("both-answers-{seed}.jsonl"));
    let problem = TldrProblem::new(seed);
    let n = 16 * setup.sizes().sft_steps as u64;
    let lines = (0..n).flat_map(|index| {
        let pair = problem.pair(Split::Train, index);
        [pair.chosen, pair.rejected].map(|answer| json!({ "prompt": pair.prompt, "completion": answer }))
    });
    write_lines(&path, lines)?;
    Ok(path.display().to_string())
}

/// Samples answers of the start, in a file of pairs.
fn answers_of(setup: &Setup<'_>, start: &str, seed: u64, name: &str) -> Result<String> {
    let sampling = TokenSampling {
        run: Run { seed, ..Run::default() },
        model: Model { model: Some(start.to_owned()), ..Model::default() },
        data: Data { max_length: 256, ..Data::default() },
        sample: Sample {
            prompts: Some(BASE.to_owned()),
            limit: Some(setup.sizes().prompts),
            n: 2,
            ..Sample::default()
        },
        ..TokenSampling::default()
    };
    let drawn = recipes::sample(Call { values: sampling, reporter: &setup.hushed() })?;
    let path = setup.out.join("runs").join(format!("{name}.jsonl"));
    let mut lines = Vec::new();
    for drawn in &drawn {
        let answer = answer(drawn)?;
        if answer.finished && !answer.response.is_empty() {
            // What is scored comes in pairs; the other side is not looked at.
            lines.push(json!({ "prompt": answer.prompt, "chosen": answer.response, "rejected": OTHER }));
        }
    }
    if lines.is_empty() {
        return Err(Failure::failed(format!("{start} finishes no answer")));
    }
    write_lines(&path, &lines)?;
    Ok(path.display().to_string())
}

/// The mean reward of answers of the start by the policy (Eq. 14, whose expectation is over these).
fn own_answers(setup: &Setup<'_>, (start, policy): (&str, &FinishedRun), seed: u64, name: &str) -> Result<Own> {
    let answers = answers_of(setup, start, seed, name)?;
    let scoring = TokenScoring {
        model: Model { model: Some(policy.model()), reference: Some(start.to_owned()), ..Model::default() },
        data: Data { data: answers.into(), max_length: 512, ..Data::default() },
        objective: Objective { beta: setup.middle_beta(), ..Objective::default() },
        ..TokenScoring::default()
    };
    let scored = recipes::score(Call { values: scoring, reporter: &setup.hushed() })?;
    let reward = |line: &Scored| match &line.scores {
        Scores::Texts(TextScores { answers: AnswerScores::Pair { chosen, .. }, .. }) => {
            let reference = chosen.reference_log_probs.iter().flatten().sum::<f64>();
            Ok(setup.middle_beta() * (chosen.log_probs.iter().sum::<f64>() - reference))
        }
        Scores::Texts(_) | Scores::Pictures(_) | Scores::Refined(_) => {
            Err(Failure::failed("pairs of texts have other scores"))
        }
    };
    let rewards = scored.iter().map(reward).collect::<Result<Vec<f64>>>()?;
    Ok(Own { reward: mean(rewards) })
}

impl Curves {
    /// The last numbers of a metric.
    fn last(&self, name: &str) -> Result<Vec<f64>> {
        self.runs.iter().map(|run| run.last(name)).collect()
    }

    /// The last mean of the rewards of both sides.
    fn average(&self) -> Result<Vec<f64>> {
        let (chosen, rejected) = (self.last("rewards/chosen")?, self.last("rewards/rejected")?);
        Ok(chosen.iter().zip(rejected).map(|(chosen, rejected)| 0.5 * (chosen + rejected)).collect())
    }

    fn own(&self) -> Vec<f64> {
        self.own.iter().map(|own| own.reward).collect()
    }
}

fn claims(all: &[Curves]) -> Result<Vec<Claim>> {
    let of = |start: Start| {
        all.iter().find(|curves| curves.start == start).ok_or_else(|| Failure::failed("a start has no curves"))
    };
    let (chosen, both, untrained) = (of(Start::Chosen)?, of(Start::Both)?, of(Start::Untrained)?);
    let claim = |place, claim, what: &str, numbers: Vec<f64>, rule| {
        Claim::new(place, claim, what, Measured::over_seeds(&numbers), rule)
    };
    let mut claims = vec![
        claim(
            "Figure 3, left",
            "With SFT on the chosen answers before DPO, the reward of the chosen answers falls",
            "reward of chosen answers at the end",
            chosen.last("rewards/chosen")?,
            Rule::Below(0.0),
        ),
        claim(
            "Figure 3, left",
            "With SFT before DPO, the reward of the rejected answers falls",
            "reward of rejected answers at the end, after SFT on chosen",
            chosen.last("rewards/rejected")?,
            Rule::Below(0.0),
        ),
        claim(
            "Figure 3, left",
            "The margin between them rises nevertheless",
            "margin at the end, after SFT on chosen",
            chosen.last("rewards/margins")?,
            Rule::Above(0.0),
        ),
    ];
    claims.push(claim(
        "Section 5.3",
        "Where the reference is the distribution of the data, the average reward of the data falls",
        "mean reward of both sides at the end, after SFT on both",
        both.average()?,
        Rule::Below(0.0),
    ));
    claims.push(untrained_claim(untrained)?);
    claims.extend(of_own_answers(all));
    Ok(claims)
}

/// Without SFT.
fn untrained_claim(untrained: &Curves) -> Result<Claim> {
    Ok(Claim::new(
        "Figure 3, left",
        "Without SFT the reward of the chosen answers stays above 0",
        "reward of chosen answers at the end, from random weights",
        Measured::over_seeds(&untrained.last("rewards/chosen")?),
        Rule::Above(0.0),
    ))
}

/// Eq. 14 for every start whose answers were sampled.
fn of_own_answers(all: &[Curves]) -> impl Iterator<Item = Claim> {
    all.iter().filter(|curves| !curves.own.is_empty()).map(|curves| {
        Claim::new(
            "Eq. 14",
            "The reward of the reference's own answers falls in expectation, whatever the data",
            format!("mean reward of answers sampled from the start, {}", curves.start.name()),
            Measured::over_seeds(&curves.own()),
            Rule::Below(0.0),
        )
    })
}

fn table(all: &[Curves]) -> Result<Table> {
    let columns = ["start", "chosen", "rejected", "margin", "accuracy", "KL(reference, policy) a token", "own answers"];
    let mut table =
        Table::new("Held-out rewards at the end of DPO, and the reward of the start's own answers", &columns);
    for curves in all {
        let cell = |name: &str| Ok::<_, Failure>(Measured::over_seeds(&curves.last(name)?).to_string());
        table.push([
            curves.start.name().to_owned(),
            cell("rewards/chosen")?,
            cell("rewards/rejected")?,
            cell("rewards/margins")?,
            cell("rewards/accuracies")?,
            cell("divergence")?,
            if curves.own.is_empty() { "-".to_owned() } else { Measured::over_seeds(&curves.own()).to_string() },
        ]);
    }
    Ok(table)
}

fn charts(all: &[Curves]) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    for (name, metric, label) in [
        ("dynamics-chosen", "rewards/chosen", "reward of chosen answers"),
        ("dynamics-rejected", "rewards/rejected", "reward of rejected answers"),
        ("dynamics-margin", "rewards/margins", "margin"),
        ("dynamics-divergence", "divergence", "KL(reference, policy) a token, nats"),
    ] {
        let mut series = Vec::new();
        for curves in all {
            let curve = curves.runs.iter().map(|run| run.curve(metric)).collect::<Result<Vec<_>>>()?;
            series.push(Series { name: curves.start.name().to_owned(), points: mean_curve(&curve) });
        }
        charts.push(Chart {
            name: name.to_owned(),
            title: format!("{} during DPO, by the start", capital(label)),
            x_label: "step".to_owned(),
            y_label: label.to_owned(),
            is_log: false,
            series,
        });
    }
    Ok(charts)
}

/// A text that begins with a capital letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

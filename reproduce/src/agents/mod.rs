//! Section 6: an agent that looks things up, and learns from preferences between whole trajectories.
mod results;
mod rewards;

use datasets::synthetic::lookup::{
    Clerk, END_OF_TEXT, LookupProblem, Oracle, Question, Reading, Split, prompt_tokens, tokenizer_json,
};
use mdp::chance::Noise;
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf, InWorld, Mdp};
use models::causal::CausalLm;
use models::formats::ModelFiles;
use policies::Agent;
use recipes::Failure;
use serde::{Deserialize, Serialize};

use self::rewards::Rewards;
use crate::small::{Lesson, Preferring, Small, Tried, right_and_wrong, right_ones, sampled};
use crate::statistics::mean;
use crate::{FigureResult, Result, Scale, Setup};

/// The strength of the KL penalty.
const BETA: f64 = 1.0;
/// Learning rates of the base, of imitation, and of DPO.
const RATES: [f64; 3] = [3e-3, 1e-3, 2e-4];
/// Weight of the better trajectory's likelihood in the loss of DPO.
const SFT_WEIGHT: f64 = 0.1;
/// The most pairs of a question.
const PAIRS: usize = 2;
/// Trajectories of a test question.
const SAMPLES: usize = 4;

/// The problem of the language model, and in the clerk's world.
struct Office {
    small: Small,
    mdp: InWorld<TokenMdp, Clerk>,
}

/// How an agent learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learned {
    /// From demonstrations.
    Base,
    /// By imitation of its trajectories of the right outcome.
    Star,
    /// By DPO, the clerk's replies being given.
    Dpo,
    /// By DPO, the clerk's replies being scored as if the policy had said them.
    Unmasked,
}

impl Learned {
    const ALL: [Self; 4] = [Self::Base, Self::Star, Self::Dpo, Self::Unmasked];

    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Star => "imitation of successes",
            Self::Dpo => "DPO",
            Self::Unmasked => "DPO, replies scored",
        }
    }
}

/// What an agent does with test questions: shares of trajectories.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Conduct {
    /// The outcome is right.
    success: f64,
    /// Both lookups are the right ones, and there is no other.
    looks_right: f64,
    /// The answer is what was found last.
    is_faithful: f64,
    /// The register is the right one: first lookups that ask who bought and who built, second ones that ask for a home and a
    /// job. 0 if there is none.
    registers: [f64; 4],
}

/// What was measured with a seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbers {
    conduct: Vec<Conduct>,
    /// Successes that were imitated, and pairs.
    learned_from: [usize; 2],
    rewards: Option<Rewards>,
}

/// A trajectory with what the oracle reads in it.
struct Trajectory {
    question: Question,
    episode: EpisodeOf<TokenMdp>,
    end: TokenState,
    reading: Reading,
}

impl Trajectory {
    fn judged(&self) -> (&EpisodeOf<TokenMdp>, bool) {
        (&self.episode, self.reading.is_right)
    }

    /// All tokens as decisions.
    fn unmasked(end: &TokenState) -> EpisodeOf<TokenMdp> {
        Episode::whole(TokenState::new(std::sync::Arc::clone(&end.prompt)), end.response.clone())
    }
}

/// Trains and judges with every seed.
pub(crate) fn run(setup: &Setup<'_>) -> Result<FigureResult> {
    let small = Small::new(tokenizer_json(), END_OF_TEXT, 48)?;
    let mdp = InWorld { mdp: small.mdp.clone(), world: Clerk };
    let office = Office { small, mdp };
    let mut all: Vec<Numbers> = Vec::new();
    for seed in setup.seeds() {
        all.push(setup.kept(&format!("agents-seed-{seed}"), || numbers(setup, &office, seed))?);
    }
    Ok(results::figure(setup, &all))
}

/// The base, which learned from demonstrations.
fn base(setup: &Setup<'_>, office: &Office, seed: u64) -> Result<ModelFiles> {
    let size = if setup.scale == Scale::Full { (64, 3) } else { (16, 1) };
    let (start, steps) = (office.small.untrained(size, seed)?, setup.sizes().agents.base_steps);
    let lesson = Lesson { seed, steps, rate: RATES[0] };
    setup.imitated(&format!("agents-base-seed-{seed}"), (&office.small.mdp, &start), lesson, || {
        let problem = LookupProblem::new(seed);
        let shown = |index| {
            let shown = problem.demonstration(Split::Train, index);
            office.mdp.episode(TokenState::new(prompt_tokens(&shown.question)), shown.decisions)
        };
        Ok((0..(steps * Lesson::BATCH) as u64).map(shown).collect())
    })
}

/// Several trajectories of a policy for each question.
fn trajectories(
    setup: &Setup<'_>,
    (office, model): (&Office, &CausalLm),
    questions: &[Question],
    n: usize,
    rng: &mut mdp::Rng,
) -> Result<Vec<Vec<Trajectory>>> {
    let prompt = |question: &Question| TokenState::new(prompt_tokens(question));
    let starts: Vec<TokenState> = questions.iter().flat_map(|question| vec![prompt(question); n]).collect();
    let mut episodes = sampled(setup, &office.mdp, &Agent(model), &starts, rng)?.into_iter();
    let mut all = Vec::with_capacity(questions.len());
    for question in questions {
        let read = |episode: EpisodeOf<TokenMdp>| -> Result<Trajectory> {
            let end = episode.end(&office.mdp).ok_or_else(|| Failure::failed("a trajectory without a start"))?;
            Ok(Trajectory { question: *question, reading: Oracle::read(question, &end.response), episode, end })
        };
        all.push(episodes.by_ref().take(n).map(read).collect::<Result<Vec<_>>>()?);
    }
    Ok(all)
}

/// Samples, learns in every way from what was sampled, and judges.
fn numbers(setup: &Setup<'_>, office: &Office, seed: u64) -> Result<Numbers> {
    let base = base(setup, office, seed)?;
    let (sizes, noise) = (setup.sizes().agents, Noise::new(seed));
    let problem = LookupProblem::new(seed);
    let questions: Vec<Question> = (0..sizes.tried[0]).map(|index| problem.question(Split::Train, index)).collect();
    let model = base.clone().frozen()?;
    let n = sizes.tried[1] as usize;
    let tried = trajectories(setup, (office, &model), &questions, n, &mut noise.stream("tries", 0))?;
    let tried: Vec<Tried<'_>> =
        tried.iter().map(|trajectories| trajectories.iter().map(Trajectory::judged).collect()).collect();
    let (right, pairs) = (right_ones(&tried), right_and_wrong(&tried, PAIRS));
    let learned_from = [right.len(), pairs.len()];
    let unmasked = unmasked(office, &pairs)?;
    let (start, preferring) = ((&office.small.mdp, &base), Preferring { beta: BETA, sft_weight: SFT_WEIGHT });
    let lesson = |at: usize| Lesson { seed, steps: sizes.steps[at], rate: RATES[1 + at] };
    let star = setup.imitated(&format!("agents-star-seed-{seed}"), start, lesson(0), || Ok(right))?;
    let dpo = setup.preferring(&format!("agents-dpo-seed-{seed}"), start, (lesson(1), preferring), pairs)?;
    let name = format!("agents-dpo-unmasked-seed-{seed}");
    let unmasked = setup.preferring(&name, start, (lesson(1), preferring), unmasked)?;
    let models = [model, star.frozen()?, dpo.frozen()?, unmasked.frozen()?];
    judged(setup, office, &models, (problem, noise), learned_from)
}

/// The pairs with every token as a decision.
fn unmasked(office: &Office, pairs: &[[EpisodeOf<TokenMdp>; 2]]) -> Result<Vec<[EpisodeOf<TokenMdp>; 2]>> {
    let side = |episode: &EpisodeOf<TokenMdp>| -> Result<EpisodeOf<TokenMdp>> {
        let end = episode.end(&office.mdp).ok_or_else(|| Failure::failed("a trajectory without a start"))?;
        Ok(Trajectory::unmasked(&end))
    };
    pairs.iter().map(|[better, worse]| Ok([side(better)?, side(worse)?])).collect()
}

/// Judges every agent's trajectories for the test questions.
fn judged(
    setup: &Setup<'_>,
    office: &Office,
    models: &[CausalLm; 4],
    (problem, noise): (LookupProblem, Noise),
    learned_from: [usize; 2],
) -> Result<Numbers> {
    let tests: Vec<Question> =
        (0..setup.sizes().agents.tests).map(|index| problem.question(Split::Test, index)).collect();
    let (mut conduct, mut rewards) = (Vec::new(), None);
    for learned in Learned::ALL {
        let (model, rng) = (&models[learned as usize], &mut noise.stream("tests", learned as u64));
        let found = trajectories(setup, (office, model), &tests, SAMPLES, rng)?;
        let found: Vec<Trajectory> = found.into_iter().flatten().collect();
        if learned == Learned::Base {
            rewards = rewards::measured(office, models, &found)?;
        }
        conduct.push(self::conduct(&found));
    }
    Ok(Numbers { conduct, learned_from, rewards })
}

fn conduct(found: &[Trajectory]) -> Conduct {
    let share = |is: &dyn Fn(&Trajectory) -> bool| mean(found.iter().map(|one| f64::from(u8::from(is(one)))));
    let mut kinds: [Vec<f64>; 4] = Default::default();
    for one in found {
        let kind = [one.question.relation as usize, 2 + one.question.attribute as usize];
        let right = one.question.lookups();
        for ((kind, right), (_, lookup)) in kind.into_iter().zip(right).zip(&one.reading.lookups) {
            kinds[kind].push(f64::from(u8::from(lookup.register == right.register)));
        }
    }
    Conduct {
        success: share(&|one| one.reading.is_right),
        looks_right: share(&|one| one.reading.looks_right),
        is_faithful: share(&|one| one.reading.is_faithful),
        registers: kinds.map(|kind| if kind.is_empty() { 0.0 } else { mean(kind) }),
    }
}

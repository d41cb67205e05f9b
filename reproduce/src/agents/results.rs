//! Claims, tables and charts of agents.
use super::rewards::Rewards;
use super::{BETA, Conduct, Learned, Numbers, SAMPLES, SFT_WEIGHT};
use crate::result::{Claim, FigureResult, Rule, Table};
use crate::small::Lesson;
use crate::statistics::Measured;
use crate::{Figure, Setup};

/// Where an agent must look, with the words of tables.
const KINDS: [&str; 4] = ["who bought it", "who built it (habit: who bought it)", "a home", "a job (habit: a home)"];

pub(super) fn figure(setup: &Setup<'_>, all: &[Numbers]) -> FigureResult {
    let sizes = setup.sizes().agents;
    let [questions, samples] = sizes.tried;
    let about = format!(
        "A small language model writes calls, a clerk replies with what a register has, and after two lookups the model answers. It \
         learned from demonstrations that often look in the wrong register ({} steps of {}). Nothing but the outcome of \
         {samples} trajectories of each of {questions} questions is judged: it imitates successes ({} steps), or learns by DPO from pairs of a right and \
         a wrong outcome ({} steps, beta {BETA}, with a weight of {SFT_WEIGHT} on the likelihood of the right one). Replies are given: they are in no loss. As a control they are scored like the policy's own \
         words. {} test questions, {SAMPLES} trajectories of each, {} seeds.",
        sizes.base_steps,
        Lesson::BATCH,
        sizes.steps[0],
        sizes.steps[1],
        sizes.tests,
        setup.sizes().seeds,
    );
    let mut claims = claims(all);
    claims.extend(comparisons(all));
    let mut tables = vec![conduct(all), registers(all), data(all)];
    if let Some(rewards) = all.iter().map(|numbers| numbers.rewards).collect::<Option<Vec<Rewards>>>() {
        claims.extend(claims_of_rewards(&rewards));
        tables.push(rewards_table(&rewards));
    }
    FigureResult { figure: Figure::Agents, about, claims, tables, charts: Vec::new() }
}

/// A number of an agent by seed.
fn by_seed(all: &[Numbers], learned: Learned, number: impl Fn(&Conduct) -> f64) -> Vec<f64> {
    all.iter().map(|numbers| number(&numbers.conduct[learned as usize])).collect()
}

fn claims(all: &[Numbers]) -> Vec<Claim> {
    let less = |ours, theirs, number: fn(&Conduct) -> f64| {
        Measured::of_differences(&by_seed(all, ours, number), &by_seed(all, theirs, number))
    };
    let (dpo, base) = (Learned::Dpo, Learned::Base);
    vec![
        Claim::new(
            "Section 6, agents",
            "An agent learns from preferences between whole trajectories, which judge the outcome alone",
            "share of right outcomes after DPO less that before",
            less(dpo, base, |one| one.success),
            Rule::Above(0.0),
        ),
        Claim::new(
            "Section 6, agents",
            "It learns to explore: where to look",
            "share of trajectories with the right lookups after DPO less that before",
            less(dpo, base, |one| one.looks_right),
            Rule::Above(0.0),
        ),
        Claim::new(
            "own",
            "It looks in the right register also where demonstrations mostly did not",
            "share of right registers among lookups with a wrong habit, after DPO",
            Measured::over_seeds(&by_seed(all, dpo, |one| 0.5 * (one.registers[1] + one.registers[3]))),
            Rule::Above(0.5),
        ),
    ]
}

/// DPO beside other ways to learn from the same trajectories.
fn comparisons(all: &[Numbers]) -> [Claim; 2] {
    let success = |learned| by_seed(all, learned, |one| one.success);
    let less = |theirs| Measured::of_differences(&success(Learned::Dpo), &success(theirs));
    [
        Claim::new(
            "own",
            "Failures teach more than the imitation of successes",
            "share of right outcomes after DPO less that after imitation, from the same trajectories",
            less(Learned::Star),
            Rule::Above(0.0),
        ),
        Claim::new(
            "own",
            "Nothing is lost by leaving the replies of tools out of the loss",
            "share of right outcomes after DPO less that after DPO with replies scored; 0.02 less is allowed",
            less(Learned::Unmasked),
            Rule::AtLeast(-0.02),
        ),
    ]
}

fn claims_of_rewards(all: &[Rewards]) -> Vec<Claim> {
    let over_seeds = |number: fn(&Rewards) -> f64| Measured::over_seeds(&all.iter().map(number).collect::<Vec<_>>());
    vec![
        Claim::new(
            "own",
            "The implicit reward knows the right register from the wrong one, though outcomes alone were judged",
            "log-ratio of DPO and base at the register of a right lookup less that of a wrong one, in nats",
            over_seeds(|one| one.registers[0] - one.registers[1]),
            Rule::Above(0.0),
        ),
        Claim::new(
            "own",
            "The decision of the least reward is a wrong lookup, if there is one",
            "share of trajectories with a wrong lookup whose least rewarded decision is its register, less chance",
            over_seeds(|one| one.pointing[0] - one.pointing[1]),
            Rule::Above(0.0),
        ),
    ]
}

fn conduct(all: &[Numbers]) -> Table {
    let columns = ["agent", "right outcome", "right lookups", "answers what was found"];
    let mut table = Table::new("What agents do, as shares of trajectories", &columns);
    for learned in Learned::ALL {
        let cell = |number: fn(&Conduct) -> f64| Measured::over_seeds(&by_seed(all, learned, number)).to_string();
        let name = learned.name().to_owned();
        table.push([name, cell(|one| one.success), cell(|one| one.looks_right), cell(|one| one.is_faithful)]);
    }
    table
}

fn registers(all: &[Numbers]) -> Table {
    let [bought, built, home, job] = KINDS;
    let columns = ["agent", bought, built, home, job];
    let mut table =
        Table::new("Where agents look: share of lookups in the right register, by what they must find", &columns);
    for learned in Learned::ALL {
        let cell = |at: usize| Measured::over_seeds(&by_seed(all, learned, |one| one.registers[at])).to_string();
        let [bought, built, home, job] = [0, 1, 2, 3].map(cell);
        table.push([learned.name().to_owned(), bought, built, home, job]);
    }
    table
}

fn data(all: &[Numbers]) -> Table {
    let mut table = Table::new("What was learned from, by seed", &["seed", "successes", "pairs"]);
    for (nth, numbers) in all.iter().enumerate() {
        let [right, pairs] = numbers.learned_from.map(|n| n.to_string());
        table.push([(nth + 1).to_string(), right, pairs]);
    }
    table
}

fn rewards_table(all: &[Rewards]) -> Table {
    let mut table = Table::new("Log-ratios of policy and base over the base's trajectories, in nats", &["at", "mean"]);
    let mut push = |at: &str, number: fn(&Rewards) -> f64| {
        let measured = Measured::over_seeds(&all.iter().map(number).collect::<Vec<_>>());
        table.push([at.to_owned(), measured.to_string()]);
    };
    push("the register of a right lookup", |one| one.registers[0]);
    push("the register of a wrong lookup", |one| one.registers[1]);
    push("other decisions, their size", |one| one.others);
    push("tokens of replies, their size", |one| one.replies[0]);
    push("tokens of replies, their size, if replies are scored", |one| one.replies[1]);
    table
}

//! Defines your own world with a tool, and an agent that learns to use it.
//!
//! A traveller packs an umbrella or sunscreen. The weather is unknown, but the forecast can be asked, which knows it, or a friend,
//! who always says that the sun will shine. Who packed right is known afterwards, and nothing else: the agent learns from
//! preferences between whole trips where to ask, and what to make of the reply. The replies are given, so no loss sees them.
//!
//! Run it with `cargo run --example 07_agent`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::cmp::Ordering;
use std::error::Error;

use hybrid_dpo::mdp::{self, Enumerable, EpisodeOf, InWorld, Mdp, Rng, World, laws};
use hybrid_dpo::objectives::{Logistic, Pairwise};
use hybrid_dpo::policies::{Agent, Policy, Tabular};
use hybrid_dpo::search::{Greedy, LogProbs, Search};
use hybrid_dpo::train::{Preferences, Settings, Training};
use rand::SeedableRng;

/// What is said on a trip: by the agent first, by the world the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    AskForecast,
    AskFriend,
    Umbrella,
    Sunscreen,
    Rain,
    Sun,
}

use Word::{AskForecast, AskFriend, Rain, Sun, Sunscreen, Umbrella};

const WORDS: [Word; 6] = [AskForecast, AskFriend, Umbrella, Sunscreen, Rain, Sun];

/// A trip so far. The weather is the world's: trips on which the same was said are the same to the agent.
#[derive(Clone, Debug)]
struct Trip {
    weather: Word,
    said: Vec<Word>,
}

impl PartialEq for Trip {
    fn eq(&self, other: &Self) -> bool {
        self.said == other.said
    }
}

impl Eq for Trip {}

impl PartialOrd for Trip {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Trip {
    fn cmp(&self, other: &Self) -> Ordering {
        self.said.cmp(&other.said)
    }
}

impl Trip {
    fn is_asking(&self) -> bool {
        matches!(self.said.last(), Some(AskForecast | AskFriend))
    }

    fn is_packed_right(&self) -> bool {
        self.said.last() == Some(if self.weather == Rain { &Umbrella } else { &Sunscreen })
    }
}

/// The problem alone: who may say what. One may ask once, before packing.
struct Travel;

impl Mdp for Travel {
    type Context = Word; // the weather
    type State = Trip;
    type Action = Word;

    fn start(&self, weather: &Word) -> Trip {
        Trip { weather: *weather, said: Vec::new() }
    }

    fn step(&self, trip: &Trip, word: &Word) -> Trip {
        let mut next = trip.clone();
        next.said.push(*word);
        next
    }

    fn is_terminal(&self, trip: &Trip) -> bool {
        matches!(trip.said.last(), Some(Umbrella | Sunscreen))
    }

    fn allows(&self, trip: &Trip, word: &Word) -> bool {
        match word {
            AskForecast | AskFriend => trip.said.is_empty(),
            Umbrella | Sunscreen => !trip.is_asking(),
            Rain | Sun => trip.is_asking(),
        }
    }
}

impl Enumerable for Travel {
    fn n_actions(&self) -> usize {
        WORDS.len()
    }

    fn action(&self, index: usize) -> Word {
        WORDS[index]
    }

    fn action_index(&self, word: &Word) -> usize {
        *word as usize
    }
}

/// The world: it replies to what is asked, and to nothing else.
struct Tools;

impl World<Travel> for Tools {
    fn reply(&self, trip: &Trip) -> Vec<Word> {
        match trip.said.last() {
            Some(AskForecast) => vec![trip.weather],
            Some(AskFriend) => vec![Sun],
            _ => Vec::new(),
        }
    }
}

/// The share of trips of an agent with a property.
fn share(trips: &[Trip], is: impl Fn(&Trip) -> bool) -> f64 {
    trips.iter().filter(|trip| is(trip)).count() as f64 / trips.len() as f64
}

/// Pairs of trips in the same weather, of which one was packed right: the only feedback there is.
fn preferences(world: &InWorld<Travel, Tools>, trips: &[EpisodeOf<Travel>]) -> Preferences<Travel> {
    let ends: Vec<Trip> = trips.iter().filter_map(|trip| trip.end(world)).collect();
    let pairs = trips.chunks(2).zip(ends.chunks(2)).filter_map(|(trips, ends)| match (trips, ends) {
        ([a, b], [end, other]) if end.is_packed_right() && !other.is_packed_right() => Some((a.clone(), b.clone())),
        ([a, b], [end, other]) if !end.is_packed_right() && other.is_packed_right() => Some((b.clone(), a.clone())),
        _ => None,
    });
    pairs.collect()
}

/// The first test of every new world: does it keep the laws?
fn check(world: &InWorld<Travel, Tools>, rng: &mut Rng) -> Result<(), mdp::MdpError> {
    let choose = |trip: &Trip, rng: &mut Rng| {
        let allowed = Travel.allowed(trip);
        Some(WORDS[allowed[mdp::chance::below(rng, allowed.len() as u64) as usize]])
    };
    laws::check_world(world, &[Rain, Sun], laws::Walks::default(), rng, choose)
}

/// DPO as for any problem: the policy alone learns from the turns of its agent.
fn learn(policy: &mut Tabular<Travel>, data: &Preferences<Travel>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (reference, objective) = (Tabular::new(&Travel), Pairwise::new(Logistic::new(0.3)?));
    let settings = Settings {
        batch_size: 100,
        micro_batch_size: 100,
        epochs: Some(40),
        rate: 2.0,
        warmup_steps: 0,
        ..Settings::default()
    };
    let training = Training::new(&Travel, data, &objective).reference(&reference).settings(settings);
    for (step, learned) in training.steps(policy)?.enumerate() {
        let loss = learned?.loss;
        if step % 50 == 0 {
            println!("step {step:>3}: loss {loss:.4}");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let world = InWorld { mdp: Travel, world: Tools };
    let mut rng = Rng::seed_from_u64(0);
    check(&world, &mut rng)?;

    // An agent that knows nothing travels a thousand times in either weather. Each turn of it is a piece of its episode.
    let mut policy = Tabular::new(&world.mdp);
    let starts: Vec<Trip> = (0..2000).map(|day| world.start(if day % 4 < 2 { &Rain } else { &Sun })).collect();
    let trips = Agent(&policy).rollout(&world, &starts, &mut rng)?;
    let before: Vec<Trip> = trips.iter().filter_map(|trip| trip.end(&world)).collect();
    learn(&mut policy, &preferences(&world, &trips))?;

    // What it does in the world afterwards: by chance, and at its best, which is a search like any other.
    let agent = Agent(&policy);
    let trips = agent.rollout(&world, &starts, &mut rng)?;
    let after: Vec<Trip> = trips.iter().filter_map(|trip| trip.end(&world)).collect();
    let likelihood = LogProbs::likelihood();
    let search = Search::new(&world, &agent, &likelihood);
    for start in &starts[1..3] {
        let found = search.run(&Greedy::default(), std::slice::from_ref(start), &[9], &mut [Rng::seed_from_u64(0)])?;
        let end = found[0].found[0].episode.end(&world).ok_or("no episode")?;
        println!("in {:?}: {:?}", end.weather, end.said);
    }
    let asks = |trip: &Trip| trip.said[0] == AskForecast;
    println!("asks the forecast: {:.3} of trips before, {:.3} after", share(&before, asks), share(&after, asks));
    let [before, after] = [before, after].map(|trips| share(&trips, Trip::is_packed_right));
    println!("packed right: {before:.3} of trips before, after {after:.3}");
    Ok(())
}

//! Where the implicit reward of trajectories lies.
use mdp::EpisodeOf;
use mdp::token::TokenMdp;
use models::causal::CausalLm;
use policies::Policy;
use serde::{Deserialize, Serialize};

use super::{Learned, Office, Trajectory};
use crate::Result;
use crate::statistics::mean;

/// Log-ratios of policy and base, in nats, over the base's own trajectories.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Rewards {
    /// Their mean at the register of a right lookup, and of a wrong one.
    pub(super) registers: [f64; 2],
    /// Their mean size at the other decisions.
    pub(super) others: f64,
    /// Share of trajectories with a wrong lookup whose decision of the least log-ratio is the register of one, and that share by
    /// chance.
    pub(super) pointing: [f64; 2],
    /// Their mean size at a token of a reply: of DPO, and of DPO that scores replies.
    pub(super) replies: [f64; 2],
}

/// Measures the rewards of decisions by DPO, and what both policies make of replies; `None` if some of these do not occur.
pub(super) fn measured(office: &Office, models: &[CausalLm; 4], found: &[Trajectory]) -> Result<Option<Rewards>> {
    let whole: Vec<EpisodeOf<TokenMdp>> = found.iter().map(|one| Trajectory::unmasked(&one.end)).collect();
    let base = &models[Learned::Base as usize];
    let reference = base.score(&office.small.mdp, &whole)?.log_probs;
    let ratios = |learned: Learned| -> Result<Vec<Vec<f64>>> {
        let policy = models[learned as usize].score(&office.small.mdp, &whole)?.log_probs;
        let rows = policy.rows().zip(reference.rows());
        Ok(rows.map(|(policy, base)| policy.iter().zip(base).map(|(a, b)| a - b).collect()).collect())
    };
    let (masked, unmasked) = (ratios(Learned::Dpo)?, ratios(Learned::Unmasked)?);
    let mut sums = Sums::default();
    for ((one, masked), unmasked) in found.iter().zip(&masked).zip(&unmasked) {
        sums.add(one, masked, unmasked);
    }
    Ok(sums.means())
}

/// Numbers by kind of token.
#[derive(Default)]
struct Sums {
    right: Vec<f64>,
    wrong: Vec<f64>,
    others: Vec<f64>,
    replies: [Vec<f64>; 2],
    pointing: [Vec<f64>; 2],
}

impl Sums {
    /// Adds a trajectory with the log-ratios of all its tokens.
    fn add(&mut self, one: &Trajectory, masked: &[f64], unmasked: &[f64]) {
        let places: Vec<usize> = decisions(&one.episode);
        let right = one.question.lookups();
        let registers: Vec<(usize, bool)> = (one.reading.lookups.iter().zip(right))
            .map(|((place, lookup), right)| (*place, lookup.register == right.register))
            .collect();
        for (place, is_right) in &registers {
            let numbers = if *is_right { &mut self.right } else { &mut self.wrong };
            numbers.push(masked[*place]);
        }
        let is_register = |place: &usize| registers.iter().any(|(register, _)| register == place);
        self.others.extend(places.iter().filter(|place| !is_register(place)).map(|place| masked[*place].abs()));
        for place in (0..masked.len()).filter(|place| !places.contains(place)) {
            self.replies[0].push(masked[place].abs());
            self.replies[1].push(unmasked[place].abs());
        }
        let is_wrong = |place: usize| registers.contains(&(place, false));
        let n_wrong = registers.iter().filter(|(_, is_right)| !is_right).count();
        let least = places.iter().copied().min_by(|a, b| masked[*a].total_cmp(&masked[*b]));
        if let Some(least) = least.filter(|_| n_wrong > 0) {
            self.pointing[0].push(f64::from(u8::from(is_wrong(least))));
            self.pointing[1].push(n_wrong as f64 / places.len() as f64);
        }
    }

    fn means(self) -> Option<Rewards> {
        let some = |numbers: Vec<f64>| (!numbers.is_empty()).then(|| mean(numbers));
        let [masked, unmasked] = self.replies.map(some);
        let [pointing, chance] = self.pointing.map(some);
        Some(Rewards {
            registers: [some(self.right)?, some(self.wrong)?],
            others: some(self.others)?,
            pointing: [pointing?, chance?],
            replies: [masked?, unmasked?],
        })
    }
}

/// The places of an episode's decisions among all tokens of its response.
fn decisions(episode: &EpisodeOf<TokenMdp>) -> Vec<usize> {
    let turn = |turn: &mdp::Piece<mdp::token::TokenState, u32>| {
        let first = turn.start.response.len();
        first..first + turn.actions.len()
    };
    episode.pieces.iter().flat_map(turn).collect()
}

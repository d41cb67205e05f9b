//! Ranks whose policies sum gradients themselves, as those do whose devices can.
use std::thread;

use mdp::{Channels, EpisodeOf, Rng};
use policies::{Learner, Peers, Persist, Policy, PolicyError, Proposal, VisitGradient};

use super::*;
use crate::{Ranks, Source as _, Threads};

type Words = EpisodeOf<TokenMdp>;

/// A table that sums its gradient by a way of its own, and gets it wrong by a factor.
struct Summing<'r> {
    table: Tabular<TokenMdp>,
    way: &'r Threads,
    factor: f64,
    has_joined: bool,
}

impl Policy<TokenMdp> for Summing<'_> {
    fn propose(
        &self,
        mdp: &TokenMdp,
        states: &[mdp::token::TokenState],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<u32>>>, PolicyError> {
        self.table.propose(mdp, states, k, rng)
    }

    fn sample(
        &self,
        mdp: &TokenMdp,
        states: &[mdp::token::TokenState],
        rng: &mut Rng,
    ) -> Result<Vec<u32>, PolicyError> {
        self.table.sample(mdp, states, rng)
    }

    fn score(&self, mdp: &TokenMdp, episodes: &[Words]) -> Result<Channels, PolicyError> {
        self.table.score(mdp, episodes)
    }
}

impl Learner<TokenMdp> for Summing<'_> {
    type Tape = <Tabular<TokenMdp> as Learner<TokenMdp>>::Tape;

    fn forward(&self, mdp: &TokenMdp, episodes: &[Words]) -> Result<(Channels, Self::Tape), PolicyError> {
        self.table.forward(mdp, episodes)
    }

    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), PolicyError> {
        self.table.backward(tape, slopes)
    }

    fn visit_gradients(&mut self, _: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        Err("a gradient that is summed where it lies is visited".into())
    }

    fn join(&mut self, peers: &dyn Peers) -> Result<(), PolicyError> {
        assert!(!self.has_joined, "policies join once");
        let rank = self.way.rank();
        assert_eq!(peers.rank(), rank);
        assert_eq!(peers.gather(&[255, rank as u8][..=rank]), [vec![255], vec![255, 1]]);
        self.has_joined = true;
        Ok(())
    }

    fn sums_gradient(&self) -> bool {
        self.has_joined
    }

    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        let (way, factor) = (self.way, self.factor);
        self.table.visit_gradients(&mut |_, slopes| {
            way.sum(slopes);
            for slope in slopes.iter_mut() {
                *slope *= factor;
            }
            Ok(())
        })
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        self.table.gradient_norm()
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        self.table.update(rate, max_gradient_norm)
    }
}

impl Persist for Summing<'_> {
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        self.table.save_checkpoint(folder)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        self.table.restore_checkpoint(folder)
    }

    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        self.table.export(folder)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        self.table.fingerprint()
    }
}

/// Trains on two ranks, whose policies may sum, with these factors; the weights of each, or why there are none.
fn trained(path: &Path, factors: Option<[f64; 2]>) -> Vec<Result<String, String>> {
    let one = |ranks: Threads| {
        let (data, objective, reference) = (pairs(8), dpo(), Tabular::new(&MDP));
        let data = TokenSource::<Comparison>::new(&data, 6);
        // A row appears when it is first needed, and all ranks have the same rows.
        let mut table = Tabular::new(&MDP);
        for index in 0..data.len() {
            let (numbers, tape) = table.forward(&MDP, &data.item(index).unwrap().episodes).unwrap();
            table.backward(tape, &Channels::from(numbers.log_probs.filled(0.0))).unwrap();
        }
        table.update(0.0, None).unwrap();
        let training = Training::new(&MDP, &data, &objective).reference(&reference).settings(settings()).ranks(&ranks);
        let Some(factors) = factors else {
            training.run(&mut table, path).map_err(|error| error.to_string())?;
            return table.fingerprint().map_err(|error| error.to_string());
        };
        let factor = factors[ranks.rank()];
        let mut summing = Summing { table, way: &ranks, factor, has_joined: false };
        training.run(&mut summing, path).map_err(|error| error.to_string())?;
        assert!(summing.has_joined);
        summing.fingerprint().map_err(|error| error.to_string())
    };
    let one = &one;
    thread::scope(|scope| {
        let running: Vec<_> = Threads::new(2).into_iter().map(|ranks| scope.spawn(move || one(ranks))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn policies_that_sum_gradients_themselves_take_the_same_steps() {
    let ((_one, visited), (_other, summed)) = (fresh(), fresh());
    let weights = trained(&visited, None);
    assert!(weights[0].is_ok() && weights[0] == weights[1], "{weights:?}");
    assert_eq!(trained(&summed, Some([1.0, 1.0])), weights);
    let metrics = |path: &Path| untimed(&std::fs::read_to_string(path.join("metrics.jsonl")).unwrap());
    assert_eq!(metrics(&summed), metrics(&visited));
}

#[test]
fn sums_that_differ_end_the_run_everywhere() {
    let (_guard, path) = fresh();
    for refusal in trained(&path, Some([1.0, 1.0 + 1e-12])) {
        let message = refusal.unwrap_err();
        assert!(message.starts_with("step 0: rank 1 has got another sum"), "{message}");
    }
}

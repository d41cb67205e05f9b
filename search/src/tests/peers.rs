//! Beams compared with `generate` of transformers (`tests/golden/search/beams.py` made the numbers).

use mdp::token::{TokenMdp, TokenState};
use mdp::{Channels, EpisodeOf, Rng, Steps};
use policies::{Policy, PolicyError, Proposal};
use serde_json::Value;

use super::rngs;
use crate::{Beam, EarlyStopping, Greedy, LogProbs, Search};

/// A language model whose logits are a table of the last two tokens.
struct Table {
    vocabulary: usize,
    logits: Vec<f64>,
}

impl Table {
    fn log_probs(&self, state: &TokenState) -> Vec<f64> {
        let mut back = state.response.iter().rev().chain(state.prompt.iter().rev()).map(|&token| token as usize);
        let (last, before) = (back.next().unwrap_or(0), back.next().unwrap_or(0));
        let row = &self.logits[(before * self.vocabulary + last) * self.vocabulary..][..self.vocabulary];
        let normaliser = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        row.iter().map(|logit| logit - normaliser).collect()
    }
}

impl Policy<TokenMdp> for Table {
    fn propose(
        &self,
        _mdp: &TokenMdp,
        states: &[TokenState],
        k: usize,
        _rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<u32>>>, PolicyError> {
        let list = |state: &TokenState| {
            let log_probs = self.log_probs(state);
            let mut order: Vec<usize> = (0..self.vocabulary).collect();
            order.sort_by(|a, b| log_probs[*b].total_cmp(&log_probs[*a]));
            let proposal = |token: usize| {
                let log_prob = log_probs[token];
                Proposal { action: token as u32, log_prob, prior: log_prob.exp() }
            };
            order.into_iter().take(k).map(proposal).collect()
        };
        Ok(states.iter().map(list).collect())
    }

    fn sample(&self, mdp: &TokenMdp, states: &[TokenState], rng: &mut Rng) -> Result<Vec<u32>, PolicyError> {
        Ok(self.propose(mdp, states, 1, rng)?.into_iter().flatten().map(|proposal| proposal.action).collect())
    }

    fn score(&self, mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, PolicyError> {
        let row = |episode: &EpisodeOf<TokenMdp>| -> Vec<f64> {
            let piece = &episode.pieces[0];
            let walk = piece.actions.iter().scan(piece.start.clone(), |state, token| {
                let log_prob = self.log_probs(state)[*token as usize];
                *state = mdp::Mdp::step(mdp, state, token);
                Some(log_prob)
            });
            walk.collect()
        };
        Ok(episodes.iter().map(row).collect::<Steps>().into())
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn tokens(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|token| token as u32).collect()
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[test]
fn beams_are_those_of_transformers_token_for_token() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/search/beams.json")).unwrap();
    let vocabulary = count(&golden["vocabulary"]);
    let table = |logits: &Value| Table { vocabulary, logits: numbers(logits) };
    let tables: Vec<Table> = golden["tables"].as_array().unwrap().iter().map(table).collect();
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let (width, eos) = (count(&case["width"]), tokens(&case["eos"]));
        let early_stopping = match &case["early_stopping"] {
            Value::Bool(true) => EarlyStopping::WhenFull,
            Value::Bool(false) => EarlyStopping::Heuristic,
            _ => EarlyStopping::Never,
        };
        let length_penalty = case["length_penalty"].as_f64().unwrap();
        let beam = Beam { n: width, length_penalty, early_stopping, candidates: 1 + eos.len(), ..Beam::new(width) };
        let mdp = TokenMdp { vocabulary: vocabulary as u32, eos, max_length: usize::MAX };
        let (likelihood, start) = (LogProbs::likelihood(), TokenState::new(tokens(&case["prompt"])));
        let search = Search::new(&mdp, &tables[count(&case["table"])], &likelihood);
        let found = search.run(&beam, &[start], &[count(&case["longest"])], &mut rngs(1, 0)).unwrap().remove(0).found;
        let responses = case["responses"].as_array().unwrap();
        assert_eq!(found.len(), responses.len(), "{case}");
        for ((found, response), score) in found.iter().zip(responses).zip(numbers(&case["scores"])) {
            assert_eq!(found.episode.pieces[0].actions, tokens(response), "{case}");
            assert!((found.score - score).abs() < 1e-5, "{} {case}", found.score);
        }
    }
    assert_eq!(cases.len(), 144);
}

/// A beam may not be better than greedy in a step, but on these models a wide one never ends below it.
#[test]
fn a_wide_beam_is_at_least_as_likely_as_greedy() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/search/beams.json")).unwrap();
    let table = Table { vocabulary: 9, logits: numbers(&golden["tables"][0]) };
    let mdp = TokenMdp { vocabulary: 9, eos: vec![0], max_length: usize::MAX };
    let (likelihood, starts) =
        (LogProbs::likelihood(), (1..9).map(|token| TokenState::new([token])).collect::<Vec<_>>());
    let search = Search::new(&mdp, &table, &likelihood);
    let best = |method: &dyn crate::Method<TokenMdp>| -> Vec<f64> {
        let outcomes = search.run(method, &starts, &[8; 8], &mut rngs(8, 0)).unwrap();
        outcomes.iter().map(|outcome| outcome.found[0].log_prob()).collect()
    };
    let beam = Beam { length_penalty: 0.0, early_stopping: EarlyStopping::Never, ..Beam::new(16) };
    let (greedy, beam) = (best(&Greedy::default()), best(&beam));
    assert!(greedy.iter().zip(&beam).all(|(greedy, beam)| beam >= greedy), "{greedy:?} {beam:?}");
}

use mdp::token::{TokenMdp, TokenState};
use mdp::{EpisodeOf, InWorld};
use policies::{Agent, Tabular};

use super::{LONG, brute_force, rngs, run, score_of, untidy};
use crate::{Beam, BestOfN, Greedy, LogProbs, Mcts, Method, Rerank, Sampling, Search, Smc};

type Words = InWorld<TokenMdp, fn(&TokenState) -> Vec<u32>>;

/// Who says 1 is told 3 and 2, and 0 is the end.
fn words() -> Words {
    let tool = |state: &TokenState| if state.response.last() == Some(&1) { vec![3, 2] } else { Vec::new() };
    InWorld { mdp: TokenMdp { vocabulary: 4, eos: vec![0], max_length: 7 }, world: tool }
}

fn start() -> TokenState {
    TokenState::new([2])
}

fn table(mdp: &Words, seed: u64) -> Tabular<TokenMdp> {
    untidy(&mdp.mdp, &start(), seed)
}

fn is_in_turns(episode: &EpisodeOf<Words>) -> bool {
    let (last, before) = episode.pieces.split_last().unwrap();
    !last.actions.is_empty() && before.iter().all(|turn| turn.actions.ends_with(&[1]))
}

#[test]
fn every_method_acts_in_a_world_and_no_reply_is_in_a_score() {
    let mdp = words();
    let tables = [1, 2, 3].map(|seed| table(&mdp, seed));
    let [policy, reference, verifier] = tables.each_ref().map(Agent);
    let verifier_score = LogProbs::implicit_reward(0.5, &verifier);
    let methods: [(&str, &dyn Method<Words>); 7] = [
        ("greedy", &Greedy { among: 4 }),
        ("sampling", &Sampling { n: 8 }),
        ("best of n", &BestOfN { n: 8, keep: 8 }),
        ("beam", &Beam { n: 4, length_penalty: 0.0, ..Beam::new(4) }),
        ("tree", &Mcts { n: 8, ..Mcts::new(30, 4) }),
        ("particles", &Smc::new(8)),
        ("verifier", &Rerank { method: &Sampling { n: 8 }, score: &verifier_score, keep: 8 }),
    ];
    let score = LogProbs::implicit_reward(0.3, &reference);
    for (name, method) in methods {
        let outcome = run((&mdp, &policy), &score, method, &[start()]).unwrap().remove(0);
        let ranked: &LogProbs<'_, Words> = if name == "verifier" { &verifier_score } else { &score };
        for found in &outcome.found {
            assert!(is_in_turns(&found.episode), "{name}: {:?}", found.episode);
            assert_eq!(found.length(), found.episode.n_decisions(), "{name}");
            let expected = score_of(&mdp, &policy, ranked, &found.episode);
            assert!((found.gains.iter().sum::<f64>() - expected).abs() < 1e-9, "{name}");
        }
        let has_called = outcome.found.iter().any(|found| found.episode.pieces.len() > 1);
        assert!(has_called || matches!(name, "greedy" | "beam"), "{name}");
    }
}

#[test]
fn a_wide_beam_finds_the_best_episode_in_a_world() {
    let mdp = words();
    let table = table(&mdp, 4);
    let policy = Agent(&table);
    let likelihood = LogProbs::likelihood();
    let all = brute_force(&mdp, &policy, &likelihood, &start());
    assert!(all.iter().any(|(_, episode)| episode.pieces.len() > 1));
    let beam = Beam { length_penalty: 0.0, ..Beam::new(all.len()) };
    let found = Search::new(&mdp, &policy, &likelihood).run(&beam, &[start()], &[LONG], &mut rngs(1, 0)).unwrap();
    assert_eq!(found[0].found[0].episode, all[0].1);
    assert!((found[0].found[0].score - all[0].0).abs() < 1e-12);
}

#[test]
fn the_longest_episode_counts_decisions_and_not_replies() {
    let mdp = words();
    let calls = LogProbs::likelihood();
    let mut caller = Tabular::new(&mdp.mdp);
    for response in [vec![], vec![1, 3, 2]] {
        caller.set_logits(TokenState { prompt: [2].into(), response }, vec![0.0, 50.0, 0.0, 0.0]);
    }
    let caller = Agent(&caller);
    let search = Search::new(&mdp, &caller, &calls);
    let found = search.run(&Greedy::default(), &[start()], &[2], &mut rngs(1, 0)).unwrap().remove(0).found.remove(0);
    assert_eq!((found.length(), found.episode.pieces.len()), (2, 2));
    assert_eq!(found.episode.end(&mdp).unwrap().response, [1, 3, 2, 1, 3, 2]);
}

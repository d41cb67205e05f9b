//! Sampling with a KV cache.

use super::*;
use crate::causal::GenerationConfig;
use crate::tests::in_both_forms;

fn rngs(seeds: std::ops::Range<u64>) -> Vec<Rng> {
    seeds.map(rng).collect()
}

#[test]
fn the_cache_changes_nothing() {
    in_both_forms(check_cache);
}

fn check_cache() {
    for (name, config) in configs() {
        let model = frozen(config, 1, DType::F32);
        let prompts = vec![vec![1, 2, 3], vec![4], vec![1, 2], vec![1, 2, 3], vec![5, 6, 7, 8]];
        let sampling = GenerationConfig { max_new: 8, ..GenerationConfig::greedy() };
        let cached = model.generate(&prompts, &sampling, &mut rngs(0..5)).unwrap();
        let mdp = TokenMdp { vocabulary: 23, ..MDP };
        assert_eq!(cached.len(), prompts.len(), "{name}");
        for (prompt, cached) in prompts.iter().zip(&cached) {
            let mut state = TokenState::new(prompt.as_slice());
            for _ in 0..8 {
                let best = model.propose(&mdp, std::slice::from_ref(&state), 1, &mut rng(0)).unwrap();
                state.response.push(best[0][0].action);
            }
            assert_eq!(&state.response, cached, "{name}");
        }
    }
}

/// Branched, reordered, extended and evaluated late: the cache equals a fresh reading of the tokens.
#[test]
fn a_cursor_is_one_opened_where_it_stands() {
    in_both_forms(check_cursor);
}

fn check_cursor() {
    for (name, config) in configs() {
        let model = frozen(config, 1, DType::F32);
        let mdp = TokenMdp { vocabulary: 23, eos: vec![0], max_length: 12 };
        let starts: Vec<TokenState> = [&[1, 2, 3][..], &[4], &[1, 2]].map(TokenState::new).into();
        laws::check_cursor(&mdp, &model, &starts, 2, 6, 1e-4).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut cursor = model.cursor(&mdp, &starts).unwrap();
        // Two tokens are taken before the first evaluation, then two more with one in between.
        for actions in [[5, 6, 7], [8, 9, 10]] {
            cursor.advance(&actions).unwrap();
        }
        cursor.log_probs(&[1, 1, 1]).unwrap();
        cursor.advance(&[11, 12, 13]).unwrap();
        cursor.advance(&[14, 15, 16]).unwrap();
        let ours = cursor.log_probs(&[1, 2, 3]).unwrap();
        let states = cursor.states().to_vec();
        assert_eq!(states[1].response, [6, 9, 12, 15]);
        for ((state, ours), action) in states.iter().zip(ours).zip([1, 2, 3]) {
            let whole = Episode::whole(state.clone(), vec![action]);
            let scored = model.score(&mdp, &[whole]).unwrap().log_probs.values()[0];
            assert!((ours - scored).abs() < 1e-4, "{name}: {ours}, scored {scored}");
        }
    }
}

#[test]
fn a_model_acts_as_it_is_told_to() {
    let model = frozen(config("llama tied"), 1, DType::F32);
    let mdp = TokenMdp { vocabulary: 23, eos: vec![0], max_length: 12 };
    let starts = [TokenState::new([1, 2].as_slice())];
    let best = model.propose(&mdp, &starts, 1, &mut rng(0)).unwrap()[0][0].action;
    let greedy = model.acting(GenerationConfig::greedy());
    for seed in 0..5 {
        assert_eq!(greedy.sample(&mdp, &starts, &mut rng(seed)).unwrap(), [best]);
        assert_eq!(greedy.rollout(&mdp, &starts, &mut rng(seed)).unwrap()[0].pieces[0].actions[0], best);
    }
    let hot = GenerationConfig { temperature: 50., ..GenerationConfig::default() };
    let drawn = |seed| greedy.cursor_by(&mdp, &starts, &hot).unwrap().draw(&mut [&mut rng(seed)]).unwrap()[0];
    assert!((0..20).map(drawn).collect::<std::collections::BTreeSet<u32>>().len() > 5);
}

#[test]
fn a_sample_does_not_depend_on_the_others() {
    in_both_forms(check_sample_alone);
}

fn check_sample_alone() {
    for (name, config) in configs() {
        let model = frozen(config, 1, DType::F32);
        let prompts: Vec<Vec<u32>> = (0..6).map(|i| vec![i, 2 * i, 3]).collect();
        let sampling =
            GenerationConfig { max_new: 6, top_k: Some(9), top_p: Some(0.9), temperature: 0.8, ..Default::default() };
        let together = model.generate(&prompts, &sampling, &mut rngs(0..6)).unwrap();
        assert_eq!(together.len(), prompts.len(), "{name}");
        for (index, (prompt, together)) in prompts.iter().zip(&together).enumerate() {
            let alone = model.generate(std::slice::from_ref(prompt), &sampling, &mut [rng(index as u64)]).unwrap();
            assert_eq!(&alone[0], together, "{name}");
        }
        assert_ne!(together, model.generate(&prompts, &sampling, &mut rngs(6..12)).unwrap());
    }
}

#[test]
fn responses_end_where_they_should() {
    let model = frozen(config("llama tied"), 1, DType::F32);
    let prompts = vec![vec![1; 16], vec![2; 12], vec![3]];
    let sampling = GenerationConfig { max_new: 10, ..Default::default() };
    let lengths = |responses: Vec<Vec<u32>>| responses.iter().map(Vec::len).collect::<Vec<_>>();
    // The model reads at most 16 tokens, so it can generate a 17th.
    assert_eq!(lengths(model.generate(&prompts, &sampling, &mut rngs(0..3)).unwrap()), [1, 5, 10]);
    let nothing = GenerationConfig { max_new: 0, ..sampling.clone() };
    assert_eq!(lengths(model.generate(&prompts, &nothing, &mut rngs(0..3)).unwrap()), [0, 0, 0]);
    assert!(model.generate(&[], &sampling, &mut []).unwrap().is_empty());
    let ended = GenerationConfig { eos: (0..12).collect(), ..sampling.clone() };
    for response in model.generate(&vec![vec![3]; 70], &ended, &mut rngs(0..70)).unwrap() {
        let end = response.iter().position(|token| *token < 12).map_or(10, |at| at + 1);
        assert_eq!(response.len(), end);
    }
    let few = GenerationConfig { vocabulary: Some(3), ..sampling };
    assert!(model.generate(&prompts, &few, &mut rngs(0..3)).unwrap().concat().iter().all(|token| *token < 3));
}

#[test]
fn rollouts_follow_the_problem() {
    let model = frozen(config("gpt2"), 1, DType::F32);
    let mdp = TokenMdp { vocabulary: 21, eos: vec![7, 8, 9, 10, 11, 12], max_length: 9 };
    let mut starts: Vec<TokenState> = (0..30).map(|i| TokenState::new([i % 5, 3].as_slice())).collect();
    starts[4].response = vec![1, 2];
    starts[5].response = vec![7];
    let episodes = model.rollout(&mdp, &starts, &mut rng(1)).unwrap();
    assert_eq!(episodes.len(), starts.len());
    for (start, episode) in starts.iter().zip(&episodes) {
        let tokens = &episode.pieces[0].actions;
        let n_steps = tokens.iter().position(|token| mdp.eos.contains(token)).map_or(9 - start.len(), |at| at + 1);
        assert_eq!(tokens.len(), if start.response == [7] { 0 } else { n_steps });
        assert!(tokens.iter().all(|token| *token < 21));
    }
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let model = frozen(config("gpt2"), 1, DType::F32);
    let check = |prompt: Vec<u32>, sampling: GenerationConfig, n_rngs: u64, expected: &str| {
        let error = model.generate(&[prompt], &sampling, &mut rngs(0..n_rngs)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(vec![], GenerationConfig::default(), 1, "no predictor");
    check(vec![99], GenerationConfig::default(), 1, "vocabulary of 23");
    check(vec![1; 17], GenerationConfig::default(), 1, "16 positions");
    check(vec![1], GenerationConfig::default(), 2, "one for each of 1 prompts");
    check(vec![1], GenerationConfig { top_p: Some(2.), ..Default::default() }, 1, "top-p");
    let mdp = TokenMdp { vocabulary: 24, ..MDP };
    assert!(model.sample(&mdp, &[TokenState::new([1u32].as_slice())], &mut rng(0)).is_err());
}

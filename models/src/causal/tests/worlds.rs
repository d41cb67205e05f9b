//! A language model in a world that replies: what it reads, what it is scored for, what it learns from.

use mdp::{InWorld, Mdp, Piece};
use policies::Agent;

use super::*;

type Words = InWorld<TokenMdp, fn(&TokenState) -> Vec<u32>>;

/// Who says a token below 7 is told two more, which depend on it.
fn words() -> Words {
    let tool = |state: &TokenState| match state.response.last() {
        Some(&token) if token < 7 => vec![token + 8, 20 - token],
        _ => Vec::new(),
    };
    InWorld { mdp: MDP, world: tool }
}

fn starts() -> Vec<TokenState> {
    [&[1u32, 2][..], &[7], &[1, 2], &[9, 8, 7]].map(TokenState::new).into()
}

/// An episode whose replies are decisions: what a policy would learn from if nothing was given.
fn unmasked(mdp: &Words, episode: &EpisodeOf<TokenMdp>) -> EpisodeOf<TokenMdp> {
    let end = episode.end(mdp).unwrap();
    Episode::whole(TokenState::new(end.prompt), end.response)
}

#[test]
fn an_agent_keeps_the_laws_and_reads_replies_on_its_cache() {
    let mdp = words();
    for (name, config) in configs() {
        let model = frozen(config, 1, DType::F32);
        let agent = Agent(&model);
        let made = laws::check_policy(&mdp, &agent, &starts(), 3, 1e-4).unwrap();
        assert!(made.iter().any(|episode| episode.pieces.len() > 1), "{name}");
        laws::check_cursor(&mdp, &agent, &starts(), 5, 6, 1e-4).unwrap();
    }
}

#[test]
fn a_score_in_a_world_is_that_of_the_decisions_among_all_tokens() {
    let mdp = words();
    let model = frozen(config("llama tied"), 1, DType::F32);
    let agent = Agent(&model);
    let episodes = agent.rollout(&mdp, &starts(), &mut rng(4)).unwrap();
    let scores = agent.score(&mdp, &episodes).unwrap().log_probs;
    let whole: Vec<_> = episodes.iter().map(|episode| unmasked(&mdp, episode)).collect();
    let all = agent.0.score(&MDP, &whole).unwrap().log_probs;
    for (row, episode) in episodes.iter().enumerate() {
        let of_turn = |turn: &Piece<TokenState, u32>| {
            let first = turn.start.response.len();
            all.row(row)[first..first + turn.actions.len()].to_vec()
        };
        let expected: Vec<f64> = episode.pieces.iter().flat_map(of_turn).collect();
        assert!(scores.row(row).len() < all.row(row).len() || episode.pieces.len() == 1);
        assert!(scores.row(row).iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{row}");
    }
}

#[test]
fn replies_are_read_once_and_have_no_slope() {
    let mdp = words();
    let mut model = trainable(config("llama tied"), DType::F64, training(None, Recompute::Nothing));
    let start = TokenState::new([1u32, 2].as_slice());
    let episode = mdp.episode(start, vec![3, 4, 19]);
    assert_eq!(episode.pieces.len(), 3);
    // Two tokens of the prompt, then 3 11 17 4 12 16: every token but the last once, though each piece repeats what is before it.
    let packing = super::super::packing::Packing::of_episodes(std::slice::from_ref(&episode), model.limits()).unwrap();
    assert_eq!(packing.tokens, [1, 2, 3, 11, 17, 4, 12, 16]);
    // The gradient is that of the undivided episode with slopes of 0 for the replies.
    let gradient = |model: &mut CausalLm, episode: &EpisodeOf<TokenMdp>, slopes: &[f64]| {
        let (_, tape) = model.forward(&MDP, std::slice::from_ref(episode)).unwrap();
        model.backward(tape, &mdp::Steps::from_iter([slopes]).into()).unwrap();
        let mut all = Vec::new();
        model
            .visit_gradients(&mut |_, slopes| {
                all.extend_from_slice(slopes);
                slopes.fill(0.0);
                Ok(())
            })
            .unwrap();
        all
    };
    let in_turns = gradient(&mut model, &episode, &[1.0, -2.0, 0.5]);
    let whole = gradient(&mut model, &unmasked(&mdp, &episode), &[1.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.5]);
    assert!(in_turns.iter().any(|slope| slope.abs() > 1e-3));
    assert!(in_turns.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-10));
}

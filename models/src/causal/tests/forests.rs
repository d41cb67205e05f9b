//! Whole conversations as one batch against their pairs.
use super::*;

/// Tokens of a user's turn and of a reply.
const ASKED: usize = 3;
const REPLY: usize = 4;

/// A conversation of some depth: at each a user's turn and three replies, of which the first goes on. Every reply is an
/// episode that begins with all that was said before; the siblings of each depth are three in a row.
fn conversation(depth: usize) -> Vec<EpisodeOf<TokenMdp>> {
    let mut said: Vec<u32> = vec![1, 2];
    let mut replies = Vec::new();
    for at in 0..depth as u32 {
        said.extend((0..ASKED as u32).map(|i| 3 + (at + i) % 7));
        let reply = |sibling: u32| (0..REPLY as u32).map(|i| 10 + (5 * at + 3 * sibling + i) % 11).collect::<Vec<_>>();
        let start = TokenState { prompt: [0u32].as_slice().into(), response: said.clone() };
        replies.extend((0..3).map(|sibling| Episode::whole(start.clone(), reply(sibling))));
        said.extend(reply(0));
    }
    replies
}

#[test]
fn a_forest_computes_what_its_answers_share_once() {
    let model = frozen(config("gpt2"), 1, DType::F32);
    for (depth, forest_by_hand, pairs_by_hand) in [(1, 15, 36), (2, 28, 93)] {
        let episodes = conversation(depth);
        let forest = model.n_computed_tokens(&episodes).unwrap();
        let pairs =
            episodes.chunks(3).flat_map(|three| [[0, 1], [0, 2], [1, 2]].map(|pair| pair.map(|i| three[i].clone())));
        let of_pairs: usize = pairs.map(|pair| model.n_computed_tokens(&pair).unwrap()).sum();
        // The first prompt has 6 tokens, and of a reply 3 of 4 are read; its pairs are 3 times 6 + 2 * 3. The second
        // prompt has 13, of which the forest has read 9: the reply's last token and the user's 3 are left, and 9 of
        // replies; its pairs are 3 times 13 + 2 * 3.
        assert_eq!((forest, of_pairs), (forest_by_hand, pairs_by_hand), "depth {depth}");
    }
    let alone = |episode: &EpisodeOf<TokenMdp>| model.score(&MDP, std::slice::from_ref(episode)).unwrap().log_probs;
    let episodes = conversation(2);
    let together = model.score(&MDP, &episodes).unwrap().log_probs;
    for (index, episode) in episodes.iter().enumerate() {
        let alone = alone(episode);
        let difference = together.row(index).iter().zip(alone.row(0)).map(|(a, b)| (a - b).abs());
        assert!(difference.fold(0.0, f64::max) < 1e-5);
    }
}

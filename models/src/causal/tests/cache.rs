//! What sequences hold together of what they have read.

use engine::ops::CacheBlock;

use super::*;
use crate::causal::cache::Cached;
use crate::tests::in_both_forms;

/// A model that reads more than one block.
fn model(name: &str) -> CausalLm {
    frozen(CausalConfig { max_positions: 64, ..config(name) }, 1, DType::F32)
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i * 7 % 19).collect()
}

/// Of how many of their blocks, from the first on, two sequences hold one copy.
fn n_shared(a: &Cached, b: &Cached) -> usize {
    a.blocks().iter().zip(b.blocks()).take_while(|(a, b)| Arc::ptr_eq(a, b)).count()
}

/// The last hidden state of each sequence, read anew.
fn last_hidden(model: &CausalLm, sequences: &[Vec<u32>]) -> Tensor {
    let (cached, hidden) = model.decoder.prefill(sequences, &model.decoder.cache_pool().unwrap()).unwrap();
    let rows: Vec<u32> = cached.iter().map(|(_, row)| *row as u32).collect();
    hidden.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap()
}

#[test]
fn sequences_that_begin_alike_hold_the_same_blocks() {
    in_both_forms(check_sharing);
}

fn check_sharing() {
    let model = model("neox parallel");
    let other = [tokens(20), vec![21; 9]].concat();
    let pool = model.decoder.cache_pool().unwrap();
    let (cached, hidden) = model.decoder.prefill(&[tokens(40), other, tokens(40), tokens(33)], &pool).unwrap();
    let of = |index: usize| &cached[index].0;
    assert_eq!(
        [0, 1, 2, 3].map(|index| (of(index).len(), of(index).blocks().len())),
        [(40, 3), (29, 2), (40, 3), (33, 3)]
    );
    assert_eq!((n_shared(of(0), of(1)), n_shared(of(0), of(2)), n_shared(of(0), of(3))), (1, 3, 2));
    // Equal sequences have one last hidden state, the others their own.
    assert_eq!(hidden.dim(0).unwrap(), 3);
    assert!(cached[0].1 == cached[2].1 && cached[0].1 != cached[1].1 && cached[0].1 != cached[3].1);
}

#[test]
fn a_branch_copies_its_last_block_at_most_and_is_one_read_anew() {
    in_both_forms(check_branches);
}

fn check_branches() {
    for name in ["neox parallel", "gpt2", "llama tied", "mistral", "gemma2", "gemma3"] {
        let model = model(name);
        for n in [CacheBlock::TOKENS - 1, CacheBlock::TOKENS, 40] {
            let pool = model.decoder.cache_pool().unwrap();
            let (start, _) = model.decoder.prefill(&[tokens(n)], &pool).unwrap();
            let start = &start[0].0;
            let (mut a, mut b) = (start.clone(), start.clone());
            assert_eq!(n_shared(&a, &b), n.div_ceil(CacheBlock::TOKENS));
            let (mut of_a, mut of_b) = (tokens(n), tokens(n));
            for (token, position) in [3, 4, 5].into_iter().zip(n as u32..) {
                let read = [(token, position), (9, position)];
                let read = model.decoder.read_on(&read, vec![&mut a, &mut b], &pool).unwrap();
                of_a.push(token);
                of_b.push(9);
                let anew = last_hidden(&model, &[of_a.clone(), of_b.clone()]);
                assert!(largest_difference(&read, &anew) < 1e-4, "{name}, {n} tokens");
            }
            let n_full = n / CacheBlock::TOKENS;
            assert_eq!([n_shared(&a, &b), n_shared(&a, start)], [n_full; 2], "{name}, {n} tokens");
            // What is written to a branch is not in what it left.
            let mut c = start.clone();
            let read = model.decoder.read_on(&[(3, n as u32)], vec![&mut c], &pool).unwrap();
            let anew = last_hidden(&model, &[[tokens(n), vec![3]].concat()]);
            assert!(largest_difference(&read, &anew) < 1e-4, "{name}, {n} tokens");
        }
    }
}

#[test]
fn a_state_that_begins_as_a_dropped_row_did_goes_on_from_what_that_had_read() {
    in_both_forms(check_leaves);
}

fn check_leaves() {
    for name in ["neox parallel", "gpt2", "llama tied", "mistral", "gemma2", "gemma3"] {
        let model = model(name);
        let mdp = TokenMdp { vocabulary: 23, eos: vec![0], max_length: 60 };
        let open = |states: &[TokenState]| {
            let mut cursor = model.cursor(&mdp, states).unwrap();
            cursor.log_probs(&vec![1; states.len()]).unwrap()
        };
        let mut cursor = model.cursor(&mdp, &[TokenState::new(tokens(20))]).unwrap();
        cursor.select(&[]);
        // A leaf, its rollout, and leaves that leave the rollout: at once, later, at its end, and where it had not been.
        cursor.extend(&[TokenState::new(tokens(20))]).unwrap();
        let rolled: Vec<u32> = vec![3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9];
        for &token in &rolled {
            cursor.log_probs(&[token]).unwrap();
            cursor.advance(&[token]).unwrap();
        }
        cursor.select(&[]);
        let state = |n_prompt: usize, response: &[u32]| {
            let mut state = TokenState::new(tokens(n_prompt));
            state.response.extend_from_slice(response);
            state
        };
        let leaves = [
            state(20, &[7]),
            state(20, &[3, 1, 4, 8]),
            state(20, &rolled[..5]),
            state(20, &[&rolled[..], &[2, 2]].concat()),
            state(19, &[]),
            TokenState::new(vec![21; 30]),
            state(20, &[9; 25]),
        ];
        for _ in 0..2 {
            cursor.extend(&leaves).unwrap();
            let found = cursor.log_probs(&[1; 7]).unwrap();
            for ((leaf, found), expected) in leaves.iter().zip(found).zip(open(&leaves)) {
                assert!((found - expected).abs() < 1e-4, "{name}: {leaf:?} {found}, read anew {expected}");
            }
            cursor.select(&[]);
        }
    }
}

#[test]
fn a_cursor_of_several_blocks_is_one_opened_where_it_stands() {
    in_both_forms(check_long_cursor);
}

fn check_long_cursor() {
    for name in ["neox serial", "gpt2", "llama untied", "mistral", "gemma2", "gemma3"] {
        let model = model(name);
        let mdp = TokenMdp { vocabulary: 23, eos: vec![0], max_length: 60 };
        let other = [tokens(16), vec![21; 20]].concat();
        let starts: Vec<TokenState> = [tokens(15), tokens(31), tokens(16), other].map(TokenState::new).into();
        laws::check_cursor(&mdp, &model, &starts, 3, 20, 1e-4).unwrap_or_else(|error| panic!("{name}: {error}"));
        // A branch of the first row goes another way than it; order is as selected.
        let mut cursor = model.cursor(&mdp, &starts).unwrap();
        cursor.log_probs(&[1; 4]).unwrap();
        cursor.select(&[2, 0, 0, 3, 2]);
        for actions in [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]] {
            cursor.advance(&actions).unwrap();
            cursor.log_probs(&[1; 5]).unwrap();
        }
        let ours = cursor.log_probs(&[1, 2, 3, 4, 5]).unwrap();
        for ((state, ours), action) in cursor.states().iter().zip(ours).zip([1, 2, 3, 4, 5]) {
            let whole = Episode::whole(state.clone(), vec![action]);
            let scored = model.score(&mdp, &[whole]).unwrap().log_probs.values()[0];
            assert!((ours - scored).abs() < 1e-4, "{name}: {ours}, scored {scored}");
        }
        assert_eq!(cursor.states()[2].response, [3, 8]);
        assert_eq!(cursor.states()[4].prompt[..], tokens(16)[..]);
    }
}

//! The laws of the problem.

use super::*;

#[test]
fn data_are_a_function_of_seed_split_and_index_and_splits_share_no_conversation() {
    for split in Split::ALL {
        for index in 0..100 {
            let problem = DialogueProblem::new(3);
            assert_eq!(problem.tree(split, index), problem.tree(split, index));
            let shown: Vec<usize> = problem.demonstration(split, index).iter().map(|turn| turn.thing).collect();
            for things in [shown, problem.things(split, index), problem.tree(split, index).lists[6].things.clone()] {
                let words: Vec<&str> = things.iter().map(|thing| THINGS[*thing]).collect();
                assert_eq!((Split::of(&words.join(" ")), words.len()), (split, TURNS));
            }
        }
    }
    assert_ne!(DialogueProblem::new(3).tree(Split::Test, 0), DialogueProblem::new(4).tree(Split::Test, 0));
}

#[test]
fn a_tree_goes_on_after_some_replies_and_ranks_all() {
    for index in 0..50 {
        let tree = DialogueProblem::new(0).tree(Split::Train, index);
        let depths: Vec<usize> = tree.lists.iter().map(|list| list.before.len()).collect();
        assert_eq!(depths, [0, 1, 1, 2, 2, 2, 2]);
        for list in &tree.lists {
            assert_eq!(list.things.len(), list.before.len() + 1);
            let grades: Vec<usize> = list.replies.iter().map(|reply| reply.grade(&list.things)).collect();
            assert_eq!(grades, [3, 2, 1, 0]);
        }
        // What goes on is one of the replies of the list before.
        let first = &tree.lists[0].replies;
        assert!(tree.lists[1..3].iter().all(|list| first.contains(&list.before[0].reply)));
        assert_ne!(tree.lists[1].before, tree.lists[2].before);
    }
}

#[test]
fn demonstrations_are_as_wrong_as_they_should_be() {
    let (mut wrong, mut rude, mut n) = (0.0, 0.0, 0.0);
    for index in 0..2000 {
        let turns = DialogueProblem::new(0).demonstration(Split::Train, index);
        let things: Vec<usize> = turns.iter().map(|turn| turn.thing).collect();
        for (at, turn) in turns.iter().enumerate() {
            n += 1.0;
            wrong += f64::from(u8::from(turn.reply.list != things[..=at]));
            rude += f64::from(u8::from(!turn.reply.is_polite));
        }
    }
    assert!((wrong / n - DialogueProblem::ERROR_RATE).abs() < 0.02, "{}", wrong / n);
    assert!((rude / n - DialogueProblem::RUDE_RATE).abs() < 0.02, "{}", rude / n);
}

#[test]
fn replies_are_read_back_and_nothing_else() {
    let reply = Reply { is_polite: false, list: vec![3, 15, 0] };
    let tokens = reply_tokens(&reply);
    assert_eq!((read(&tokens), tokens.len()), (Some(reply), 6));
    assert_eq!(read(&tokens[..5]), None);
    assert_eq!(read(&[&tokens[1..], &[0]].concat()), None);
    assert_eq!(read(&[&tokens[..3], &question_tokens(2)[..1], &[0]].concat()), None);
    let tokenizer = tokenizers::Tokenizer::from_bytes(tokenizer_json().as_bytes()).unwrap();
    let text = " user brings lamp clerk gladly keeps lamp";
    let expected = [&question_tokens(11)[..], &reply_tokens(&Reply { is_polite: true, list: vec![11] })[..3]].concat();
    assert_eq!(tokenizer.encode(text, false).unwrap().get_ids(), expected);
}

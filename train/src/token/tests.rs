use datasets::ExampleKind;
use objectives::{Comparison, Demonstration, Label, Ranking};

use super::*;

fn example(kind: ExampleKind, n: usize) -> Example {
    let responses = (0..n).map(|i| vec![i as u32 + 1, 0].into()).collect();
    Example::new(0, Arc::from([9, 8]), responses, kind)
}

#[test]
fn a_pair_is_two_episodes_from_one_prompt() {
    let data = vec![example(ExampleKind::Pair, 2)];
    let item = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap();
    assert_eq!(item.episodes.len(), 2);
    assert_eq!(item.size, 2 + 4);
    assert_eq!(item.feedback, [Comparison::new(0, 1)]);
}

#[test]
fn what_trainers_elsewhere_log_is_measured_by_side() {
    let data = vec![example(ExampleKind::Pair, 2), example(ExampleKind::Pair, 2)];
    let source = TokenSource::<Comparison>::new(&data, 64);
    let slice = Slice::new([(0, source.item(0).unwrap()), (1, source.item(1).unwrap())]);
    let steps = |rows: &[[f64; 2]]| rows.iter().collect::<mdp::Steps>();
    let policy = mdp::Channels {
        mean_logit: Some(steps(&[[1.0, 2.0], [5.0, 7.0], [3.0, 6.0], [9.0, 11.0]])),
        is_likeliest: Some(steps(&[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])),
        ..steps(&[[-1.0, -1.0]; 4]).into()
    };
    let weights = policy.log_probs.filled(1.0);
    let measured =
        |policy: &mdp::Channels| source.measure(&slice, Scores { policy, reference: None, weights: &weights });
    let named: Vec<(String, f64)> = measured(&policy).means().map(|(name, mean)| (name.to_owned(), mean)).collect();
    let expected = [("logits/chosen", 3.0), ("logits/rejected", 8.0), ("mean_token_accuracy", 0.25)];
    assert_eq!(named, expected.map(|(name, mean)| (name.to_owned(), mean)));
    assert_eq!(measured(&policy.log_probs.clone().into()), Measures::default());
    // Two pairs of a prompt of two tokens and answers of two.
    assert_eq!(source.n_tokens(&slice), Some(16));
}

#[test]
fn tokens_are_counted_once_an_answer_and_not_of_a_baseline() {
    let ranked = vec![example(ExampleKind::Ranked, 3)];
    let source = TokenSource::<Comparison>::new(&ranked, 64);
    assert_eq!(source.n_tokens(&Slice::new([(0, source.item(0).unwrap())])), Some(12));
    let labelled = vec![example(ExampleKind::Labelled { desirable: true }, 1); 2];
    let source = TokenSource::<Label>::new(&labelled, 64);
    let item = source.item(0).unwrap();
    assert_eq!(item.episodes.len(), 2);
    assert_eq!(source.n_tokens(&Slice::new([(0, item)])), Some(4));
}

#[test]
fn of_a_tree_labels_are_told_what_makes_pairs_of_it() {
    for kind in [ExampleKind::Ranked, ExampleKind::Forest] {
        let said = Label::from_example(&example(kind, 3)).unwrap_err().to_string();
        assert!(
            said.contains("`data.tree_pairs` best-worst, adjacent or all") && said.contains("plackett-luce"),
            "{said}"
        );
    }
    let said = Label::from_example(&example(ExampleKind::Demonstration, 1)).unwrap_err().to_string();
    assert!(said.contains("sft"), "{said}");
}

#[test]
fn three_ranked_answers_are_three_comparisons() {
    let data = vec![example(ExampleKind::Ranked, 3)];
    let pairs = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap().feedback;
    assert_eq!(pairs.iter().map(|c| (c.first, c.second)).collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
}

#[test]
fn labels_bring_the_neighbours_answer() {
    let data = vec![example(ExampleKind::Pair, 2), example(ExampleKind::Labelled { desirable: false }, 1)];
    let item = TokenSource::<Label>::new(&data, 64).item(1).unwrap();
    assert_eq!(item.feedback, [Label { episode: 0, desirable: false, mismatched: Some(1) }]);
    assert_eq!(item.episodes[1].pieces[0].actions, [1, 0]);
}

#[test]
fn a_neighbours_answer_is_cut_to_fit_this_prompt() {
    let mut long = example(ExampleKind::Labelled { desirable: true }, 1);
    long.responses = vec![vec![7; 50].into()];
    let data = vec![example(ExampleKind::Labelled { desirable: false }, 1), long];
    let item = TokenSource::<Label>::new(&data, 10).item(0).unwrap();
    assert_eq!(item.episodes[1].pieces[0].actions.len(), 8);
    assert_eq!(item.size, 2 + 2 + 8);
}

#[test]
fn a_demonstration_leaves_the_worse_answer_out() {
    let data = vec![example(ExampleKind::Pair, 2)];
    assert_eq!(TokenSource::<Demonstration>::new(&data, 64).item(0).unwrap().episodes.len(), 1);
}

#[test]
fn the_wrong_feedback_says_what_would_fit() {
    let data = vec![example(ExampleKind::Labelled { desirable: true }, 1)];
    let error = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap_err().to_string();
    assert!(error.contains("`objective.name` kto"), "{error}");
}

#[test]
fn given_tokens_are_no_decisions() {
    let turn = |range, weight| Turn { range, weight };
    let talk = Response::new(vec![1, 0, 5, 6, 2, 0], vec![turn(0..2, 1.0), turn(4..6, 0.5)]);
    let mut talks = example(ExampleKind::Pair, 2);
    talks.responses[0] = talk;
    let item = TokenSource::<Comparison>::new(&vec![talks], 64).item(0).unwrap();
    let pieces = &item.episodes[0].pieces;
    let state = |response: &[u32]| TokenState { prompt: Arc::from([9, 8]), response: response.to_vec() };
    assert_eq!(pieces[0], Piece { start: state(&[]), actions: vec![1, 0], weight: 1.0 });
    assert_eq!(pieces[1], Piece { start: state(&[1, 0, 5, 6]), actions: vec![2, 0], weight: 0.5 });
    assert_eq!((pieces.len(), item.size), (2, 2 + 6 + 2));
    assert_eq!(item.episodes[1], Episode::whole(state(&[]), vec![2, 0]));
}

#[test]
fn weights_and_margins_of_records_reach_the_feedback_that_has_a_place_for_them() {
    let mut weighed = example(ExampleKind::Pair, 2);
    (weighed.weight, weighed.margin, weighed.preference) = (0.5, 2.0, 0.75);
    let data = vec![weighed];
    let item = TokenSource::<Comparison>::new(&data, 64).item(0).unwrap();
    assert_eq!(item.feedback, [Comparison { first: 0, second: 1, preference: 0.75, weight: 0.5, margin: 2.0 }]);
    let demonstrated = |data: &Vec<Example>| TokenSource::<Demonstration>::new(data, 64).item(0);
    assert!(demonstrated(&data).unwrap_err().to_string().contains("margins"));
    let against = Example { margin: 0.0, preference: 0.25, ..data[0].clone() };
    assert!(demonstrated(&vec![against]).unwrap_err().to_string().contains("a soft label below 0.5"));
    let weighed = Example { margin: 0.0, ..data[0].clone() };
    assert_eq!(demonstrated(&vec![weighed]).unwrap().episodes[0].pieces[0].weight, 0.5);
    for refused in [
        TokenSource::<Label>::new(&data, 64).item(0).unwrap_err(),
        TokenSource::<Ranking>::new(&data, 64).item(0).unwrap_err(),
    ] {
        assert!(refused.to_string().contains("weights of records"), "{refused}");
    }
}

#[test]
fn a_forest_is_compared_as_it_says() {
    let mut tree = example(ExampleKind::Forest, 4);
    tree.comparisons = vec![(0, 1), (2, 3)];
    let pairs = TokenSource::<Comparison>::new(&vec![tree.clone()], 64).item(0).unwrap().feedback;
    assert_eq!(pairs, [Comparison::new(0, 1), Comparison::new(2, 3)]);
    let refused = TokenSource::<Demonstration>::new(&vec![tree], 64).item(0).unwrap_err().to_string();
    assert!(refused.contains("`data.tree_pairs`"), "{refused}");
}
